"""What can be read from a stretch of the log: pure functions over recorded events."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

from events.base import Event
from events.envelope import Recorded
from events.system import LeaderElected
from events.task import (
    TaskAssigned,
    TaskAttemptFinished,
    TaskCompleted,
    TaskRequeued,
    TaskReturned,
    TaskStarted,
    TaskSubmitted,
)
from events.worker import WorkerRecoveryScheduled, WorkerRecoveryStarted

E = TypeVar("E", bound=Event)

LOST = frozenset({"crashed", "timed_out", "cancelled", "quarantined"})
"""Verdicts that are not the tests' own in a suite that has none of them when nothing is killed."""


class Found(NamedTuple, Generic[E]):
    recorded: Recorded
    event: E


def find(events: Iterable[Recorded], kind: type[E], **fields: object) -> Found[E] | None:
    """The first event of this type whose fields have these values."""
    for recorded in events:
        event = recorded.event
        if isinstance(event, kind) and all(getattr(event, name) == value for name, value in fields.items()):
            return Found(recorded, event)
    return None


class Unfinished(NamedTuple):
    """A task that an incarnation was given and did not bring to an end."""

    task_id: str
    attempt: int
    started: bool


def unfinished(events: Iterable[Recorded], worker_id: str, incarnation: int) -> list[Unfinished]:
    held: dict[str, Unfinished] = {}
    for recorded in events:
        event = recorded.event
        if not isinstance(event, TaskAssigned | TaskStarted | TaskAttemptFinished | TaskReturned):
            continue
        if (event.worker_id, event.incarnation) != (worker_id, incarnation):
            continue
        if isinstance(event, TaskAssigned | TaskStarted):
            held[event.task_id] = Unfinished(event.task_id, event.attempt, isinstance(event, TaskStarted))
        else:
            held.pop(event.task_id, None)
    return list(held.values())


def requeue_of(events: Iterable[Recorded], task: Unfinished) -> Found[TaskRequeued] | None:
    return find(events, TaskRequeued, task_id=task.task_id, attempt=task.attempt)


def start_after(events: Iterable[Recorded], task: Unfinished) -> Found[TaskStarted] | None:
    """Where the task began again, under a higher attempt."""
    for recorded in events:
        event = recorded.event
        if isinstance(event, TaskStarted) and event.task_id == task.task_id and event.attempt > task.attempt:
            return Found(recorded, event)
    return None


def attempts_on(events: Iterable[Recorded], worker_id: str) -> list[Recorded]:
    """Every step of an automatic attempt to bring a worker back."""
    return [
        recorded
        for recorded in events
        if isinstance(recorded.event, WorkerRecoveryScheduled | WorkerRecoveryStarted)
        and recorded.event.worker_id == worker_id
    ]


def stale_decisions(events: Sequence[Recorded]) -> list[Recorded]:
    """Decisions that stand in a term of somebody else's than their writer's: there must be none."""
    leader = ""
    found = []
    for recorded in events:
        envelope = recorded.envelope
        if envelope is None:
            continue
        if isinstance(envelope.event, LeaderElected):
            leader = f"coordinator/{envelope.event.coordinator_id}"
        elif envelope.decision is not None and envelope.source != leader:
            found.append(recorded)
    return found


class Verdicts(NamedTuple):
    counts: Counter[str]
    missing: list[str]
    doubled: list[str]

    @property
    def lost(self) -> int:
        return sum(count for verdict, count in self.counts.items() if verdict in LOST)


def verdicts(events: Iterable[Recorded]) -> Verdicts:
    """Of all tasks that were ever submitted."""
    each: dict[str, int] = {}
    counts: Counter[str] = Counter()
    for recorded in events:
        event = recorded.event
        if isinstance(event, TaskSubmitted):
            each.setdefault(event.task_id, 0)
        elif isinstance(event, TaskCompleted):
            each[event.task_id] = each.get(event.task_id, 0) + 1
            counts[event.verdict] += 1
    return Verdicts(
        counts,
        [task_id for task_id, count in each.items() if count == 0],
        [task_id for task_id, count in each.items() if count > 1],
    )
