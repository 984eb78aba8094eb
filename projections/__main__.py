"""`python -m projections`: keeps a history file equal to the log, and answers SQL from it."""

import asyncio
import contextlib
import gc
import importlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer

from events.connection import Connection
from events.errors import LogError, Unreachable
from events.identity import as_id, is_id
from events.jetstream import JetStreamLog
from events.streams import Streams
from events.writer import Writer
from projections.errors import ProjectionError, Refused

EXIT_DIFFERENT = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_REFUSED = 4

SNAPSHOT_EVERY_S = 30.0
CONNECT_WAIT_S = 2.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=False)

DbPath = Annotated[Path, typer.Option("--db-path", help="The history file, made where there is none.", dir_okay=False)]
NatsUrl = Annotated[str, typer.Option("--nats-url", envvar="RESURGAM_NATS_URL", help="The broker.")]
Namespace = Annotated[str, typer.Option("--namespace", help="The first token of every subject.")]

DB_PATH = Path("resurgam.duckdb")
NATS_URL = "nats://127.0.0.1:4222"


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    db_path: DbPath = DB_PATH,
    nats_url: NatsUrl = NATS_URL,
    namespace: Namespace = "resurgam",
    *,
    once: Annotated[bool, typer.Option("--once", help="Catch up with the log's present end, then exit.")] = False,
    until: Annotated[int | None, typer.Option("--until", min=1, help="Stop behind this sequence.")] = None,
) -> None:
    """Keep a DuckDB history file equal to the event log, and answer SQL from it over NATS."""
    if context.invoked_subcommand is not None:
        return
    _run(_project(db_path, nats_url, _streams(namespace), once=once, until=until))


@app.command()
def verify(
    context: typer.Context,
    db_path: DbPath | None = None,
    nats_url: NatsUrl | None = None,
    namespace: Namespace | None = None,
) -> None:
    """Compare a closed history file with a rebuild from the log, row for row."""
    assert context.parent is not None
    before = context.parent.params  # options may stand before the command as well as behind it
    streams = _streams(namespace or before["namespace"])
    _run(_verify(db_path or before["db_path"], nats_url or before["nats_url"], streams))


def _streams(namespace: str) -> Streams:
    if not is_id(namespace):
        raise typer.BadParameter("1 to 64 letters, digits, '-' and '_'", param_hint="--namespace")
    return Streams(namespace=namespace)


def tune() -> None:
    """Garbage is collected less often: what is read ahead are some 100,000 objects without a cycle among them, and
    going through all of them again and again took a fifth of the time."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def load() -> None:
    """Imports what it takes to follow the log, for whoever loads this program ahead of its time."""
    for module in ("projector", "snapshots", "sql", "views"):
        importlib.import_module(f"projections.{module}")
    _loop_factory()


async def _project(db_path: Path, nats_url: str, streams: Streams, *, once: bool, until: int | None) -> int:
    from projections.projector import Projector
    from projections.samples import HeartbeatStream
    from projections.snapshots import Snapshots
    from projections.sql import SqlService

    tune()
    async with _connected(nats_url, "projections") as bus:
        event_log = JetStreamLog(bus, streams)
        projector = Projector(db_path, event_log, _writer(event_log), bus, HeartbeatStream(bus, streams))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, projector.stop)
        if once or until is not None:
            await projector.run(once=once, until=until)
            return 0
        snapshots = Snapshots(projector)
        service = SqlService(bus, streams, snapshots)
        await service.start()
        keeper = asyncio.create_task(snapshots.keep(SNAPSHOT_EVERY_S))
        try:
            await projector.run()
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            await service.close()
        return 0


async def _verify(db_path: Path, nats_url: str, streams: Streams) -> int:
    from projections.verify import first_difference

    async with _connected(nats_url, "projections verify") as bus:
        event_log = JetStreamLog(bus, streams)
        difference = await first_difference(db_path, event_log, bus)
    if difference is None:
        print(f"{db_path} equals the log")
        return 0
    print(f"{db_path} differs from the log: {difference}")
    return EXIT_DIFFERENT


@contextlib.asynccontextmanager
async def _connected(nats_url: str, name: str) -> Any:
    bus = await Connection.connect(nats_url, name=name, wait_s=CONNECT_WAIT_S)
    try:
        yield bus
    finally:
        await bus.close()


def _writer(event_log: JetStreamLog) -> Writer:
    return Writer(event_log, f"projections/{as_id(socket.gethostname())}")


def _run(work: Coroutine[Any, Any, int]) -> None:
    """Runs to the end and exits; what the operator can mend is one sentence on standard error."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping().get(os.environ.get("RESURGAM_LOG_LEVEL", "INFO").upper(), logging.INFO)
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            code = runner.run(work)
    except Refused as refused:
        code = _complain(refused, EXIT_REFUSED)
    except (Unreachable, LogError) as error:
        code = _complain(error, EXIT_UNREACHABLE)
    except ProjectionError as error:
        code = _complain(error, EXIT_REFUSED)
    raise typer.Exit(code)


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _complain(error: Exception, code: int) -> int:
    print(str(error), file=sys.stderr)
    return code


if __name__ == "__main__":
    app(prog_name="python -m projections")
