"""Workers that beat and do not begin what they were given, or do not answer."""

import pytest

from events.policy import Policy
from events.system import DetectorDegraded
from events.task import TaskAssigned, TaskCancelRequested, TaskCompleted, TaskRequeued, TaskReturned, TaskRevoked
from events.worker import (
    WorkerDraining,
    WorkerExited,
    WorkerFailed,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerStalled,
    WorkerStallRefuted,
    WorkerSuspected,
    WorkerSuspicionRefuted,
)
from tests.recovery.story import Story, policy_changed, submitted

DEADLINE = Policy().assignment_start_deadline
GRACE = Policy().revocation_grace


def given_one(*others: str, slots: int = 1) -> Story:
    """w1 has been given t1, and has not begun it."""
    story = Story()
    story.join("w1", slots=slots)
    story.tell(submitted("t1"))
    story.join(*others)
    assert story.task("t1").worker_id == "w1"
    return story


def returned(story: Story, task_id: str, *, unknown: bool = False) -> TaskReturned:
    task = story.task(task_id)
    assert task.worker_id is not None
    return TaskReturned(
        task_id=task_id,
        worker_id=task.worker_id,
        incarnation=task.incarnation,
        attempt=task.attempt,
        unknown=unknown,
    )


def test_what_is_not_begun_in_time_is_taken_back() -> None:
    story = given_one("w2")
    story.wait(DEADLINE - 0.1, "w1", "w2", free=1)
    assert not story.told(TaskRevoked)
    story.wait(2.0, "w1", "w2", free=1)
    ((at, event),) = story.timed(TaskRevoked)
    assert DEADLINE <= at <= DEADLINE + 2.0
    assert (event.task_id, event.worker_id, event.reason) == ("t1", "w1", "not started within 10 s, with a slot free")
    assert story.worker("w1").status == "alive", "it has not been asked yet"


def test_an_order_that_never_arrived_goes_elsewhere_and_nobody_is_blamed() -> None:
    story = given_one("w2")
    story.wait(DEADLINE + 2.0, "w1", "w2", free=1)
    story.tell(returned(story, "t1", unknown=True))
    (event,) = story.told(TaskRequeued)
    assert (event.reason, event.budget) == ("lost", "none")
    assert story.task("t1").worker_id == "w2", "another, where there is one"
    story.wait(GRACE + 5.0, "w1", "w2")
    assert not story.told(WorkerStalled)


def test_one_that_had_the_work_and_did_not_begin_it_is_stalled() -> None:
    story = given_one("w2")
    story.wait(DEADLINE + 2.0, "w1", "w2", free=1)
    story.tell(returned(story, "t1"))
    (event,) = story.told(WorkerStalled)
    assert (event.worker_id, event.incarnation, event.cause) == ("w1", story.worker("w1").incarnation, "not_started")
    assert event.restart
    assert event.tasks == ("t1",)
    assert event.threshold_s == DEADLINE
    assert event.heartbeat_sequence > 0
    assert story.worker("w1").status == "stalled"
    assert story.told(TaskRequeued)[0].reason == "worker_unfit"
    story.tell(submitted("t2"), submitted("t3"))
    assert {event.worker_id for event in story.told(TaskAssigned)[1:]} == {"w2"}


def test_its_end_is_reported_and_the_usual_recovery_follows() -> None:
    story = given_one(slots=2)
    story.tell(submitted("t2"))
    story.start("t2")
    story.wait(DEADLINE + 2.0, "w1", free=1)
    story.tell(returned(story, "t1"))
    assert story.worker("w1").status == "stalled"
    assert story.task("t2").status == "running", "nobody has taken it away"
    incarnation = story.worker("w1").incarnation
    story.tell(WorkerExited(worker_id="w1", incarnation=incarnation, signal=9, stalled=True, detail="not_started"))
    (failed,) = story.told(WorkerFailed)
    assert (failed.reason, failed.evidence is None) == ("stalled", False)
    assert failed.message == "it was of no use and was killed (not_started)"
    assert story.told(TaskRequeued, task_id="t2")[0].reason == "worker_failed"
    (order,) = story.told(WorkerRecoveryStarted)
    assert order.strategy == "restart"
    story.come_back("w1")
    assert story.told(WorkerRecoverySucceeded)
    assert {story.task("t1").status, story.task("t2").status} == {"assigned"}


