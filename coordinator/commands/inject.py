"""`resurgam inject`: made-up events for chaos drills, marked as such."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from coordinator.commands.common import STATE_DIR, Namespace, NatsUrl, StateDir, command_app
from coordinator.faults import UsageFault

if TYPE_CHECKING:
    from pathlib import Path

    from events.log import Appended, EventLog
    from events.synthetic import SyntheticEvents

app = command_app(
    "Writes made-up events about workers. They act like real ones; their label keeps them out of metrics."
)

WorkerId = Annotated[str, typer.Option("--worker", help="The id of the worker.")]
Label = Annotated[str, typer.Option("--synthetic-label", "--label", help="What marks the event as made up.")]
Incarnation = Annotated[int | None, typer.Option(min=0, help="The current one by default.")]
Message = Annotated[str, typer.Option(help="Text that goes with it.")]

Act = Callable[["SyntheticEvents", int], Awaitable["Appended"]]


@app.command()
def worker_failed(
    worker: WorkerId,
    *,
    label: Label = "inject",
    message: Message = "",
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """The leader condemns the worker: its tasks go elsewhere, and it is to be brought back."""

    async def act(synthetic: "SyntheticEvents", incarnation: int) -> "Appended":
        return await synthetic.worker_failed(worker, incarnation=incarnation, message=message)

    asyncio.run(_inject("worker.failed", worker, label, act, None, nats_url, namespace, state_dir))


@app.command()
def worker_exited(
    worker: WorkerId,
    *,
    exit_code: Annotated[int | None, typer.Option(min=0, max=255, help="How the agent ended.")] = None,
    signal: Annotated[int | None, typer.Option(min=1, max=64, help="Or the signal that killed it.")] = None,
    hung: Annotated[bool, typer.Option("--hung", help="It was killed for not answering.")] = False,
    incarnation: Incarnation = None,
    label: Label = "inject",
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """The worker's supervisor reports that its agent is gone."""

    async def act(synthetic: "SyntheticEvents", current: int) -> "Appended":
        return await synthetic.worker_exited(worker, incarnation=current, exit_code=exit_code, signal=signal, hung=hung)

    asyncio.run(_inject("worker.exited", worker, label, act, incarnation, nats_url, namespace, state_dir))


@app.command()
def worker_draining(
    worker: WorkerId,
    *,
    incarnation: Incarnation = None,
    label: Label = "inject",
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """The worker announces that it takes no new work. (The real one goes on with what it has.)"""

    async def act(synthetic: "SyntheticEvents", current: int) -> "Appended":
        return await synthetic.worker_draining(worker, incarnation=current)

    asyncio.run(_inject("worker.draining", worker, label, act, incarnation, nats_url, namespace, state_dir))


@app.command()
def worker_stopped(
    worker: WorkerId,
    *,
    incarnation: Incarnation = None,
    label: Label = "inject",
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """The worker says that it ended in order. (The real one runs on, and what it says is stale.)"""

    async def act(synthetic: "SyntheticEvents", current: int) -> "Appended":
        return await synthetic.worker_stopped(worker, incarnation=current)

    asyncio.run(_inject("worker.stopped", worker, label, act, incarnation, nats_url, namespace, state_dir))


@app.command()
def worker_registered(
    worker: WorkerId,
    *,
    slots: Annotated[int, typer.Option(min=1, max=1024, help="Tasks that it would take at one time.")] = 1,
    label: Label = "inject",
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """A worker registers that does not exist: it gets work, never beats, and fails as it should."""

    async def act(synthetic: "SyntheticEvents", _: int) -> "Appended":
        return await synthetic.worker_registered(worker, slots=slots)

    asyncio.run(_inject("worker.registered", worker, label, act, 0, nats_url, namespace, state_dir))


@app.command(hidden=True)
def heartbeat_silence() -> NoReturn:
    """Says why this cannot be injected."""
    raise UsageFault(
        "silence cannot be injected: heartbeats are what a worker sends, and only the worker can stop sending them; "
        "'kill -STOP' its process, or inject worker-failed"
    )


async def _inject(
    kind: str,
    worker: str,
    label: str,
    act: Act,
    incarnation: int | None,
    nats_url: str | None,
    namespace: str | None,
    state_dir: "Path",
) -> None:
    from coordinator.access import open_system
    from events.identity import is_id
    from events.synthetic import SyntheticEvents

    if not is_id(worker):
        raise UsageFault(f"--worker {worker!r} is no name: it takes 1 to 64 letters, digits, '_' or '-'")
    async with open_system(nats_url=nats_url, namespace=namespace, state_dir=state_dir, live_only=True) as system:
        try:
            synthetic = SyntheticEvents(system.log, label, source="inject")
        except ValueError as error:
            raise UsageFault(f"--synthetic-label: {error}") from error
        current = incarnation if incarnation is not None else await _current_incarnation(system.log, worker)
        appended = await act(synthetic, current)
    typer.echo(f"{kind} of {worker} stored at {appended.last}; 'resurgam replay story {worker}' shows what follows")


async def _current_incarnation(log: "EventLog", worker: str) -> int:
    registered = await log.last_on(f"worker.{worker}.registered")
    if registered is None:
        raise UsageFault(f"no worker called {worker!r} has ever registered; 'resurgam workers' lists those that have")
    return registered.sequence
