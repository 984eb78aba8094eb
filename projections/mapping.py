"""Recorded events to rows. Pure: what comes out depends on the log alone, however it is cut into batches."""

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, NamedTuple

from events import codec, forecast, system, task, worker
from events.base import Event, TaskEvent, WorkerEvent
from events.envelope import Envelope, Recorded
from events.kinds import KINDS
from projections import (
    attempt_rows,
    failure_rows,
    outage_rows,
    policy_rows,
    proactive_rows,
    system_rows,
    task_rows,
    use_rows,
    worker_rows,
)
from projections.rows import EventRow, ParkedRow
from projections.working_set import Handler, Handlers, WorkingSet, microseconds

HANDLERS: Handlers = {
    worker.WorkerRegistered: worker_rows.registered,
    worker.WorkerClaimed: worker_rows.seen,
    worker.WorkerDrainRequested: worker_rows.drain_requested,
    worker.WorkerDraining: worker_rows.draining,
    worker.WorkerStopped: worker_rows.stopped,
    worker.WorkerExited: worker_rows.exited,
    worker.WorkerDisconnected: worker_rows.cut_off,
    worker.WorkerVanished: worker_rows.cut_off,
    worker.WorkerSuspected: worker_rows.suspected,
    worker.WorkerSuspicionRefuted: worker_rows.refuted,
    worker.WorkerStalled: worker_rows.stalled,
    worker.WorkerStallRefuted: worker_rows.stall_refuted,
    worker.WorkerFailed: worker_rows.failed,
    worker.WorkerRetired: worker_rows.retired,
    worker.WorkerPermanentlyFailed: worker_rows.permanently_failed,
    worker.WorkerReadmitted: worker_rows.readmitted,
    worker.WorkerCordoned: worker_rows.seen,
    worker.WorkerUncordoned: worker_rows.seen,
    forecast.WorkerFailurePredicted: worker_rows.seen,
    forecast.WorkerPredictionJudged: worker_rows.seen,
    worker.WorkerRecoveryScheduled: worker_rows.scheduled,
    worker.WorkerRecoveryStarted: worker_rows.started,
    worker.WorkerRecoveryActed: worker_rows.acted,
    worker.WorkerRecoveryProbed: worker_rows.seen,
    worker.WorkerProbeAnswered: worker_rows.seen,
    worker.WorkerRecoverySucceeded: worker_rows.succeeded,
    worker.WorkerRecoveryFailed: worker_rows.attempt_failed,
    worker.WorkerRecoverySuperseded: worker_rows.superseded,
    task.TaskSubmitted: task_rows.submitted,
    task.TaskAssigned: task_rows.assigned,
    task.TaskRevoked: task_rows.seen,
    task.TaskHung: task_rows.seen,
    task.TaskIsolated: task_rows.seen,
    task.TaskStranded: task_rows.stranded,
    task.TaskStarted: task_rows.started,
    task.TaskAttemptFinished: task_rows.seen,
    task.TaskReturned: task_rows.seen,
    task.TaskRequeued: task_rows.requeued,
    task.TaskCompleted: task_rows.completed,
    task.TaskCancelRequested: task_rows.seen,
    system.SystemStatusChanged: system_rows.status_changed,
    system.SystemRecoveryStarted: system_rows.started,
    system.SystemRecoveryStaged: system_rows.staged,
    system.SystemRecoveryCompleted: system_rows.completed,
    system.ProjectionRebuilt: system_rows.projection_rebuilt,
}
"""What each kind does to workers, tasks and the histories. The other tables list their own kinds."""

_LISTS: tuple[Handlers, ...] = (
    HANDLERS,
    proactive_rows.HANDLERS,
    attempt_rows.HANDLERS,
    failure_rows.HANDLERS,
    policy_rows.HANDLERS,
    outage_rows.HANDLERS,
    use_rows.HANDLERS,
)
"""In the order of their turns: what comes later builds on what is before it."""

TURNS: dict[type[Event], tuple[Handler, ...]] = {
    kind: tuple(handlers[kind] for handlers in _LISTS if kind in handlers) for kind in KINDS.values()
}
"""What each kind does to the tables, besides its own row in `events`; for some nothing."""

