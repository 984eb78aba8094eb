"""A story of workers and tasks with times of its own, for what depends on how long things took."""

from pathlib import Path
from typing import Any

from events.base import Event
from events.clock import utc
from events.envelope import Envelope, Recorded
from events.failures import FailureReason
from events.task import TaskAssigned, TaskCompleted, TaskRequeued, TaskStarted, TaskSubmitted
from events.work import CommandWork
from events.worker import (
    Evidence,
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerRecoveryFailed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRecoverySuperseded,
    WorkerRegistered,
)
from projections.client import query_file
from projections.database import Database
from tests.projections.histories import EPOCH

WORK = CommandWork(argv=("make", "check"), cwd="/srv")


class Telling:
    """Each thing is said at a time in seconds since the story's beginning, which only grows."""

    def __init__(self) -> None:
        self.log: list[Recorded] = []
        self.incarnations: dict[str, int] = {}
        self._pid = 100

    def say(self, second: float, event: Event, synthetic: str | None = None) -> int:
        sequence = len(self.log) + 1
        time = EPOCH + second
        envelope = Envelope(id=f"event-id-{sequence}", time=utc(time), source="test/1", event=event)  # type: ignore[arg-type]
        self.log.append(Recorded(sequence, time, f"resurgam.event.{event.tail()}", envelope, synthetic))
        return sequence

    def register(self, second: float, worker_id: str = "w1", *, pid: int | None = None) -> None:
        """As another process, unless it is told which."""
        self._pid += 1
        event = WorkerRegistered(worker_id=worker_id, host="h", pid=self._pid if pid is None else pid, slots=1)
        self.incarnations[worker_id] = self.say(second, event)

    def exit(self, second: float, worker_id: str = "w1", *, unanswered_s: float | None = None) -> int:
        incarnation = self.incarnations[worker_id]
        event = WorkerExited(
            worker_id=worker_id,
            incarnation=incarnation,
            signal=9,
            hung=unanswered_s is not None,
            unanswered_s=unanswered_s,
        )
        return self.say(second, event)

    def fail(
        self,
        second: float,
        worker_id: str = "w1",
        reason: FailureReason = "worker_exit",
        *,
        seen: float | None = None,
        proof: int = 0,
        synthetic: str | None = None,
    ) -> None:
        evidence = Evidence(last_seen=None if seen is None else utc(EPOCH + seen), event_sequence=proof)
        incarnation = self.incarnations[worker_id]
        event = WorkerFailed(worker_id=worker_id, reason=reason, incarnation=incarnation, evidence=evidence)
        self.say(second, event, synthetic)

    def die(self, second: float, worker_id: str = "w1") -> None:
        """Reaped, and failed because of it a tenth of a second later."""
        proof = self.exit(second, worker_id)
        self.fail(second + 0.1, worker_id, proof=proof)

    def schedule(self, second: float, worker_id: str = "w1", attempt: int = 1) -> None:
        self.say(second, WorkerRecoveryScheduled(**self._attempt(worker_id, attempt), not_before=utc(EPOCH + second)))

    def start(self, second: float, worker_id: str = "w1", attempt: int = 1) -> None:
        self.say(second, WorkerRecoveryStarted(**self._attempt(worker_id, attempt), deadline=utc(EPOCH + second + 9)))

    def miss(self, second: float, worker_id: str = "w1", attempt: int = 1) -> None:
        self.say(second, WorkerRecoveryFailed(**self._attempt(worker_id, attempt), error="no registration"))

    def supersede(self, second: float, worker_id: str = "w1", attempt: int = 1) -> None:
        self.say(second, WorkerRecoverySuperseded(**self._attempt(worker_id, attempt), reason="it came back"))

    def succeed(self, second: float, worker_id: str = "w1", attempt: int = 1) -> None:
        self.say(second, WorkerRecoverySucceeded(**self._attempt(worker_id, attempt), duration_s=1.0))

    def recover(self, second: float, worker_id: str = "w1") -> None:
        """An attempt that succeeds just then."""
        self.start(second, worker_id)
        self.register(second, worker_id)
        self.succeed(second, worker_id)

    def give_up(self, second: float, worker_id: str = "w1") -> None:
        self.say(second, WorkerPermanentlyFailed(worker_id=worker_id, attempts=5))

    def _attempt(self, worker_id: str, attempt: int) -> dict[str, Any]:
        incarnation = self.incarnations[worker_id]
        return {"worker_id": worker_id, "incarnation": incarnation, "attempt": attempt, "strategy": "restart"}

    def submit(self, second: float, task_id: str = "t1", synthetic: str | None = None) -> None:
        self.say(second, TaskSubmitted(task_id=task_id, run_id="r1", work=WORK), synthetic)

    def assign(self, second: float, task_id: str = "t1", worker_id: str = "w1", *, started: bool = True) -> None:
        ids: dict[str, Any] = {"task_id": task_id, "worker_id": worker_id, "attempt": 1}
        ids["incarnation"] = self.incarnations[worker_id]
        self.say(second, TaskAssigned(**ids, work=WORK))
        if started:
            self.say(second, TaskStarted(**ids))

    def requeue(self, second: float, reason: Any = "worker_failed", task_id: str = "t1", worker_id: str = "w1") -> None:
        self.say(
            second,
            TaskRequeued(task_id=task_id, attempt=1, worker_id=worker_id, reason=reason, budget="infrastructure"),
        )

    def conclude(
        self, second: float, verdict: Any, outcome: Any = None, task_id: str = "t1", worker_id: str = "w1"
    ) -> None:
        self.say(
            second,
            TaskCompleted(
                task_id=task_id, run_id="r1", verdict=verdict, outcome=outcome, attempt=1, worker_id=worker_id
            ),
        )

    def write(self, path: Path) -> Path:
        """Folds it all into a history file."""
        database = Database.open(path)
        if self.log:
            database.apply(self.log)
        database.close()
        return path


def asked(path: Path, sql: str) -> list[dict[str, Any]]:
    return query_file(path, sql).records()


def metrics(path: Path, arguments: str = "") -> dict[str, dict[str, Any]]:
    """The rows of `metrics(arguments)` by their names."""
    return {row["metric"]: row for row in asked(path, f"FROM metrics({arguments})")}
