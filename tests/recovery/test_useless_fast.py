"""Workers that fail whatever they get, and suites that do."""

from typing import Any

import pytest

from events.policy import Policy
from events.system import DetectorDegraded
from events.task import Outcome, TaskAssigned, TaskAttemptFinished, TaskCompleted, TaskRequeued, TaskSubmitted
from events.work import CommandWork, PytestWork, Suite
from events.worker import (
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerRecoveryScheduled,
    WorkerRecoverySucceeded,
    WorkerStalled,
    WorkerStallRefuted,
)
from recovery import fitness
from tests.recovery.story import Story, policy_changed, registered, submitted

TASKS = Policy().fail_fast_tasks
NEVER_BEGUN: dict[str, Any] = {"outcome": "error", "duration_s": 0.0, "unstartable": True}


class Pair:
    """w1, which is broken, and w2; there is always more work, and both take what they get in turn."""

    def __init__(self, policy: Policy | None = None, *others: str, tasks: int = 200) -> None:
        self.story = Story(policy)
        self.story.join("w1", "w2", *others)
        self.story.tell(*(submitted(f"t{number}") for number in range(tasks)))

    def end(self, worker_id: str, outcome: Outcome = "passed", duration_s: float = 0.01, **fields: Any) -> str:
        """The worker's oldest task begins and ends; its id."""
        story = self.story
        task_id = next(iter(story.worker(worker_id).held))
        if not fields.get("unstartable"):
            story.start(task_id)
        task = story.task(task_id)
        story.tell(
            TaskAttemptFinished(
                task_id=task_id,
                worker_id=worker_id,
                incarnation=task.incarnation,
                attempt=task.attempt,
                outcome=outcome,
                duration_s=duration_s,
                **fields,
            )
        )
        return task_id

    def break_down(self, number: int = TASKS) -> list[str]:
        failed = [self.end("w1", "failed") for _ in range(number)]
        self.hand_back()
        return failed

    def hand_back(self) -> None:
        """It obeys, as far as it was told to."""
        for task_id in list(self.story.worker("w1").revoked):
            self.story.give_back(task_id)

    def restart(self) -> None:
        story = self.story
        incarnation = story.worker("w1").incarnation
        story.tell(WorkerExited(worker_id="w1", incarnation=incarnation, signal=9, stalled=True, detail="x"))
        while (attempt := story.worker("w1").attempt) is not None and attempt.status == "scheduled":
            story.wait(0.5, "w2")
        if attempt is not None:
            story.come_back("w1")


def test_a_row_of_failures_keeps_it_from_work_until_others_have_passed_some() -> None:
    pair = Pair()
    lost = pair.break_down(TASKS - 1)
    assert not pair.story.told(WorkerStalled)
    lost += pair.break_down(1)
    (doubted,) = pair.story.told(WorkerStalled)
    assert (doubted.worker_id, doubted.cause, doubted.restart) == ("w1", "failing_fast", False)
    assert doubted.tasks == tuple(lost)
    assert not pair.story.worker("w1").held, "no new work"
    for _ in range(TASKS - 1):
        pair.end("w2")
    assert len(pair.story.told(WorkerStalled)) == 1
    pair.end("w2")
    condemned = pair.story.told(WorkerStalled)[1]
    assert (condemned.restart, condemned.passed_elsewhere) == (True, TASKS)
    failed = pair.story.told(TaskCompleted, verdict="failed")
    assert {event.task_id for event in failed} == set(lost)


def test_after_a_restart_one_more_failure_is_enough_and_costs_no_verdict() -> None:
    pair = Pair()
    pair.break_down()
    for _ in range(TASKS):
        pair.end("w2")
    pair.restart()
    assert pair.story.told(WorkerFailed)[0].reason == "stalled"
    assert pair.story.told(WorkerRecoverySucceeded)
    tried = pair.end("w1", "failed")
    event = pair.story.told(TaskRequeued, task_id=tried)[-1]
    assert (event.reason, event.budget, event.worker_id) == ("worker_unfit", "infrastructure", "w1")
    assert pair.story.told(WorkerStalled)[-1].restart is False
    assert len(pair.story.told(TaskCompleted, verdict="failed")) == TASKS


