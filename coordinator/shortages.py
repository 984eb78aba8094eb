"""What the machine of an embedded broker has lacked: that can be written down when it is over, and not before."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog

from events.base import Event
from events.clock import utc
from events.errors import LogError
from events.system import FaultReported

log = structlog.get_logger(__name__)

TOLD_S_MAX = 60.0
DETAIL_MAX = 1000


class Shortage(NamedTuple):
    since: float
    """By this machine's clock."""
    detail: str


async def tell_shortages(
    shortages: "asyncio.Queue[Shortage]", say: Callable[[Event, float], Awaitable[None]], reported_by: str
) -> None:
    """Writes down each one that comes, for ever. `say` takes an event, and how long it may try."""
    while True:
        shortage = await shortages.get()
        fault = FaultReported(
            component="broker",
            error="system_resource",
            detail=shortage.detail[:DETAIL_MAX],
            since=utc(shortage.since),
            reported_by=reported_by,
        )
        try:
            await say(fault, TOLD_S_MAX)
        except LogError as error:
            log.warning("event_not_written", kind="FaultReported", reason=str(error))
