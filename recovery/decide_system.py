"""What is owed to the system as a whole: its status, its incidents, a word about what could not be understood."""

from collections.abc import Iterator

from events.system import EventParked, SystemRecoveryCompleted, SystemRecoveryStarted, SystemStatusChanged
from recovery.decisions import Decision
from recovery.entities import Incident
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


def _mass_worker_loss(state: State, now: float) -> Iterator[Decision]:
    incident = state.incidents.get("mass_worker_loss")
    measured = state.measured_status()
    if incident is None:
        # On the recorded edge, so that an incident always follows the change of status that it answers.
        if state.status == "critical" and measured == "critical":
            event = SystemRecoveryStarted(
                incident_id=f"loss-{state.events_sequence}",
                incident_kind="mass_worker_loss",
                status="critical",
                affected_workers=state.workers_expected - state.workers_live,
                affected_tasks=len(state.orphaned),
            )
            yield Decision(event, "fewer workers live than critical_below", synthetic=state.status_made_up())
    elif measured != "critical" and state.status == measured:
        success = measured != "idle"
        message = "" if success else "no worker is expected any more"
        yield _completed(state, incident, now, success=success, message=message)


def _coordinator_failover(state: State, now: float) -> Iterator[Decision]:
    incident = state.incidents.get("coordinator_failover")
    if incident is not None:
        message = f"term {state.term} under {state.leader_id} has folded the log and leads"
        yield _completed(state, incident, now, success=True, message=message)
    elif state.failover_unreported:
        event = SystemRecoveryStarted(
            incident_id=f"failover-{state.fencing_token}",
            incident_kind="coordinator_failover",
            status=state.measured_status(),
            affected_workers=0,
            affected_tasks=state.tasks_by_status["assigned"] + state.tasks_by_status["running"],
        )
        yield Decision(event, "a leader followed one that had not stepped down")


def _completed(state: State, incident: Incident, now: float, *, success: bool, message: str) -> Decision:
    event = SystemRecoveryCompleted(
        incident_id=incident.incident_id,
        incident_kind=incident.kind,
        status=state.measured_status(),
        success=success,
        duration_s=max(0.0, round(now - incident.started_at, 6)),
        affected_workers=incident.affected_workers,
        affected_tasks=incident.affected_tasks,
        message=message,
    )
    cause = incident.event_id
    return Decision(event, "the incident's end state is verified", cause, cause, incident.synthetic)
