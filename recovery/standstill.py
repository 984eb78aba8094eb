"""Work that waits while nothing moves: a farm that has workers, and does nothing.

Whoever has a task has deadlines of his own, and a farm without workers is idle. What is left is a farm in which nobody
has anything, although something waits that one of the expected workers could run: all of them are cordoned, suspected,
or being repaired for too long, or the only ones with the right labels are.
"""

from collections.abc import Iterator

from events.system import SystemRecoveryStarted
from recovery.decide_system import completed
from recovery.decide_tasks import owed_assignments
from recovery.decisions import Decision
from recovery.outages import QUEUE
from recovery.poison import amid_losses
from recovery.state import State
from recovery.timers import NEVER


def owed_to_queue(state: State, now: float) -> Iterator[Decision]:
    """To be asked last: whatever can be handed out is no standstill."""
    incident = state.incidents.get(QUEUE)
    if incident is not None:
        message = _why_over(state)
        if message:
            yield completed(state, incident, now, success=state.workers_expected > 0, message=message)
    elif now >= stalls_at(state) and next(owed_assignments(state, now), None) is None:
        event = SystemRecoveryStarted(
            incident_id=f"queue-{state.events_sequence}",
            incident_kind=QUEUE,
            status=state.measured_status(),
            affected_workers=state.workers_expected,
            affected_tasks=_waiting(state),
        )
        yield Decision(event, "work waits, workers are expected, and nothing moves")


def stalls_at(state: State) -> float:
    """When that has lasted for long enough to be called an incident; `NEVER` if it is not so, or is one already."""
    if not _waiting(state) or not state.workers_expected or _under_way(state):
        return NEVER
    if QUEUE in state.incidents or amid_losses(state) or not _runnable(state):
        return NEVER
    return max(state.moved_at, state.interrupted_at) + state.policy.queue_stalled_after


def _why_over(state: State) -> str:
    """Empty: it is not."""
    if _under_way(state):
        return "work is under way again"
    if not _runnable(state):
        return "nothing waits any more that anybody could run"
    return "" if state.workers_expected else "no worker is expected any more"


def _waiting(state: State) -> int:
    return state.tasks_by_status["queued"] + state.tasks_by_status["isolated"]


def _under_way(state: State) -> bool:
    """Whether anybody has anything."""
    counts = state.tasks_by_status
    return counts["assigned"] + counts["running"] > len(state.orphaned)


def _runnable(state: State) -> int:
    """How many waiting tasks somebody could run who is there or expected."""
    hopeless = sum(len(need.tasks) for need in state.needs.values() if need.unmet_since is not None)
    return _waiting(state) - hopeless
