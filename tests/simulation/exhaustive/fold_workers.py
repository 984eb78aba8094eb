"""What a fold knows of one worker and of its heartbeats as a plain tuple, and back: a part of `folds`."""

from collections.abc import Sequence
from typing import Any

from events.failures import AWAIT, RECONNECT, RESTART, FailureReason, StrategyName
from recovery.detectors import detector_for
from recovery.entities import (
    Attempt,
    Beat,
    Cordon,
    CutOff,
    FailedRung,
    Run,
    Stall,
    Worker,
)
from recovery.state import State
from recovery.timers import NEVER
from tests.simulation.exhaustive import idleness
from tests.simulation.exhaustive.frames import AGE_MAX, PAST_MAX, Frame
from tests.simulation.exhaustive.ranks import KNOWN
from tests.simulation.exhaustive.rulebooks import THRESHOLDS
from tests.simulation.exhaustive.silences import beat_of, due, over
from tests.simulation.exhaustive.tables import ATTEMPT_STATUS, NUMBER, WORKER_STATUS
from tests.simulation.exhaustive.watching import arrivals_of, row
from tests.simulation.exhaustive.world import (
    TASKS,
)

Packed = tuple[Any, ...]
Raw = Sequence[Any]

ENDED_MAX = 2
"""Attempts after which the backoff stays at its cap."""
REASONS: tuple[FailureReason, ...] = ("silence", "worker_exit", "disconnected", "unanswered", "synthetic")
ALIKE: dict[FailureReason, FailureReason] = {
    "worker_hung": "worker_exit",
    "stalled": "worker_exit",
    "no_first_heartbeat": "silence",
    "unknown": "silence",
}
"""Reasons that are proven alike, and against which the same is tried."""
STRATEGIES: tuple[StrategyName, ...] = (AWAIT, RECONNECT, RESTART)
REFUTED = KNOWN
"""Stands in for a heartbeat that a later one has followed: before every rank, and behind where a stream begins anew."""


def pack(state: State, worker_id: str, frame: Frame) -> Packed | None:
    ranks, alone = frame.ranks, frame.alone
    worker = state.workers.get(worker_id)
    beat = beat_of(state, worker_id, frame)
    heard_of = None if beat is None else _heard(state, beat, worker_id, frame)
    if worker is None:
        return heard_of
    status, incarnation, attempt = worker.status, worker.incarnation, worker.attempt
    ended = over(worker)
    heard = beat is not None and beat.incarnation == incarnation
    reason = worker.exit_reason if status == "exited" else worker.failure_reason
    failure_counts = status in ("failed", "permanent") or attempt is not None or not alone
    return (
        NUMBER[status],
        ranks.incarnation(worker_id, incarnation),
        0 if ended and alone else frame.age(worker.registered_at, AGE_MAX if heard and alone else PAST_MAX),
        tuple(NUMBER[task_id] for task_id in worker.held),
        frame.known_beat(worker_id, worker.suspected_beat) if status == "suspect" and not frame.lossy else 0,
        ranks.incarnation(worker_id, worker.failed_incarnation) if failure_counts else 0,
        None if attempt is None else _attempt(attempt, worker_id, frame),
        len(worker.attempts_failed),
        min(ENDED_MAX, len(worker.attempts_ended)),
        frame.age(worker.recovered_at, AGE_MAX) if worker.recovered_at else None,
        heard_of,
        _cut_off(worker, beat, frame),
        THRESHOLDS.index(worker.detector.thresholds),
        worker.leaving,
        _doings(state, worker, beat, frame),
        bool(worker.cordons),
        REASONS.index(ALIKE.get(reason, reason)) if failure_counts or status == "exited" else 0,
        tuple(sorted({STRATEGIES.index(rung.strategy) for rung in worker.rungs_failed})),
    )


def _cut_off(worker: Worker, beat: Beat | None, frame: Frame) -> int | None:
    """The heartbeat behind which the worker counts as cut off. One that has come refutes, unless it is lost."""
    found = worker.cut_off
    if found is None or worker.status != "alive":
        return None
    if frame.alone and beat is not None and beat.sequence > found.beat > 0:
        return REFUTED
    return frame.ranks.beat(worker.worker_id, found.beat)


def _doings(state: State, worker: Worker, beat: Beat | None, frame: Frame) -> Packed | None:
    """What it has begun, and been told to stop."""
    assert worker.row is None, "no attempt fails at once"
    assert not worker.on_trial
    assert not worker.fast_stalls
    stall = worker.stall if worker.status == "stalled" else None
    if not (worker.held or worker.idled or stall):
        return None
    return (
        idleness.moved(state, worker, beat, frame),
        tuple(sorted(NUMBER[task_id] for task_id in worker.running)),
        tuple(
            sorted((NUMBER[task_id], idleness.told(state, at, beat, frame)) for task_id, at in worker.revoked.items())
        ),
        bool(worker.idled),
        None if stall is None else (stall.cause, stall.restart, worker.begun_sequence > stall.sequence),
    )


