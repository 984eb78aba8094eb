"""Scenario 9: a result that comes after its attempt was given to another worker."""

from typing import Any

import pytest

from events.policy import Policy
from events.task import (
    Outcome,
    TaskAssigned,
    TaskAttemptFinished,
    TaskCancelRequested,
    TaskCompleted,
    TaskRequeued,
    TaskReturned,
    TaskRevoked,
)
from events.worker import WorkerFailed
from tests.recovery.story import Story, policy_changed, submitted
from tests.recovery.test_task_scenarios import kill

GOOD: list[Outcome] = ["passed", "xfailed", "xpassed", "skipped"]


def replaced(*, free: bool = False, begun: bool = True) -> tuple[Story, TaskAttemptFinished]:
    """A task whose worker died with its success unsaid; another worker, w2, has it, unless there is none `free`."""
    story = Story()
    story.join("w1")
    story.tell(submitted("t1"))
    if begun:
        story.start("t1")
    late = story.finished("t1")
    if free:
        story.join("w2")
    kill(story, "w1")
    assert story.task("t1").status == ("assigned" if free else "queued")
    return story, late


def verdict(story: Story) -> TaskCompleted:
    (completed,) = story.told(TaskCompleted)
    return completed


@pytest.mark.parametrize("outcome", GOOD)
@pytest.mark.parametrize("begun", [True, False], ids=["begun", "its start is lost"])
def test_9_taken_while_it_waits(outcome: Outcome, *, begun: bool) -> None:
    story, late = replaced(begun=begun)
    story.tell(
        TaskAttemptFinished(task_id="t1", outcome=outcome, worker_id="w1", attempt=1, incarnation=late.incarnation)
    )
    completed = verdict(story)
    assert (completed.attempt, completed.outcome, completed.worker_id) == (1, outcome, "w1")
    assert story.records[completed.result_sequence - 1].event == TaskAttemptFinished(
        task_id="t1", outcome=outcome, worker_id="w1", attempt=1, incarnation=late.incarnation
    )
    ignored = story.state.ignored["task.attempt_finished"]
    story.tell(late)
    assert story.state.ignored["task.attempt_finished"] == ignored + 1
    story.join("w2")
    assert not story.told(TaskAssigned, attempt=2)


@pytest.mark.parametrize("outcome", ["failed", "error", "crashed", "timed_out", "cancelled", "fenced"])
def test_9_what_is_no_success_is_stale(outcome: Outcome) -> None:
    story, late = replaced()
    story.tell(
        TaskAttemptFinished(task_id="t1", outcome=outcome, worker_id="w1", attempt=1, incarnation=late.incarnation)
    )
    assert story.task("t1").status == "queued"
    story.tell(late)
    assert verdict(story).verdict == "passed"


def test_9_taken_before_it_was_put_back() -> None:
    story = Story()
    story.join("w1")
    story.tell(submitted("t1"))
    story.start("t1")
    late = story.finished("t1")
    story.leading = False
    kill(story, "w1")
    story.tell(late)
    story.leading = True
    story.settle()
    assert verdict(story).attempt == 1
    assert not story.told(TaskRequeued)


def test_9_its_replacement_is_called_off() -> None:
    story, late = replaced(free=True)
    story.tell(late)
    (revoked,) = story.told(TaskRevoked)
    assert (revoked.worker_id, revoked.attempt) == ("w2", 2)
    assert not story.told(TaskCompleted)
    story.give_back("t1")
    completed = verdict(story)
    assert (completed.verdict, completed.attempt, completed.worker_id) == ("passed", 1, "w1")
    assert completed.result_sequence == next(one.sequence for one in story.records if one.event == late)
    assert len(story.told(TaskRequeued)) == 1
    assert not story.worker("w2").idled


@pytest.mark.parametrize("outcome", ["cancelled", "failed", "passed", "fenced"])
def test_9_a_start_that_was_on_its_way_changes_nothing(outcome: Outcome) -> None:
    """What counts is the order of the log: the success was there first."""
    story, late = replaced(free=True)
    story.tell(late, story.started("t1"))
    assert story.task("t1").status == "running"
    assert not story.told(TaskCompleted)
    story.finish("t1", outcome)
    assert (verdict(story).verdict, verdict(story).attempt) == ("passed", 1)


def test_9_a_success_behind_the_start_is_stale() -> None:
    story, late = replaced(free=True)
    story.start("t1")
    story.tell(late)
    assert story.task("t1").status == "running"
    assert not story.told(TaskRevoked)
    story.finish("t1", "failed")
    assert (verdict(story).verdict, verdict(story).attempt) == ("failed", 2)


@pytest.mark.parametrize("auto_recovery", [True, False])
@pytest.mark.parametrize("first", ["success", "death"])
def test_9_whoever_has_the_replacement_dies(first: str, *, auto_recovery: bool) -> None:
    story, late = replaced(free=True)
    if not auto_recovery:
        story.tell(policy_changed(Policy(auto_recovery=False)))
    story.leading = False
    for what in (first, "death" if first == "success" else "success"):
        if what == "death":
            kill(story, "w2")
        else:
            story.tell(late)
    story.leading = True
    story.settle()
    assert (verdict(story).verdict, verdict(story).attempt) == ("passed", 1)
    assert len(story.told(TaskRequeued)) == 1


def test_9_a_cancellation_does_not_take_a_success_away() -> None:
    story, late = replaced(free=True)
    story.tell(late, TaskCancelRequested(task_id="t1", actor="alice"))
    story.give_back("t1")
    assert verdict(story).verdict == "passed"


def test_9_only_the_attempt_that_was_replaced_last_counts() -> None:
    story, late = replaced(free=True)
    second = story.finished("t1")
    kill(story, "w2")
    story.tell(late)
    assert story.task("t1").status == "queued"
    story.tell(second)
    assert verdict(story).attempt == 2


def test_9_whoever_has_spoken_has_spoken() -> None:
    """It handed the task back, so what it says of it afterwards contradicts that."""
    story = Story()
    story.join("w1")
    story.tell(submitted("t1"))
    late = story.finished("t1")
    story.leading = False
    story.tell(TaskReturned(task_id="t1", worker_id="w1", incarnation=late.incarnation, attempt=1))
    story.leading = True
    story.settle()
    story.leading = False
    story.tell(late)
    assert story.task("t1").attempt == 2
    assert story.task("t1").late is None


def test_9_a_stranger_who_names_the_wrong_incarnation_is_not_believed() -> None:
    story, late = replaced()
    for field, value in (("worker_id", "w9"), ("incarnation", late.incarnation + 1), ("attempt", 2)):
        said: dict[str, Any] = {"worker_id": "w1", "incarnation": late.incarnation, "attempt": 1, field: value}
        story.tell(TaskAttemptFinished(task_id="t1", outcome="passed", **said))
    story.tell(TaskAttemptFinished(task_id="t9", outcome="passed", worker_id="w1", incarnation=1, attempt=1))
    assert story.task("t1").status == "queued"


def test_9_a_drill_takes_no_success_away() -> None:
    story = Story()
    story.join("w1")
    story.tell(submitted("t1"))
    story.start("t1")
    late = story.finished("t1")
    story.tell(WorkerFailed(worker_id="w1", reason="synthetic"), synthetic="drill")
    story.tell(late)
    assert verdict(story).verdict == "passed"
    assert next(one for one in story.records if isinstance(one.event, TaskCompleted)).synthetic is None
