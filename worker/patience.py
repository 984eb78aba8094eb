"""Asking the log for something that one cannot go on without."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from events.errors import LogError

logger = structlog.get_logger(__name__)

T = TypeVar("T")

PAUSE_S = 0.05
PAUSE_S_MAX = 1.0


async def until_answered(question: Callable[[], Awaitable[T]]) -> T:
    """Asks again, with a growing pause, for as long as the broker is away or not ready; never gives up."""
    pause = PAUSE_S
    while True:
        try:
            return await question()
        except LogError as error:
            logger.info("log_not_answering", error=str(error))
        await asyncio.sleep(pause)
        pause = min(pause * 2, PAUSE_S_MAX)
