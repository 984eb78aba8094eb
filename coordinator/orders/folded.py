"""A fold of a log that goes on by itself, for commands that order something and look what comes of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from events.ending import ended
from events.log import EventLog
from recovery.core import evolve
from recovery.state import State
from replay.progress import shown
from replay.reading import stretch


@asynccontextmanager
async def folded(log: EventLog) -> AsyncIterator[State]:
    """The state of now, and within the context of whatever comes. Without heartbeats: no order rests on them.

    Raises:
        LogError: the log cannot be read.
    """
    state = State()
    with shown("folding", 1, await log.last_sequence()) as progress:
        async for batch in stretch(log, progress=progress):
            for recorded in batch:
                evolve(state, recorded)
    following = asyncio.create_task(_follow(log, state), name="fold")
    try:
        yield state
        if following.done():
            following.result()
    finally:
        await ended(following)


async def _follow(log: EventLog, state: State) -> None:
    async with await log.reader(state.events_sequence) as reader:
        while True:
            for recorded in await reader.next():
                evolve(state, recorded)
