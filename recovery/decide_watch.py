"""What is owed to those who watch and to those who are watched: how far back silence may be held against a worker after
a take-over, and how often so many workers may beat."""

from collections.abc import Iterable
from math import ceil

from events.clock import utc
from events.system import PaceChanged, WatchContinued
from recovery.decisions import Decision
from recovery.entities import Beat
from recovery.lifecycle import LIVE
from recovery.rules import STRETCH_MAX
from recovery.state import State

UNBROKEN = 1.25
"""Heartbeat intervals from one heartbeat of the witness to the next, at most: a worker takes up to 1.1 of its own
accord."""
EARLIEST = 0.9
"""Heartbeat intervals, at least. A step of the broker's clock that nobody watched can be no wider than the difference
without breaking the witness's row."""

PACE_SPARE = 1.25
"""By how much more than needed a farm is slowed down, so that a few more workers do not change the pace again."""


def owed_to_watch(state: State, now: float) -> Iterable[Decision]:
    continuation = _continuation(state, now) if awaits_witness(state, now) else None
    pace = _pace(state)
    return () if continuation is None and pace is None else filter(None, (continuation, pace))


def awaits_witness(state: State, now: float) -> bool:
    """Whether a heartbeat may prove that nothing was missed at the last take-over. Later than this, nobody's silence
    began before it."""
    return state.taken_over is not None and now < state.taken_over + state.rules.failed_after_max


def heard_ahead(state: State, now: float) -> float:
    """By how many seconds the last heartbeat of somebody live lies in the future, or what stands in for it: the clock
    of the broker has been set back since, and silence would count from there. 0.0: nobody's does.

    Looks at every worker: a question for whoever takes over.
    """
    live = (worker for worker in state.workers.values() if worker.status in LIVE)
    beats = (state.newest_beat(worker) or state.presumed_beat(worker) for worker in live)
    return max((beat.time - now for beat in beats if beat is not None), default=0.0)


def _continuation(state: State, now: float) -> Decision | None:
    """The present leader was elected, and silence counts from there, as nobody may have watched before, or the broker
    may have been away.

    A worker whose heartbeats are in the stream without a gap, from long before the election to behind it, proves more:
    all along the broker has stored what workers sent, and all that it has stored has been read. Others that are not
    heard have been silent. Whatever gave reason for doubt before the election stays in force.
    """
    elected_at = state.taken_over
    if elected_at is None or state.distrusted_until >= elected_at:
        return None
    rules = state.rules
    gap_max = UNBROKEN * rules.heartbeat_interval
    if rules.fence_margin_min <= gap_max - EARLIEST * rules.interval_min:
        # A step that nobody noticed might let a worker fail before it has fenced itself.
        return None
    # Whoever was heard last: before long that is every worker in turn. If he is silent by now, all are.
    worker_id = state.heard_last
    beat = _heard(state, worker_id)
    if beat is None or beat.time <= max(elected_at, now - rules.suspect_after_min):
        return None
    since = state.arrivals[worker_id].unbroken_since(gap_max, state.loss.through)
    if since >= elected_at or (since > elected_at - rules.failed_after_max and now < elected_at + gap_max):
        # Another one may reach further back; whoever beats without a gap is heard by then.
        return None
    event = WatchContinued(
        since=utc(max(since, state.distrusted_until)), witness=worker_id, heartbeat_sequence=beat.sequence
    )
    return Decision(event, "heartbeats without a gap across the election")


def _heard(state: State, worker_id: str) -> Beat | None:
    """The last heartbeat of a live worker, unless it is not of the incarnation whose arrivals are known."""
    worker = state.workers.get(worker_id)
    if worker is None or worker.status not in LIVE:
        return None
    beat = state.last_beat(worker)
    return beat if beat is not None and state.arrivals[worker_id].incarnation == beat.incarnation else None


def _pace(state: State) -> Decision | None:
    policy, rules, live = state.policy, state.rules, state.workers_live
    if rules.crowd_min < live <= rules.crowd_max:
        return None
    needed = live / policy.heartbeat_rate_max / policy.heartbeat_interval
    stretch = ceil(min(max(1.0, needed * PACE_SPARE), STRETCH_MAX) * 1000) / 1000
    event = PaceChanged(stretch=stretch, heartbeat_interval_s=policy.heartbeat_interval * stretch, workers_live=live)
    return Decision(event, "live workers against heartbeat_rate_max")
