"""Facts about cordons: who gets no new work for the time being."""

from events.base import Event
from events.clock import seconds
from events.envelope import Recorded
from events.worker import WorkerCordoned, WorkerUncordoned
from recovery.entities import Cordon, Worker
from recovery.flapping import forgive
from recovery.handlers import Handler
from recovery.indexes import index_availability, index_worker, load_level
from recovery.state import State
from recovery.timers import NEVER


def cordoned(state: State, recorded: Recorded, event: WorkerCordoned) -> bool:
    worker = state.workers.get(event.worker_id)
    if worker is None or (event.cause == "flapping" and event.cause in worker.cordons):
        return False
    found = Cordon(NEVER if event.until is None else seconds(event.until), recorded.id)
    if worker.cordons.get(event.cause) == found:
        return False
    level = load_level(worker)
    worker.cordons[event.cause] = found
    if event.cause == "flapping":
        worker.flaps = ()
        worker.flap_cordons, worker.flap_cordoned_until = event.times, found.until
    _index(state, worker, level)
    return True


def uncordoned(state: State, recorded: Recorded, event: WorkerUncordoned) -> bool:
    del recorded
    worker = state.workers.get(event.worker_id)
    if worker is None or not worker.cordons or event.cause not in (None, *worker.cordons):
        return False
    level = load_level(worker)
    for cause in list(worker.cordons) if event.cause is None else [event.cause]:
        del worker.cordons[cause]
        if cause == "flapping" and event.actor:
            forgive(worker)
    _index(state, worker, level)
    return True


def _index(state: State, worker: Worker, level: int | None) -> None:
    index_availability(state, worker, was=level)
    index_worker(state, worker)


HANDLERS: dict[type[Event], Handler] = {WorkerCordoned: cordoned, WorkerUncordoned: uncordoned}
