"""A farm that answers the real core: what a leader and its workers would have written, as fast as it can be made up."""

import random
import time
from collections import defaultdict, deque
from collections.abc import Callable
from heapq import heappop, heappush

from events.base import Event
from events.clock import utc
from events.envelope import Draft, Envelope, Provenance, Recorded
from events.identity import new_id
from events.policy import Policy, policy_hash
from events.system import LeaderElected, PolicyChanged, RunSubmitted
from events.task import TaskAssigned, TaskAttemptFinished, TaskStarted, TaskSubmitted
from events.work import PytestWork, Suite
from events.worker import (
    Heartbeat,
    RecordedHeartbeat,
    WorkerExited,
    WorkerFailed,
    WorkerProbeAnswered,
    WorkerRecoveryProbed,
    WorkerRecoveryStarted,
    WorkerRegistered,
)
from recovery.core import RULES_VERSION, Decision, State, decide, evolve, observe

EPOCH = 1_790_000_000.0
SUITE = Suite(python="/srv/shop/.venv/bin/python", cwd="/srv/shop", args=("tests", "-p", "no:cacheprovider"))


class Story:
    """One state, folded from all that has been said, and what was said, if it is `kept`."""

    def __init__(
        self,
        workers: int,
        *,
        kept: bool = False,
        task_s: tuple[float, float] = (0.5, 1.5),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.state = State()
        self._clock = clock
        self.now = EPOCH
        self.drafts: list[Draft] = []
        self.heartbeats: list[Heartbeat] = []
        self.events = 0
        self.folding_s = 0.0
        """Spent in `evolve` and `observe` so far."""
        self.deciding_s = 0.0
        """Spent in `decide` so far."""
        self.worker_ids = [f"worker-{number}" for number in range(1, workers + 1)]
        self._kept = kept
        self._task_s = task_s
        self._random = random.Random(7)
        self._queued: dict[str, deque[TaskAssigned]] = defaultdict(deque)
        self._running: dict[str, TaskAssigned] = {}
        self._ends: list[tuple[float, int, TaskAssigned]] = []
        self._beats = 0
        self._tasks = 0
        self.say(LeaderElected(coordinator_id="c1", term=1))
        policy = Policy()
        self.say(PolicyChanged(policy=policy, policy_hash=policy_hash(policy), actor="coordinator/c1"))
        for worker_id in self.worker_ids:
            self.register(worker_id)

    # Saying

    def say(self, event: Event, decision: Decision | None = None, index: int = 0, count: int = 1) -> Recorded:
        """Records one event as the log would hold it, and folds it."""
        self.events += 1
        moment = utc(self.now)
        provenance = None
        if decision is not None:
            provenance = Provenance(
                as_of_events=self.events - 1 - index,
                as_of_heartbeats=self._beats,
                decided_at=moment,
                rules_version=RULES_VERSION,
                rule=decision.rule,
                index=index,
                count=count,
            )
        envelope = Envelope(
            id=new_id(),
            time=moment,
            source="coordinator/c1" if decision else "worker/w1",
            event=event,  # type: ignore[arg-type]
            causation_id=decision.causation_id if decision else None,
            correlation_id=decision.correlation_id if decision else None,
            decision=provenance,
        )
        if self._kept:
            self.drafts.append(Draft(envelope))
        recorded = Recorded(self.events, self.now, "", envelope)
        began = self._clock()
        evolve(self.state, recorded)
        self.folding_s += self._clock() - began
        return recorded

    def register(self, worker_id: str) -> None:
        self.say(WorkerRegistered(worker_id=worker_id, host="farm-1", pid=4711, slots=1, labels={"os": "linux"}))
        self.beat(worker_id)

    def beat(self, worker_id: str) -> None:
        self._beats += 1
        running = self._running.get(worker_id)
        heartbeat = Heartbeat(
            worker_id=worker_id,
            incarnation=self.state.workers[worker_id].incarnation,
            beat=self._beats,
            sent_at=utc(self.now),
            running=(running.task_id,) if running else (),
            queued=len(self._queued[worker_id]),
            cpu_percent=12.5,
            memory_bytes=48_000_000,
            load_1m=0.75,
            loop_lag_s=0.0004,
        )
        if self._kept:
            self.heartbeats.append(heartbeat)
        recorded = RecordedHeartbeat(self._beats, self.now, heartbeat)
        began = self._clock()
        observe(self.state, recorded)
        self.folding_s += self._clock() - began

    def submit(self, tasks: int) -> None:
        run_id = f"run-{self._tasks}"
        self.say(RunSubmitted(run_id=run_id, title="pytest tests", tasks=tasks, actor="alice@build-7"))
        for _ in range(tasks):
            self._tasks += 1
            node_id = f"tests/test_orders_{self._tasks % 50}.py::TestOrders::test_total[case-{self._tasks}]"
            work = PytestWork(suite=SUITE, node_id=node_id)
            self.say(TaskSubmitted(task_id=f"{run_id}-{self._tasks:07}", run_id=run_id, work=work))

    # What time brings

    def lead(self) -> int:
        """One cycle of the leader, and the workers' first answers to it; how many decisions there were."""
        began = self._clock()
        decisions = decide(self.state, self.now)
        self.deciding_s += self._clock() - began
        for index, decision in enumerate(decisions):
            self.say(decision.event, decision, index, len(decisions))
        for decision in decisions:
            self._hear(decision.event)
        return len(decisions)

    def lead_on(self) -> None:
        """Until nothing is owed at this time."""
        while self.lead():
            pass

    def pass_time(self, seconds: float) -> None:
        """Tasks end on the way, and the next ones start."""
        self.now += seconds
        while self._ends and self._ends[0][0] <= self.now:
            self.end(heappop(self._ends)[2])

    def end(self, assigned: TaskAssigned) -> None:
        """The worker has run the task, unless it has died meanwhile."""
        if self._running.get(assigned.worker_id) is not assigned:
            return
        del self._running[assigned.worker_id]
        self.say(
            TaskAttemptFinished(
                task_id=assigned.task_id,
                worker_id=assigned.worker_id,
                incarnation=assigned.incarnation,
                attempt=assigned.attempt,
                outcome="passed",
                duration_s=0.25,
            )
        )
        self._start_next(assigned.worker_id)

    def running_on(self, worker_id: str) -> TaskAssigned | None:
        return self._running.get(worker_id)

    def kill(self, worker_id: str) -> None:
        incarnation = self.state.workers[worker_id].incarnation
        self._queued.pop(worker_id, None)
        self._running.pop(worker_id, None)
        self.say(WorkerExited(worker_id=worker_id, incarnation=incarnation, signal=9))

    def _hear(self, event: Event) -> None:
        if isinstance(event, TaskAssigned):
            self._queued[event.worker_id].append(event)
            self._start_next(event.worker_id)
        elif isinstance(event, WorkerFailed):
            self._queued.pop(event.worker_id, None)
        elif isinstance(event, WorkerRecoveryStarted):
            self.register(event.worker_id)
        elif isinstance(event, WorkerRecoveryProbed):
            self.say(
                WorkerProbeAnswered(worker_id=event.worker_id, incarnation=event.incarnation, attempt=event.attempt)
            )

    def _start_next(self, worker_id: str) -> None:
        if worker_id in self._running or not self._queued[worker_id]:
            return
        assigned = self._queued[worker_id].popleft()
        self._running[worker_id] = assigned
        heappush(self._ends, (self.now + self._random.uniform(*self._task_s), self.events, assigned))
        self.say(
            TaskStarted(
                task_id=assigned.task_id,
                worker_id=worker_id,
                incarnation=assigned.incarnation,
                attempt=assigned.attempt,
            )
        )


def history(events: int, workers: int = 200, *, beat_s: float = 2.0, death_every_s: float = 1.0) -> Story:
    """A story of so many events and more, heartbeats apart: runs of 1,000 tests, and every second a worker dies."""
    story = Story(workers, kept=True)
    turn_s = 0.05
    turn = 0
    while story.events < events:
        turn += 1
        if not story.state.waiting:
            story.submit(1000)
        story.pass_time(turn_s)
        beating = int(beat_s / turn_s)
        for worker_id in story.worker_ids[turn % beating :: beating]:
            if story.state.workers[worker_id].status in {"alive", "suspect"}:
                story.beat(worker_id)
        if turn % int(death_every_s / turn_s) == 0:
            victim = story.worker_ids[turn * 7 % workers]
            if story.state.workers[victim].status == "alive":
                story.kill(victim)
        story.lead_on()
    return story