def test_a_restart_that_did_not_help_is_a_failed_attempt_up_to_a_permanent_failure() -> None:
    pair = Pair()
    pair.break_down()
    restarts = 0
    while not pair.story.told(WorkerPermanentlyFailed):
        for _ in range(TASKS):
            pair.end("w2")
        assert pair.story.worker("w1").status == "stalled"
        pair.restart()
        restarts += 1
        if pair.story.worker("w1").held:
            pair.break_down(1)
    assert restarts == Policy().max_recovery_attempts + 1
    numbers = [event.attempt for event in pair.story.told(WorkerRecoveryScheduled)]
    assert numbers == [1, 2, 3, 4, 5]
    assert len(pair.story.told(TaskCompleted, verdict="failed")) == TASKS, "none more was lost"


def test_one_that_passes_something_after_its_restart_is_on_trial_no_longer() -> None:
    pair = Pair()
    pair.break_down()
    for _ in range(TASKS):
        pair.end("w2")
    pair.restart()
    pair.end("w1")
    pair.break_down(TASKS - 1)
    assert len(pair.story.told(WorkerStalled)) == 2
    assert pair.story.worker("w1").status == "alive"


def test_a_suite_that_fails_honestly_acquits_its_workers() -> None:
    pair = Pair()
    for _ in range(40):
        pair.end("w1", "failed")
        pair.end("w2", "failed")
    assert not pair.story.told(WorkerStalled)


def test_one_worker_that_gets_all_the_failing_tests_is_acquitted_by_the_next() -> None:
    """Every second test fails, and there are two workers."""
    pair = Pair()
    for _ in range(TASKS):
        pair.end("w1", "failed")
        pair.end("w2")
    assert pair.story.worker("w1").status == "stalled"
    pair.end("w2", "failed")
    assert pair.story.told(WorkerStallRefuted)[0].reason == "such work fails elsewhere as well"
    assert pair.story.worker("w1").status == "alive"
    assert pair.story.worker("w1").held
    assert not pair.story.told(WorkerStalled, restart=True)
    assert pair.story.state.accused == {}


def test_failures_elsewhere_that_are_slow_count_as_well() -> None:
    pair = Pair()
    pair.break_down()
    pair.end("w2", "failed", duration_s=30.0)
    assert pair.story.told(WorkerStallRefuted)


def test_a_single_worker_is_compared_with_nobody() -> None:
    story = Story()
    story.join("w1")
    story.tell(*(submitted(f"t{number}") for number in range(50)))
    for number in range(50):
        story.start(f"t{number}")
        story.finish(f"t{number}", "failed", duration_s=0.0)
    assert not story.told(WorkerStalled)
    assert len(story.told(TaskCompleted, verdict="failed")) == 50


def test_a_worker_whose_last_fellow_leaves_gets_work_again() -> None:
    pair = Pair()
    pair.break_down()
    pair.story.tell(WorkerExited(worker_id="w2", incarnation=pair.story.worker("w2").incarnation, exit_code=1))
    assert pair.story.told(WorkerStallRefuted)[0].reason == "nobody is left to compare it with"
    assert pair.story.worker("w1").held


@pytest.mark.parametrize(("passed", "restart"), [(0, None), (1, True)])
def test_there_is_a_verdict_on_it_within_a_minute(passed: int, restart: bool | None) -> None:
    pair = Pair()
    pair.break_down()
    pair.story.start(next(iter(pair.story.worker("w2").held)))
    for _ in range(passed):
        pair.story.finish(next(iter(pair.story.worker("w2").running)))
        pair.story.start(next(iter(pair.story.worker("w2").held)))
    pair.story.wait(Policy().fail_fast_judgement - 1.0, "w1", "w2")
    assert pair.story.worker("w1").status == "stalled"
    pair.story.wait(1.0, "w1", "w2")
    if restart is None:
        assert pair.story.told(WorkerStallRefuted)[0].reason == "nobody else has had such work"
    else:
        assert pair.story.told(WorkerStalled)[1].restart


