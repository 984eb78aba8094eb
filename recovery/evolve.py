"""evolve(state, event): applies one recorded fact. The only place where the state changes.

It never fails on a recorded event, whatever that says. What fits no row of `recovery.lifecycle` is counted in
`state.ignored` and changes nothing else.
"""

from copy import deepcopy

from events.base import Event
from events.envelope import Recorded
from events.kinds import tag_of
from events.worker import Heartbeat, RecordedHeartbeat
from recovery import (
    evolve_attempt,
    evolve_cordon,
    evolve_forecast,
    evolve_orders,
    evolve_repairs,
    evolve_system,
    evolve_task,
    evolve_worker,
)
from recovery.detectors import Arrivals
from recovery.entities import Beat, ParkedMessage
from recovery.forecasts import Trend
from recovery.foresight import look
from recovery.handlers import Handler
from recovery.indexes import index_worker
from recovery.state import State

EXCERPT_BYTES = 200
STRAGGLERS_MAX = 4
"""Incarnations of one worker that are remembered beside the newest."""

HANDLERS: dict[type[Event], Handler] = {
    **evolve_worker.HANDLERS,
    **evolve_cordon.HANDLERS,
    **evolve_orders.HANDLERS,
    **evolve_attempt.HANDLERS,
    **evolve_repairs.HANDLERS,
    **evolve_task.HANDLERS,
    **evolve_forecast.HANDLERS,
    **evolve_system.HANDLERS,
}

NOTES = evolve_forecast.NOTES
"""What an event that was applied means besides, for what is foreseen."""


def evolve(state: State, recorded: Recorded) -> None:
    state.events_sequence = recorded.sequence
    envelope = recorded.envelope
    if envelope is None:
        excerpt = recorded.raw[:EXCERPT_BYTES].decode("utf-8", "replace")
        reason = (recorded.problem or "unreadable")[:EXCERPT_BYTES]
        subject = recorded.subject[:EXCERPT_BYTES]
        state.parked[recorded.sequence] = ParkedMessage(recorded.sequence, subject, reason, excerpt)
        return
    if envelope.decision is not None:
        state.beats_known = max(state.beats_known, envelope.decision.as_of_heartbeats)
        state.decided_at = recorded.time
    event = envelope.event
    handler = HANDLERS.get(type(event))
    if handler is not None and not handler(state, recorded, event):
        state.ignored[tag_of(type(event))] += 1
    elif (note := NOTES.get(type(event))) is not None:
        note(state, recorded, event)


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
        _note_straggler(state, recorded, heartbeat)
        return
    state.stragglers.pop(heartbeat.worker_id, None)
    state.heard_last = heartbeat.worker_id
    state.beats[heartbeat.worker_id] = _beat(known, recorded, heartbeat)
    arrivals = state.arrivals.get(heartbeat.worker_id)
    if arrivals is None or arrivals.incarnation != heartbeat.incarnation:
        arrivals = state.arrivals[heartbeat.worker_id] = Arrivals(heartbeat.incarnation)
    arrivals.add(recorded.time, recorded.sequence)
    trend = state.trends.get(heartbeat.worker_id)
    if trend is None or trend.incarnation != heartbeat.incarnation:
        trend = state.trends[heartbeat.worker_id] = Trend(heartbeat.incarnation)
    if trend.add(heartbeat, recorded.time, recorded.sequence):
        look(state, heartbeat.worker_id)
    worker = state.workers.get(heartbeat.worker_id)
    if worker is not None and worker.incarnation <= heartbeat.incarnation:
        index_worker(state, worker)


def _note_straggler(state: State, recorded: RecordedHeartbeat, heartbeat: Heartbeat) -> None:
    """One of an older incarnation than has been heard. Only the log can tell whether it is over."""
    before = state.stragglers.get(heartbeat.worker_id, ())
    newer = [one for one in before if one.incarnation > heartbeat.incarnation]
    own = next((one for one in before if one.incarnation == heartbeat.incarnation), None)
    beat = _beat(own, recorded, heartbeat)
    state.stragglers[heartbeat.worker_id] = (*newer[-STRAGGLERS_MAX + 1 :], beat)
    worker = state.workers.get(heartbeat.worker_id)
    if worker is not None and worker.incarnation <= heartbeat.incarnation:
        index_worker(state, worker)


def _beat(before: Beat | None, recorded: RecordedHeartbeat, heartbeat: Heartbeat) -> Beat:
    """With what it says itself, and when the ones before it have said otherwise. (Those that a leader may have
    forgotten, or whose clock was another, are older than what deadlines count from: they make no difference.)"""
    quiet_since, free_since = 0.0, 0.0
    if before is not None and before.incarnation == heartbeat.incarnation and before.time <= recorded.time:
        quiet_since, free_since = before.quiet_since, before.free_since
    if heartbeat.unreported:
        quiet_since = recorded.time
    if heartbeat.unreported or not heartbeat.free:
        free_since = recorded.time
    return Beat(heartbeat.incarnation, recorded.time, recorded.sequence, heartbeat.rules, quiet_since, free_since)


def forget_beats(state: State, through: int) -> None:
    """The broker has lost the last heartbeats that were applied. What is applied from here on stands behind `through`.

    All others agree to such a state once an event says so (`DetectorDegraded`, heartbeats_lost).
    """
    state.beats.clear()
    state.stragglers.clear()
    state.arrivals.clear()
    state.trends.clear()
    state.outlooks.clear()
    state.heartbeats_sequence, state.heartbeats_at = through, None
    for worker in state.workers.values():
        index_worker(state, worker)


def recall_beats(state: State, other: State) -> None:
    """Forgets all heartbeats that were applied, for those that were applied to another state."""
    state.beats, state.stragglers = dict(other.beats), dict(other.stragglers)
    state.arrivals = deepcopy(other.arrivals)
    state.trends = deepcopy(other.trends)
    state.outlooks.clear()
    evolve_forecast.look_at_all(state)
    state.heartbeats_sequence, state.heartbeats_at = other.heartbeats_sequence, other.heartbeats_at
    state.heard_last = other.heard_last
    for worker in state.workers.values():
        index_worker(state, worker)
