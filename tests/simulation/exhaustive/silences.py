"""How much of what a fold knows about silences can still be told apart."""

from typing import Any

from recovery.entities import Attempt, Beat, Worker
from recovery.state import State
from tests.simulation.exhaustive.frames import PAST_MAX, SILENCE_MIN, Frame

Packed = tuple[Any, ...]

OVER = ("exited", "failed", "stopped")


def overdue(state: State, worker_id: str, now: float) -> bool:
    """Whether anything about the worker might have been decided before now."""
    worker = state.workers.get(worker_id)
    if worker is None:
        return False
    heard = heard_at(state, worker)
    silent = not over(worker) and (now - heard >= SILENCE_MIN or heard > now)
    return silent or (worker.attempt is not None and due(worker.attempt) <= now)


def due(attempt: Attempt) -> float:
    return attempt.not_before if attempt.status == "scheduled" else attempt.deadline


def watched(state: State, frame: Frame, *, needed: bool) -> int:
    """Counts only where a worker that is or may be live again has been silent for as long; or where `needed`."""
    if frame.lossy:
        return PAST_MAX
    since = state.watched_since
    workers = [worker for worker in state.workers.values() if not over(worker)]
    past = frame.alone and since < frame.now and not needed
    if past and all(since < heard_at(state, worker) <= frame.now for worker in workers):
        return PAST_MAX
    return frame.age(since)


def watched_beat(state: State, frame: Frame) -> int:
    """Counts only where a heartbeat is not later. Then its own time says nothing."""
    if frame.lossy:
        return 0
    through = state.watched_beat
    beats = [beat_of(state, worker_id, frame) for worker_id in state.beats]
    if frame.alone and all(beat is None or beat.sequence > through for beat in beats):
        through = frame.lost if frame.lost <= through else 0
    return frame.ranks.beat_mark(through)


def beat_of(state: State, worker_id: str, frame: Frame) -> Beat | None:
    """The heartbeat that the fold knows of the worker, if it can still count."""
    beat, worker = state.beats.get(worker_id), state.workers.get(worker_id)
    if beat is None or worker is None or not frame.alone or beat.incarnation > worker.incarnation:
        return beat
    return None if over(worker) or beat.incarnation < worker.incarnation else beat


def loss(state: State, frame: Frame) -> Packed | None:
    if not frame.lost:
        return None
    through, event_sequence, at = state.loss
    return frame.ranks.beat_mark(through), frame.ranks.event_mark(event_sequence), frame.age(at)


def lost(state: State, frame: Frame) -> int:
    """What stands in for lost heartbeats, if somebody who may be live has not been heard since; else 0."""
    through, event_sequence, _ = state.loss
    if frame.lossy or not any(
        worker.incarnation < event_sequence
        and not (frame.alone and (over(worker) or state.last_beat(worker) is not None))
        for worker in state.workers.values()
    ):
        return 0
    return through


def over(worker: Worker) -> bool:
    """Whether the present incarnation will never be live again."""
    return worker.status in OVER or (worker.status == "permanent" and worker.incarnation == worker.failed_incarnation)


def heard_at(state: State, worker: Worker) -> float:
    """When something was heard of the worker's present incarnation, or of one behind it."""
    beat = state.beats.get(worker.worker_id)
    return worker.registered_at if beat is None or beat.incarnation < worker.incarnation else beat.time
