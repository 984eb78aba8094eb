"""The state: what the two streams add up to, and the indexes that keep a cycle's cost in proportion to change."""

from collections import Counter, OrderedDict

from events.policy import Policy, policy_hash
from events.system import SystemStatus
from recovery.entities import Beat, CutOff, Incident, Loss, ParkedMessage, Task, Worker
from recovery.queue import WaitingTasks
from recovery.timers import Timers


class State:
    """Written by `recovery.evolve` alone, read by `recovery.decide` and by whoever wants to look."""

    def __init__(self) -> None:
        # The facts
        self.policy = Policy()
        self.policy_hash = policy_hash(self.policy)
        self.policy_recorded = False
        """False until the first `PolicyChanged`: until then the defaults are in force."""
        self.policy_actor = ""
        self.term = 0
        self.leader_id: str | None = None
        self.fencing_token = 0
        self.watched_since = 0.0
        """When the present leader or policy began, or the leader last doubted its own eyes: no silence counts from
        further back."""
        self.watched_beat = 0
        """Sequence of the last heartbeat before the present leader doubted: what time it bears is worth nothing."""
        self.workers: dict[str, Worker] = {}
        self.tasks: dict[str, Task] = {}
        self.runs: dict[str, dict[str, None]] = {}
        """Ids of the tasks of each run that have no verdict yet."""
        self.beats: dict[str, Beat] = {}
        self.status: SystemStatus = "idle"
        self.incidents: dict[str, Incident] = {}
        """Open incidents by kind."""
        self.failover_unreported = False
        """A leader has followed another that did not step down in order."""
        self.parked: OrderedDict[int, ParkedMessage] = OrderedDict()
        """Messages that could not be understood and that the log does not say so of yet."""
        self.seconds_per_task = 0.0
        """Moving average of the run time of attempts; 0.0: none has finished yet."""
        self.events_sequence = 0
        self.heartbeats_sequence = 0
        self.heartbeats_at: float | None = None
        """The broker's time of the heartbeat at `heartbeats_sequence`; None: that one was not read."""
        self.loss = Loss(0, 0, 0.0)
        """The last loss of heartbeats."""

        # Counts that people ask for
        self.ignored: Counter[str] = Counter()
        """Events that changed nothing, by kind: stale, doubled, or fitting no row of the tables."""
        self.tasks_by_status: Counter[str] = Counter()

        # The indexes
        self.timers = Timers()
        """When each worker next owes something."""
        self.heard_last = ""
        """The worker of the last heartbeat: where to look first for one that is not silent."""
        self.waiting = WaitingTasks()
        self.unsettled: OrderedDict[str, None] = OrderedDict()
        """Tasks about which the leader must decide: reported, returned, cancelled (whoever has them)."""
        self.orphaned: OrderedDict[str, None] = OrderedDict()
        """Tasks whose worker's incarnation is over, and that nobody has cancelled."""
        self.available: dict[int, OrderedDict[str, Worker]] = {}
        """Workers that may get work, by load level: how many full rounds of their slots they hold."""
        self.available_labels: dict[int, Counter[tuple[str, str]]] = {}
        """How many of the workers of each level have each label."""
        self.slots = 0
        """Slots of the workers in `available`."""
        self.workers_live = 0
        self.workers_expected = 0

    def last_beat(self, worker: Worker) -> Beat | None:
        """The last heartbeat of the worker's present incarnation."""
        beat = self._beat(worker)
        return beat if beat is not None and beat.incarnation == worker.incarnation else None

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
        apart. The present incarnation is over, then, and nothing more is heard of it."""
        beat = self._beat(worker)
        return beat if beat is not None and beat.incarnation > worker.incarnation else None

    def newest_beat(self, worker: Worker) -> Beat | None:
        """The last heartbeat of the present incarnation, or of one that is not registered yet."""
        return self.newer_beat(worker) or self.last_beat(worker)

    def heard_at(self, worker: Worker) -> float:
        """When the worker was last heard, by heartbeat or registration."""
        beat = self.newest_beat(worker)
        return worker.registered_at if beat is None else max(worker.registered_at, beat.time)

    def _beat(self, worker: Worker) -> Beat | None:
        beat = self.beats.get(worker.worker_id)
        return beat if beat is not None and beat.sequence > self.loss.through else None

    def silent_since(self, beat: Beat) -> float:
        """From when on the silence behind a heartbeat counts."""
        return self.watched_since if beat.sequence <= self.watched_beat else max(beat.time, self.watched_since)

    def measured_status(self) -> SystemStatus:
        """What the counts of workers say now, whatever the log said last."""
        if self.workers_expected == 0:
            return "idle"
        share = self.workers_live / self.workers_expected
        if share < self.policy.critical_below:
            return "critical"
        return "degraded" if share < self.policy.degraded_below else "healthy"
