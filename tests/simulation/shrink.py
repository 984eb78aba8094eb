"""Makes a failing scenario small: little work, few faults, few hosts, a short run, and short faults.

The faults are reduced by ddmin (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE TSE
28(2), 2002), everything else greedily. A smaller scenario counts only if it violates the same invariant: another
failure may well be a failure, but not the one that is looked for.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from tests.simulation.faults import LEADER, NATURES, Fault, Faults
from tests.simulation.scenario import Scenario, Violation
from tests.simulation.schedule import schedule_of, targets_of

RUNS_MAX = 300
SHORTEST_S = 0.05
"""Faults are not made shorter than this."""

Run = Callable[[Scenario], Violation | None]
Item = TypeVar("Item")


class Reduction(msgspec.Struct, frozen=True, kw_only=True):
    scenario: Scenario
    """With an explicit schedule."""
    violation: Violation | None
    """Of that scenario; None: even the one that was given does not fail here, and nothing was reduced."""
    runs: int
    complete: bool
    """Nothing that was tried makes it smaller; False: it was ended early."""


class Enough(Exception):
    """`run` may raise it, to end the search with what it has found."""


class _Trials:
    """Runs scenarios, each at most once and all together at most so often, and keeps the smallest that failed."""

    def __init__(self, run: Run, runs_max: int, scenario: Scenario) -> None:
        self._run = run
        self._runs_max = runs_max
        self._invariant: str | None = None
        self._known: dict[Scenario, bool] = {}
        self.runs = 0
        self.best = scenario
        self.violation: Violation | None = None

    def fails(self, scenario: Scenario) -> bool:
        """Whether it violates the invariant that the first scenario violated.

        Raises:
            Enough: it was not tried before, and there is no run left.
        """
        if scenario in self._known:
            return self._known[scenario]
        if self.runs >= self._runs_max:
            raise Enough
        self.runs += 1
        violation = self._run(scenario)
        if self._invariant is None and violation is not None:
            self._invariant = violation.invariant
        failed = violation is not None and violation.invariant == self._invariant
        self._known[scenario] = failed
        if failed:
            # Candidates are smaller than what failed before them.
            self.best, self.violation = scenario, violation
        return failed

    def improves(self, scenario: Scenario) -> bool:
        """Whether it is new, and fails: then it is `best` now. No candidate improves twice, so every search ends."""
        return scenario not in self._known and self.fails(scenario)


def reduce(scenario: Scenario, run: Run, *, runs_max: int = RUNS_MAX) -> Reduction:
    """The smallest scenario that was found to violate the same invariant, after at most `runs_max` runs.

    `run` must answer the same for the same scenario. It need not be monotone: a subset of a failing schedule may pass
    and a subset of that fail again. The result then fails too, it may only be larger than need be.
    """
    explicit = replace(scenario, schedule=schedule_of(scenario), faults=Faults(), faults_count=None)
    trials = _Trials(run, runs_max, explicit)
    try:
        if not trials.fails(explicit):
            return Reduction(scenario=explicit, violation=None, runs=trials.runs, complete=True)
        while _one_round(trials):
            pass
        complete = True
    except Enough:
        complete = False
    return Reduction(scenario=trials.best, violation=trials.violation, runs=trials.runs, complete=complete)


def _one_round(trials: _Trials) -> bool:
    """Whether anything became smaller; if so, something else may be superfluous now."""
    before = trials.best
    _descend(trials, _smaller_work)  # at first, since all that follows costs less without it
    base = trials.best
    ddmin(base.schedule or (), lambda faults: trials.fails(replace(base, schedule=tuple(faults))))
    for simpler in (_fewer_hosts, _shorter_runs, _milder_faults):
        _descend(trials, simpler)
    return trials.best != before


def _descend(trials: _Trials, simpler: Callable[[Scenario], Iterator[Scenario]]) -> None:
    """Takes the first of the simpler scenarios that fails, and begins again with it, until none does."""
    while any(trials.improves(candidate) for candidate in simpler(trials.best)):
        pass


def ddmin(items: Sequence[Item], fails: Callable[[Sequence[Item]], bool]) -> Sequence[Item]:
    """A 1-minimal subsequence that fails: without any one of its items, it would not. `items` must fail itself.

    As published, except that the empty sequence is tried first. At most about n² + 3n calls of `fails`, and for a
    single culprit about 2 log2 n.
    """
    if not items or fails(()):
        return ()
    parts = 2
    while len(items) >= 2:
        chunks = _split(items, parts)
        subset = next((chunk for chunk in chunks if len(chunk) < len(items) and fails(chunk)), None)
        if subset is not None:
            items, parts = subset, 2
            continue
        complement = None
        if parts > 2:  # with two parts, the complements are the subsets
            complement = next((rest for rest in _complements(chunks) if fails(rest)), None)
        if complement is not None:
            items, parts = complement, max(parts - 1, 2)
        elif parts < len(items):
            parts = min(2 * parts, len(items))
        else:
            break
    return items


def _split(items: Sequence[Item], parts: int) -> list[Sequence[Item]]:
    """Into so many parts of nearly equal length."""
    edges = [len(items) * number // parts for number in range(parts + 1)]
    return [items[low:high] for low, high in itertools.pairwise(edges)]


def _complements(chunks: list[Sequence[Item]]) -> Iterator[Sequence[Item]]:
    for left_out in range(len(chunks)):
        yield tuple(item for number, chunk in enumerate(chunks) if number != left_out for item in chunk)


def _lower(number: int, lowest: int) -> Iterator[int]:
    """`lowest` at first, then ever nearer to `number`: 0, 30, 45, 52 ... 59 for 60."""
    step = number - lowest
    while step > 0:
        yield number - step
        step //= 2


def _smaller_work(scenario: Scenario) -> Iterator[Scenario]:
    work = scenario.workload
    for at_start in _lower(work.at_start, 0):
        yield replace(scenario, workload=replace(work, at_start=at_start))
    if work.per_minute:
        yield replace(scenario, workload=replace(work, per_minute=0.0))
    if work.per_minute * scenario.faulty_s > 60.0:
        yield replace(scenario, workload=replace(work, per_minute=work.per_minute / 2))
    for plain in ({"failing": 0.0}, {"labelled": 0.0}, {"limited": 0.0}, {"own_retries": False}, {"priority": (0, 0)}):
        yield replace(scenario, workload=replace(work, **plain))
    low, high = work.duration_s
    if high > 2 * max(low, SHORTEST_S):
        yield replace(scenario, workload=replace(work, duration_s=(low, high / 2)))


def _fewer_hosts(scenario: Scenario) -> Iterator[Scenario]:
    for workers in _lower(scenario.workers, 1):
        yield _fitted(replace(scenario, workers=workers))
    for coordinators in _lower(scenario.coordinators, 1):
        yield _fitted(replace(scenario, coordinators=coordinators))
    for slots in _lower(scenario.slots, 1):
        yield replace(scenario, slots=slots)
    if scenario.projector:
        yield _fitted(replace(scenario, projector=False))


def _fitted(scenario: Scenario) -> Scenario:
    """With the faults of hosts that are gone turned on the first one of their sort; left out if there is none."""
    targets = targets_of(scenario)
    fitted = []
    for fault in scenario.schedule or ():
        there = targets[NATURES[fault.kind].aim]
        if fault.target in there or (fault.target == LEADER and targets["coordinator"]):
            fitted.append(fault)
            continue
        sort = fault.target.partition("-")[0]
        fitted += [replace(fault, target=heir) for heir in there if heir.startswith(sort)][:1]
    return replace(scenario, schedule=tuple(fitted))


def _shorter_runs(scenario: Scenario) -> Iterator[Scenario]:
    """The faulty phase ends with its last fault, or when that fault's time is over; and begins when the first one
    strikes."""
    schedule = scenario.schedule or ()
    for fault_s in (0.0, 1.0):
        end_s = max((fault.at + fault_s * fault.duration_s for fault in schedule), default=0.0)
        if end_s < scenario.faulty_s:
            yield replace(scenario, faulty_s=end_s)
    earliest_s = schedule[0].at if schedule else 0.0
    for sooner_s in (earliest_s, earliest_s / 2):
        if sooner_s >= SHORTEST_S:
            moved = tuple(replace(fault, at=round(fault.at - sooner_s, 6)) for fault in schedule)
            yield replace(scenario, schedule=moved, faulty_s=round(max(scenario.faulty_s - sooner_s, 0.0), 6))


def _milder_faults(scenario: Scenario) -> Iterator[Scenario]:
    schedule = scenario.schedule or ()
    for number, fault in enumerate(schedule):
        for milder in _milder(fault):
            yield replace(scenario, schedule=(*schedule[:number], milder, *schedule[number + 1 :]))


def _milder(fault: Fault) -> Iterator[Fault]:
    if fault.duration_s > 2 * SHORTEST_S:
        yield replace(fault, duration_s=_rounded(fault.duration_s / 2))
    if fault.duration_s and fault.duration_s != _rounded(fault.duration_s):
        yield replace(fault, duration_s=_rounded(fault.duration_s))
    if fault.magnitude and fault.magnitude != _rounded(fault.magnitude):
        yield replace(fault, magnitude=_rounded(fault.magnitude))
    if fault.choice:
        yield replace(fault, choice=0.0)


def _rounded(number: float) -> float:
    """Two significant digits read better."""
    return float(f"{number:.2g}")
