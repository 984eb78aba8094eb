"""Facts about what is foreseen of workers, and what those about workers and tasks mean for it."""

from collections.abc import Callable
from typing import Any

from events.base import Event
from events.clock import seconds
from events.envelope import Recorded
from events.forecast import PredictorTrustChanged, Remedy, Resource, WorkerFailurePredicted, WorkerPredictionJudged
from events.policy import Policy
from events.task import TaskAttemptFinished
from events.worker import WorkerCordoned, WorkerDrainRequested, WorkerFailed, WorkerRegistered, WorkerStopped
from recovery.entities import Worker
from recovery.fitness import FAILED, PASSED
from recovery.forecasts import Attempts
from recovery.forecasts.errors import forget, note
from recovery.foresight import look, margin_s
from recovery.handlers import Handler
from recovery.indexes import index_worker
from recovery.predictions import Prediction, TrackRecord
from recovery.state import State

BAD = FAILED | {"timed_out"}


def predicted(state: State, recorded: Recorded, event: WorkerFailurePredicted) -> bool:
    worker = state.workers.get(event.worker_id)
    if worker is None or worker.incarnation != event.incarnation or event.resource in worker.foresight.predictions:
        return False
    expected_at, since = seconds(event.expected_at), seconds(event.since)
    rise = abs(event.slope_per_s) * max(0.0, recorded.time - since)
    worker.foresight.predictions[event.resource] = Prediction(
        resource=event.resource,
        incarnation=event.incarnation,
        sequence=recorded.sequence,
        event_id=recorded.id,
        at=recorded.time,
        value=event.value,
        limit=event.limit,
        usual=event.usual,
        own_bytes=event.own_bytes,
        grown_bytes=rise * (event.own_share or 0.0),
        expected_at=expected_at,
        judge_at=max(expected_at, recorded.time) + margin_s(state.policy),
        remedy=event.remedy,
    )
    worker.foresight.predicted_at[event.resource] = recorded.time
    index_worker(state, worker)
    return True


def judged(state: State, recorded: Recorded, event: WorkerPredictionJudged) -> bool:
    del recorded
    worker = state.workers.get(event.worker_id)
    prediction = None if worker is None else worker.foresight.predictions.get(event.resource)
    if worker is None or prediction is None or prediction.sequence != event.prediction_sequence:
        return False
    del worker.foresight.predictions[event.resource]
    if event.right is not None:
        _record(state, event.resource).take(right=event.right)
    index_worker(state, worker)
    return True


def trust_changed(state: State, recorded: Recorded, event: PredictorTrustChanged) -> bool:
    del recorded
    _record(state, event.resource).acts = event.acts
    return True


def _record(state: State, resource: Resource) -> TrackRecord:
    return state.track_records.setdefault(resource, TrackRecord())


# What other events mean for it


def _note_attempt(state: State, recorded: Recorded, event: TaskAttemptFinished) -> None:
    worker, task = state.workers[event.worker_id], state.tasks[event.task_id]
    outcome = event.outcome
    if task.requires or worker.incarnation != event.incarnation or (outcome not in PASSED and outcome not in BAD):
        return
    if note(worker.foresight.attempts, state.farm_attempts, recorded.time, bad=outcome in BAD):
        index_worker(state, worker)


def _note_order(state: State, recorded: Recorded, event: WorkerDrainRequested) -> None:
    """Whoever ordered it: a new start is the remedy, and an end leaves nothing to foresee."""
    worker = state.workers[event.worker_id]
    if event.restart:
        state.renewing[worker.worker_id] = None
        _act(state, worker, recorded.time, "restart", recorded.time + state.policy.forecast_cooldown)
    else:
        _leave_open(state, worker)


def _note_cordon(state: State, recorded: Recorded, event: WorkerCordoned) -> None:
    if event.cause == "forecast":
        until = recorded.time if event.until is None else seconds(event.until)
        _act(state, state.workers[event.worker_id], recorded.time, "cordon", until)


def _act(state: State, worker: Worker, now: float, remedy: Remedy, judge_at: float) -> None:
    worker.foresight.renewed_at = now
    for prediction in worker.foresight.predictions.values():
        if prediction.incarnation == worker.incarnation and prediction.remedy == remedy:
            prediction.acted, prediction.judge_at = True, judge_at
    index_worker(state, worker)


def _note_failure(state: State, recorded: Recorded, event: WorkerFailed) -> None:
    worker = state.workers[event.worker_id]
    state.renewing.pop(worker.worker_id, None)
    for prediction in worker.foresight.predictions.values():
        if prediction.incarnation != worker.incarnation:
            continue
        if recorded.synthetic is None:
            prediction.failed = event.reason
        else:
            prediction.over = "somebody made up a failure of it"
    index_worker(state, worker)


def _note_stop(state: State, recorded: Recorded, event: WorkerStopped) -> None:
    del recorded
    _leave_open(state, state.workers[event.worker_id])


def _note_registration(state: State, recorded: Recorded, event: WorkerRegistered) -> None:
    """A new incarnation: nothing of the one before is held against it."""
    del recorded
    worker = state.workers[event.worker_id]
    worker.unsupervised = not event.supervised
    forget(worker.foresight.attempts, state.farm_attempts)
    worker.foresight.attempts = Attempts()
    _leave_open(state, worker)


def _leave_open(state: State, worker: Worker) -> None:
    """The incarnation ends in order, of its own accord or on order; or has."""
    state.renewing.pop(worker.worker_id, None)
    for prediction in worker.foresight.predictions.values():
        if not prediction.acted and not prediction.failed:
            prediction.over = prediction.over or "it ended in order before that"
    index_worker(state, worker)


def date(worker: Worker, now: float, policy: Policy) -> None:
    """As `recovery.evolve_system` does it for what else there is of a worker."""
    foresight = worker.foresight
    foresight.predicted_at = {resource: min(at, now) for resource, at in foresight.predicted_at.items()}
    if foresight.renewed_at is not None:
        foresight.renewed_at = min(foresight.renewed_at, now)
    for prediction in foresight.predictions.values():
        prediction.at = min(prediction.at, now)
        patience = policy.forecast_cooldown if prediction.acted else policy.forecast_horizon + margin_s(policy)
        prediction.judge_at = min(prediction.judge_at, now + patience)


def look_at_all(state: State) -> None:
    for worker_id in state.trends:
        look(state, worker_id)


NOTES: dict[type[Event], Callable[[State, Recorded, Any], None]] = {
    TaskAttemptFinished: _note_attempt,
    WorkerFailed: _note_failure,
    WorkerStopped: _note_stop,
    WorkerRegistered: _note_registration,
    WorkerDrainRequested: _note_order,
    WorkerCordoned: _note_cordon,
}
"""To be called behind the handlers of these, if they have changed anything."""

HANDLERS: dict[type[Event], Handler] = {
    WorkerFailurePredicted: predicted,
    WorkerPredictionJudged: judged,
    PredictorTrustChanged: trust_changed,
}
