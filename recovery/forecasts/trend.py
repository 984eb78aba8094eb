"""What the gauges of a worker have shown lately: what forecasts of what it runs out of are made from.

Folded from the stream HEARTBEATS alone, and from its last heartbeats alone: which of them make a sample follows from
the numbers that they bear themselves, so whoever has read as far knows the same, wherever the reading began, and
whatever the policy is.
"""

from array import array
from math import isnan, nan
from typing import NamedTuple, Self

from events.worker import Heartbeat

BEATS_PER_SAMPLE = 5
"""Ten seconds at the default interval."""
SAMPLES_MAX = 25
"""Of each worker, the newest of which is not complete yet: four minutes at the default interval, in 1,400 bytes."""
FIRST = -1.0
"""Stands for the heartbeat before those of the first sample: whether that one is whole nobody knows."""


class Sample(NamedTuple):
    """Of a few heartbeats in a row the best value each, so that peaks do not count: what a collector of garbage takes
    back at once was never short. Not a number: unknown."""

    time: float
    """Of the first of them, by the broker's clock."""
    sequence: float
    """Of the same one, in the stream."""
    before: float
    """Of the heartbeat before it, which shows that none of the sample's own was missed."""
    memory_available_bytes: float
    disk_free_bytes: float
    loop_lag_s: float
    own_bytes: float
    """Memory of the agent and of all that it has started."""


WIDTH = len(Sample._fields)


class Known(NamedTuple):
    """All that a trend knows, as it stands in its ring."""

    incarnation: int
    seen: int
    bucket: int
    last: float
    ring: list[float]


class Trend:
    """The last samples of one incarnation. A ring: bounded in size, and cheap to add to."""

    __slots__ = ("_bucket", "_count", "_last", "_ring", "incarnation")

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self._ring = array("d")
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
        if len(known.ring) != min(known.seen, SAMPLES_MAX) * WIDTH:
            raise ValueError(f"{len(known.ring)} values of {known.seen} samples")
        trend = cls(known.incarnation)
        trend._ring = array("d", known.ring)
        trend._count, trend._bucket, trend._last = known.seen, known.bucket, known.last
        return trend

    def known(self) -> Known:
        return Known(self.incarnation, self._count, self._bucket, self._last, list(self._ring))

    def __repr__(self) -> str:
        return f"Trend({self.incarnation}, {self.samples()})"

    def add(self, heartbeat: Heartbeat, time: float, sequence: int) -> bool:
        """Takes the next heartbeat of the incarnation. Whether the complete samples are others now."""
        bucket = heartbeat.beat // BEATS_PER_SAMPLE
        if bucket == self._bucket:
            self._improve(heartbeat)
            self._last = float(sequence)
            return False
        self._bucket = bucket
        if self._count and time <= self._ring[self._place(self._count - 1)]:
            # The broker's clock was set back: nobody knows how long ago the others were.
            self._count = 0
            del self._ring[:]
        available, disk = heartbeat.memory_available_bytes, heartbeat.disk_free_bytes
        row = (
            time,
            sequence,
            self._last,
            nan if available is None else available,
            nan if disk is None else disk,
            heartbeat.loop_lag_s,
            _own_bytes(heartbeat),
        )
        if self._count < SAMPLES_MAX:
            self._ring.extend(row)
        else:
            place = self._place(self._count)
            self._ring[place : place + WIDTH] = array("d", row)
        self._count += 1
        self._last = float(sequence)
        return True

    def _improve(self, heartbeat: Heartbeat) -> None:
        ring, place = self._ring, self._place(self._count - 1)
        available, disk, own = heartbeat.memory_available_bytes, heartbeat.disk_free_bytes, _own_bytes(heartbeat)
        # A comparison with what is unknown is false: then whatever is known is better.
        if available is not None and not ring[place + 3] >= available:
            ring[place + 3] = available
        if disk is not None and not ring[place + 4] >= disk:
            ring[place + 4] = disk
        ring[place + 5] = min(ring[place + 5], heartbeat.loop_lag_s)
        if not (isnan(own) or ring[place + 6] <= own):
            ring[place + 6] = own

    def _place(self, number: int) -> int:
        return number % SAMPLES_MAX * WIDTH

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
        while number < last and self._ring[self._place(number) + 2] <= behind:
            number += 1  # only after a loss of heartbeats, and at the beginning
        return (self._sample(number), self._sample(last)) if number < last else None

    @property
    def _oldest(self) -> int:
        return max(0, self._count - SAMPLES_MAX)

    def _sample(self, number: int) -> Sample:
        place = self._place(number)
        return Sample(*self._ring[place : place + WIDTH])


def _own_bytes(heartbeat: Heartbeat) -> float:
    tasks = heartbeat.tasks_memory_bytes
    return nan if tasks is None else float(heartbeat.memory_bytes + tasks)
