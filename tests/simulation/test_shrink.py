"""The reduction of a failing scenario, against failures that are made up."""

import itertools
import zlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulation.faults import LEADER, Fault, FaultKind, Schedule
from tests.simulation.scenario import Scenario, Violation, Workload
from tests.simulation.schedule import Options, scenario_of, schedule_of
from tests.simulation.shrink import SHORTEST_S, Enough, ddmin, reduce

VIOLATION = Violation("one_verdict", 7, "task-1", "two verdicts")
OTHER = Violation("one_leader", 8, "", "two leaders")


def chance_of(what: object, seed: int) -> int:
    """A number that looks random and is the same in every process."""
    return zlib.crc32(f"{what} {seed}".encode())


def contains(*culprits: int) -> Callable[[Sequence[int]], bool]:
    return lambda items: set(culprits) <= set(items)


@pytest.mark.parametrize(
    ("size", "fails", "expected"),
    [
        (8, contains(), []),
        (1, contains(0), [0]),
        (2, contains(1), [1]),
        (8, contains(5), [5]),
        (200, contains(199), [199]),
        (8, contains(0, 7), [0, 7]),
        (200, contains(3, 4, 150), [3, 4, 150]),
        (5, contains(0, 1, 2, 3, 4), [0, 1, 2, 3, 4]),
        # Not monotone: 3 makes it fail, unless 4 is there, unless 5 is there.
        (8, lambda items: 3 in items and (4 not in items or 5 in items), [3]),
        # An even number of items never fails, and any one does.
        (9, lambda items: len(items) % 2 == 1, [6]),
    ],
)
def test_ddmin(size: int, fails: Callable[[Sequence[int]], bool], expected: list[int]) -> None:
    assert list(ddmin(range(size), fails)) == expected


@given(st.integers(1, 40), st.data())
def test_ddmin_finds_the_culprits_alone(size: int, data: st.DataObject) -> None:
    culprits = data.draw(st.sets(st.integers(0, size - 1), max_size=5))
    assert set(ddmin(range(size), contains(*culprits))) == culprits


@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_ddmin_is_minimal_whatever_fails(size: int, chance: int) -> None:
    """Failure is any function of the subset: nothing is monotone."""
    asked: set[tuple[int, ...]] = set()

    def fails(items: Sequence[int]) -> bool:
        key = tuple(items)
        asked.add(key)
        return len(key) == size or chance_of(key, chance) % 3 == 0

    found = list(ddmin(range(size), fails))
    assert fails(found)
    assert found == sorted(found)
    assert not any(fails([*found[:index], *found[index + 1 :]]) for index in range(len(found)))
    assert len(asked) <= size * size + 3 * size + 2


def test_a_single_culprit_is_found_in_logarithmic_time() -> None:
    runs = 0

    def fails(items: Sequence[int]) -> bool:
        nonlocal runs
        runs += 1
        return 77 in items

    assert list(ddmin(range(128), fails)) == [77]
    assert runs <= 15


def fault(at: float, kind: FaultKind = FaultKind.AGENT_CRASH, target: str = "worker-1", duration_s: float = 0) -> Fault:
    return Fault(at, kind, target, duration_s)


def kinds(scenario: Scenario) -> list[FaultKind]:
    return [fault.kind for fault in schedule_of(scenario)]


def failing_if(condition: Callable[[Scenario], bool]) -> Callable[[Scenario], Violation | None]:
    return lambda scenario: VIOLATION if condition(scenario) else None


NOISE = tuple(fault(float(at), FaultKind.CONNECTION_RESET, f"worker-{1 + at % 3}") for at in range(60))


def with_noise(*faults: Fault) -> Schedule:
    return tuple(sorted((*NOISE, *faults), key=lambda fault: fault.at))


def test_everything_that_does_not_matter_goes() -> None:
    crash = fault(30.5, FaultKind.WORKER_CRASH, "worker-3", duration_s=12.3456)
    pause = fault(20.25, FaultKind.LEADER_PAUSE, LEADER, duration_s=7.0)
    scenario = Scenario(
        seed=1,
        workers=3,
        slots=3,
        coordinators=3,
        projector=True,
        workload=Workload(at_start=60, per_minute=30.0, failing=0.5, labelled=0.3, priority=(-5, 5)),
        faulty_s=300.0,
        schedule=with_noise(crash, pause),
    )

    def fails(scenario: Scenario) -> bool:
        wanted = {FaultKind.WORKER_CRASH, FaultKind.LEADER_PAUSE}
        return wanted <= set(kinds(scenario)) and scenario.workload.at_start >= 5

    reduction = reduce(scenario, failing_if(fails))
    small = reduction.scenario
    assert reduction.complete
    assert reduction.violation == VIOLATION
    assert kinds(small) == [FaultKind.LEADER_PAUSE, FaultKind.WORKER_CRASH]
    assert [fault.target for fault in schedule_of(small)] == [LEADER, "worker-1"]
    assert all(fault.duration_s <= 2 * SHORTEST_S for fault in schedule_of(small))
    assert (small.workers, small.slots, small.coordinators, small.projector) == (1, 1, 1, False)
    work = small.workload
    assert (work.at_start, work.per_minute, work.failing, work.labelled, work.priority) == (5, 0, 0, 0, (0, 0))
    assert small.faulty_s == schedule_of(small)[-1].at
    assert small.seed == 1


