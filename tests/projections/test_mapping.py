"""Given these events, the tables of the system hold these rows."""

from pathlib import Path
from typing import Any

import msgspec

from events.base import Event
from events.clock import utc
from events.system import (
    IncidentReport,
    ProjectionRebuilt,
    StageReport,
    SystemRecoveryCompleted,
    SystemRecoveryStaged,
    SystemRecoveryStarted,
    SystemStatusChanged,
)
from events.task import TaskStarted, TaskSubmitted
from events.work import CommandWork
from projections import mapping
from projections.rows import SystemRecovery
from projections.working_set import WorkingSet
from tests.projections.histories import EPOCH, at, changes, garbage, record

MOMENT = utc(EPOCH)


def system_history(*events: Event) -> list[SystemRecovery]:
    return list(changes(*events).system_recoveries.values())


INCIDENT = SystemRecoveryStarted(
    incident_id="i1", incident_kind="mass_worker_loss", status="critical", affected_workers=6, affected_tasks=1
)
RESOLVED = SystemRecoveryCompleted(
    incident_id="i1",
    incident_kind="mass_worker_loss",
    status="healthy",
    success=True,
    duration_s=3.0,
    affected_workers=7,
    message="verified",
)


def test_an_incident() -> None:
    (row,) = system_history(INCIDENT)
    assert (row.id, row.system_status, row.success, row.affected_workers) == (1, "critical", None, 6)
    (row,) = system_history(INCIDENT, RESOLVED)
    assert (row.recovery_time, row.system_status, row.success) == (at(1), "healthy", True)
    assert (row.affected_workers, row.affected_tasks) == (7, 1)
    expected: dict[str, Any] = {"kind": "mass_worker_loss", "message": "verified", "duration_s": 3.0}
    assert row.details.items() >= expected.items()
    assert row.details["sequences"] == [1, 2]


def test_the_report_of_an_incident_stands_in_its_details() -> None:
    report = IncidentReport(workers=("w1", "w2"), tasks_requeued=3, stages=(StageReport(stage=1, began_at=MOMENT),))
    staged = SystemRecoveryStaged(incident_id="i1", stage=1, workers=("w1",))
    other = SystemRecoveryStaged(incident_id="i2", stage=1, workers=("w1",))
    (row,) = system_history(INCIDENT, staged, other, msgspec.structs.replace(RESOLVED, report=report))
    assert row.details["sequences"] == [1, 2, 4]
    told = row.details["report"]
    assert isinstance(told, dict)
    assert (told["workers"], told["tasks_requeued"], told["tasks_lost"]) == (("w1", "w2"), 3, 0)
    assert told["stages"][0]["began_at"] == "2026-09-21T14:13:20Z"


def test_a_rebuilt_history_is_a_recovery() -> None:
    status = SystemStatusChanged(status="degraded", previous="healthy", workers_live=1, workers_expected=2)
    rebuilt = ProjectionRebuilt(path="x.duckdb", reason="corrupt", through=9, started_at=MOMENT)
    (row,) = system_history(status, rebuilt)
    assert (row.system_status, row.success, row.details["message"]) == ("degraded", True, "corrupt")
    assert (row.details["kind"], row.details["duration_s"]) == ("projection_rebuilt", 2.0)


def test_every_event_has_its_row_and_every_other_message_as_well() -> None:
    submitted = TaskSubmitted(task_id="t1", run_id="r1", work=CommandWork(argv=("true",), cwd="/srv"))
    begun = TaskStarted(task_id="t1", worker_id="w1", incarnation=1, attempt=2**31)
    rows = WorkingSet()
    mapping.apply(rows, [record(1, submitted, "drill"), garbage(2), record(3, begun)])
    found = rows.take_changes()
    (event,) = found.events
    assert (event.sequence, event.kind, event.entity, event.synthetic) == (1, "task.submitted", "t1", "drill")
    assert [(row.sequence, row.reason) for row in found.parked] == [
        (2, "malformed: garbage"),
        (3, "task.started: attempt is more than a table can hold, 2147483647"),
    ]
    assert found.parked[0].payload == b"\x00garbage\xff"
    assert b'"attempt":2147483648' in found.parked[1].payload


def test_the_tables_of_the_contract(tmp_path: Path) -> None:
    from projections.database import Database
    from tests.projections.histories import select

    path = tmp_path / "history.duckdb"
    Database.open(path).close()
    recovery = [
        ("worker_id", "VARCHAR"),
        ("recovery_time", "TIMESTAMP"),
        ("attempt_number", "INTEGER"),
        ("success", "BOOLEAN"),
        ("recovery_type", "VARCHAR"),
        ("error_message", "VARCHAR"),
        ("details", "JSON"),
    ]
    system = [
        ("id", "INTEGER"),
        ("recovery_time", "TIMESTAMP"),
        ("system_status", "VARCHAR"),
        ("success", "BOOLEAN"),
        ("affected_workers", "INTEGER"),
        ("affected_tasks", "INTEGER"),
        ("details", "JSON"),
    ]
    expected = {
        "worker_recovery_history": [("id", "INTEGER"), *recovery],
        "task_recovery_history": [("id", "INTEGER"), ("task_id", "VARCHAR"), *recovery],
        "system_recovery_history": system,
    }
    for table, columns in expected.items():
        found = select(path, f"SELECT column_name, column_type, key FROM (DESCRIBE {table})")
        assert [(name, kind) for name, kind, _ in found] == columns
        assert [name for name, _, key in found if key == "PRI"] == ["id"]
