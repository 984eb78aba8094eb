"""From a seed to a scenario, and from a scenario to its schedule of faults. Pure, and the same in every process.

Sizes, work and faults are all drawn. Every seed leaves a random half of the kinds of faults out and gives the others
random weights, since a system under everything at once never gets far enough to show what a few faults in a row do
(swarm testing: Groce, Zhang, Eide, Chen, Regehr, ISSTA 2012).
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from tests.simulation.faults import LEADER, NATURES, WAVES, Aim, Fault, FaultKind, Faults, Hazard, Schedule
from tests.simulation.scenario import Count, Scenario, Seconds, Workload, log_uniform

FAULTS_MAX = 200
"""That a seed draws by itself."""

KIND_IS_ON = 0.5
WEIGHTS = (0.2, 5.0)
TOGETHER_S = (0.0005, 3.0)
STRIKES_LEADER = 0.5
QUIET_S_MIN = 900.0
"""Longer than the longest chain of backoffs and deadlines of the default policy."""

LOAD = (0.1, 0.6)
"""Share of all slots that steady submissions keep busy. Above it a queue that faults have made never gets shorter."""

PER_MINUTE_MAX = 60.0
"""Tasks. The system is to be under faults, not under load: that is what bench/ is for."""

LONG_TASKS = 0.15
LONG_S = (15.0, 90.0)
"""A share of the seeds has few tasks, longer than most outages: only these show what runs on where it should not."""

Targets = Mapping[Aim, tuple[str, ...]]
"""The names that each aim can mean; none where the scenario has no such host."""


class Options(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is not to be drawn from the seed. Each changes what it names and nothing else."""

    workers: Count | None = None
    slots: Count | None = None
    coordinators: Count | None = None
    tasks: Count | None = None
    """At the start."""
    faults: Count | None = None
    projector: bool | None = None
    hours: Seconds | None = None
    """A long run with steady work, so many virtual hours."""


def scenario_of(seed: int, options: Options | None = None) -> Scenario:
    """The scenario of a seed: 1 to 7 workers, 1 to 3 coordinators, 5 to 60 tasks, 30 to 300 s, 0 to 200 faults.

    With `options.hours`: so many hours, steady work, and faults as often as their hazards say.
    """
    given = options or Options()

    def rng(what: str) -> random.Random:
        # A generator for each quantity: fixing one of them leaves the others as they are.
        return random.Random(f"{seed}/{what}")

    workers = _given_or(given.workers, rng("workers").randint(1, 7))
    slots = _given_or(given.slots, rng("slots").randint(1, 3))
    short_s = round(log_uniform(rng("length"), (30.0, 300.0)), 1)
    faulty_s = short_s if given.hours is None else given.hours * 3600.0
    tasks = _given_or(given.tasks, rng("tasks").randint(5, 60))
    workload = _workload(rng("work"), tasks, workers, workers * slots, steady=given.hours is not None)
    if given.hours is None and rng("long").random() < LONG_TASKS:
        workload = msgspec.structs.replace(
            workload, duration_s=LONG_S, at_start=min(tasks, workers * slots), per_minute=0.0
        )
    count = _count(rng("count")) if given.hours is None else None
    return Scenario(
        seed=seed,
        workers=workers,
        slots=slots,
        coordinators=_given_or(given.coordinators, rng("coordinators").choice((1, 2, 2, 3))),
        projector=rng("projector").random() < 0.25 if given.projector is None else given.projector,
        workload=workload,
        faulty_s=faulty_s,
        quiet_s=_quiet_s(workload, workers * slots),
        faults=_swarm(rng),
        faults_count=count if given.faults is None else given.faults,
    )


def _given_or(given: int | None, drawn: int) -> int:
    return drawn if given is None else given


def _count(rng: random.Random) -> int:
    """As often few faults, whose effects can run their course, as many."""
    return rng.randint(0, FAULTS_MAX) if rng.random() < 0.5 else int(log_uniform(rng, (1, 20)))


def _workload(rng: random.Random, tasks: int, workers: int, slots: int, *, steady: bool) -> Workload:
    longest_s = log_uniform(rng, (0.5, 30.0))
    duration_s = (0.01, longest_s)
    mean_s = (duration_s[1] - duration_s[0]) / math.log(duration_s[1] / duration_s[0])
    per_minute = min(60.0 * slots * rng.uniform(*LOAD) / mean_s, PER_MINUTE_MAX)
    priority = rng.choice(((0, 0), (0, 1), (-5, 5)))
    return Workload(
        at_start=tasks,
        per_minute=round(per_minute, 3) if steady or rng.random() < 0.3 else 0.0,
        duration_s=duration_s,
        priority=priority,
        failing=rng.choice((0.0, 0.05, 0.3)),
        labelled=rng.choice((0.0, 0.0, 0.3)) if workers > 1 else 0.0,
        limited=rng.choice((0.0, 0.1, 0.5)),
        own_retries=rng.random() < 0.3,
    )


def _quiet_s(workload: Workload, slots: int) -> float:
    """Time enough to do all the work of the start once more for each infrastructure retry, however unlucky."""
    work_s = workload.at_start * workload.duration_s[1] / slots
    return round(QUIET_S_MIN + 4 * work_s, 1)


