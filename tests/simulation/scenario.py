"""What one simulation runs, and what came of it. A scenario is a value: the same one gives the same log, byte for byte.

All times are virtual seconds.
"""

import math
import random
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from events.envelope import Recorded
from tests.simulation.faults import Bounds, Faults, Schedule

Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]

RETRIES = (None, None, None, 0, 1, 2)
"""Budgets of tasks; None: the policy's."""


class Workload(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The tasks that somebody submits. What the faults submit (poison, hangs) comes on top."""

    at_start: Count = 20
    per_minute: Annotated[float, Meta(ge=0)] = 0.0
    """Steady submissions during the faulty phase."""
    duration_s: Bounds = (0.01, 5.0)
    """Of one attempt, log-uniformly."""
    priority: tuple[int, int] = (0, 0)
    failing: Share = 0.05
    """Of all tasks: those whose attempt ends as failed."""
    labelled: Share = 0.0
    """Of all tasks: those that require a label (`zone=1` or `zone=2`; worker N has `zone` 1 + N % 2)."""
    limited: Share = 0.1
    """Of all tasks: those with a time limit of their own, from half to ten times what they take."""
    own_retries: bool = False
    """Whether tasks bring budgets of their own."""


class PlannedTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task as it is submitted, and how every attempt at it goes if nothing comes between."""

    number: int
    """From 1 on. It decides everything else, so a task is the same whether or not others are left out."""
    at: float
    duration_s: float
    outcome: Literal["passed", "failed"]
    priority: int
    timeout_s: float | None
    requires: dict[str, str]
    infrastructure_retries: int | None
    verdict_retries: int | None


class Scenario(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Sizes, work, and what goes wrong. First the faulty phase, then all faults are healed, and within `quiet_s`
    everything that was submitted must be final and every worker at work (safety first, then liveness, as TigerBeetle's
    VOPR has it)."""

    seed: Count
    workers: Annotated[int, Meta(ge=1)] = 3
    slots: Annotated[int, Meta(ge=1)] = 2
    coordinators: Annotated[int, Meta(ge=1)] = 1
    projector: bool = False
    workload: Workload = Workload()
    faulty_s: Seconds = 60.0
    quiet_s: Seconds = 600.0
    """A bound, not a length: the run ends as soon as all is done."""
    faults: Faults = Faults()
    faults_count: Count | None = None
    """Exactly so many faults, by kind in proportion to their hazards; None: as the hazards say."""
    schedule: Schedule | None = None
    """Exactly these faults, and `faults` count for nothing."""

    @property
    def worker_names(self) -> tuple[str, ...]:
        return tuple(f"worker-{number}" for number in range(1, self.workers + 1))

    @property
    def coordinator_names(self) -> tuple[str, ...]:
        return tuple(f"coordinator-{number}" for number in range(1, self.coordinators + 1))


class Violation(msgspec.Struct, frozen=True):
    """An invariant that did not hold."""

    invariant: str
    """Its name; what a reduced schedule must violate as well."""
    sequence: int
    """Of the event where it was seen; 0: none in particular."""
    entity: str
    """The id of the task, worker, run or coordinator that it is about; empty: none in particular."""
    sentence: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a scenario. Equal for equal scenarios, in any process, but for the fields that start with `wall`
    (`comparable()` leaves them out)."""

    scenario: Scenario
    violation: Violation | None
    digest: str
    """Hexadecimal, over the bytes of the log."""
    virtual_s: float
    wall_s: float = 0.0
    events: Count = 0
    heartbeats: Count = 0
    faults: dict[str, int] = {}
    """How many of each kind were really done; one that finds nothing to strike does not count."""
    tasks: Count = 0
    verdicts: dict[str, int] = {}
    records: tuple[Recorded, ...] = ()
    """The log; empty unless there is a violation or the log was asked for."""

    def comparable(self) -> "Outcome":
        return msgspec.structs.replace(self, wall_s=0.0, records=())


def tasks_of(scenario: Scenario) -> Iterator[PlannedTask]:
    """All tasks in the order of submission; lazy, since long runs have many."""
    work = scenario.workload
    for number in range(1, work.at_start + 1):
        yield _task(scenario.seed, work, number, 0.0)
    if work.per_minute <= 0:
        return
    number, gap = work.at_start + 1, 60.0 / work.per_minute
    while (at := (number - work.at_start) * gap) < scenario.faulty_s:
        yield _task(scenario.seed, work, number, at)
        number += 1


def _task(seed: int, work: Workload, number: int, at: float) -> PlannedTask:
    rng = random.Random(f"{seed}/task/{number}")
    duration_s = log_uniform(rng, work.duration_s)
    outcome: Literal["passed", "failed"] = "failed" if rng.random() < work.failing else "passed"
    priority = rng.randint(*work.priority)
    limit = max(duration_s * log_uniform(rng, (0.5, 10.0)), 0.001)
    limited = rng.random() < work.limited
    labelled = rng.random() < work.labelled
    zone = rng.choice("12")
    retries = rng.choice(RETRIES), rng.choice(RETRIES)
    return PlannedTask(
        number=number,
        at=at,
        duration_s=duration_s,
        outcome=outcome,
        priority=priority,
        timeout_s=limit if limited else None,
        requires={"zone": zone} if labelled else {},
        infrastructure_retries=retries[0] if work.own_retries else None,
        verdict_retries=retries[1] if work.own_retries else None,
    )


def log_uniform(rng: random.Random, bounds: Bounds) -> float:
    """A number whose logarithm is uniform between those of the bounds; uniform where the lower bound is not positive.

    Rounded to microseconds, so that it reads well in JSON.
    """
    low, high = bounds
    if low <= 0:
        return round(rng.uniform(low, high), 6)
    return round(min(max(low * math.pow(high / low, rng.random()), low), high), 6)
