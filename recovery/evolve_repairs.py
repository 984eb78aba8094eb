"""Facts about the breaker over all attempts to bring workers back."""

from events.base import Event
from events.clock import seconds
from events.envelope import Recorded
from events.system import BreakerClosed, BreakerHalfOpened, BreakerOpened
from recovery.handlers import Handler
from recovery.indexes import index_breaker
from recovery.repair_entities import Breaker
from recovery.state import State


def opened(state: State, recorded: Recorded, event: BreakerOpened) -> bool:
    if state.breaker.status == "open":
        return False
    _become(state, Breaker("open", seconds(event.until), event.times, recorded.id))
    return True


def half_opened(state: State, recorded: Recorded, event: BreakerHalfOpened) -> bool:
    breaker, worker = state.breaker, state.workers.get(event.worker_id)
    attempt = None if worker is None else worker.attempt
    if breaker.status == "closed" or breaker.probe or attempt is None or attempt.number != event.attempt:
        return False
    _become(state, Breaker("half_open", breaker.until, breaker.times, recorded.id, probe=event.worker_id))
    return True


def closed(state: State, recorded: Recorded, event: BreakerClosed) -> bool:
    del event
    if state.breaker.status == "closed":
        return False
    _become(state, Breaker(event_id=recorded.id))
    return True


def _become(state: State, breaker: Breaker) -> None:
    state.breaker = breaker
    index_breaker(state)


HANDLERS: dict[type[Event], Handler] = {BreakerOpened: opened, BreakerHalfOpened: half_opened, BreakerClosed: closed}
