"""What a log says of the world, as far as the invariants need it. `replay.invariants.folding` brings it forward.

Written apart from `recovery/`, whose mistakes it is to find: they share the types of the events and nothing else.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from events import task
from events.failures import FailureReason
from events.policy import Policy
from events.worker import RecordedHeartbeat
from replay.invariants.foreseen import Gauges, Open, Trust, copied, note_gauges
from replay.invariants.repair_world import Attempt, Outage, Repairs, Returned

LIVE = frozenset({"alive", "suspect", "stalled", "draining"})
"""Those whose word counts."""

EXPECTED = frozenset({"alive", "suspect", "stalled", "exited", "failed"})
PRESENT = frozenset({"alive", "suspect"})
MISSING = frozenset({"exited", "failed"})
LEAVING = MISSING | {"draining"}
"""In which an order to end still stands."""

STATUSES = ("queued", "isolated", "assigned", "running", "finished", "returned", "final")


class Stall(NamedTuple):
    """A worker was found to be of no use."""

    cause: str
    restart: bool
    since: float


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
    tasks: set[str] = field(default_factory=set)
    """Their ids."""
    apart: str = ""
    """The task that it is set apart for."""
    begun: int = 0
    """Those of them that have started."""
    moved_at: float = 0.0
    """When it last began, ended or handed back one, or came to have one to begin."""
    epoch: int = 0
    """Grows when what it held is nobody's any more."""
    exit_sequence: int = 0
    suspected_beat: int = 0
    disconnected_sequence: int = 0
    """Of the event that it lost its connection; 0: it has not, or was suspected for it already."""
    disconnected_beat: int = 0
    leaving: bool = False
    """It was told to end for good."""
    failed_incarnation: int = 0
    failure_reason: FailureReason = "unknown"
    synthetic: str | None = None
    """Label of the failure that it is being brought back from, if that was made up."""
    made_up: str | None = None
    """Label of what began its present incarnation, or ended it, if that was made up."""
    ends_made_up: dict[int, str] = field(default_factory=dict)
    """Labels of what ended its epochs, of those that were made up."""
    attempt: Attempt | None = None
    failures: list[float] = field(default_factory=list)
    """When attempts failed, within the window."""
    tried: list[tuple[float, str]] = field(default_factory=list)
    """When, and what was tried in vain."""
    unavailable: set[str] = field(default_factory=set)
    """Strategies of which a leader has said that they cannot be carried out for it."""
    ends: list[float] = field(default_factory=list)
    """When attempts failed or succeeded, within the window."""
    recovered_at: float = 0.0
    failed_at: float = 0.0
    cordons: dict[str, float] = field(default_factory=dict)
    """Until when it gets no new work, by cause; infinite: until somebody lifts it."""
    flaps: list[float] = field(default_factory=list)
    """When it failed and came back, since it was last cordoned for that."""
    flap_times: int = 0
    flap_until: float = 0.0
    """When the last cordon for that ends by itself."""
    stall: Stall | None = None
    """While it is stalled, and when it failed."""
    idled: set[str] = field(default_factory=set)
    """Tasks that it has handed back on order and had not begun."""
    row: set[str] = field(default_factory=set)
    """Tasks that have failed there since it has last passed one."""
    fast_row: bool = False
    """It was restarted because everything failed there, and has passed nothing since."""
    fast_stalls: int = 0
    foreseen: dict[str, Open] = field(default_factory=dict)
    """By what runs out: what is foreseen of it and not judged yet."""
    foreseen_at: dict[str, float] = field(default_factory=dict)
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
    spared: int = 0
    """How often it was put back uncharged although it ran."""
    began: bool = False
    """The present attempt has been seen to start."""
    result: task.TaskAttemptFinished | None = None
    result_sequence: int = 0
    cancelled: bool = False
    since: float = 0.0
    """When the present attempt began."""
    revoked: bool = False
    revoked_at: float = 0.0
    hung: bool = False
    apart: str = ""
    """The worker that is set apart for it, while it is isolated."""
    isolated: bool = False
    """The present attempt was to be alone on its worker."""
    stranded: bool = False
    """The log says that nobody could run it, since it was given to anybody last."""
    assigned_at: int = 0
    """Sequence of its order."""
    replaced: tuple[int, str, int] | None = None
    """Attempt, worker and incarnation that it was taken from unreported, until the next attempt starts."""
    late: task.TaskAttemptFinished | None = None
    """That attempt's success, if it came while another one had the task and had not started."""
    late_sequence: int = 0
    unknown: bool = False
    """It was handed back by a worker that knew nothing of it."""
    batch: int = 0
    """The last batch that decided something about it."""


class Loss(NamedTuple):
    """What a leader has said of heartbeats that the broker has lost."""

    through: int = 0
    """Those up to this sequence are forgotten."""
    event_sequence: int = 0
    at: float = 0.0


