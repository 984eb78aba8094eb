"""The state: what the two streams add up to, and the indexes that keep a cycle's cost in proportion to change."""

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field

from events.failures import ErrorCode
from events.forecast import Resource
from events.policy import Policy, policy_hash
from events.system import SystemStatus
from recovery.detectors import Arrivals, Detector
from recovery.entities import (
    Beat,
    CutOff,
    Ends,
    Incident,
    Loss,
    Need,
    ParkedMessage,
    Pause,
    Predecessor,
    Quarantined,
    Task,
    Worker,
)
from recovery.forecasts import FarmAttempts, Outlook, Trend
from recovery.predictions import TrackRecord
from recovery.queue import ByPriority, Requirement, WaitingTasks
from recovery.record import Records
from recovery.repair_entities import Breaker, Charge, Lost, Outage, Returned
from recovery.rules import RuleBook
from recovery.timers import Timers

NOTHING_LOST = Loss(0, 0, 0.0)


@dataclass(eq=False, repr=False)
class State:
    """Written by `recovery.evolve` alone, read by `recovery.decide` and by whoever wants to look."""

    # The facts
    policy: Policy = field(default_factory=Policy)
    policy_hash: str = field(default_factory=lambda: policy_hash(Policy()))
    policy_recorded: bool = False
    """False until the first `PolicyChanged`: until then the defaults are in force."""
    policy_actor: str = ""
    pause: Pause | None = None
    """An operator has halted recovery, whatever the policy says."""
    rules: RuleBook = field(default_factory=RuleBook)
    """The policy and the pace, as far as they concern silence."""
    term: int = 0
    leader_id: str | None = None
    fencing_token: int = 0
    watched_since: float = 0.0
    """When the present leader began, or last doubted its own eyes: no silence counts from further back."""
    taken_over: float | None = None
    """When the present leader was elected, while its election is what silence counts from."""
    distrusted_until: float = 0.0
    """When a leader last doubted its own eyes: no successor counts from further back."""
    interrupted_at: float = 0.0
    """When a leader was last elected, or last doubted its own eyes."""
    watched_beat: int = 0
    """Sequence of the last heartbeat before the present leader doubted: what time it bears is worth nothing."""
    workers: dict[str, Worker] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    runs: dict[str, dict[str, None]] = field(default_factory=dict)
    """Ids of the tasks of each run that have no verdict yet."""
    beats: dict[str, Beat] = field(default_factory=dict)
    stragglers: dict[str, tuple[Beat, ...]] = field(default_factory=dict)
    """By worker, what has come behind that from older incarnations: the last heartbeat of each, in the order in
    which they came, which is also that of falling incarnations. Mostly there is none."""
    arrivals: dict[str, Arrivals] = field(default_factory=dict)
    """Of the last heartbeats of the newest incarnation heard of, by worker."""
    trends: dict[str, Trend] = field(default_factory=dict)
    """What the gauges of the newest incarnation heard of have shown lately, by worker."""
    farm_attempts: FarmAttempts = field(default_factory=FarmAttempts)
    """What became of the last tasks of all workers."""
    track_records: dict[Resource, TrackRecord] = field(default_factory=dict)
    """What became of predictions, by what was foreseen. None for what has never been judged."""
    status: SystemStatus = "idle"
    incidents: dict[str, Incident] = field(default_factory=dict)
    """Open incidents by kind."""
    outage: Outage | None = None
    """What is known of the last loss that left the system critical, while that is not over."""
    returned: Returned | None = None
    """The last outage of the broker, when it was over."""
    outage_unreported: bool = False
    """That one has no incident yet."""
    lost_lately: OrderedDict[str, Lost] = field(default_factory=OrderedDict)
    """Workers that were lost within the policy's `mass_loss_within` of the last such loss, oldest first."""
    charged_lately: OrderedDict[str, Charge] = field(default_factory=OrderedDict)
    """Tasks that have paid for the loss of their worker within that time, oldest first: if others turn out to be lost
    in one go with it, they get it back."""
    breaker: Breaker = field(default_factory=Breaker)
    moved_at: float = 0.0
    """When a task last came, or went from one status to another."""
    failover_unreported: bool = False
    """A leader has followed another that did not step down in order."""
    predecessor: Predecessor | None = None
    """That other one."""
    decided_at: float = 0.0
    """When a leader's decision was last recorded."""
    parked: OrderedDict[int, ParkedMessage] = field(default_factory=OrderedDict)
    """Messages that could not be understood and that the log does not say so of yet."""
    seconds_per_task: float = 0.0
    """Moving average of the run time of attempts; 0.0: none has finished yet."""
    requeues_until: float = 0.0
    """How far the tasks of failed workers that were put back use up the allowed rate (`recovery.pacing`)."""
    accusations: deque[tuple[float, str, int]] = field(default_factory=deque)
    """When a death was held against a task, which, and the sequence of the death: the last ones."""
    accused_tasks: dict[str, None] = field(default_factory=dict)
    """Open tasks under which anything has died."""
    quarantine: OrderedDict[str, Quarantined] = field(default_factory=OrderedDict)
    """By fingerprint of the work, oldest first. What is older than the policy allows may still be there."""
    ends: OrderedDict[tuple[str, ...], Ends] = field(default_factory=OrderedDict)
    """How attempts have ended, by kind of work."""
    errors: Counter[ErrorCode] = field(default_factory=Counter)
    """Failures of workers and of attempts at tasks, by what kind of error they were; drills do not count."""
    records: Records = field(default_factory=OrderedDict)
    """What has helped against which failure."""
    events_sequence: int = 0
    heartbeats_sequence: int = 0
    heartbeats_at: float | None = None
    """The broker's time of the heartbeat at `heartbeats_sequence`; None: that one was not read."""
    loss: Loss = NOTHING_LOST
    """The last loss of heartbeats."""
    beats_known: int = 0
    """Sequence of the last heartbeat that the log says a leader has read, since that loss."""

    # Counts that people ask for
    ignored: Counter[str] = field(default_factory=Counter)
    """Events that changed nothing, by kind: stale, doubled, or fitting no row of the tables."""
    tasks_by_status: Counter[str] = field(default_factory=Counter)

    # The indexes
    timers: Timers = field(default_factory=Timers)
    """When each worker next owes something."""
    useless: Timers = field(default_factory=Timers)
    """From when on each worker that beats owes an explanation (`recovery.overdue`)."""
    accused: dict[str, None] = field(default_factory=dict)
    """Workers on which so much has failed at once that they may be to blame (`recovery.fitness`)."""
    flapping: dict[str, None] = field(default_factory=dict)
    """Workers that have failed and come back so often that they owe a pause (`recovery.flapping`)."""
    alarms: Timers = field(default_factory=Timers)
    """When something is next owed to the system as a whole, by what it is about."""
    attempts: dict[str, None] = field(default_factory=dict)
    """Workers with an open attempt to bring them back."""
    repairs: Timers = field(default_factory=Timers)
    """When the attempts may begin that do something (`recovery.repairs`) and have not begun."""
    repairing: dict[str, None] = field(default_factory=dict)
    """Workers whose attempt does something and has begun."""
    outlooks: dict[str, tuple[Outlook, ...]] = field(default_factory=dict)
    """What the gauges of workers foresee, of those that foresee anything (`recovery.foresight`)."""
    omens: Timers = field(default_factory=Timers)
    """From when on there is something to say about what is foreseen of each worker."""
    foretold: Timers = field(default_factory=Timers)
    """From when on something may be done about what is foreseen of each worker."""
    renewing: dict[str, None] = field(default_factory=dict)
    """Workers that have been told to begin anew, and have not done so yet."""
    heard_last: str = ""
    """The worker of the last heartbeat: where to look first for one that is not silent."""
    waiting: WaitingTasks = field(default_factory=WaitingTasks)
    suspects: ByPriority = field(default_factory=ByPriority)
    """Tasks that wait for a worker to be set apart for them."""
    set_apart: dict[str, str] = field(default_factory=dict)
    """Workers that are, each with its task."""
    barred: dict[str, None] = field(default_factory=dict)
    """Waiting tasks whose work had been quarantined when they were submitted."""
    needs: dict[Requirement, Need] = field(default_factory=dict)
    """Labels that waiting tasks require (`recovery.needs`)."""
    unmet: dict[Requirement, None] = field(default_factory=dict)
    """Those that nobody has, with tasks of which the log does not say so yet."""
    expected_labels: Counter[Requirement] = field(default_factory=Counter)
    """Of the workers that are expected: how many have just these labels."""
    unsettled: OrderedDict[str, None] = field(default_factory=OrderedDict)
    """Tasks about which the leader must decide: reported, returned, cancelled (whoever has them)."""
    orphaned: ByPriority = field(default_factory=ByPriority)
    """Tasks whose worker's incarnation is over, and that are still wanted."""
    available: dict[int, OrderedDict[str, Worker]] = field(default_factory=dict)
    """Workers that may get work, by load level: how many full rounds of their slots they hold."""
    available_labels: dict[int, Counter[tuple[str, str]]] = field(default_factory=dict)
    """How many of the workers of each level have each label."""
    slots: int = 0
    """Slots of the workers in `available`."""
    effects: dict[str, None] = field(default_factory=dict)
    """Workers for whose recovery the leader has to do something itself, and has not said that it did: their attempt
    has started."""
    made_up: dict[str, str] = field(default_factory=dict)
    """Workers that are missing because of a synthetic failure, with its label."""
    missing: dict[str, None] = field(default_factory=dict)
    """Workers that are expected and do not live, or are of no use."""
    workers_live: int = 0
    workers_expected: int = 0

    @property
    def may_repair(self) -> bool:
        """Whether anything may be done about a failure: by the policy, and as far as no operator has halted it."""
        return self.pause is None and self.policy.auto_recovery

    def last_beat(self, worker: Worker) -> Beat | None:
        """The last heartbeat of the worker's present incarnation."""
        beat = self.beats.get(worker.worker_id)
        if beat is not None and beat.incarnation > worker.incarnation:
            later = self.stragglers.get(worker.worker_id, ())
            beat = next((one for one in later if one.incarnation == worker.incarnation), None)
        if beat is None or beat.incarnation != worker.incarnation or beat.sequence <= self.loss.through:
            return None
        return beat

    def presumed_beat(self, worker: Worker) -> Beat | None:
        """What stands in for the forgotten heartbeats of a worker when its silence is judged."""
        through, event_sequence, at = self.loss
        return Beat(worker.incarnation, at, through) if worker.incarnation < event_sequence else None

    def cut_off(self, worker: Worker) -> CutOff | None:
        """How a worker was found without a connection, if nothing has been heard of it since."""
        found = worker.cut_off
        beat = self.last_beat(worker)
        return found if found is not None and (beat is None or beat.sequence <= found.beat) else None

    def newer_beat(self, worker: Worker) -> Beat | None:
        """The last heartbeat of an incarnation whose registration has not been read yet: the two streams are read
        apart. The present incarnation is over, then, and nothing more is heard of it.

        If it was heard later, or if that heartbeat is from before its registration, there is no such incarnation: a log
        that has lost its tail uses their numbers again, and heartbeats may have outlived those that sent them.
        """
        beat = self.beats.get(worker.worker_id)
        if beat is None or beat.incarnation <= worker.incarnation or self.last_beat(worker) is not None:
            return None
        for one in (beat, *self.stragglers.get(worker.worker_id, ())):
            heard = one.sequence > self.loss.through and one.time >= worker.registered_at
            if heard and one.incarnation > worker.incarnation:
                return one
        return None

    def newest_beat(self, worker: Worker) -> Beat | None:
        """The last heartbeat of the present incarnation, or of one that is not registered yet."""
        return self.newer_beat(worker) or self.last_beat(worker)

    def heard_at(self, worker: Worker) -> float:
        """When the worker was last heard, by heartbeat or registration."""
        beat = self.newest_beat(worker)
        return worker.registered_at if beat is None else max(worker.registered_at, beat.time)

    def intervals(self, beat: Beat, worker_id: str) -> list[float]:
        """Seconds between the last heartbeats of the incarnation that sent this one."""
        arrivals = self.arrivals.get(worker_id)
        if arrivals is None or arrivals.incarnation != beat.incarnation:
            return []
        return arrivals.intervals(self.loss.through, self.interrupted_at)

    def detector(self, worker: Worker, beat: Beat | None) -> Detector:
        """Who judges the silence behind this heartbeat, or behind the registration: by the rules in force, or with the
        patience of older ones by which the worker may still live."""
        newest = self.rules.sequence
        if worker.incarnation > newest:
            return worker.detector
        known = worker.incarnation if beat is None else max(worker.incarnation, beat.rules)
        if known >= newest:
            return worker.detector
        return self.rules.patient_detector(worker.worker_id, worker.labels, known)

    def silent_since(self, beat: Beat) -> float:
        """From when on the silence behind a heartbeat counts."""
        return self.watched_since if beat.sequence <= self.watched_beat else max(beat.time, self.watched_since)

    def measured_status(self) -> SystemStatus:
        """What the counts of workers say now, whatever the log said last."""
        return self.status_with(self.workers_live)

    def status_made_up(self) -> str | None:
        """The label of synthetic failures without which that would be another; None: they make no difference."""
        if not self.made_up or self.status_with(self.workers_live + len(self.made_up)) == self.measured_status():
            return None
        return next(iter(self.made_up.values()))

    def status_with(self, live: int) -> SystemStatus:
        """What it would be with so many live workers."""
        if self.workers_expected == 0:
            return "idle"
        share = live / self.workers_expected
        if share < self.policy.critical_below:
            return "critical"
        return "degraded" if share < self.policy.degraded_below else "healthy"
