"""Orders to workers, and what comes of those that cannot be obeyed any more."""

from events.base import Event
from events.envelope import Recorded
from events.worker import WorkerDrainRequested, WorkerRetired
from recovery.evolve_worker import transition
from recovery.handlers import Handler
from recovery.indexes import index_worker
from recovery.lifecycle import LIVE
from recovery.state import State


def drain_requested(state: State, recorded: Recorded, event: WorkerDrainRequested) -> bool:
    known = state.workers.get(event.worker_id)
    if event.restart and known is not None and known.status not in LIVE:
        return False  # its recovery does that
    worker = transition(state, recorded, event.worker_id, event.incarnation, WorkerDrainRequested)
    if worker is None:
        return False
    worker.cut_off = None
    worker.leaving |= not event.restart
    index_worker(state, worker)
    return True


def retired(state: State, recorded: Recorded, event: WorkerRetired) -> bool:
    worker = state.workers.get(event.worker_id)
    if worker is None or not worker.leaving:
        return False
    if transition(state, recorded, event.worker_id, event.incarnation, WorkerRetired) is None:
        return False
    index_worker(state, worker)
    return True


HANDLERS: dict[type[Event], Handler] = {
    WorkerDrainRequested: drain_requested,
    WorkerRetired: retired,
}
