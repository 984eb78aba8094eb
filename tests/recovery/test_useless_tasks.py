"""Tasks that run beyond their limit."""

import pytest

from events.policy import Policy
from events.system import DetectorDegraded, LeaderElected
from events.task import (
    TaskAttemptFinished,
    TaskCancelRequested,
    TaskCompleted,
    TaskHung,
    TaskRequeued,
    TaskReturned,
    TaskRevoked,
)
from events.worker import WorkerDraining, WorkerExited, WorkerFailed, WorkerStalled
from tests.recovery.story import Story, policy_changed, submitted

GRACE = Policy().task_hang_grace
CAP = Policy().task_hang_cap
LIMIT = 20.0


def running(limit: float | None = LIMIT, policy: Policy | None = None) -> Story:
    """t1 runs at w1."""
    story = Story(policy)
    story.join("w1")
    story.tell(submitted("t1", timeout_s=limit))
    story.start("t1")
    return story


def test_a_task_beyond_its_own_limit_is_hung_and_stopped_and_timed_out() -> None:
    story = running()
    started = story.last
    story.wait(LIMIT + GRACE - 0.1, "w1")
    assert not story.told(TaskHung)
    story.wait(2.1, "w1")
    ((at, hung),) = story.timed(TaskHung)
    assert LIMIT + GRACE <= at <= LIMIT + GRACE + 2.0
    assert (hung.task_id, hung.worker_id, hung.attempt, hung.started_sequence) == ("t1", "w1", 1, started)
    assert hung.ran_s == pytest.approx(at)
    assert hung.limit_s == LIMIT + GRACE
    assert hung.heartbeat_sequence == len(story.beats)
    (order,) = story.told(TaskRevoked)
    assert (order.task_id, order.worker_id, order.reason) == ("t1", "w1", "it runs beyond its limit")
    story.finish("t1", "cancelled", duration_s=26.0)
    (verdict,) = story.told(TaskCompleted)
    assert (verdict.verdict, verdict.outcome) == ("timed_out", "cancelled")
    assert verdict.message == "it ran beyond its limit and was stopped"
    assert not story.told(WorkerStalled)


def test_without_a_limit_the_policys_cap_counts() -> None:
    story = running(None, Policy(task_hang_cap=60.0))
    story.wait(59.0, "w1")
    assert not story.told(TaskHung)
    story.wait(3.0, "w1")
    assert story.told(TaskHung)[0].limit_s == 60.0


def test_the_default_cap_is_no_matter_of_minutes() -> None:
    assert CAP == 6 * 3600


def test_a_verdict_retry_pays_as_for_any_time_out() -> None:
    story = running(policy=Policy(verdict_retries=1))
    story.wait(LIMIT + GRACE + 2.0, "w1")
    story.finish("t1", "cancelled")
    (again,) = story.told(TaskRequeued)
    assert (again.reason, again.budget) == ("verdict_retry", "verdict")
    story.start("t1")
    assert not story.task("t1").hung
    story.finish("t1", "cancelled")
    assert story.told(TaskRequeued)[1].reason == "worker_draining", "this attempt was not hung"


def test_its_own_verdict_counts_if_that_comes_first() -> None:
    story = running()
    story.wait(LIMIT + GRACE + 2.0, "w1")
    story.finish("t1", "timed_out")
    (verdict,) = story.told(TaskCompleted)
    assert (verdict.verdict, verdict.message) == ("timed_out", "")


def test_a_worker_that_does_not_stop_it_is_stalled_and_the_task_is_tried_elsewhere() -> None:
    story = running()
    story.wait(LIMIT + GRACE + 2.0, "w1")
    story.wait(Policy().revocation_grace + 2.0, "w1")
    (stalled,) = story.told(WorkerStalled)
    assert (stalled.cause, stalled.tasks) == ("not_obeyed", ("t1",))
    story.join("w2")
    incarnation = story.worker("w1").incarnation
    story.tell(WorkerExited(worker_id="w1", incarnation=incarnation, signal=9, stalled=True))
    assert story.told(WorkerFailed)[0].reason == "stalled"
    assert story.told(TaskRequeued)[0].reason == "worker_failed"
    assert story.task("t1").worker_id == "w2"


def test_a_worker_that_knows_nothing_of_it_has_lost_it() -> None:
    story = running()
    story.join("w2")
    story.wait(LIMIT + GRACE + 2.0, "w1", "w2")
    incarnation = story.worker("w1").incarnation
    story.tell(TaskReturned(task_id="t1", worker_id="w1", incarnation=incarnation, attempt=1, unknown=True))
    (event,) = story.told(TaskRequeued)
    assert (event.reason, event.budget) == ("lost", "infrastructure")
    assert not story.told(WorkerStalled)


def test_one_that_was_cancelled_is_so() -> None:
    story = running()
    story.wait(LIMIT + GRACE + 2.0, "w1")
    story.tell(TaskCancelRequested(task_id="t1", actor="alice"))
    assert len(story.told(TaskRevoked)) == 1
    story.finish("t1", "cancelled")
    assert story.told(TaskCompleted)[0].verdict == "cancelled"


def test_one_that_is_being_cancelled_does_not_hang() -> None:
    story = running()
    story.wait(LIMIT + GRACE - 0.1, "w1")
    story.leading = False
    story.wait(2.0, "w1")
    story.tell(TaskCancelRequested(task_id="t1", actor="alice"))
    story.leading = True
    story.settle()
    assert not story.told(TaskHung)
    assert [event.reason for event in story.told(TaskRevoked)] == ["cancelled"]


