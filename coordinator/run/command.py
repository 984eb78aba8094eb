"""The command line of `resurgam run`."""

import asyncio
import contextlib
import gc
import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from coordinator.commands.common import STATE_DIR, actor, command_app, interpreter
from coordinator.faults import Fault, UsageFault

app = command_app()

WORKERS_MAX = 256


@app.command()
def run(
    arguments: Annotated[
        list[str] | None, typer.Argument(help="pytest's own arguments: paths, -k, -m, ...; after '--'.")
    ] = None,
    *,
    workers: Annotated[
        int, typer.Option("--workers", "-w", min=0, max=WORKERS_MAX, help="0: one for each processor.")
    ] = 0,
    python: Annotated[
        str | None, typer.Option(help="The interpreter of the suite; the active environment's by default.")
    ] = None,
    junitxml: Annotated[Path | None, typer.Option(help="Write a JUnit report there.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds that one attempt of one test may take.")] = None,
    retries: Annotated[int, typer.Option(min=0, max=1000, help="Run a failed test again, so often.")] = 0,
    infrastructure_retries: Annotated[
        int | None, typer.Option(min=0, max=1000, help="Run a test again whose worker died, so often. [3]")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with settings, as for the coordinator.")] = None,
    state_dir: Annotated[Path, typer.Option(help="Where the log and the history are kept.")] = STATE_DIR,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="A line for each test.")] = False,
) -> None:
    """Runs a pytest suite on local workers: resurgam run --workers 3 -- tests -k fast

    Exits as pytest does: 0 all passed, 1 some did not, 2 interrupted or not collected, 5 there was no test.
    """
    from coordinator.run.arguments import understand

    if timeout is not None and not 0 < timeout < float("inf"):
        raise UsageFault(f"--timeout {timeout:g}: it takes a number of seconds above 0")
    given = understand(tuple(arguments or ()))
    junit = junitxml or (Path(given.junit_path) if given.junit_path else None)
    suite_python = interpreter(python)
    # Before threads and loops: the workers and the projector are forked from here.
    from coordinator.run.nursery import open_nursery
    from coordinator.standby import open_standby

    nursery = open_nursery()
    projector = open_standby("projections")
    started_at, started = time.time(), time.monotonic()

    gc.disable()
    from coordinator.config import load_settings
    from coordinator.run.session import Plan, Session, state_settings
    from coordinator.run.show import show_for
    from coordinator.run.summary import exit_code, summary_lines
    from events.work import Suite

    plan = Plan(
        suite=Suite(python=suite_python, cwd=str(Path.cwd()), args=given.args),
        workers=workers or len(os.sched_getaffinity(0)),
        actor=actor(),
        timeout_s=timeout,
        verdict_retries=retries or None,
        infrastructure_retries=infrastructure_retries,
        failures_max=given.failures_max,
        settings=state_settings(state_dir, load_settings(file=config, http=False)),
    )
    session = Session(plan, nursery, projector)
    console = None
    if sys.stdout.isatty():
        from rich.console import Console

        console = Console()
    # All that is loaded stays to the end, and the collector need not look through it again and again.
    gc.freeze()
    gc.enable()
    code = _drive(session, show_for(console, verbose=verbose or given.verbose))
    collection, tally = session.collection, session.tally
    if collection is not None and collection.errors:
        print(collection.errors.rstrip(), file=sys.stderr)
    if collection is not None and tally is None and code == 0:
        print(f"no tests ran in {time.monotonic() - started:.2f}s")
        raise typer.Exit(collection.exit_code or 5)
    if tally is not None:
        elapsed = time.monotonic() - started
        for line in summary_lines(tally, elapsed):
            print(line)
        if junit is not None:
            from coordinator.run.junit import write_junit

            write_junit(junit, tally, started_at, elapsed)
        code = code or exit_code(tally)
    gc.freeze()  # the interpreter would look through everything once more before it goes
    raise typer.Exit(code)


def _drive(session: object, show: object) -> int:
    """Runs the session in a loop of its own; SIGINT and SIGTERM end it in order. Returns 0, or why it ended early."""
    from coordinator.run.session import Session
    from coordinator.run.summary import INTERRUPTED

    assert isinstance(session, Session)

    async def work() -> int:
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(session.run(show))  # type: ignore[arg-type]
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            return INTERRUPTED
        except Fault as fault:
            print(f"resurgam: {fault}", file=sys.stderr)
            return fault.exit_code
        return 0

    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.run(work())
    return asyncio.run(work())
