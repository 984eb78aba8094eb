"""What the core remembers of a worker, a task, a recovery attempt. Plain records: `evolve` alone writes them."""

from dataclasses import dataclass, field
from typing import NamedTuple

from events.failures import ErrorCode, FailureReason, StrategyName
from events.system import IncidentKind, Obstacle, SystemStatus
from events.task import Outcome, Verdict
from events.work import AnyWork
from events.worker import CordonCause, Death, StallCause
from recovery.detectors import Detector
from recovery.lifecycle import AttemptStatus, TaskStatus, WorkerStatus
from recovery.predictions import Foresight
from recovery.timers import NEVER


class Beat(NamedTuple):
    """The last heartbeat of the newest incarnation heard of."""

    incarnation: int
    time: float
    sequence: int
    rules: int = 0
    """Sequence of the last change of policy or pace that the worker says it lives by."""
    quiet_since: float = NEVER
    """When the last one came that spoke of something that the log had not taken; 0.0: none did that is known."""
    free_since: float = NEVER
    """When the last one came that did, or that spoke of no free slot."""


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


class Pause(NamedTuple):
    """An operator has halted recovery."""

    actor: str
    reason: str
    since: float
    sequence: int


class Run(NamedTuple):
    """An attempt at a task that runs."""

    since: float
    sequence: int
    """Of its `TaskStarted`."""


class Stall(NamedTuple):
    """A worker was found to be of no use."""

    cause: StallCause
    restart: bool
    """Its supervisor was told to kill it."""
    since: float
    sequence: int
    passed: int
    """Under `failing_fast`: how many attempts at such work had passed elsewhere by then."""


@dataclass(slots=True)
class Ends:
    """How attempts at one kind of work have ended, on all workers."""

    begun: int = 0
    passed: int = 0
    failed: int = 0
    barred: int = 0
    """Could not be begun."""

    def good(self, *, begins: bool) -> int:
        return self.begun if begins else self.passed

    def bad(self, *, begins: bool) -> int:
        return self.barred if begins else self.failed


@dataclass(slots=True)
class Mark:
    """Where the ends of a kind of work stood when a row came to hold some."""

    ends: Ends
    begins: bool
    """What is compared is whether it could be begun, not how it ended."""
    good_before: int
    bad_before: int
    own: int = 0
    """How many of the bad ones since then are the row's own."""


@dataclass(slots=True)
class Row:
    """Attempts that have failed at once on one worker, with no other end between them."""

    marks: dict[tuple[tuple[str, ...], bool], Mark] = field(default_factory=dict)
    """By kind of work, and by what is compared."""
    tasks: list[str] = field(default_factory=list)
    """A test that is tried again and fails again is one."""


@dataclass(slots=True)
class Attempt:
    """An open attempt to bring a worker back. Times in seconds of cluster time."""

    number: int
    strategy: StrategyName
    status: AttemptStatus
    incarnation: int
    """The incarnation that failed."""
    not_before: float
    event_id: str
    deadline: float = 0.0
    reason: FailureReason = "unknown"
    """Of the failure that it answers."""
    acted: bool = False
    """A leader has carried out what its strategy consists of, or has said that it cannot."""
    answered: bool = False
    """The probe was answered."""
    error: str = ""
    """What ended it before its deadline, or before it began: its strategy could not be carried out, a new agent died
    before it could register, or failed again after it had, or the process that it would bring back is gone."""


class FailedRung(NamedTuple):
    at: float
    strategy: StrategyName


class Cordon(NamedTuple):
    """A worker gets no new work for the time being."""

    until: float
    """`NEVER`: until somebody lifts it."""
    event_id: str


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
    detector: Detector
    """By the rules in force."""
    held: dict[str, None] = field(default_factory=dict)
    """Ids of the tasks assigned to or running on the present incarnation, oldest first."""
    running: dict[str, Run] = field(default_factory=dict)
    """Those that run."""
    hung_from: float = NEVER
    """None of them is known to hang, nor beyond its limit, before that."""
    revoked: dict[str, float] = field(default_factory=dict)
    """Those that it was told to stop or to hand back, and when. It has not answered yet."""
    moved_at: float = 0.0
    """When it last began, ended or handed back something, or came to have something to begin."""
    begun_sequence: int = 0
    """Of the last `TaskStarted` by it."""
    idled: tuple[str, ...] = ()
    """What it has handed back on order, and had not begun in time, since it last began anything."""
    stall: Stall | None = None
    """Why it is stalled, or was when it failed."""
    row: Row | None = None
    on_trial: bool = False
    """It was restarted because it failed everything at once, and has not passed anything since."""
    fast_stalls: int = 0
    """How often it was restarted for that, within the time after which attempts are forgotten."""
    exit_reason: FailureReason = "worker_exit"
    exit_error: ErrorCode = "worker_exit"
    exit_sequence: int = 0
    exit_message: str = ""
    suspected_beat: int = 0
    """Sequence of the last heartbeat when it was suspected; a later one refutes."""
    machine: str | None = None
    lifeline: str | None = None
    """Where a witness can look whether anything is left of the present incarnation, and for what."""
    cut_off: CutOff | None = None
    """Found without a connection, and not suspected for it yet."""
    leaving: bool = False
    """It was told to end, and not to come back. A new registration is of somebody who was not told."""
    failed_incarnation: int = 0
    failed_at: float = 0.0
    failure_reason: FailureReason = "unknown"
    failure_id: str | None = None
    """Event id of the failure: correlates everything done about it."""
    synthetic: str | None = None
    """Label of the synthetic failure that the present recovery answers."""
    set_apart_for: str = ""
    """A task that runs here alone, or is to: nothing else is given to this worker."""
    made_up: str | None = None
    """Label of the event that began the present incarnation, or ended it, if that was synthetic."""
    attempt: Attempt | None = None
    attempts_failed: tuple[float, ...] = ()
    """When attempts failed, within the policy's window."""
    rungs_failed: tuple[FailedRung, ...] = ()
    """What was tried in them."""
    unavailable: dict[StrategyName, str] = field(default_factory=dict)
    """Strategies that a leader could not carry out for it at all, with its words; until it is back, or another policy
    comes into force."""
    attempts_ended: tuple[float, ...] = ()
    """When attempts ended, whatever their end, within the policy's window."""
    recovered_at: float = 0.0
    """When an attempt last succeeded; 0.0 once it has failed again."""
    cordons: dict[CordonCause, Cordon] = field(default_factory=dict)
    """While there is one it gets no new work."""
    flaps: tuple[float, ...] = ()
    """When it failed and came back from that, within the policy's window, since it was last cordoned for it."""
    flap_cordons: int = 0
    """How often in a row it was cordoned for that."""
    flap_cordoned_until: float = 0.0
    """When the last such cordon ends or ended by itself; 0.0: there was none, or it is forgiven."""
    unsupervised: bool = False
    """Nobody would start its agent anew."""
    foresight: Foresight = field(default_factory=Foresight)
    """What is foreseen of it, and what it rests on."""


