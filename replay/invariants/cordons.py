"""Who gets no new work for the time being: folding and judging."""

from collections.abc import Callable
from math import inf
from typing import Any

from events.base import Event
from events.clock import seconds
from events.envelope import Recorded
from events.worker import WorkerCordoned, WorkerUncordoned
from replay.invariants.case import Case
from replay.invariants.silence import ROUNDING_S
from replay.invariants.world import LIVE, Worker, World


def note_return(world: World, one: Worker) -> None:
    """An attempt to bring it back has ended. If it lives, one failure is over; drills do not count,
    nor restarts for failing everything."""
    if one.status in LIVE and one.synthetic is None and not one.fast_row:
        one.flaps.append(one.failed_at)
        one.flaps = [at for at in one.flaps if at > world.time - world.policy.flap_window]


def forgive(one: Worker) -> None:
    one.flaps, one.flap_times, one.flap_until = [], 0, 0.0


def note_doubt(world: World, one: Worker) -> None:
    """Behind a clock that was set: no cordon for flapping lasts longer than the longest."""
    latest = world.time + world.policy.flap_cordon_max
    one.failed_at = min(one.failed_at, world.time)
    one.flaps = [min(at, world.time) for at in one.flaps]
    one.flap_until = min(one.flap_until, latest)
    if "flapping" in one.cordons:
        one.cordons["flapping"] = min(one.cordons["flapping"], latest)
    if "forecast" in one.cordons:
        one.cordons["forecast"] = min(one.cordons["forecast"], world.time + world.policy.forecast_cooldown)


def _cordoned(world: World, _: Recorded, event: WorkerCordoned) -> None:
    one = world.workers.get(event.worker_id)
    if one is None or (event.cause == "flapping" and "flapping" in one.cordons):
        return
    one.cordons[event.cause] = inf if event.until is None else seconds(event.until)
    if event.cause == "flapping":
        one.flaps, one.flap_times, one.flap_until = [], event.times, one.cordons["flapping"]


def _uncordoned(world: World, _: Recorded, event: WorkerUncordoned) -> None:
    one = world.workers.get(event.worker_id)
    if one is None:
        return
    lifted = set(one.cordons) if event.cause is None else {event.cause} & set(one.cordons)
    for cause in lifted:
        del one.cordons[cause]
    if "flapping" in lifted and event.actor:
        forgive(one)


def judge_cordoned(case: Case, event: WorkerCordoned) -> None:
    one = case.world.workers.get(event.worker_id)
    if one is None or event.cause != "flapping":
        case.blame("cordons", f"no leader cordons it as {event.cause}, or it has never registered")
        return
    policy = case.world.policy
    case.labelled(None)
    case.require(case.world.may_repair, "operator-obeyed", "recovery is off")
    if "flapping" in one.cordons or one.status in ("permanent", "stopped"):
        case.blame("cordons", f"it is cordoned, and it is {one.status}, under {', '.join(one.cordons) or 'no cordon'}")
    case.require(
        len(one.flaps) >= policy.flap_failures and event.failures == len(one.flaps),
        "cordons",
        f"it is cordoned for {event.failures} failures; it came back from {len(one.flaps)} of {policy.flap_failures}",
    )
    again = case.now < one.flap_until + policy.flap_cordon_max
    times = 1 + one.flap_times if again else 1
    due = min(policy.flap_cordon * 2.0 ** min(times - 1, 60), policy.flap_cordon_max)
    until = inf if event.until is None else seconds(event.until)
    case.require(
        event.times == times and abs(until - case.now - due) <= ROUNDING_S,
        "cordons",
        f"time {event.times}, for {until - case.now:.3f} s; it is time {times}, for {due:g} s",
    )
    case.require(others(case.world, one), "cordons", "nobody else could take its work")


def others(world: World, one: Worker) -> bool:
    """Whether somebody else can be given work, and for each of its labels somebody else who has it."""
    there = [
        other
        for other in world.workers.values()
        if other is not one and other.status == "alive" and other.attempt is None and not other.cordons
    ]
    return bool(there) and all(
        any(other.labels.get(name) == value for other in there) for name, value in one.labels.items()
    )


def judge_uncordoned(case: Case, event: WorkerUncordoned) -> None:
    one = case.world.workers.get(event.worker_id)
    until = None if one is None else one.cordons.get(event.cause or "")
    if until is None:
        case.blame("cordons", f"it is released from {event.cause}, and is not under it")
    else:
        case.require(case.now >= until, "cordons", f"it is released {until - case.now:.3f} s before its time")


FOLDS: dict[type[Event], Callable[[World, Recorded, Any], None]] = {
    WorkerCordoned: _cordoned,
    WorkerUncordoned: _uncordoned,
}
