"""How much of what a fold knows of workers that do nothing can still be told apart.

What a worker was told or given counts up to its last heartbeat, and from the last moment on at which it said that it
had no slot free or something to report, or somebody doubted: no deadline behind these is longer than `LAG_MAX`.
"""

from recovery.entities import Beat, Worker
from recovery.state import State
from tests.simulation.exhaustive.frames import FAR, Frame
from tests.simulation.exhaustive.watching import taken_over
from tests.simulation.exhaustive.world import POLICIES, UNIT

LAG_MAX = int(max(max(policy.revocation_grace, policy.assignment_start_deadline) for policy in POLICIES))


def quiet(state: State, worker: Worker | None, beat: Beat, frame: Frame) -> int | None:
    """When it last had something to report. Counts only behind an order that is not answered."""
    orders = () if worker is None else worker.revoked.values()
    since = min((_watched(state, at, frame) for at in orders), default=None)
    return _if_it_counts(beat.quiet_since, since, beat, frame)


def free(state: State, worker: Worker | None, beat: Beat, frame: Frame) -> int | None:
    """When it last had no slot free. Counts only where there is something to begin, and has been longer."""
    needed = worker is not None and _has_to_begin(worker)
    since = _watched(state, worker.moved_at, frame) if worker is not None and needed else None
    return _if_it_counts(beat.free_since, since, beat, frame)


def _if_it_counts(moment: float, since: float | None, beat: Beat, frame: Frame) -> int | None:
    # One that is ahead is from before the clock was set back: there is a doubt before it could count.
    counts = since is not None and since < moment <= frame.now
    return None if moment == 0.0 or (frame.alone and not counts) else age(moment, beat, frame)


def moved(state: State, worker: Worker, beat: Beat | None, frame: Frame) -> int | None:
    """How long ago it last began or ended anything. Counts only where it has something to begin."""
    if frame.alone and not _has_to_begin(worker):
        return None
    return age(_watched(state, worker.moved_at, frame), beat, frame)


def told(state: State, at: float, beat: Beat | None, frame: Frame) -> int:
    """How long ago an order was given."""
    return age(_watched(state, at, frame), beat, frame)


def _watched(state: State, moment: float, frame: Frame) -> float:
    """Of what nobody watched, the time does not count. That may still turn out otherwise after a take-over."""
    if not frame.alone or frame.lossy or state.watched_since > frame.now or taken_over(state, frame) is not None:
        return moment
    return max(moment, state.watched_since)


def _has_to_begin(worker: Worker) -> bool:
    return worker.status == "alive" and bool(worker.held) and not worker.running


def age(moment: float, beat: Beat | None, frame: Frame) -> int:
    """Compared with the time of the present heartbeat, and of those that come yet."""
    own = frame.age(moment)
    if beat is None:
        return min(LAG_MAX, own)
    heard = frame.age(beat.time)
    if heard == -FAR != own:
        return min(LAG_MAX, own)
    return heard + int(min(LAG_MAX, beat.time - moment)) if moment <= beat.time else min(own, heard - int(UNIT))