def test_a_clock_that_was_set_back_keeps_nobody_under_doubt() -> None:
    pair = Pair()
    story = pair.story
    pair.break_down()
    story.start(next(iter(story.worker("w2").held)))
    story.now -= 3_600.0
    known = len(story.beats)
    story.tell(
        DetectorDegraded(reason="clock_step", extent_s=-3_600.0, heartbeats_sequence=known, coordinator_id="c1"),
    )
    story.wait(Policy().fail_fast_judgement - 1.0, "w1", "w2")
    assert story.worker("w1").status == "stalled"
    story.wait(1.0, "w1", "w2")
    assert story.told(WorkerStallRefuted)[0].reason == "nobody else has had such work"
    assert story.worker("w1").held


@pytest.mark.parametrize("between", ["passed", "skipped", "xfailed", "slow"])
def test_another_end_between_begins_a_new_row(between: str) -> None:
    pair = Pair()
    for _ in range(3):
        pair.break_down(TASKS - 1)
        if between == "slow":
            pair.end("w1", "failed", duration_s=Policy().fail_fast_within + 0.1)
        else:
            pair.end("w1", between)  # type: ignore[arg-type]  # an outcome
    assert not pair.story.told(WorkerStalled)


@pytest.mark.parametrize("outcome", ["timed_out", "cancelled", "fenced"])
def test_ends_that_say_nothing_about_it(outcome: Outcome) -> None:
    pair = Pair()
    pair.break_down(TASKS - 1)
    pair.end("w1", outcome)
    assert not pair.story.told(WorkerStalled)
    pair.end("w1", "failed")
    assert pair.story.told(WorkerStalled)


def test_a_test_that_is_tried_again_and_again_is_one() -> None:
    story = Story(Policy(verdict_retries=50))
    story.join("w1", labels={"gpu": "yes"})
    story.join("w2")
    story.tell(submitted("t1", requires={"gpu": "yes"}))
    for _ in range(10):
        story.start("t1")
        story.finish("t1", "failed", duration_s=0.0)
    assert not story.told(WorkerStalled)
    assert story.task("t1").verdict_used == 10


def test_a_broken_worker_fails_work_of_all_kinds() -> None:
    story = Story()
    story.join("w1", "w2")
    for number in range(20):
        suite = Suite(python="python3", cwd=f"/{number % 2}")
        work = PytestWork(suite=suite, node_id=f"t::{number}")
        story.tell(TaskSubmitted(task_id=f"t{number}", run_id="r1", work=work))
    story.start(next(iter(story.worker("w2").held)))
    for _ in range(TASKS):
        task_id = next(iter(story.worker("w1").held))
        story.start(task_id)
        story.finish(task_id, "failed", duration_s=0.0)
    assert story.told(WorkerStalled)
    kinds = {fitness.kind_of(event.work) for event in story.told(TaskAssigned)}
    assert kinds == {("pytest", "python3", "/0"), ("pytest", "python3", "/1")}
    assert fitness.kind_of(CommandWork(argv=("make", "all"), cwd="/")) == ("command", "/", "make")


# What could not even be begun


def test_work_that_cannot_be_begun_is_tried_elsewhere_and_the_worker_is_kept_from_it() -> None:
    pair = Pair()
    for _ in range(TASKS):
        pair.end("w1", **NEVER_BEGUN)
    assert pair.story.worker("w1").status == "stalled"
    assert not pair.story.told(TaskCompleted, verdict="failed", outcome="failed")
    assert {event.budget for event in pair.story.told(TaskRequeued)} == {"infrastructure"}
    assert {event.reason for event in pair.story.told(TaskRequeued)} == {"worker_unfit"}
    for _ in range(TASKS):
        pair.end("w2", "failed")
    assert pair.story.told(WorkerStalled)[-1].restart, "whatever became of it elsewhere, it was begun"


def test_a_suite_that_can_be_begun_nowhere_acquits_its_workers_and_ends() -> None:
    pair = Pair(tasks=10)
    while pair.story.worker("w1").held or pair.story.worker("w2").held:
        for worker_id in ("w1", "w2"):
            if pair.story.worker(worker_id).held:
                pair.end(worker_id, **NEVER_BEGUN)
    assert not pair.story.told(WorkerStalled)
    assert len(pair.story.told(TaskCompleted, verdict="failed")) == 10
    assert all(pair.story.task(f"t{number}").infrastructure_used == 3 for number in range(10))


