"""What a log says of the world, as far as the invariants need it. `replay.invariants.folding` brings it forward.

Written apart from `recovery/`, whose mistakes it is to find: they share the types of the events and nothing else.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from events import task
from events.policy import Policy
from events.worker import RecordedHeartbeat

LIVE = frozenset({"alive", "suspect", "draining"})
"""Those whose word counts."""

EXPECTED = frozenset({"alive", "suspect", "exited", "failed"})
PRESENT = frozenset({"alive", "suspect"})

STATUSES = ("queued", "assigned", "running", "finished", "returned", "final")


@dataclass(slots=True)
class Attempt:
    """An open attempt to bring a worker back."""

    number: int
    incarnation: int
    not_before: float
    status: str = "scheduled"
    deadline: float = 0.0
    answered: bool = False
    spoiled: bool = False
    """It cannot succeed any more: its new agent died, or failed again."""


@dataclass(slots=True)
class Worker:
    worker_id: str
    status: str = "stopped"
    incarnation: int = 0
    slots: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    registered_at: float = 0.0
    held: int = 0
    """Tasks assigned to or running on the present incarnation."""
    epoch: int = 0
    """Grows when what it held is nobody's any more."""
    exit_sequence: int = 0
    suspected_beat: int = 0
    disconnected_sequence: int = 0
    """Of the event that it lost its connection; 0: it has not, or was suspected for it already."""
    disconnected_beat: int = 0
    failed_incarnation: int = 0
    synthetic: str | None = None
    attempt: Attempt | None = None
    failures: list[float] = field(default_factory=list)
    """When attempts failed, within the window."""
    ends: list[float] = field(default_factory=list)
    """When attempts failed or succeeded, within the window."""
    recovered_at: float = 0.0
    decided: int = 0
    """The last batch that decided something about it."""
    batch: int = 0
    """The last batch that gave it work."""
    given: int = 0
    """Tasks given to it in that batch."""


@dataclass(slots=True)
class Task:
    submitted: task.TaskSubmitted
    submitted_at: int
    """A sequence."""
    status: str = "queued"
    attempt: int = 0
    worker_id: str | None = None
    incarnation: int = 0
    epoch: int = -1
    """Of its worker when it came to hold the task; -1: nobody holds it."""
    infrastructure_used: int = 0
    verdict_used: int = 0
    began: bool = False
    """The present attempt has been seen to start."""
    result: task.TaskAttemptFinished | None = None
    result_sequence: int = 0
    cancelled: bool = False
    revoked: bool = False
    batch: int = 0
    """The last batch that decided something about it."""


class Loss(NamedTuple):
    """What a leader has said of heartbeats that the broker has lost."""

    through: int = 0
    """Those up to this sequence are forgotten."""
    event_sequence: int = 0
    at: float = 0.0


class World:
    """Behind the event at `sequence`."""

    def __init__(self) -> None:
        self.sequence = 0
        self.policy = Policy()
        self.watched_since = 0.0
        """When a leader, its policy or its trust in its own eyes began: no silence counts from further back."""
        self.watched_beat = 0
        """Heartbeats up to this sequence bear times of a clock that was not to be trusted."""
        self.tasks: dict[str, Task] = {}
        self.workers: dict[str, Worker] = {}
        self.loss = Loss()
        self.beats: dict[str, RecordedHeartbeat] = {}
        """The last one of the newest incarnation heard of, by worker."""
        self.cancelled_runs: dict[str, int] = {}
        """By run, the sequence of its last cancellation."""
        self.counts = dict.fromkeys(STATUSES, 0)
        self.submitted = 0
        self.live = 0
        self.expected = 0
        self.status = "idle"
        self.incidents: dict[str, str] = {}
        """Ids of open incidents, by kind."""
        self.parked: set[int] = set()
        """Sequences of messages that could not be understood and that the log does not say so of."""

    def hear(self, recorded: RecordedHeartbeat) -> None:
        heartbeat = recorded.heartbeat
        if heartbeat is None:
            return
        known = self.beats.get(heartbeat.worker_id)
        if known is None or known.heartbeat is None or heartbeat.incarnation >= known.heartbeat.incarnation:
            self.beats[heartbeat.worker_id] = recorded

    def is_cancelled(self, one: Task) -> bool:
        return one.cancelled or self.cancelled_runs.get(one.submitted.run_id, 0) > one.submitted_at

    def is_orphaned(self, one: Task) -> bool:
        """Whether the task is in the hands of an incarnation that is over."""
        if one.status not in ("assigned", "running"):
            return False
        holder = self.workers.get(one.worker_id or "")
        return holder is None or holder.status not in LIVE or holder.incarnation != one.incarnation

    def measured_status(self) -> str:
        if self.expected == 0:
            return "idle"
        share = self.live / self.expected
        if share < self.policy.critical_below:
            return "critical"
        return "degraded" if share < self.policy.degraded_below else "healthy"

    def move(self, one: Task, status: str) -> None:
        self.counts[one.status] -= 1
        self.counts[status] += 1
        one.status = status

    def turn(self, one: Worker, status: str) -> None:
        self.live += (status in PRESENT) - (one.status in PRESENT)
        self.expected += (status in EXPECTED) - (one.status in EXPECTED)
        if one.status in LIVE and status not in LIVE:
            release(one)
        one.status = status

    def let_go(self, one: Task) -> None:
        holder = self.workers.get(one.worker_id or "")
        if holder is not None and one.epoch == holder.epoch:
            holder.held -= 1
        one.epoch = -1


def release(one: Worker) -> None:
    one.held = 0
    one.epoch += 1
