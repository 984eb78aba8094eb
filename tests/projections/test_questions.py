"""docs/questions.md: each question, with the answer that is known because this made the log."""

import re
from pathlib import Path
from typing import Any

import pytest

from events.base import Event
from events.clock import utc
from events.failures import FailureReason, StrategyName
from events.policy import Policy
from events.system import PolicyChanged
from events.task import (
    Outcome,
    TaskAssigned,
    TaskAttemptFinished,
    TaskCompleted,
    TaskRequeued,
    TaskStarted,
    TaskSubmitted,
)
from events.work import CommandWork
from events.worker import (
    Evidence,
    WorkerFailed,
    WorkerRecoveryFailed,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRegistered,
)
from projections.client import query_file
from projections.database import Database
from tests.projections.histories import EPOCH, record

PAGE = Path(__file__).parents[2] / "docs" / "questions.md"
SECTION = re.compile(r"^## (\d+)\. .*?^```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUESTIONS = dict(SECTION.findall(PAGE.read_text(encoding="utf-8")))

HOSTS = {"w1": "north", "w2": "north", "w3": "south"}


class Story:
    """Told in events of one second each, unless time is let pass; `now` is the broker's."""

    def __init__(self) -> None:
        self.events: list[tuple[Event, str | None]] = []
        self._incarnations: dict[str, int] = {}

    @property
    def now(self) -> float:
        return EPOCH + len(self.events)

    def say(self, event: Event, synthetic: str | None = None) -> None:
        self.events.append((event, synthetic))

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.say(WorkerRegistered(worker_id="bystander", host="east", pid=1, slots=1))

    def register(self, worker_id: str) -> None:
        self.say(WorkerRegistered(worker_id=worker_id, host=HOSTS[worker_id], pid=1, slots=1))
        self._incarnations[worker_id] = len(self.events)

    def fail(
        self, worker_id: str, reason: FailureReason, silence_s: float | None = None, synthetic: str | None = None
    ) -> None:
        seen = None if silence_s is None else utc(self.now + 1 - silence_s)
        evidence = Evidence(last_seen=seen, silence_s=silence_s)
        incarnation = self._incarnations[worker_id]
        self.say(
            WorkerFailed(worker_id=worker_id, reason=reason, incarnation=incarnation, evidence=evidence), synthetic
        )

    def recover(
        self, worker_id: str, strategy: StrategyName, *, failing: StrategyName | None = None, after_s: int = 0
    ) -> None:
        """Two seconds and `after_s`; three more for an attempt that fails before."""
        attempt: dict[str, Any] = {"worker_id": worker_id, "incarnation": self._incarnations[worker_id]}
        if failing is not None:
            self.say(WorkerRecoveryStarted(**attempt, attempt=1, strategy=failing, deadline=utc(self.now)))
            self.say(WorkerRecoveryFailed(**attempt, attempt=1, strategy=failing, error="no registration"))
        self.say(WorkerRecoveryStarted(**attempt, attempt=2, strategy=strategy, deadline=utc(self.now)))
        self.wait(after_s)
        self.register(worker_id)
        self.say(WorkerRecoverySucceeded(**attempt, attempt=2, strategy=strategy, duration_s=1.0))

    def task(self, run_id: str, name: str) -> str:
        task_id = f"{run_id}-{name}"
        self.say(TaskSubmitted(task_id=task_id, run_id=run_id, work=CommandWork(argv=(name,), cwd="/srv")))
        return task_id

    def start(self, task_id: str, worker_id: str, attempt: int = 1) -> None:
        ids: dict[str, Any] = {"task_id": task_id, "worker_id": worker_id, "incarnation": self._incarnations[worker_id]}
        self.say(TaskAssigned(**ids, attempt=attempt, work=CommandWork(argv=("x",), cwd="/srv")))
        self.say(TaskStarted(**ids, attempt=attempt))

    def finish(self, task_id: str, worker_id: str, outcome: Outcome, duration_s: float, attempt: int = 1) -> None:
        ids: dict[str, Any] = {"task_id": task_id, "worker_id": worker_id, "incarnation": self._incarnations[worker_id]}
        self.say(TaskAttemptFinished(**ids, attempt=attempt, outcome=outcome, duration_s=duration_s))

    def conclude(self, task_id: str, worker_id: str, verdict: Any, attempt: int = 1) -> None:
        run_id = task_id.partition("-")[0]
        self.say(TaskCompleted(task_id=task_id, run_id=run_id, verdict=verdict, attempt=attempt, worker_id=worker_id))

    def requeue(self, task_id: str, worker_id: str, reason: Any, attempt: int = 1) -> None:
        self.say(TaskRequeued(task_id=task_id, attempt=attempt, worker_id=worker_id, reason=reason, budget="none"))


def told() -> Story:
    """Two runs. `killer` takes w1 and w2 down in the first, and w3 in the second, where w1 is silent as well; `shaky`
    fails twice on w3 and passes elsewhere."""
    story = Story()
    story.say(PolicyChanged(policy=Policy(), policy_hash="first", actor="c1"))
    for worker_id in HOSTS:
        story.register(worker_id)
    killer = story.task("r1", "killer")
    for attempt, worker_id in enumerate(("w1", "w2"), start=1):
        story.start(killer, worker_id, attempt)
        story.fail(worker_id, "worker_exit")
        story.requeue(killer, worker_id, "worker_failed", attempt)  # two seconds of attempt
    story.recover("w1", "restart", failing="reconnect")  # back 10 s behind its failure
    story.recover("w2", "restart")  # 9 s
    story.conclude(killer, "w2", "quarantined", 3)
    shaky = story.task("r1", "shaky")
    story.start(shaky, "w3")
    story.finish(shaky, "w3", "failed", 3.0)
    story.requeue(shaky, "w3", "verdict_retry")
    story.start(shaky, "w1", 2)
    story.finish(shaky, "w1", "passed", 1.0, 2)
    story.conclude(shaky, "w1", "passed", 2)
    story.wait(30)
    story.say(PolicyChanged(policy=Policy(recovery_interval=30.0), policy_hash="second", actor="alice"))
    killer = story.task("r2", "killer")
    story.start(killer, "w3")
    story.fail("w3", "worker_exit")
    story.requeue(killer, "w3", "worker_failed")
    story.recover("w3", "restart", after_s=20)  # 24 s
    story.conclude(killer, "w3", "quarantined", 3)
    shaky = story.task("r2", "shaky")
    story.start(shaky, "w3")
    story.finish(shaky, "w3", "failed", 2.0)
    story.conclude(shaky, "w3", "failed")
    story.wait(30)
    story.fail("w1", "silence", silence_s=16.0)
    story.wait(30)
    story.fail("w2", "worker_exit", synthetic="drill")
    return story


ANSWERS: dict[str, list[list[Any]]] = {
    "1": [["north", 3, 2, "worker_exit"], ["south", 1, 1, "worker_exit"]],
    "2": [["killer", 3, 3]],
    "3": [["worker_exit", 3, 3, 10.0, 24.0], ["silence", 1, 0, None, None]],
    "4": [["silence", 1, 16.0, 16.0]],
    "5": [["shaky", "w3", 2, 2]],
    "6": [["r1", 4, 8.0, 7.0, 0.875], ["r2", 2, 4.0, 2.0, 0.5]],
    "7": [["shaky", 1, 2]],
    "8": [["worker_exit", "restart", 3, 3, 1.0], ["worker_exit", "reconnect", 1, 0, 0.0]],
    "9": [["w1", "w2", 1, True]],
    "10": [
        ["first", None, 2, 9.5],
        ["second", '{"recovery_interval":[60.0,30.0]}', 2, 24.0],
    ],
}


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("questions") / "history.duckdb"
    database = Database.open(path)
    database.apply([record(number, *said) for number, said in enumerate(told().events, start=1)])
    database.close()
    return path


@pytest.mark.parametrize("number", ANSWERS)
def test_question(history: Path, number: str) -> None:
    found = query_file(history, QUESTIONS[number])
    columns = len(ANSWERS[number][0])
    assert [row[:columns] for row in found.rows] == ANSWERS[number]


def test_every_question_has_its_answer() -> None:
    assert list(QUESTIONS) == list(ANSWERS) == [str(number) for number in range(1, 11)]


@pytest.mark.parametrize("number", QUESTIONS)
def test_an_empty_history_has_no_answer_and_no_error(tmp_path: Path, number: str) -> None:
    path = tmp_path / "empty.duckdb"
    Database.open(path).close()
    assert query_file(path, QUESTIONS[number]).rows == []
