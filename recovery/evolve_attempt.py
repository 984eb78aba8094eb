"""Facts about the attempts to bring workers back."""

from events.base import Event
from events.clock import seconds
from events.envelope import Recorded
from events.worker import (
    WorkerProbeAnswered,
    WorkerRecoveryActed,
    WorkerRecoveryFailed,
    WorkerRecoveryProbed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRecoverySuperseded,
)
from recovery.entities import Attempt, FailedRung, Worker
from recovery.exits import DETAIL_MAX
from recovery.flapping import note_return
from recovery.handlers import Handler
from recovery.indexes import index_availability, index_made_up, index_worker, load_level
from recovery.lifecycle import ATTEMPT
from recovery.outages import lost_together, note_attempt
from recovery.record import note
from recovery.repairs import note_attempt_end
from recovery.state import State


def scheduled(state: State, recorded: Recorded, event: WorkerRecoveryScheduled) -> bool:
    worker = state.workers.get(event.worker_id)
    if worker is None or worker.attempt is not None or event.incarnation != worker.failed_incarnation:
        return False
    level = load_level(worker)
    worker.attempt = Attempt(
        number=event.attempt,
        strategy=event.strategy,
        status="scheduled",
        incarnation=event.incarnation,
        not_before=seconds(event.not_before),
        event_id=recorded.id,
        reason=event.reason or worker.failure_reason,
    )
    index_availability(state, worker, was=level)
    index_worker(state, worker)
    return True


def _meant(state: State, worker_id: str, number: int, kind: type[Event]) -> tuple[Worker, Attempt] | None:
    """The attempt that such an event is about; None: this one fits no row, or speaks of another attempt."""
    worker = state.workers.get(worker_id)
    attempt = None if worker is None else worker.attempt
    if worker is None or attempt is None or attempt.number != number or (attempt.status, kind) not in ATTEMPT:
        return None
    return worker, attempt


def started(state: State, recorded: Recorded, event: WorkerRecoveryStarted) -> bool:
    meant = _meant(state, event.worker_id, event.attempt, WorkerRecoveryStarted)
    if meant is None:
        return False
    worker, attempt = meant
    attempt.status = "started"
    attempt.incarnation = event.incarnation
    attempt.deadline = seconds(event.deadline)
    attempt.event_id = recorded.id
    index_worker(state, worker)
    return True


def acted(state: State, recorded: Recorded, event: WorkerRecoveryActed) -> bool:
    meant = _meant(state, event.worker_id, event.attempt, WorkerRecoveryActed)
    if meant is None:
        return False
    worker, attempt = meant
    if attempt.acted or attempt.strategy != event.strategy or attempt.incarnation != event.incarnation:
        return False
    attempt.acted = True
    attempt.event_id = recorded.id
    if event.outcome != "done":
        detail = event.detail[:DETAIL_MAX] or "nobody says why"
        if worker.status == "failed":  # else it is back all the same
            attempt.error = f"{event.strategy} could not be carried out: {detail}"
        if event.outcome == "unavailable":
            worker.unavailable[event.strategy] = detail
    index_worker(state, worker)
    return True


def probed(state: State, recorded: Recorded, event: WorkerRecoveryProbed) -> bool:
    meant = _meant(state, event.worker_id, event.attempt, WorkerRecoveryProbed)
    if meant is None:
        return False
    worker, attempt = meant
    attempt.status = "probed"
    attempt.event_id = recorded.id
    # However late the worker came, it has time to answer.
    attempt.deadline = max(attempt.deadline, recorded.time + state.policy.failed_after)
    index_worker(state, worker)
    return True


def answered(state: State, recorded: Recorded, event: WorkerProbeAnswered) -> bool:
    worker = state.workers.get(event.worker_id)
    if worker is None or worker.attempt is None or worker.incarnation != event.incarnation:
        return False
    if worker.attempt.status != "probed" or worker.attempt.number != event.attempt:
        return False
    worker.attempt.answered = True
    worker.attempt.event_id = recorded.id
    index_worker(state, worker)
    return True


def _ended(
    state: State,
    recorded: Recorded,
    event: WorkerRecoverySucceeded | WorkerRecoveryFailed | WorkerRecoverySuperseded,
) -> bool:
    meant = _meant(state, event.worker_id, event.attempt, type(event))
    if meant is None:
        return False
    worker, attempt = meant
    level = load_level(worker)
    note_attempt_end(state, worker, recorded.time, event)
    worker.attempt = None
    worker.event_id = recorded.id
    horizon = recorded.time - state.policy.recovery_attempts_window
    worker.attempts_failed = tuple(at for at in worker.attempts_failed if at > horizon)
    worker.attempts_ended = tuple(at for at in worker.attempts_ended if at > horizon)
    worker.rungs_failed = tuple(rung for rung in worker.rungs_failed if rung.at > horizon)
    if not isinstance(event, WorkerRecoverySuperseded):
        worker.attempts_ended += (recorded.time,)
        _note_in_record(state, recorded, worker, attempt, success=isinstance(event, WorkerRecoverySucceeded))
    note_return(state, worker, recorded.time)
    if isinstance(event, WorkerRecoverySucceeded):
        worker.recovered_at = recorded.time
        worker.synthetic = None
        worker.unavailable = {}
        index_made_up(state, worker)
    elif isinstance(event, WorkerRecoveryFailed):
        if not lost_together(state, worker.worker_id):
            worker.attempts_failed += (recorded.time,)
        worker.rungs_failed += (FailedRung(recorded.time, attempt.strategy),)
    note_attempt(state, worker.worker_id, recorded.time, event)
    index_availability(state, worker, was=level)
    index_worker(state, worker)
    return True


def _note_in_record(state: State, recorded: Recorded, worker: Worker, attempt: Attempt, *, success: bool) -> None:
    """What could not be done at all was not tried, and a drill proves nothing."""
    if recorded.synthetic is None and attempt.strategy not in worker.unavailable:
        note(state.records, attempt.reason, attempt.strategy, success=success)


HANDLERS: dict[type[Event], Handler] = {
    WorkerRecoveryScheduled: scheduled,
    WorkerRecoveryStarted: started,
    WorkerRecoveryActed: acted,
    WorkerRecoveryProbed: probed,
    WorkerProbeAnswered: answered,
    WorkerRecoverySucceeded: _ended,
    WorkerRecoveryFailed: _ended,
    WorkerRecoverySuperseded: _ended,
}
