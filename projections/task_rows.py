"""Events about tasks, and what each does to the tables `tasks` and `task_recovery_history`.

One row of the history is one `TaskRequeued`: `recovery_type` is its reason, `worker_id` the worker that the task was
taken from, `attempt_number` the attempt that ended. The row stays open until the task's next ending, which is the
next `TaskRequeued` or the `TaskCompleted`, whichever comes first:

* `success` is true when that ending rests on a result of the test's own, whatever its verdict: a completion with the
  outcome passed, failed, error, skipped, xfailed, xpassed or timed_out (the test's own time limit) whose verdict is
  none of crashed, cancelled and quarantined; or another requeue that is a `verdict_retry`, for then the test failed.
  A late result of the requeued attempt itself counts as well.
* It is false otherwise: the attempt was lost, crashed or handed back without a result, the task was cancelled, or a
  budget or the quarantine ended it. `error_message` says which.

A task has a row in `tasks` from its `TaskSubmitted` on, or, where the log has lost that, from the first decision
about it. What workers say about a task that nobody submitted changes no table but `events`.
"""

from events.envelope import Recorded
from events.task import (
    TaskAssigned,
    TaskAttemptFinished,
    TaskCancelRequested,
    TaskCompleted,
    TaskHung,
    TaskIsolated,
    TaskRequeued,
    TaskReturned,
    TaskRevoked,
    TaskStarted,
    TaskStranded,
    TaskSubmitted,
)
from events.work import AnyWork, CommandWork
from projections.rows import Details, TaskRecovery, TaskRow
from projections.worker_rows import failure_details
from projections.working_set import WorkingSet, add_label, add_sequence, elapsed_s, microseconds

OUTCOMES_OF_ITS_OWN = ("passed", "failed", "error", "skipped", "xfailed", "xpassed", "timed_out")
VERDICTS_WITHOUT_RESULT = ("crashed", "cancelled", "quarantined")
COMPLETED = "completed"

CATEGORIES = {
    "worker_failed": "unknown",
    "worker_draining": "coordinator",
    "fenced": "connection",
    "verdict_retry": "task_error",
    "crash_retry": "task_crash",
    "lost": "connection",
    "worker_unfit": "worker_resource",
}
"""The failure category of each reason of `TaskRequeued`; behind `worker_failed` stands the worker's own."""


def submitted(rows: WorkingSet, at: Recorded, event: TaskSubmitted) -> None:
    """The first submission under an id counts."""
    row = rows.task_or_new(event.task_id, at.sequence)
    if row.submitted_at is not None:
        return
    row.run_id, row.priority, row.synthetic = event.run_id, event.priority, at.synthetic
    row.submitted_at = row.queued_at = microseconds(at.time)
    _work(row, event.work)


def _work(row: TaskRow, work: AnyWork) -> None:
    if isinstance(work, CommandWork):
        row.runner, row.command = work.kind or "command", " ".join(work.argv)
    else:
        row.runner, row.command = "pytest", work.node_id


def assigned(rows: WorkingSet, at: Recorded, event: TaskAssigned) -> None:
    row = rows.task_or_new(event.task_id, at.sequence)
    if row.runner is None:
        _work(row, event.work)
    if row.status == COMPLETED:
        return
    row.status, row.worker_id, row.message = "assigned", event.worker_id, None
    row.attempts = max(row.attempts, event.attempt)


def stranded(rows: WorkingSet, at: Recorded, event: TaskStranded) -> None:
    """Said in `message` until somebody is given the task."""
    row = rows.task(event.task_id, at.sequence)
    if row is not None and row.status != COMPLETED:
        labels = ", ".join(f"{name}={value}" for name, value in event.requires.items())
        row.message = f"no worker that is expected has {labels}"


def started(rows: WorkingSet, at: Recorded, event: TaskStarted) -> None:
    row = rows.task(event.task_id, at.sequence)
    if row is None or row.status != "assigned" or (row.worker_id, row.attempts) != (event.worker_id, event.attempt):
        return
    row.status, row.started_at = "running", microseconds(at.time)


def seen(
    rows: WorkingSet,
    at: Recorded,
    event: TaskRevoked | TaskHung | TaskIsolated | TaskAttemptFinished | TaskReturned | TaskCancelRequested,
) -> None:
    """A report or a wish, on which the leader decides."""
    rows.task(event.task_id, at.sequence)


def requeued(rows: WorkingSet, at: Recorded, event: TaskRequeued) -> None:
    row = rows.task_or_new(event.task_id, at.sequence)
    row.attempts = max(row.attempts, event.attempt)
    if row.status != COMPLETED:
        row.status, row.worker_id, row.queued_at = "queued", None, microseconds(at.time)
    previous = rows.task_recoveries.get(event.task_id)
    if previous is not None:
        own = event.reason == "verdict_retry"
        error = None if own else f"attempt {event.attempt} ended without a result: {event.reason}"
        _close(rows, previous, at, success=own, error=error, ended_by_attempt=event.attempt)
    _open(rows, at, event, row)


def _open(rows: WorkingSet, at: Recorded, event: TaskRequeued, task: TaskRow) -> None:
    details: Details = {
        "sequences": [],
        "budget": event.budget,
        "failure_reason": event.reason,
        "category": CATEGORIES[event.reason],
    }
    worker = rows.workers.get(event.worker_id)
    if event.reason == "worker_failed" and worker is not None and worker.failed_sequence is not None:
        details |= failure_details(worker)
        add_sequence(details, worker.failed_sequence)
        add_label(details, worker.failure_synthetic)
    add_sequence(details, at.sequence)
    add_label(details, at.synthetic)
    add_label(details, task.synthetic)
    rows.put_task_recovery(
        TaskRecovery(
            id=rows.next_task_recovery_id(),
            task_id=event.task_id,
            worker_id=event.worker_id,
            recovery_time=microseconds(at.time),
            attempt_number=event.attempt,
            recovery_type=event.reason,
            details=details,
        )
    )


def completed(rows: WorkingSet, at: Recorded, event: TaskCompleted) -> None:
    row = rows.task_or_new(event.task_id, at.sequence)
    if row.status != COMPLETED:
        row.status, row.verdict, row.outcome = COMPLETED, event.verdict, event.outcome
        row.run_id = row.run_id or event.run_id
        row.attempts = max(row.attempts, event.attempt)
        row.worker_id = event.worker_id or row.worker_id
        row.completed_at, row.duration_s = microseconds(at.time), event.duration_s
        row.message = event.message or None
    previous = rows.task_recoveries.get(event.task_id)
    if previous is not None:
        own = event.outcome in OUTCOMES_OF_ITS_OWN and event.verdict not in VERDICTS_WITHOUT_RESULT
        error = None if own else f"ended as {event.verdict}" + (f": {event.message}" if event.message else "")
        if event.result_sequence:
            add_sequence(previous.details, event.result_sequence)
        previous.details["verdict"] = event.verdict
        _close(rows, previous, at, success=own, error=error, ended_by_attempt=event.attempt)


def _close(
    rows: WorkingSet,
    recovery: TaskRecovery,
    at: Recorded,
    *,
    success: bool,
    error: str | None,
    ended_by_attempt: int,
) -> None:
    recovery.success = success
    recovery.error_message = error
    add_sequence(recovery.details, at.sequence)
    add_label(recovery.details, at.synthetic)
    recovery.details["ended_by_attempt"] = ended_by_attempt
    recovery.details["duration_s"] = elapsed_s(recovery.recovery_time, at)
    rows.put_task_recovery(recovery)