def test_one_that_does_not_answer_is_stalled() -> None:
    story = given_one("w2")
    story.wait(DEADLINE, "w1", "w2", free=1)
    story.wait(GRACE - 0.1, "w1", "w2", free=1)
    assert not story.told(WorkerStalled)
    story.wait(2.1, "w1", "w2", free=1)
    ((at, event),) = story.timed(WorkerStalled)
    asked, _ = story.timed(TaskRevoked)[0]
    assert GRACE <= at - asked <= GRACE + 2.0
    assert (event.cause, event.tasks, event.restart) == ("not_obeyed", ("t1",), True)
    assert event.waited_s is not None
    assert event.waited_s >= GRACE == event.threshold_s
    story.wait(60.0, "w1", "w2", free=1)
    assert story.task("t1").worker_id == "w1", "it may run there, for all that is known"
    assert len(story.told(WorkerStalled)) == 1
    story.tell(returned(story, "t1", unknown=True))
    assert story.told(WorkerStallRefuted)[0].reason == "it has answered"
    assert story.worker("w1").status == "alive"
    assert story.task("t1").worker_id == "w2"


def test_an_answer_that_shows_it_to_be_of_no_use_does_not_clear_it() -> None:
    story = given_one("w2")
    story.wait(DEADLINE + GRACE + 4.0, "w1", "w2", free=1)
    story.tell(returned(story, "t1"))
    story.wait(10.0, "w1", "w2", free=1)
    assert story.worker("w1").status == "stalled"
    assert len(story.told(WorkerStalled)) == 1
    assert story.task("t1").worker_id == "w2"


def test_a_cancellation_that_is_not_obeyed_is_one_more_such_order() -> None:
    story = given_one()
    story.start("t1")
    story.tell(TaskCancelRequested(task_id="t1", actor="alice"))
    story.wait(GRACE + 2.0, "w1")
    assert story.told(WorkerStalled)[0].cause == "not_obeyed"
    incarnation = story.worker("w1").incarnation
    story.tell(WorkerExited(worker_id="w1", incarnation=incarnation, signal=9, stalled=True))
    assert story.told(TaskCompleted)[0].verdict == "cancelled"


def test_all_that_a_stalled_worker_has_not_begun_is_taken_back() -> None:
    story = given_one("w2", slots=3)
    story.tell(*(submitted(f"t{number}") for number in range(2, 5)))
    held = list(story.worker("w1").held)
    assert len(held) == 3
    story.start("t1", *story.worker("w2").held)
    story.wait(DEADLINE + 2.0, "w1", "w2", free=2)
    asked = {event.task_id for event in story.told(TaskRevoked)}
    assert asked == {*held} - {"t1"}
    first, *others = sorted(asked)
    story.tell(returned(story, first))
    assert story.worker("w1").status == "stalled"
    story.tell(*(returned(story, other) for other in others))
    story.finish("t1")
    assert not story.worker("w1").held


def test_what_came_to_a_stalled_worker_meanwhile_is_taken_back_too() -> None:
    story = given_one("w2", slots=2)
    story.start("t1")
    story.tell(WorkerStalled(worker_id="w1", incarnation=story.worker("w1").incarnation, cause="not_started"))
    story.leading = False
    story.tell(submitted("t2"))
    incarnation = story.worker("w1").incarnation
    story.tell(
        TaskAssigned(
            task_id="t2", worker_id="w1", incarnation=incarnation, attempt=1, work=story.told(TaskAssigned)[0].work
        )
    )
    story.leading = True
    story.settle()
    assert [event.task_id for event in story.told(TaskRevoked)] == ["t2"]
    assert story.told(TaskRevoked)[0].reason == "its worker is stalled"


