"""The tables of the history file, as data: each is a row type for the mapping and its columns for DuckDB.

Rows carry times as microseconds since the epoch and JSON as the object itself; `database` converts. The first column
of each table is its key.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from events.base import Event

SCHEMA_VERSION = 1
"""Raised with every change to what stands in a file: a file of another version is made anew from the log."""

Details = dict[str, Any]


class WorkerRecovery(msgspec.Struct, kw_only=True):
    """One attempt to bring a worker back. `success` is None while it is open."""

    id: int
    worker_id: str
    recovery_time: int
    attempt_number: int
    success: bool | None = None
    recovery_type: str
    error_message: str | None = None
    details: Details


class TaskRecovery(msgspec.Struct, kw_only=True):
    """One return of a task to the queue. `success` is None until the task's next attempt has ended."""

    id: int
    task_id: str
    worker_id: str
    recovery_time: int
    attempt_number: int
    success: bool | None = None
    recovery_type: str
    error_message: str | None = None
    details: Details


class SystemRecovery(msgspec.Struct, kw_only=True):
    """One incident of the system as a whole."""

    id: int
    recovery_time: int
    system_status: str | None
    success: bool | None = None
    affected_workers: int = 0
    affected_tasks: int = 0
    details: Details


class WorkerRow(msgspec.Struct, kw_only=True):
    worker_id: str
    status: str = "unregistered"
    incarnation: int = 0
    host: str | None = None
    pid: int | None = None
    slots: int | None = None
    labels: dict[str, str] | None = None
    registered_at: int | None = None
    failures: int = 0
    recoveries: int = 0
    failed_at: int | None = None
    failed_sequence: int | None = None
    failed_incarnation: int | None = None
    failure_reason: str | None = None
    failure_synthetic: str | None = None
    synthetic: str | None = None
    last_event_sequence: int = 0


class TaskRow(msgspec.Struct, kw_only=True):
    task_id: str
    run_id: str | None = None
    status: str = "queued"
    verdict: str | None = None
    outcome: str | None = None
    runner: str | None = None
    command: str | None = None
    priority: int = 0
    attempts: int = 0
    worker_id: str | None = None
    submitted_at: int | None = None
    started_at: int | None = None
    completed_at: int | None = None
    duration_s: float | None = None
    message: str | None = None
    synthetic: str | None = None
    last_event_sequence: int = 0


class EventRow(msgspec.Struct, kw_only=True):
    sequence: int
    recorded_at: int
    kind: str
    entity: str | None
    event_id: str
    source: str
    causation_id: str | None
    correlation_id: str | None
    synthetic: str | None
    payload: Event


class ParkedRow(msgspec.Struct, kw_only=True):
    sequence: int
    recorded_at: int
    subject: str
    reason: str
    payload: bytes


@dataclass(frozen=True, eq=False)
class Table:
    name: str
    row: type[msgspec.Struct]
    columns: dict[str, str]
    """SQL type by name, in order; the first is the key."""
    appended: bool = False
    """Rows are only ever added."""

    @property
    def key(self) -> str:
        return next(iter(self.columns))


_RECOVERY = {
    "recovery_time": "TIMESTAMP",
    "attempt_number": "INTEGER",
    "success": "BOOLEAN",
    "recovery_type": "VARCHAR",
    "error_message": "VARCHAR",
    "details": "JSON",
}

WORKER_RECOVERIES = Table(
    "worker_recovery_history", WorkerRecovery, {"id": "INTEGER", "worker_id": "VARCHAR"} | _RECOVERY
)
TASK_RECOVERIES = Table(
    "task_recovery_history",
    TaskRecovery,
    {"id": "INTEGER", "task_id": "VARCHAR", "worker_id": "VARCHAR"} | _RECOVERY,
)
SYSTEM_RECOVERIES = Table(
    "system_recovery_history",
    SystemRecovery,
    {
        "id": "INTEGER",
        "recovery_time": "TIMESTAMP",
        "system_status": "VARCHAR",
        "success": "BOOLEAN",
        "affected_workers": "INTEGER",
        "affected_tasks": "INTEGER",
        "details": "JSON",
    },
)
WORKERS = Table(
    "workers",
    WorkerRow,
    {
        "worker_id": "VARCHAR",
        "status": "VARCHAR",
        "incarnation": "BIGINT",
        "host": "VARCHAR",
        "pid": "BIGINT",
        "slots": "INTEGER",
        "labels": "JSON",
        "registered_at": "TIMESTAMP",
        "failures": "INTEGER",
        "recoveries": "INTEGER",
        "failed_at": "TIMESTAMP",
        "failed_sequence": "BIGINT",
        "failed_incarnation": "BIGINT",
        "failure_reason": "VARCHAR",
        "failure_synthetic": "VARCHAR",
        "synthetic": "VARCHAR",
        "last_event_sequence": "BIGINT",
    },
)
TASKS = Table(
    "tasks",
    TaskRow,
    {
        "task_id": "VARCHAR",
        "run_id": "VARCHAR",
        "status": "VARCHAR",
        "verdict": "VARCHAR",
        "outcome": "VARCHAR",
        "runner": "VARCHAR",
        "command": "VARCHAR",
        "priority": "INTEGER",
        "attempts": "INTEGER",
        "worker_id": "VARCHAR",
        "submitted_at": "TIMESTAMP",
        "started_at": "TIMESTAMP",
        "completed_at": "TIMESTAMP",
        "duration_s": "DOUBLE",
        "message": "VARCHAR",
        "synthetic": "VARCHAR",
        "last_event_sequence": "BIGINT",
    },
)
EVENTS = Table(
    "events",
    EventRow,
    {
        "sequence": "BIGINT",
        "recorded_at": "TIMESTAMP",
        "kind": "VARCHAR",
        "entity": "VARCHAR",
        "event_id": "VARCHAR",
        "source": "VARCHAR",
        "causation_id": "VARCHAR",
        "correlation_id": "VARCHAR",
        "synthetic": "VARCHAR",
        "payload": "JSON",
    },
    appended=True,
)
PARKED_EVENTS = Table(
    "parked_events",
    ParkedRow,
    {
        "sequence": "BIGINT",
        "recorded_at": "TIMESTAMP",
        "subject": "VARCHAR",
        "reason": "VARCHAR",
        "payload": "BLOB",
    },
    appended=True,
)

TABLES = (WORKER_RECOVERIES, TASK_RECOVERIES, SYSTEM_RECOVERIES, WORKERS, TASKS, EVENTS, PARKED_EVENTS)

POSITION_COLUMNS = {"schema_version": "INTEGER", "sequence": "BIGINT", "event_id": "VARCHAR"}
"""The one-row table `position`: what the file is, and how far it has come."""


def create_statements() -> list[str]:
    """The whole schema; the row of `position` comes last, so a file that has it is complete."""
    from projections.views import VIEWS

    statements = []
    for table in TABLES:
        columns = ", ".join(
            f"{name} {kind}{' PRIMARY KEY' if name == table.key else ''}" for name, kind in table.columns.items()
        )
        statements.append(f"CREATE TABLE {table.name} ({columns})")
    statements += [f"CREATE VIEW {name} AS {query}" for name, query in VIEWS.items()]
    columns = ", ".join(f"{name} {kind} NOT NULL" for name, kind in POSITION_COLUMNS.items())
    statements.append(f"CREATE TABLE position ({columns})")
    statements.append(f"INSERT INTO position VALUES ({SCHEMA_VERSION}, 0, '')")  # noqa: S608
    return statements