def test_what_matters_stays() -> None:
    long_cut = fault(10.0, FaultKind.PARTITION, "worker-2", duration_s=40.0)
    scenario = Scenario(seed=1, workers=4, coordinators=2, faulty_s=60.0, schedule=with_noise(long_cut))

    def fails(scenario: Scenario) -> bool:
        cuts = [fault for fault in schedule_of(scenario) if fault.kind is FaultKind.PARTITION]
        return any(cut.duration_s >= 15 and cut.at >= 5 for cut in cuts) and scenario.workers >= 2

    small = reduce(scenario, failing_if(fails)).scenario
    [cut] = schedule_of(small)
    assert (small.workers, small.coordinators) == (2, 1)
    assert (cut.target, cut.duration_s) == ("worker-2", 20.0)
    assert 5 <= cut.at < 10


def test_a_drawn_schedule_becomes_an_explicit_one() -> None:
    scenario = scenario_of(3, Options(faults=200, coordinators=3))
    wanted = schedule_of(scenario)[100].kind
    small = reduce(scenario, failing_if(lambda scenario: wanted in kinds(scenario)), runs_max=10_000).scenario
    assert kinds(small) == [wanted]
    assert small.schedule is not None


def test_another_failure_is_not_the_failure() -> None:
    def run(scenario: Scenario) -> Violation | None:
        crashes = kinds(scenario).count(FaultKind.AGENT_CRASH)
        return VIOLATION if crashes >= 3 else OTHER if crashes else None

    scenario = Scenario(seed=1, schedule=with_noise(fault(1.5), fault(2.5), fault(3.5), fault(4.5)))
    reduction = reduce(scenario, run)
    assert reduction.violation == VIOLATION
    assert kinds(reduction.scenario) == [FaultKind.AGENT_CRASH] * 3


def test_what_does_not_fail_again_is_not_reduced() -> None:
    reduction = reduce(Scenario(seed=1, schedule=NOISE), lambda _: None)
    assert reduction.violation is None
    assert reduction.runs == 1
    assert reduction.scenario.schedule == NOISE


@pytest.mark.parametrize("runs_max", [1, 2, 5, 20, 100])
def test_runs_are_limited_and_the_best_so_far_counts(runs_max: int) -> None:
    tried: list[Scenario] = []
    culprits = [fault(float(at) + 0.5, FaultKind.BROKER_CRASH, "broker") for at in range(0, 60, 7)]

    def run(scenario: Scenario) -> Violation | None:
        tried.append(scenario)
        return VIOLATION if kinds(scenario).count(FaultKind.BROKER_CRASH) == len(culprits) else None

    scenario = Scenario(seed=1, schedule=with_noise(*culprits))
    reduction = reduce(scenario, run, runs_max=runs_max)
    assert reduction.runs == len(tried) == runs_max
    assert not reduction.complete
    assert run(reduction.scenario) == VIOLATION


def test_nothing_is_run_twice() -> None:
    tried: list[Scenario] = []

    def run(scenario: Scenario) -> Violation | None:
        tried.append(scenario)
        return VIOLATION if fault(30.5) in schedule_of(scenario) else None

    reduce(Scenario(seed=1, schedule=with_noise(fault(30.5))), run)
    assert len(tried) == len({str(scenario) for scenario in tried})


def test_the_caller_may_have_enough() -> None:
    runs = itertools.count(1)

    def run(scenario: Scenario) -> Violation | None:
        if next(runs) > 20:
            raise Enough
        return VIOLATION if fault(30.5) in schedule_of(scenario) else None

    reduction = reduce(Scenario(seed=1, schedule=with_noise(fault(30.5))), run)
    assert not reduction.complete
    assert reduction.violation == VIOLATION
    assert fault(30.5) in schedule_of(reduction.scenario)
    assert len(schedule_of(reduction.scenario)) < len(NOISE)


@given(st.integers(0, 2**32 - 1), st.integers(0, 50))
def test_it_ends_and_fails_whatever_fails(chance: int, seed: int) -> None:
    """Failure at random: the result fails in the way of the first, nothing crashes on the way, no host is made up."""

    def run(scenario: Scenario) -> Violation | None:
        known = {*scenario.worker_names, *scenario.coordinator_names, LEADER, "broker", "projector", ""}
        assert {fault.target for fault in schedule_of(scenario)} <= known
        assert [fault.at for fault in schedule_of(scenario)] == sorted(fault.at for fault in schedule_of(scenario))
        assert all(0 <= fault.at <= scenario.faulty_s for fault in schedule_of(scenario))
        return (VIOLATION, VIOLATION, OTHER, None)[chance_of(scenario, chance) % 4]

    scenario = scenario_of(seed)
    first = run(reduce(scenario, lambda _: None).scenario)
    reduction = reduce(scenario, run, runs_max=150)
    if first is None:
        assert reduction.violation is None
    else:
        assert reduction.violation == first == run(reduction.scenario)
