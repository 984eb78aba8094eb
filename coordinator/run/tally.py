"""The run as it stands, folded from the log for whoever shows it."""

from collections import Counter
from dataclasses import dataclass, field

from events.envelope import Recorded
from events.system import EventParked, LeaderElected
from events.task import (
    TaskAssigned,
    TaskAttemptFinished,
    TaskCompleted,
    TaskRequeued,
    TaskStarted,
)
from events.worker import (
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerRecoverySucceeded,
    WorkerRegistered,
    WorkerStalled,
    WorkerStallRefuted,
    WorkerStopped,
    WorkerSuspected,
)

PROBLEMS = ("failed", "error", "crashed", "timed out", "quarantined", "cancelled")

GOOD_WORDS = frozenset({"passed", "skipped", "xfailed", "xpassed"})


@dataclass(slots=True)
class Test:
    """One test: `word` is pytest's word for its verdict, "" while there is none."""

    node_id: str
    word: str = ""
    duration_s: float = 0.0
    attempts: int = 0
    worker_id: str = ""
    note: str = ""
    """The leader's own explanation."""
    message: str = ""
    output: str = ""
    reason: str = ""


@dataclass(slots=True)
class Lane:
    """One worker."""

    status: str = "starting"
    running: dict[str, float] = field(default_factory=dict)
    """Task ids and when they started, in the broker's time."""
    done: int = 0


class Tally:
    """`take` each event of the log from the submission on; read the rest."""

    def __init__(self, run_id: str, tests: dict[str, Test], workers: list[str]) -> None:
        self.run_id = run_id
        self.tests = tests
        self.lanes = {worker_id: Lane() for worker_id in workers}
        self.words: Counter[str] = Counter()
        self.finished = 0
        self.requeued = 0
        self.failures: list[tuple[str, str]] = []
        """Worker and reason, in order."""
        self.recoveries: list[tuple[str, float]] = []
        """Worker and seconds from failure to recovery."""
        self.given_up: set[str] = set()
        self.term = 0
        self.news: list[str] = []
        """Sentences about what went wrong and was put right, for people."""
        self.parked = 0

    @property
    def complete(self) -> bool:
        return self.finished == len(self.tests)

    @property
    def problems(self) -> int:
        return sum(count for word, count in self.words.items() if word not in GOOD_WORDS)

    def take(self, recorded: Recorded) -> Test | None:
        """Returns the test that got its verdict with this event."""
        event = recorded.event
        match event:
            case TaskStarted():
                if event.task_id in self.tests:
                    lane = self._lane(event.worker_id)
                    lane.running[event.task_id] = recorded.time
                    lane.status = "alive"
            case TaskAttemptFinished():
                self._attempt_finished(event)
            case TaskCompleted():
                return self._completed(event)
            case TaskAssigned():
                if (test := self.tests.get(event.task_id)) is not None:
                    test.attempts = event.attempt
            case TaskRequeued():
                self._requeued(event)
            case _:
                self._about_workers(event)
        return None

    def _attempt_finished(self, event: TaskAttemptFinished) -> None:
        test = self.tests.get(event.task_id)
        if test is None:
            return
        lane = self._lane(event.worker_id)
        lane.running.pop(event.task_id, None)
        lane.done += 1
        test.message, test.output, test.reason = event.message, event.output, event.reason

    def _completed(self, event: TaskCompleted) -> Test | None:
        test = self.tests.get(event.task_id)
        if test is None or test.word:
            return None
        test.word = _word(event)
        test.duration_s = event.duration_s
        test.note = event.message
        test.worker_id = event.worker_id or ""
        self.words[test.word] += 1
        self.finished += 1
        for lane in self.lanes.values():
            lane.running.pop(event.task_id, None)
        return test

    def _requeued(self, event: TaskRequeued) -> None:
        test = self.tests.get(event.task_id)
        if test is None:
            return
        self._lane(event.worker_id).running.pop(event.task_id, None)
        self.requeued += 1
        if event.budget != "none":
            what = "its worker failed under it" if event.budget == "infrastructure" else "it failed"
            self.news.append(f"{test.node_id} runs again: {what} ({event.worker_id}, attempt {event.attempt})")

    def _about_workers(self, event: object) -> None:
        match event:
            case WorkerRegistered():
                self._lane(event.worker_id).status = "alive"
            case WorkerSuspected():
                self._lane(event.worker_id).status = "suspect"
            case WorkerStalled():
                self._lane(event.worker_id).status = "stalled"
                if event.restart:
                    self.news.append(f"worker {event.worker_id} is stalled and is started anew ({event.cause})")
            case WorkerStallRefuted():
                self._lane(event.worker_id).status = "alive"
            case WorkerFailed():
                lane = self._lane(event.worker_id)
                lane.status = "failed"
                lane.running.clear()
                self.failures.append((event.worker_id, event.message or event.reason))
                self.news.append(f"worker {event.worker_id} failed: {event.message or event.reason}")
            case WorkerRecoverySucceeded():
                self._lane(event.worker_id).status = "alive"
                self.recoveries.append((event.worker_id, event.duration_s))
                self.news.append(f"worker {event.worker_id} recovered in {event.duration_s:.3f} s ({event.strategy})")
            case WorkerPermanentlyFailed():
                self._lane(event.worker_id).status = "given up"
                self.given_up.add(event.worker_id)
                self.news.append(f"worker {event.worker_id} was given up: {event.message}")
            case WorkerStopped():
                self._lane(event.worker_id).status = "stopped"
            case LeaderElected():
                if self.term:
                    self.news.append(f"{event.coordinator_id} leads again, term {event.term}")
                self.term = event.term
            case EventParked():
                self.parked += 1
                self.news.append(f"message {event.sequence} of the log was not understood: {event.reason}")
            case _:
                pass

    def _lane(self, worker_id: str) -> Lane:
        return self.lanes.setdefault(worker_id, Lane())


def _word(event: TaskCompleted) -> str:
    if event.outcome in ("xfailed", "xpassed", "error"):
        return event.outcome
    return event.verdict.replace("_", " ")
