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
from events.system import DetectorDegraded, Doubt, LeaderElected, PolicyChanged
from events.work import CommandWork
from events.worker import Heartbeat, RecordedHeartbeat
from recovery.core import State, decide, evolve, forget_beats, observe, recall_beats
from recovery.lifecycle import LIVE
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
BEGIN = 1_000_000_000.0
BACK = 1_000_000.0
"""How far the broker's clock is set back: so far that nobody waits until it is as late again."""
FORTH = 20 * UNIT
FIRST_BEAT = 1_000_000_000_000
SHRINKS = 10
"""A stream of heartbeats that begins anew does so at so small a part of the sequence that it had come to."""

USUAL = Policy(
    # Heartbeats of two moments that follow each other are without a gap between them.
    heartbeat_interval=4.0,
    suspect_after=3 * UNIT,
    self_fence_after=17.0,
    failed_after=4 * UNIT,
    first_heartbeat_timeout=5 * UNIT,
    # Histories of arrivals are kept as far as rows without a gap go, which is less than the other detector learns from.
    detector="deadline",
    phi_patience_max=1.0,
    assignment_start_deadline=2 * UNIT,
    revocation_grace=UNIT,
    # No task runs for so long, and no attempt (of one second) fails at once.
    task_hang_cap=30_000_000.0,
    fail_fast_within=0.5,
    max_recovery_attempts=2,
    # So long that no attempt ever leaves it: how many there were is all that counts.
    recovery_attempts_window=30_000_000.0,
    recovery_interval=2 * UNIT,
    recovery_backoff=UNIT,
    recovery_attempt_timeout=4 * UNIT,
    attempts_reset_after=4 * UNIT,
    # No work waits for so long.
    queue_stalled_after=30_000_000.0,
    flap_failures=1000,
    poison_deaths=1000,
    infrastructure_retries=1,
    verdict_retries=0,
    ahead=1.0,
    tasks_ahead_max=1,
)
POLICIES = (
    USUAL,
    msgspec.structs.replace(USUAL, auto_recovery=False),
    msgspec.structs.replace(USUAL, verdict_retries=1),
    msgspec.structs.replace(
        USUAL,
        heartbeat_interval=1.0,
        suspect_after=UNIT,
        self_fence_after=8.0,
        failed_after=2 * UNIT,
        first_heartbeat_timeout=3 * UNIT,
        max_recovery_attempts=1,
        recovery_interval=UNIT,
        recovery_attempt_timeout=2 * UNIT,
        attempts_reset_after=2 * UNIT,
    ),
)
POLICY_NAMES = ("usual", "paused", "retrying", "short")
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
    knows_loss: bool = False
    """Of the heartbeats whose loss is not in the log yet."""
    ahead: float = 0.0
    """By how many seconds its clock differs from one that has been set since, which it has not noticed."""


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
    beats: int = FIRST_BEAT
    """The last sequence of the stream of heartbeats."""
    unsaid: int | None = None
    """The broker has lost its last heartbeats, whoever reads on has forgotten those up to this sequence, and the log
    does not say so yet."""
    untold: bool = False
    """The broker's clock has been set, and the log does not say so yet."""
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
        world.state.heartbeats_sequence = world.beats
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
        if isinstance(event, DetectorDegraded):
            self._hear_doubt(event)
        return counted

    def _hear_doubt(self, event: DetectorDegraded) -> None:
        if event.reason == "clock_step":
            self.untold = False
        elif event.reason == "heartbeats_lost":
            self.unsaid = None
            for view in self.views:
                view.knows_loss = False

    def _recorded(self, event: Event, synthetic: str | None) -> Recorded:
        sequence = self.state.events_sequence + 1
        envelope = Envelope(id=f"event-{sequence}", time=EPOCH, source="search", event=event)  # type: ignore[arg-type]
        return Recorded(sequence, self.now, "", envelope, synthetic)

    def garbage(self) -> None:
        sequence = self.state.events_sequence + 1
        if self.told is not None:
            self.told.append((self.now, sequence, "something that nobody understands"))
        evolve(self.state, Recorded(sequence, self.now, "", None, None, "not understood", b"?"))

    def beat(
        self, worker_id: str, incarnation: int, *, rules: int | None = None, free: int = 0, unreported: int = 0
    ) -> bool:
        """Stores a heartbeat; whether it counts. `rules` None: its worker has heard of the last ones."""
        self.beats += 1
        ignored = self.state.ignored.total()
        if self.told is not None:
            self.told.append((self.now, self.beats, f"heartbeat of {worker_id}, incarnation {incarnation}"))
        known = self.state.rules.sequence if rules is None else rules
        said = Heartbeat(
            worker_id=worker_id,
            incarnation=incarnation,
            beat=1,
            sent_at=EPOCH,
            rules=known,
            free=free,
            unreported=unreported,
        )
        observe(self.state, RecordedHeartbeat(self.beats, self.now, said))
        return self.state.ignored.total() == ignored

    # What the broker does

    def lose_beats(self, *, anew: bool) -> None:
        """The last heartbeats are gone. Nobody who reads on keeps any of those before: others may stand in their place.

        `anew`: sequences begin again far below all that there have been; else so many heartbeats are stored again,
        before anybody has looked, that they go on behind all that there have been.
        """
        self.beats = self.beats // SHRINKS if anew else self.beats + 1
        self.unsaid = self.beats
        if self.told is not None:
            self.told.append((self.now, self.beats, "all heartbeats up to here are forgotten"))
        forget_beats(self.state, self.unsaid)
        for view in self.views:
            view.knows_loss = False

    def set_clock(self, by: float) -> None:
        self.now += by
        self.untold = True
        for view in self.views:
            # Whoever is far ahead already is so still.
            view.ahead = max(view.ahead, -by)

    def all_read(self, view: View) -> bool:
        """Whether the view has nothing more to learn from the heartbeats."""
        own, other = view.state, self.state
        known = own.beats == other.beats and own.stragglers == other.stragglers
        return known and (self.unsaid is None or view.knows_loss)

    @property
    def views(self) -> list[View]:
        return [one.view for one in self.coordinators if one.view is not None]

    @property
    def alone(self) -> bool:
        """Nobody holds another view of the log, nor decisions made on one."""
        return all(one.view is None and one.batch is None for one in self.coordinators)

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
        if self._heard_ahead():
            # Its silence would count from there. Whoever takes over says first that the clock has been set.
            self.untold = True
        coordinator.become("prompt", self.state.events_sequence)

    def _heard_ahead(self) -> bool:
        """Whether the last heartbeat of somebody live, or what stands in for it, is still to come by its time."""
        state = self.state
        live = [worker for worker in state.workers.values() if worker.status in LIVE]
        beats = [state.newest_beat(worker) or state.presumed_beat(worker) for worker in live]
        return any(beat is not None and beat.time > self.now for beat in beats)

    def look(self) -> View:
        """The log as it is now."""
        state = copy.deepcopy(self.state) if self.lasting else self.state
        return View(state, self.ledger.standings(), self.unsaid is not None)

    def read_beats(self, view: View) -> None:
        """The view's heartbeats come up to date, and its events do not."""
        recall_beats(view.state, self.state)
        view.knows_loss = view.knows_loss or self.unsaid is not None
        view.ahead = 0.0

    def read_events(self, view: View) -> View:
        """The log as it is now, with the heartbeats of the view. The two folds meet in the indexes of times alone.

        Where heartbeats are lost, whoever has the broker again to read on learns of it in the same moment.
        """
        newer = self.look()
        if self.unsaid is not None:
            return newer
        newer.state = copy.copy(newer.state)
        newer.state.timers, newer.state.useless, newer.state.repairs = Timers(), Timers(), Timers()
        newer.state.attempts, newer.state.repairing = {}, {}
        recall_beats(newer.state, view.state)
        return newer

    def owed(self, view: View | None = None) -> list[Event]:
        """What a leader says now, on its own view or on the log as it is: first of itself, if there is anything, and
        only then what it decides.

        Raises:
            Violation: the decisions contradict what they were made on.
        """
        knows_loss, ahead = (True, 0.0) if view is None else (view.knows_loss, view.ahead)
        state = self.state if view is None else view.state
        if self.unsaid is not None and knows_loss:
            return [degraded("heartbeats_lost", self.unsaid)]
        if self.untold and not ahead:
            return [degraded("clock_step", state.heartbeats_sequence)]
        now = self.now + ahead
        decisions = decide(state, now)
        judge(decisions, state, self.ledger.standings() if view is None else view.standings, now)
        if not decisions and state.timers.due(now):
            raise Violation(f"{state.timers.due(now)} are due, and nothing is owed: the leader would spin")
        return [decision.event for decision in decisions]

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
            batch = self.owed()
            if not batch:
                return
            if self.append(batch, leader.token) != len(batch):
                raise Violation(f"the state ignores a decision that was made on it: {batch}")
        raise Violation(f"the leader still decides after {CYCLES_MAX} cycles: {batch}")


def degraded(reason: Doubt, heartbeats_sequence: int) -> DetectorDegraded:
    return DetectorDegraded(reason=reason, extent_s=0.0, heartbeats_sequence=heartbeats_sequence)


@contextmanager
def whole_delays() -> Iterator[None]:
    """Every backoff waits for its ceiling, so that delays stay on the lattice. A leader that is held covers all longer
    ones, and the first attempts, which go at once, the shorter."""
    with mock.patch("recovery.schedule.unit_hash", _one):
        yield


def _one(_key: str) -> float:
    return 1.0
