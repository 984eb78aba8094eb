"""One small world: the fold of a log, the two coordinators that may write decisions into it, and the time.

Facts are recorded the moment they happen; who may say what, and how late, is the business of `actions`. A leader is
prompt until it is held: after every event it decides until nothing is owed. A leader that is held sees the log as it
was then, decides on that or on a newer view, and may lie arbitrarily long on what it has decided. So every order of
reading, deciding and appending is reached, and the usual one is short.

Time moves on a lattice of `UNIT`, on which all the policies' numbers and all delays lie (`whole_delays`).
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal
from unittest import mock

import msgspec

from events.base import Event
from events.clock import EPOCH
from events.envelope import Envelope, Recorded
from events.policy import Policy, policy_hash
from events.system import LeaderElected, PolicyChanged
from events.work import CommandWork
from events.worker import Heartbeat, RecordedHeartbeat
from recovery.core import Decision, State, decide, evolve, observe
from recovery.indexes import index_worker
from recovery.timers import Timers
from tests.simulation.exhaustive.entries import Ledger, Limits, Standing, TaskEntry, Violation, WorkerEntry
from tests.simulation.exhaustive.judging import judge
from tests.simulation.exhaustive.ledger import take

WORKERS = ("w1", "w2")
TASKS = ("t1", "t2")
COORDINATORS = ("c1", "c2")
RUN = "r1"
WORK = CommandWork(argv=("true",), cwd="/")

UNIT = 5.0
"""Seconds of one step of time."""
BEGIN = 1_000.0

USUAL = Policy(
    heartbeat_interval=2.0,
    suspect_after=2 * UNIT,
    self_fence_after=12.0,
    failed_after=3 * UNIT,
    first_heartbeat_timeout=4 * UNIT,
    max_recovery_attempts=2,
    # So long that no attempt ever leaves it: how many there were is all that counts.
    recovery_attempts_window=30_000_000.0,
    recovery_interval=2 * UNIT,
    recovery_backoff=UNIT,
    recovery_attempt_timeout=4 * UNIT,
    attempts_reset_after=4 * UNIT,
    infrastructure_retries=1,
    verdict_retries=0,
    ahead=1.0,
    tasks_ahead_max=1,
)
POLICIES = (
    USUAL,
    msgspec.structs.replace(USUAL, auto_recovery=False),
    msgspec.structs.replace(USUAL, verdict_retries=1),
)
POLICY_NAMES = ("usual", "paused", "retrying")
POLICY_HASHES = tuple(policy_hash(policy) for policy in POLICIES)
LIMITS = Limits(infrastructure={"t1": 1, "t2": 0}, verdict=1, recovery_attempts=2)
OWN_RETRIES: dict[str, int | None] = {"t1": None, "t2": 0}
"""Infrastructure retries of each task; None: the policy's."""

CYCLES_MAX = 50
"""More cycles without an event from outside mean that the leader talks to itself for ever."""

Role = Literal["standby", "prompt", "held", "deciding", "crashed", "deposed"]
"""`deciding`: a batch is decided and not yet appended; `crashed`: such a batch outlived the process that sent it;
`deposed`: a batch is on its way, from whoever it was, and somebody newer leads."""

LEADING: frozenset[Role] = frozenset({"prompt", "held", "deciding"})


@dataclass(slots=True)
class View:
    """What a held leader has read so far."""

    state: State
    standings: dict[str, tuple[Standing, int]]


@dataclass(slots=True)
class Coordinator:
    coordinator_id: str
    role: Role = "standby"
    token: int = 0
    view: View | None = None
    batch: list[Event] | None = None

    def become(self, role: Role, token: int = 0, *, view: View | None = None, batch: list[Event] | None = None) -> None:
        self.role, self.token, self.view, self.batch = role, token, view, batch


