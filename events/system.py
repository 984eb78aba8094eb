"""The system as a whole: leadership, policy, runs, incidents, and the log's own health."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from events.base import Moment, Number, Sequence, SystemEvent, Text
from events.failures import ErrorCode
from events.identity import Id
from events.policy import Policy

SystemStatus = Literal["idle", "healthy", "degraded", "critical"]
IncidentKind = Literal["mass_worker_loss", "coordinator_failover", "broker_outage", "stalled_queue"]

NAMED_MAX = 200
"""Ids in a report: more are counted."""
Doubt = Literal["clock_step", "stream_lag", "own_pause", "mass_silence", "heartbeats_lost"]
"""Why a leader does not trust its own eyes: the broker's clock has leapt; what it reads is old; it did not run itself;
all workers fell silent at once; what it has read is not in the stream any more."""


class CoordinatorStarted(SystemEvent, tag="system.coordinator_started", frozen=True, kw_only=True):
    coordinator_id: Id
    host: Annotated[str, Meta(max_length=255)]
    pid: Number
    version: Text = ""


class CoordinatorStopped(SystemEvent, tag="system.coordinator_stopped", frozen=True, kw_only=True):
    coordinator_id: Id
    reason: Text = ""


class LeaderElected(SystemEvent, tag="system.leader", frozen=True, kw_only=True):
    """Its own stream sequence is the fencing token of the term."""

    coordinator_id: Id
    term: Number


class PolicyChanged(SystemEvent, tag="system.policy_changed", frozen=True, kw_only=True):
    policy: Policy
    policy_hash: Annotated[str, Meta(max_length=64)]
    actor: Text
    reason: Text = ""


class RecoveryPaused(SystemEvent, tag="system.recovery_paused", frozen=True, kw_only=True):
    """An operator has halted recovery, under whatever policy: failures are detected and recorded, and nothing is done
    about them. Work goes on at whoever is well. Holds until `RecoveryResumed`."""

    actor: Text
    reason: Text = ""


class RecoveryResumed(SystemEvent, tag="system.recovery_resumed", frozen=True, kw_only=True):
    """What is owed by now is done, if the policy admits it."""

    actor: Text
    reason: Text = ""


class BrokerReturned(SystemEvent, tag="system.broker_returned", frozen=True, kw_only=True):
    """The broker took nothing from whoever leads now for so long, and nobody was elected meanwhile: nobody led, no
    decision could be stored, and every worker had to think of fencing itself."""

    coordinator_id: Id
    since: Moment
    """Of the first attempt to write that was not answered, or was refused."""
    away_s: Annotated[float, Meta(ge=0)]
    """From then until the first that was stored."""


class PaceChanged(SystemEvent, tag="system.pace_changed", frozen=True, kw_only=True):
    """From here on all workers beat `stretch` times more slowly than the policy says, and silence is judged with as
    much more patience: otherwise so many would send more than `heartbeat_rate_max`. Holds under every policy until the
    next one of these."""

    stretch: Annotated[float, Meta(ge=1, le=1_000_000)]
    heartbeat_interval_s: Annotated[float, Meta(gt=0)]
    """What that makes of the policy's `heartbeat_interval`."""
    workers_live: Sequence


class WatchContinued(SystemEvent, tag="system.watch_continued", frozen=True, kw_only=True):
    """The stream of heartbeats proves that it has stored and given out what workers sent, before this leader's election
    and behind it: silence counts from the heartbeats themselves, and not from the election on."""

    since: Moment
    """From when on that is proven; silence counts from no further back."""
    witness: Id
    """A worker whose heartbeats have come all along, without a gap."""
    heartbeat_sequence: Sequence
    """Of its last one, stored behind the election."""


class RunSubmitted(SystemEvent, tag="system.run_submitted", frozen=True, kw_only=True):
    """A set of tasks that belong together. `tasks` is how many `TaskSubmitted` follow."""

    run_id: Id
    title: Text
    tasks: Sequence
    actor: Text = ""


class RunCancelRequested(SystemEvent, tag="system.run_cancel_requested", frozen=True, kw_only=True):
    run_id: Id
    actor: Text
    reason: Text = ""


class SystemStatusChanged(SystemEvent, tag="system.status_changed", frozen=True, kw_only=True):
    status: SystemStatus
    previous: SystemStatus
    workers_live: Sequence
    workers_expected: Sequence


