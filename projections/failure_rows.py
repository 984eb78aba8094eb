"""Events about failures, and what each does to the table `failures`.

A worker's failure is open until it is resolved: *recovered* by an attempt, *returned* when the worker registered again
while no attempt was under way or made the attempt superfluous, *failed_again* when the next incarnation failed before
either, *permanent* when automation gave it up, *retired* when it had been told to end or has ended in order. A task's
failure is one attempt that failed by itself; what became of the task stands in `tasks`.
"""

from events.envelope import Recorded
from events.failures import CODES, ErrorCode
from events.worker import (
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRecoverySuperseded,
    WorkerRegistered,
    WorkerRetired,
    WorkerStopped,
)
from projections import outage_rows
from projections.rows import AttemptRow, FailureRow, WorkerRow
from projections.working_set import Handlers, WorkingSet, elapsed_s, microseconds

AGAIN = "failed_again"
"""The one resolution that leaves the outage open."""


def failed(rows: WorkingSet, at: Recorded, event: WorkerFailed) -> None:
    worker = rows.workers[event.worker_id]
    if worker.failed_sequence != at.sequence:
        return  # it speaks of an incarnation that is over
    _resolve(rows, at, event.worker_id, AGAIN)
    evidence = event.evidence
    row = FailureRow(
        id=at.sequence,
        failed_at=microseconds(at.time),
        scope="worker",
        worker_id=event.worker_id,
        host=worker.host,
        incarnation=worker.incarnation,
        reason=event.reason,
        category=event.error or CODES[event.reason],
        message=event.message or None,
        down_at=worker.down_at,
        synthetic=at.synthetic,
    )
    if evidence is not None:
        row.evidence_sequence = evidence.event_sequence or None
        if evidence.last_seen is not None:
            row.last_seen_at = microseconds(evidence.last_seen.timestamp())
            row.down_at = min(row.last_seen_at, row.down_at or row.last_seen_at)
    if row.down_at is not None:
        row.down_at = min(row.down_at, row.failed_at)
        row.detection_s = elapsed_s(row.down_at, at)
    outage_rows.failed(rows, at, row)
    rows.put_failure(row)


def attempt_failed(rows: WorkingSet, at: Recorded, attempt: AttemptRow, error: ErrorCode) -> None:
    worker = rows.workers.get(attempt.worker_id)
    assert attempt.outcome is not None
    row = FailureRow(
        id=at.sequence,
        failed_at=microseconds(at.time),
        scope="task",
        worker_id=attempt.worker_id,
        host=None if worker is None else worker.host,
        incarnation=attempt.incarnation,
        task_id=attempt.task_id,
        run_id=attempt.run_id,
        attempt=attempt.attempt,
        reason=attempt.outcome,
        category=error,
        message=attempt.message,
        synthetic=at.synthetic or attempt.synthetic,
    )
    rows.put_failure(row)


def heard_of(rows: WorkingSet, worker: WorkerRow, event: WorkerRegistered) -> None:
    """Somebody registers as a worker whose row still shows the incarnation before. Whose end was reported has ended,
    whatever number the next process bears."""
    failure = rows.failures.get(event.worker_id)
    if failure is not None and failure.survived is None:
        same = (worker.host, worker.pid, worker.lifeline) == (event.host, event.pid, event.lifeline)
        failure.survived = same and failure.evidence_sequence is None
        rows.put_failure(failure)


def registered(rows: WorkingSet, at: Recorded, event: WorkerRegistered) -> None:
    if event.worker_id not in rows.worker_recoveries:
        _resolve(rows, at, event.worker_id, "returned")


def superseded(rows: WorkingSet, at: Recorded, event: WorkerRecoverySuperseded) -> None:
    failure = rows.failures.get(event.worker_id)
    if failure is not None and rows.workers[event.worker_id].incarnation != failure.incarnation:
        _resolve(rows, at, event.worker_id, "returned")


def started(rows: WorkingSet, at: Recorded, event: WorkerRecoveryStarted) -> None:
    failure = rows.failures.get(event.worker_id)
    if failure is not None:
        failure.recovery_attempts += 1
        rows.put_failure(failure)
        outage_rows.attempted(rows, at, event.worker_id)


def succeeded(rows: WorkingSet, at: Recorded, event: WorkerRecoverySucceeded) -> None:
    _resolve(rows, at, event.worker_id, "recovered", event.strategy)


def permanently_failed(rows: WorkingSet, at: Recorded, event: WorkerPermanentlyFailed) -> None:
    _resolve(rows, at, event.worker_id, "permanent")


def ended(rows: WorkingSet, at: Recorded, event: WorkerRetired | WorkerStopped) -> None:
    failure = rows.failures.get(event.worker_id)
    if failure is not None and failure.incarnation == event.incarnation:
        _resolve(rows, at, event.worker_id, "retired")


def _resolve(rows: WorkingSet, at: Recorded, worker_id: str, resolution: str, strategy: str | None = None) -> None:
    failure = rows.failures.get(worker_id)
    if failure is None:
        return
    failure.resolution, failure.resolved_at = resolution, microseconds(at.time)
    if resolution in outage_rows.BACK:
        failure.recovery_s = elapsed_s(failure.failed_at, at)
    rows.put_failure(failure)
    if resolution != AGAIN:
        outage_rows.ended(rows, at, failure, strategy)


HANDLERS: Handlers = {
    WorkerRegistered: registered,
    WorkerFailed: failed,
    WorkerRecoveryStarted: started,
    WorkerRecoverySucceeded: succeeded,
    WorkerRecoverySuperseded: superseded,
    WorkerPermanentlyFailed: permanently_failed,
    WorkerRetired: ended,
    WorkerStopped: ended,
}
