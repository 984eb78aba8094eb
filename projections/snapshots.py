"""A copy of the tables for everybody else: SQL over NATS, and notebooks that open the file themselves."""

import asyncio
from pathlib import Path

from events.log import Position
from projections.errors import QueryError, WriteFailed
from projections.files import beside
from projections.projector import Projector

SUFFIX = ".snapshot.duckdb"

COST_SHARE = 5
"""Nothing is ingested while a copy is brought up to date: the next one is made this many times its cost later, unless
somebody asks for an event that it does not hold."""


def snapshot_path(path: Path) -> Path:
    return beside(path, SUFFIX)


class Snapshots:
    def __init__(self, projector: Projector) -> None:
        self.path = snapshot_path(projector.path)
        self._projector = projector
        self._position: Position | None = None
        self._next_at = 0.0
        self._lock = asyncio.Lock()

    async def fresh(self, at_least: int, timeout_s: float) -> Path:
        """A file that holds the event at `at_least`, and is otherwise as new as is reasonable.

        Raises:
            QueryError: the history is not as far in time, or cannot be had at the moment.
        """
        if self._position is None or self._position.sequence < at_least:
            await self.reached(at_least, timeout_s)
        async with self._lock:
            if not self._current(at_least):
                await self._make()
        if self._position is None or self._position.sequence < at_least:
            raise self._missing(at_least, timeout_s)
        return self.path

    async def reached(self, at_least: int, timeout_s: float) -> int:
        """Waits for an event; returns how far the history has come.

        Raises:
            QueryError: it is not as far in time.
        """
        if at_least > 0 and not await self._projector.wait_for(at_least, timeout_s):
            raise self._missing(at_least, timeout_s)
        return self._projector.position.sequence

    def _missing(self, at_least: int, timeout_s: float) -> QueryError:
        reason = self._projector.rebuilding or f"it has come to event {self._projector.position.sequence}"
        return QueryError(f"the history does not hold event {at_least} after {timeout_s:g} s: {reason}")

    def _current(self, at_least: int) -> bool:
        if self._position is None or not self.path.exists():
            return False
        newest = self._projector.copied
        if newest is None or newest == self._position:
            return True
        return self._position.sequence >= at_least and asyncio.get_running_loop().time() < self._next_at

    async def _make(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            self._position = await self._projector.publish(self.path)
        except (WriteFailed, RuntimeError) as error:
            # A RuntimeError is the thread's, which is gone when the projector has ended.
            raise QueryError(f"the history cannot be asked now: {error}") from error
        self._next_at = loop.time() + COST_SHARE * (loop.time() - began)

    async def keep(self, every_s: float) -> None:
        """Renews the file for those who only open it, for ever, where the position has moved."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.fresh(0, 0.0)
            except QueryError:
                continue
