"""What becomes of tasks: budgets, cancellation, verdicts."""

import random

import pytest

from events.policy import Policy
from events.system import LeaderElected, RunCancelRequested
from events.task import (
    Budget,
    Outcome,
    TaskAssigned,
    TaskAttemptFinished,
    TaskCancelRequested,
    TaskCompleted,
    TaskRequeued,
    TaskReturned,
    TaskRevoked,
    TaskStarted,
    Verdict,
)
from events.worker import WorkerDraining, WorkerExited, WorkerStopped
from tests.recovery.story import Story, policy_changed, registered, submitted


def kill(story: Story, worker_id: str) -> None:
    story.tell(WorkerExited(worker_id=worker_id, incarnation=story.worker(worker_id).incarnation, signal=9))


def test_5_the_tasks_of_a_killed_worker_end_on_another() -> None:
    story = Story()
    story.join("w1", "w2", slots=2)
    story.tell(*(submitted(f"t{number}") for number in range(4)))
    story.start("t0", "t1", "t2", "t3")
    theirs = [task_id for task_id, task in story.state.tasks.items() if task.worker_id == "w1"]
    assert len(theirs) == 2
    late = [story.finished(task_id, "failed") for task_id in theirs]
    kill(story, "w1")
    assert {story.task(task_id).status for task_id in theirs} == {"queued"}
    assert {event.budget for event in story.told(TaskRequeued)} == {"infrastructure"}
    # What the dead one still says changes nothing.
    story.tell(*late)
    assert {story.task(task_id).status for task_id in theirs} == {"queued"}
    for task_id in [one for one in story.state.tasks if one not in theirs]:
        story.finish(task_id)
    story.start(*theirs)
    for task_id in theirs:
        assert story.task(task_id).worker_id == "w2"
        story.finish(task_id)
    assert [event.verdict for event in story.told(TaskCompleted)] == ["passed"] * 4


def test_9_the_result_of_a_replaced_attempt_is_stale() -> None:
    story = Story()
    story.join("w1", "w2")
    story.tell(submitted("t1"))
    story.start("t1")
    first = story.finished("t1", "failed")
    kill(story, story.task("t1").worker_id or "")
    story.start("t1")
    ignored = story.state.ignored["task.attempt_finished"]
    story.tell(first)
    assert story.state.ignored["task.attempt_finished"] == ignored + 1
    assert story.task("t1").status == "running"
    story.finish("t1", "passed")
    story.tell(first)
    (completed,) = story.told(TaskCompleted)
    assert (completed.verdict, completed.attempt) == ("passed", 2)
    # A second verdict, whoever writes it, fits no row.
    story.tell(TaskCompleted(task_id="t1", run_id="r1", verdict="failed", attempt=2))
    assert story.task("t1").verdict == "passed"


@pytest.mark.parametrize("allowed", [0, 1, 3])
@pytest.mark.parametrize("own", [True, False], ids=["the task's", "the policy's"])
@pytest.mark.parametrize("how", ["killed", "fenced"])
def test_10_the_infrastructure_budget(allowed: int, own: bool, how: str) -> None:
    story = Story(Policy(infrastructure_retries=7 if own else allowed, poison_deaths=1000))
    story.tell(submitted("t1", infrastructure_retries=allowed if own else None))
    for number in range(allowed + 1):
        worker_id = f"w{number}"
        story.join(worker_id)
        story.start("t1")
        if how == "killed":
            kill(story, worker_id)
        else:
            story.tell(WorkerDraining(worker_id=worker_id, incarnation=story.worker(worker_id).incarnation))
            story.finish("t1", "fenced")
    assert [event.budget for event in story.told(TaskRequeued)] == ["infrastructure"] * allowed
    (completed,) = story.told(TaskCompleted)
    assert completed.verdict == "crashed"
    assert completed.attempt == allowed + 1
    assert f"infrastructure retries allowed: {allowed}" in completed.message
    assert story.task("t1").verdict_used == 0


def test_10_what_was_fenced_before_it_started_pays_nothing() -> None:
    """A worker that is cut off hands in everything that it has, begun or not."""
    story = Story(Policy(infrastructure_retries=0))
    story.join("w1")
    story.tell(submitted("t1"))
    story.finish("t1", "fenced", duration_s=0.0)
    (requeued,) = story.told(TaskRequeued)
    assert (requeued.reason, requeued.budget) == ("fenced", "none")
    assert story.told(TaskCompleted) == []
    assert [event.attempt for event in story.told(TaskAssigned)] == [1, 2]


