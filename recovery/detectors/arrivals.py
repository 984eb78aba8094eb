"""When a worker was heard last, and the times before that: what detectors learn from.

Folded from the stream HEARTBEATS alone, and from its last heartbeats alone: whoever has read as far knows the same,
wherever the reading began.
"""

from array import array
from collections.abc import Sequence
from itertools import pairwise
from math import inf
from typing import NamedTuple

ARRIVALS_MAX = 32
"""Heartbeats that are remembered of each worker, 264 bytes of times and as many of sequences."""


class Heard(NamedTuple):
    """The same, in the order of time."""

    incarnation: int
    times: list[float]
    sequences: list[int]


class Arrivals:
    """The last heartbeats of one incarnation. A ring: constant in size, and cheap to add to."""

    __slots__ = ("_count", "_sequences", "_times", "incarnation")

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self._times = array("d", bytes(8 * ARRIVALS_MAX))
        self._sequences = array("q", bytes(8 * ARRIVALS_MAX))
        self._count = 0
        """All that ever came."""

    @classmethod
    def of(cls, heard: Heard) -> "Arrivals":
        """Raises ValueError where that are more than a ring holds."""
        arrivals = cls(heard.incarnation)
        count = len(heard.times)
        if count > ARRIVALS_MAX or len(heard.sequences) != count:
            raise ValueError(f"{count} arrivals with {len(heard.sequences)} sequences: {ARRIVALS_MAX} are remembered")
        arrivals._times[:count] = array("d", heard.times)
        arrivals._sequences[:count] = array("q", heard.sequences)
        arrivals._count = count
        return arrivals

    def heard(self) -> Heard:
        order = self._order()
        return Heard(
            self.incarnation, [self._times[place] for place in order], [self._sequences[place] for place in order]
        )

    def __repr__(self) -> str:
        return f"Arrivals({self.incarnation}, {self.times()})"

    def add(self, time: float, sequence: int) -> None:
        """`time` by the broker's clock, seconds; `sequence` in the stream, each higher than the one before."""
        place = self._count % ARRIVALS_MAX
        self._times[place] = time
        self._sequences[place] = sequence
        self._count += 1

    @property
    def full(self) -> bool:
        """Nothing that came earlier can matter."""
        return self._count >= ARRIVALS_MAX

    def times(self, behind: int = 0) -> list[float]:
        """Of the last heartbeats, oldest first; only of those behind that sequence."""
        return [self._times[place] for place in self._order() if self._sequences[place] > behind]

    def _order(self) -> list[int]:
        """The places that are filled, by time."""
        first = self._count % ARRIVALS_MAX if self.full else 0
        return [*range(first, min(self._count, ARRIVALS_MAX)), *range(first)]

    def unbroken_since(self, gap_max: float, behind: int = 0) -> float:
        """The time of the first one from which on each has come within `gap_max` seconds of the one before, and not by
        a clock that was set back between them; infinite where there is none behind that sequence."""
        since = inf
        for place in range(self._count - 1, max(self._count - ARRIVALS_MAX, 0) - 1, -1):
            index = place % ARRIVALS_MAX
            time = self._times[index]
            if self._sequences[index] <= behind or (since != inf and not 0.0 <= since - time <= gap_max):
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
