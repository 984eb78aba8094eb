"""The life of a worker, and of the attempts to bring it back."""

from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

from events.base import Integer, Moment, Number, Sequence, Text, WorkerEvent
from events.failures import Effect, ErrorCode, FailureReason, Rung, StrategyName, StrategyOrder
from events.identity import Id


class WorkerRegistered(WorkerEvent, tag="worker.registered", frozen=True, kw_only=True):
    """A new incarnation is ready for work; its number is this event's own sequence."""

    host: Annotated[str, Meta(max_length=255)]
    pid: Number
    slots: Annotated[int, Meta(ge=1, le=1024)]
    labels: dict[str, str] = {}
    supervised: bool = True
    machine: Id | None = None
    """Those with the same one can see each other's lifelines."""
    lifeline: Id | None = None
    """What its machine's kernel keeps for as long as anything lives of the worker or of what it has started."""


class WorkerClaimed(WorkerEvent, tag="worker.claimed", frozen=True, kw_only=True):
    """Another process is to be this worker, although the log knows no end of its last incarnation. Whoever lives under
    its id stops all that runs, and leaves for good; the new process registers when nothing of it is left."""

    incarnation: Sequence
    """The one that is to end."""
    host: Annotated[str, Meta(max_length=255)]
    pid: Number
    """Of the new process."""
    machine: Id | None = None
    lifeline: Id | None = None
    """As in the registration that will follow."""


class WorkerDrainRequested(WorkerEvent, tag="worker.drain_requested", frozen=True, kw_only=True):
    """An order to the worker: it takes no new work, finishes what runs, hands back what waits, and ends in order. With
    `restart` it begins anew instead, as another incarnation. No failure; until then it gets nothing.

    Whoever lives under this id and hears it obeys. One that ends before it could is not brought back.
    """

    actor: Text
    reason: Text = ""
    restart: bool = False
    incarnation: Sequence | None = None
    """The only one that is to obey; None: whichever hears it."""


class WorkerDraining(WorkerEvent, tag="worker.draining", frozen=True, kw_only=True):
    """It takes no new work, finishes what runs, hands back what waits. No failure."""

    incarnation: Sequence
    reason: Text = ""


class WorkerStopped(WorkerEvent, tag="worker.stopped", frozen=True, kw_only=True):
    """It ended in order, with nothing left running."""

    incarnation: Sequence
    reason: Text = ""


