"""The tables of `recovery.lifecycle`, row by row; and every pair that is not a row changes nothing but a count."""

from collections.abc import Callable
from itertools import product
from typing import Any, get_args

import pytest

from events.base import Event
from events.clock import utc
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
    Evidence,
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
from recovery.entities import Attempt
from recovery.lifecycle import ATTEMPT, LIVE, TASK, WORKER, AttemptStatus, TaskStatus, WorkerStatus
from tests.recovery.story import WORK, Story, registered, submitted

Maker = Callable[[Story], Event]


def worker_fields(story: Story) -> dict[str, Any]:
    return {"worker_id": "w1", "incarnation": story.worker("w1").incarnation if "w1" in story.state.workers else 1}


WORKER_EVENTS: dict[type[Event], Maker] = {
    WorkerRegistered: lambda _: registered("w1"),
    WorkerSuspected: lambda story: WorkerSuspected(**worker_fields(story), evidence=Evidence()),
    WorkerSuspicionRefuted: lambda story: WorkerSuspicionRefuted(**worker_fields(story), evidence=Evidence()),
    WorkerStalled: lambda story: WorkerStalled(**worker_fields(story), cause="not_started"),
    WorkerStallRefuted: lambda story: WorkerStallRefuted(**worker_fields(story), reason="test"),
    WorkerDrainRequested: lambda story: WorkerDrainRequested(**worker_fields(story), actor="alice"),
    WorkerDraining: lambda story: WorkerDraining(**worker_fields(story)),
    WorkerStopped: lambda story: WorkerStopped(**worker_fields(story)),
    WorkerExited: lambda story: WorkerExited(**worker_fields(story), exit_code=1),
    WorkerVanished: lambda story: WorkerVanished(**worker_fields(story), machine="m1", lifeline="l1"),
    WorkerFailed: lambda story: WorkerFailed(**worker_fields(story), reason="silence"),
    WorkerRetired: lambda story: WorkerRetired(**worker_fields(story)),
    WorkerPermanentlyFailed: lambda _: WorkerPermanentlyFailed(worker_id="w1", attempts=1),
    WorkerReadmitted: lambda _: WorkerReadmitted(worker_id="w1", actor="alice"),
}

WORKER_PATHS: dict[WorkerStatus, tuple[type[Event], ...]] = {
    "alive": (),
    "suspect": (WorkerSuspected,),
    "stalled": (WorkerStalled,),
    "draining": (WorkerDraining,),
    "exited": (WorkerExited,),
    "failed": (WorkerFailed,),
    "permanent": (WorkerFailed, WorkerPermanentlyFailed),
    "stopped": (WorkerStopped,),
}


def worker_in(status: WorkerStatus) -> Story:
    """A story in which w1 has come to this status, and one task runs and one waits on it, if it ever was alive."""
    story = Story(lead=False)
    story.tell(registered("w1", slots=2), submitted("t1"), submitted("t2"))
    for task_id in ("t1", "t2"):
        story.tell(TaskAssigned(task_id=task_id, worker_id="w1", incarnation=2, attempt=1, work=WORK))
    story.tell(TaskStarted(task_id="t1", worker_id="w1", incarnation=2, attempt=1))
    for kind in WORKER_PATHS[status]:
        story.tell(WORKER_EVENTS[kind](story))
    assert story.worker("w1").status == status
    return story


def fingerprint(story: Story) -> str:
    """Everything there is to know of the state, but for how far it has come and what it has ignored."""
    state = story.state
    left_out = {
        "events_sequence",
        "heartbeats_sequence",
        "ignored",
        "timers",
        "useless",
        "repairs",
        "alarms",
        "waiting",
    }
    facts = {name: repr(value) for name, value in vars(state).items() if name not in left_out}
    facts["timers"] = repr({worker_id: state.timers.get(worker_id) for worker_id in state.workers})
    facts["useless"] = repr({worker_id: state.useless.get(worker_id) for worker_id in state.workers})
    facts["waiting"] = repr([task.task_id for task in state.waiting.in_order()])
    return repr(facts)


@pytest.mark.parametrize(("status", "kind"), list(WORKER), ids=lambda value: getattr(value, "__name__", value))
def test_worker_rows(status: WorkerStatus, kind: type[Event]) -> None:
    story = worker_in(status)
    if kind is WorkerRetired:
        story.tell(WORKER_EVENTS[WorkerDrainRequested](story))
    ignored = story.state.ignored.total()
    story.tell(WORKER_EVENTS[kind](story))
    assert story.worker("w1").status == WORKER[status, kind]
    assert story.state.ignored.total() == ignored
    over = kind is WorkerRegistered or WORKER[status, kind] not in LIVE
    assert set(story.state.orphaned) == ({"t1", "t2"} if over or status not in LIVE else set())


