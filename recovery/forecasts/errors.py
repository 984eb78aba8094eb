"""Whether a worker has begun to fail more of its tasks than it did, and than others do.

A machine that is about to break fails some of what it runs before it fails all of it. (One that fails everything at
once is found out sooner: `recovery.fitness`.) The attempts of a worker are counted in blocks; a block that is worse
than what that worker had before, and than what all others had lately, by more than chance explains, foretells a
failure. Chance is what R. A. Fisher's exact test gives ("The Design of Experiments", 1935, on 2 x 2 tables), in whole
numbers, so that every machine comes to the same result.

Tasks that require a label do not count: they go to few workers, and it may be the tasks that fail.
"""

from dataclasses import dataclass
from math import comb
from typing import NamedTuple

BLOCK = 24
"""Attempts."""
BAD_MIN = 6
"""Failures in a block below which nobody looks."""
BEFORE_MIN = BLOCK
OTHERS_MIN = 2 * BLOCK
"""Attempts to compare with, at least."""
UNLIKELY_BEFORE = 1_000
UNLIKELY_ELSEWHERE = 10_000
"""One in so many blocks of a worker that is like itself before, and like the others, may look like that by chance."""
FADES = 3
"""Of what was before, a quarter is forgotten with every block: that much in four is kept."""


class Worse(NamedTuple):
    """A block is worse than chance explains."""

    bad: int
    usual: float
    """The higher of the shares of failures before, and elsewhere."""
    since: float
    until: float
    """When the first and the last attempt of the block ended."""


class Block(NamedTuple):
    bad: int
    since: float
    """When its first attempt ended."""


@dataclass(slots=True)
class Attempts:
    """What one incarnation has made of its tasks."""

    bad: int = 0
    count: int = 0
    """Of the block that is not complete."""
    since: float = 0.0
    last: Block | None = None
    bad_before: int = 0
    count_before: int = 0
    """Of the blocks before the last one."""
    worse: Worse | None = None
    """What the last block says."""


@dataclass(slots=True)
class FarmAttempts:
    """The last complete blocks of all incarnations that are at work, together."""

    bad: int = 0
    count: int = 0


def note(own: Attempts, farm: FarmAttempts, time: float, *, bad: bool) -> bool:
    """Counts one attempt that ended. Whether that completed a block."""
    if own.count == 0:
        own.since = time
    own.count += 1
    own.bad += bad
    if own.count < BLOCK:
        return False
    _complete(own, farm, Block(own.bad, own.since), time)
    return True


def _complete(own: Attempts, farm: FarmAttempts, block: Block, time: float) -> None:
    if own.last is not None:
        own.bad_before = _faded(own.bad_before) + own.last.bad
        own.count_before = _faded(own.count_before) + BLOCK
        farm.bad -= own.last.bad
        farm.count -= BLOCK
    own.worse = _compared(own, farm, block, time)
    own.last = block
    own.bad = own.count = 0
    farm.bad += block.bad
    farm.count += BLOCK


def _faded(count: int) -> int:
    """Rounded, not cut off: else every share would sink."""
    return (count * FADES + (FADES + 1) // 2) // (FADES + 1)


def forget(own: Attempts, farm: FarmAttempts) -> None:
    """The incarnation is over: nobody is compared with it any more."""
    if own.last is not None:
        farm.bad -= own.last.bad
        farm.count -= BLOCK


def _compared(own: Attempts, farm: FarmAttempts, block: Block, time: float) -> Worse | None:
    """`farm`: without the worker itself."""
    if block.bad < BAD_MIN or own.count_before < BEFORE_MIN or farm.count < OTHERS_MIN:
        return None
    if not unlikely(block.bad, own.bad_before, own.count_before, UNLIKELY_BEFORE):
        return None
    if not unlikely(block.bad, farm.bad, farm.count, UNLIKELY_ELSEWHERE):
        return None
    usual = max(own.bad_before / own.count_before, farm.bad / farm.count)
    return Worse(block.bad, usual, block.since, time)


def unlikely(bad: int, other_bad: int, other_count: int, one_in: int) -> bool:
    """Whether so many failures or more fall to a block at most once in `one_in` times, if it is like the others."""
    all_bad, everything = bad + other_bad, BLOCK + other_count
    at_least = sum(
        comb(all_bad, number) * comb(everything - all_bad, BLOCK - number)
        for number in range(bad, min(BLOCK, all_bad) + 1)
    )
    return at_least * one_in <= comb(everything, BLOCK)
