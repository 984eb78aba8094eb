"""One recorded event after another into the world.

What is stale, doubled or made by a stranger changes what the system promises that it changes, mostly nothing.
"""

from collections.abc import Callable
from typing import Any

from events import system, worker
from events.base import Event
from events.clock import seconds
from events.envelope import Recorded
from events.failures import FailureReason
from replay.invariants import (
    attempts,
    cordons,
    fleet,
    foresight,
    orders,
    poison,
    repairs,
    silence,
    task_folding,
    usefulness,
)
from replay.invariants.world import LIVE, Loss, Worker, World

_FROM: dict[type[Event], frozenset[str]] = {
    worker.WorkerSuspected: frozenset({"alive"}),
    worker.WorkerSuspicionRefuted: frozenset({"suspect"}),
    worker.WorkerDraining: LIVE,
    worker.WorkerStopped: LIVE | {"exited", "failed", "permanent"},
    worker.WorkerExited: LIVE | {"permanent"},
    worker.WorkerVanished: LIVE,
    worker.WorkerDisconnected: frozenset({"alive"}),
    worker.WorkerFailed: LIVE | {"exited"},
    worker.WorkerPermanentlyFailed: frozenset({"failed"}),
    worker.WorkerReadmitted: frozenset({"permanent"}),
}
"""In which statuses an event about a worker means anything."""

BY_PROOF = frozenset({"worker_exit", "worker_hung", "stalled", "disconnected"})
"""Reasons of failures for which somebody has seen that nothing is left."""


def apply(world: World, recorded: Recorded) -> None:
    world.sequence, world.time, world.synthetic = recorded.sequence, recorded.time, recorded.synthetic
    envelope = recorded.envelope
    if envelope is None:
        world.parked.add(recorded.sequence)
        return
    event = envelope.event
    fold = _FOLDS.get(type(event))
    if fold is not None:
        fold(world, recorded, event)


# Workers


def _registered(world: World, recorded: Recorded, event: worker.WorkerRegistered) -> None:
    one = world.workers.get(event.worker_id)
    if one is None:
        one = world.workers[event.worker_id] = Worker(event.worker_id)
    if one.attempt is not None:
        if one.attempt.status == "probed":
            one.attempt.status = "started"
        one.attempt.answered = False
    foresight.note_end(world, one)
    world.turn(one, "permanent" if one.status == "permanent" else "alive")
    world.release(one)
    one.incarnation = recorded.sequence
    one.disconnected_sequence = 0
    one.stall = None
    one.slots, one.labels, one.registered_at = event.slots, event.labels, recorded.time


def _meant(world: World, kind: type[Event], worker_id: str, incarnation: int | None) -> Worker | None:
    one = world.workers.get(worker_id)
    if one is None or one.status not in _FROM[kind] or incarnation not in (None, one.incarnation):
        return None
    return one


def _suspected(world: World, _: Recorded, event: worker.WorkerSuspected) -> None:
    one = _meant(world, worker.WorkerSuspected, event.worker_id, event.incarnation)
    if one is not None:
        world.turn(one, "suspect")
        one.suspected_beat = event.evidence.heartbeat_sequence
        one.disconnected_sequence = 0


def _refuted(world: World, _: Recorded, event: worker.WorkerSuspicionRefuted) -> None:
    one = _meant(world, worker.WorkerSuspicionRefuted, event.worker_id, event.incarnation)
    if one is not None:
        world.turn(one, "alive")
        one.moved_at = world.time


def _draining(world: World, _: Recorded, event: worker.WorkerDraining) -> None:
    one = _meant(world, worker.WorkerDraining, event.worker_id, event.incarnation)
    if one is not None:
        world.turn(one, "draining")


def _end(world: World, one: Worker, status: str) -> None:
    if one.status == "permanent":
        # It stays excluded. Re-admitted, it has to be brought back.
        one.failed_incarnation = one.incarnation
    else:
        world.turn(one, status)


def _stopped(world: World, _: Recorded, event: worker.WorkerStopped) -> None:
    one = _meant(world, worker.WorkerStopped, event.worker_id, event.incarnation)
    if one is not None:
        foresight.note_end(world, one)
        _end(world, one, "stopped")


def _exited(world: World, recorded: Recorded, event: worker.WorkerExited) -> None:
    if event.incarnation == 0:
        one = world.workers.get(event.worker_id)
        # An agent that died before it could register: the end of the attempt that had started it.
        if one is not None and one.status not in LIVE and one.attempt is not None and one.attempt.status == "started":
            one.attempt.spoiled = True
        return
    known = world.workers.get(event.worker_id)
    if known is not None and known.status == "failed":
        _exited_after_all(known, recorded, event)
        return
    one = _meant(world, worker.WorkerExited, event.worker_id, event.incarnation)
    if one is not None:
        one.exit_sequence = recorded.sequence
        poison.note_death(world, recorded, event, one)
        _end(world, one, "exited")
        if one.status == "permanent":
            one.failure_reason = _how(event)


def _how(event: worker.WorkerExited) -> FailureReason:
    return "stalled" if event.stalled else "worker_hung" if event.hung else "worker_exit"


def _exited_after_all(one: Worker, recorded: Recorded, event: worker.WorkerExited) -> None:
    """It was failed without a proof. With one, what would bring back a process that lives is in vain."""
    made_up = recorded.synthetic is not None and one.synthetic is None
    if event.incarnation != one.incarnation or one.failure_reason in BY_PROOF or made_up:
        return
    one.failure_reason = _how(event)
    if one.attempt is not None:
        one.attempt.spoiled |= one.attempt.strategy in ("await", "reconnect")


