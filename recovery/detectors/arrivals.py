"""When a worker was heard last, and the times before that: what detectors learn from.

Folded from the stream HEARTBEATS alone, and from its last heartbeats alone: whoever has read as far knows the same,
wherever the reading began.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import inf
from struct import Struct
from typing import NamedTuple

ARRIVALS_MAX = 32
"""Heartbeats that are remembered of each worker, in 384 bytes."""
GAP_MAX = 2**32 // ARRIVALS_MAX - 1
"""So many heartbeats of others between two of a worker, hours of a large farm, part what it did before from what it
does now. It lets a ring keep the last 32 bits of a sequence."""
ARRIVAL = Struct("<dI")
"""Its time, and the last 32 bits of its sequence."""
LOW = 2**32 - 1


class Heard(NamedTuple):
    """The same, in the order of time."""

    incarnation: int
    times: list[float]
    sequences: list[int]


class Arrivals:
    """The last heartbeats of one incarnation. A ring: constant in size, and cheap to add to."""

    __slots__ = ("_count", "_last", "_ring", "incarnation")

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self._ring = bytearray(ARRIVAL.size * ARRIVALS_MAX)
        self._count = 0
        """All that came since the last great gap."""
        self._last = 0
        """Sequence of the last one."""

    @classmethod
    def of(cls, heard: Heard) -> "Arrivals":
        """Raises ValueError where that are more than a ring holds."""
        count = len(heard.times)
        if count > ARRIVALS_MAX or len(heard.sequences) != count:
            raise ValueError(f"{count} arrivals with {len(heard.sequences)} sequences: {ARRIVALS_MAX} are remembered")
        arrivals = cls(heard.incarnation)
        for time, sequence in zip(heard.times, heard.sequences, strict=True):
            arrivals.add(time, sequence)
        return arrivals

    def heard(self) -> Heard:
        known = list(self._newest_first())[::-1]
        return Heard(self.incarnation, [time for time, _ in known], [sequence for _, sequence in known])

    def __repr__(self) -> str:
        return f"Arrivals({self.incarnation}, {self.times()})"

    def add(self, time: float, sequence: int) -> None:
        """`time` by the broker's clock, seconds; `sequence` in the stream, each higher than the one before."""
        if sequence - self._last > GAP_MAX:
            self._count = 0
        ARRIVAL.pack_into(self._ring, self._count % ARRIVALS_MAX * ARRIVAL.size, time, sequence & LOW)
        self._count += 1
        self._last = sequence

    @property
    def full(self) -> bool:
        """Nothing that came earlier can matter."""
        return self._count >= ARRIVALS_MAX

    def times(self, behind: int = 0) -> list[float]:
        """Of the last heartbeats, oldest first; only of those behind that sequence."""
        return [time for time, sequence in self._newest_first() if sequence > behind][::-1]

    def _newest_first(self) -> Iterator[tuple[float, int]]:
        """Times and sequences."""
        last = self._last
        for number in range(self._count - 1, max(self._count - ARRIVALS_MAX, 0) - 1, -1):
            time, low = ARRIVAL.unpack_from(self._ring, number % ARRIVALS_MAX * ARRIVAL.size)
            yield time, last - (last - low & LOW)

    def unbroken_since(self, gap_max: float, behind: int = 0) -> float:
        """The time of the first one from which on each has come within `gap_max` seconds of the one before, and not by
        a clock that was set back between them; infinite where there is none behind that sequence."""
        since = inf
        for time, sequence in self._newest_first():
            if sequence <= behind or (since != inf and not 0.0 <= since - time <= gap_max):
                break
            since = time
        return since

    def intervals(self, behind: int = 0, interrupted_at: float = 0.0) -> list[float]:
        """Between the last heartbeats behind that sequence, as `intervals_between` gives them."""
        return intervals_between(self.times(behind), interrupted_at)


def intervals_between(times: Sequence[float], interrupted_at: float = 0.0) -> list[float]:
    """Seconds from each to the next, but for the one in which the observer was interrupted, or the broker was: it says
    nothing about the worker. One that is not positive was measured by a clock that was set back."""
    return [later - earlier for earlier, later in pairwise(times) if not earlier <= interrupted_at < later]