def test_ends_that_wait_for_the_broker_are_no_hanging() -> None:
    story = running()
    story.wait(100.0, "w1", unreported=1)
    assert not story.told(TaskHung)
    story.wait(Policy().revocation_grace - 0.1, "w1")
    assert not story.told(TaskHung), "its end may have been on its way with the last heartbeat"
    story.wait(2.1, "w1")
    assert story.told(TaskHung)


def test_a_worker_that_is_not_heard_is_judged_by_its_silence() -> None:
    story = running()
    story.wait(LIMIT, "w1")
    story.wait(40.0)
    assert not story.told(TaskHung)
    assert story.told(WorkerFailed)[0].reason == "silence"


def test_time_counts_from_the_present_leaders_election() -> None:
    story = running()
    story.wait(LIMIT, "w1")
    story.leading = False
    story.tell(LeaderElected(coordinator_id="c2", term=2))
    story.wait(LIMIT + GRACE - 0.5, "w1")
    assert not story.state.useless.due(story.now)
    story.wait(3.0, "w1")
    assert story.state.useless.due(story.now) == ["w1"]


def test_a_clock_that_was_set_back_takes_nobodys_time() -> None:
    story = running()
    story.now -= 500.0
    known = len(story.beats)
    story.tell(
        DetectorDegraded(reason="clock_step", extent_s=-500.0, heartbeats_sequence=known, coordinator_id="c1"),
    )
    story.wait(LIMIT + GRACE - 0.1, "w1")
    assert not story.told(TaskHung)
    story.wait(2.1, "w1")
    assert story.told(TaskHung)


def test_a_shorter_cap_counts_for_what_runs_already() -> None:
    story = running(None)
    story.wait(100.0, "w1")
    story.tell(policy_changed(Policy(task_hang_cap=50.0)))
    assert story.told(TaskHung)


def test_times_that_are_over_are_reckoned_anew() -> None:
    """One task outlives its limit unpunished, since its worker has something to report; the next one starts."""
    story = Story()
    story.join("w1", slots=2)
    story.tell(submitted("t1", timeout_s=LIMIT), submitted("t2"))
    story.start("t1")
    story.wait(LIMIT + GRACE + 1.0, "w1", unreported=1)
    story.start("t2")
    assert story.worker("w1").hung_from <= story.now
    story.wait(Policy().revocation_grace + 2.0, "w1")
    assert [event.task_id for event in story.told(TaskHung)] == ["t1"]
    story.finish("t1", "cancelled")
    story.tell(submitted("t3", timeout_s=LIMIT))
    story.start("t3")
    assert story.worker("w1").hung_from == pytest.approx(story.now + LIMIT + GRACE)


def test_a_draining_worker_is_told_too() -> None:
    story = running()
    story.tell(WorkerDraining(worker_id="w1", incarnation=story.worker("w1").incarnation))
    story.wait(LIMIT + GRACE + 2.0, "w1")
    assert story.told(TaskHung)
    assert story.told(TaskRevoked)
    story.wait(60.0, "w1")
    assert not story.told(WorkerStalled), "it is about to end anyway"


def test_without_automatic_recovery_it_is_said_and_nothing_is_done() -> None:
    story = running(policy=Policy(auto_recovery=False))
    story.wait(LIMIT + GRACE + 2.0, "w1")
    assert len(story.told(TaskHung)) == 1
    assert not story.told(TaskRevoked)
    story.wait(60.0, "w1")
    assert len(story.told(TaskHung)) == 1
    story.tell(policy_changed(Policy()))
    assert story.told(TaskRevoked)


@pytest.mark.parametrize("end", ["finished", "orphaned", "other attempt", "unknown"])
def test_what_is_said_of_another_time_changes_nothing(end: str) -> None:
    story = running()
    hung = TaskHung(
        task_id="t1" if end != "unknown" else "t9",
        worker_id="w1",
        incarnation=story.worker("w1").incarnation,
        attempt=2 if end == "other attempt" else 1,
        started_sequence=1,
        ran_s=30.0,
        limit_s=25.0,
    )
    if end == "finished":
        story.finish("t1")
    elif end == "orphaned":
        story.tell(policy_changed(Policy(auto_recovery=False)))
        story.tell(WorkerExited(worker_id="w1", incarnation=hung.incarnation, signal=9))
    story.tell(hung)
    assert not story.told(TaskRevoked)
    assert story.state.ignored["task.hung"] == (end != "orphaned")


def test_a_worker_that_hangs_while_it_is_stalled_is_told_nothing_more() -> None:
    story = running()
    story.tell(WorkerStalled(worker_id="w1", incarnation=story.worker("w1").incarnation, cause="not_started"))
    story.wait(LIMIT + GRACE + 30.0, "w1")
    assert not story.told(TaskHung), "its supervisor kills it"


def test_two_tasks_hang_for_themselves() -> None:
    story = Story()
    story.join("w1", slots=3)
    story.tell(submitted("t1", timeout_s=LIMIT), submitted("t2", timeout_s=40.0), submitted("t3"))
    story.start("t1", "t2", "t3")
    story.wait(LIMIT + GRACE + 2.0, "w1")
    assert [event.task_id for event in story.told(TaskRevoked)] == ["t1"]
    story.finish("t1", "cancelled")
    story.wait(40.0 - LIMIT, "w1")
    assert [event.task_id for event in story.told(TaskRevoked)] == ["t1", "t2"]
    assert not isinstance(story.records[-1].event, TaskAttemptFinished)
