"""Breadth first through all the worlds that can be reached, each expanded once, every new one examined."""

import multiprocessing
import os
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain
from typing import NamedTuple

from recovery.core import decide
from tests.recovery.checker import check
from tests.simulation.exhaustive.actions import ACTIONS, BY_NAME
from tests.simulation.exhaustive.agreement import agree
from tests.simulation.exhaustive.encoding import encode, thaw, unpack
from tests.simulation.exhaustive.ending import end
from tests.simulation.exhaustive.entries import Violation
from tests.simulation.exhaustive.roots import ROOTS, theme
from tests.simulation.exhaustive.world import BEGIN, WORKERS, World, whole_delays

DIGEST_BYTES = 16
"""So that among a billion states two that differ share one with a probability below 1e-20."""
CHUNK = 64
"""States that are expanded at a time; also how often progress may be told."""
NO_ACTION = 255
assert len(ACTIONS) < NO_ACTION
ENDINGS = (None, *WORKERS)
"""Who is gone for good when a state is led to its end."""


class Sampling(NamedTuple):
    """Of how many states one is examined more closely; by its digest, so that every run chooses the same ones."""

    indexes: int = 1
    """The whole state is checked from scratch (`tests.recovery.checker`)."""
    endings: int = 100
    """It is led to its end without further faults."""
    twice: int = 16
    """Batches that follow it are stored a second time."""
    stale: int = 16
    """What changes nothing is looked at twice: it must not have changed anything at all."""


class Finding(NamedTuple):
    """What does not hold, and the actions that lead there from an empty log: the fewest, behind those of the root."""

    message: str
    root: str
    actions: tuple[int, ...]


class Plan(NamedTuple):
    roots: tuple[str, ...] = tuple(ROOTS)
    states_max: int = 500_000
    depth_max: int | None = None
    processes: int = 1
    sampling: Sampling = Sampling()
    theme: str | None = None
    fenced: bool = True


@dataclass
class Result:
    states: int = 0
    transitions: int = 0
    depth: int = 0
    """All states that so many actions, counted from the roots, lead to have been seen and examined."""
    levels: list[int] = field(default_factory=list)
    """New states by the number of actions that lead to them; the last level may be incomplete."""
    endings: int = 0
    """States that were led to their end."""
    seconds: float = 0.0
    processor_seconds: float = 0.0
    finding: Finding | None = None


class Successor(NamedTuple):
    action: int
    digest: bytes
    data: bytes


class Expansion(NamedTuple):
    successors: list[Successor]
    transitions: int
    endings: int
    trouble: tuple[str, int] | None
    """What does not hold, and the action that shows it; `NO_ACTION`: the state itself."""


Expand = Callable[[Sequence[bytes]], Iterator[Expansion]]
Progress = Callable[[Result, int], None]
"""Is told the result so far and how many states the level under way has to expand."""


def digest_of(data: bytes) -> bytes:
    return blake2b(data, digest_size=DIGEST_BYTES).digest()


