"""evolve(state, event): applies one recorded fact. The only place where the state changes.

It never fails on a recorded event, whatever that says. What fits no row of `recovery.lifecycle` is counted in
`state.ignored` and changes nothing else.
"""

from events.base import Event
from events.envelope import Recorded
from events.kinds import tag_of
from events.worker import RecordedHeartbeat
from recovery import evolve_system, evolve_task, evolve_worker
from recovery.entities import Beat, ParkedMessage
from recovery.handlers import Handler
from recovery.indexes import index_worker
from recovery.state import State

EXCERPT_BYTES = 200

HANDLERS: dict[type[Event], Handler] = {
    **evolve_worker.HANDLERS,
    **evolve_task.HANDLERS,
    **evolve_system.HANDLERS,
}


def evolve(state: State, recorded: Recorded) -> None:
    state.events_sequence = recorded.sequence
    envelope = recorded.envelope
    if envelope is None:
        excerpt = recorded.raw[:EXCERPT_BYTES].decode("utf-8", "replace")
        reason = (recorded.problem or "unreadable")[:EXCERPT_BYTES]
        subject = recorded.subject[:EXCERPT_BYTES]
        state.parked[recorded.sequence] = ParkedMessage(recorded.sequence, subject, reason, excerpt)
        return
    event = envelope.event
    handler = HANDLERS.get(type(event))
    if handler is not None and not handler(state, recorded, event):
        state.ignored[tag_of(type(event))] += 1


def observe(state: State, recorded: RecordedHeartbeat) -> None:
    """Applies one heartbeat. The heartbeats are a fold of their own, joined with the rest only in `decide`, so it
    does not matter how the two streams interleave."""
    state.heartbeats_sequence, state.heartbeats_at = recorded.sequence, recorded.time
    heartbeat = recorded.heartbeat
    if heartbeat is None:
        state.ignored["heartbeat"] += 1
        return
    known = state.beats.get(heartbeat.worker_id)
    if known is not None and heartbeat.incarnation < known.incarnation:
        state.ignored["heartbeat"] += 1
        return
    state.heard_last = heartbeat.worker_id
    state.beats[heartbeat.worker_id] = Beat(heartbeat.incarnation, recorded.time, recorded.sequence)
    worker = state.workers.get(heartbeat.worker_id)
    if worker is not None and worker.incarnation <= heartbeat.incarnation:
        index_worker(state, worker)


def forget_beats(state: State, through: int) -> None:
    """The broker has lost the last heartbeats that were applied. What is applied from here on stands behind `through`.

    All others agree to such a state once an event says so (`DetectorDegraded`, heartbeats_lost).
    """
    state.beats.clear()
    state.heartbeats_sequence, state.heartbeats_at = through, None
    for worker in state.workers.values():
        index_worker(state, worker)
