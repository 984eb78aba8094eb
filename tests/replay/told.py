"""A small history to look into: one worker dies under one of two tasks and comes back."""

from events.base import Event
from events.clock import utc
from events.envelope import Draft, Envelope, Provenance
from events.identity import new_id
from events.memory import MemoryLog
from events.system import RunSubmitted
from events.task import TaskAssigned, TaskCompleted, TaskRequeued, TaskStarted, TaskSubmitted
from events.work import CommandWork
from events.worker import WorkerExited, WorkerFailed, WorkerRegistered

WORK = CommandWork(argv=("true",), cwd="/")

HISTORY: tuple[tuple[Event, int | None], ...] = (
    (WorkerRegistered(worker_id="w1", host="h", pid=1, slots=1), None),
    (RunSubmitted(run_id="r1", title="a run", tasks=2), None),
    (TaskSubmitted(task_id="t1", run_id="r1", work=WORK), 2),
    (TaskSubmitted(task_id="t2", run_id="r1", work=WORK), 2),
    (TaskAssigned(task_id="t1", worker_id="w1", incarnation=1, attempt=1, work=WORK), 3),
    (TaskStarted(task_id="t1", worker_id="w1", incarnation=1, attempt=1), 5),
    (WorkerExited(worker_id="w1", incarnation=1, signal=9), None),
    (WorkerFailed(worker_id="w1", incarnation=1, reason="worker_exit"), 7),
    (TaskRequeued(task_id="t1", attempt=1, worker_id="w1", reason="worker_failed", budget="infrastructure"), 8),
    (WorkerRegistered(worker_id="w1", host="h", pid=2, slots=1), None),
    (TaskCompleted(task_id="t2", run_id="r1", verdict="cancelled", attempt=0), 4),
)
"""Events and the sequences of their causes; each stands at its own number, from 1."""


async def told(history: tuple[tuple[Event, int | None], ...] = HISTORY) -> MemoryLog:
    log = MemoryLog(wall=lambda: 1_000_000.0)
    ids: list[str] = []
    for event, cause in history:
        ids.append(new_id())
        await log.append([drafted(event, event_id=ids[-1], causation_id=None if cause is None else ids[cause - 1])])
    return log


def drafted(
    event: Event,
    *,
    event_id: str | None = None,
    causation_id: str | None = None,
    correlation_id: str | None = None,
    decision: Provenance | None = None,
    synthetic: str | None = None,
) -> Draft:
    envelope = Envelope(
        id=event_id or new_id(),
        time=utc(1_000_000.0),
        source="test",
        event=event,  # type: ignore[arg-type]
        causation_id=causation_id,
        correlation_id=correlation_id,
        decision=decision,
    )
    return Draft(envelope, synthetic)
