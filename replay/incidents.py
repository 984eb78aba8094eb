"""Incidents of the system as a whole, as the log tells them: one record each, from its beginning to its end."""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from events.clock import utc
from events.envelope import Recorded
from events.kinds import tag_of
from events.system import (
    ProjectionRebuilt,
    SystemRecoveryCompleted,
    SystemRecoveryStarted,
)

KINDS = (SystemRecoveryStarted, SystemRecoveryCompleted, ProjectionRebuilt)
TAILS = tuple(tag_of(kind) for kind in KINDS)
"""What of the log tells of incidents."""


class Incident(msgspec.Struct, kw_only=True):
    """`success` is None while it is open."""

    incident_id: str
    kind: str
    began_at: datetime
    sequence: int
    """Of its first event."""
    status: str = ""
    success: bool | None = None
    duration_s: float | None = None
    affected_workers: int = 0
    affected_tasks: int = 0
    message: str = ""
    synthetic: str | None = None


class Incidents:
    """Takes events in their order; `found` holds what they tell, oldest first."""

    def __init__(self) -> None:
        self.found: dict[str, Incident] = {}

    def take(self, records: Iterable[Recorded]) -> None:
        for recorded in records:
            event = recorded.event
            if isinstance(event, SystemRecoveryStarted):
                one = self._of(event.incident_id, event.incident_kind, recorded)
                one.status = event.status
                one.affected_workers, one.affected_tasks = event.affected_workers, event.affected_tasks
            elif isinstance(event, SystemRecoveryCompleted):
                one = self._of(event.incident_id, event.incident_kind, recorded)
                one.status, one.success, one.duration_s = event.status, event.success, event.duration_s
                one.message = event.message
            elif isinstance(event, ProjectionRebuilt):
                one = self._of(f"projection-{recorded.sequence}", "projection_rebuilt", recorded)
                one.success, one.message = True, event.reason
                one.duration_s = max(0.0, (utc(recorded.time) - event.started_at).total_seconds())

    def _of(self, incident_id: str, kind: str, recorded: Recorded) -> Incident:
        return self.found.setdefault(
            incident_id,
            Incident(
                incident_id=incident_id,
                kind=kind,
                began_at=utc(recorded.time),
                sequence=recorded.sequence,
                synthetic=recorded.synthetic,
            ),
        )


def told(one: Incident) -> list[tuple[str, str]]:
    """All that is known of an incident, as labels and sentences."""
    outcome = "open" if one.success is None else "success" if one.success else "no success"
    if one.duration_s is not None:
        outcome += f" after {one.duration_s:.1f} s" + (f"; the system is {one.status}" if one.status else "")
    lines = [
        ("incident", f"{one.incident_id} ({one.kind}), event {one.sequence}"),
        ("began", f"{one.began_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("outcome", outcome),
        ("affected", f"{one.affected_workers} workers, {one.affected_tasks} tasks"),
    ]
    if one.message:
        lines.append(("message", one.message))
    return lines
