"""The list of all events. A new kind is added here and nowhere else."""

import types
from typing import get_args

from events.base import Event
from events.forecast import PredictorTrustChanged, WorkerFailurePredicted, WorkerPredictionJudged
from events.system import (
    BreakerClosed,
    BreakerHalfOpened,
    BreakerOpened,
    BrokerReturned,
    CoordinatorStarted,
    CoordinatorStopped,
    DetectorDegraded,
    EventParked,
    FaultReported,
    InvariantViolated,
    LeaderElected,
    LogDamaged,
    PaceChanged,
    PolicyChanged,
    ProjectionRebuilt,
    QuarantineReleased,
    RecoveryMeasured,
    RecoveryPaused,
    RecoveryResumed,
    RunCancelRequested,
    RunSubmitted,
    SystemRecoveryCompleted,
    SystemRecoveryStaged,
    SystemRecoveryStarted,
    SystemStatusChanged,
    WatchContinued,
)
from events.task import (
    TaskAssigned,
    TaskAttemptFinished,
    TaskCancelRequested,
    TaskCompleted,
    TaskHung,
    TaskIsolated,
    TaskRequeued,
    TaskReturned,
    TaskRevoked,
    TaskStarted,
    TaskStranded,
    TaskSubmitted,
)
from events.worker import (
    WorkerClaimed,
    WorkerCordoned,
    WorkerDisconnected,
    WorkerDraining,
    WorkerDrainRequested,
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerProbeAnswered,
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
    WorkerUncordoned,
    WorkerVanished,
)

AnyEvent = (
    WorkerRegistered
    | WorkerClaimed
    | WorkerDrainRequested
    | WorkerDraining
    | WorkerStopped
    | WorkerExited
    | WorkerDisconnected
    | WorkerVanished
    | WorkerSuspected
    | WorkerSuspicionRefuted
    | WorkerStalled
    | WorkerStallRefuted
    | WorkerFailed
    | WorkerRetired
    | WorkerPermanentlyFailed
    | WorkerReadmitted
    | WorkerCordoned
    | WorkerUncordoned
    | WorkerRecoveryScheduled
    | WorkerRecoveryStarted
    | WorkerRecoveryActed
    | WorkerRecoveryProbed
    | WorkerProbeAnswered
    | WorkerRecoverySucceeded
    | WorkerRecoveryFailed
    | WorkerRecoverySuperseded
    | TaskSubmitted
    | TaskAssigned
    | TaskIsolated
    | TaskStranded
    | TaskRevoked
    | TaskHung
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
    | RecoveryPaused
    | RecoveryResumed
    | RunSubmitted
    | RunCancelRequested
    | SystemStatusChanged
    | SystemRecoveryStarted
    | SystemRecoveryStaged
    | SystemRecoveryCompleted
    | BreakerOpened
    | BreakerHalfOpened
    | BreakerClosed
    | EventParked
    | FaultReported
    | LogDamaged
    | ProjectionRebuilt
    | RecoveryMeasured
    | InvariantViolated
    | DetectorDegraded
    | WatchContinued
    | BrokerReturned
    | PaceChanged
    | QuarantineReleased
    | WorkerFailurePredicted
    | WorkerPredictionJudged
    | PredictorTrustChanged
)


def tag_of(kind: type[Event]) -> str:
    """The wire name of an event class: `worker.failed`."""
    tag = kind.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


assert isinstance(AnyEvent, types.UnionType)
KINDS: dict[str, type[Event]] = {tag_of(kind): kind for kind in get_args(AnyEvent)}
"""Every kind by its wire name."""
