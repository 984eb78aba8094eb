"""How a command asks the history: a running system over NATS, otherwise the file that one has left."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from coordinator.faults import Fault, UsageFault

if TYPE_CHECKING:
    from projections.asking import Ask, History
    from projections.child import Result
    from projections.window import Window

DbPath = Annotated[Path | None, typer.Option("--db-path", help="Ask this file, which no projector may have open.")]
Since = Annotated[str, typer.Option("--since", help="How far back: a span (90m, 24h, 7d) or a moment (2026-01-31).")]
Until = Annotated[str | None, typer.Option("--until", help="Where it ends: a span back from now, or a moment.")]

TIMEOUT_S = 60.0
FILE_ROWS_MAX = 1_000_000


class Where(NamedTuple):
    db_path: Path | None
    nats_url: str | None
    namespace: str | None
    state_dir: Path


def file_of_an_ended_system(nats_url: str | None, state_dir: Path) -> Path | None:
    """The history that a system of this folder has left; None: it runs, or there was none.

    Raises:
        UsageFault: there was one, and its history is gone.
    """
    from coordinator.endpoint import is_alive, read_endpoint

    endpoint = read_endpoint(state_dir)
    if nats_url or os.environ.get("RESURGAM_NATS_URL") or endpoint is None or is_alive(endpoint.pid):
        return None
    path = Path(endpoint.db_path)
    if not path.exists():
        raise UsageFault(f"the system in {state_dir} has ended, and its history {path} is gone; name it with --db-path")
    return path


@contextmanager
def opened(where: Where) -> Iterator[tuple["History", datetime | None]]:
    """The history, and where it ends: now for a system that runs, else its last event; None: it holds none.

    Raises:
        Fault: a statement inside has no result. What `open_system` raises.
    """
    from projections.asking import History
    from projections.errors import QueryError

    file = where.db_path or file_of_an_ended_system(where.nats_url, where.state_dir)
    try:
        if file is not None:
            history = History(_of_file(file))
            yield history, _behind_the_last(history)
            return
        with _of_system(where) as history:
            last = _behind_the_last(history)
            # The broker's clock may be ahead of this machine's.
            yield history, None if last is None else max(last, datetime.now(UTC))
    except QueryError as error:
        raise Fault(str(error)) from error


def _behind_the_last(history: "History") -> datetime | None:
    """A window ends before its end, and the last event is to be in it."""
    last = history.last_event_at()
    return None if last is None else last + timedelta(microseconds=1)


def _of_file(path: Path) -> "Ask":
    from projections.client import query_file

    def ask(sql: str, rows_max: int) -> "Result":
        return query_file(path, sql, timeout_s=TIMEOUT_S, rows_max=rows_max)

    return ask


@contextmanager
def _of_system(where: Where) -> Iterator["History"]:
    from coordinator.access import open_system
    from coordinator.exposition.lag import lag_behind
    from projections.asking import History
    from projections.client import query

    with asyncio.Runner() as runner:
        system_of = open_system(
            nats_url=where.nats_url, namespace=where.namespace, state_dir=where.state_dir, live_only=True
        )
        system = runner.run(system_of.__aenter__())

        def ask(sql: str, rows_max: int) -> "Result":
            asked = query(system.bus, system.streams, sql, timeout_s=TIMEOUT_S, rows_max=rows_max)
            return runner.run(asked)

        last = runner.run(system.log.last_sequence())

        def behind(through: int) -> tuple[int, float]:
            now = datetime.now(UTC).timestamp()
            return runner.run(lag_behind(system.bus, system.streams, last, through, now))

        try:
            yield History(ask, behind)
        finally:
            runner.run(system_of.__aexit__(None, None, None))


def window_of(since: str, until: str | None, end: datetime) -> "Window":
    """Raises:
    UsageFault: it cannot be read, or nothing is in it.
    """
    from projections.errors import QueryError
    from projections.window import Window

    try:
        return Window.of(since, until, end)
    except QueryError as error:
        raise UsageFault(str(error)) from error
