"""`resurgam pause`, `resume`, `drain`, `cordon`, `uncordon`, `readmit`, `cancel`: orders, and what came of them."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from coordinator.commands.common import STATE_DIR, AsJson, Namespace, NatsUrl, StateDir, actor, command_app, echo_json
from coordinator.faults import UsageFault
from coordinator.orders.order import WAIT_S, WAIT_S_MAX, Effect, Order, Report, Word

if TYPE_CHECKING:
    from pathlib import Path

NOT_DONE = 1
"""Exit code: something was refused, or its effect has not come within the time."""

Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; it stands in the log beside your name.")]
Actor = Annotated[str | None, typer.Option("--actor", help="Who orders it; else your login name and this host.")]
WaitS = Annotated[
    float, typer.Option("--wait", help="Seconds to wait for what comes of it; 0: none.", min=0, max=WAIT_S_MAX)
]
Workers = Annotated[list[str], typer.Argument(help="Ids of workers, or patterns: 'w*'.", metavar="WORKER...")]

pause_app, resume_app, drain_app, readmit_app, cancel_app = (command_app() for _ in range(5))
cordon_app, uncordon_app = command_app(), command_app()


@pause_app.command()
def pause(
    *,
    reason: Reason = "",
    as_actor: Actor = None,
    wait: WaitS = WAIT_S,
    as_json: AsJson = False,
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Halts recovery: failures go on being detected and recorded, and nothing is done about them.

    No worker is brought back, no task of a lost worker goes elsewhere; open attempts are given up, and cost nothing.
    Work goes on at whoever is well. It holds under every policy, and whoever leads, until 'resurgam resume'.
    """
    _give("pause", (), reason, as_actor, wait, as_json, (nats_url, namespace, state_dir))


@resume_app.command()
def resume(
    *,
    reason: Reason = "",
    as_actor: Actor = None,
    wait: WaitS = WAIT_S,
    as_json: AsJson = False,
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Lets recovery go on after 'resurgam pause': what is owed by now is done at once."""
    _give("resume", (), reason, as_actor, wait, as_json, (nats_url, namespace, state_dir))


@drain_app.command()
def drain(
    workers: Workers,
    *,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew as another incarnation instead.")] = False,
    reason: Reason = "",
    as_actor: Actor = None,
    wait: WaitS = WAIT_S,
    as_json: AsJson = False,
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Lets workers finish what runs there, hand back what waits, and end; nobody brings them back.

    It is no failure and costs no budget. What does not end within a worker's --drain-timeout is killed and handed back.
    Exit code 0: they have ended (or begun anew); 1: some have not yet, or cannot; 2: there is no such worker.
    """
    _give("drain", workers, reason, as_actor, wait, as_json, (nats_url, namespace, state_dir), restart=restart)


@cordon_app.command()
def cordon(
    workers: Workers,
    *,
    reason: Reason = "",
    as_actor: Actor = None,
    wait: WaitS = WAIT_S,
    as_json: AsJson = False,
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Gives workers nothing new until 'resurgam uncordon': they go on beating, and finish what they have."""
    _give("cordon", workers, reason, as_actor, wait, as_json, (nats_url, namespace, state_dir))


@uncordon_app.command()
def uncordon(
    workers: Workers,
    *,
    reason: Reason = "",
    as_actor: Actor = None,
    wait: WaitS = WAIT_S,
    as_json: AsJson = False,
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Gives workers work again, whoever cordoned them; what led to a cordon for flapping is forgiven."""
    _give("uncordon", workers, reason, as_actor, wait, as_json, (nats_url, namespace, state_dir))


@readmit_app.command()
def readmit(
    workers: Workers,
    *,
    reason: Reason = "",
    as_actor: Actor = None,
    wait: WaitS = WAIT_S,
    as_json: AsJson = False,
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Takes back workers that were given up: each is brought back, or works again if it is there already."""
    _give("readmit", workers, reason, as_actor, wait, as_json, (nats_url, namespace, state_dir))


@cancel_app.command()
def cancel(
    names: Annotated[list[str], typer.Argument(help="Ids of runs or tasks, or patterns.", metavar="RUN|TASK...")],
    *,
    reason: Reason = "",
    as_actor: Actor = None,
    wait: WaitS = WAIT_S,
    as_json: AsJson = False,
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Cancels runs or tasks: what waits is never started, what runs is stopped.

    A task that ends before it could be stopped keeps its own verdict. Exit code 0: all have their verdicts; 1: some are
    being stopped still; 2: there is no such run or task.
    """
    _give("cancel", names, reason, as_actor, wait, as_json, (nats_url, namespace, state_dir))


def _give(
    word: Word,
    targets: "list[str] | tuple[()]",
    reason: str,
    given_actor: str | None,
    wait_s: float,
    as_json: bool,  # noqa: FBT001 - as typer hands it on
    where: "tuple[str | None, str | None, Path]",
    **changes: Any,
) -> None:
    content = {"order": word, "targets": list(targets), "actor": given_actor or actor(), "reason": reason}
    try:
        order = msgspec.convert({**content, "wait_s": wait_s, **changes}, Order)
    except msgspec.ValidationError as error:
        raise UsageFault(f"this cannot be ordered: {error}") from error
    report = asyncio.run(_ordered(order, where))
    if as_json:
        echo_json(report)
    else:
        for effect in report.effects:
            typer.echo(line_of(effect))
    if not report.good:
        raise typer.Exit(NOT_DONE)


async def _ordered(order: Order, where: "tuple[str | None, str | None, Path]") -> Report:
    from coordinator.access import open_system
    from coordinator.orders.folded import folded
    from coordinator.orders.giving import Desk, give

    nats_url, namespace, state_dir = where
    async with (
        open_system(nats_url=nats_url, namespace=namespace, state_dir=state_dir, live_only=True) as system,
        folded(system.log) as state,
    ):
        return await give(Desk(system.log, f"cli/{order.actor}", lambda: state), order)


def line_of(effect: Effect) -> str:
    """`w1  done       it has drained and stopped (event 17)`."""
    event = f" (event {effect.sequence})" if effect.sequence else ""
    return f"{f'{effect.target}  ' if effect.target else ''}{effect.outcome:<9}  {effect.sentence}{event}"