def _swarm(rng: Callable[[str], random.Random]) -> Faults:
    everything, first = Faults(), rng("swarm")
    sources = dict.fromkeys(FaultKind, (first, KIND_IS_ON))
    for wave in WAVES:
        sources |= dict.fromkeys(wave.kinds, (rng(wave.name), wave.chance))
    chosen: dict[str, Hazard] = {}
    for kind, (source, chance) in sources.items():
        hazard, on, weight = everything.of(kind), source.random() < chance, log_uniform(source, WEIGHTS)
        chosen[kind.value] = msgspec.structs.replace(hazard, per_hour=round(hazard.per_hour * weight if on else 0.0, 4))
    together = first.choice((0.0, 0.2, 0.7))
    return msgspec.structs.replace(everything, together=together, **chosen)


def schedule_of(scenario: Scenario) -> Schedule:
    """The faults of a scenario, in order of time; its own explicit schedule if it has one."""
    if scenario.schedule is not None:
        return scenario.schedule
    targets = targets_of(scenario)
    kinds = [kind for kind in FaultKind if scenario.faults.of(kind).per_hour > 0 and _possible(kind, scenario, targets)]
    schedule: Schedule = ()
    before: list[FaultKind] = []
    for name, wave in _waves(kinds):
        if not before:
            schedule = _drawn(random.Random(f"{scenario.seed}/schedule"), scenario, wave, targets)
        else:
            rng = random.Random(f"{scenario.seed}/{name} schedule")
            schedule = _mixed(rng, scenario, schedule, before, wave)
        before += wave
    return schedule


def _waves(kinds: Sequence[FaultKind]) -> Iterator[tuple[str, list[FaultKind]]]:
    """Those of no wave first; none that is empty."""
    waves = {wave.name: [kind for kind in kinds if kind in wave.kinds] for wave in WAVES}
    of_a_wave = {kind for wave in waves.values() for kind in wave}
    for name, wave in {"": [kind for kind in kinds if kind not in of_a_wave], **waves}.items():
        if wave:
            yield name, wave


def _drawn(rng: random.Random, scenario: Scenario, kinds: Sequence[FaultKind], targets: Targets) -> Schedule:
    weights = _weights(scenario, kinds)
    return tuple(
        _fault(rng, at, rng.choices(kinds, weights)[0], scenario.faults, targets)
        for at in sorted(_moments(rng, scenario, sum(weights)))
    )


def _weights(scenario: Scenario, kinds: Sequence[FaultKind]) -> list[float]:
    return [scenario.faults.of(kind).per_hour for kind in kinds]


def _mixed(
    rng: random.Random,
    scenario: Scenario,
    schedule: Schedule,
    first: Sequence[FaultKind],
    later: Sequence[FaultKind],
) -> Schedule:
    """Some of the faults are of later kinds instead, as many as is their share; all others stay as they were."""
    weights = _weights(scenario, later)
    share = sum(weights) / (sum(weights) + sum(_weights(scenario, first)))
    return tuple(
        _fault(rng, fault.at, rng.choices(later, weights)[0], scenario.faults, targets_of(scenario))
        if rng.random() < share
        else fault
        for fault in schedule
    )


def _possible(kind: FaultKind, scenario: Scenario, targets: Targets) -> bool:
    if kind is FaultKind.TWO_LEADERS:
        return scenario.coordinators > 1
    return bool(targets[NATURES[kind].aim])


def targets_of(scenario: Scenario) -> Targets:
    workers, coordinators = scenario.worker_names, scenario.coordinator_names
    projector = ("projector",) if scenario.projector else ()
    clients = (*workers, *coordinators, *projector)
    return {
        "worker": workers,
        "coordinator": coordinators,
        "broker": ("broker",),
        "projector": projector,
        "client": clients,
        "host": (*clients, "broker"),
        "system": ("",),
    }


def _moments(rng: random.Random, scenario: Scenario, per_hour: float) -> Iterator[float]:
    """A Poisson process, or as many moments as are asked for; a share of them just behind another one."""
    together = scenario.faults.together
    alone_per_s = per_hour * (1 - together) / 3600.0
    anchor, count = 0.0, 0
    while count != scenario.faults_count:
        if count and rng.random() < together:
            moment = anchor + log_uniform(rng, TOGETHER_S)
        elif scenario.faults_count is not None:
            moment = anchor = rng.uniform(0.0, scenario.faulty_s)
        else:
            moment = anchor = anchor + rng.expovariate(alone_per_s)
            if anchor >= scenario.faulty_s:
                return
        count += 1
        yield round(min(moment, scenario.faulty_s), 6)


def _fault(rng: random.Random, at: float, kind: FaultKind, faults: Faults, targets: Targets) -> Fault:
    hazard = faults.of(kind)
    return Fault(
        at=at,
        kind=kind,
        target=_target(rng, kind, targets),
        duration_s=log_uniform(rng, hazard.duration_s),
        magnitude=round(rng.uniform(*hazard.magnitude), 6),
        choice=rng.randrange(1_000_000) / 1_000_000,
    )


def _target(rng: random.Random, kind: FaultKind, targets: Targets) -> str:
    target = rng.choice(targets[NATURES[kind].aim])
    leads = rng.random() < STRIKES_LEADER
    if kind in (FaultKind.LEADER_PAUSE, FaultKind.TWO_LEADERS) or (leads and target in targets["coordinator"]):
        return LEADER
    return target
