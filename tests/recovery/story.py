"""Given, when, then for the core: events and heartbeats in, under a clock that the test holds; decisions out.

    story = Story()
    story.tell(registered("w1"), submitted("t1"))
    story.beat("w1")
    assert story.told(TaskAssigned) == [...]

The story plays the leader: what `decide` owes is recorded as the next events, until nothing is owed any more. After
every single step the whole state is checked from scratch (`tests.recovery.checker`).
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from events import codec
from events.base import Event
from events.clock import quantised, utc
from events.envelope import SYNTHETIC_HEADER, Envelope, Provenance, Recorded
from events.policy import Policy, policy_hash
from events.system import LeaderElected, PolicyChanged
from events.task import Outcome, TaskAssigned, TaskAttemptFinished, TaskReturned, TaskStarted, TaskSubmitted
from events.work import CommandWork
from events.worker import Heartbeat, RecordedHeartbeat, WorkerProbeAnswered, WorkerRecoveryProbed, WorkerRegistered
from recovery.core import RULES_VERSION, Decision, State, decide, evolve, next_due, observe
from recovery.entities import Task, Worker
from tests.recovery.checker import check

E = TypeVar("E", bound=Event)

BEGIN = 1_000_000.0
CYCLES_MAX = 2_000
"""More cycles without an event from outside mean that the leader talks to itself for ever."""
WORK = CommandWork(argv=("true",), cwd="/")


class Batch(NamedTuple):
    """One cycle of the leader, with what `Provenance` says of it."""

    as_of_events: int
    as_of_heartbeats: int
    heartbeats_at: float | None
    decided_at: float
    decisions: tuple[Decision, ...]


def registered(
    worker_id: str, *, slots: int = 1, labels: dict[str, str] | None = None, **fields: Any
) -> WorkerRegistered:
    return WorkerRegistered(worker_id=worker_id, host="h", pid=1, slots=slots, labels=labels or {}, **fields)


def submitted(task_id: str, *, run_id: str = "r1", **fields: Any) -> TaskSubmitted:
    return TaskSubmitted(task_id=task_id, run_id=run_id, work=WORK, **fields)


class Story:
    """`Story(lead=False)` only folds: then `lead()` is for the test to call.

    `checks` False leaves the checker out, where a test is about cost or about something else's speed.
    """

    def __init__(self, policy: Policy | None = None, *, lead: bool = True, checks: bool = True) -> None:
        self.now = BEGIN
        self.state = State()
        self.records: list[Recorded] = []
        self.beats: list[RecordedHeartbeat] = []
        self.batches: list[Batch] = []
        self.leading = False
        self.budgets_forged = False
        """The test itself has recorded events that only a leader writes: then budgets may be overdrawn."""
        self.label: str | None = None
        """Of all that is told, unless another is given."""
        self.checks = checks
        self.tell(LeaderElected(coordinator_id="c1", term=1))
        if policy is not None:
            self.tell(policy_changed(policy))
        self.leading = lead
        self.settle()

    # Facts in

    def tell(self, *events: Event, synthetic: str | None = None) -> None:
        """Records the events at the present time, all of them before the leader looks."""
        for event in events:
            self._record(event, synthetic=synthetic or self.label)
        self.settle()

    def garbage(self, payload: bytes, subject: str = "resurgam.event.worker.w1.stopped") -> None:
        """A message that the codec may or may not understand."""
        self._take(codec.decode(self.last + 1, self.now, subject, payload, None))
        self.settle()

    def beat(
        self,
        *worker_ids: str,
        incarnation: int | None = None,
        rules: int | None = None,
        free: int = 0,
        unreported: int = 0,
        beat: int = 1,
        **gauges: Any,
    ) -> None:
        """One heartbeat of each; of its present incarnation, and by the rules in force, unless others are named."""
        for worker_id in worker_ids:
            own = self.worker(worker_id).incarnation if incarnation is None else incarnation
            heartbeat = Heartbeat(
                worker_id=worker_id,
                incarnation=own,
                beat=beat,
                sent_at=utc(self.now),
                free=free,
                unreported=unreported,
                rules=self.state.rules.sequence if rules is None else rules,
                **gauges,
            )
            self.beats.append(RecordedHeartbeat(len(self.beats) + 1, self.now, heartbeat))
            observe(self.state, self.beats[-1])
            self._check()
        self.settle()

    def wait(self, seconds: float, *beating: str, free: int = 0, unreported: int = 0) -> None:
        """Lets time pass. Whatever falls due is decided at its time; the workers named beat all along."""
        until = quantised(self.now + seconds)
        interval = self.state.rules.heartbeat_interval
        next_beat = self.now
        while True:
            due = max(next_due(self.state), self.now)
            step = min(until, due, next_beat if beating else until)
            self.now = max(self.now, quantised(step))
            if beating and self.now >= next_beat:
                self.beat(*beating, free=free, unreported=unreported)
                next_beat = quantised(self.now + interval)
            self.settle()
            if self.now >= until:
                return
            if due < until and quantised(due) <= self.now:
                # A timer that came too early, which it may.
                self.now = min(until, quantised(self.now + 0.01))

    # The leader

    def settle(self) -> None:
        if not self.leading:
            return
        for _ in range(CYCLES_MAX):
            if not self.lead():
                assert not self.state.timers.due(self.now), "something is due and nothing is owed"
                if self.checks:
                    assert next_due(self.state) > self.now, "the leader would spin"
                return
        raise AssertionError(f"still deciding after {CYCLES_MAX} cycles: {self.batches[-3:]}")

    def lead(self, *meanwhile: Event, synthetic: str | None = None) -> list[Decision]:
        """One cycle: decide, twice for the sake of the test, and record; behind what others have said `meanwhile`."""
        state = self.state
        decisions = decide(state, self.now)
        if self.checks:
            assert decide(state, self.now) == decisions
            _check_assignments(state, decisions)
        if not decisions:
            return []
        self.batches.append(
            Batch(state.events_sequence, state.heartbeats_sequence, state.heartbeats_at, self.now, tuple(decisions))
        )
        as_of = self.batches[-1]
        for event in meanwhile:
            self._record(event, synthetic=synthetic)
        ignored = state.ignored.total()
        for index, decision in enumerate(decisions):
            provenance = Provenance(
                as_of_events=as_of.as_of_events,
                as_of_heartbeats=as_of.as_of_heartbeats,
                as_of_heartbeats_at=None if as_of.heartbeats_at is None else utc(as_of.heartbeats_at),
                decided_at=utc(self.now),
                rules_version=RULES_VERSION,
                rule=decision.rule,
                index=index,
                count=len(decisions),
            )
            self._record(decision.event, synthetic=decision.synthetic, decision=decision, provenance=provenance)
            assert state.ignored.total() == ignored, f"the state ignored its own decision {decision}"
        return decisions

    # What came of it

    @property
    def last(self) -> int:
        return len(self.records)

    @property
    def status(self) -> str:
        """Of the system, as recorded."""
        return self.state.status

    def events(self) -> Iterator[Event]:
        for recorded in self.records:
            if recorded.event is not None:
                yield recorded.event

    def told(self, kind: type[E], **fields: object) -> list[E]:
        """All recorded events of one type whose fields have these values."""
        return [event for _, event in self.timed(kind, **fields)]

    def timed(self, kind: type[E], **fields: object) -> list[tuple[float, E]]:
        """The same, each with its time since the story began."""
        return [
            (recorded.time - BEGIN, recorded.event)
            for recorded in self.records
            if isinstance(recorded.event, kind)
            and all(getattr(recorded.event, name) == value for name, value in fields.items())
        ]

    def since(self, sequence: int) -> list[Event]:
        return [recorded.event for recorded in self.records[sequence:] if recorded.event is not None]

    def worker(self, worker_id: str) -> Worker:
        return self.state.workers[worker_id]

    def task(self, task_id: str) -> Task:
        return self.state.tasks[task_id]

    # Workers that behave

    def join(self, *worker_ids: str, slots: int = 1, labels: dict[str, str] | None = None) -> None:
        """They register and beat once."""
        for worker_id in worker_ids:
            self.tell(registered(worker_id, slots=slots, labels=labels))
            self.beat(worker_id)

    def start(self, *task_ids: str) -> None:
        for task_id in task_ids:
            self.tell(self.started(task_id))

    def started(self, task_id: str) -> TaskStarted:
        return TaskStarted(task_id=task_id, **self._attempt_of(task_id))

    def finish(self, task_id: str, outcome: Outcome = "passed", duration_s: float = 1.0) -> None:
        self.tell(self.finished(task_id, outcome, duration_s))

    def finished(self, task_id: str, outcome: Outcome = "passed", duration_s: float = 1.0) -> TaskAttemptFinished:
        return TaskAttemptFinished(task_id=task_id, outcome=outcome, duration_s=duration_s, **self._attempt_of(task_id))

    def give_back(self, task_id: str) -> None:
        self.tell(TaskReturned(task_id=task_id, **self._attempt_of(task_id)))

    def _attempt_of(self, task_id: str) -> dict[str, Any]:
        task = self.task(task_id)
        assert task.worker_id is not None
        return {"worker_id": task.worker_id, "incarnation": task.incarnation, "attempt": task.attempt}

    def come_back(self, worker_id: str) -> None:
        """Registers again, beats, and answers the probe where one was sent."""
        asked = len(self.told(WorkerRecoveryProbed))
        self.join(worker_id, slots=self.worker(worker_id).slots, labels=self.worker(worker_id).labels)
        for probe in self.told(WorkerRecoveryProbed)[asked:]:
            self.tell(WorkerProbeAnswered(worker_id=worker_id, incarnation=probe.incarnation, attempt=probe.attempt))

    # Underneath

    def _record(
        self,
        event: Event,
        *,
        synthetic: str | None = None,
        decision: Decision | None = None,
        provenance: Provenance | None = None,
    ) -> None:
        sequence = self.last + 1
        envelope = Envelope(
            id=f"event-{sequence:06}",
            time=utc(self.now),
            source="test",
            event=event,  # type: ignore[arg-type]
            causation_id=None if decision is None else decision.causation_id,
            correlation_id=None if decision is None else decision.correlation_id,
            decision=provenance,
        )
        headers = None if synthetic is None else {SYNTHETIC_HEADER: synthetic}
        # Over the wire and back: what comes out is what a leader would read.
        recorded = codec.decode(sequence, self.now, event.tail(), codec.encode(envelope), headers)
        assert recorded.envelope == envelope, recorded.problem
        self._take(recorded)

    def _take(self, recorded: Recorded) -> None:
        self.records.append(recorded)
        evolve(self.state, recorded)
        self._check()

    def _check(self) -> None:
        if self.checks:
            check(self.state, self.now, budgets=not self.budgets_forged)


def _check_assignments(state: State, decisions: Sequence[Decision]) -> None:
    for decision in decisions:
        if isinstance(event := decision.event, TaskAssigned):
            worker, task = state.workers[event.worker_id], state.tasks[event.task_id]
            assert (worker.status, worker.incarnation) == ("alive", event.incarnation)
            assert task.status == ("isolated" if event.isolated else "queued")
            assert not event.isolated or (worker.set_apart_for == task.task_id and not worker.held)
            assert not task.unwanted
            assert set(task.requires) <= set(worker.labels.items())


def folded(records: Sequence[Recorded], beats: Sequence[RecordedHeartbeat]) -> State:
    """A fresh fold: all events, then all heartbeats."""
    state = State()
    for recorded in records:
        evolve(state, recorded)
    for beat in beats:
        observe(state, beat)
    return state


def plain(value: object) -> Any:
    """Any record as plain data, to be compared."""
    return msgspec.to_builtins(value)


def policy_changed(policy: Policy) -> PolicyChanged:
    return PolicyChanged(policy=policy, policy_hash=policy_hash(policy), actor="test")
