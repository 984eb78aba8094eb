"""Many scenarios over many processes: what each came to, and the failing ones made small."""

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tests.simulation.jobs import WORLD, Answer, Broken, Job, Reduce, Reduced, Simulate, Simulated
from tests.simulation.pool import Pool
from tests.simulation.scenario import Outcome, Scenario, Violation
from tests.simulation.shrink import RUNS_MAX, Reduction

FOLDER = Path(".resurgam/simulation")
SECONDS_MAX = 900.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a campaign goes about its scenarios."""

    processes: int = 1
    shrink: bool = True
    runs_max: int = RUNS_MAX
    """To reduce one failing scenario."""
    stop_after: int | None = 10
    """So many failures, and no further scenario is begun."""
    keep_log: bool = False
    """The log of every run, as JSON lines in `folder`."""
    folder: Path = FOLDER
    seconds_max: float = SECONDS_MAX
    """Of this machine's clock, for one run, and for the reduction of one scenario."""
    simulator: str = WORLD


class Failure(msgspec.Struct, kw_only=True):
    """A scenario that failed, and what is known about it by now."""

    scenario: Scenario
    violation: Violation | None = None
    broken: Broken | None = None
    """Instead of a violation: there was no outcome."""
    story: tuple[str, ...] = ()
    reduction: Reduction | None = None
    reduced_story: tuple[str, ...] = ()
    reduced_broken: Broken | None = None
    """The attempt to reduce it came to nothing, and why."""
    log: Path | None = None
    reduced: Path | None = None
    """The file of the reduced scenario."""

    @property
    def can_be_reduced(self) -> bool:
        """Not one that takes its process down, or never ends."""
        return self.broken is None or bool(self.broken.traceback)


class Tally(msgspec.Struct, kw_only=True):
    """What has been done so far."""

    done: int = 0
    reducing: int = 0
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    """Of all processes, as far as runs came to their end; reductions are not in it."""
    events: int = 0
    heartbeats: int = 0
    tasks: int = 0
    faults: Counter[str] = msgspec.field(default_factory=Counter)
    verdicts: Counter[str] = msgspec.field(default_factory=Counter)
    failures: list[Failure] = msgspec.field(default_factory=list)
    digests: dict[int, str] = msgspec.field(default_factory=dict)
    """Of the logs, by seed."""

    def add(self, outcome: Outcome) -> None:
        self.virtual_s += outcome.virtual_s
        self.cpu_s += outcome.wall_s
        self.events += outcome.events
        self.heartbeats += outcome.heartbeats
        self.tasks += outcome.tasks
        self.faults.update(outcome.faults)
        self.verdicts.update(outcome.verdicts)
        self.digests[outcome.scenario.seed] = outcome.digest

    def digest(self) -> str:
        """Over all logs, in whatever order they came: equal for equal campaigns, on any machine."""
        return hashlib.sha256(msgspec.json.encode(sorted(self.digests.items()))).hexdigest()[:16]


class Watcher(NamedTuple):
    """Who is told how a campaign goes."""

    progress: Callable[[Tally], None] = lambda tally: None
    failure: Callable[[Failure], None] = lambda failure: None
    """Called once for each, when all is known that will be."""


