"""Heartbeats for a fold, read no further than the fold has come."""

from collections import deque
from types import TracebackType
from typing import Protocol, Self

from events.bus import Bus
from events.errors import PositionLost, Unacknowledged
from events.heartbeats import HeartbeatReader
from events.stored import stream_extent
from events.streams import Streams
from events.worker import RecordedHeartbeat

SILENCE_S_MAX = 10.0


class Beats(Protocol):
    @property
    def first(self) -> int:
        """The oldest sequence that is still there; everything older has expired. 1 for a young stream."""
        ...

    async def through(self, sequence: int) -> list[RecordedHeartbeat]:
        """The heartbeats behind those returned before, up to `sequence`."""
        ...

    async def until(self, time: float) -> list[RecordedHeartbeat]:
        """The heartbeats behind those returned before that were stored by `time`."""
        ...


class NoBeats:
    """Keeps `Beats`, for a system whose heartbeats do not matter."""

    first = 1

    async def through(self, sequence: int) -> list[RecordedHeartbeat]:
        del sequence
        return []

    async def until(self, time: float) -> list[RecordedHeartbeat]:
        del time
        return []


class ListedBeats:
    """Keeps `Beats` over a list: for tests, and for archives."""

    def __init__(self, beats: list[RecordedHeartbeat]) -> None:
        self._left = deque(beats)
        self.first = beats[0].sequence if beats else 1

    async def through(self, sequence: int) -> list[RecordedHeartbeat]:
        return self._take(lambda beat: beat.sequence <= sequence)

    async def until(self, time: float) -> list[RecordedHeartbeat]:
        return self._take(lambda beat: beat.time <= time)

    def _take(self, wanted: "Wanted") -> list[RecordedHeartbeat]:
        taken = []
        while self._left and wanted(self._left[0]):
            taken.append(self._left.popleft())
        return taken


class Wanted(Protocol):
    def __call__(self, beat: RecordedHeartbeat, /) -> bool: ...


class StreamBeats:
    """Keeps `Beats` over the stream HEARTBEATS. Use as an asynchronous context manager."""

    def __init__(self, bus: Bus, streams: Streams) -> None:
        self._bus = bus
        self._streams = streams
        self._reader: HeartbeatReader | None = None
        self._left: deque[RecordedHeartbeat] = deque()
        self.first = 1
        self.last = 0
        """The newest when reading began; nothing behind it is read."""

    async def __aenter__(self) -> Self:
        extent = await stream_extent(self._bus, self._streams.heartbeats)
        self.first, self.last = max(extent.first_seq, 1), extent.last_seq
        self._reader = await HeartbeatReader.start(self._bus, self._streams)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader is not None:
            await self._reader.close()

    async def through(self, sequence: int) -> list[RecordedHeartbeat]:
        return await self._take(lambda beat: beat.sequence <= sequence)

    async def until(self, time: float) -> list[RecordedHeartbeat]:
        return await self._take(lambda beat: beat.time <= time)

    async def _take(self, wanted: Wanted) -> list[RecordedHeartbeat]:
        taken: list[RecordedHeartbeat] = []
        while await self._filled() and wanted(self._left[0]):
            taken.append(self._left.popleft())
        return taken

    async def _filled(self) -> bool:
        """Whether another heartbeat is at hand; reads on when there is none.

        Raises:
            PositionLost: the broker has lost heartbeats that were read here.
            Unacknowledged: there are more, and they do not come.
        """
        assert self._reader is not None, "not entered"
        if self._left:
            return True
        if self._reader.sequence >= self.last:
            return False
        batch = await self._reader.next(SILENCE_S_MAX)
        if self._reader.lost() is not None:
            raise PositionLost("the broker has lost heartbeats that had been read already; begin again")
        self._left.extend(batch)
        if not self._left and not self._reader.caught_up:
            raise Unacknowledged(f"the heartbeats have sent nothing for {SILENCE_S_MAX:g} s")
        return bool(self._left)
