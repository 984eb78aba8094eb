"""`resurgam workers`, `resurgam tasks`: the state of a system, folded from its log."""

import asyncio
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from coordinator.commands.common import (
    STATE_DIR,
    AsJson,
    Namespace,
    NatsUrl,
    StateDir,
    command_app,
    did_you_mean,
    echo_json,
)
from coordinator.faults import UsageFault

if TYPE_CHECKING:
    from pathlib import Path

    from recovery.state import State

workers_app = command_app()
tasks_app = command_app()


@workers_app.command()
def workers(
    *,
    status: Annotated[str | None, typer.Option(help="Only those in this status.")] = None,
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
    as_json: AsJson = False,
) -> None:
    """Lists the workers: status, tasks, last heartbeat, and the recovery under way."""
    from recovery.lifecycle import WorkerStatus
    from replay.fold import worker_row
    from replay.tables import headline, workers_table

    _check_status(status, get_args(WorkerStatus))
    state = asyncio.run(_folded(nats_url, namespace, state_dir))
    chosen = [worker for worker in state.workers.values() if status in (None, worker.status)]
    if as_json:
        echo_json([worker_row(state, worker) for worker in chosen])
    else:
        _print_tables(headline(state), workers_table(state, chosen) if chosen else "no workers")


@tasks_app.command()
def tasks(
    *,
    run: Annotated[str | None, typer.Option(help="Only those of this run.")] = None,
    status: Annotated[str | None, typer.Option(help="Only those in this status.")] = None,
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
    as_json: AsJson = False,
) -> None:
    """Lists the tasks: status, verdict, attempt, worker."""
    from recovery.lifecycle import TaskStatus
    from replay.fold import task_row
    from replay.tables import headline, tasks_table

    _check_status(status, get_args(TaskStatus))
    state = asyncio.run(_folded(nats_url, namespace, state_dir))
    chosen = [task for task in state.tasks.values() if status in (None, task.status) and run in (None, task.run_id)]
    if as_json:
        echo_json([task_row(task) for task in chosen])
    else:
        _print_tables(headline(state), tasks_table(chosen) if chosen else "no tasks")


async def _folded(nats_url: str | None, namespace: str | None, state_dir: "Path") -> "State":
    from coordinator.access import open_system
    from replay.beats import StreamBeats
    from replay.fold import fold
    from replay.progress import shown

    async with (
        open_system(nats_url=nats_url, namespace=namespace, state_dir=state_dir) as system,
        StreamBeats(system.bus, system.streams) as beats,
    ):
        with shown("folding", 1, await system.log.last_sequence()) as progress:
            return await fold(system.log, beats=beats, progress=progress)


def _check_status(given: str | None, known: tuple[str, ...]) -> None:
    if given is not None and given not in known:
        raise UsageFault(f"--status {given!r}: {did_you_mean(given, known)}")


def _print_tables(headline: str, table: object) -> None:
    from replay.tables import console

    out = console()
    out.print(headline, soft_wrap=True)
    out.print()
    out.print(table)
