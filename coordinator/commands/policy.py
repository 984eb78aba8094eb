"""`resurgam policy`: what is in force, what was, and changing it while everything runs."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from coordinator.commands.common import (
    STATE_DIR,
    AsJson,
    Namespace,
    NatsUrl,
    StateDir,
    actor,
    command_app,
    echo_json,
    pairs,
)
from coordinator.commands.orders import Actor, Reason

if TYPE_CHECKING:
    from pathlib import Path

    from coordinator.orders.policies import Difference, PolicyInForce, PolicyReport
    from events.log import EventLog

app = command_app("Shows the policy, the numbers that everything is decided by, and changes it at run time.")

T = TypeVar("T")
Where = tuple[str | None, str | None, "Path"]


@app.command()
def show(
    *,
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
    as_json: AsJson = False,
) -> None:
    """Shows what is in force and since when, with a star at what is not the default."""
    from coordinator.orders.policies import as_settings, history, shown
    from events.policy import Policy

    present = _ask(history, (nats_url, namespace, state_dir))[-1]
    if as_json:
        echo_json(present)
        return
    typer.echo(_by_whom(present))
    defaults = as_settings(Policy())
    for name, value in as_settings(present.policy).items():
        other = "" if value == defaults[name] else f"   * default: {shown(defaults[name])}"
        typer.echo(f"  {name:<28} {shown(value)}{other}")


@app.command("set")
def set_(
    settings: Annotated[list[str], typer.Argument(help="'default' stands for the default.", metavar="KEY=VALUE...")],
    *,
    reason: Reason = "",
    as_actor: Actor = None,
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
    as_json: AsJson = False,
) -> None:
    """Changes settings, from the event on that records it; all others stay as they are.

    What is set here stands, whoever leads: coordinators do not replace it by what they were configured with.
    """
    from coordinator.orders.policies import PolicyOrder, change

    given: dict[str, str] = {}
    for one in settings:
        given |= pairs("policy set", [one])
    order = PolicyOrder(set=given, actor=as_actor or actor(), reason=reason)

    async def changed(log: "EventLog") -> "PolicyReport":
        return await change(log, order, f"cli/{order.actor}", where="policy set")

    report = _ask(changed, (nats_url, namespace, state_dir), live_only=True)
    if as_json:
        echo_json(report)
    elif not report.differences:
        typer.echo("nothing is changed: all of that is in force already")
    else:
        typer.echo(_by_whom(report.in_force))
        _print_differences(report.differences)


@app.command()
def diff(
    first: Annotated[int | None, typer.Argument(help="A sequence of the log; else the defaults.", min=0)] = None,
    second: Annotated[int | None, typer.Argument(help="Another; else what is in force now.", min=0)] = None,
    *,
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
    as_json: AsJson = False,
) -> None:
    """Shows in which settings two policies differ: those in force behind two events, or the defaults and now."""
    from coordinator.orders.policies import NOBODY, differences, find, history

    known = _ask(history, (nats_url, namespace, state_dir))
    before = NOBODY if first is None else find(known, first)
    after = known[-1] if second is None else find(known, second)
    assert before is not None
    assert after is not None
    found = differences(before.policy, after.policy)
    if as_json:
        echo_json({"before": before, "after": after, "differences": found})
        return
    typer.echo(f"from {_by_whom(before)}\n  to {_by_whom(after)}")
    _print_differences(found)
    if not found:
        typer.echo("  no difference")


@app.command()
def history(
    *,
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
    as_json: AsJson = False,
) -> None:
    """Shows every change that there was: when, by whom, why, and what it changed."""
    from coordinator.orders import policies

    known = _ask(policies.history, (nats_url, namespace, state_dir))
    if as_json:
        echo_json(known[1:])
        return
    for before, after in pairwise(known):
        typer.echo(_by_whom(after))
        _print_differences(policies.differences(before.policy, after.policy))
    if len(known) == 1:
        typer.echo(_by_whom(known[0]))


def _ask(question: "Callable[[EventLog], Awaitable[T]]", where: Where, *, live_only: bool = False) -> T:
    nats_url, namespace, state_dir = where

    async def asked() -> T:
        from coordinator.access import open_system

        async with open_system(
            nats_url=nats_url, namespace=namespace, state_dir=state_dir, live_only=live_only
        ) as system:
            return await question(system.log)

    return asyncio.run(asked())


def _by_whom(one: "PolicyInForce") -> str:
    if one.at is None:
        return f"policy {one.policy_hash}: the defaults"
    why = f": {one.reason}" if one.reason else ""
    return f"policy {one.policy_hash}, since {one.at:%Y-%m-%d %H:%M:%S} UTC (event {one.sequence}) by {one.actor}{why}"


def _print_differences(found: "tuple[Difference, ...]") -> None:
    from coordinator.orders.policies import shown

    for one in found:
        typer.echo(f"  {one.setting}: {shown(one.before)} -> {shown(one.after)}")
