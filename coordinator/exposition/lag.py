"""How far the history is behind the log, or behind what this coordinator has folded of it."""

from typing import NamedTuple

from events.bus import Bus
from events.errors import LogError
from events.stored import stored_message
from events.streams import Streams
from projections.client import ask
from projections.errors import QueryError
from projections.sql import Request

PATIENCE_S = 0.5


class Lag(NamedTuple):
    """How far a history is behind the log."""

    events: int
    seconds: float
    """For how long the first of them has been in the log."""


async def lag_behind(bus: Bus, streams: Streams, sequence: int, through: int, now: float) -> Lag:
    """Of a history that holds all up to `through`, behind `sequence`. `now` in cluster time.

    Raises:
        LogError: the log does not answer.
    """
    if through >= sequence:
        return Lag(0, 0.0)
    first = await stored_message(bus, streams.events, {"seq": through + 1})
    return Lag(sequence - through, 0.0 if first is None else max(0.0, now - first.time_ns / 1e9))


async def projection_lag(bus: Bus, streams: Streams, sequence: int, now: float) -> Lag | None:
    """`now` in cluster time. None: no projector answers, or the broker does not."""
    try:
        reply = await ask(bus, streams, Request(timeout_s=PATIENCE_S))
        return await lag_behind(bus, streams, sequence, reply.through_sequence or 0, now)
    except (QueryError, LogError):
        return None
