"""How much of what a fold knows of take-overs, doubts, and rows of heartbeats without a gap can still be told apart."""

from itertools import pairwise

from recovery.detectors import Arrivals
from recovery.entities import Beat
from recovery.state import State
from tests.simulation.exhaustive.frames import AGE_MAX, PAST_MAX, Frame
from tests.simulation.exhaustive.silences import beat_of
from tests.simulation.exhaustive.world import POLICIES, UNIT

WAIT_MAX = max(policy.failed_after * policy.phi_patience_max for policy in POLICIES)
"""Seconds after an election within which a heartbeat may prove that nothing was missed."""
ROW_MAX = int(2 * AGE_MAX / UNIT)
"""Steps of time: whatever reaches further back from an election does so for whoever asks."""


def taken_over(state: State, frame: Frame) -> float | None:
    """When the leader was elected, if anybody's heartbeats may yet prove that nothing was missed."""
    elected_at = state.taken_over
    if elected_at is None or not frame.alone:
        return elected_at
    if frame.lossy or state.distrusted_until >= elected_at or frame.now - elected_at >= WAIT_MAX:
        return None
    for worker_id in state.beats:
        beat = beat_of(state, worker_id, frame)
        if beat is None or began(state, worker_id, beat) >= elected_at:
            continue
        if beat.time > elected_at or 0.0 <= frame.now - beat.time <= UNIT:
            return elected_at
    return None


def distrusted(state: State, frame: Frame) -> int:
    """Counts only where a row of heartbeats that can still grow, or an election, is not later; and not after the clock
    was set back: then there is another doubt before anything is decided."""
    moment = state.distrusted_until
    if not frame.alone:
        return frame.age(moment)
    elected_at = taken_over(state, frame)
    beats = [(worker_id, beat_of(state, worker_id, frame)) for worker_id in state.beats]
    later = all(one is None or one.time - row(state, key, one, frame) * UNIT >= moment for key, one in beats)
    before = moment < frame.now and (elected_at is None or moment < elected_at)
    if frame.lossy or moment > frame.now or (later and before):
        return PAST_MAX
    return frame.age(moment)


def began(state: State, worker_id: str, beat: Beat) -> float:
    """The first heartbeat of the row without a gap that ends with this one."""
    since = beat.time
    arrivals = state.arrivals.get(worker_id)
    if arrivals is None or arrivals.incarnation != beat.incarnation:
        return since
    for earlier, later in reversed(list(pairwise(arrivals.times(state.loss.through)))):
        if not 0.0 <= later - earlier <= UNIT:
            break
        since = earlier
    return since


def row(state: State, worker_id: str, beat: Beat, frame: Frame) -> int:
    """For how many steps of time it has lasted, if it can still grow, which it cannot behind a clock that was set back,
    or spans an election."""
    since = began(state, worker_id, beat)
    if frame.alone and not 0.0 <= frame.now - beat.time <= UNIT:
        elected_at = taken_over(state, frame)
        if elected_at is None or not since < elected_at < beat.time:
            return 0
    return min(ROW_MAX, int((beat.time - since) / UNIT))


def arrivals_of(beat: Beat, steps: int) -> Arrivals:
    """Under every policy, heartbeats one step apart are without a gap, or no two that are apart at all are."""
    arrivals = Arrivals(beat.incarnation)
    for step in range(steps, -1, -1):
        arrivals.add(beat.time - step * UNIT, beat.sequence)
    return arrivals