OF_TASKS = frozenset(kind for kind in TURNS if issubclass(kind, TaskEvent))
OF_WORKERS = frozenset(kind for kind in TURNS if issubclass(kind, WorkerEvent)) | {
    task.TaskRequeued,
    task.TaskAttemptFinished,
}
"""The kinds that need the row of a task, and that of a worker: looked up, for a backlog has a million of them."""

ENTITIES: dict[type[Event], Callable[[Any], str]] = {
    kind: attrgetter("task_id" if issubclass(kind, TaskEvent) else "worker_id")
    for kind in TURNS
    if issubclass(kind, TaskEvent | WorkerEvent)
}
"""What each kind is about, where that is neither the system nor a run."""

INTEGER_MAX = 2**31 - 1

REFUSED = "refused by the database: "
"""Begins the reason of an event that was parked although it is well formed."""

_SMALL = ("attempt", "attempts", "affected_workers", "affected_tasks")
"""Numbers whose columns hold up to `INTEGER_MAX`, and events more."""


class _Plan(NamedTuple):
    """What there is to know of a kind, in one place: a backlog has a million events."""

    tag: str
    entity: Callable[[Any], str | None]
    small: tuple[str, ...]
    handlers: tuple[Handler, ...]


def _no_entity(_: Event) -> None:
    return None


_PLANS = {
    kind: _Plan(
        tag,
        ENTITIES.get(kind, _no_entity),
        tuple(name for name in _SMALL if name in kind.__struct_fields__),
        TURNS[kind],
    )
    for tag, kind in KINDS.items()
}


def keys(batch: Iterable[Recorded]) -> tuple[set[str], set[str]]:
    """The workers and the tasks whose rows a batch needs."""
    workers: set[str] = set()
    tasks: set[str] = set()
    for recorded in batch:
        envelope = recorded.envelope
        if envelope is None:
            continue
        event: Any = envelope.event
        kind = type(event)
        if kind in OF_TASKS:
            tasks.add(event.task_id)
        if kind in OF_WORKERS:
            workers.add(event.worker_id)
    return workers, tasks


def apply(rows: WorkingSet, batch: Iterable[Recorded]) -> None:
    """Takes a batch into the working set, which must hold the rows that `keys` names, as far as they exist."""
    events = rows.changes.events
    for recorded in batch:
        envelope = recorded.envelope
        if envelope is None:
            rows.changes.parked.append(_parked(recorded))
            continue
        event = envelope.event
        plan = _PLANS[type(event)]
        if plan.small and (problem := _too_large(event, plan)):
            rows.changes.parked.append(_parked(parked(recorded, problem)))
            continue
        events.append(_event(recorded, envelope, plan))
        for handler in plan.handlers:
            handler(rows, recorded, event)


def understood(recorded: Recorded) -> bool:
    return recorded.event is not None and _too_large(recorded.event, _PLANS[type(recorded.event)]) is None


def parked(recorded: Recorded, problem: str) -> Recorded:
    """The same message as one that cannot be understood."""
    assert recorded.envelope is not None
    raw = codec.encode(recorded.envelope)
    return Recorded(recorded.sequence, recorded.time, recorded.subject, None, recorded.synthetic, problem, raw)


def _event(recorded: Recorded, envelope: Envelope, plan: _Plan) -> EventRow:
    event = envelope.event
    return EventRow(
        sequence=recorded.sequence,
        recorded_at=microseconds(recorded.time),
        kind=plan.tag,
        entity=plan.entity(event),
        event_id=envelope.id,
        source=envelope.source,
        causation_id=envelope.causation_id,
        correlation_id=envelope.correlation_id,
        synthetic=recorded.synthetic,
        payload=event,
    )


def _parked(recorded: Recorded) -> ParkedRow:
    return ParkedRow(
        sequence=recorded.sequence,
        recorded_at=microseconds(recorded.time),
        subject=recorded.subject,
        reason=recorded.problem or "not understood",
        payload=recorded.raw,
    )


def _too_large(event: Event, plan: _Plan) -> str | None:
    for name in plan.small:
        if getattr(event, name) > INTEGER_MAX:
            return f"{plan.tag}: {name} is more than a table can hold, {INTEGER_MAX}"
    return None
