"""What the core remembers of a worker, a task, a recovery attempt. Plain records: `evolve` alone writes them."""

from dataclasses import dataclass, field
from typing import NamedTuple

from events.system import IncidentKind, SystemStatus
from events.task import Outcome, Verdict
from events.work import AnyWork
from events.worker import FailureReason, Strategy
from recovery.lifecycle import AttemptStatus, TaskStatus, WorkerStatus


class Beat(NamedTuple):
    """The last heartbeat of the newest incarnation heard of."""

    incarnation: int
    time: float
    sequence: int


class Loss(NamedTuple):
    """The broker has lost the last heartbeats that it had acknowledged, and the leader has said so."""

    through: int
    """Heartbeats up to this sequence are forgotten: they may be others than the leader had read."""
    event_sequence: int
    at: float
    """When it was said."""


class CutOff(NamedTuple):
    """A worker was found without a connection."""

    beat: int
    """Sequence of its last heartbeat until then; a later one refutes."""
    event_sequence: int


@dataclass(slots=True)
class Attempt:
    """An open attempt to bring a worker back. Times in seconds of cluster time."""

    number: int
    strategy: Strategy
    status: AttemptStatus
    incarnation: int
    """The incarnation that failed."""
    not_before: float
    event_id: str
    deadline: float = 0.0
    answered: bool = False
    """The probe was answered."""
    error: str = ""
    """What ended it before its deadline: a new agent died before it could register, or failed again after it had."""


@dataclass(slots=True)
class Worker:
    worker_id: str
    status: WorkerStatus
    incarnation: int
    ordinal: int
    """How many incarnations there have been, this one included: for people."""
    slots: int
    labels: dict[str, str]
    host: str
    registered_at: float
    event_id: str
    """The last event that changed its status: the cause of what is decided about it next."""
    held: dict[str, None] = field(default_factory=dict)
    """Ids of the tasks assigned to or running on the present incarnation, oldest first."""
    exit_reason: FailureReason = "worker_exit"
    exit_sequence: int = 0
    exit_message: str = ""
    suspected_beat: int = 0
    """Sequence of the last heartbeat when it was suspected; a later one refutes."""
    machine: str | None = None
    lifeline: str | None = None
    """Where a witness can look whether anything is left of the present incarnation, and for what."""
    cut_off: CutOff | None = None
    """Found without a connection, and not suspected for it yet."""
    failed_incarnation: int = 0
    failed_at: float = 0.0
    failure_reason: FailureReason = "unknown"
    failure_id: str | None = None
    """Event id of the failure: correlates everything done about it."""
    synthetic: str | None = None
    """Label of the synthetic failure that the present recovery answers."""
    attempt: Attempt | None = None
    attempts_failed: list[float] = field(default_factory=list)
    """When attempts failed, within the policy's window."""
    attempts_ended: list[float] = field(default_factory=list)
    """When attempts ended, whatever their end, within the policy's window."""
    recovered_at: float = 0.0
    """When an attempt last succeeded; 0.0 once it has failed again."""


class Result(NamedTuple):
    """What a worker said of an attempt."""

    outcome: Outcome
    sequence: int
    duration_s: float
    started: bool
    """It had begun: only then can it be blamed for anything."""


@dataclass(slots=True)
class Task:
    task_id: str
    run_id: str
    work: AnyWork | None
    """None once the task is final: nobody needs it any more."""
    priority: int
    timeout_s: float | None
    infrastructure_retries: int | None
    verdict_retries: int | None
    requires: tuple[tuple[str, str], ...]
    queued_sequence: int
    event_id: str
    """The last event that changed its status."""
    status: TaskStatus = "queued"
    attempt: int = 0
    """Number of the present or last attempt; 0: there was none."""
    worker_id: str | None = None
    """Who has it, or had it last."""
    incarnation: int = 0
    infrastructure_used: int = 0
    verdict_used: int = 0
    result: Result | None = None
    cancel_requested: bool = False
    revoked: bool = False
    verdict: Verdict | None = None


@dataclass(slots=True)
class Incident:
    incident_id: str
    kind: IncidentKind
    status: SystemStatus
    started_at: float
    affected_workers: int
    affected_tasks: int
    event_id: str


class ParkedMessage(NamedTuple):
    sequence: int
    subject: str
    reason: str
    excerpt: str
