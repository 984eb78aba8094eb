"""What is said of a farm's health: the answer of `resurgam health --json` and of `GET /api/health`.

Ages and spans are seconds, by the broker's clock at `at`.
"""

from datetime import datetime
from typing import Literal

import msgspec

from events.failures import ErrorCode, FailureReason, StrategyName
from events.forecast import Remedy, Resource
from events.system import Doubt, IncidentKind, SystemStatus
from events.worker import CordonCause, Heartbeat, StallCause
from recovery.lifecycle import AttemptStatus, WorkerStatus

WELL: frozenset[SystemStatus] = frozenset({"healthy", "idle"})


class LastHeartbeat(msgspec.Struct, frozen=True, kw_only=True):
    sequence: int
    """In the stream HEARTBEATS."""
    stored_at: datetime
    age_s: float
    content: Heartbeat | None
    """None where only its time is known."""


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """How long a live worker has not been heard, and from when on that is held against it."""

    seconds: float
    """Since its last heartbeat, or since its registration where there was none."""
    threshold_s: float | None
    """A silence of this length leads to the next judgement: suspicion or failure. None: one is due already."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a worker counts as failed. `sequence` is that of the event that says so."""

    reason: FailureReason
    sequence: int
    at: datetime
    age_s: float
    message: str = ""
    evidence_sequence: int = 0
    """Of the report in the log that proves it; 0: it was judged by its heartbeats."""
    exit_code: int | None = None
    signal: int | None = None
    silence_s: float | None = None
    threshold_s: float | None = None
    synthetic: str | None = None
    """Label of a failure that somebody made up."""


class Suspicion(msgspec.Struct, frozen=True, kw_only=True):
    sequence: int
    age_s: float
    silence_s: float | None
    threshold_s: float | None
    disconnected: bool
    """Its connection was closed; else it is its silence."""


class Stalling(msgspec.Struct, frozen=True, kw_only=True):
    """Why a worker that beats counts as of no use."""

    cause: StallCause
    sequence: int
    age_s: float
    tasks: list[str]
    """Which ones it rests on."""
    waited_s: float | None
    threshold_s: float | None
    restart: bool
    """Its supervisor is to kill it; else others have yet to show whether it is to blame."""


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """A failure that is foreseen of a worker, and not judged yet."""

    resource: Resource
    sequence: int
    """Of the event that says so."""
    value: float
    """Then, and not now: bytes left, seconds of lag, or the share of tasks that fail."""
    limit: float
    slope_per_s: float
    expected_in_s: float
    """Negative: it should have come by now."""
    heartbeats: tuple[int, int] | None
    """The first and the last one that it rests on; None under `errors`."""
    remedy: Remedy
    acted: bool
    """Something is being done about it."""


class Mistrust(msgspec.Struct, frozen=True, kw_only=True):
    """Forecasts of one kind that are not acted on, since they were wrong too often."""

    resource: Resource
    right: float
    wrong: float


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """The open attempt to bring a worker back."""

    attempt: int
    attempts_max: int
    strategy: StrategyName
    status: AttemptStatus
    due_in_s: float
    """Until it begins, or, once it has begun, until it counts as failed; negative: overdue."""


class Cordoned(msgspec.Struct, frozen=True, kw_only=True):
    """It gets no new work for the time being, and keeps what it has."""

    cause: CordonCause
    ends_in_s: float | None
    """None: when somebody lifts it."""
    sequence: int
    """Of the event that says so; 0: not known."""
    actor: str
    """Who said so; empty: a rule."""
    reason: str


class WorkerHealth(msgspec.Struct, frozen=True, kw_only=True):
    worker_id: str
    status: WorkerStatus
    since: datetime | None
    """Of the event that brought it into its status, where that is known."""
    status_sequence: int
    """Of the same event; 0: not known."""
    detail: str
    """What that event says of itself."""
    incarnation: int
    host: str
    slots: int
    labels: dict[str, str]
    tasks: int
    """Assigned to it or running there, by the log."""
    heartbeat: LastHeartbeat | None
    silence: Silence | None
    failure: Failure | None
    suspicion: Suspicion | None
    stalling: Stalling | None
    recovery: Recovery | None
    forecasts: list[Forecast]
    cordons: list[Cordoned]


class Leader(msgspec.Struct, frozen=True, kw_only=True):
    coordinator_id: str | None
    """None: the last one has stepped down, or there was none."""
    term: int
    elected_at: datetime | None
    age_s: float
    holds_lease: bool
    """Without a lease nobody judges and nobody repairs: what is said of the workers may be long untrue."""


class OpenIncident(msgspec.Struct, frozen=True, kw_only=True):
    incident_id: str
    kind: IncidentKind
    age_s: float
    affected_workers: int
    affected_tasks: int


class OpenBreaker(msgspec.Struct, frozen=True, kw_only=True):
    """Too many workers could not be brought back lately: attempts are held back, but for a probe."""

    status: Literal["open", "half_open"]
    times: int
    """How often in a row it was opened."""
    opens_in_s: float
    """Until a probe is let through."""
    probe: str
    """The worker whose attempt was let through; empty: none is at present."""


class LastDoubt(msgspec.Struct, frozen=True, kw_only=True):
    """The last time that the leader doubted its own eyes; silence counts from there."""

    reason: Doubt
    extent_s: float
    sequence: int
    age_s: float


class RecoveryPause(msgspec.Struct, frozen=True, kw_only=True):
    """An operator has halted recovery."""

    actor: str
    reason: str
    sequence: int
    """Of the event that says so."""
    age_s: float


class Stranded(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks that nobody can run who is there or expected."""

    requires: dict[str, str]
    tasks: int


class StrategyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Attempts of one strategy against failures for one reason, over all workers. Drills do not count, old ones count
    less."""

    reason: FailureReason
    strategy: StrategyName
    succeeded: int
    failed: int
    estimate: float
    """The probability that the next one succeeds."""


class FleetHealth(msgspec.Struct, frozen=True, kw_only=True):
    at: datetime
    healthy: bool
    """The status is healthy or idle, and somebody leads."""
    status: SystemStatus
    workers_live: int
    workers_expected: int
    by_status: dict[str, int]
    leader: Leader
    incidents: list[OpenIncident]
    breaker: OpenBreaker | None
    repairing: int
    """Workers under repair at present."""
    repairs_waiting: int
    """Attempts that have not begun yet: their time has not come, or their turn."""
    doubt: LastDoubt | None
    mistrusted: list[Mistrust]
    auto_recovery: bool
    """What the policy says."""
    detectors_missing: list[str]
    """Which the policy asks for, and which are not installed where this was asked: nobody knows there how much silence
    they allow."""
    pause: RecoveryPause | None
    """Until it is over nothing is done about failures, whatever the policy says."""
    strategy_order: str
    """By what attempts to bring a worker back go through the strategies: `ladder` or `history`."""
    strategies: list[StrategyRecord]
    """What has helped against which failure so far."""
    errors: dict[ErrorCode, int]
    """Failures of workers and of attempts at tasks, by what kind of error they were."""
    heartbeat_interval_s: float
    """At the present pace of the farm."""
    stretch: float
    """By how much that is slower than the policy says, since there are so many workers; 1.0: it is not."""
    stranded: list[Stranded]
    events_sequence: int
    heartbeats_sequence: int
    workers: list[WorkerHealth]
    """The worst first; no more than were asked for."""
    omitted: dict[str, int]
    """How many of each status are not in `workers`."""
