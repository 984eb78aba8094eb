"""Watches what the broker stores, and judges it: every event when it comes, everything together at the end."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from events import codec
from events.envelope import Recorded
from events.heartbeats import decode_heartbeat
from events.jetstream import JetStreamLog
from events.system import LeaderElected, LogDamaged
from events.task import TaskCompleted, TaskSubmitted
from events.worker import (
    WorkerCordoned,
    WorkerDraining,
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerReadmitted,
    WorkerRegistered,
    WorkerUncordoned,
)
from projections.verify import first_difference
from replay.invariants import Checker
from tests.simulation.executions import Conduct
from tests.simulation.protocol import Message
from tests.simulation.scenario import Violation
from tests.simulation.storage import Stored
from tests.simulation.stream import Stream
from tests.simulation.worker import SimWorker
from worker.agent import SUPERSEDED

if TYPE_CHECKING:
    from tests.simulation.world import World

LIVENESS = "liveness"
ONE_WORKER = "one-worker"
HISTORY_S_MAX = 600.0

EXPECTED: dict[Conduct, frozenset[str]] = {
    Conduct.passes: frozenset({"passed"}),
    Conduct.fails: frozenset({"failed"}),
    Conduct.crashes: frozenset({"crashed"}),
    Conduct.hangs: frozenset({"timed_out"}),
    Conduct.kills_agent: frozenset({"crashed", "quarantined"}),
    Conduct.kills_worker: frozenset({"crashed", "quarantined"}),
    Conduct.stops_agent: frozenset({"crashed", "quarantined"}),
    Conduct.kills_keeper: frozenset({"crashed"}),
}


class Watch:
    def __init__(self, world: "World") -> None:
        self.world = world
        self.violation: Violation | None = None
        self.broken = asyncio.Event()
        """Set with the first violation."""
        self.coordinated = asyncio.Event()
        """Set with the first election."""
        self.records: list[Recorded] = []
        self.events = 0
        self.heartbeats = 0
        self.stored_at = 0.0
        """When the last event was stored, by the loop's clock."""
        self.submitted: dict[str, int] = {}
        """Tasks, with the sequence of their submission."""
        self.submitted_all = False
        self.open_tasks: dict[str, None] = {}
        self.verdicts: Counter[str] = Counter()
        self.incarnations: dict[str, int] = {}
        """The last registration of each worker."""
        self.made_up: set[tuple[str, int]] = set()
        """Incarnations that an operator declared failed: what they run may run twice for a moment."""
        self.cordoned: dict[str, None] = {}
        """Workers that nobody has released from all cordons since the last one."""
        self._election = asyncio.Event()
        self.listeners: list[Callable[[Recorded], None]] = []
        self._status: dict[str, str] = {}
        self._verdict_of: dict[str, str] = {}
        self._checker = Checker(reproduce=True)
        self._digest = hashlib.sha256()
        self._overlaps = 0
        self._ids: set[str] = set()

    @property
    def last(self) -> int:
        """Sequence of the last event."""
        return self.records[-1].sequence if self.records else 0

    def digest(self) -> str:
        return self._digest.hexdigest()

    def blame(self, invariant: str, sequence: int, entity: str, sentence: str) -> None:
        if self.violation is None:
            self.violation = Violation(invariant, sequence, entity, sentence)
            self.broken.set()

    def attach(self, events: Stream, heartbeats: Stream) -> None:
        events.observers.append(self._event)
        heartbeats.observers.append(self._heartbeat)

    # What is stored

    def _heartbeat(self, stored: Stored) -> None:
        self.heartbeats += 1
        self._digest.update(b"h%d %d " % (stored.sequence, stored.time_ns))
        self._digest.update(stored.data)
        message = Message(stored.subject, "", stored.data, stored.headers)
        self._checker.observe(decode_heartbeat(stored.sequence, stored.time_ns / 1e9, message))

    def _event(self, stored: Stored) -> None:
        self.events += 1
        self.stored_at = self.world.loop.time()
        self._digest.update(b"e%d %d " % (stored.sequence, stored.time_ns))
        self._digest.update(stored.subject.encode())
        self._digest.update(stored.data)
        recorded = codec.decode(stored.sequence, stored.time_ns / 1e9, stored.subject, stored.data, stored.headers)
        self.records.append(recorded)
        self._ids.add(recorded.id)
        self._note(recorded)
        self._checker.feed(recorded)
        if self._checker.violations:
            found = self._checker.violations[0]
            self.blame(found.invariant, found.sequence, found.entity, found.sentence)
        self._judge_overlaps()
        for listener in list(self.listeners):
            listener(recorded)

    async def next_election(self) -> None:
        await self._election.wait()

    def settle(self, worker_id: str) -> None:
        """The operator has seen to it."""
        self._status[worker_id] = ""

    def status_of(self, worker_id: str) -> str:
        """`permanent`, `draining`, or empty for whatever mends itself."""
        return self._status.get(worker_id, "")

    def _note(self, recorded: Recorded) -> None:
        event = recorded.event
        if isinstance(event, TaskSubmitted):
            if event.task_id not in self.submitted:
                self.submitted[event.task_id] = recorded.sequence
                self.open_tasks[event.task_id] = None
        elif isinstance(event, TaskCompleted):
            self.open_tasks.pop(event.task_id, None)
            self.verdicts[event.verdict] += 1
            self._verdict_of[event.task_id] = event.verdict
        elif isinstance(event, LogDamaged):
            self.blame("no-gap", recorded.sequence, "", f"{event.noticed_by} misses {event.first} to {event.last}")
        elif isinstance(event, WorkerExited):
            if recorded.envelope is not None and recorded.envelope.source == f"supervisor/{event.worker_id}":
                self._judge_left(event.worker_id, event.incarnation, "its end is reported")
        elif isinstance(event, WorkerRegistered):
            if recorded.envelope is not None and recorded.envelope.source == f"worker/{event.worker_id}":
                self._judge_left(event.worker_id, recorded.sequence - 1, "it registers anew")
            self.incarnations[event.worker_id] = recorded.sequence
            if self._status.get(event.worker_id) == "draining":
                self._status[event.worker_id] = ""
        elif isinstance(event, WorkerPermanentlyFailed):
            self._status[event.worker_id] = "permanent"
        elif isinstance(event, WorkerCordoned):
            self.cordoned[event.worker_id] = None
        elif isinstance(event, WorkerUncordoned) and event.cause is None:
            self.cordoned.pop(event.worker_id, None)
        elif isinstance(event, WorkerReadmitted):
            self._status[event.worker_id] = ""
        elif isinstance(event, WorkerDraining):
            if event.incarnation == self.incarnations.get(event.worker_id) and not self._status.get(event.worker_id):
                self._status[event.worker_id] = "draining"
        elif isinstance(event, WorkerFailed):
            if recorded.synthetic is not None and recorded.envelope is not None and recorded.envelope.decision is None:
                self.made_up.add((event.worker_id, event.incarnation or self.incarnations.get(event.worker_id, 0)))
        elif isinstance(event, LeaderElected):
            self.coordinated.set()
            self._election.set()
            self._election = asyncio.Event()

    def _judge_left(self, worker_id: str, incarnation: int, what: str) -> None:
        """Who says that an incarnation is over has made an end of all that it ran."""
        for one in self.world.executions.live():
            if one.worker_id == worker_id and one.incarnation <= incarnation:
                self.blame(
                    "nothing-left", self.last, worker_id, f"{what}, and attempt {one.attempt} of {one.task_id} runs on"
                )

    def judge_end(self, worker: SimWorker) -> None:
        """Who gives way gives way to somebody."""
        if worker.ending is None or worker.ending.code != SUPERSEDED:
            return
        worker_id = worker.options.worker_id
        others = [
            other
            for other in self.world.of_one_id(worker_id)
            if other is not worker and other.ended_at >= worker.started_at
        ]
        if not others:
            self.blame(ONE_WORKER, self.last, worker_id, f"it gave way to nobody: {worker.ending.sentence}")
        elif all(other.ending is not None and other.ending.code == SUPERSEDED for other in others):
            self.blame(ONE_WORKER, self.last, worker_id, f"all gave way to each other: {worker.ending.sentence}")

    def _judge_overlaps(self) -> None:
        overlaps = self.world.executions.overlaps
        while self._overlaps < len(overlaps):
            first, second = overlaps[self._overlaps]
            self._overlaps += 1
            if not any((one.worker_id, one.incarnation) in self.made_up for one in (first, second)):
                self.blame(
                    "one-execution",
                    self.last,
                    first.task_id,
                    f"attempt {second.attempt} began on {second.worker_id} at {second.began:.6f} s, while attempt "
                    f"{first.attempt} was running on {first.worker_id}",
                )

    # At the end

    def judge_unhandled(self) -> None:
        """Nothing in production code may end by an exception that nobody has foreseen."""
        for unhandled in self.world.loop.unhandled[:1]:
            self.blame("no-crash", self.last, "", str(unhandled))

    def judge_unfinished(self) -> None:
        if self.open_tasks:
            task_id = next(iter(self.open_tasks))
            self.blame(
                LIVENESS,
                self.last,
                task_id,
                f"{len(self.open_tasks)} of {len(self.submitted)} tasks have no verdict "
                f"{self.world.scenario.quiet_s:g} s after the last fault",
            )
        elif not self.world.watch.submitted_all:
            self.blame(LIVENESS, self.last, "", "the log does not take what a client submits")
        else:
            kind = "" if not self.records else type(self.records[-1].event).__name__
            self.blame(LIVENESS, self.last, "", f"it does not come to rest: the last event is {kind}")

    def judge_rest(self) -> None:
        self._checker.at_rest()
        if self._checker.violations:
            found = self._checker.violations[0]
            self.blame(found.invariant, found.sequence, found.entity, found.sentence)
        client = self.world.client
        for event_id in client.acknowledged:
            if event_id not in self._ids:
                self.blame("acknowledged-kept", self.last, event_id, "the log acknowledged it and does not hold it")
        for worker_id in self.world.scenario.worker_names:
            living = [worker.host.name for worker in self.world.of_one_id(worker_id) if worker.alive]
            if not living:
                self.blame("at-rest", self.last, worker_id, "its process is gone")
            elif len(living) > 1:
                self.blame(ONE_WORKER, self.last, worker_id, f"it lives on {' and on '.join(living)}")
        for promise in client.promises.values():
            allowed = EXPECTED[promise.conduct] | ({"timed_out"} if promise.limited else set())
            if promise.task_id in client.cancelled:
                allowed |= {"cancelled"}
            if self.world.nemesis.done:
                # Three workers in a row may be struck just while they run it. That they were, is an invariant's matter.
                allowed |= {"crashed", "quarantined"}
            if promise.task_id in self.world.executions.spoiled:
                allowed |= {"failed"}
            verdict = self._verdict_of.get(promise.task_id)
            if verdict not in allowed:
                self.blame(
                    "verdict-true",
                    self.submitted.get(promise.task_id, 0),
                    promise.task_id,
                    f"its verdict is {verdict}, and it was to be one of {', '.join(sorted(allowed))}",
                )


async def judge_history(world: "World") -> str | None:
    """The first difference between the projector's tables and what a rebuild makes of the log; None: there is none."""
    service = world.projector
    assert service is not None
    loop = asyncio.get_running_loop()
    deadline = loop.time() + HISTORY_S_MAX
    while service.projector is None or service.projector.position.sequence < world.watch.last:
        if loop.time() >= deadline:
            return f"the history has not caught up with the log in {HISTORY_S_MAX:g} s"
        await asyncio.sleep(1.0)
    service.terminate()
    assert service.process is not None
    await service.process.wait()
    bus = await world.broker.connect(world.user, "auditor", wait_s=10.0)
    return await first_difference(service.path, JetStreamLog(bus, world.streams))
