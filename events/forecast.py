"""What is foreseen of workers that are well as yet, and what became of that."""

from typing import Annotated, Literal

from msgspec import Meta

from events.base import Moment, Number, Sequence, SystemEvent, Text, WorkerEvent

Resource = Literal["memory", "disk", "loop_lag", "errors"]
"""What a worker runs out of, or what rises until it fails: memory or disk of its machine; how late its agent's loop is;
the share of its tasks that fail."""

Remedy = Literal["restart", "cordon", "none"]
"""What can be done about it: its worker is drained and starts anew; it gets no new work for a while; nothing that
helps, and people are told."""

PROACTIVE = "proactive recovery"
"""Who orders a worker to begin anew before it fails, where that is no operator."""


class WorkerFailurePredicted(WorkerEvent, tag="worker.failure_predicted", frozen=True, kw_only=True):
    """If all goes on as it went lately, the worker fails at about `expected_at`. Nothing is decided by that alone."""

    incarnation: Sequence
    resource: Resource
    value: float
    """Bytes left of memory or disk, seconds of lag, or the share of failures, at the end of what it rests on."""
    limit: float
    """At which it fails."""
    slope_per_s: float = 0.0
    """Of the value. 0.0 where none is measured."""
    expected_at: Moment
    since: Moment
    """The beginning of what it rests on."""
    samples: Number
    """Points that the slope is taken from, or attempts that the share of failures is."""
    heartbeat_first: Sequence = 0
    heartbeat_last: Sequence = 0
    """In HEARTBEATS: the gauges that it rests on."""
    own_share: float | None = None
    """Of memory that is being used up: the share that the worker's own processes take."""
    own_bytes: float | None = None
    """Memory of the agent and of all that it has started."""
    usual: float | None = None
    """Under `errors`: the higher of the shares of failures before, and on the other workers."""
    remedy: Remedy


class WorkerPredictionJudged(WorkerEvent, tag="worker.prediction_judged", frozen=True, kw_only=True):
    """It is known whether the prediction was right, or that nobody will ever know."""

    incarnation: Sequence
    """Of which it was predicted."""
    resource: Resource
    prediction_sequence: Sequence
    right: bool | None
    """None: it cannot be known, and does not count."""
    acted: bool
    """Something was done about it. Then nobody knows what would have come without; right is what the remedy has shown
    to be true."""
    why: Text


class PredictorTrustChanged(SystemEvent, tag="system.predictor_trust_changed", frozen=True, kw_only=True):
    """By what became of its predictions, what foresees `resource` acts from here on, or only advises."""

    resource: Resource
    acts: bool
    right: Annotated[float, Meta(ge=0)]
    """Predictions that were right, the old ones counting less and less."""
    wrong: Annotated[float, Meta(ge=0)]
    precision_needed: Annotated[float, Meta(ge=0, le=1)]
