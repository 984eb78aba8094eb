"""The tables of the history file, as data. What a row holds is in `rows`; views are in `views`."""

from dataclasses import dataclass

import msgspec

from projections.columns import Column, columns_of
from projections.rows import (
    AttemptRow,
    EventRow,
    FailureRow,
    HeartbeatRow,
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

SCHEMA_VERSION = 9
"""Raised with every change to what stands in a file: a file of another version is made anew from the log."""


@dataclass(frozen=True, eq=False)
class Table:
    name: str
    row: type[msgspec.Struct]
    text: str
    appended: bool = False
    """Rows are only ever added, and the key is not enforced: an index over the whole log would outgrow the memory."""

    @property
    def columns(self) -> dict[str, Column]:
        return columns_of(self.row)

    @property
    def key(self) -> str:
        """The first column: unique, and none is NULL."""
        return next(iter(self.columns))


WORKER_RECOVERIES = Table("worker_recovery_history", WorkerRecovery, "One row for each attempt to bring a worker back.")
TASK_RECOVERIES = Table(
    "task_recovery_history",
    TaskRecovery,
    "One row for each time that a task was queued again. It stays open until the task's next ending.",
)
SYSTEM_RECOVERIES = Table(
    "system_recovery_history",
    SystemRecovery,
    "One row for each incident of the system as a whole, and for each time that a history was made anew.",
)
WORKERS = Table("workers", WorkerRow, "The workers, as of the last event.")
TASKS = Table("tasks", TaskRow, "The tasks, as of the last event, each with its one final verdict.")
ATTEMPTS = Table(
    "task_attempts",
    AttemptRow,
    "One row for each assignment of a task to a worker. What is reported after the verdict changes nothing.",
)
FAILURES = Table(
    "failures",
    FailureRow,
    "One row for each failure of a worker, and for each attempt of a task that failed by itself.",
)
OUTAGES = Table(
    "outages",
    OutageRow,
    "One row for each time that a worker was out: from its failure until it was well again, or given up, through all "
    "attempts and further failures on the way.",
)
INCIDENTS = Table("incidents", IncidentRow, "`system_recovery_history` in columns, with the report of each incident.")
USES = Table(
    "recovery_use",
    RecoveryUseRow,
    "One row for each time that workers were out, one or several at once, and that was measured: what was used before, "
    "meanwhile and after. `cpu_percent` is of all processors of a machine, `memory_bytes` what is resident, "
    "`available_bytes` what processes can still get there. Of the leader its own processes count, of the workers the "
    "mean over their machines: processors as a whole, memory of agents and tasks. NULL: unknown, or none was heard.",
    appended=True,
)
POLICIES = Table("policy_history", PolicyRow, "Every policy, from when it came into force.", appended=True)
HEARTBEATS = Table(
    "heartbeat_samples",
    HeartbeatRow,
    "Of each incarnation of a worker the first heartbeat and every thirtieth after it. The stream forgets heartbeats "
    "after a day; here the newest million samples stay.",
    appended=True,
)
EVENTS = Table("events", EventRow, "The log itself.", appended=True)
PARKED_EVENTS = Table(
    "parked_events", ParkedRow, "Messages of the log that could not be understood, or not be stored.", appended=True
)

TABLES = (
    WORKER_RECOVERIES,
    TASK_RECOVERIES,
    SYSTEM_RECOVERIES,
    WORKERS,
    TASKS,
    ATTEMPTS,
    FAILURES,
    OUTAGES,
    INCIDENTS,
    USES,
    POLICIES,
    EVENTS,
    PARKED_EVENTS,
)
"""All that are made from the log alone, and so equal a rebuild."""

ALL_TABLES = (*TABLES, HEARTBEATS)

POSITION = {
    "schema_version": Column("INTEGER", "Of the tables; a file of another version is made anew."),
    "sequence": Column("BIGINT", "The last event that the tables hold."),
    "event_id": Column("VARCHAR", "Its id: after the loss of its tail a log hands out the same sequences again."),
    "heartbeat_sequence": Column("BIGINT", "The last heartbeat that was looked at."),
    "heartbeat_time": Column("DOUBLE", "When the broker stored that, in seconds since the epoch."),
}
"""The one-row table `position`: what the file is, and how far it has come."""

POSITION_TEXT = "One row: what the file is, and how far it has come."

SIGNATURE = {"schema_version", "sequence", "event_id"}
"""A file is ours, of whatever version, if its table `position` has these."""


def create_statements() -> list[str]:
    """The whole schema; the row of `position` comes last, so a file that has it is complete."""
    from projections.views import view_statements

    statements = []
    for table in ALL_TABLES:
        columns = ", ".join(
            f"{name} {column.sql}{' PRIMARY KEY' if name == table.key and not table.appended else ''}"
            for name, column in table.columns.items()
        )
        statements.append(f"CREATE TABLE {table.name} ({columns})")
    columns = ", ".join(f"{name} {column.sql} NOT NULL" for name, column in POSITION.items())
    statements.append(f"CREATE TABLE position ({columns})")
    statements += view_statements()
    statements.append(f"INSERT INTO position VALUES ({SCHEMA_VERSION}, 0, '', 0, 0)")  # noqa: S608
    return statements
