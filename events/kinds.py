"""The list of all events. A new kind is added here and nowhere else."""

import types
from typing import get_args

from events.base import Event
from events.system import (
    CoordinatorStarted,
    CoordinatorStopped,
    DetectorDegraded,
    EventParked,
    InvariantViolated,
    LeaderElected,
    LogDamaged,
    PolicyChanged,
    ProjectionRebuilt,
    RunCancelRequested,
    RunSubmitted,
    SystemRecoveryCompleted,
    SystemRecoveryStarted,
    SystemStatusChanged,
)
from events.task import (
    TaskAssigned,
    TaskAttemptFinished,
    TaskCancelRequested,
    TaskCompleted,
    TaskRequeued,
    TaskReturned,
    TaskRevoked,
    TaskStarted,
    TaskSubmitted,
)
from events.worker import (
    WorkerDisconnected,
    WorkerDraining,
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerProbeAnswered,
    WorkerReadmitted,
    WorkerRecoveryFailed,
    WorkerRecoveryProbed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRecoverySuperseded,
    WorkerRegistered,
    WorkerStopped,
    WorkerSuspected,
    WorkerSuspicionRefuted,
    WorkerVanished,
)

AnyEvent = (
    WorkerRegistered
    | WorkerDraining
    | WorkerStopped
    | WorkerExited
    | WorkerDisconnected
    | WorkerVanished
    | WorkerSuspected
    | WorkerSuspicionRefuted
    | WorkerFailed
    | WorkerPermanentlyFailed
    | WorkerReadmitted
    | WorkerRecoveryScheduled
    | WorkerRecoveryStarted
    | WorkerRecoveryProbed
    | WorkerProbeAnswered
    | WorkerRecoverySucceeded
    | WorkerRecoveryFailed
    | WorkerRecoverySuperseded
    | TaskSubmitted
    | TaskAssigned
    | TaskRevoked
    | TaskStarted
    | TaskAttemptFinished
    | TaskReturned
    | TaskRequeued
    | TaskCompleted
    | TaskCancelRequested
    | CoordinatorStarted
    | CoordinatorStopped
    | LeaderElected
    | PolicyChanged
    | RunSubmitted
    | RunCancelRequested
    | SystemStatusChanged
    | SystemRecoveryStarted
    | SystemRecoveryCompleted
    | EventParked
    | LogDamaged
    | ProjectionRebuilt
    | InvariantViolated
    | DetectorDegraded
)


def tag_of(kind: type[Event]) -> str:
    """The wire name of an event class: `worker.failed`."""
    tag = kind.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


assert isinstance(AnyEvent, types.UnionType)
KINDS: dict[str, type[Event]] = {tag_of(kind): kind for kind in get_args(AnyEvent)}
"""Every kind by its wire name."""