class SystemRecoveryStarted(SystemEvent, tag="system.recovery_started", frozen=True, kw_only=True):
    """One incident is open; a second of its kind cannot be."""

    incident_id: Id
    incident_kind: IncidentKind
    status: SystemStatus
    affected_workers: Sequence = 0
    affected_tasks: Sequence = 0
    error: ErrorCode | None = None
    """What went wrong with the system itself; None: its workers failed, or nothing did, and their failures say more."""


class SystemRecoveryStaged(SystemEvent, tag="system.recovery_staged", frozen=True, kw_only=True):
    """Behind a mass loss repairs begin again in stages: these workers are next. The stage is over when each of their
    attempts has ended."""

    incident_id: Id
    stage: Number
    workers: Annotated[tuple[Id, ...], Meta(min_length=1, max_length=500)]


class StageReport(Struct, frozen=True, kw_only=True):
    """One stage of the repairs behind a mass loss."""

    stage: Number
    began_at: Moment
    ended_at: Moment | None = None
    workers: tuple[Id, ...] = ()
    """The first `NAMED_MAX` of them."""
    size: Sequence = 0
    succeeded: Sequence = 0
    failed: Sequence = 0
    superseded: Sequence = 0


Obstacle = Literal["failed", "suspect", "stalled", "cordoned", "under_repair", "set_apart", "unfit"]
"""Why a worker takes nothing. `unfit`: it has not the labels that are asked for."""


class IncidentReport(Struct, frozen=True, kw_only=True):
    """What an incident came to. Of a mass loss, seconds count from the loss that made it one."""

    workers: tuple[Id, ...] = ()
    """Those that were missing or had just been lost at its beginning, and those that were lost while it was open; the
    first `NAMED_MAX`. Of an outage of the broker: those that are missing at its end."""
    workers_lost_together: Sequence = 0
    """Of these, the ones that were lost in one go: what that cost is charged to no budget."""
    tasks_preserved: Sequence = 0
    """They were with workers that lived, and stayed there."""
    tasks_requeued: Sequence = 0
    tasks_uncharged: Sequence = 0
    """Of these, the ones that ran: put back for nothing."""
    broker_away_s: float | None = None
    """For how long the broker took nothing."""
    tasks_lost: Sequence = 0
    """They got a verdict because their worker was lost."""
    attempts_succeeded: Sequence = 0
    attempts_failed: Sequence = 0
    attempts_superseded: Sequence = 0
    stages: tuple[StageReport, ...] = ()
    requeued_after_s: float | None = None
    """When the last task of a lost worker was put back; None: there was none, or it was not."""
    repairing_after_s: float | None = None
    """When the first stage began."""
    leader: Id | None = None
    """Of a change of leaders: who leads now, and in which term."""
    leader_before: Id | None = None
    term: Sequence = 0
    undecided_s: float | None = None
    """From the last decision of the leader before to the election. If nothing was to be decided, that is long."""
    tasks_waiting: Sequence = 0
    """At its end, behind a change of leaders or a standstill."""
    obstacles: dict[Obstacle, Sequence] = {}
    """Of a standstill: why the workers that were expected took nothing when it was found, and how many each."""
    stood_still_s: float | None = None
    """For how long nothing had moved when it ended."""


class SystemRecoveryCompleted(SystemEvent, tag="system.recovery_completed", frozen=True, kw_only=True):
    incident_id: Id
    incident_kind: IncidentKind
    status: SystemStatus
    success: bool
    duration_s: Annotated[float, Meta(ge=0)]
    affected_workers: Sequence = 0
    affected_tasks: Sequence = 0
    message: Text = ""
    report: IncidentReport | None = None


class Use(Struct, frozen=True, kw_only=True):
    """What was used, on average over a stretch of time."""

    cpu_percent: Annotated[float, Meta(ge=0)]
    """Of all processors of a machine."""
    memory_bytes: Sequence
    """Resident."""
    memory_available_bytes: Sequence | None = None
    """What processes could still get. None: unknown."""


class Course(Struct, frozen=True, kw_only=True):
    """Before, during and after."""

    before: Use
    during: Use
    after: Use


