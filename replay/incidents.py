"""Incidents of the system as a whole, as the log tells them: one record each, from its beginning to its end."""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from events.clock import utc
from events.envelope import Recorded
from events.kinds import tag_of
from events.system import (
    IncidentReport,
    ProjectionRebuilt,
    StageReport,
    SystemRecoveryCompleted,
    SystemRecoveryStaged,
    SystemRecoveryStarted,
)

KINDS = (SystemRecoveryStarted, SystemRecoveryStaged, SystemRecoveryCompleted, ProjectionRebuilt)
TAILS = tuple(tag_of(kind) for kind in KINDS)
"""What of the log tells of incidents."""


class Incident(msgspec.Struct, kw_only=True):
    """`success` is None while it is open. `stages` counts those that have begun."""

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
    stages: int = 0
    synthetic: str | None = None
    report: IncidentReport | None = None


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
            elif isinstance(event, SystemRecoveryStaged) and event.incident_id in self.found:
                self.found[event.incident_id].stages = event.stage
            elif isinstance(event, SystemRecoveryCompleted):
                one = self._of(event.incident_id, event.incident_kind, recorded)
                one.status, one.success, one.duration_s = event.status, event.success, event.duration_s
                one.message, one.report = event.message, event.report
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
    if one.report is not None:
        lines += _report(one.report)
    return lines


def _report(report: IncidentReport) -> list[tuple[str, str]]:
    if report.leader is not None:
        return _change_of_leaders(report)
    if report.stood_still_s is not None:
        return _standstill(report)
    workers = f"{', '.join(report.workers) or 'none'}; {report.workers_lost_together} of them lost in one go"
    put_back = f"{report.tasks_requeued} put back ({report.tasks_uncharged} of them uncharged although they ran)"
    tasks = f"{put_back}, {report.tasks_preserved} stayed with live workers, {report.tasks_lost} lost"
    ended = f"{report.attempts_succeeded} succeeded, {report.attempts_failed} failed"
    if report.broker_away_s is not None:
        return [
            ("broker", f"away for {report.broker_away_s:.1f} s"),
            ("workers", f"missing at the end: {', '.join(report.workers) or 'none'}"),
            ("tasks", tasks),
        ]
    times = f"tasks put back {_after(report.requeued_after_s)}, repairs begun {_after(report.repairing_after_s)}"
    return [
        ("workers", workers),
        ("tasks", tasks),
        ("attempts", f"{ended}, {report.attempts_superseded} superseded"),
        ("times", times),
    ]


def _change_of_leaders(report: IncidentReport) -> list[tuple[str, str]]:
    undecided = "" if report.undecided_s is None else f", {report.undecided_s:.1f} s after the last decision before"
    return [
        ("leader", f"{report.leader} follows {report.leader_before or 'nobody'} in term {report.term}{undecided}"),
        ("tasks", f"{report.tasks_preserved} stayed with their workers, {report.tasks_waiting} wait"),
    ]


def _standstill(report: IncidentReport) -> list[tuple[str, str]]:
    why = ", ".join(f"{number} {obstacle.replace('_', ' ')}" for obstacle, number in report.obstacles.items())
    return [
        ("still", f"nothing had moved for {report.stood_still_s or 0.0:.1f} s"),
        ("workers", f"when it was found: {why or 'none'}; missing at the end: {', '.join(report.workers) or 'none'}"),
        ("tasks", f"{report.tasks_waiting} wait"),
    ]


def _after(seconds: float | None) -> str:
    return "not at all" if seconds is None else f"after {seconds:.1f} s"


STAGE_COLUMNS = ("STAGE", "BEGAN", "SECONDS", "BACK", "FAILED", "SUPERSEDED", "WORKERS")


def stage_row(stage: StageReport) -> tuple[str, ...]:
    """One stage of the repairs, in `STAGE_COLUMNS`."""
    lasted = "open" if stage.ended_at is None else f"{(stage.ended_at - stage.began_at).total_seconds():.1f}"
    ends = (str(number) for number in (stage.succeeded, stage.failed, stage.superseded))
    more = "" if stage.size == len(stage.workers) else f" and {stage.size - len(stage.workers)} more"
    return str(stage.stage), f"{stage.began_at:%H:%M:%S}", lasted, *ends, ", ".join(stage.workers) + more
