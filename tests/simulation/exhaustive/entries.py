"""What the independent reading of the log remembers, and how it says that something must not be there."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from events.task import Outcome

Standing = Literal["absent", "alive", "suspect", "stalled", "draining", "exited", "failed", "permanent", "stopped"]
LIVE: frozenset[Standing] = frozenset({"alive", "suspect", "stalled", "draining"})

Stage = Literal["assigned", "running", "finished", "returned"]
Phase = Literal["unknown", "open", "final"]
RepairStage = Literal["scheduled", "started", "probed"]


class Violation(Exception):
    """An invariant does not hold. The message is one sentence."""


class Holding(NamedTuple):
    """The attempt of a task that is under way, or whose end nobody has answered yet."""

    worker_id: str
    incarnation: int
    number: int
    stage: Stage = "assigned"
    started: bool = False
    outcome: Outcome | None = None
    unknown: bool = False
    """Handed back by a worker that knew nothing of it."""


class Repair(NamedTuple):
    """The open attempt to bring a worker back."""

    number: int
    stage: RepairStage = "scheduled"
    answered: bool = False


@dataclass(slots=True)
class TaskEntry:
    phase: Phase = "unknown"
    cancelled: bool = False
    attempts: int = 0
    holding: Holding | None = None
    former: tuple[str, int] | None = None
    """Worker and incarnation of the attempt before: whoever still speaks of it is stale."""
    infrastructure_used: int = 0
    spared: int = 0
    verdict_used: int = 0
    silent: bool = False
    """That attempt was taken away before it had said how it ended, and no other has started since."""
    late: bool = False
    """It has said that it passed, while the present attempt was assigned and had not started."""


@dataclass(slots=True)
class WorkerEntry:
    standing: Standing = "absent"
    incarnation: int = 0
    former: int = 0
    """The incarnation before."""
    failed_incarnation: int = 0
    end_proven: bool = False
    """Of the one that failed last: somebody has seen it."""
    leaving: bool = False
    """It was told to end for good."""
    repair: Repair | None = None
    failures: int = 0
    """Attempts to bring it back that failed since one succeeded."""
    cordoned: bool = False


class Limits(NamedTuple):
    """The most that any policy in force may have allowed."""

    infrastructure: dict[str, int]
    verdict: int
    recovery_attempts: int


@dataclass(slots=True)
class Ledger:
    limits: Limits
    workers: dict[str, WorkerEntry]
    tasks: dict[str, TaskEntry] = field(default_factory=dict)

    def over(self, worker_id: str, incarnation: int) -> bool:
        """Whether what that incarnation held is nobody's now."""
        worker = self.workers[worker_id]
        return worker.standing not in LIVE or worker.incarnation != incarnation

    def standings(self) -> dict[str, tuple[Standing, int]]:
        return {worker_id: (worker.standing, worker.incarnation) for worker_id, worker in self.workers.items()}

    def lost(self, holding: Holding) -> bool:
        return holding.stage in ("assigned", "running") and self.over(holding.worker_id, holding.incarnation)