class RecoveryMeasured(SystemEvent, tag="system.recovery_measured", frozen=True, kw_only=True):
    """What was used while workers were out, and before and after that: of one or more outages that overlapped, when all
    had ended. Once for each such time, by whoever led then."""

    began_at: Moment
    """The beginning of the first outage: when that worker was gone or of no use."""
    ended_at: Moment
    """The end of the last one."""
    outages: Number
    before_s: Annotated[float, Meta(ge=0)]
    """How long before the beginning was measured; after the end it was as long as `after_s`."""
    after_s: Annotated[float, Meta(ge=0)]
    coordinator: Course
    """The leader's own processes: coordinator, projector, broker. Available memory is its machine's."""
    hosts: Sequence
    """Machines of workers that were heard in all three parts."""
    workers: Course | None = None
    """The mean over these machines: processors as a whole, memory of agents and their tasks. None: there was none."""
    coordinator_id: Id | None = None


class BreakerOpened(SystemEvent, tag="system.breaker_opened", frozen=True, kw_only=True):
    """Of the workers that it was tried to bring back lately, too many were not: whatever is the matter, more of the
    same will not help. No attempt begins before `until`, and then a single one; but for those that only wait."""

    workers_failed: Number
    """Their last attempt within the policy's `breaker_window` failed."""
    workers_tried: Number
    """Those and the ones that came back. When a probe has failed: that one alone."""
    until: Moment
    times: Number
    """The how-manieth time in a row: each lasts twice as long as the one before."""


class BreakerHalfOpened(SystemEvent, tag="system.breaker_half_opened", frozen=True, kw_only=True):
    """The breaker's time is over: this attempt may begin, and what becomes of it decides."""

    worker_id: Id
    attempt: Number


class BreakerClosed(SystemEvent, tag="system.breaker_closed", frozen=True, kw_only=True):
    """Attempts begin as usual."""

    reason: Text


class EventParked(SystemEvent, tag="system.event_parked", frozen=True, kw_only=True):
    """A message of the log could not be understood. It stays where it is; everything else goes on."""

    sequence: Sequence
    subject: Text
    reason: Text
    excerpt: Text = ""


Component = Literal["broker", "projector"]
"""Parts of the system itself that may be unable to do their work."""


class FaultReported(SystemEvent, tag="system.fault_reported", frozen=True, kw_only=True):
    """A part of the system itself could not do its work. Said once for as long as it lasts, by whoever saw it, as soon
    as the log takes it; it is tried again all the while."""

    component: Component
    error: ErrorCode
    """By what the operating system or the library said, where it happened."""
    detail: Text
    since: Moment
    reported_by: Text


class LogDamaged(SystemEvent, tag="system.log_damaged", frozen=True, kw_only=True):
    """Sequences `first` to `last` are missing from a stream that admits no deletion."""

    first: Number
    last: Number
    noticed_by: Text


class ProjectionRebuilt(SystemEvent, tag="system.projection_rebuilt", frozen=True, kw_only=True):
    """A history database was made anew from the log."""

    path: Text
    reason: Text
    through: Sequence
    started_at: Moment


class QuarantineReleased(SystemEvent, tag="system.quarantine_released", frozen=True, kw_only=True):
    """Somebody lets work run again that had been quarantined."""

    key: Id
    """Its fingerprint (`events.work`)."""
    actor: Text
    reason: Text = ""


class InvariantViolated(SystemEvent, tag="system.invariant_violated", frozen=True, kw_only=True):
    """The running system has found that a promise of its own is broken. Said once; nothing is decided because of it."""

    invariant: Annotated[str, Meta(max_length=64)]
    sequence: Sequence
    """How far the log had been folded."""
    detail: Text


class DetectorDegraded(SystemEvent, tag="system.detector_degraded", frozen=True, kw_only=True):
    """The leader has been in no position to judge silence: from here on it counts anew, for everybody."""

    reason: Doubt
    extent_s: float
    """How far the clock stepped (negative: back), how late a message was read, how long the pause or silence was; 0.0
    when heartbeats were lost."""
    heartbeats_sequence: Sequence
    """The last heartbeat known. Whoever sent it or an earlier one counts as heard at this event's time, whatever the
    broker's clock said then. When heartbeats were lost, nobody knows who did: then all that have registered count."""
    coordinator_id: Id | None = None
