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
    """Compare a history file with a rebuild from the log, row for row; a projector may have it open meanwhile."""
    _run(_verify(*_chosen(context, db_path, nats_url, namespace)))


@app.command()
def rebuild(
    context: typer.Context,
    db_path: DbPath | None = None,
    nats_url: NatsUrl | None = None,
    namespace: Namespace | None = None,
) -> None:
    """Make a history file anew from the log, and put it in the place of the old one, which answers until then."""
    _run(_rebuild(*_chosen(context, db_path, nats_url, namespace)))


def _chosen(
    context: typer.Context, db_path: Path | None, nats_url: str | None, namespace: str | None
) -> tuple[Path, str, Streams]:
    """Options may stand before the command as well as behind it."""
    assert context.parent is not None
    before = context.parent.params
    streams = _streams(namespace or before["namespace"])
    return db_path or before["db_path"], nats_url or before["nats_url"], streams


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
    for module in ("adoption", "projector", "snapshots", "sql", "views"):
        importlib.import_module(f"projections.{module}")
    _loop_factory()


async def _project(db_path: Path, nats_url: str, streams: Streams, *, once: bool, until: int | None) -> int:
    from projections.adoption import AdoptionService
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
        service, adoption = SqlService(bus, streams, snapshots), AdoptionService(bus, streams, projector)
        await service.start()
        await adoption.start()
        keeper = asyncio.create_task(snapshots.keep(SNAPSHOT_EVERY_S))
        try:
            await projector.run()
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            await adoption.close()
            await service.close()
        return 0


async def _verify(db_path: Path, nats_url: str, streams: Streams) -> int:
    from projections.verify import difference_of

    tune()
    async with _connected(nats_url, "projections verify") as bus:
        difference, through = await difference_of(db_path, JetStreamLog(bus, streams), bus, streams)
    if difference is None:
        print(f"{db_path} equals the log up to event {through}")
        return 0
    print(f"{db_path} differs from the log: {difference}")
    return EXIT_DIFFERENT


async def _rebuild(db_path: Path, nats_url: str, streams: Streams) -> int:
    from projections.adoption import make_anew

    tune()
    async with _connected(nats_url, "projections rebuild") as bus:
        event_log = JetStreamLog(bus, streams)
        through = await make_anew(db_path, event_log, _writer(event_log), bus, streams, "an operator asked for it")
    print(f"{db_path} was made anew, up to event {through}")
    return 0


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
        code = _complain(error, getattr(error, "exit_code", EXIT_UNREACHABLE))
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