def _vanished(world: World, recorded: Recorded, event: worker.WorkerVanished) -> None:
    one = _meant(world, worker.WorkerVanished, event.worker_id, event.incarnation)
    if one is not None:
        one.exit_sequence = recorded.sequence
        poison.note_death(world, recorded, event, one)
        _end(world, one, "exited")


def _disconnected(world: World, recorded: Recorded, event: worker.WorkerDisconnected) -> None:
    one = _meant(world, worker.WorkerDisconnected, event.worker_id, event.incarnation)
    if one is not None:
        one.disconnected_sequence, one.disconnected_beat = recorded.sequence, event.heartbeat_sequence


def _failed(world: World, recorded: Recorded, event: worker.WorkerFailed) -> None:
    one = _meant(world, worker.WorkerFailed, event.worker_id, event.incarnation)
    if one is None:
        return
    if one.recovered_at and recorded.time - one.recovered_at >= world.policy.attempts_reset_after:
        one.failures, one.ends, one.tried, one.fast_stalls = [], [], [], 0
    one.recovered_at = 0.0
    usefulness.note_failure(one, event, recorded.time)
    foresight.note_failure(world, one, made_up=recorded.synthetic is not None)
    if one.attempt is not None and one.attempt.status != "scheduled":
        one.attempt.spoiled = True
    world.turn(one, "failed")
    one.failed_incarnation, one.failed_at = one.incarnation, recorded.time
    one.failure_reason = event.reason
    one.synthetic = recorded.synthetic


def _permanently_failed(world: World, _: Recorded, event: worker.WorkerPermanentlyFailed) -> None:
    one = _meant(world, worker.WorkerPermanentlyFailed, event.worker_id, None)
    if one is not None:
        world.turn(one, "permanent")


def _readmitted(world: World, _: Recorded, event: worker.WorkerReadmitted) -> None:
    one = _meant(world, worker.WorkerReadmitted, event.worker_id, None)
    if one is not None:
        one.failures, one.ends, one.tried, one.fast_stalls, one.fast_row = [], [], [], 0, False
        one.unavailable.clear()
        cordons.forgive(one)
        world.turn(one, "alive" if one.incarnation > one.failed_incarnation else "failed")


def _cordoned(world: World, recorded: Recorded, event: worker.WorkerCordoned) -> None:
    cordons.FOLDS[worker.WorkerCordoned](world, recorded, event)
    one = world.workers.get(event.worker_id)
    if one is not None and event.cause == "forecast":
        foresight.note_cordon(one, recorded.time if event.until is None else seconds(event.until))


# The system


def _doubted(world: World, recorded: Recorded, event: system.DetectorDegraded) -> None:
    """Everybody is as good as heard now; nothing that is over lies ahead; who is being brought back has time left."""
    now, policy = recorded.time, world.policy
    world.watched_since = world.doubted_at = world.interrupted_at = now
    world.moved_at = min(world.moved_at, now)
    world.taken_over = None
    world.watched_beat = max(world.watched_beat, event.heartbeats_sequence)
    usefulness.note_doubt(world, now)
    repairs.note_doubt(world)
    world.date_requeues(now)
    if event.reason == "heartbeats_lost":
        # Their sequences have begun again.
        world.watched_beat = event.heartbeats_sequence
        world.loss = Loss(event.heartbeats_sequence, recorded.sequence, now)
    for one in world.workers.values():
        if event.reason == "heartbeats_lost" and one.status == "suspect":
            one.suspected_beat = event.heartbeats_sequence
        cordons.note_doubt(world, one)
        one.registered_at = min(one.registered_at, now)
        foresight.note_doubt(one, now, policy)
        one.recovered_at = min(one.recovered_at, now)
        one.failures = [min(at, now) for at in one.failures]
        one.ends = [min(at, now) for at in one.ends]
        one.tried = [(min(at, now), strategy) for at, strategy in one.tried]
        attempt = one.attempt
        if attempt is not None and attempt.status == "scheduled":
            attempt.not_before = min(attempt.not_before, now + policy.recovery_interval)
        elif attempt is not None:
            latest = now + max(policy.recovery_attempt_timeout, policy.failed_after)
            attempt.deadline = min(max(attempt.deadline, now + policy.failed_after), latest)


def _run_cancelled(world: World, recorded: Recorded, event: system.RunCancelRequested) -> None:
    world.cancelled_runs[event.run_id] = recorded.sequence


def _parked(world: World, _: Recorded, event: system.EventParked) -> None:
    world.parked.discard(event.sequence)


_FOLDS: dict[type[Event], Callable[[World, Recorded, Any], None]] = {
    worker.WorkerRegistered: _registered,
    worker.WorkerSuspected: _suspected,
    worker.WorkerSuspicionRefuted: _refuted,
    worker.WorkerDraining: _draining,
    worker.WorkerStopped: _stopped,
    worker.WorkerExited: _exited,
    worker.WorkerVanished: _vanished,
    worker.WorkerDisconnected: _disconnected,
    worker.WorkerFailed: _failed,
    worker.WorkerPermanentlyFailed: _permanently_failed,
    worker.WorkerReadmitted: _readmitted,
    system.DetectorDegraded: _doubted,
    system.RunCancelRequested: _run_cancelled,
    system.EventParked: _parked,
    system.QuarantineReleased: poison.fold_released,
    **attempts.FOLDS,
    **task_folding.FOLDS,
    **cordons.FOLDS,
    **fleet.FOLDS,
    **repairs.FOLDS,
    **silence.FOLDS,
    **usefulness.FOLDS,
    **orders.FOLDS,
    **foresight.FOLDS,
    worker.WorkerCordoned: _cordoned,
}
