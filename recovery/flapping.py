"""Workers that fail and come back again and again: each recovery is good, and none lasts.

Whoever has failed `flap_failures` times within `flap_window`, each time with a good recovery, gets no new work for a
while, and for twice as long each further time. It goes on beating and finishes what it has. A drill does not count.
And nobody is cordoned without whom there would be nobody: a worker that flaps is better than none at all, and better
than none with its labels.
"""

from collections.abc import Iterator

from events.clock import utc
from events.worker import WorkerCordoned, WorkerUncordoned
from recovery.decisions import Decision
from recovery.entities import Worker
from recovery.fitness import elsewhere
from recovery.indexes import cordoned_until, load_level
from recovery.lifecycle import LIVE
from recovery.state import State


def note_return(state: State, worker: Worker, now: float) -> None:
    """If it lives, it is back from its last failure. If it was restarted for failing everything, the recovery has yet
    to show that it was good (`recovery.fitness`)."""
    if worker.status in LIVE and worker.synthetic is None and not worker.on_trial:
        horizon = now - state.policy.flap_window
        worker.flaps = tuple(at for at in (*worker.flaps, worker.failed_at) if at > horizon)


def forgive(worker: Worker) -> None:
    worker.flaps = ()
    worker.flap_cordons = 0
    worker.flap_cordoned_until = 0.0


def owed_to_flapping(state: State, now: float) -> Iterator[Decision]:
    """One at a time, since each time there must be others left."""
    worker = next((one for one in map(state.workers.__getitem__, state.flapping) if owes_pause(state, one)), None)
    if worker is not None:
        yield _cordoned(state, worker, now)


def owes_pause(state: State, worker: Worker) -> bool:
    """Whether it is to be cordoned at once: it gets no work until then."""
    return worker.worker_id in state.flapping and state.may_repair and dispensable(state, worker)


def _cordoned(state: State, worker: Worker, now: float) -> Decision:
    policy = state.policy
    forgotten = now >= worker.flap_cordoned_until + policy.flap_cordon_max
    times = 1 if forgotten else worker.flap_cordons + 1
    seconds = min(policy.flap_cordon_max, policy.flap_cordon * 2.0 ** min(times - 1, 60))
    event = WorkerCordoned(
        worker_id=worker.worker_id,
        cause="flapping",
        until=utc(now + seconds),
        reason=f"{len(worker.flaps)} failures within {policy.flap_window:g} s, each with a good recovery",
        failures=len(worker.flaps),
        times=times,
    )
    return Decision(event, "fails and comes back again and again", worker.event_id)


def dispensable(state: State, worker: Worker) -> bool:
    """Whether others are there to take work, with each of its labels."""
    return elsewhere(state, worker) and all(
        _labelled_elsewhere(state, worker, label) for label in worker.labels.items()
    )


def _labelled_elsewhere(state: State, worker: Worker, label: tuple[str, str]) -> bool:
    own = load_level(worker) is not None
    return sum(labels[label] for labels in state.available_labels.values()) > own


def expiry(worker: Worker, now: float) -> Decision | None:
    """The end of a cordon whose time is over."""
    if now < cordoned_until(worker):
        return None
    cause, ended = min(worker.cordons.items(), key=lambda item: item[1].until)
    event = WorkerUncordoned(worker_id=worker.worker_id, cause=cause, reason="its time is over")
    return Decision(event, "cordon is over", ended.event_id)
