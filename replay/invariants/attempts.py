"""Attempts to bring workers back: what the log says of them, and whether each climbs the rung that was due."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from events import worker
from events.base import Event
from events.clock import seconds
from events.envelope import Recorded
from events.failures import AWAIT, REPLACE, Rung
from replay.invariants import cordons, outages, repairs
from replay.invariants.case import Case
from replay.invariants.repair_world import Attempt
from replay.invariants.world import Worker, World

LADDER = "ladder"
FADING = 100
"""A record of so many attempts is halved."""

_ENDS: dict[str, tuple[type[Event], ...]] = {
    "scheduled": (worker.WorkerRecoverySuperseded,),
    "started": (worker.WorkerRecoverySuperseded, worker.WorkerRecoveryFailed),
    "probed": (worker.WorkerRecoverySuperseded, worker.WorkerRecoveryFailed, worker.WorkerRecoverySucceeded),
}
"""How an attempt may end at each stage."""


def _scheduled(world: World, _: Recorded, event: worker.WorkerRecoveryScheduled) -> None:
    one = world.workers.get(event.worker_id)
    if one is not None and one.attempt is None and event.incarnation == one.failed_incarnation:
        one.attempt = Attempt(
            event.attempt,
            event.incarnation,
            seconds(event.not_before),
            event.strategy,
            event.reason or one.failure_reason,
        )


def _open_attempt(world: World, worker_id: str, number: int) -> Attempt | None:
    one = world.workers.get(worker_id)
    attempt = None if one is None else one.attempt
    return attempt if attempt is not None and attempt.number == number else None


def _attempt_started(world: World, _: Recorded, event: worker.WorkerRecoveryStarted) -> None:
    attempt = _open_attempt(world, event.worker_id, event.attempt)
    if attempt is not None and attempt.status == "scheduled":
        if attempt.acts:
            world.repairs.under_way.add(event.worker_id)
        attempt.status, attempt.incarnation, attempt.deadline = "started", event.incarnation, seconds(event.deadline)


def _acted(world: World, _: Recorded, event: worker.WorkerRecoveryActed) -> None:
    attempt = _open_attempt(world, event.worker_id, event.attempt)
    if attempt is None or attempt.status == "scheduled" or attempt.acted:
        return
    if (event.strategy, event.incarnation) != (attempt.strategy, attempt.incarnation):
        return
    one = world.workers[event.worker_id]
    attempt.acted = True
    if event.outcome != "done":
        attempt.spoiled |= one.status == "failed"
    if event.outcome == "unavailable":
        one.unavailable.add(event.strategy)


def _probed(world: World, recorded: Recorded, event: worker.WorkerRecoveryProbed) -> None:
    attempt = _open_attempt(world, event.worker_id, event.attempt)
    if attempt is not None and attempt.status == "started":
        attempt.status = "probed"
        attempt.deadline = max(attempt.deadline, recorded.time + world.policy.failed_after)


def _answered(world: World, _: Recorded, event: worker.WorkerProbeAnswered) -> None:
    attempt = _open_attempt(world, event.worker_id, event.attempt)
    if attempt is not None and attempt.status == "probed":
        attempt.answered |= world.workers[event.worker_id].incarnation == event.incarnation


def _attempt_ended(
    world: World,
    recorded: Recorded,
    event: worker.WorkerRecoverySucceeded | worker.WorkerRecoveryFailed | worker.WorkerRecoverySuperseded,
) -> None:
    attempt = _open_attempt(world, event.worker_id, event.attempt)
    if attempt is None or type(event) not in _ENDS[attempt.status]:
        return
    one = world.workers[event.worker_id]
    tried = not isinstance(event, worker.WorkerRecoverySuperseded) and attempt.strategy not in one.unavailable
    shown = one.synthetic is None and tried
    failed = isinstance(event, worker.WorkerRecoveryFailed) if shown else None
    repairs.note_end(world, one, attempt, failed=failed)
    one.attempt = None
    horizon = recorded.time - world.policy.recovery_attempts_window
    one.failures = [at for at in one.failures if at > horizon]
    one.ends = [at for at in one.ends if at > horizon]
    one.tried = [(at, strategy) for at, strategy in one.tried if at > horizon]
    cordons.note_return(world, one)
    lost_together = world.lost_together(one.worker_id)
    outages.note_attempt(world, one, event)
    if isinstance(event, worker.WorkerRecoverySuperseded):
        return
    success = isinstance(event, worker.WorkerRecoverySucceeded)
    one.ends.append(recorded.time)
    if recorded.synthetic is None and attempt.strategy not in one.unavailable:
        _tally(world, attempt, success=success)
    if success:
        one.recovered_at = recorded.time
        one.synthetic = None
        one.unavailable.clear()
    else:
        if not lost_together:
            one.failures.append(recorded.time)
        one.tried.append((recorded.time, attempt.strategy))


def _tally(world: World, attempt: Attempt, *, success: bool) -> None:
    key = attempt.reason, attempt.strategy
    good, bad = world.tallies.get(key, (0, 0))
    good, bad = good + success, bad + (not success)
    world.tallies[key] = (good // 2, bad // 2) if good + bad >= FADING else (good, bad)


FOLDS: dict[type[Event], Callable[[World, Recorded, Any], None]] = {
    worker.WorkerRecoveryScheduled: _scheduled,
    worker.WorkerRecoveryStarted: _attempt_started,
    worker.WorkerRecoveryActed: _acted,
    worker.WorkerRecoveryProbed: _probed,
    worker.WorkerProbeAnswered: _answered,
    worker.WorkerRecoverySucceeded: _attempt_ended,
    worker.WorkerRecoveryFailed: _attempt_ended,
    worker.WorkerRecoverySuperseded: _attempt_ended,
}


def judge_rung(case: Case, one: Worker, event: worker.WorkerRecoveryScheduled, failures: int) -> None:
    """Whether it is the one that is due, by the policy in force and by what has been tried."""
    policy = case.world.policy
    reason = one.failure_reason
    given, due = (event.reason, event.order), (reason, policy.strategy_order)
    case.require(given == due, LADDER, f"it is decided for {given}, and what holds is {due}")
    _judge_figures(case, reason, event.considered)
    possible = [
        strategy
        for strategy in policy.ladder(reason)
        if strategy not in one.unavailable and (strategy != REPLACE or policy.launcher)
    ]
    if not possible:
        case.require(event.strategy == AWAIT, LADDER, f"it tries {event.strategy}, which cannot be carried out")
        return
    horizon = case.now - policy.recovery_attempts_window
    tried = [strategy for at, strategy in one.tried if at > horizon]
    if policy.strategy_order == "history":
        _judge_record(case, event.strategy, reason, possible, tried)
        return
    left = possible[:]
    for strategy in tried:
        if strategy in left:
            left.remove(strategy)
    surplus = max(0, len(left) - (policy.max_recovery_attempts - failures))
    rung = left[min(surplus, len(left) - 1)] if left else possible[-1]
    case.require(event.strategy == rung, LADDER, f"it tries {event.strategy}, and {rung} is due")


def _judge_figures(case: Case, reason: str, considered: tuple[Rung, ...]) -> None:
    for rung in considered:
        known = case.world.tallies.get((reason, rung.strategy), (0, 0))
        given = rung.succeeded, rung.failed
        case.require(given == known, LADDER, f"the record of {rung.strategy} is called {given}, and is {known}")


def _judge_record(case: Case, chosen: str, reason: str, possible: list[str], tried: list[str]) -> None:
    if not case.require(chosen in possible, LADDER, f"it tries {chosen}, which is none of {possible}"):
        return
    left = [strategy for strategy in possible if strategy not in tried] or possible
    case.require(chosen in left, LADDER, f"it tries {chosen} again, and {left} have not been tried")
    for strategy in left:
        record = case.world.tallies.get((reason, strategy))
        if record is not None and _estimate(record) > _estimate(case.world.tallies.get((reason, chosen), (0, 0))):
            case.blame(LADDER, f"it tries {chosen}, and {strategy} has the better record: {record}")


def _estimate(record: tuple[int, int]) -> Fraction:
    good, bad = record
    return Fraction(good + 1, good + bad + 2)
