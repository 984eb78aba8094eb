"""The lives of workers, tasks and recovery attempts, as tables: what may follow what.

A recorded event that fits no row changes nothing and is counted: the log may hold stale, doubled and made-up events,
and a fold must survive all of them. A decision of our own that fits no row is a bug, which the invariants catch.
"""

from typing import Literal

from events.base import Event
from events.system import SystemRecoveryCompleted, SystemRecoveryStarted
from events.task import (
    TaskAssigned,
    TaskAttemptFinished,
    TaskCompleted,
    TaskIsolated,
    TaskRequeued,
    TaskReturned,
    TaskStarted,
)
from events.worker import (
    WorkerDraining,
    WorkerDrainRequested,
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerReadmitted,
    WorkerRecoveryActed,
    WorkerRecoveryFailed,
    WorkerRecoveryProbed,
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

WorkerStatus = Literal["alive", "suspect", "stalled", "draining", "exited", "failed", "permanent", "stopped"]
"""`stalled`: it beats and is of no use. `exited`: its end is proven, by its supervisor or by a witness, and the leader
has not yet drawn the conclusion."""

TaskStatus = Literal["queued", "isolated", "assigned", "running", "finished", "returned", "final"]
"""`isolated`: a worker is set apart for it alone, or is to be. `finished` and `returned`: the worker has spoken, the
leader has not."""

AttemptStatus = Literal["scheduled", "started", "probed"]

IncidentStatus = Literal["open"]

LIVE: frozenset[WorkerStatus] = frozenset({"alive", "suspect", "stalled", "draining"})
"""Those whose word counts and whose tasks are theirs."""

COUNTED_LIVE: frozenset[WorkerStatus] = frozenset({"alive", "suspect"})
EXPECTED: frozenset[WorkerStatus] = COUNTED_LIVE | {"stalled", "exited", "failed"}
"""What the system's status is the share of, and of what."""

MISSING = EXPECTED - COUNTED_LIVE

LEAVING: frozenset[WorkerStatus] = frozenset({"draining", "exited", "failed"})
"""Those for whom an order to end still stands."""

WAITING: frozenset[TaskStatus] = frozenset({"queued", "isolated"})
"""Nobody has the task."""

WORKER: dict[tuple[WorkerStatus, type[Event]], WorkerStatus] = {
    ("alive", WorkerSuspected): "suspect",
    ("alive", WorkerStalled): "stalled",
    ("alive", WorkerDrainRequested): "draining",
    ("alive", WorkerDraining): "draining",
    ("alive", WorkerStopped): "stopped",
    ("alive", WorkerExited): "exited",
    ("alive", WorkerVanished): "exited",
    ("alive", WorkerFailed): "failed",
    ("alive", WorkerRegistered): "alive",
    ("suspect", WorkerSuspicionRefuted): "alive",
    ("suspect", WorkerDrainRequested): "draining",
    ("suspect", WorkerDraining): "draining",
    ("suspect", WorkerStopped): "stopped",
    ("suspect", WorkerExited): "exited",
    ("suspect", WorkerVanished): "exited",
    ("suspect", WorkerFailed): "failed",
    ("suspect", WorkerRegistered): "alive",
    ("stalled", WorkerStalled): "stalled",
    ("stalled", WorkerStallRefuted): "alive",
    ("stalled", WorkerDrainRequested): "draining",
    ("stalled", WorkerDraining): "draining",
    ("stalled", WorkerStopped): "stopped",
    ("stalled", WorkerExited): "exited",
    ("stalled", WorkerVanished): "exited",
    ("stalled", WorkerFailed): "failed",
    ("stalled", WorkerRegistered): "alive",
    ("draining", WorkerDrainRequested): "draining",
    ("draining", WorkerDraining): "draining",
    ("draining", WorkerStopped): "stopped",
    ("draining", WorkerExited): "exited",
    ("draining", WorkerVanished): "exited",
    ("draining", WorkerFailed): "failed",
    ("draining", WorkerRegistered): "alive",
    ("exited", WorkerDrainRequested): "exited",
    ("exited", WorkerFailed): "failed",
    ("exited", WorkerStopped): "stopped",
    ("exited", WorkerRegistered): "alive",
    ("failed", WorkerRegistered): "alive",
    ("failed", WorkerExited): "failed",  # it had been given up for its silence
    ("failed", WorkerDrainRequested): "failed",
    ("failed", WorkerRetired): "stopped",
    ("failed", WorkerStopped): "stopped",
    ("failed", WorkerPermanentlyFailed): "permanent",
    ("permanent", WorkerRegistered): "permanent",
    ("permanent", WorkerStopped): "permanent",
    ("permanent", WorkerExited): "permanent",
    ("permanent", WorkerReadmitted): "failed",
    ("stopped", WorkerRegistered): "alive",
}

TASK: dict[tuple[TaskStatus, type[Event]], TaskStatus] = {
    ("queued", TaskAssigned): "assigned",
    ("queued", TaskAttemptFinished): "finished",  # a success of the attempt that was lost
    ("queued", TaskCompleted): "final",
    ("queued", TaskIsolated): "isolated",
    ("isolated", TaskIsolated): "isolated",  # what had been set apart is lost
    ("isolated", TaskAssigned): "assigned",
    ("isolated", TaskAttemptFinished): "finished",
    ("isolated", TaskCompleted): "final",
    ("assigned", TaskStarted): "running",
    ("assigned", TaskAttemptFinished): "finished",
    ("assigned", TaskReturned): "returned",
    ("assigned", TaskRequeued): "queued",
    ("assigned", TaskCompleted): "final",
    ("running", TaskAttemptFinished): "finished",
    ("running", TaskReturned): "returned",
    ("running", TaskRequeued): "queued",
    ("running", TaskCompleted): "final",
    ("finished", TaskRequeued): "queued",
    ("finished", TaskCompleted): "final",
    ("returned", TaskRequeued): "queued",
    ("returned", TaskCompleted): "final",
}

ATTEMPT: dict[tuple[AttemptStatus | None, type[Event]], AttemptStatus | None] = {
    (None, WorkerRecoveryScheduled): "scheduled",
    ("scheduled", WorkerRecoveryStarted): "started",
    ("scheduled", WorkerRecoverySuperseded): None,
    ("started", WorkerRecoveryActed): "started",
    ("started", WorkerRecoveryProbed): "probed",
    ("started", WorkerRecoveryFailed): None,
    ("started", WorkerRecoverySuperseded): None,
    ("probed", WorkerRegistered): "started",
    ("probed", WorkerRecoveryActed): "probed",
    ("probed", WorkerRecoverySucceeded): None,
    ("probed", WorkerRecoveryFailed): None,
    ("probed", WorkerRecoverySuperseded): None,
}

INCIDENT: dict[tuple[IncidentStatus | None, type[Event]], IncidentStatus | None] = {
    (None, SystemRecoveryStarted): "open",
    ("open", SystemRecoveryCompleted): None,
}
