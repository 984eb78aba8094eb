"""Seeds decide everything, the same way in every process, and reach everything that there is."""

import itertools
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from tests.simulation.faults import LEADER, NATURES, WAVES, Fault, FaultKind, Faults, Hazard, Schedule, Wave
from tests.simulation.scenario import Scenario, Workload, tasks_of
from tests.simulation.schedule import (
    FAULTS_MAX,
    KIND_IS_ON,
    LONG_S,
    QUIET_S_MIN,
    Options,
    scenario_of,
    schedule_of,
    targets_of,
)

ROOT = Path(__file__).parents[2]
SEEDS = range(300)
NONE = msgspec.structs.replace(Faults(), **{kind.value: Hazard(0) for kind in FaultKind})


@pytest.fixture(scope="module")
def drawn() -> list[tuple[Scenario, Schedule]]:
    scenarios = [scenario_of(seed) for seed in SEEDS]
    return [(scenario, schedule_of(scenario)) for scenario in scenarios]


def test_every_kind_has_a_hazard_and_a_nature() -> None:
    assert set(NATURES) == set(FaultKind)
    hazards = {field.name for field in msgspec.structs.fields(Faults) if field.type is Hazard}
    assert hazards == {kind.value for kind in FaultKind}


@pytest.mark.parametrize("kind", FaultKind)
def test_a_hazard_has_what_the_meaning_of_its_kind_speaks_of(kind: FaultKind) -> None:
    hazard, meaning = Faults().of(kind), NATURES[kind].meaning
    assert ("duration" in meaning) == (hazard.duration_s[1] > 0)
    assert ("magnitude" in meaning) == (hazard.magnitude != (0.0, 0.0))
    assert hazard.per_hour > 0


def test_the_same_in_every_process() -> None:
    program = (
        "import hashlib, msgspec\n"
        "from tests.simulation.schedule import Options, scenario_of, schedule_of\n"
        "from tests.simulation.scenario import tasks_of\n"
        "for seed in range(20):\n"
        "    for options in (None, Options(hours=1)):\n"
        "        scenario = scenario_of(seed, options)\n"
        "        drawn = (scenario, schedule_of(scenario), list(tasks_of(scenario)))\n"
        "        print(hashlib.sha256(msgspec.json.encode(drawn)).hexdigest())\n"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for hash_seed in ("0", "1", "4711")
    }
    assert len(printed) == 1
    assert len(set(printed.pop().split())) == 40


def test_sizes_stay_in_their_bounds_and_fill_them(drawn: list[tuple[Scenario, Schedule]]) -> None:
    scenarios = [scenario for scenario, _ in drawn]
    assert {scenario.workers for scenario in scenarios} == set(range(1, 8))
    assert {scenario.coordinators for scenario in scenarios} == {1, 2, 3}
    assert {scenario.slots for scenario in scenarios} == {1, 2, 3}
    assert {scenario.projector for scenario in scenarios} == {True, False}
    assert all(30 <= scenario.faulty_s <= 300 for scenario in scenarios)
    counts = [len(schedule) for _, schedule in drawn]
    assert min(counts) == 0
    assert FAULTS_MAX * 0.9 < max(counts) <= FAULTS_MAX


def test_work_is_plenty_and_short_or_as_much_as_there_are_slots_and_long(
    drawn: list[tuple[Scenario, Schedule]],
) -> None:
    scenarios = [scenario for scenario, _ in drawn]
    long = [scenario for scenario in scenarios if scenario.workload.duration_s == LONG_S]
    ordinary = [scenario for scenario in scenarios if scenario.workload.duration_s != LONG_S]
    assert {scenario.workload.at_start for scenario in ordinary} == set(range(5, 61))
    assert {scenario.workload.per_minute > 0 for scenario in ordinary} == {True, False}
    assert all(scenario.workload.duration_s[1] <= 30 for scenario in ordinary)
    assert 0.1 < len(long) / len(drawn) < 0.2
    for scenario in long:
        slots, workload = scenario.workers * scenario.slots, scenario.workload
        # Every task begins at once: as many as slots, unless fewer were drawn.
        assert min(5, slots) <= workload.at_start <= slots
        assert workload.per_minute == 0
        assert len(list(tasks_of(scenario))) == workload.at_start
        assert scenario.quiet_s >= QUIET_S_MIN + 4 * LONG_S[1] * workload.at_start / slots - 0.1
    assert min(scenario.workload.at_start for scenario in long) < 5, "some farms are small"
    assert any(scenario.workload.at_start < scenario.workers * scenario.slots for scenario in long)