class Expander:
    """Expands states in one process, and remembers which ones it has passed on already."""

    def __init__(self, sampling: Sampling, numbers: Sequence[int], *, fenced: bool) -> None:
        self._sampling = sampling
        self._actions = [(number, ACTIONS[number]) for number in numbers]
        self._fenced = fenced
        self._known: set[bytes] = set()

    def admit(self, digest: bytes) -> bool:
        """Whether it is new."""
        new = digest not in self._known
        self._known.add(digest)
        return new

    def expand(self, data: bytes) -> Expansion:
        raw = thaw(data)
        world = unpack(raw, fenced=self._fenced)
        successors: list[Successor] = []
        chance = _chance(digest_of(data))
        twice, stale = chance % self._sampling.twice == 0, chance % self._sampling.stale == 0
        transitions = endings = 0
        for number, action in self._actions:
            world.fingerprint = encode if twice else None
            try:
                done = action.play(world)
                if not done:
                    if done is False and stale:
                        _check_unchanged(world, data, "what is stale")
                    continue
                transitions += 1
                found = encode(world)
                digest = digest_of(found)
                if self.admit(digest):
                    successors.append(Successor(number, digest, found))
                    endings += self.examine(found, digest)
            except Exception as error:  # noqa: BLE001 - whatever the core raises is a finding
                return Expansion(successors, transitions, endings, (_sentence(error), number))
            world = unpack(raw, fenced=self._fenced)
        return Expansion(successors, transitions, endings, None)

    def examine(self, data: bytes, digest: bytes) -> bool:
        """What must hold of a single state; whether it was led to its end as well.

        Raises:
            Violation, AssertionError: it does not hold.
        """
        sampling = self._sampling
        chance = _chance(digest)
        world = unpack(thaw(data), fenced=self._fenced)
        agree(world)
        if chance % sampling.indexes == 0:
            check(world.state, BEGIN, budgets=False)
        if chance % sampling.endings:
            return False
        decide(world.state, BEGIN)
        _check_unchanged(world, data, "to decide")
        end(world, ENDINGS[chance // sampling.endings % len(ENDINGS)])
        return True


def _check_unchanged(world: World, data: bytes, what: str) -> None:
    if encode(world) != data:
        raise Violation(f"{what} has changed the state")


def _chance(digest: bytes) -> int:
    return int.from_bytes(digest[:4], "big")


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, Violation) else f"{type(error).__name__}: {error}"


class Search:
    """One search. The digests of all states are kept, the states themselves only until they are expanded."""

    def __init__(self, plan: Plan, progress: Progress | None = None) -> None:
        self.result = Result()
        self._plan = plan
        self._progress = progress
        self._seen: set[bytes] = set()
        """What several processes have found; one alone knows its own."""
        self._parents = array("q")
        self._actions = array("B")
        self._frontier: list[tuple[int, bytes]] = []

    def run(self) -> Result:
        began, used = time.perf_counter(), _processor_seconds()
        expander = Expander(self._plan.sampling, theme(self._plan.theme), fenced=self._plan.fenced)
        with whole_delays():
            for root in self._plan.roots:
                self._begin(expander, root)
            self.result.levels.append(len(self._frontier))
            with _expansions(self._plan, expander) as expand:
                while self._frontier and self._goes_on():
                    self._level(expand)
        self.result.seconds = time.perf_counter() - began
        self.result.processor_seconds = _processor_seconds() - used
        return self.result

    def _begin(self, expander: Expander, root: str) -> None:
        world = World.empty()
        world.fenced = self._plan.fenced
        played: list[int] = []
        try:
            for name in ROOTS[root]:
                played.append(BY_NAME[name])
                ACTIONS[played[-1]].play(world)
            data = encode(world)
            digest = digest_of(data)
            expander.examine(data, digest)
        except Exception as error:  # noqa: BLE001 - whatever the core raises is a finding
            self.result.finding = Finding(_sentence(error), root, tuple(played))
            return
        if expander.admit(digest):
            self._seen.add(digest)
            # The root's number stands where later states have that of the state that they come from.
            self._add(-1 - self._plan.roots.index(root), NO_ACTION, data)

    def _add(self, parent: int, action: int, data: bytes) -> None:
        self._frontier.append((len(self._parents), data))
        self._parents.append(parent)
        self._actions.append(action)
        self.result.states += 1

    def _goes_on(self) -> bool:
        result, plan = self.result, self._plan
        deep = plan.depth_max is not None and result.depth >= plan.depth_max
        return result.finding is None and result.states < plan.states_max and not deep

    def _level(self, expand: Expand) -> None:
        """Expands the whole frontier, or as much of it as may be."""
        result = self.result
        frontier, self._frontier = self._frontier, []
        result.levels.append(0)
        for (parent, _), expansion in zip(frontier, expand([data for _, data in frontier]), strict=True):
            result.transitions += expansion.transitions
            result.endings += expansion.endings
            for action, digest, data in expansion.successors:
                if self._plan.processes > 1:
                    if digest in self._seen:
                        continue
                    self._seen.add(digest)
                self._add(parent, action, data)
                result.levels[-1] += 1
            if expansion.trouble is not None:
                message, action = expansion.trouble
                result.finding = self._finding(message, parent, action)
            if not self._goes_on():
                return
            if self._progress is not None and parent % CHUNK == 0:
                self._progress(result, len(frontier))
        result.depth += 1

    def _finding(self, message: str, parent: int, action: int) -> Finding:
        actions = [action]
        while parent >= 0:
            actions.append(self._actions[parent])
            parent = self._parents[parent]
        actions.pop()  # no action leads to a root
        root = self._plan.roots[-1 - parent]
        return Finding(message, root, (*(BY_NAME[name] for name in ROOTS[root]), *reversed(actions)))


def _processor_seconds() -> float:
    return sum(os.times()[:4])


_expander: Expander | None = None
"""Of a process that was forked for one search."""


def _expand_chunk(chunk: Sequence[bytes]) -> list[Expansion]:
    assert _expander is not None
    return [_expander.expand(data) for data in chunk]


@contextmanager
def _expansions(plan: Plan, expander: Expander) -> Iterator[Expand]:
    """A function that expands states, in order, in as many processes as planned."""
    if plan.processes == 1:
        yield lambda states: map(expander.expand, states)
        return
    global _expander  # noqa: PLW0603 - inherited by the processes that are forked now, and by nobody else
    _expander = expander
    with multiprocessing.get_context("fork").Pool(plan.processes) as pool:
        _expander = None

        def expand(states: Sequence[bytes]) -> Iterator[Expansion]:
            chunks = (states[first : first + CHUNK] for first in range(0, len(states), CHUNK))
            return chain.from_iterable(pool.imap(_expand_chunk, chunks))

        yield expand
