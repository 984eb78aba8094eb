"""The table of errors: what each means for a worker, for a task, and for the budgets, as the decisions show it."""

from typing import Any, get_args

import pytest

from events.base import Event
from events.clock import utc
from events.failures import CODES, LADDERS, REPLACE, ErrorCode, FailureReason
from events.policy import Policy
from events.system import BrokerReturned, FaultReported, LeaderElected, SystemRecoveryStarted
from events.task import OUTCOME_CODES, Outcome, TaskAttemptFinished, TaskCompleted, TaskRequeued
from events.worker import WorkerExited, WorkerFailed
from recovery.taxonomy import TAXONOMY, code_of
from tests.recovery.story import BEGIN, Story, submitted

ASKED = Policy(verdict_retries=1)


def test_the_table_is_closed() -> None:
    assert set(TAXONOMY) == set(get_args(ErrorCode))
    assert set(CODES) == set(get_args(FailureReason))
    assert set(OUTCOME_CODES) <= set(get_args(Outcome))


@pytest.mark.parametrize("reason", get_args(FailureReason))
def test_a_failure_is_answered_by_the_strategy_of_its_kind_first(reason: FailureReason) -> None:
    first = next(strategy for strategy in LADDERS[reason] if strategy != REPLACE)
    # One that beats and does not answer gets through: it need not be waited for.
    assert first == ("reconnect" if reason == "unanswered" else TAXONOMY[CODES[reason]].strategy)


def test_nothing_that_is_no_verdict_is_paid_by_verdict_retries() -> None:
    for code, treatment in TAXONOMY.items():
        assert (treatment.budget == "verdict") == (treatment.retry == "asked"), code
        assert treatment.retry != "never" or treatment.budget == "none", code
        assert treatment.blame != "task" or treatment.budget == "verdict", code


AWAY = BrokerReturned(coordinator_id="c1", since=utc(BEGIN - 60.0), away_s=60.0)


def fault(error: ErrorCode) -> FaultReported:
    return FaultReported(component="projector", error=error, detail="d", since=utc(BEGIN), reported_by="p")


@pytest.mark.parametrize(
    ("fact", "error"),
    [
        (fault("database"), "database"),
        (fault("system_resource"), "system_resource"),
        (LeaderElected(coordinator_id="c2", term=2), "coordinator"),
        (AWAY, "broker"),
    ],
)
def test_what_is_wrong_with_the_system_itself_is_counted(fact: Event, error: ErrorCode) -> None:
    """Nobody's budget pays for it, and no drill counts."""
    treatment = TAXONOMY[error]
    assert (treatment.budget, treatment.blame) == ("none", "nobody")
    for label, counted in ((None, 1), ("drill", 0)):
        story = Story()
        story.join("w1")
        story.tell(fact, synthetic=label)
        # A change of leaders is no drill, whoever says so: what counts is the leader's own word of it.
        assert +story.state.errors == ({error: 1} if counted or isinstance(fact, LeaderElected) else {})
        started = story.told(SystemRecoveryStarted)
        assert [event.error for event in started] == ([] if isinstance(fact, FaultReported) else [error])


ENDS: list[tuple[Outcome, ErrorCode | None, str | None]] = [
    # how an attempt ends, what its worker says of it, which budget pays for another one where one was asked for
    ("failed", None, "verdict"),
    ("failed", "task_error", "verdict"),
    ("failed", "task_resource", "verdict"),
    ("failed", "unknown", "verdict"),
    ("failed", "security", None),
    ("error", None, "verdict"),
    ("error", "security", None),
    ("crashed", None, "verdict"),
    ("crashed", "task_resource", "verdict"),
    ("timed_out", None, "verdict"),
    ("fenced", None, "infrastructure"),
]


@pytest.mark.parametrize(("outcome", "error", "budget"), ENDS)
def test_what_pays_for_another_attempt(outcome: Outcome, error: ErrorCode | None, budget: str | None) -> None:
    treatment = TAXONOMY[code_of(outcome, error)]
    assert budget == (None if treatment.retry == "never" else treatment.budget)
    story = Story(ASKED)
    story.join("w1", "w2")
    story.tell(submitted("t1"))
    story.start("t1")
    story.tell(ended(story, outcome, error))
    assert [event.budget for event in story.told(TaskRequeued)] == ([] if budget is None else [budget])
    if budget is None:
        (completed,) = story.told(TaskCompleted)
        assert (completed.verdict, completed.message) == ("failed", "not tried again: security")


@pytest.mark.parametrize(("outcome", "error", "budget"), [end for end in ENDS if end[2] == "verdict"])
def test_nothing_is_tried_again_that_nobody_asked_for(outcome: Outcome, error: ErrorCode | None, budget: str) -> None:
    story = Story()
    story.join("w1", "w2")
    story.tell(submitted("t1"))
    story.start("t1")
    story.tell(ended(story, outcome, error))
    assert not story.told(TaskRequeued, budget=budget)
    assert len(story.told(TaskCompleted)) == 1


def test_what_could_not_be_begun_is_tried_elsewhere_unless_it_was_not_allowed() -> None:
    for error, requeued in (("worker_resource", 1), ("security", 0)):
        story = Story()
        story.join("w1", "w2")
        story.tell(submitted("t1"))
        story.tell(ended(story, "error", error, unstartable=True))  # type: ignore[arg-type]
        assert len(story.told(TaskRequeued, reason="worker_unfit", budget="infrastructure")) == requeued
        assert len(story.told(TaskCompleted)) == 1 - requeued


def test_errors_are_counted_by_kind_and_drills_are_not() -> None:
    story = Story()
    story.join("w1", "w2")
    story.tell(submitted("t1"), submitted("t2"))
    story.start("t1")
    story.tell(ended(story, "crashed", None))
    story.start("t2")
    story.tell(ended(story, "failed", "unknown"), synthetic="drill")
    story.tell(WorkerFailed(worker_id="w2", reason="synthetic"), synthetic="drill")
    assert story.state.errors == {"task_crash": 1}
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, signal=9))
    assert story.state.errors == {"task_crash": 1, "worker_exit": 1}


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"signal": 9}, "worker_exit", "it was killed by signal 9"),
        (
            {"signal": 9, "error": "worker_resource"},
            "worker_resource",
            "it was killed by signal 9 while its machine was out of memory",
        ),
        ({"signal": 9, "hung": True}, "timeout", "it did not answer its supervisor for 0.0 s and was killed"),
    ],
)
def test_a_failure_tells_what_its_supervisor_saw(fields: dict[str, Any], error: str, message: str) -> None:
    story = Story()
    story.join("w1")
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, **fields))
    (failed,) = story.told(WorkerFailed)
    assert (failed.error, failed.message) == (error, message)


def ended(
    story: Story, outcome: Outcome, error: ErrorCode | None, task_id: str = "", **fields: Any
) -> TaskAttemptFinished:
    held = next(task for task in story.state.tasks.values() if task.status in ("running", "assigned"))
    task = story.task(task_id) if task_id else held
    assert task.worker_id is not None
    return TaskAttemptFinished(
        task_id=task.task_id,
        worker_id=task.worker_id,
        incarnation=task.incarnation,
        attempt=task.attempt,
        outcome=outcome,
        duration_s=5.0,
        error=error,
        **fields,
    )