def test_faults_are_well_formed(drawn: list[tuple[Scenario, Schedule]]) -> None:
    for scenario, schedule in drawn:
        targets = targets_of(scenario)
        assert [fault.at for fault in schedule] == sorted(fault.at for fault in schedule)
        for fault in schedule:
            hazard = scenario.faults.of(fault.kind)
            assert 0 <= fault.at <= scenario.faulty_s
            assert hazard.per_hour > 0
            assert hazard.duration_s[0] <= fault.duration_s <= hazard.duration_s[1]
            assert hazard.magnitude[0] <= fault.magnitude <= hazard.magnitude[1]
            assert 0 <= fault.choice < 1
            aim = NATURES[fault.kind].aim
            assert fault.target in targets[aim] or (
                fault.target == LEADER and set(targets[aim]) & set(targets["coordinator"])
            )


def test_every_kind_strikes_and_every_seed_does_without_some(drawn: list[tuple[Scenario, Schedule]]) -> None:
    struck = Counter(fault.kind for _, schedule in drawn for fault in schedule)
    assert set(struck) == set(FaultKind)
    chances = dict.fromkeys(FaultKind, KIND_IS_ON) | {kind: wave.chance for wave in WAVES for kind in wave.kinds}
    for kind, chance in chances.items():
        share = sum(scenario.faults.of(kind).per_hour > 0 for scenario, _ in drawn) / len(drawn)
        assert chance - 0.15 < share < chance + 0.15, kind


@pytest.mark.parametrize("wave", WAVES, ids=lambda wave: wave.name)
def test_a_wave_only_takes_the_place_of_some_faults(drawn: list[tuple[Scenario, Schedule]], wave: Wave) -> None:
    """So seeds that do without it stay as they were before there was such a wave."""
    none_of_it = dict.fromkeys((kind.value for kind in wave.kinds), Hazard(0))
    there = 0
    for scenario, schedule in drawn:
        without = msgspec.structs.replace(scenario, faults=msgspec.structs.replace(scenario.faults, **none_of_it))
        of_it = [fault.kind in wave.kinds for fault in schedule]
        there += any(of_it)
        # What comes in a later wave takes the place of some of either.
        later = {kind for one in WAVES[WAVES.index(wave) + 1 :] for kind in one.kinds}
        for before, fault in zip(schedule_of(without), schedule, strict=True):
            if not {before.kind, fault.kind} & {*wave.kinds, *later}:
                assert fault == before
        if not any(of_it) and not any(scenario.faults.of(kind).per_hour for kind in later):
            assert schedule_of(without) == schedule
    assert there > len(drawn) / 5


def test_a_second_process_is_there_in_about_a_quarter_of_all_seeds() -> None:
    schedules = [schedule_of(scenario_of(seed)) for seed in range(1000)]
    there = sum(any(fault.kind is FaultKind.SECOND_PROCESS for fault in schedule) for schedule in schedules)
    assert 200 < there < 300


def test_leaders_are_struck_as_such_and_followers_by_name(drawn: list[tuple[Scenario, Schedule]]) -> None:
    crashed = {fault.target for _, schedule in drawn for fault in schedule if fault.kind is FaultKind.COORDINATOR_CRASH}
    assert crashed == {LEADER, "coordinator-1", "coordinator-2", "coordinator-3"}
    paused = {fault.target for _, schedule in drawn for fault in schedule if fault.kind is FaultKind.LEADER_PAUSE}
    assert paused == {LEADER}


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        (Options(workers=9), {"workers"}),
        (Options(coordinators=1), {"coordinators"}),
        (Options(projector=True), {"projector"}),
        (Options(faults=200), {"faults_count"}),
        (Options(faults=0), {"faults_count"}),
    ],
)
def test_an_option_changes_what_it_names(options: Options, changed: set[str]) -> None:
    # The work and the quiet phase follow the number of slots.
    follow = {"workload", "quiet_s"} if options.workers else set()
    seen: set[str] = set()
    for seed in range(30):
        plain, other = msgspec.structs.asdict(scenario_of(seed)), msgspec.structs.asdict(scenario_of(seed, options))
        seen |= {name for name in plain if plain[name] != other[name]}
    assert changed <= seen <= changed | follow


