"""`RecoveryMeasured`, and the table `recovery_use`."""

from typing import Any

from events.envelope import Recorded
from events.system import Course, RecoveryMeasured
from projections.rows import RecoveryUseRow
from projections.working_set import Handlers, WorkingSet, microseconds

PARTS = ("before", "during", "after")


def measured(rows: WorkingSet, at: Recorded, event: RecoveryMeasured) -> None:
    used: dict[str, Any] = {}
    for who, course in (("coordinator", event.coordinator), ("workers", event.workers)):
        if course is not None:
            used |= _columns(who, course)
    rows.changes.uses.append(
        RecoveryUseRow(
            id=at.sequence,
            began_at=microseconds(event.began_at.timestamp()),
            ended_at=microseconds(event.ended_at.timestamp()),
            outages=event.outages,
            before_s=event.before_s,
            after_s=event.after_s,
            coordinator_id=event.coordinator_id,
            hosts=event.hosts,
            synthetic=at.synthetic,
            **used,
        )
    )


def _columns(who: str, course: Course) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in PARTS:
        use = getattr(course, part)
        found[f"{who}_cpu_percent_{part}"] = use.cpu_percent
        found[f"{who}_memory_bytes_{part}"] = use.memory_bytes
        found[f"{who}_available_bytes_{part}"] = use.memory_available_bytes
    return found


HANDLERS: Handlers = {RecoveryMeasured: measured}
