"""What the gauges of a worker have shown lately: what forecasts of what it runs out of are made from.

Folded from the stream HEARTBEATS alone, and from its last heartbeats alone: which of them make a sample follows from
the numbers that they bear themselves, so whoever has read as far knows the same, wherever the reading began, and
whatever the policy is.
"""

from math import isnan, nan
from struct import Struct
from typing import NamedTuple, Self

from events.worker import Heartbeat

BEATS_PER_SAMPLE = 5
"""Ten seconds at the default interval."""
SAMPLES_MAX = 25
"""Of each worker, the newest of which is not complete yet: four minutes at the default interval, in 800 bytes."""
FIRST = -1
"""Stands for the heartbeat before those of the first sample: whether that one is whole nobody knows."""
GAP_MAX = 2**32 // (SAMPLES_MAX * BEATS_PER_SAMPLE) - 1
"""So many heartbeats of others between two of a worker, hours of a large farm, part what it showed before from what it
shows now. It lets a ring keep the last 32 bits of a sequence."""
GAUGE_MAX = 2.0**127
"""Fits a float of 32 bits."""


class Sample(NamedTuple):
    """Of a few heartbeats in a row the best value each, so that peaks do not count: what a collector of garbage takes
    back at once was never short. Gauges are rounded to 24 bits; not a number: unknown."""

    time: float
    """Of the first of them, by the broker's clock."""
    sequence: int
    """Of the same one, in the stream."""
    before: int
    """Of the heartbeat before it, which shows that none of the sample's own was missed."""
    memory_available_bytes: float
    disk_free_bytes: float
    loop_lag_s: float
    own_bytes: float
    """Memory of the agent and of all that it has started."""


ROW = Struct("<dIIffff")
"""A sample: its time, the last 32 bits of its sequence, how far the heartbeat before it is back (0: unknown), its
gauges."""
TIME = Struct("<d")
GAUGES = Struct("<ffff")
GAUGES_AT = ROW.size - GAUGES.size
LOW = 2**32 - 1


class Known(NamedTuple):
    """All that a trend knows, as it stands in its ring."""

    incarnation: int
    seen: int
    bucket: int
    last: int
    ring: bytes


class Trend:
    """The last samples of one incarnation. A ring: bounded in size, and cheap to add to."""

    __slots__ = ("_bucket", "_count", "_last", "_ring", "incarnation")

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self._ring = bytearray()
        self._count = 0
        """All that ever came, the incomplete one included."""
        self._bucket = -1
        self._last = FIRST
        """Sequence of the last heartbeat."""

    @classmethod
    def of(cls, known: Known) -> Self:
        """One that knows what `known` says.

        Raises:
            ValueError: its parts do not fit together.
        """
        if len(known.ring) != min(known.seen, SAMPLES_MAX) * ROW.size:
            raise ValueError(f"{len(known.ring)} bytes of {known.seen} samples")
        trend = cls(known.incarnation)
        trend._ring = bytearray(known.ring)
        trend._count, trend._bucket, trend._last = known.seen, known.bucket, known.last
        return trend

    def known(self) -> Known:
        return Known(self.incarnation, self._count, self._bucket, self._last, bytes(self._ring))

    def __repr__(self) -> str:
        return f"Trend({self.incarnation}, {self.samples()})"

    def add(self, heartbeat: Heartbeat, time: float, sequence: int) -> bool:
        """Takes the next heartbeat of the incarnation. Whether the complete samples are others now."""
        if sequence - self._last > GAP_MAX and self._last != FIRST:
            self._forget()
            self._bucket, self._last = -1, FIRST
        bucket = heartbeat.beat // BEATS_PER_SAMPLE
        if bucket == self._bucket:
            self._improve(heartbeat)
            self._last = sequence
            return False
        self._bucket = bucket
        if self._count and time <= TIME.unpack_from(self._ring, self._place(self._count - 1))[0]:
            # The broker's clock was set back: nobody knows how long ago the others were.
            self._forget()
        back = 0 if self._last == FIRST else sequence - self._last
        row = ROW.pack(time, sequence & LOW, back, *_gauges(heartbeat))
        if self._count < SAMPLES_MAX:
            self._ring += row
        else:
            place = self._place(self._count)
            self._ring[place : place + ROW.size] = row
        self._count += 1
        self._last = sequence
        return True

    def _forget(self) -> None:
        self._count = 0
        self._ring.clear()

    def _improve(self, heartbeat: Heartbeat) -> None:
        place = self._place(self._count - 1) + GAUGES_AT
        available, disk, lag, own = GAUGES.unpack_from(self._ring, place)
        now_available, now_disk, now_lag, now_own = _gauges(heartbeat)
        # A comparison with what is unknown is false: then whatever is known is better.
        GAUGES.pack_into(
            self._ring,
            place,
            available if available >= now_available or isnan(now_available) else now_available,
            disk if disk >= now_disk or isnan(now_disk) else now_disk,
            min(lag, now_lag),
            own if own <= now_own or isnan(now_own) else now_own,
        )

    def _place(self, number: int) -> int:
        return number % SAMPLES_MAX * ROW.size

    @property
    def full(self) -> bool:
        """Nothing that came earlier can matter."""
        return self._count > SAMPLES_MAX

    def samples(self, behind: int = 0) -> list[Sample]:
        """The complete ones, oldest first; of those whose heartbeats are all behind that sequence, with one before."""
        found = (self._sample(number) for number in range(self._oldest, self._count - 1))
        return [sample for sample in found if sample.before > behind]

    def ends(self, behind: int = 0) -> tuple[Sample, Sample] | None:
        """The first and the last of these, at a cost that does not grow with their number; None: there are not two."""
        number, last = self._oldest, self._count - 2
        while number < last and self._sample(number).before <= behind:
            number += 1  # only after a loss of heartbeats, and at the beginning
        return (self._sample(number), self._sample(last)) if number < last else None

    @property
    def _oldest(self) -> int:
        return max(0, self._count - SAMPLES_MAX)

    def _sample(self, number: int) -> Sample:
        time, low, back, *gauges = ROW.unpack_from(self._ring, self._place(number))
        sequence = self._last - (self._last - low & LOW)
        return Sample(time, sequence, sequence - back if back else FIRST, *gauges)


def _gauges(heartbeat: Heartbeat) -> tuple[float, float, float, float]:
    available, disk, own = heartbeat.memory_available_bytes, heartbeat.disk_free_bytes, heartbeat.tasks_memory_bytes
    return (
        nan if available is None else available,
        nan if disk is None else disk,
        max(-GAUGE_MAX, min(heartbeat.loop_lag_s, GAUGE_MAX)),
        nan if own is None else float(heartbeat.memory_bytes + own),
    )