def test_with_nobody_else_what_cannot_be_begun_has_failed() -> None:
    story = Story()
    story.join("w1")
    story.tell(submitted("t1"))
    task = story.task("t1")
    assert task.worker_id is not None
    story.tell(
        TaskAttemptFinished(
            task_id="t1", worker_id=task.worker_id, incarnation=task.incarnation, attempt=1, **NEVER_BEGUN
        )
    )
    assert story.told(TaskCompleted)[0].verdict == "failed"
    assert not story.told(TaskRequeued)


# What happens around it


def test_what_it_still_fails_once_it_is_doubted_is_tried_elsewhere() -> None:
    story = Story()
    story.tell(registered("w1", slots=TASKS + 2))
    story.beat("w1")
    story.tell(*(submitted(f"t{number}") for number in range(TASKS + 2)))
    story.join("w2")
    story.start(*(f"t{number}" for number in range(TASKS + 2)))
    story.leading = False
    for number in range(TASKS + 2):
        story.finish(f"t{number}", "failed", duration_s=0.0)
    story.leading = True
    story.settle()
    assert len(story.told(TaskCompleted, verdict="failed")) == TASKS
    assert [event.reason for event in story.told(TaskRequeued)] == ["worker_unfit", "worker_unfit"]
    assert story.told(WorkerStalled)


def test_one_that_passes_something_while_it_is_doubted_is_of_use() -> None:
    story = Story()
    story.tell(registered("w1", slots=TASKS + 1))
    story.beat("w1")
    story.tell(*(submitted(f"t{number}") for number in range(TASKS + 1)))
    story.join("w2")
    story.start(*(f"t{number}" for number in range(TASKS + 1)))
    for number in range(TASKS):
        story.finish(f"t{number}", "failed", duration_s=0.0)
    assert story.worker("w1").status == "stalled"
    story.finish(f"t{TASKS}")
    assert story.told(WorkerStallRefuted)[0].reason == "it has passed a task"


def test_without_automatic_recovery_nobody_is_kept_from_work() -> None:
    pair = Pair(Policy(auto_recovery=False))
    pair.break_down(3 * TASKS)
    assert not pair.story.told(WorkerStalled)
    pair.end("w2", "failed")
    assert pair.story.state.accused == {}, "it was acquitted before anybody said a word"
    pair.break_down()
    pair.story.tell(policy_changed(Policy()))
    assert pair.story.told(WorkerStalled)


def test_one_that_falls_silent_while_it_is_doubted_fails_for_that() -> None:
    pair = Pair()
    pair.break_down()
    pair.story.wait(30.0, "w2")
    assert pair.story.told(WorkerFailed)[0].reason == "silence"
    assert pair.story.state.accused == {}


def test_forgotten_kinds_of_work_do_not_fill_the_memory() -> None:
    story = Story(checks=False)
    for number in range(fitness.KINDS_MAX + 10):
        fitness.ends_of(story.state, ("command", "/", f"c{number}"))
    assert len(story.state.ends) == fitness.KINDS_MAX
    assert ("command", "/", "c0") not in story.state.ends


def test_failures_of_another_kind_of_work_say_nothing() -> None:
    story = Story(Policy(auto_recovery=False))
    story.join("w1", labels={"disk": "full"})
    story.join("w2", labels={"disk": "empty"})
    for number in range(TASKS):
        story.tell(submitted(f"t{number}", requires={"disk": "full"}))
        story.start(f"t{number}")
        story.finish(f"t{number}", "failed", duration_s=0.0)
    work = PytestWork(suite=Suite(python="python3", cwd="/"), node_id="t::0")
    story.tell(TaskSubmitted(task_id="other", run_id="r1", work=work, requires={"disk": "empty"}))
    story.start("other")
    story.finish("other", "failed", duration_s=0.0)
    assert list(story.state.accused) == ["w1"]
    story.tell(submitted("same", requires={"disk": "empty"}))
    story.start("same")
    story.finish("same", "failed", duration_s=0.0)
    assert list(story.state.accused) == []
