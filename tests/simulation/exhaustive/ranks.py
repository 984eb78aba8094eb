"""Sequences by rank. The core compares them, for order or equality, and does nothing else with them.

Those of one worker are compared with each other and with marks, which belong to nobody: how far somebody had read when
it doubted itself, or where the log says that something was lost. So each is known by the number of marks below it and
by its rank between two of them. Those of different workers are never compared with each other.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

KNOWN, FORMER = 10_000, 100_000
"""Where the heartbeats' ranks begin: of those up to the stream's present end, and of those that an earlier stream had
behind it. The broker has lost them; the stream has begun again so far below that it does not get there any more."""
BETWEEN = 1_000
"""From one mark to the next: more than there are ranks between two."""
EVENT_MARKS, BEAT_MARKS = "marks of events", "marks of beats"


class Ranks:
    """Collects what it is asked for, and returns it as it is; once `settled`, returns ranks. Zero stays zero."""

    def __init__(self, end: int) -> None:
        """`end`: the last sequence of the heartbeats."""
        self._end = end
        self._seen: dict[str, dict[int, None]] = {}
        self._beats: dict[str, dict[int, None]] = {}
        self._event_marks: dict[int, None] = {}
        self._beat_marks: dict[int, None] = {}
        self._incidents: dict[str, int] = {}
        self._ranks: dict[str, dict[int, int]] | None = None

    def settled(self) -> bool:
        """Whether everything was its own rank already. Afterwards, ranks are returned."""
        end, marks = self._end, self._beat_marks
        beats = [value for seen in self._beats.values() for value in seen]
        known = _steps(_upto(marks, end), _upto(beats, end))
        former = _steps(_beyond(marks, end), _beyond(beats, end))
        of_log = _steps(self._event_marks, [value for seen in self._seen.values() for value in seen])
        ranks = {space: _ranked(seen, of_log, 0) for space, seen in self._seen.items()}
        for space, seen in self._beats.items():
            ranks[space] = _ranked(_upto(seen, end), known, KNOWN) | _ranked(_beyond(seen, end), former, FORMER)
        ranks[EVENT_MARKS] = _numbered(self._event_marks, of_log, 0)
        ranks[BEAT_MARKS] = _numbered(_upto(marks, end), known, KNOWN) | _numbered(_beyond(marks, end), former, FORMER)
        self._ranks = ranks
        if any(name != f"i{rank}" for name, rank in self._incidents.items()):
            return False
        return all(value == rank for space in ranks.values() for value, rank in space.items())

    def incarnation(self, worker_id: str, value: int) -> int:
        return self._rank(self._seen, worker_id, value)

    def rules(self, worker_id: str, sequence: int) -> int:
        """Those that a worker lives by: compared with marks of the log, as its incarnations are."""
        return self._rank(self._seen, f"rules {worker_id}", sequence)

    def parked(self, sequence: int) -> int:
        return self._rank(self._seen, "parked", sequence)

    def beat(self, worker_id: str, sequence: int) -> int:
        return self._rank(self._beats, f"beats {worker_id}", sequence)

    def event_mark(self, sequence: int) -> int:
        """Of the log: compared with every worker's incarnations."""
        return self._mark(self._event_marks, EVENT_MARKS, sequence)

    def beat_mark(self, sequence: int) -> int:
        """Of the heartbeats: compared with every worker's."""
        return self._mark(self._beat_marks, BEAT_MARKS, sequence)

    def incident(self, incident_id: str) -> int:
        """By first mention: one incident is the same as another, or is not, and that is all."""
        return self._incidents.setdefault(incident_id, len(self._incidents) + 1)

    def _rank(self, spaces: dict[str, dict[int, None]], space: str, value: int) -> int:
        if not value:
            return 0
        if self._ranks is not None:
            return self._ranks[space][value]
        seen = spaces.get(space)
        if seen is None:
            seen = spaces[space] = {}
        seen[value] = None
        return value

    def _mark(self, marks: dict[int, None], space: str, value: int) -> int:
        if not value:
            return 0
        if self._ranks is not None:
            return self._ranks[space][value]
        marks[value] = None
        return value


def _upto(values: Iterable[int], end: int) -> list[int]:
    return [value for value in values if value <= end]


def _beyond(values: Iterable[int], end: int) -> list[int]:
    return [value for value in values if value > end]


def _steps(marks: Iterable[int], values: Sequence[int]) -> list[int]:
    """The marks, in order, without those that divide nothing from the one before."""
    steps: list[int] = []
    for mark in sorted(marks):
        if not steps or any(steps[-1] < value <= mark for value in values):
            steps.append(mark)
    return steps


def _ranked(values: Iterable[int], steps: Sequence[int], base: int) -> dict[int, int]:
    """A value that is a mark as well stands below the mark: they are compared as `value <= mark`."""
    ranks: dict[int, int] = {}
    passed = rank = 0
    for value in sorted(values):
        below = bisect_left(steps, value)
        passed, rank = below, rank + 1 if below == passed else 1
        ranks[value] = base + BETWEEN * below + rank
    return ranks


def _numbered(marks: Iterable[int], steps: Sequence[int], base: int) -> dict[int, int]:
    return {mark: base + BETWEEN * bisect_right(steps, mark) for mark in marks}
