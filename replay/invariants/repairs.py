"""How much is done at once to bring workers back, and the breaker: folding and judging."""

from collections.abc import Callable
from typing import Any

from events.base import Event
from events.clock import seconds
from events.envelope import Recorded
from events.system import BreakerClosed, BreakerHalfOpened, BreakerOpened
from replay.invariants import outages
from replay.invariants.case import Case
from replay.invariants.repair_world import Attempt, Repairs, repairs_max
from replay.invariants.silence import ROUNDING_S
from replay.invariants.world import Worker, World


def note_end(world: World, one: Worker, attempt: Attempt, *, failed: bool | None) -> None:
    """`failed` None: it shows nothing."""
    repairs = world.repairs
    repairs.under_way.discard(one.worker_id)
    if repairs.probe == one.worker_id:
        repairs.probe_failed = failed
        if failed is None:
            repairs.probe = ""
    if failed is not None and attempt.acts:
        repairs.ends[one.worker_id] = (world.time, failed)
        horizon = world.time - world.policy.breaker_window
        repairs.ends = {key: end for key, end in repairs.ends.items() if end[0] > horizon}


def note_doubt(world: World) -> None:
    repairs = world.repairs
    repairs.until = min(repairs.until, world.time + world.policy.breaker_open_max)
    repairs.ends = {key: (min(at, world.time), failed) for key, (at, failed) in repairs.ends.items()}
    outages.note_doubt(world)


def _opened(world: World, _: Recorded, event: BreakerOpened) -> None:
    if world.repairs.breaker != "open":
        world.repairs = Repairs(world.repairs.under_way, "open", seconds(event.until), event.times)


def _half_opened(world: World, _: Recorded, event: BreakerHalfOpened) -> None:
    repairs = world.repairs
    one = world.workers.get(event.worker_id)
    attempt = None if one is None else one.attempt
    if repairs.breaker != "closed" and not repairs.probe and attempt is not None and attempt.number == event.attempt:
        world.repairs = Repairs(repairs.under_way, "half_open", repairs.until, repairs.times, event.worker_id)


def _closed(world: World, _: Recorded, event: BreakerClosed) -> None:
    del event
    if world.repairs.breaker != "closed":
        world.repairs = Repairs(world.repairs.under_way)


def judge_beginning(case: Case, one: Worker, attempt: Attempt) -> None:
    """An attempt that does something begins: is there room, and may it?"""
    repairs = case.world.repairs
    if not attempt.acts:
        return
    if repairs.breaker != "closed":
        allowed = repairs.breaker == "half_open" and repairs.probe == one.worker_id and repairs.probe_failed is None
        case.require(allowed, "breaker", f"its attempt begins, and the breaker is {repairs.breaker}")
        return
    outages.judge_beginning(case, one, attempt)
    if repairs.batch != case.batch:
        repairs.batch, repairs.begun = case.batch, 0
    repairs.begun += 1
    most = repairs_max(case.world.policy.repairs_share, case.world.expected)
    at_once = len(repairs.under_way) + repairs.begun
    case.require(at_once <= most, "repairs-share", f"{at_once} workers are under repair at once: {most} are the most")


def judge_opened(case: Case, event: BreakerOpened) -> None:
    repairs, policy = case.world.repairs, case.world.policy
    again = repairs.breaker == "half_open"
    times = repairs.times + 1 if again else 1
    due = min(policy.breaker_open_max, policy.breaker_open * 2.0 ** min(times - 1, 60))
    wait = seconds(event.until) - case.now
    case.require(
        event.times == times and abs(wait - due) <= ROUNDING_S,
        "breaker",
        f"it opens for the {event.times}. time, for {wait:.3f} s; it is the {times}., for {due:g} s",
    )
    if again:
        case.require(repairs.probe_failed is True, "breaker", "it opens again, and no probe has failed")
        return
    failed, tried = sum(end[1] for end in repairs.ends.values()), len(repairs.ends)
    enough = failed >= policy.breaker_failures and failed >= policy.breaker_share * tried - 1e-6
    case.require(
        repairs.breaker == "closed" and enough and (event.workers_failed, event.workers_tried) == (failed, tried),
        "breaker",
        f"it opens for {event.workers_failed} of {event.workers_tried} workers, being {repairs.breaker}; "
        f"{failed} of {tried} were not brought back",
    )


def judge_half_opened(case: Case, event: BreakerHalfOpened) -> None:
    repairs = case.world.repairs
    over = repairs.breaker == "half_open" or case.now >= repairs.until
    free = repairs.breaker != "closed" and not repairs.probe
    case.require(over and free, "breaker", f"a probe is let through, and the breaker is {repairs.breaker}")
    one = case.world.workers.get(event.worker_id)
    attempt = None if one is None else one.attempt
    waits = attempt is not None and attempt.status == "scheduled" and attempt.number == event.attempt and attempt.acts
    due = waits and attempt is not None and case.now >= attempt.not_before - ROUNDING_S
    case.require(due, "breaker", f"{event.worker_id} is let through as a probe, and no attempt of it is due")


def judge_closed(case: Case, event: BreakerClosed) -> None:
    del event
    repairs = case.world.repairs
    wanted = (one for one in case.world.workers.values() if one.status == "failed" and not one.leaving)
    waiting = any(one.attempt is not None and one.attempt.acts and not one.attempt.hopeless for one in wanted)
    proven = repairs.breaker == "half_open" and repairs.probe_failed is False
    idle = not waiting and not repairs.probe and (repairs.breaker == "half_open" or case.now >= repairs.until)
    if repairs.breaker == "closed" or not (proven or idle):
        case.blame("breaker", f"it is closed, being {repairs.breaker}, and no probe has succeeded")


FOLDS: dict[type[Event], Callable[[World, Recorded, Any], None]] = {
    BreakerOpened: _opened,
    BreakerHalfOpened: _half_opened,
    BreakerClosed: _closed,
}
JUDGES: dict[type[Event], Callable[[Case, Any], None]] = {
    BreakerOpened: judge_opened,
    BreakerHalfOpened: judge_half_opened,
    BreakerClosed: judge_closed,
}