def test_a_fixed_number_of_faults() -> None:
    for seed in range(30):
        assert len(schedule_of(scenario_of(seed, Options(faults=200)))) == 200


def test_hours_bring_steady_work_and_faults_by_their_hazards() -> None:
    scenario = scenario_of(1, Options(hours=200))
    assert scenario.faulty_s == 720_000
    assert scenario.workload.per_minute > 0
    for together in (0.0, 0.5):
        faults = msgspec.structs.replace(NONE, agent_crash=Hazard(5), two_leaders=Hazard(50), together=together)
        schedule = schedule_of(msgspec.structs.replace(scenario, faults=faults, coordinators=1))
        # 1000 are expected, with a deviation of 32 without clusters and of less than 100 with them.
        assert 700 < len(schedule) < 1300
        # One coordinator alone cannot be two leaders.
        assert {fault.kind for fault in schedule} == {FaultKind.AGENT_CRASH}


def test_some_faults_come_together() -> None:
    def gaps(together: float) -> int:
        scenario = Scenario(seed=1, faulty_s=3600, faults=Faults(together=together), faults_count=100)
        schedule = schedule_of(scenario)
        return sum(later.at - sooner.at < 3 for sooner, later in itertools.pairwise(schedule))

    assert gaps(0.0) < 20 < 50 < gaps(0.7)


def test_an_explicit_schedule_stands() -> None:
    schedule = (Fault(1.0, FaultKind.AGENT_CRASH, "worker-1"),)
    assert schedule_of(Scenario(seed=1, schedule=schedule)) == schedule
    assert schedule_of(Scenario(seed=1, schedule=())) == ()


def test_no_hazard_no_fault() -> None:
    assert schedule_of(Scenario(seed=1, faults=NONE, faults_count=10)) == ()
    assert schedule_of(Scenario(seed=1, faulty_s=0)) == ()


def test_a_scenario_survives_json(drawn: list[tuple[Scenario, Schedule]]) -> None:
    for scenario, schedule in drawn[:50]:
        explicit = msgspec.structs.replace(scenario, schedule=schedule)
        for one in (scenario, explicit):
            assert msgspec.json.decode(msgspec.json.encode(one), type=Scenario) == one


def test_a_task_is_the_same_whoever_else_is_there() -> None:
    work = Workload(at_start=40, priority=(-5, 5), failing=0.5, labelled=0.5, limited=0.5, own_retries=True)
    many = list(tasks_of(Scenario(seed=3, workload=work)))
    few = list(tasks_of(Scenario(seed=3, workers=1, workload=msgspec.structs.replace(work, at_start=7))))
    assert many[:7] == few
    assert [task.number for task in many] == list(range(1, 41))
    assert all(0.01 <= task.duration_s <= 5 for task in many)
    assert {task.outcome for task in many} == {"passed", "failed"}
    assert {task.requires.get("zone") for task in many} == {None, "1", "2"}
    assert {task.timeout_s is None for task in many} == {True, False}
    assert {task.verdict_retries for task in many} == {None, 0, 1, 2}
    assert list(tasks_of(Scenario(seed=4, workload=work))) != many


def test_steady_work_comes_at_its_rate_in_the_faulty_phase() -> None:
    scenario = Scenario(seed=1, faulty_s=60, workload=Workload(at_start=3, per_minute=10))
    assert [task.at for task in tasks_of(scenario)] == [0, 0, 0, *(6.0 * number for number in range(1, 10))]


def test_a_fault_as_a_sentence() -> None:
    fault = Fault(12.5, FaultKind.FLAPPING, "worker-2", duration_s=3.25, magnitude=0.5)
    assert fault.sentence().split() == ["12.500", "flapping", "worker-2", "for", "3.25", "s", "magnitude", "0.5"]
    assert Fault(1.0, FaultKind.TASK_FAILS).sentence() == "    1.000  task_fails"
