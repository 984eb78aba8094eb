"""The state: what the two streams add up to, and the indexes that keep a cycle's cost in proportion to change."""

from collections import Counter, OrderedDict

from events.policy import Policy, policy_hash
from events.system import SystemStatus
from recovery.entities import Beat, Incident, ParkedMessage, Task, Worker
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
        """When the present leader, or the present policy, began: no silence counts from further back."""
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

        # Counts that people ask for
        self.ignored: Counter[str] = Counter()
        """Events that changed nothing, by kind: stale, doubled, or fitting no row of the tables."""
        self.tasks_by_status: Counter[str] = Counter()

        # The indexes
        self.timers = Timers()
        """When each worker next owes something."""
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
        beat = self.beats.get(worker.worker_id)
        return beat if beat is not None and beat.incarnation == worker.incarnation else None

    def newer_beat(self, worker: Worker) -> Beat | None:
        """The last heartbeat of an incarnation whose registration has not been read yet: the two streams are read
        apart. The present incarnation is over, then, and nothing more is heard of it."""
        beat = self.beats.get(worker.worker_id)
        return beat if beat is not None and beat.incarnation > worker.incarnation else None

    def measured_status(self) -> SystemStatus:
        """What the counts of workers say now, whatever the log said last."""
        if self.workers_expected == 0:
            return "idle"
        share = self.workers_live / self.workers_expected
        if share < self.policy.critical_below:
            return "critical"
        return "degraded" if share < self.policy.degraded_below else "healthy"
