"""Counts of what has happened, folded from the log: for whoever asks how much and how fast, and not about whom.

They are a function of the log's events alone. So they are the same at every coordinator that has read as far, go on
over a change of leaders and a restart, and come back with a snapshot. Made-up events are not counted, nor is what they
led to. The definitions are those of docs/metrics.md, and a test holds both to the same figures.
"""

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import msgspec

from events.base import Event
from events.envelope import Recorded
from events.system import (
    BreakerOpened,
    DetectorDegraded,
    EventParked,
    FaultReported,
    InvariantViolated,
    LeaderElected,
    LogDamaged,
    PolicyChanged,
    ProjectionRebuilt,
    RecoveryPaused,
    RecoveryResumed,
    SystemRecoveryCompleted,
)
from events.task import TaskAssigned, TaskAttemptFinished, TaskCompleted, TaskRequeued, TaskSubmitted
from events.worker import (
    WorkerDisconnected,
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerRecoveryFailed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRecoverySuperseded,
    WorkerRegistered,
    WorkerRetired,
    WorkerStalled,
    WorkerStallRefuted,
    WorkerStopped,
    WorkerSuspected,
    WorkerSuspicionRefuted,
    WorkerVanished,
)

Labels = tuple[str, ...]

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""Upper bounds of the buckets. The targets and the defaults of the policy are among them."""

STRATEGIES_MAX = 30
"""Strategies come with plugins. Whatever is beyond that is counted as `other`."""
OTHER = "other"


class Spread(msgspec.Struct):
    """How observations in seconds are spread; `counts` has one place more than `SECONDS`, for what is longer."""

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.total += seconds

    @property
    def count(self) -> int:
        return sum(self.counts)


class Outage(msgspec.Struct):
    """One that is open."""

    incarnation: int
    """That failed last."""
    down_at: float
    synthetic: bool
    held: bool
    """An operator had halted recovery meanwhile."""


class Tally(msgspec.Struct):
    """`counts` and `spreads` by name and labels; the rest is what is needed to go on counting."""

    counts: dict[str, dict[Labels, int]] = {}
    spreads: dict[str, Spread] = {}
    down: dict[str, tuple[int, float]] = {}
    """By worker, an incarnation and since when it seems to be gone or of no use."""
    failed: dict[str, tuple[int, bool]] = {}
    """By worker, the incarnation that failed last, and whether that was made up; until it registers again."""
    outages: dict[str, Outage] = {}
    attempts: dict[str, tuple[int, bool]] = {}
    """By worker, the number of the attempt to bring it back, and whether that is made up."""
    requeued: dict[str, float] = {}
    """Tasks that wait again, and since when; those that wait for the first time do so since they were submitted."""
    strategies: list[str] = []
    paused: bool = False
    off: bool = False
    """The policy in force switches recovery off."""

    def take(self, recorded: Recorded, event: Event, incarnation: int = 0) -> None:
        """`incarnation`: the present one of the worker that a worker event is about, as of the event before."""
        handler = _HANDLERS.get(type(event))
        if handler is not None:
            handler(self, recorded, event, incarnation)

    def count(self, recorded: Recorded, name: str, *labels: str) -> None:
        if recorded.synthetic is None:
            self.add(name, *labels)

    def add(self, name: str, *labels: str) -> None:
        found = self.counts.setdefault(name, {})
        found[labels] = found.get(labels, 0) + 1

    def measure(self, name: str, seconds: float) -> None:
        if name not in self.spreads:
            self.spreads[name] = Spread()
        self.spreads[name].add(max(0.0, seconds))

    def strategy(self, name: str) -> str:
        if name not in self.strategies:
            if len(self.strategies) == STRATEGIES_MAX:
                return OTHER
            self.strategies.append(name)
        return name

    def made_up(self, worker_id: str) -> bool:
        """Whether its last failure is."""
        return self.failed.get(worker_id, (0, False))[1]

    @property
    def held(self) -> bool:
        return self.paused or self.off


def _down(tally: Tally, worker_id: str, incarnation: int, since: float) -> None:
    known = tally.down.get(worker_id)
    if known is None or known[0] != incarnation or since < known[1]:
        tally.down[worker_id] = incarnation, since


def _suspected(tally: Tally, at: Recorded, event: WorkerSuspected, current: int) -> None:
    tally.count(at, "worker_suspicions")
    if event.incarnation == current:
        seen = event.evidence.last_seen
        _down(tally, event.worker_id, current, at.time if seen is None else seen.timestamp())


def _exited(tally: Tally, at: Recorded, event: WorkerExited, current: int) -> None:
    if event.incarnation == current:
        _down(tally, event.worker_id, current, at.time - (event.unanswered_s or 0.0))


def _cut_off(tally: Tally, at: Recorded, event: WorkerDisconnected | WorkerVanished, current: int) -> None:
    if event.incarnation == current:
        closed = event.closed_at
        _down(tally, event.worker_id, current, at.time if closed is None else closed.timestamp())


def _stalled(tally: Tally, at: Recorded, event: WorkerStalled, current: int) -> None:
    tally.count(at, "worker_stalls", event.cause)
    if event.incarnation == current:
        _down(tally, event.worker_id, current, at.time - (event.waited_s or 0.0))


def _refuted(tally: Tally, at: Recorded, event: WorkerSuspicionRefuted | WorkerStallRefuted, current: int) -> None:
    if isinstance(event, WorkerSuspicionRefuted):
        tally.count(at, "worker_suspicions_refuted")
    if event.incarnation == current:
        tally.down.pop(event.worker_id, None)


def _failed(tally: Tally, at: Recorded, event: WorkerFailed, current: int) -> None:
    worker_id = event.worker_id
    former = tally.failed.get(worker_id)
    if event.incarnation not in (None, current) or (former is not None and former[0] == current):
        return
    tally.failed[worker_id] = current, at.synthetic is not None
    outage = tally.outages.get(worker_id)
    since = tally.down.get(worker_id)
    moments = [] if since is None or since[0] != current else [since[1]]
    if event.evidence is not None and event.evidence.last_seen is not None:
        moments.append(event.evidence.last_seen.timestamp())
    down_at = min(moments, default=None)
    if at.synthetic is None:
        tally.add("worker_failures", event.reason)
        if down_at is not None:
            tally.measure("worker_detection", at.time - down_at)
    if outage is None:
        begun = at.time if down_at is None else min(down_at, at.time)
        tally.outages[worker_id] = Outage(current, begun, at.synthetic is not None, tally.held)
    else:
        outage.incarnation = current
        outage.synthetic |= at.synthetic is not None


def _ended(tally: Tally, at: Recorded, worker_id: str, ending: str) -> None:
    outage = tally.outages.pop(worker_id, None)
    if outage is None or outage.synthetic or at.synthetic is not None or outage.held:
        return
    tally.add("worker_outages", ending)
    if ending in ("recovered", "returned"):
        tally.measure("worker_recovery", at.time - outage.down_at)


def _registered(tally: Tally, at: Recorded, event: WorkerRegistered, current: int) -> None:
    del current
    tally.count(at, "worker_registrations")
    tally.down.pop(event.worker_id, None)
    tally.failed.pop(event.worker_id, None)
    if event.worker_id not in tally.attempts:
        _ended(tally, at, event.worker_id, "returned")


def _begun(tally: Tally, at: Recorded, event: WorkerRecoveryScheduled | WorkerRecoveryStarted, current: int) -> None:
    del current
    number, made_up = tally.attempts.get(event.worker_id, (0, False))
    if number != event.attempt:
        made_up = tally.made_up(event.worker_id)
    tally.attempts[event.worker_id] = event.attempt, made_up or at.synthetic is not None
    outage = tally.outages.get(event.worker_id)
    if outage is not None and isinstance(event, WorkerRecoveryStarted):
        outage.synthetic |= at.synthetic is not None


def _attempt_ended(
    tally: Tally,
    at: Recorded,
    event: WorkerRecoverySucceeded | WorkerRecoveryFailed | WorkerRecoverySuperseded,
    current: int,
) -> None:
    number, made_up = tally.attempts.get(event.worker_id, (0, False))
    if number == event.attempt:
        del tally.attempts[event.worker_id]
    else:
        made_up = tally.made_up(event.worker_id)
    strategy = tally.strategy(event.strategy)
    if not made_up:
        tally.count(at, "worker_recoveries", strategy, _OUTCOMES[type(event)])
    outage = tally.outages.get(event.worker_id)
    if isinstance(event, WorkerRecoverySucceeded):
        tally.failed.pop(event.worker_id, None)
        _ended(tally, at, event.worker_id, "recovered")
    elif isinstance(event, WorkerRecoverySuperseded) and outage is not None and outage.incarnation != current:
        _ended(tally, at, event.worker_id, "returned")


_OUTCOMES: dict[type[Event], str] = {
    WorkerRecoverySucceeded: "succeeded",
    WorkerRecoveryFailed: "failed",
    WorkerRecoverySuperseded: "superseded",
}


def _given_up(tally: Tally, at: Recorded, event: WorkerPermanentlyFailed, current: int) -> None:
    del current
    tally.attempts.pop(event.worker_id, None)
    _ended(tally, at, event.worker_id, "permanent")


def _left(tally: Tally, at: Recorded, event: WorkerRetired | WorkerStopped, current: int) -> None:
    del current
    failed = tally.failed.get(event.worker_id)
    if failed is not None and failed[0] == event.incarnation:
        del tally.failed[event.worker_id]
        _ended(tally, at, event.worker_id, "retired")


def _halted(tally: Tally, at: Recorded, event: RecoveryPaused | RecoveryResumed | PolicyChanged, current: int) -> None:
    del at, current
    if isinstance(event, PolicyChanged):
        tally.off = not event.policy.auto_recovery
    else:
        tally.paused = isinstance(event, RecoveryPaused)
    if tally.off or isinstance(event, RecoveryPaused):
        for outage in tally.outages.values():
            outage.held = True


def _requeued(tally: Tally, at: Recorded, event: TaskRequeued, current: int) -> None:
    del current
    tally.count(at, "task_requeues", event.reason)
    tally.requeued[event.task_id] = at.time


def _assigned(tally: Tally, at: Recorded, event: TaskAssigned, current: int) -> None:
    del current
    tally.count(at, "task_assignments")
    tally.requeued.pop(event.task_id, None)


def _finished(tally: Tally, at: Recorded, event: TaskAttemptFinished, current: int) -> None:
    del current
    tally.count(at, "task_results", event.outcome)
    if at.synthetic is None:
        tally.measure("task_attempt", event.duration_s)


def _completed(tally: Tally, at: Recorded, event: TaskCompleted, current: int) -> None:
    del current
    tally.count(at, "tasks_completed", event.verdict)
    tally.requeued.pop(event.task_id, None)


def _incident_closed(tally: Tally, at: Recorded, event: SystemRecoveryCompleted, current: int) -> None:
    del current
    tally.count(at, "incidents", event.incident_kind, "succeeded" if event.success else "failed")
    if at.synthetic is None:
        tally.measure("incident", event.duration_s)


def _counted(name: str, *fields: str) -> "Callable[[Tally, Recorded, Any, int], None]":
    """For events that are counted and nothing else, by the values of these fields."""

    def handler(tally: Tally, at: Recorded, event: Any, current: int) -> None:
        del current
        tally.count(at, name, *(getattr(event, field) for field in fields))

    return handler


_HANDLERS: dict[type[Event], Callable[[Tally, Recorded, Any, int], None]] = {
    WorkerRegistered: _registered,
    WorkerSuspected: _suspected,
    WorkerSuspicionRefuted: _refuted,
    WorkerExited: _exited,
    WorkerDisconnected: _cut_off,
    WorkerVanished: _cut_off,
    WorkerStalled: _stalled,
    WorkerStallRefuted: _refuted,
    WorkerFailed: _failed,
    WorkerRecoveryScheduled: _begun,
    WorkerRecoveryStarted: _begun,
    WorkerRecoverySucceeded: _attempt_ended,
    WorkerRecoveryFailed: _attempt_ended,
    WorkerRecoverySuperseded: _attempt_ended,
    WorkerPermanentlyFailed: _given_up,
    WorkerRetired: _left,
    WorkerStopped: _left,
    RecoveryPaused: _halted,
    RecoveryResumed: _halted,
    PolicyChanged: _halted,
    TaskSubmitted: _counted("tasks_submitted"),
    TaskAssigned: _assigned,
    TaskRequeued: _requeued,
    TaskAttemptFinished: _finished,
    TaskCompleted: _completed,
    SystemRecoveryCompleted: _incident_closed,
    LeaderElected: _counted("leader_elections"),
    DetectorDegraded: _counted("detector_doubts", "reason"),
    BreakerOpened: _counted("breaker_openings"),
    EventParked: _counted("events_parked"),
    LogDamaged: _counted("log_damages"),
    FaultReported: _counted("faults", "error"),
    InvariantViolated: _counted("invariant_violations"),
    ProjectionRebuilt: _counted("projection_rebuilds"),
}
