"""What a log must tell of somebody's end, in which order; and when the tasks lived, by their own stamps."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from events.base import Event
from events.envelope import Recorded
from tests.waiting import described, is_kind

NEAR = 12
"""How many events a failure message shows on either side."""


class Fact(NamedTuple):
    """An event of this kind whose fields have these values."""

    kind: type[Event]
    fields: dict[str, object]

    def __str__(self) -> str:
        return f"{self.kind.__name__}({', '.join(f'{name}={value!r}' for name, value in self.fields.items())})"


def fact(kind: type[Event], **fields: object) -> Fact:
    return Fact(kind, fields)


def in_order(records: Sequence[Recorded], *facts: Fact, after: int = 0) -> list[Recorded]:
    """The first events that fit, each behind the one before it.

    Raises:
        AssertionError: one is missing; the message names it, and shows what stands where it should be.
    """
    found: list[Recorded] = []
    for wanted in facts:
        fits = is_kind(wanted.kind, **wanted.fields)
        reached = found[-1].sequence if found else after
        match = next((one for one in records if one.sequence > reached and fits(one)), None)
        if match is None:
            near = [described(one)[:300] for one in records if abs(one.sequence - reached) <= NEAR]
            raise AssertionError("\n  ".join([f"no {wanted} behind {reached}, which is near:", *near]))
        found.append(match)
    return found


def never(records: Sequence[Recorded], *facts: Fact) -> None:
    for unwanted in facts:
        fits = is_kind(unwanted.kind, **unwanted.fields)
        seen = [described(one) for one in records if fits(one)]
        assert not seen, f"{unwanted} was never to happen: {seen[0]}"


class Life(NamedTuple):
    """Of one run of a task: its first stamp and its last, in seconds of CLOCK_MONOTONIC."""

    first: float
    last: float


def lives(folder: Path, word: str) -> list[Life]:
    """The task's runs so far, in the order of their beginnings."""
    stamps: dict[int, list[float]] = defaultdict(list)
    path = folder / f"{word}.stamps"
    for line in path.read_text().splitlines() if path.exists() else ():
        number, _, nanoseconds = line.partition(" ")
        if nanoseconds:  # else the writer was killed in the middle of the line
            stamps[int(number)].append(int(nanoseconds) / 1e9)
    return sorted(Life(min(times), max(times)) for times in stamps.values())


def check_apart(folder: Path, word: str, runs: int) -> float | None:
    """No run began before the one before it had made its last stamp; the shortest time between them, in seconds."""
    found = lives(folder, word)
    assert len(found) == runs, f"{word} ran {len(found)} times, not {runs}"
    gaps = [later.first - earlier.last for earlier, later in pairwise(found)]
    assert all(gap > 0 for gap in gaps), f"two owners had {word} at one time: {found}"
    return min(gaps, default=None)
