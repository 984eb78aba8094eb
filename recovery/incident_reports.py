"""What the incidents came to in which nobody was lost: a leader followed another, or the queue stood still."""

from collections import Counter

from events.system import NAMED_MAX, IncidentReport, Obstacle
from recovery.entities import Incident, Worker
from recovery.lifecycle import EXPECTED
from recovery.state import State


def failover_report(state: State) -> IncidentReport:
    before, counts = state.predecessor, state.tasks_by_status
    return IncidentReport(
        leader=state.leader_id,
        leader_before=None if before is None else before.coordinator_id,
        term=state.term,
        undecided_s=None if before is None else before.undecided_s,
        tasks_preserved=max(0, counts["assigned"] + counts["running"] - len(state.orphaned)),
        tasks_waiting=counts["queued"] + counts["isolated"],
    )


def queue_report(state: State, incident: Incident, now: float) -> IncidentReport:
    counts = state.tasks_by_status
    return IncidentReport(
        workers=tuple(state.missing)[:NAMED_MAX],
        obstacles=dict(incident.obstacles),
        stood_still_s=max(0.0, round(now - incident.stood_still_from, 6)),
        tasks_waiting=counts["queued"] + counts["isolated"],
    )


def obstacles(state: State) -> tuple[tuple[Obstacle, int], ...]:
    """Why the workers that are expected take nothing, by how many there are of each kind. Looks at all of them."""
    found = Counter(_obstacle(worker) for worker in state.workers.values() if worker.status in EXPECTED)
    return tuple(sorted(found.items()))


def _obstacle(worker: Worker) -> Obstacle:
    if worker.status in ("exited", "failed"):
        return "failed"
    if worker.status in ("suspect", "stalled"):
        return worker.status
    if worker.cordons:
        return "cordoned"
    if worker.attempt is not None:
        return "under_repair"
    return "set_apart" if worker.set_apart_for else "unfit"
