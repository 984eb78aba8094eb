"""What one process of a campaign is asked to do, and what it answers."""

import importlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec.structs import replace

from events.envelope import Recorded
from replay import timeline
from replay.story import concerns
from tests.simulation.scenario import Outcome, Scenario, Violation
from tests.simulation.shrink import Enough, Reduction, reduce

WORLD = "tests.simulation.world:simulate"
"""`module:function` of the simulation itself."""

STORY_LINES_MAX = 120
CONTEXT = 20
"""Events before the violation that stand for a story, where it is about no one in particular."""


class Simulator(Protocol):
    def __call__(self, scenario: Scenario, *, keep_records: bool = False) -> Outcome:
        """Runs the scenario. `records` of the outcome holds the log if `keep_records`, or if there is a violation."""
        ...


class Simulate(msgspec.Struct, frozen=True):
    scenario: Scenario
    log: Path | None = None
    """Where to write the log of the run, as JSON lines; None: nowhere."""


class Reduce(msgspec.Struct, frozen=True):
    scenario: Scenario
    """One that failed."""
    runs_max: int
    seconds_max: float
    """On this machine's clock; then the best that was found is the answer."""


Job = Simulate | Reduce


class Simulated(msgspec.Struct, frozen=True):
    outcome: Outcome
    """Without the records, which are many."""
    story: tuple[str, ...]
    """Lines; empty unless there is a violation."""


class Reduced(msgspec.Struct, frozen=True):
    reduction: Reduction
    story: tuple[str, ...]


class Broken(msgspec.Struct, frozen=True):
    """The job did not come to its end: the simulation raised an error, or its process died or took too long."""

    sentence: str
    traceback: str = ""
    """Empty unless the simulation raised an error."""


Answer = Simulated | Reduced | Broken


def simulator(name: str) -> Simulator:
    """The function behind `module:function`."""
    module, _, function = name.partition(":")
    found: Simulator = getattr(importlib.import_module(module), function)
    return found


def perform(job: Job, simulate: Simulator) -> Answer:
    if isinstance(job, Simulate):
        outcome = simulate(job.scenario, keep_records=job.log is not None)
        if job.log is not None:
            write_log(job.log, outcome.records)
        return Simulated(replace(outcome, records=()), story_of(outcome))
    return _reduce(job, simulate)


def _reduce(job: Reduce, simulate: Simulator) -> Reduced:
    deadline = time.monotonic() + job.seconds_max

    def run(scenario: Scenario) -> Violation | None:
        if time.monotonic() > deadline:
            raise Enough
        return _violation_of(scenario, simulate)

    reduction = reduce(job.scenario, run, runs_max=job.runs_max)
    try:
        story = story_of(simulate(reduction.scenario))
    except Exception:  # noqa: BLE001 - that is what it was reduced for
        story = ()
    return Reduced(reduction, story)


def _violation_of(scenario: Scenario, simulate: Simulator) -> Violation | None:
    """An error that the simulation raises counts as a violation too, of an invariant called after its type."""
    try:
        return simulate(scenario).violation
    except Exception as error:  # noqa: BLE001
        return Violation(f"raises {type(error).__name__}", 0, "", str(error))


def story_of(outcome: Outcome) -> tuple[str, ...]:
    """What happened to the entity of the violation, as lines; or what came last, where it is about nobody."""
    violation = outcome.violation
    if violation is None:
        return ()
    sequences = {recorded.id: recorded.sequence for recorded in outcome.records if recorded.id}
    if violation.entity:
        told = [recorded for recorded in outcome.records if _is_about(recorded, violation)]
    else:
        end = violation.sequence or len(outcome.records)
        told = [recorded for recorded in outcome.records if end - CONTEXT < recorded.sequence <= end]
    lines = []
    previous: float | None = None
    for recorded in told:
        lines.append(timeline.line(recorded, sequences, previous or recorded.time).plain)
        previous = recorded.time
    return _cut(lines)


def _is_about(recorded: Recorded, violation: Violation) -> bool:
    event = recorded.event
    return recorded.sequence == violation.sequence or (event is not None and concerns(event, violation.entity))


def _cut(lines: list[str]) -> tuple[str, ...]:
    """The beginning and the end of a story that is too long."""
    if len(lines) <= STORY_LINES_MAX:
        return tuple(lines)
    half = STORY_LINES_MAX // 2
    return (*lines[:half], f"          ... {len(lines) - 2 * half} more ...", *lines[-half:])


def write_log(path: Path, records: Sequence[Recorded]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{timeline.as_json(recorded)}\n" for recorded in records)