def _heard(state: State, beat: Beat, worker_id: str, frame: Frame) -> Packed:
    """The last heartbeat; and what has come behind it from older incarnations, which counts only for who has read less
    of the log."""
    steps = row(state, worker_id, beat, frame)
    late = () if frame.alone else state.stragglers.get(worker_id, ())
    others = tuple(_beat(state, one, worker_id, frame) for one in late)
    return _beat(state, beat, worker_id, frame), steps, others


def _beat(state: State, beat: Beat, worker_id: str, frame: Frame) -> Packed:
    ranks, worker = frame.ranks, state.workers.get(worker_id)
    # Alone, it only counts whether it has heard of the last change that matters.
    heard_of = beat.rules if not frame.alone or beat.rules >= frame.turned > beat.incarnation else 0
    return (
        ranks.incarnation(worker_id, beat.incarnation),
        frame.age(beat.time),
        ranks.beat(worker_id, beat.sequence),
        ranks.rules(worker_id, heard_of),
        idleness.quiet(state, worker, beat, frame),
        idleness.free(state, worker, beat, frame),
    )


def _unpack_heard(state: State, worker_id: str, raw: Raw, now: float) -> None:
    packed, steps, others = raw
    beat = state.beats[worker_id] = _unpacked_beat(packed, now)
    state.arrivals[worker_id] = arrivals_of(beat, steps)
    if others:
        state.stragglers[worker_id] = tuple(_unpacked_beat(one, now) for one in others)


def _unpacked_beat(raw: Raw, now: float) -> Beat:
    incarnation, age, sequence, rules, *seen = raw
    quiet_since, free_since = (0.0 if one is None else now - one for one in seen)
    return Beat(incarnation, now - age, sequence, rules, quiet_since, free_since)


def _attempt(attempt: Attempt, worker_id: str, frame: Frame) -> Packed:
    return (
        attempt.number,
        NUMBER[attempt.status],
        frame.ranks.incarnation(worker_id, attempt.incarnation),
        frame.until(due(attempt)),
        attempt.answered,
        bool(attempt.error),
        STRATEGIES.index(attempt.strategy),
    )


def unpack(state: State, worker_id: str, raw: Raw, now: float) -> None:
    if len(raw) == 3:
        _unpack_heard(state, worker_id, raw, now)
        return
    (
        *(status, incarnation, age, held, suspected, failed, attempt, failures, ended, recovered, heard_of, cut_off),
        thresholds,
        leaving,
        doings,
        cordoned,
        reason,
        rungs,
    ) = raw
    worker = state.workers[worker_id] = Worker(
        worker_id,
        WORKER_STATUS[status],
        incarnation,
        1,
        1,
        {},
        "h",
        now - age,
        "",
        detector_for(THRESHOLDS[thresholds], state.policy),
        held={TASKS[number]: None for number in held},
        suspected_beat=suspected,
        failed_incarnation=failed,
        failed_at=now,
        attempt=None if attempt is None else _unpacked_attempt(attempt, now),
        attempts_failed=(now,) * failures,
        attempts_ended=(now,) * ended,
        recovered_at=0.0 if recovered is None else now - recovered,
        cut_off=None if cut_off is None else CutOff(cut_off, 1),
        moved_at=now,
        cordons={"operator": Cordon(NEVER, "")} if cordoned else {},
        leaving=leaving,
        failure_reason=REASONS[reason],
        exit_reason=REASONS[reason],
        rungs_failed=tuple(FailedRung(now, STRATEGIES[number]) for number in rungs),
    )
    if doings is not None:
        _unpack_doings(worker, doings, now)
    if heard_of is not None:
        _unpack_heard(state, worker_id, heard_of, now)


def _unpack_doings(worker: Worker, raw: Raw, now: float) -> None:
    moved, running, revoked, idled, stall = raw
    worker.moved_at = now if moved is None else now - moved
    worker.running = {TASKS[number]: Run(now, 1) for number in running}
    worker.revoked = {TASKS[number]: now - age for number, age in revoked}
    worker.idled = (TASKS[0],) if idled else ()
    if stall is not None:
        cause, restart, begun = stall
        worker.stall = Stall(cause, restart, now, 1, 0)
        worker.begun_sequence = 2 if begun else 0


def _unpacked_attempt(raw: Raw, now: float) -> Attempt:
    number, status, incarnation, due, answered, error, strategy = raw
    moment = now + due
    said = "it failed" if error else ""
    return Attempt(
        number,
        STRATEGIES[strategy],
        ATTEMPT_STATUS[status],
        incarnation,
        moment,
        "",
        moment,
        answered=answered,
        error=said,
    )
