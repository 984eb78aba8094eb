"""Everything that a process has to say to the log, in order, once, however long the broker is away.

Appends are synced one by one, so a worker that said each thing by itself would wait for the disk most of the time. What
is pending at one moment goes as one atomic batch; one append is in flight, and the next batch collects what comes
meanwhile. The same batch is sent again under the same ids until it is acknowledged, so the broker stores it once. (It
is never split or extended once it was sent: an append of which a part is known already is refused as a whole.)

Nothing is ever dropped here. The bound is kept by whoever fills it: `full` says that no new work should begin.
"""

import asyncio
from collections import deque
from collections.abc import Iterable

import structlog

from events.bus import Bus
from events.envelope import Draft
from events.errors import BrokerRefused, LogError
from events.log import START, Appended, EventLog, Position

logger = structlog.get_logger(__name__)

BATCH_MAX = 256
"""Far below the server's limit, and small enough for the client's buffer with events of the largest size."""
PENDING_MAX = 2_000
PAUSE_S = 0.05
PAUSE_S_MAX = 2.0


class Outbox:
    def __init__(self, log: EventLog, bus: Bus) -> None:
        self._log = log
        self._bus = bus
        self._pending: deque[Draft] = deque()
        self._in_flight: list[Draft] = []
        self._work = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._reconnected = asyncio.Event()
        self.delivered: Position = START
        """Of the last event that the log has acknowledged and told the place of."""

    def __len__(self) -> int:
        return len(self._pending) + len(self._in_flight)

    @property
    def full(self) -> bool:
        """So much is undelivered that the worker should not make more: it starts nothing until this is over."""
        return len(self) >= PENDING_MAX

    def put(self, drafts: Iterable[Draft]) -> None:
        self._pending.extend(drafts)
        if self._pending:
            self._empty.clear()
            self._work.set()

    async def run(self) -> None:
        """Delivers for ever; cancel it to end it."""
        self._bus.on_reconnect(self._reconnected.set)
        try:
            while True:
                if not self._pending:
                    self._empty.set()
                    self._work.clear()
                    await self._work.wait()
                count = min(len(self._pending), BATCH_MAX)
                self._in_flight = [self._pending.popleft() for _ in range(count)]
                await self._deliver()
                self._in_flight = []
        finally:
            self._bus.forget_reconnect(self._reconnected.set)

    async def flushed(self, within_s: float) -> bool:
        """Whether everything was delivered within that time."""
        try:
            async with asyncio.timeout(within_s):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    async def _deliver(self) -> None:
        pause = PAUSE_S
        while True:
            self._reconnected.clear()
            try:
                # While cut off nothing is tried: the client would keep a copy of every try, to send them all later.
                if self._bus.connected:
                    appended = await self._append()
                    if appended.last:
                        self.delivered = Position(appended.last, self._in_flight[-1].envelope.id)
                    return
            except LogError as error:
                # Any refusal may end (a broker that is starting, a full log): a fact is not given up for it.
                if isinstance(error, BrokerRefused):
                    logger.warning("append_refused", events=len(self._in_flight), error=str(error))
            try:
                async with asyncio.timeout(pause):
                    await self._reconnected.wait()
            except TimeoutError:
                pause = min(pause * 2, PAUSE_S_MAX)

    async def _append(self) -> Appended:
        """One try. A reconnection ends it early: what was asked on the old connection is not answered on the new."""
        append = asyncio.ensure_future(self._log.append(self._in_flight))
        reconnection = asyncio.ensure_future(self._reconnected.wait())
        try:
            await asyncio.wait((append, reconnection), return_when=asyncio.FIRST_COMPLETED)
            if append.done():
                return append.result()
        finally:
            for task in (append, reconnection):
                task.cancel()
            await asyncio.gather(append, reconnection, return_exceptions=True)
        return await self._log.append(self._in_flight)
