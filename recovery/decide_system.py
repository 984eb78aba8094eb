"""What is owed to the system as a whole: its status, its incidents, a word about what could not be understood."""

from collections.abc import Iterator

from events.system import (
    EventParked,
    IncidentReport,
    SystemRecoveryCompleted,
    SystemRecoveryStarted,
    SystemStatusChanged,
)
from recovery.decisions import Decision
from recovery.entities import Incident
from recovery.incident_reports import failover_report, queue_report
from recovery.outages import (
    BROKER,
    FAILOVER,
    KIND,
    QUEUE,
    affected_tasks,
    broker_report,
    open_stage,
    report,
    verified_at,
)
from recovery.state import State


def owed_to_system(state: State, now: float) -> Iterator[Decision]:
    for message in state.parked.values():
        yield Decision(
            EventParked(
                sequence=message.sequence, subject=message.subject, reason=message.reason, excerpt=message.excerpt
            ),
            "message of the log not understood",
        )
    measured = state.measured_status()
    if measured != state.status:
        event = SystemStatusChanged(
            status=measured,
            previous=state.status,
            workers_live=state.workers_live,
            workers_expected=state.workers_expected,
        )
        yield Decision(event, "share of live workers crossed a threshold", synthetic=state.status_made_up())
    yield from _mass_worker_loss(state, now)
    yield from _coordinator_failover(state, now)
    yield from _broker_outage(state, now)


def _mass_worker_loss(state: State, now: float) -> Iterator[Decision]:
    incident = state.incidents.get("mass_worker_loss")
    measured = state.measured_status()
    if incident is None:
        # On the recorded edge, so that an incident always follows the change of status that it answers.
        outage = state.outage
        if state.status == "critical" and measured == "critical" and outage is not None:
            event = SystemRecoveryStarted(
                incident_id=f"loss-{state.events_sequence}",
                incident_kind="mass_worker_loss",
                status="critical",
                affected_workers=state.workers_expected - state.workers_live,
                affected_tasks=affected_tasks(state, outage),
            )
            rule = "fewer workers live than critical_below, and one was lost"
            yield Decision(event, rule, outage.event_id, synthetic=state.status_made_up())
    elif measured != "critical" and state.status == measured and _settled(state):
        success = measured != "idle"
        message = "" if success else "no worker is expected any more"
        yield completed(state, incident, now, success=success, message=message)


def _settled(state: State) -> bool:
    """Whether what was begun in the incident has come to its end; while nothing may be done, that is all there is."""
    outage = state.outage
    idle = state.measured_status() == "idle" or not state.may_repair
    return idle or outage is None or (not state.orphaned and open_stage(outage) is None)


def _coordinator_failover(state: State, now: float) -> Iterator[Decision]:
    incident = state.incidents.get(FAILOVER)
    if incident is not None:
        message = f"term {state.term} under {state.leader_id} has folded the log and leads"
        yield completed(state, incident, now, success=True, message=message)
    elif state.failover_unreported:
        event = SystemRecoveryStarted(
            incident_id=f"failover-{state.fencing_token}",
            incident_kind=FAILOVER,
            status=state.measured_status(),
            affected_workers=0,
            affected_tasks=state.tasks_by_status["assigned"] + state.tasks_by_status["running"],
            error="coordinator",
        )
        yield Decision(event, "a leader followed one that had not stepped down")


def _broker_outage(state: State, now: float) -> Iterator[Decision]:
    incident, returned = state.incidents.get(BROKER), state.returned
    if incident is not None:
        measured = state.measured_status()
        sound = measured != "critical" and state.status == measured
        if sound and returned is not None and now >= verified_at(state):
            message = f"the broker was away for {returned.away_s:.1f} s; whoever lives has been heard again"
            yield completed(state, incident, now, success=measured != "idle", message=message)
    elif state.outage_unreported and returned is not None:
        event = SystemRecoveryStarted(
            incident_id=f"broker-{returned.sequence}",
            incident_kind=BROKER,
            status=state.measured_status(),
            affected_workers=state.workers_live,
            affected_tasks=state.tasks_by_status["assigned"] + state.tasks_by_status["running"],
            error="broker",
        )
        yield Decision(event, "the broker was away from everybody", returned.event_id, synthetic=returned.synthetic)


def completed(state: State, incident: Incident, now: float, *, success: bool, message: str) -> Decision:
    """Closes the incident."""
    outage = state.outage if incident.kind == KIND else None
    event = SystemRecoveryCompleted(
        incident_id=incident.incident_id,
        incident_kind=incident.kind,
        status=state.measured_status(),
        success=success,
        duration_s=max(0.0, round(now - incident.started_at, 6)),
        affected_workers=incident.affected_workers if outage is None else len(outage.missing),
        affected_tasks=incident.affected_tasks if outage is None else affected_tasks(state, outage),
        message=message,
        report=_report(state, incident, now),
    )
    cause = incident.event_id
    return Decision(event, "the incident's end state is verified", cause, cause, incident.synthetic)


def _report(state: State, incident: Incident, now: float) -> IncidentReport | None:
    if incident.kind == BROKER:
        return broker_report(state, incident)
    if incident.kind == QUEUE:
        return queue_report(state, incident, now)
    if incident.kind == FAILOVER:
        return failover_report(state)
    return report(state.outage) if incident.kind == KIND and state.outage is not None else None
