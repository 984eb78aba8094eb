"""How far the history is behind what this coordinator has folded."""

from coordinator.exposition.page import Lag
from events.bus import Bus
from events.errors import LogError
from events.stored import stored_message
from events.streams import Streams
from projections.client import ask
from projections.errors import QueryError
from projections.sql import Request

PATIENCE_S = 0.5


async def projection_lag(bus: Bus, streams: Streams, sequence: int, now: float) -> Lag | None:
    """`now` in cluster time. None: no projector answers, or the broker does not."""
    try:
        reply = await ask(bus, streams, Request(timeout_s=PATIENCE_S))
        through = reply.through_sequence or 0
        if through >= sequence:
            return Lag(0, 0.0)
        first = await stored_message(bus, streams.events, {"seq": through + 1})
    except (QueryError, LogError):
        return None
    return Lag(sequence - through, 0.0 if first is None else max(0.0, now - first.time_ns / 1e9))