@dataclass
class World:
    """`lasting` worlds go through many actions; the others live for one, and may share what they only look at."""

    state: State = field(default_factory=State)
    ledger: Ledger = field(
        default_factory=lambda: Ledger(
            LIMITS, {key: WorkerEntry() for key in WORKERS}, {key: TaskEntry() for key in TASKS}
        )
    )
    coordinators: list[Coordinator] = field(default_factory=lambda: [Coordinator(key) for key in COORDINATORS])
    now: float = BEGIN
    beats: int = 0
    """The last sequence of the stream of heartbeats."""
    fenced: bool = True
    """Whether the log refuses what carries an old fencing token, as it must."""
    lasting: bool = False
    told: list[tuple[float, int, Event | str]] | None = None
    """Time, sequence and what it is, of everything recorded, if somebody wants to read it."""
    fingerprint: "Callable[[World], bytes] | None" = None
    """Set: every batch is stored a second time, under the same ids, and must then change nothing."""

    @classmethod
    def empty(cls, *, lasting: bool = False) -> "World":
        """A log that holds the policy and nothing else."""
        world = cls(lasting=lasting)
        world.record(PolicyChanged(policy=USUAL, policy_hash=POLICY_HASHES[0], actor="operator"))
        return world

    # Into the log

    def record(self, event: Event, *, synthetic: str | None = None) -> bool:
        """Appends the event; whether it counts."""
        state = self.state
        ignored = state.ignored.total()
        if self.told is not None:
            self.told.append((self.now, state.events_sequence + 1, event))
        evolve(state, self._recorded(event, synthetic))
        counted = state.ignored.total() == ignored
        said = take(self.ledger, event, state.events_sequence)
        if said is not None and said != counted:
            raise Violation(
                f"the core {'takes' if counted else 'ignores'} {event}, which {'counts' if said else 'is stale'}"
            )
        return counted

    def _recorded(self, event: Event, synthetic: str | None) -> Recorded:
        sequence = self.state.events_sequence + 1
        envelope = Envelope(id=f"event-{sequence}", time=EPOCH, source="search", event=event)  # type: ignore[arg-type]
        return Recorded(sequence, self.now, "", envelope, synthetic)

    def garbage(self) -> None:
        sequence = self.state.events_sequence + 1
        if self.told is not None:
            self.told.append((self.now, sequence, "something that nobody understands"))
        evolve(self.state, Recorded(sequence, self.now, "", None, None, "not understood", b"?"))

    def beat(self, worker_id: str, incarnation: int) -> bool:
        """Stores a heartbeat; whether it counts."""
        self.beats += 1
        ignored = self.state.ignored.total()
        if self.told is not None:
            self.told.append((self.now, self.beats, f"heartbeat of {worker_id}, incarnation {incarnation}"))
        observe(self.state, heartbeat(worker_id, incarnation, self.beats, self.now))
        return self.state.ignored.total() == ignored

    # Leaders

    @property
    def leader(self) -> Coordinator | None:
        """Whoever leads by the log, and knows it."""
        return next((one for one in self.coordinators if one.role in LEADING), None)

    def elect(self, coordinator: Coordinator) -> None:
        for other in self.coordinators:
            if other.role != "standby":
                # Without a batch on its way it may decide what it likes: by then the fence will have risen.
                other.become("standby" if other.batch is None else "deposed", other.token, batch=other.batch)
        self.record(LeaderElected(coordinator_id=coordinator.coordinator_id, term=self.state.term + 1))
        coordinator.become("prompt", self.state.events_sequence)

    def look(self) -> View:
        """The log as it is now."""
        state = copy.deepcopy(self.state) if self.lasting else self.state
        return View(state, self.ledger.standings())

    def read_beats(self, view: View) -> None:
        """The view's heartbeats come up to date, and its events do not."""
        for worker_id, beat in self.state.beats.items():
            if view.state.beats.get(worker_id) != beat:
                observe(view.state, heartbeat(worker_id, beat.incarnation, beat.sequence, beat.time))

    def read_events(self, view: View) -> View:
        """The log as it is now, with the heartbeats of the view. The two folds meet in the index of timers alone."""
        newer = self.look()
        newer.state = copy.copy(newer.state)
        newer.state.beats = view.state.beats
        newer.state.timers = Timers()
        for worker in newer.state.workers.values():
            index_worker(newer.state, worker)
        return newer

    def owed(self, view: View | None = None) -> list[Decision]:
        """What a leader decides now, on its own view or on the log as it is.

        Raises:
            Violation: the decisions contradict what they were made on.
        """
        state = self.state if view is None else view.state
        decisions = decide(state, self.now)
        judge(decisions, state, self.ledger.standings() if view is None else view.standings, self.now)
        if not decisions and state.timers.due(self.now):
            raise Violation(f"{state.timers.due(self.now)} are due, and nothing is owed: the leader would spin")
        return decisions

    def append(self, batch: Sequence[Event], token: int) -> int | None:
        """Stores a leader's batch; how many of its events count. None: behind a newer fencing token, none is stored."""
        if self.fenced and token != self.state.fencing_token:
            return None
        counted = sum([self.record(event) for event in batch])
        if self.fingerprint is not None:
            before = self.fingerprint(self)
            for event in batch:
                evolve(self.state, self._recorded(event, None))
            if self.fingerprint(self) != before:
                raise Violation(f"stored twice, a batch changes more than stored once: {batch}")
        return counted

    def settle(self) -> None:
        """A prompt leader decides, appends and reads back until nothing is owed."""
        leader = self.leader
        if leader is None or leader.role != "prompt":
            return
        for _ in range(CYCLES_MAX):
            decisions = self.owed()
            if not decisions:
                return
            if self.append([decision.event for decision in decisions], leader.token) != len(decisions):
                raise Violation(f"the state ignores a decision that was made on it: {decisions}")
        raise Violation(f"the leader still decides after {CYCLES_MAX} cycles: {decisions}")


def heartbeat(worker_id: str, incarnation: int, sequence: int, time: float) -> RecordedHeartbeat:
    return RecordedHeartbeat(
        sequence, time, Heartbeat(worker_id=worker_id, incarnation=incarnation, beat=1, sent_at=EPOCH)
    )


@contextmanager
def whole_delays() -> Iterator[None]:
    """Every backoff waits for its ceiling, so that delays stay on the lattice. A leader that is held covers all longer
    ones, and the first attempts, which go at once, the shorter."""
    with mock.patch("recovery.schedule.unit_hash", _one):
        yield


def _one(_key: str) -> float:
    return 1.0