class Result(NamedTuple):
    """What a worker said of an attempt."""

    outcome: Outcome
    sequence: int
    duration_s: float
    started: bool
    """It had begun: only then can it be blamed for anything."""
    unfit: bool = False
    """It says more about the worker than about the task."""
    error: ErrorCode = "unknown"
    """Counts where the outcome is not a good one."""


class Replaced(NamedTuple):
    """An attempt that was taken from its worker before that had said how it ended."""

    attempt: int
    worker_id: str
    incarnation: int


class Late(NamedTuple):
    """A replaced attempt has passed after all, while its replacement had not started."""

    attempt: int
    worker_id: str
    result: Result


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
    submitted_at: float
    queued_sequence: int
    event_id: str
    """The last event that changed its status."""
    synthetic: str | None = None
    """Label of the last event that changed its status, took its worker away or cancelled it, if that was synthetic."""
    status: TaskStatus = "queued"
    attempt: int = 0
    """Number of the present or last attempt; 0: there was none."""
    assigned_at: float = 0.0
    """When somebody was given it."""
    worker_id: str | None = None
    """Who has it, or had it last."""
    incarnation: int = 0
    assigned_sequence: int = 0
    """Of the event by which whoever has it came to have it."""
    infrastructure_used: int = 0
    verdict_used: int = 0
    spared: int = 0
    """How often it was put back uncharged although it ran: its worker was lost together with many."""
    result: Result | None = None
    cancel_requested: bool = False
    revoked: bool = False
    began: bool = False
    """The present attempt has started."""
    hung: bool = False
    """The present attempt was found to run beyond its limit."""
    forgotten: bool = False
    """The present attempt was handed back by a worker that knew nothing of it."""
    fingerprint: str = ""
    """Of its work."""
    replaced: Replaced | None = None
    """The attempt before the present one, or the last one while it waits, if its worker has not spoken: a success may
    still come."""
    late: Late | None = None
    """It has come: that is the verdict, as soon as nobody holds the present attempt any more."""
    deaths: tuple[Death, ...] = ()
    """Of workers under it, and of their processes."""
    apart_at: str = ""
    """The worker that is set apart for it, while it is `isolated`; empty: it waits for one."""
    isolated: bool = False
    """The present attempt is alone on its worker."""
    stranded: bool = False
    """The log says that nobody has the labels that it requires, since it last was given to anybody."""
    condemned: bool = False
    """And its worker, or a process of it, has died under it all the same."""
    verdict: Verdict | None = None

    @property
    def unwanted(self) -> bool:
        """Nobody needs the present attempt any more."""
        return self.cancel_requested or self.late is not None


class Quarantined(NamedTuple):
    """Work that is not run again, whoever submits it."""

    name: str
    task_id: str
    sequence: int
    """Of the verdict that said so."""
    since: float
    deaths: tuple[Death, ...]


@dataclass(slots=True)
class Incident:
    incident_id: str
    kind: IncidentKind
    status: SystemStatus
    started_at: float
    affected_workers: int
    affected_tasks: int
    event_id: str
    synthetic: str | None = None
    """Label of the synthetic failures without which it would not have been opened."""
    requeued: int = 0
    """Tasks put back while it was open, because their worker was lost or had fenced itself."""
    uncharged: int = 0
    """Of these, the ones that ran and paid nothing."""
    stood_still_from: float = 0.0
    """Of a standstill of the queue: when something had moved last."""
    obstacles: tuple[tuple[Obstacle, int], ...] = ()
    """And why the workers took nothing when it was found."""


class Predecessor(NamedTuple):
    """The leader before the present one, which had not stepped down."""

    coordinator_id: str
    undecided_s: float
    """From its last decision to the election that ended its term."""


@dataclass(slots=True)
class Need:
    """What is known of one set of labels that waiting tasks require."""

    tasks: dict[str, None] = field(default_factory=dict)
    """Those that wait with this requirement."""
    unsaid: dict[str, None] = field(default_factory=dict)
    """Those of them that the log does not call stranded yet."""
    unmet_since: float | None = None
    """None: somebody has the labels."""


class ParkedMessage(NamedTuple):
    sequence: int
    subject: str
    reason: str
    excerpt: str
