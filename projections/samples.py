"""Some of the heartbeats, for `heartbeat_samples`: the stream forgets them after a day, and all of them are too many.

Which ones depends on nothing but the heartbeat itself, so whoever reads the same stretch of the stream again gets the
same rows. What the broker loses of the stream (it writes heartbeats asynchronously) stays here if it was read before.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog

from events.bus import Bus
from events.heartbeats import HeartbeatReader
from events.stored import stored_message, stream_extent
from events.streams import Streams
from events.worker import RecordedHeartbeat
from projections.rows import HeartbeatRow
from projections.working_set import microseconds

log = structlog.get_logger(__name__)

EVERY = 30
"""Of one incarnation the first heartbeat and then every thirtieth: one a minute at the usual pace."""

ROWS_MAX = 1_000_000
ROWS_KEPT = 900_000
"""When there are more than `ROWS_MAX`, the oldest go until so many are left."""

BACKLOG_MAX = 1_000_000
"""Heartbeats that a new file reads back: a large farm sends a hundred times that in the day that they are kept."""

STORE_EVERY_S = 2.0
ROWS_WAITING_MAX = 5000


class Place(NamedTuple):
    """In the stream HEARTBEATS: a sequence, and when the broker stored what is there. It loses heartbeats that it has
    acknowledged, and uses their sequences again."""

    sequence: int
    time: float


def sample(recorded: RecordedHeartbeat) -> HeartbeatRow | None:
    """The row of a heartbeat that is to be kept."""
    beat = recorded.heartbeat
    if beat is None or beat.beat % EVERY != 1:
        return None
    return HeartbeatRow(
        sequence=recorded.sequence,
        recorded_at=microseconds(recorded.time),
        worker_id=beat.worker_id,
        incarnation=beat.incarnation,
        beat=beat.beat,
        running=len(beat.running),
        queued=beat.queued,
        free=beat.free,
        unreported=beat.unreported,
        cpu_percent=beat.cpu_percent,
        load_1m=beat.load_1m,
        memory_bytes=beat.memory_bytes,
        memory_available_bytes=beat.memory_available_bytes,
        disk_free_bytes=beat.disk_free_bytes,
        loop_lag_s=beat.loop_lag_s,
    )


class HeartbeatStream:
    """Where samples come from."""

    def __init__(self, bus: Bus, streams: Streams) -> None:
        self._bus = bus
        self._streams = streams

    async def reader(self, place: Place) -> tuple[HeartbeatReader, Place]:
        """Reads on behind `place`, or from the stream's present end if what was there has been lost since; and what it
        reads on behind.

        Raises:
            BrokerRefused: there is no such stream.
            Unacknowledged: no answer.
        """
        after = place.sequence
        extent = await stream_extent(self._bus, self._streams.heartbeats)
        if after == 0:
            after = max(0, extent.last_seq - BACKLOG_MAX)
        elif after >= extent.first_seq:
            stored = await stored_message(self._bus, self._streams.heartbeats, {"seq": after})
            if stored is None or stored.time_ns / 1e9 != place.time:
                log.warning("heartbeats_lost", behind=extent.last_seq)
                after = extent.last_seq
                stored = await stored_message(self._bus, self._streams.heartbeats, {"seq": after}) if after else None
                place = Place(after, 0.0 if stored is None else stored.time_ns / 1e9)
        return await HeartbeatReader.start(self._bus, self._streams, after=after), place

    async def last_sequence(self) -> int:
        return (await stream_extent(self._bus, self._streams.heartbeats)).last_seq


class Sampler:
    """Reads on behind `place` and hands on what is to be kept, with how far that goes, to be stored together."""

    def __init__(
        self, stream: HeartbeatStream, place: Place, store: Callable[[list[HeartbeatRow], Place], Awaitable[None]]
    ) -> None:
        self._stream = stream
        self._place = place
        self._store = store
        self._rows: list[HeartbeatRow] = []
        self._stored_at = 0.0

    async def run(self, *, to_end: bool = False) -> None:
        """For ever, or to the stream's present end.

        Raises:
            BrokerRefused: there is no such stream.
            Unacknowledged: no answer.
        """
        reader, self._place = await self._stream.reader(self._place)
        loop = asyncio.get_running_loop()
        self._stored_at = loop.time()
        try:
            while not (to_end and reader.caught_up):
                batch = await reader.next(STORE_EVERY_S)
                if reader.lost() is not None:
                    continue  # whatever this batch holds is in doubt; the next one follows the new end
                for recorded in batch:
                    row = sample(recorded)
                    if row is not None:
                        self._rows.append(row)
                if batch:
                    self._place = Place(batch[-1].sequence, batch[-1].time)
                if len(self._rows) >= ROWS_WAITING_MAX or loop.time() >= self._stored_at + STORE_EVERY_S:
                    await self._hand_on(loop.time())
            await self._hand_on(loop.time())
        finally:
            await reader.close()

    async def _hand_on(self, now: float) -> None:
        rows, self._rows, self._stored_at = self._rows, [], now
        await self._store(rows, self._place)
