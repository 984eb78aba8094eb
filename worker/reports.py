"""What a worker says about its tasks: each report names worker, incarnation and attempt, and what it answers to."""

from events.base import TaskEvent
from events.envelope import Draft
from events.task import OUTCOME_CODES, Outcome, TaskAttemptFinished, TaskReturned, TaskStarted
from events.writer import Writer
from worker.backlog import Assignment
from worker.jobs import SlotFinished
from worker.texts import fit


class Reports:
    def __init__(self, writer: Writer, worker_id: str, incarnation: int) -> None:
        self._writer = writer
        self._worker_id = worker_id
        self._incarnation = incarnation

    def started(self, assignment: Assignment) -> Draft:
        event = TaskStarted(
            task_id=assignment.task.task_id,
            worker_id=self._worker_id,
            incarnation=self._incarnation,
            attempt=assignment.task.attempt,
        )
        return self._draft(assignment, event)

    def unknown(self, task_id: str, attempt: int, causation_id: str) -> Draft:
        """To an order to stop what is not here."""
        event = TaskReturned(
            task_id=task_id,
            worker_id=self._worker_id,
            incarnation=self._incarnation,
            attempt=attempt,
            unknown=True,
        )
        return self._writer.draft(event, causation_id=causation_id)

    def returned(self, assignment: Assignment) -> Draft:
        event = TaskReturned(
            task_id=assignment.task.task_id,
            worker_id=self._worker_id,
            incarnation=self._incarnation,
            attempt=assignment.task.attempt,
        )
        return self._draft(assignment, event)

    def finished(self, assignment: Assignment, end: SlotFinished) -> Draft:
        return self._finished(assignment, end.outcome.value, end)

    def fenced(self, assignment: Assignment, end: SlotFinished | None = None) -> Draft:
        return self._finished(assignment, "fenced", end)

    def _finished(self, assignment: Assignment, outcome: Outcome, end: SlotFinished | None) -> Draft:
        event = TaskAttemptFinished(
            task_id=assignment.task.task_id,
            worker_id=self._worker_id,
            incarnation=self._incarnation,
            attempt=assignment.task.attempt,
            outcome=outcome,
            duration_s=0.0 if end is None else max(end.duration_s, 0.0),
            exit_code=None if end is None else end.exit_code,
            signal=None if end is None else end.signal,
            message="" if end is None else fit(end.message),
            output="" if end is None else fit(end.output),
            reason="" if end is None else fit(end.reason),
            error=None if outcome not in OUTCOME_CODES else (end and end.error) or OUTCOME_CODES[outcome],
            unstartable=end is not None and end.unstartable,
        )
        return self._draft(assignment, event)

    def _draft(self, assignment: Assignment, event: TaskEvent) -> Draft:
        return self._writer.draft(event, causation_id=assignment.event_id, correlation_id=assignment.correlation_id)
