"""The rows that the mapping works on, and which of them a batch has changed.

Open history rows are all here; of workers and tasks as many as there is room for, and `missing` names what a batch
needs besides. So nothing has to be remembered that does not stand in the tables.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from events.base import Event
from events.envelope import Recorded
from projections.rows import (
    AttemptRow,
    Details,
    EventRow,
    FailureRow,
    IncidentRow,
    OutageRow,
    ParkedRow,
    PolicyRow,
    RecoveryUseRow,
    SystemRecovery,
    TaskRecovery,
    TaskRow,
    WorkerRecovery,
    WorkerRow,
)
from projections.tables import (
    ATTEMPTS,
    EVENTS,
    FAILURES,
    INCIDENTS,
    OUTAGES,
    PARKED_EVENTS,
    POLICIES,
    SYSTEM_RECOVERIES,
    TASK_RECOVERIES,
    TASKS,
    USES,
    WORKER_RECOVERIES,
    WORKERS,
    Table,
)

R = TypeVar("R", bound=msgspec.Struct)

ROWS_KEPT_MAX = 50_000
"""Of workers, and of unfinished tasks, between two batches; what is dropped is loaded again when it is needed."""


class Changes:
    """What a batch does to the tables: the last state of each row by its key, and rows to append in order."""

    def __init__(self) -> None:
        self.events: list[EventRow] = []
        self.parked: list[ParkedRow] = []
        self.workers: dict[str, WorkerRow] = {}
        self.tasks: dict[str, TaskRow] = {}
        self.new_tasks: set[str] = set()
        self.attempts: dict[int, AttemptRow] = {}
        self.failures: dict[int, FailureRow] = {}
        self.outages: dict[int, OutageRow] = {}
        self.policies: list[PolicyRow] = []
        self.uses: list[RecoveryUseRow] = []
        self.worker_recoveries: dict[int, WorkerRecovery] = {}
        self.task_recoveries: dict[int, TaskRecovery] = {}
        self.system_recoveries: dict[int, SystemRecovery] = {}
        self.incidents: dict[int, IncidentRow] = {}

    def by_table(self, after: int) -> Iterator[tuple[Table, Sequence[msgspec.Struct], Sequence[msgspec.Struct]]]:
        """Each table with its new rows, and with those that it may hold already, which cost twice as much to write.
        The batch follows the sequence `after`."""
        yield EVENTS, self.events, ()
        yield PARKED_EVENTS, self.parked, ()
        yield POLICIES, self.policies, ()
        yield USES, self.uses, ()
        yield TASKS, *_parted(self.tasks.values(), lambda row: row.task_id in self.new_tasks)
        yield ATTEMPTS, *_parted(self.attempts.values(), lambda row: row.id > after)
        yield FAILURES, *_parted(self.failures.values(), lambda row: row.id > after)
        yield OUTAGES, *_parted(self.outages.values(), lambda row: row.id > after)
        yield WORKERS, (), list(self.workers.values())
        yield WORKER_RECOVERIES, (), list(self.worker_recoveries.values())
        yield TASK_RECOVERIES, (), list(self.task_recoveries.values())
        yield SYSTEM_RECOVERIES, (), list(self.system_recoveries.values())
        yield INCIDENTS, (), list(self.incidents.values())


def _parted(rows: Iterable[R], is_new: Callable[[R], bool]) -> tuple[list[R], list[R]]:
    new: list[R] = []
    known: list[R] = []
    for row in rows:
        (new if is_new(row) else known).append(row)
    return new, known


class WorkingSet:
    """`last_ids` are the highest ids of the worker, task and system histories, each a dense counter from 1."""

    def __init__(
        self,
        *,
        last_ids: tuple[int, int, int] = (0, 0, 0),
        system_status: str | None = None,
        open_worker_recoveries: Iterable[WorkerRecovery] = (),
        open_task_recoveries: Iterable[TaskRecovery] = (),
        open_system_recoveries: Iterable[SystemRecovery] = (),
        open_failures: Iterable[FailureRow] = (),
        open_outages: Iterable[OutageRow] = (),
        policy: Details | None = None,
        paused: bool = False,
    ) -> None:
        self._last_worker_id, self._last_task_id, self._last_system_id = last_ids
        self.system_status = system_status
        self.workers: dict[str, WorkerRow] = {}
        self.tasks: dict[str, TaskRow] = {}
        self.worker_recoveries = {row.worker_id: row for row in open_worker_recoveries}
        self.task_recoveries = {row.task_id: row for row in open_task_recoveries}
        self.attempts: dict[str, list[AttemptRow]] = {}
        """Of the tasks in `tasks` that have no verdict, all."""
        self.failures = {row.worker_id: row for row in open_failures}
        self.outages = {row.worker_id: row for row in open_outages}
        self.policy = policy
        """The settings of the policy in force."""
        self.paused = paused
        """An operator has halted recovery."""
        self.incidents = {str(row.details["incident_id"]): row for row in open_system_recoveries}
        self.changes = Changes()

    def missing(self, worker_ids: set[str], task_ids: set[str]) -> tuple[set[str], set[str]]:
        return worker_ids - self.workers.keys(), task_ids - self.tasks.keys()

    def take_changes(self) -> Changes:
        """Ends a batch, and lets go of what will hardly be needed again."""
        changes, self.changes = self.changes, Changes()
        for task_id, row in changes.tasks.items():
            if row.verdict is not None:
                del self.tasks[task_id]
        if len(self.tasks) > ROWS_KEPT_MAX:
            self.tasks.clear()
            self.attempts.clear()
        if len(self.workers) > ROWS_KEPT_MAX:
            self.workers.clear()
        return changes

    def worker(self, worker_id: str, sequence: int) -> WorkerRow:
        """The worker's row, made where there is none yet; it counts as changed by the event at `sequence`."""
        row = self.workers.get(worker_id)
        if row is None:
            row = self.workers[worker_id] = WorkerRow(worker_id=worker_id)
        row.last_event_sequence = sequence
        self.changes.workers[worker_id] = row
        return row

    def task(self, task_id: str, sequence: int) -> TaskRow | None:
        row = self.tasks.get(task_id)
        if row is not None:
            row.last_event_sequence = sequence
            self.changes.tasks[task_id] = row
        return row

    def task_or_new(self, task_id: str, sequence: int) -> TaskRow:
        if task_id not in self.tasks:
            self.tasks[task_id] = TaskRow(task_id=task_id)
            self.changes.new_tasks.add(task_id)
        row = self.task(task_id, sequence)
        assert row is not None
        return row

    def next_worker_recovery_id(self) -> int:
        self._last_worker_id += 1
        return self._last_worker_id

    def next_task_recovery_id(self) -> int:
        self._last_task_id += 1
        return self._last_task_id

    def next_system_recovery_id(self) -> int:
        self._last_system_id += 1
        return self._last_system_id

    def put_worker_recovery(self, row: WorkerRecovery) -> None:
        """Stores the row's present state; an open one is found again by its worker."""
        self.changes.worker_recoveries[row.id] = row
        if row.success is None:
            self.worker_recoveries[row.worker_id] = row
        elif self.worker_recoveries.get(row.worker_id) is row:
            del self.worker_recoveries[row.worker_id]

    def put_task_recovery(self, row: TaskRecovery) -> None:
        self.changes.task_recoveries[row.id] = row
        if row.success is None:
            self.task_recoveries[row.task_id] = row
        elif self.task_recoveries.get(row.task_id) is row:
            del self.task_recoveries[row.task_id]

    def put_system_recovery(self, row: SystemRecovery, at: Recorded) -> None:
        """`at` is the event that has changed it; `incidents` shows the same row in columns."""
        self.changes.system_recoveries[row.id] = row
        details = row.details
        incident_id = str(details["incident_id"])
        if row.success is None:
            self.incidents[incident_id] = row
        elif self.incidents.get(incident_id) is row:
            del self.incidents[incident_id]
        self.changes.incidents[row.id] = IncidentRow(
            id=row.id,
            incident_id=incident_id,
            kind=details["kind"],
            began_at=row.recovery_time,
            ended_at=None if row.success is None else microseconds(at.time),
            duration_s=details.get("duration_s"),
            system_status=row.system_status,
            success=row.success,
            affected_workers=row.affected_workers,
            affected_tasks=row.affected_tasks,
            message=details.get("message"),
            report=details,
            synthetic=details.get("synthetic"),
        )

    def put_failure(self, row: FailureRow) -> None:
        self.changes.failures[row.id] = row
        if row.scope != "worker":
            return
        if row.resolution is None:
            self.failures[row.worker_id] = row
        elif self.failures.get(row.worker_id) is row:
            del self.failures[row.worker_id]

    def put_outage(self, row: OutageRow) -> None:
        self.changes.outages[row.id] = row
        if row.ending is None:
            self.outages[row.worker_id] = row
        elif self.outages.get(row.worker_id) is row:
            del self.outages[row.worker_id]


Handler = Callable[[WorkingSet, Recorded, Any], None]
Handlers = dict[type[Event], Handler]
"""What each kind does to the tables of one module."""

SEQUENCES_MAX = 100
"""Sequences listed in one row's details; an attempt has a handful."""


def microseconds(moment: float) -> int:
    return round(moment * 1_000_000)


def elapsed_s(since: int, at: Recorded) -> float:
    """From a time of a row to this event; never negative, whatever the broker's clock did."""
    return max(0, microseconds(at.time) - since) / 1_000_000


def add_sequence(details: dict[str, object], sequence: int) -> None:
    sequences = details["sequences"]
    assert isinstance(sequences, list)
    if len(sequences) < SEQUENCES_MAX:
        sequences.append(sequence)


def add_label(details: dict[str, object], synthetic: str | None) -> None:
    if synthetic is not None:
        details.setdefault("synthetic", synthetic)
