"""Events about tasks, and what each does to the table `task_attempts`.

One row is one `TaskAssigned`, until the task's verdict: what is said of an attempt after that, or of one whose
assignment the log does not hold, changes nothing. A result may come when the attempt has ended without one already (its
worker was given up); it is entered, and whether it counts is the leader's decision.
"""

from events.envelope import Recorded
from events.task import OUTCOME_CODES, TaskAssigned, TaskAttemptFinished, TaskCompleted, TaskRequeued, TaskStarted
from projections import failure_rows
from projections.rows import AttemptRow
from projections.working_set import Handlers, WorkingSet, elapsed_s, microseconds

ENDED = "ended"
FAILING = ("failed", "error", "crashed", "timed_out")
MESSAGE_CHARACTERS_MAX = 1000
"""The whole of it is in `events`."""


def assigned(rows: WorkingSet, at: Recorded, event: TaskAssigned) -> None:
    task = rows.tasks[event.task_id]
    if task.verdict is not None:
        return
    for former in rows.attempts.get(event.task_id, ()):
        _end(rows, former, at)
    row = AttemptRow(
        id=at.sequence,
        task_id=event.task_id,
        run_id=task.run_id,
        attempt=event.attempt,
        worker_id=event.worker_id,
        incarnation=event.incarnation,
        assigned_at=microseconds(at.time),
        synthetic=at.synthetic or task.synthetic,
    )
    rows.attempts.setdefault(event.task_id, []).append(row)
    rows.changes.attempts[row.id] = row


def _found(rows: WorkingSet, task_id: str, worker_id: str, attempt: int) -> AttemptRow | None:
    for row in reversed(rows.attempts.get(task_id, ())):
        if row.attempt == attempt and row.worker_id == worker_id:
            return row
    return None


def started(rows: WorkingSet, at: Recorded, event: TaskStarted) -> None:
    row = _found(rows, event.task_id, event.worker_id, event.attempt)
    if row is None or row.started_at is not None or row.incarnation != event.incarnation:
        return
    row.started_at = microseconds(at.time)
    if row.status == "assigned":
        row.status = "running"
    rows.changes.attempts[row.id] = row


def finished(rows: WorkingSet, at: Recorded, event: TaskAttemptFinished) -> None:
    row = _found(rows, event.task_id, event.worker_id, event.attempt)
    if row is None or row.outcome is not None or row.incarnation != event.incarnation:
        return
    row.outcome, row.duration_s = event.outcome, event.duration_s
    row.exit_code, row.signal = event.exit_code, event.signal
    row.message = event.message[:MESSAGE_CHARACTERS_MAX] or None
    if row.status != ENDED:
        row.status, row.ended_at = "reported", microseconds(at.time)
    rows.changes.attempts[row.id] = row
    if event.outcome in FAILING:
        failure_rows.attempt_failed(rows, at, row, event.error or OUTCOME_CODES[event.outcome])


def requeued(rows: WorkingSet, at: Recorded, event: TaskRequeued) -> None:
    row = _found(rows, event.task_id, event.worker_id, event.attempt)
    if row is None or row.requeue_reason is not None:
        return
    row.requeue_reason, row.budget = event.reason, event.budget
    _end(rows, row, at)


def completed(rows: WorkingSet, at: Recorded, event: TaskCompleted) -> None:
    for row in rows.attempts.pop(event.task_id, ()):
        row.decisive = row.attempt == event.attempt and event.worker_id in (None, row.worker_id)
        _end(rows, row, at)


def _end(rows: WorkingSet, row: AttemptRow, at: Recorded) -> None:
    row.status = ENDED
    if row.ended_at is None:
        row.ended_at = microseconds(at.time)
    if row.duration_s is None and row.started_at is not None:
        row.duration_s = elapsed_s(row.started_at, at)
    rows.changes.attempts[row.id] = row


HANDLERS: Handlers = {
    TaskAssigned: assigned,
    TaskStarted: started,
    TaskAttemptFinished: finished,
    TaskRequeued: requeued,
    TaskCompleted: completed,
}