def test_whoever_begins_a_task_is_of_use_again() -> None:
    story = given_one("w2", slots=2)
    story.tell(submitted("t2"), submitted("t3"))
    mine = [task_id for task_id in ("t1", "t2", "t3") if story.task(task_id).worker_id == "w1"]
    story.wait(DEADLINE + 2.0, "w1", "w2", free=1)
    first, second = mine
    story.tell(returned(story, first))
    assert story.worker("w1").status == "stalled"
    story.start(second)
    assert story.told(WorkerStallRefuted)[0].reason == "it has begun a task"
    assert story.worker("w1").status == "alive"


# What is no fault


def test_a_slot_that_gets_ready_is_none_that_is_free() -> None:
    story = given_one()
    story.wait(300.0, "w1", free=0)
    assert not story.told(TaskRevoked)
    story.beat("w1", free=1)
    assert not story.told(TaskRevoked), "it has just become ready"
    story.wait(DEADLINE + 2.0, "w1", free=1)
    assert story.told(TaskRevoked)


def test_reports_that_wait_for_the_broker_speak_for_it() -> None:
    story = given_one()
    story.wait(60.0, "w1", free=1, unreported=1)
    assert not story.told(TaskRevoked)
    story.wait(DEADLINE - 0.5, "w1", free=1)
    assert not story.told(TaskRevoked)


def test_tasks_handed_out_ahead_wait_behind_running_ones() -> None:
    story = Story(Policy(ahead=100.0))
    story.join("w1")
    story.tell(submitted("t0"))
    story.start("t0")
    story.finish("t0", duration_s=1.0)
    story.tell(*(submitted(f"t{number}") for number in range(1, 9)))
    assert len(story.worker("w1").held) > 1
    story.start("t1")
    story.wait(300.0, "w1", free=1)
    assert not story.told(TaskRevoked)


@pytest.mark.parametrize("slots", [1, 2])
def test_each_thing_that_it_does_gives_it_as_long_again(slots: int) -> None:
    story = given_one(slots=slots)
    story.tell(*(submitted(f"t{number}") for number in range(2, 12)))
    for number in range(1, 8):
        story.wait(DEADLINE - 1.0, "w1", free=1)
        story.start(f"t{number}")
        story.finish(f"t{number}", duration_s=0.0)
    assert not story.told(TaskRevoked)


def test_a_worker_that_is_not_heard_is_judged_by_its_silence() -> None:
    story = given_one()
    story.wait(2.0, "w1", free=1)
    story.wait(7.9)
    assert story.told(WorkerSuspected)
    story.wait(0.2)
    story.beat("w1", free=1)
    assert story.told(WorkerSuspicionRefuted)
    assert not story.told(TaskRevoked)
    story.wait(DEADLINE + 2.0, "w1", free=1)
    assert story.told(TaskRevoked)


def test_nobody_is_judged_by_heartbeats_from_before_the_deadline() -> None:
    story = given_one()
    story.wait(9.0, "w1", free=1)
    story.wait(4.0)
    assert not story.told(TaskRevoked)


def test_a_stalled_worker_that_falls_silent_fails_for_that() -> None:
    story = given_one("w2")
    story.wait(DEADLINE + 2.0, "w1", "w2", free=1)
    story.tell(returned(story, "t1"))
    story.wait(60.0, "w2")
    assert not story.told(WorkerSuspected)
    (failed,) = story.told(WorkerFailed)
    assert (failed.worker_id, failed.reason) == ("w1", "silence")


def test_a_draining_worker_may_hand_back_what_it_likes() -> None:
    story = given_one()
    story.wait(DEADLINE + 2.0, "w1", free=1)
    story.tell(WorkerDraining(worker_id="w1", incarnation=story.worker("w1").incarnation), returned(story, "t1"))
    story.wait(60.0, "w1", free=1)
    assert not story.told(WorkerStalled)