class Death(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A worker, or a process of it, has died under a task."""

    sequence: Sequence
    """Of the event that says so."""
    worker_id: Id
    reason: Annotated[str, Meta(max_length=1000)]
    after: Sequence = 0
    """How many others had begun behind it in its slot by then: the more, the less likely it is to blame."""


class Begun(Struct, frozen=True, array_like=True, gc=False):
    """An attempt at a task that a worker has begun."""

    task_id: Id
    attempt: Number
    after: Sequence = 0
    """How many others its slot began after it; 0: it was the last."""


class WorkerExited(WorkerEvent, tag="worker.exited", frozen=True, kw_only=True):
    """The supervisor reaped the agent and killed what it left behind. Definitive evidence.

    `hung` says that the supervisor killed it itself, after `unanswered_s` without an answer over their pipe; `stalled`,
    that it did so because of `WorkerStalled`.
    """

    incarnation: Sequence
    exit_code: Integer | None = None
    signal: Integer | None = None
    hung: bool = False
    stalled: bool = False
    unanswered_s: float | None = None
    error: ErrorCode | None = None
    """`worker_resource`: the kernel killed it, or something else on its machine, for want of memory."""
    detail: Text = ""
    begun: tuple[Begun, ...] | None = None
    """What its slots began last, ended or not, whether or not that was reported before; None: nobody can tell."""


class WorkerDisconnected(WorkerEvent, tag="worker.disconnected", frozen=True, kw_only=True):
    """The broker has closed its connections, or has none of it since it was away; it has not come back within
    `reconnect_grace`, and nobody answers on its subject. Strong evidence, of which it is suspected at once: it may live
    on, on the other side of a cut network."""

    incarnation: Sequence
    reason: Text = ""
    """Why the connection was closed, in the broker's words; empty where the broker itself was away, or has not told."""
    closed_at: Moment | None = None
    """By the broker's clock; not known where no reason is."""
    probe: Text = ""
    """What became of the last attempt to reach it."""
    heartbeat_sequence: Sequence = 0
    """Of the last heartbeat that was known; a later one refutes."""


class WorkerVanished(WorkerEvent, tag="worker.vanished", frozen=True, kw_only=True):
    """It has lost its connections or is not heard, and a witness on its machine finds that nothing holds its lifeline:
    neither it nor anything that it had started is left. Definitive evidence."""

    incarnation: Sequence
    machine: Id
    lifeline: Id
    reason: Text = ""
    """Why the connection was closed, in the broker's words; empty where it was looked for because it was silent, or
    because it was not there when the broker was back."""
    closed_at: Moment | None = None
    """By the broker's clock."""


class Evidence(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a judgement about a worker rests on."""

    heartbeat_sequence: Sequence = 0
    """In the stream HEARTBEATS; 0: none was seen in this incarnation."""
    last_seen: Moment | None = None
    silence_s: float | None = None
    threshold_s: float | None = None
    event_sequence: Sequence = 0
    """In the stream EVENTS: the report that proves it, where there is one."""


class WorkerSuspected(WorkerEvent, tag="worker.suspected", frozen=True, kw_only=True):
    """It has been silent for a while. It gets no new work and keeps its own."""

    incarnation: Sequence
    evidence: Evidence


class WorkerSuspicionRefuted(WorkerEvent, tag="worker.suspicion_refuted", frozen=True, kw_only=True):
    """The suspect was heard again."""

    incarnation: Sequence
    evidence: Evidence


StallCause = Literal["not_started", "not_obeyed", "failing_fast"]
"""Work that it had was not begun in time although a slot was free; an order to stop or to hand back was not obeyed;
everything that it is given fails at once, and does not elsewhere."""


class WorkerStalled(WorkerEvent, tag="worker.stalled", frozen=True, kw_only=True):
    """It beats and is of no use. It gets no new work, and is told to hand back what it has not begun.

    With `restart` this is the order to its supervisor to kill the agent with all that it has started and to report
    that: only then may its tasks start elsewhere. Without, others have yet to show whether the worker is at fault or
    the work.
    """

    incarnation: Sequence
    cause: StallCause
    restart: bool = True
    tasks: tuple[Id, ...] = ()
    """Which ones it rests on."""
    waited_s: float | None = None
    threshold_s: float | None = None
    heartbeat_sequence: Sequence = 0
    """Of its last heartbeat: it is alive."""
    passed_elsewhere: Sequence = 0
    """Under `failing_fast`: attempts at work of that kind that have passed elsewhere since."""


class WorkerStallRefuted(WorkerEvent, tag="worker.stall_refuted", frozen=True, kw_only=True):
    """It is of use again, or it was not to blame."""

    incarnation: Sequence
    reason: Text


class WorkerFailed(WorkerEvent, tag="worker.failed", frozen=True, kw_only=True):
    """This incarnation is over: its tasks go elsewhere, and whatever it still says is stale.

    `incarnation` None, in synthetic failures, means the one that is current when the event is read.
    """

    reason: FailureReason
    incarnation: Sequence | None = None
    evidence: Evidence | None = None
    error: ErrorCode | None = None
    """None, in synthetic failures, means what `events.failures.CODES` says of the reason."""
    message: Text = ""


class WorkerRetired(WorkerEvent, tag="worker.retired", frozen=True, kw_only=True):
    """It failed before it could end in order, as it had been told to. Nobody brings it back."""

    incarnation: Sequence
    reason: Text = ""


class WorkerPermanentlyFailed(WorkerEvent, tag="worker.permanently_failed", frozen=True, kw_only=True):
    """Automation has given this worker up. Binding until an operator re-admits it."""

    attempts: Sequence
    message: Text = ""


CordonCause = Literal["flapping", "forecast", "operator"]


class WorkerCordoned(WorkerEvent, tag="worker.cordoned", frozen=True, kw_only=True):
    """It gets no new work. It keeps what it has, beats, and counts as live and expected as before. A cordon belongs to
    the worker and not to an incarnation, and there is one for each cause at most."""

    cause: CordonCause
    until: Moment | None = None
    """When it ends by itself; None: when somebody lifts it."""
    actor: Text = ""
    """Who said so; empty: a rule."""
    reason: Text = ""
    failures: Sequence = 0
    """Under `flapping`: so many, each with a good recovery."""
    times: Sequence = 0
    """Under `flapping`: the how-manieth time in a row; each lasts twice as long as the one before."""


class WorkerUncordoned(WorkerEvent, tag="worker.uncordoned", frozen=True, kw_only=True):
    cause: CordonCause | None = None
    """Which cordon is lifted; None: all of them."""
    actor: Text = ""
    """Who said so; empty: its time was over. Whoever lifts a cordon for flapping also forgives what led to it."""
    reason: Text = ""


class WorkerReadmitted(WorkerEvent, tag="worker.readmitted", frozen=True, kw_only=True):
    """An operator lifts a permanent failure."""

    actor: Text
    reason: Text = ""


class WorkerRecoveryScheduled(WorkerEvent, tag="worker.recovery_scheduled", frozen=True, kw_only=True):
    """An attempt to bring the worker back is owed at `not_before`."""

    incarnation: Sequence
    """The incarnation that failed."""
    attempt: Number
    strategy: StrategyName
    not_before: Moment
    reason: FailureReason | None = None
    """Of the failure that it answers."""
    order: StrategyOrder = "ladder"
    """By what the rungs were gone through."""
    considered: tuple[Rung, ...] = ()
    """The rungs that there are against that reason, in the order in which they were gone through."""


class WorkerRecoveryStarted(WorkerEvent, tag="worker.recovery_started", frozen=True, kw_only=True):
    """The attempt is under way until `deadline`. Under `restart` this is the order to the worker's supervisor; under
    strategies that the leader's coordinator carries out itself it is the leader's own."""

    incarnation: Sequence
    attempt: Number
    strategy: StrategyName
    deadline: Moment


class WorkerRecoveryActed(WorkerEvent, tag="worker.recovery_acted", frozen=True, kw_only=True):
    """The leader's coordinator has carried out what the strategy of a started attempt consists of, or could not. Of
    strategies that nobody but the worker or its supervisor carries out (`await`, `restart`) nothing is said."""

    incarnation: Sequence
    """The incarnation that failed."""
    attempt: Number
    strategy: StrategyName
    outcome: Effect
    detail: Text = ""


class WorkerRecoveryProbed(WorkerEvent, tag="worker.recovery_probed", frozen=True, kw_only=True):
    """A new incarnation has registered and beats; this asks it to prove that it also hears."""

    incarnation: Sequence
    """The new incarnation, which is to answer."""
    attempt: Number


class WorkerProbeAnswered(WorkerEvent, tag="worker.probe_answered", frozen=True, kw_only=True):
    incarnation: Sequence
    attempt: Number


class WorkerRecoverySucceeded(WorkerEvent, tag="worker.recovery_succeeded", frozen=True, kw_only=True):
    """The worker registered as a new incarnation, beats, and answered a probe."""

    incarnation: Sequence
    """The new incarnation."""
    attempt: Number
    strategy: StrategyName
    duration_s: Annotated[float, Meta(ge=0)]
    """From the failure to here."""


class WorkerRecoveryFailed(WorkerEvent, tag="worker.recovery_failed", frozen=True, kw_only=True):
    incarnation: Sequence
    attempt: Number
    strategy: StrategyName
    error: Text


class WorkerRecoverySuperseded(WorkerEvent, tag="worker.recovery_superseded", frozen=True, kw_only=True):
    """The attempt ended because the world changed under it: a newer failure, an orderly stop, an operator."""

    incarnation: Sequence
    attempt: Number
    strategy: StrategyName
    reason: Text


class Progress(Struct, frozen=True, array_like=True, gc=False):
    """How far a running attempt has come, as far as its worker can tell."""

    attempt: Number
    seconds: Annotated[float, Meta(ge=0)]
    """Since it began."""
    output_bytes: Sequence
    """That have come from it so far. What pytest captures of a test comes with its end."""


class Heartbeat(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A message of the stream HEARTBEATS, on `heartbeat.<worker_id>`; not part of the event log."""

    worker_id: Id
    incarnation: Sequence
    beat: Sequence
    """Counts from 1 within an incarnation."""
    sent_at: Moment
    running: tuple[str, ...] = ()
    """Ids of the tasks that run now, at most the worker's slots."""
    progress: tuple[Progress, ...] = ()
    """Of each of `running`, in its order."""
    queued: Sequence = 0
    free: Sequence = 0
    """Slots that neither run anything nor get ready for it (start an interpreter, collect a suite)."""
    unreported: Sequence = 0
    """What it has to say and the log has not taken yet."""
    cpu_percent: float = 0.0
    """Of the whole machine, since the last heartbeat."""
    memory_bytes: Sequence = 0
    """Resident, of the agent alone."""
    tasks_memory_bytes: Sequence | None = None
    """Resident, of all processes that the agent has started: what they share counts for each of them. As measured at
    the heartbeat before. None: unknown."""
    memory_available_bytes: Sequence | None = None
    """On the whole machine, or what is left of the limit of the agent's control group if that is less: what processes
    can still get without swapping. None: unknown."""
    disk_free_bytes: Sequence | None = None
    """Where the task that came last works, as measured at the heartbeat before. None: unknown."""
    load_1m: float = 0.0
    loop_lag_s: float = 0.0
    """How late the agent's loop was with this heartbeat."""
    rules: Sequence = 0
    """Sequence in EVENTS of the last change of policy or pace that the worker lives by. 0: none. By these rules it
    counts the silence behind this heartbeat."""


class RecordedHeartbeat(NamedTuple):
    """A message as it stands in the stream HEARTBEATS."""

    sequence: int
    time: float
    """The broker's timestamp, seconds since the epoch."""
    heartbeat: Heartbeat | None
    """None where the message could not be understood."""