class Campaign:
    """`tally` is true at any moment, after an interrupt too."""

    def __init__(self, scenarios: Iterable[Scenario], settings: Settings, watcher: Watcher | None = None) -> None:
        self.tally = Tally()
        self._scenarios = iter(scenarios)
        self._settings = settings
        self._watcher = watcher or Watcher()
        self._to_reduce: deque[Failure] = deque()
        self._untold: list[Failure] = []

    def run(self) -> Tally:
        """Until all scenarios are done, or enough have failed.

        Raises:
            KeyboardInterrupt: after all processes have ended and everything that was found has been told.
        """
        pool: Pool[Failure | Scenario] = Pool(self._settings.processes, self._settings.simulator)
        try:
            with pool:
                self._work(pool)
        finally:
            for failure in list(self._untold):
                self._tell(failure)
        return self.tally

    def _work(self, pool: Pool[Failure | Scenario]) -> None:
        todo = self._todo()
        while True:
            while pool.has_room and (next_one := next(todo)) is not None:
                ticket, job, seconds_max = next_one
                pool.submit(ticket, job, seconds_max=seconds_max)
            if not pool.busy:
                return
            for ticket, answer in pool.answers():
                if isinstance(ticket, Failure):
                    self._note_reduction(ticket, answer)
                else:
                    self._note_run(ticket, answer)
                self._watcher.progress(self.tally)

    def _todo(self) -> Iterator[tuple[Failure | Scenario, Job, float] | None]:
        """What is to be done next; None: nothing at this moment. Reductions go first: somebody waits for them."""
        seconds_max = self._settings.seconds_max
        while True:
            if self._to_reduce:
                failure = self._to_reduce.popleft()
                # It ends by itself in time, unless a run within it does not.
                yield failure, Reduce(failure.scenario, self._settings.runs_max, seconds_max), 2 * seconds_max
            elif not self._enough() and (scenario := next(self._scenarios, None)) is not None:
                yield scenario, Simulate(scenario, self._log_of(scenario)), seconds_max
            else:
                yield None

    def _enough(self) -> bool:
        most = self._settings.stop_after
        return most is not None and len(self.tally.failures) >= most

    def _log_of(self, scenario: Scenario) -> Path | None:
        return self._settings.folder / f"seed-{scenario.seed}.log.jsonl" if self._settings.keep_log else None

    def _note_run(self, scenario: Scenario, answer: Answer) -> None:
        self.tally.done += 1
        if isinstance(answer, Broken):
            self._fail(Failure(scenario=scenario, broken=answer))
            return
        assert isinstance(answer, Simulated)
        self.tally.add(answer.outcome)
        if answer.outcome.violation is not None:
            self._fail(
                Failure(
                    scenario=scenario,
                    violation=answer.outcome.violation,
                    story=answer.story,
                    log=self._log_of(scenario),
                )
            )

    def _fail(self, failure: Failure) -> None:
        self.tally.failures.append(failure)
        self._untold.append(failure)
        if self._settings.shrink and failure.can_be_reduced:
            self.tally.reducing += 1
            self._to_reduce.append(failure)
        else:
            self._tell(failure)

    def _note_reduction(self, failure: Failure, answer: Answer) -> None:
        self.tally.reducing -= 1
        if isinstance(answer, Reduced):
            failure.reduction, failure.reduced_story = answer.reduction, answer.story
            if answer.reduction.violation is not None:
                failure.reduced = self._settings.folder / f"seed-{failure.scenario.seed}.json"
                write_scenario(failure.reduced, answer.reduction.scenario)
        elif isinstance(answer, Broken):
            failure.reduced_broken = answer
        self._tell(failure)

    def _tell(self, failure: Failure) -> None:
        self._untold.remove(failure)
        self._watcher.failure(failure)


def write_scenario(path: Path, scenario: Scenario) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(_said(scenario)), indent=2) + b"\n")


def _said(value: Any) -> Any:
    """With all defaults left out, for people to read. (msgspec leaves out only those that are the very same object.)"""
    if isinstance(value, tuple):
        return [_said(item) for item in value]
    if not isinstance(value, msgspec.Struct):
        return value
    fields = {field.name: field.default for field in msgspec.structs.fields(value)}
    return {name: _said(getattr(value, name)) for name in fields if getattr(value, name) != fields[name]}


def read_scenario(path: Path) -> Scenario:
    """What `write_scenario` wrote, or somebody by hand.

    Raises:
        OSError: it cannot be read.
        msgspec.ValidationError, msgspec.DecodeError: it is not a scenario.
    """
    return msgspec.json.decode(path.read_bytes(), type=Scenario)