def test_a_doubt_begins_anew() -> None:
    story = given_one()
    story.wait(DEADLINE - 1.0, "w1", free=1)
    story.tell(
        DetectorDegraded(reason="own_pause", extent_s=2.0, heartbeats_sequence=len(story.beats), coordinator_id="c2")
    )
    story.wait(DEADLINE - 1.0, "w1", free=1)
    assert not story.told(TaskRevoked)
    story.wait(3.0, "w1", free=1)
    assert story.told(TaskRevoked)


def test_heartbeats_from_before_a_doubt_bear_nothing_out() -> None:
    story = given_one()
    story.wait(DEADLINE - 0.5, "w1", free=1)
    story.leading = False
    story.wait(2.0, "w1", free=1)
    story.tell(
        DetectorDegraded(reason="own_pause", extent_s=2.0, heartbeats_sequence=len(story.beats), coordinator_id="c1")
    )
    story.leading = True
    story.settle()
    assert not story.told(TaskRevoked)


def test_what_forgotten_heartbeats_said_is_forgotten() -> None:
    """A leader that has lost them and one that folds the streams later judge alike."""
    story = given_one()
    story.wait(5.0, "w1", unreported=1)
    known = len(story.beats)
    story.tell(DetectorDegraded(reason="heartbeats_lost", extent_s=0.0, heartbeats_sequence=known, coordinator_id="c1"))
    story.wait(DEADLINE - 0.1, "w1", free=1)
    assert not story.told(TaskRevoked)
    story.wait(2.1, "w1", free=1)
    assert story.told(TaskRevoked)


def test_times_of_a_clock_that_was_set_back_are_forgotten() -> None:
    story = given_one()
    story.now += 1000.0
    story.beat("w1", unreported=1)
    story.now -= 1000.0
    story.beat("w1", free=1)
    known = len(story.beats)
    story.tell(DetectorDegraded(reason="clock_step", extent_s=-1e3, heartbeats_sequence=known, coordinator_id="c1"))
    story.wait(DEADLINE + 2.0, "w1", free=1)
    assert story.told(TaskRevoked)


def test_without_automatic_recovery_nothing_is_taken_back() -> None:
    story = given_one()
    story.tell(policy_changed(Policy(auto_recovery=False)))
    story.wait(60.0, "w1", free=1)
    assert not story.told(TaskRevoked)
    story.tell(WorkerStalled(worker_id="w1", incarnation=story.worker("w1").incarnation, cause="not_started"))
    story.wait(60.0, "w1", free=1)
    assert not story.told(TaskRevoked)
    story.tell(policy_changed(Policy()))
    assert story.told(TaskRevoked)


def test_a_task_that_is_cancelled_meanwhile_is_told_to_stop_once() -> None:
    story = given_one()
    story.wait(DEADLINE - 0.1, "w1", free=1)
    story.leading = False
    story.wait(2.0, "w1", free=1)
    story.tell(TaskCancelRequested(task_id="t1", actor="alice"))
    story.leading = True
    story.settle()
    assert [event.reason for event in story.told(TaskRevoked)] == ["cancelled"]
    story.tell(returned(story, "t1"))
    assert not story.told(WorkerStalled)


def test_silence_comes_first() -> None:
    story = given_one()
    story.leading = False
    story.wait(DEADLINE + 2.0, "w1", free=1)
    story.wait(7.0)
    story.leading = True
    story.settle()
    assert story.told(WorkerSuspected)
    assert not story.told(TaskRevoked)


def test_an_order_about_what_nobody_has_any_more_waits_for_no_answer() -> None:
    story = given_one()
    story.tell(policy_changed(Policy(auto_recovery=False)))
    incarnation = story.worker("w1").incarnation
    order = TaskRevoked(task_id="t1", worker_id="w1", incarnation=incarnation, attempt=1)
    story.tell(WorkerExited(worker_id="w1", incarnation=incarnation, signal=9), order)
    assert story.worker("w1").revoked == {}
    story.tell(TaskRevoked(task_id="t1", worker_id="w1", incarnation=incarnation, attempt=9))
    assert story.state.ignored["task.revoked"] == 1