class Rules(NamedTuple):
    """What workers live by that have heard of the event at `sequence`; 0: the defaults."""

    sequence: int
    policy: Policy
    stretch: float


class World:
    """Behind the event at `sequence`."""

    def __init__(self) -> None:
        self.sequence = 0
        self.time = 0.0
        self.synthetic: str | None = None
        """Label of that event."""
        self.policy = Policy()
        self.paused = False
        """An operator has halted recovery."""
        self.rules = [Rules(0, self.policy, 1.0)]
        """All that there ever were, oldest first."""
        self.watched_since = 0.0
        """When a leader or its trust in its own eyes began: no silence counts from further back."""
        self.taken_over: float | None = None
        """When the leader was elected, if that is what silence counts from."""
        self.doubted_at = 0.0
        self.watched_beat = 0
        """Heartbeats up to this sequence bear times of a clock that was not to be trusted."""
        self.tasks: dict[str, Task] = {}
        self.workers: dict[str, Worker] = {}
        self.loss = Loss()
        self.beats: dict[str, RecordedHeartbeat] = {}
        """The last one of the newest incarnation heard of, by worker."""
        self.stragglers: dict[str, list[RecordedHeartbeat]] = {}
        """What has come behind that from older incarnations, the last one of each."""
        self.gauges: dict[str, Gauges] = {}
        """What its last heartbeats show, by worker."""
        self.renewing: set[str] = set()
        """Workers that have been told to begin anew, and have not yet."""
        self.trust: dict[str, Trust] = {}
        """What became of what was foreseen, by what it was."""
        self.cancelled_runs: dict[str, int] = {}
        """By run, the sequence of its last cancellation."""
        self.deaths: dict[int, tuple[str, frozenset[str]]] = {}
        """Of workers and runners, by the sequence that says so: the worker, and the tasks that may be to blame."""
        self.quarantine: dict[str, float] = {}
        """When each kind of work was last quarantined, by fingerprint."""
        self.requeues_until = 0.0
        """When all tasks of failed workers that were put back would have been, at exactly the rate."""
        self.moved_at = self.interrupted_at = 0.0
        """When a task last came, or changed its status; when a leader was last elected, or doubted its own eyes."""
        self.counts = dict.fromkeys(STATUSES, 0)
        self.submitted = 0
        self.live = 0
        self.expected = 0
        self.status = "idle"
        self.repairs = Repairs()
        self.outage: Outage | None = None
        self.lost_lately: dict[str, tuple[float, int]] = {}
        """When workers were lost, within the policy's time, and by which event."""
        self.charged_lately: dict[str, tuple[float, str, int]] = {}
        """Tasks that have paid for the loss of their worker: when, which, and by which order it had them."""
        self.returned: Returned | None = None
        self.outage_unreported = False
        """There was no incident of its last absence yet."""
        self.incidents: dict[str, str] = {}
        """Ids of open incidents, by kind."""
        self.incident_labels: dict[str, str | None] = {}
        self.tallies: dict[tuple[str, str], tuple[int, int]] = {}
        """By reason of a failure and strategy: attempts that succeeded, and that failed; old ones fade."""
        self.parked: set[int] = set()
        """Sequences of messages that could not be understood and that the log does not say so of."""

    def date_requeues(self, now: float) -> None:
        """Another policy, or another clock: no more than one burst lies ahead."""
        self.requeues_until = min(self.requeues_until, now + self.policy.requeue_burst / self.policy.requeue_rate)

    def hear(self, recorded: RecordedHeartbeat) -> None:
        heartbeat = recorded.heartbeat
        if heartbeat is None:
            return
        note_gauges(self.gauges, recorded, heartbeat)
        known = self.beats.get(heartbeat.worker_id)
        if known is None or incarnation_of(known) <= heartbeat.incarnation:
            self.beats[heartbeat.worker_id] = recorded
            self.stragglers.pop(heartbeat.worker_id, None)
            return
        stragglers = self.stragglers.setdefault(heartbeat.worker_id, [])
        while stragglers and incarnation_of(stragglers[-1]) <= heartbeat.incarnation:
            stragglers.pop()
        stragglers.append(recorded)

    def heard_of(self, worker_id: str) -> list[RecordedHeartbeat]:
        """The last heartbeats of its incarnations, each but the first from an older one than the one before it; none
        that is forgotten."""
        last = self.beats.get(worker_id)
        heard = [] if last is None else [last, *self.stragglers.get(worker_id, ())]
        return [one for one in heard if one.sequence > self.loss.through]

    def recall(self, other: "World") -> None:
        self.beats = dict(other.beats)
        self.gauges = copied(other.gauges)
        self.stragglers = {worker_id: list(stragglers) for worker_id, stragglers in other.stragglers.items()}

    @property
    def may_repair(self) -> bool:
        return self.policy.auto_recovery and not self.paused

    def is_cancelled(self, one: Task) -> bool:
        return one.cancelled or self.cancelled_runs.get(one.submitted.run_id, 0) > one.submitted_at

    def is_orphaned(self, one: Task) -> bool:
        """Whether the task is in the hands of an incarnation that is over."""
        if one.status not in ("assigned", "running"):
            return False
        holder = self.workers.get(one.worker_id or "")
        return holder is None or holder.status not in LIVE or holder.incarnation != one.incarnation

    def measured_status(self) -> str:
        return self._status_with(self.live)

    def status_labels(self) -> set[str | None]:
        """Of which labels a change of status, or an incident, should bear one: those of made-up failures without which
        the status would be another. None alone: they make no difference."""
        missing = (
            one.made_up if one.status == "exited" else one.synthetic
            for one in self.workers.values()
            if one.status in MISSING
        )
        labels = [label for label in missing if label is not None]
        without = self._status_with(self.live + len(labels))
        return {None} if without == self.measured_status() else set(labels)

    def _status_with(self, live: int) -> str:
        if self.expected == 0:
            return "idle"
        share = live / self.expected
        if share < self.policy.critical_below:
            return "critical"
        return "degraded" if share < self.policy.degraded_below else "healthy"

    def move(self, one: Task, status: str) -> None:
        self.moved_at = self.time
        self.counts[one.status] -= 1
        self.counts[status] += 1
        if one.apart:
            if status != "assigned":
                self.workers[one.apart].apart = ""
            one.apart = ""
        one.status = status

    def turn(self, one: Worker, status: str) -> None:
        self.live += (status in PRESENT) - (one.status in PRESENT)
        self.expected += (status in EXPECTED) - (one.status in EXPECTED)
        if one.status in LIVE and status not in LIVE:
            self.release(one)
        one.leaving = one.leaving and status in LEAVING
        lost = one.status in PRESENT and status in EXPECTED - PRESENT
        one.status = status
        self._note_loss(one.worker_id, lost=lost)

    def _note_loss(self, worker_id: str, *, lost: bool) -> None:
        if not self.in_outage:
            self.outage = None
        if not lost:
            return
        self.lost_lately[worker_id] = self.time, self.sequence
        horizon = self.time - self.policy.mass_loss_within
        self.lost_lately = {key: lost for key, lost in self.lost_lately.items() if lost[0] >= horizon}
        if self.outage is not None:
            self.outage.together.add(worker_id)
        elif self.measured_status() == "critical":
            first = min(sequence for _, sequence in self.lost_lately.values())
            self.outage = Outage(set(self.lost_lately), first)
            self._refund(self.outage, horizon)

    def _refund(self, outage: Outage, horizon: float) -> None:
        """What the first losses were charged for is given back, unless it is lost again."""
        for task_id, (at, worker_id, assigned_at) in self.charged_lately.items():
            one = self.tasks[task_id]
            due = at >= horizon and worker_id in outage.together and assigned_at < outage.first
            if due and one.status != "final" and not self.is_orphaned(one):
                one.infrastructure_used -= 1
                one.spared += 1
        self.charged_lately.clear()

    @property
    def in_outage(self) -> bool:
        critical = "mass_worker_loss" in self.incidents or self.measured_status() == "critical"
        return self.outage is not None and critical

    def lost_together(self, worker_id: str | None) -> bool:
        """Whether it was lost in one go with others, and that is not over."""
        outage = self.outage
        return self.in_outage and outage is not None and worker_id in outage.together and len(outage.together) > 1

    def release(self, one: Worker) -> None:
        """The incarnation is over: what it held is nobody's."""
        one.made_up = self.synthetic
        if self.synthetic is not None:
            one.ends_made_up[one.epoch] = self.synthetic
        one.held = one.begun = 0
        one.tasks = set()
        if one.apart:
            self.tasks[one.apart].apart = ""
            one.apart = ""
        one.moved_at = self.time
        one.epoch += 1
        one.idled.clear()
        one.row.clear()

    def take_up(self, one: Task, holder: Worker) -> None:
        if holder.held == holder.begun:
            holder.moved_at = self.time
        holder.held += 1
        holder.tasks.add(one.submitted.task_id)
        one.epoch = holder.epoch

    def begin(self, one: Task, holder: Worker) -> None:
        one.began, one.since = True, self.time
        holder.begun += 1
        holder.moved_at = self.time
        holder.idled.clear()

    def let_go(self, one: Task) -> None:
        holder = self.workers.get(one.worker_id or "")
        if holder is not None and one.epoch == holder.epoch:
            holder.held -= 1
            holder.tasks.discard(one.submitted.task_id)
            if holder.apart == one.submitted.task_id:
                holder.apart = ""
            holder.begun -= one.began
            holder.moved_at = self.time
        one.epoch = -1


def incarnation_of(recorded: RecordedHeartbeat) -> int:
    return 0 if recorded.heartbeat is None else recorded.heartbeat.incarnation