@pytest.mark.parametrize("allowed", [0, 1, 3])
@pytest.mark.parametrize("own", [True, False], ids=["the task's", "the policy's"])
def test_the_verdict_budget(allowed: int, own: bool) -> None:
    story = Story(Policy(verdict_retries=7 if own else allowed))
    story.join("w1")
    story.tell(submitted("t1", verdict_retries=allowed if own else None))
    for _ in range(allowed + 1):
        story.start("t1")
        story.finish("t1", "failed")
    assert [event.budget for event in story.told(TaskRequeued)] == ["verdict"] * allowed
    assert [event.verdict for event in story.told(TaskCompleted)] == ["failed"]
    assert story.task("t1").infrastructure_used == 0


# outcome, cancelled before?, expected verdict (None: requeued), expected budget
OUTCOMES: list[tuple[Outcome, bool, Verdict | None, Budget | None]] = [
    ("passed", False, "passed", None),
    ("xfailed", False, "passed", None),
    ("xpassed", False, "passed", None),
    ("skipped", False, "skipped", None),
    ("failed", False, None, "verdict"),
    ("error", False, None, "verdict"),
    ("crashed", False, None, "verdict"),
    ("timed_out", False, None, "verdict"),
    ("cancelled", False, None, "none"),
    ("fenced", False, None, "infrastructure"),
    ("passed", True, "passed", None),
    ("skipped", True, "skipped", None),
    ("failed", True, "failed", None),
    ("error", True, "failed", None),
    ("crashed", True, "crashed", None),
    ("timed_out", True, "timed_out", None),
    ("cancelled", True, "cancelled", None),
    ("fenced", True, "cancelled", None),
]


@pytest.mark.parametrize(("outcome", "cancelled", "verdict", "budget"), OUTCOMES)
def test_what_each_outcome_means(
    outcome: Outcome, cancelled: bool, verdict: Verdict | None, budget: Budget | None
) -> None:
    story = Story(Policy(verdict_retries=1))
    story.join("w1")
    story.tell(submitted("t1"))
    story.start("t1")
    if cancelled:
        story.tell(TaskCancelRequested(task_id="t1", actor="alice"))
    story.finish("t1", outcome, duration_s=2.5)
    if verdict is None:
        assert [event.budget for event in story.told(TaskRequeued)] == [budget]
        assert not story.told(TaskCompleted)
        return
    (completed,) = story.told(TaskCompleted)
    assert (completed.verdict, completed.outcome, completed.duration_s) == (verdict, outcome, 2.5)
    finished = story.records[completed.result_sequence - 1].event
    assert isinstance(finished, TaskAttemptFinished)


def test_19_the_same_event_twice_has_one_effect() -> None:
    story = Story()
    for event in (registered("w1"), submitted("t1"), submitted("t1")):
        story.tell(event)
    story.beat("w1")
    assert len(story.told(TaskAssigned)) == 1
    started = story.started("t1")
    story.tell(started, started)
    finished = story.finished("t1", "failed")
    story.tell(finished, finished)
    story.tell(finished)
    exited = WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, exit_code=1)
    begun = story.last
    story.tell(exited, exited)
    story.tell(exited)
    assert len(story.told(TaskCompleted)) == 1
    assert sum(event.tail().endswith(".failed") for event in story.since(begun)) == 1
    assert sum(event.tail().endswith(".recovery_scheduled") for event in story.since(begun)) == 1


@pytest.mark.parametrize("duration_s", [5e-324, 1e-300, 0.0, 1e300])
def test_no_duration_breaks_the_sums(duration_s: float) -> None:
    story = Story()
    story.join("w1")
    story.tell(*(submitted(f"t{number}") for number in range(9)))
    for number in range(9):
        story.start(f"t{number}")
        story.finish(f"t{number}", duration_s=duration_s)
    assert len(story.told(TaskCompleted)) == 9


def test_cancel_while_it_waits() -> None:
    story = Story()
    story.tell(submitted("t1"), TaskCancelRequested(task_id="t1", actor="alice"))
    (completed,) = story.told(TaskCompleted)
    assert (completed.verdict, completed.attempt, completed.worker_id) == ("cancelled", 0, None)
    story.join("w1")
    assert not story.told(TaskAssigned)


def test_cancel_while_it_is_assigned() -> None:
    story = Story()
    story.join("w1")
    story.tell(submitted("t1"))
    story.tell(TaskCancelRequested(task_id="t1", actor="alice"))
    story.tell(TaskCancelRequested(task_id="t1", actor="alice"))
    assert len(story.told(TaskRevoked)) == 1
    story.give_back("t1")
    (completed,) = story.told(TaskCompleted)
    assert (completed.verdict, completed.attempt) == ("cancelled", 1)


def test_cancel_while_it_runs() -> None:
    story = Story()
    story.join("w1")
    story.tell(submitted("t1"))
    story.start("t1")
    story.tell(TaskCancelRequested(task_id="t1", actor="alice"))
    (revoked,) = story.told(TaskRevoked)
    assert (revoked.worker_id, revoked.attempt) == ("w1", 1)
    story.finish("t1", "cancelled")
    assert story.task("t1").verdict == "cancelled"


