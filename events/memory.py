"""The event log in memory, with the broker's semantics: sequences, compare-and-set, atomic batches, dedupe window,
ordered delivery. For tests of everything above the port, and for the simulator."""

import asyncio
import time
from collections.abc import Callable, Sequence

from events import codec
from events.ending import Closing
from events.envelope import SYNTHETIC_HEADER, Draft, Recorded
from events.errors import Fenced
from events.log import BATCH_MAX, Appended, Fence, check_append
from events.subjects import matches

READ_MAX = 1000


class MemoryReader(Closing):
    """Keeps `events.log.Reader`."""

    def __init__(self, log: "MemoryLog", after: int, tails: Sequence[str]) -> None:
        self._log = log
        self._tails = tails
        self._scanned = after
        self.sequence = after
        self.caught_up = False
        self.steady = True

    async def next(self, wait_s: float | None = None) -> list[Recorded]:
        try:
            async with asyncio.timeout(wait_s):
                while not (batch := self._take()):
                    await self._log.changed()
        except TimeoutError:
            return []
        return batch

    def _take(self) -> list[Recorded]:
        batch: list[Recorded] = []
        while self._scanned < self._log.last and len(batch) < READ_MAX:
            self._scanned += 1
            recorded = self._log.stored(self._scanned)
            if not self._tails or any(matches(tail, recorded.subject) for tail in self._tails):
                batch.append(recorded)
        if batch:
            self.sequence = batch[-1].sequence
        self.caught_up = self._scanned == self._log.last
        return batch

    def damage(self) -> list[tuple[int, int]]:
        return []

    async def close(self) -> None:
        self._scanned = self._log.last


class MemoryLog:
    """Keeps `events.log.EventLog`. Subjects are the tails alone: there is no namespace."""

    def __init__(self, *, wall: Callable[[], float] = time.time, duplicate_window_s: float = 600.0) -> None:
        self._wall = wall
        self._duplicate_window_s = duplicate_window_s
        self._records: list[Recorded] = []
        self._last_by_tail: dict[str, int] = {}
        self._known: dict[str, tuple[int, float]] = {}
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def last(self) -> int:
        return len(self._records)

    def stored(self, sequence: int) -> Recorded:
        return self._records[sequence - 1]

    async def changed(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    async def append(self, drafts: Sequence[Draft], *, fence: Fence | None = None, timeout_s: float = 2.0) -> Appended:
        del timeout_s  # memory answers at once
        if not 1 <= len(drafts) <= BATCH_MAX:
            raise ValueError(f"{len(drafts)} events in one append: 1 to {BATCH_MAX} fit")
        payloads = [codec.encode(draft.envelope) for draft in drafts]
        check_append(drafts, payloads, fence)
        now = self._wall()
        known = [self._duplicate(draft.envelope.id, now) for draft in drafts]
        last = 0 if fence is None else self._last_by_tail.get(fence.tail, 0)
        fenced = fence is not None and last != fence.sequence
        # As the server does: of a batch the ids are looked at before the condition, of a single event behind it.
        if any(known) and not (fenced and len(drafts) == 1):
            return Appended(known[0] if len(drafts) == 1 else 0, duplicate=True)
        if fenced:
            raise Fenced("append", f"wrong last sequence: {last}", 10071)
        for draft, payload in zip(drafts, payloads, strict=True):
            # Through the wire format and back, so that nothing is shared and nothing travels that JSON cannot hold.
            headers = {SYNTHETIC_HEADER: draft.synthetic} if draft.synthetic is not None else None
            self._store(draft.envelope.event.tail(), payload, headers, now)
            self._known[draft.envelope.id] = (self.last, now)
        self._wake()
        return Appended(self.last, duplicate=False)

    def store_bytes(self, tail: str, payload: bytes) -> int:
        """What a stranger may do to a broker's stream: any bytes on any subject. Returns the sequence."""
        self._store(tail, payload, None, self._wall())
        self._wake()
        return self.last

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _duplicate(self, event_id: str, now: float) -> int:
        sequence, at = self._known.get(event_id, (0, 0.0))
        return sequence if sequence and now - at <= self._duplicate_window_s else 0

    def _store(self, tail: str, payload: bytes, headers: dict[str, str] | None, now: float) -> None:
        sequence = self.last + 1
        self._records.append(codec.decode(sequence, now, tail, payload, headers))
        self._last_by_tail[tail] = sequence

    async def reader(self, after: int = 0, tails: Sequence[str] = ()) -> MemoryReader:
        return MemoryReader(self, after, tails)

    async def last_sequence(self) -> int:
        return self.last

    async def read_one(self, sequence: int) -> Recorded | None:
        return self.stored(sequence) if 1 <= sequence <= self.last else None

    async def last_on(self, tail: str) -> Recorded | None:
        sequence = self._last_by_tail.get(tail)
        return None if sequence is None else self.stored(sequence)
