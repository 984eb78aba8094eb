"""Reads ahead of the database, so that the log and DuckDB are busy at the same time."""

import asyncio
import contextlib
from bisect import bisect_right
from collections import deque
from collections.abc import Callable

from events.ending import ended
from events.envelope import Recorded
from events.log import Reader
from events.task import TaskAttemptFinished

EVENTS_MAX = 40_000
"""Events in one transaction, and events read ahead of it."""

WEIGHT_MAX = 64 * 1024 * 1024
"""Roughly the bytes of prose in one transaction: an attempt's output may take 32 KiB."""

EVENT_WEIGHT = 512

GATHER_S_MAX = 0.5
"""What a transaction costs an event falls by two thirds from 1,000 of them to `EVENTS_MAX`."""


class Feed:
    """What a reader has delivered and nobody has taken yet. `wake` is called whenever there is something new."""

    def __init__(self, reader: Reader, wake: Callable[[], None]) -> None:
        self._reader = reader
        self._wake = wake
        self._waiting: deque[tuple[list[Recorded], int]] = deque()
        """As they were delivered, with their weights."""
        self._count = 0
        self._weight = 0
        self._room = asyncio.Event()
        self._room.set()
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._read(), name="feed of the projector")

    async def _read(self) -> None:
        try:
            while True:
                await self._room.wait()
                records = await self._reader.next()
                self._put(records, self._waiting.append)
                if self._count >= EVENTS_MAX or self._weight >= WEIGHT_MAX:
                    self._room.clear()
                self._tell()
                await asyncio.sleep(0)  # a reader that has plenty gives nobody a turn by itself
        finally:
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._wake()

    def _put(self, records: list[Recorded], where: Callable[[tuple[list[Recorded], int]], None]) -> None:
        if records:
            weight = _weight(records)
            where((records, weight))
            self._count += len(records)
            self._weight += weight

    def take(self, until: int | None = None) -> list[Recorded]:
        """The next batch, in order; with `until` nothing behind that sequence.

        Raises:
            LogError: the log cannot be read any more, and all that was read has been taken.
        """
        batch: list[Recorded] = []
        while self._waiting and len(batch) < EVENTS_MAX and (until is None or self._first <= until):
            records, weight = self._waiting.popleft()
            self._count -= len(records)
            self._weight -= weight
            fitting = EVENTS_MAX - len(batch)
            if until is not None:
                fitting = min(fitting, bisect_right(records, until, key=_sequence))
            batch += records[:fitting]
            self._put(records[fitting:], self._waiting.appendleft)
        if self._count < EVENTS_MAX and self._weight < WEIGHT_MAX:
            self._room.set()
        if not batch and self._task.done():
            self._task.result()
        return batch

    @property
    def _first(self) -> int:
        return self._waiting[0][0][0].sequence

    @property
    def waiting(self) -> bool:
        return bool(self._waiting)

    @property
    def plenty(self) -> bool:
        """As much as fits one transaction waits."""
        return not self._room.is_set()

    @property
    def more_to_come(self) -> bool:
        """The log is known to hold more than was read ahead, and there is room for it."""
        return not (self.plenty or self._reader.caught_up or self._task.done())

    async def gather(self) -> None:
        """Waits for as much of a backlog as one transaction takes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GATHER_S_MAX):
                while self.more_to_come:
                    self._news.clear()
                    await self._news.wait()

    @property
    def exhausted(self) -> bool:
        """All that the log is known to hold has been taken."""
        return self._reader.caught_up and not self._waiting

    def damage(self) -> list[tuple[int, int]]:
        return self._reader.damage()

    async def close(self) -> None:
        await ended(self._task)
        await self._reader.close()


def _sequence(recorded: Recorded) -> int:
    return recorded.sequence


def _weight(records: list[Recorded]) -> int:
    prose = 0
    for recorded in records:
        envelope = recorded.envelope
        if envelope is None:
            prose += len(recorded.raw)
        elif type(envelope.event) is TaskAttemptFinished:
            prose += len(envelope.event.output) + len(envelope.event.message)
    return EVENT_WEIGHT * len(records) + prose