@pytest.mark.parametrize("auto_recovery", [True, False])
@pytest.mark.parametrize("first", ["cancelled", "killed"])
def test_cancel_of_a_task_whose_worker_is_gone(auto_recovery: bool, first: str) -> None:
    story = Story(Policy(auto_recovery=auto_recovery))
    story.join("w1")
    story.tell(submitted("t1"))
    story.start("t1")
    cancel = TaskCancelRequested(task_id="t1", actor="alice")
    exited = WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, signal=9)
    story.tell(*((cancel, exited) if first == "cancelled" else (exited, cancel)))
    assert story.task("t1").verdict == "cancelled"
    assert not story.told(TaskRequeued)


def test_31_cancel_of_a_run() -> None:
    story = Story()
    story.join("w1", slots=2)
    story.tell(*(submitted(f"t{number}", run_id="r1") for number in range(4)), submitted("other", run_id="r2"))
    story.start("t0")
    story.tell(RunCancelRequested(run_id="r1", actor="alice"))
    assert {event.task_id for event in story.told(TaskRevoked)} == {"t0", "t1"}
    assert {event.task_id for event in story.told(TaskCompleted)} == {"t2", "t3"}
    story.finish("t0", "cancelled")
    story.give_back("t1")
    assert "r1" not in story.state.runs
    assert set(story.state.runs) == {"r2"}
    assert story.task("other").status == "assigned"
    ignored = story.state.ignored.total()
    story.tell(RunCancelRequested(run_id="r1", actor="alice"), RunCancelRequested(run_id="r9", actor="alice"))
    assert story.state.ignored.total() == ignored + 2


def test_27_killed_before_the_start_nobody_is_blamed() -> None:
    story = Story(Policy(infrastructure_retries=0))
    story.join("w1", "w2")
    story.tell(submitted("t1"))
    kill(story, story.task("t1").worker_id or "")
    (requeued,) = story.told(TaskRequeued)
    assert (requeued.budget, requeued.reason) == ("none", "worker_failed")
    assert story.task("t1").status == "assigned"


def test_27_an_orderly_end_before_the_start() -> None:
    story = Story()
    story.join("w1", "w2")
    story.tell(submitted("t1"))
    worker_id = story.task("t1").worker_id or ""
    story.tell(WorkerStopped(worker_id=worker_id, incarnation=story.worker(worker_id).incarnation))
    assert [event.budget for event in story.told(TaskRequeued)] == ["none"]
    assert story.task("t1").worker_id != worker_id


def test_an_order_to_an_incarnation_that_does_not_exist_is_no_order() -> None:
    story = Story()
    story.join("w1")
    story.tell(registered("w2"))
    task = submitted("t1", requires={"gpu": "yes"})
    story.tell(task)
    for worker_id, incarnation in (("w9", 1), ("w1", 50)):
        story.tell(TaskAssigned(task_id="t1", worker_id=worker_id, incarnation=incarnation, attempt=1, work=task.work))
    assert story.task("t1").status == "queued"
    assert story.state.ignored["task.assigned"] == 2


def test_a_new_leader_settles_what_the_old_one_left() -> None:
    story = Story()
    story.join("w1", "w2")
    story.tell(submitted("t1"), submitted("t2"), submitted("t3"))
    story.start("t1", "t2")
    story.leading = False
    story.finish("t1")
    kill(story, story.task("t2").worker_id or "")
    story.leading = True
    story.tell(LeaderElected(coordinator_id="c2", term=2))
    assert story.task("t1").verdict == "passed"
    assert story.task("t2").infrastructure_used == 1
    assert len(story.told(TaskRequeued)) == 1


def test_a_lower_budget_of_a_new_policy_counts_at_once() -> None:
    story = Story(Policy(infrastructure_retries=2, poison_deaths=1000))
    story.budgets_forged = True
    story.join("w1", "w2", "w3")
    story.tell(submitted("t1"))
    for _ in range(2):
        story.start("t1")
        kill(story, story.task("t1").worker_id or "")
    story.tell(policy_changed(Policy(infrastructure_retries=1, poison_deaths=1000)))
    story.start("t1")
    kill(story, story.task("t1").worker_id or "")
    assert story.task("t1").verdict == "crashed"


def test_results_in_any_order_give_one_verdict_each() -> None:
    story = Story()
    story.join("w1", "w2", slots=3)
    ids = [f"t{number}" for number in range(6)]
    story.tell(*(submitted(task_id) for task_id in ids))
    said: list[TaskStarted | TaskAttemptFinished | TaskReturned] = []
    for task_id in ids:
        said += [story.started(task_id), story.finished(task_id), story.finished(task_id, "failed")]
    random.Random(1).shuffle(said)
    for event in said:
        story.tell(event)
    assert sorted(event.task_id for event in story.told(TaskCompleted)) == ids