@pytest.mark.parametrize(
    ("status", "kind"),
    [pair for pair in product(WORKER_PATHS, WORKER_EVENTS) if pair not in WORKER],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_worker_pairs_without_a_row_change_nothing(status: WorkerStatus, kind: type[Event]) -> None:
    story = worker_in(status)
    before, ignored = fingerprint(story), story.state.ignored.total()
    story.tell(WORKER_EVENTS[kind](story))
    assert fingerprint(story) == before
    assert story.state.ignored.total() == ignored + 1


@pytest.mark.parametrize("kind", [kind for kind in WORKER_EVENTS if kind is not WorkerRegistered])
@pytest.mark.parametrize("status", [*WORKER_PATHS, None])
def test_what_concerns_another_incarnation_or_nobody_changes_nothing(
    status: WorkerStatus | None, kind: type[Event]
) -> None:
    story = Story(lead=False) if status is None else worker_in(status)
    event = WORKER_EVENTS[kind](story)
    if status is not None:
        if not hasattr(event, "incarnation"):
            return
        story.tell(registered("w2"))  # so that the sequence of another worker stands for an incarnation
        event = type(event)(**{**_fields(event), "incarnation": 99})
    before, ignored = fingerprint(story), story.state.ignored.total()
    story.tell(event)
    assert fingerprint(story) == before
    assert story.state.ignored.total() == ignored + 1


def _fields(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__struct_fields__}


def task_fields(story: Story) -> dict[str, Any]:
    return {"task_id": "t1", "worker_id": "w1", "incarnation": 2, "attempt": max(1, story.task("t1").attempt)}


TASK_EVENTS: dict[type[Event], Maker] = {
    TaskAssigned: lambda story: TaskAssigned(
        task_id="t1", worker_id="w1", incarnation=2, attempt=story.task("t1").attempt + 1, work=WORK
    ),
    TaskIsolated: lambda story: TaskIsolated(
        task_id="t1",
        worker_id="w2" if story.worker("w1").set_apart_for else "w1",
        incarnation=story.worker("w2" if story.worker("w1").set_apart_for else "w1").incarnation,
    ),
    TaskStarted: lambda story: TaskStarted(**task_fields(story)),
    TaskAttemptFinished: lambda story: TaskAttemptFinished(**task_fields(story), outcome="failed"),
    TaskReturned: lambda story: TaskReturned(**task_fields(story)),
    TaskRequeued: lambda story: TaskRequeued(
        task_id="t1", worker_id="w1", attempt=max(1, story.task("t1").attempt), reason="lost", budget="none"
    ),
    TaskCompleted: lambda story: TaskCompleted(
        task_id="t1", run_id="r1", verdict="failed", attempt=story.task("t1").attempt
    ),
}

TASK_PATHS: dict[TaskStatus, tuple[type[Event], ...]] = {
    "queued": (),
    "isolated": (TaskIsolated,),
    "assigned": (TaskAssigned,),
    "running": (TaskAssigned, TaskStarted),
    "finished": (TaskAssigned, TaskAttemptFinished),
    "returned": (TaskAssigned, TaskReturned),
    "final": (TaskCompleted,),
}


def task_in(status: TaskStatus) -> Story:
    story = Story(lead=False)
    story.tell(registered("w1"), registered("w2"), submitted("t1"))
    for kind in TASK_PATHS[status]:
        story.tell(TASK_EVENTS[kind](story))
    assert story.task("t1").status == status
    return story


LATE: set[tuple[TaskStatus, type[Event]]] = {("queued", TaskAttemptFinished), ("isolated", TaskAttemptFinished)}
"""Rows for successes of a lost attempt alone: see test_late_success."""


@pytest.mark.parametrize(
    ("status", "kind"), [pair for pair in TASK if pair not in LATE], ids=lambda value: getattr(value, "__name__", value)
)
def test_task_rows(status: TaskStatus, kind: type[Event]) -> None:
    story = task_in(status)
    ignored = story.state.ignored.total()
    story.tell(TASK_EVENTS[kind](story))
    assert story.task("t1").status == TASK[status, kind]
    assert story.state.ignored.total() == ignored


@pytest.mark.parametrize(
    ("status", "kind"),
    [pair for pair in product(TASK_PATHS, TASK_EVENTS) if pair not in TASK or pair in LATE],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_task_pairs_without_a_row_change_nothing(status: TaskStatus, kind: type[Event]) -> None:
    story = task_in(status)
    before, ignored = fingerprint(story), story.state.ignored.total()
    story.tell(TASK_EVENTS[kind](story))
    assert fingerprint(story) == before
    assert story.state.ignored.total() == ignored + 1


WORDS = (TaskStarted, TaskAttemptFinished, TaskReturned)


@pytest.mark.parametrize("kind", WORDS)
@pytest.mark.parametrize("wrong", [{"attempt": 2}, {"incarnation": 1}, {"worker_id": "w2"}, {"task_id": "t2"}])
def test_a_worker_speaks_for_its_own_present_attempt_only(kind: type[Event], wrong: dict[str, Any]) -> None:
    for status in ("assigned", "running"):
        story = task_in(status)
        event = TASK_EVENTS[kind](story)
        before = fingerprint(story)
        story.tell(type(event)(**{**_fields(event), **wrong}))
        assert fingerprint(story) == before


ATTEMPT_EVENTS: dict[type[Event], Maker] = {
    WorkerRegistered: lambda _: registered("w1"),
    WorkerRecoveryScheduled: lambda _: WorkerRecoveryScheduled(
        worker_id="w1", incarnation=2, attempt=1, strategy="restart", not_before=utc(2e6)
    ),
    WorkerRecoveryStarted: lambda _: WorkerRecoveryStarted(
        worker_id="w1", incarnation=2, attempt=1, strategy="restart", deadline=utc(3e6)
    ),
    WorkerRecoveryActed: lambda _: WorkerRecoveryActed(
        worker_id="w1", incarnation=2, attempt=1, strategy="restart", outcome="done"
    ),
    WorkerRecoveryProbed: lambda _: WorkerRecoveryProbed(worker_id="w1", incarnation=4, attempt=1),
    WorkerRecoverySucceeded: lambda _: WorkerRecoverySucceeded(
        worker_id="w1", incarnation=4, attempt=1, strategy="restart", duration_s=1.0
    ),
    WorkerRecoveryFailed: lambda _: WorkerRecoveryFailed(
        worker_id="w1", incarnation=2, attempt=1, strategy="restart", error="no"
    ),
    WorkerRecoverySuperseded: lambda _: WorkerRecoverySuperseded(
        worker_id="w1", incarnation=2, attempt=1, strategy="restart", reason="no"
    ),
}

ATTEMPT_PATHS: dict[AttemptStatus | None, tuple[type[Event], ...]] = {
    None: (),
    "scheduled": (WorkerRecoveryScheduled,),
    "started": (WorkerRecoveryScheduled, WorkerRecoveryStarted),
    "probed": (WorkerRecoveryScheduled, WorkerRecoveryStarted, WorkerRegistered, WorkerRecoveryProbed),
}


def attempt_in(status: AttemptStatus | None) -> Story:
    story = Story(lead=False)
    story.tell(registered("w1"), WorkerFailed(worker_id="w1", incarnation=2, reason="silence"))
    for kind in ATTEMPT_PATHS[status]:
        story.tell(ATTEMPT_EVENTS[kind](story))
    assert status_of(story.worker("w1").attempt) == status
    return story


def status_of(attempt: Attempt | None) -> AttemptStatus | None:
    return None if attempt is None else attempt.status


@pytest.mark.parametrize(("status", "kind"), list(ATTEMPT), ids=lambda value: getattr(value, "__name__", value))
def test_attempt_rows(status: AttemptStatus | None, kind: type[Event]) -> None:
    story = attempt_in(status)
    ignored = story.state.ignored.total()
    story.tell(ATTEMPT_EVENTS[kind](story))
    assert status_of(story.worker("w1").attempt) == ATTEMPT[status, kind]
    assert story.state.ignored.total() == ignored


@pytest.mark.parametrize(
    ("status", "kind"),
    [pair for pair in product(ATTEMPT_PATHS, ATTEMPT_EVENTS) if pair not in ATTEMPT and pair[1] != WorkerRegistered],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_attempt_pairs_without_a_row_change_nothing(status: AttemptStatus | None, kind: type[Event]) -> None:
    story = attempt_in(status)
    before, ignored = fingerprint(story), story.state.ignored.total()
    story.tell(ATTEMPT_EVENTS[kind](story))
    assert fingerprint(story) == before
    assert story.state.ignored.total() == ignored + 1


@pytest.mark.parametrize("kind", [kind for kind in ATTEMPT_EVENTS if kind is not WorkerRegistered])
def test_another_number_is_another_attempt(kind: type[Event]) -> None:
    for status in ("scheduled", "started", "probed"):
        story = attempt_in(status)
        event = ATTEMPT_EVENTS[kind](story)
        before = fingerprint(story)
        story.tell(type(event)(**{**_fields(event), "attempt": 2}))
        story.tell(type(event)(**{**_fields(event), "worker_id": "w9"}))
        assert fingerprint(story) == before


def test_the_tables_name_every_status() -> None:
    assert set(WORKER_PATHS) == set(get_args(WorkerStatus))
    assert set(TASK_PATHS) == set(get_args(TaskStatus))
    assert set(ATTEMPT_PATHS) - {None} == set(get_args(AttemptStatus))
    for table, known in ((WORKER, WORKER_EVENTS), (TASK, TASK_EVENTS), (ATTEMPT, ATTEMPT_EVENTS)):
        assert {kind for _, kind in table} == set(known)


def test_whatever_is_not_final_can_still_become_final() -> None:
    for status in TASK_PATHS:
        assert ((status, TaskCompleted) in TASK) == (status != "final")
    assert not any(status == "final" for status, _ in TASK)
