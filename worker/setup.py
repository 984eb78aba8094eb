"""Waiting for a system to be there at all."""

import asyncio

import structlog

from events.errors import BrokerRefused, Unacknowledged
from events.host import host
from events.log import EventLog
from events.streams import STREAM_NOT_FOUND

logger = structlog.get_logger(__name__)

SETUP_S_MAX = 5.0
SETUP_POLL_S = 0.25


async def await_setup(log: EventLog, where: str) -> int:
    """Returns the log's last sequence once there is a log: its streams are a coordinator's to make. `where` is told to
    people.

    Raises:
        LogError: the broker does not answer, or refuses.
    """
    deadline = host().monotonic() + SETUP_S_MAX
    told = False
    while True:
        try:
            return await log.last_sequence()
        except BrokerRefused as refused:
            if refused.code != STREAM_NOT_FOUND:
                raise
            if not told:
                told = True
                logger.warning("waiting_for_coordinator", at=where)
        except Unacknowledged:
            if host().monotonic() >= deadline and not told:
                raise
        await asyncio.sleep(SETUP_POLL_S)
