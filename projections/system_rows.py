"""Events about the system as a whole, and what each does to the tables `system_recovery_history` and
`incidents`, which holds the same in columns.

One row is one incident: from `SystemRecoveryStarted` (`recovery_time`, `success` NULL) to `SystemRecoveryCompleted`.
`system_status` is the status at the latest of the two. A history file that was made anew is a recovery as well: its
row holds the system's status at that time.
"""

import msgspec

from events.clock import utc
from events.envelope import Recorded
from events.system import (
    ProjectionRebuilt,
    SystemRecoveryCompleted,
    SystemRecoveryStaged,
    SystemRecoveryStarted,
    SystemStatusChanged,
)
from projections.rows import Details, SystemRecovery
from projections.working_set import WorkingSet, add_label, add_sequence, microseconds

PROJECTION_REBUILT = "projection_rebuilt"


def status_changed(rows: WorkingSet, at: Recorded, event: SystemStatusChanged) -> None:
    del at
    rows.system_status = event.status


def started(rows: WorkingSet, at: Recorded, event: SystemRecoveryStarted) -> None:
    if event.incident_id in rows.incidents:
        _note(rows.incidents[event.incident_id], at)
        rows.put_system_recovery(rows.incidents[event.incident_id], at)
        return
    row = _new(rows, at, event.incident_id, event.incident_kind)
    row.system_status = event.status
    row.affected_workers, row.affected_tasks = event.affected_workers, event.affected_tasks
    rows.put_system_recovery(row, at)


def completed(rows: WorkingSet, at: Recorded, event: SystemRecoveryCompleted) -> None:
    row = rows.incidents.get(event.incident_id)
    if row is None:
        row = _new(rows, at, event.incident_id, event.incident_kind)
        row.details["begun"] = False
    else:
        _note(row, at)
    row.system_status, row.success = event.status, event.success
    row.affected_workers = max(row.affected_workers, event.affected_workers)
    row.affected_tasks = max(row.affected_tasks, event.affected_tasks)
    row.details["ended_at"] = utc(at.time)
    row.details["duration_s"] = event.duration_s
    if event.message:
        row.details["message"] = event.message
    if event.report is not None:
        row.details["report"] = msgspec.to_builtins(event.report)
    rows.put_system_recovery(row, at)


def staged(rows: WorkingSet, at: Recorded, event: SystemRecoveryStaged) -> None:
    """The next workers are repaired: the incident's report will say what came of it."""
    row = rows.incidents.get(event.incident_id)
    if row is not None:
        _note(row, at)
        rows.put_system_recovery(row, at)


def projection_rebuilt(rows: WorkingSet, at: Recorded, event: ProjectionRebuilt) -> None:
    row = _new(rows, at, f"projection-{at.sequence}", PROJECTION_REBUILT)
    row.success = True
    row.details |= {
        "message": event.reason,
        "path": event.path,
        "through": event.through,
        "duration_s": max(0.0, (utc(at.time) - event.started_at).total_seconds()),
    }
    rows.put_system_recovery(row, at)


def _new(rows: WorkingSet, at: Recorded, incident_id: str, kind: str) -> SystemRecovery:
    details: Details = {"sequences": [], "kind": kind, "incident_id": incident_id}
    row = SystemRecovery(
        id=rows.next_system_recovery_id(),
        recovery_time=microseconds(at.time),
        system_status=rows.system_status,
        details=details,
    )
    _note(row, at)
    return row


def _note(row: SystemRecovery, at: Recorded) -> None:
    add_sequence(row.details, at.sequence)
    add_label(row.details, at.synthetic)
