"""Work that waits while nothing moves."""

from events.policy import Policy
from events.system import (
    CoordinatorStopped,
    DetectorDegraded,
    LeaderElected,
    SystemRecoveryCompleted,
    SystemRecoveryStarted,
)
from events.task import TaskCancelRequested
from events.worker import WorkerCordoned, WorkerStopped, WorkerUncordoned
from tests.recovery.story import Story, submitted
from tests.recovery.test_repairs import kill


def cordoned() -> Story:
    """All workers are, and one task waits."""
    story = Story()
    story.join("w1", "w2")
    story.tell(*(WorkerCordoned(worker_id=name, cause="operator", actor="alice") for name in ("w1", "w2")))
    story.tell(submitted("t1"))
    return story


def stalled() -> Story:
    story = cordoned()
    story.wait(60.5, "w1", "w2")
    assert len(opened(story)) == 1
    return story


def opened(story: Story) -> list[SystemRecoveryStarted]:
    return story.told(SystemRecoveryStarted, incident_kind="stalled_queue")


def closed(story: Story) -> list[tuple[bool, str]]:
    found = story.told(SystemRecoveryCompleted, incident_kind="stalled_queue")
    return [(event.success, event.message) for event in found]


def test_work_that_nobody_is_given_is_an_incident_after_a_while() -> None:
    story = cordoned()
    story.wait(59.0, "w1", "w2")
    assert not opened(story)
    story.wait(200.0, "w1", "w2")
    (one,) = opened(story)
    assert (one.status, one.affected_workers, one.affected_tasks) == ("healthy", 2, 1)
    assert not closed(story)
    story.tell(WorkerUncordoned(worker_id="w2", actor="alice"))
    assert closed(story) == [(True, "work is under way again")]


def test_14_a_busy_farm_and_an_idle_one_have_none() -> None:
    story = Story()
    story.tell(submitted("t0"))
    story.wait(100.0)
    story.join("w1")
    story.start("t0")
    story.tell(submitted("t1"), submitted("t2"))
    story.start(*(name for name in ("t1", "t2") if story.task(name).status == "assigned"))
    story.wait(500.0, "w1")
    assert not opened(story)


def test_work_for_which_there_is_nobody_is_called_so_and_is_no_standstill() -> None:
    story = Story()
    story.join("w1")
    story.tell(submitted("t1", requires={"gpu": "yes"}))
    story.wait(100.0, "w1")
    assert story.task("t1").stranded
    assert not opened(story)


def test_the_only_worker_with_the_labels_is_being_repaired() -> None:
    story = Story(Policy(recovery_attempt_timeout=500.0))
    story.join("w1", "w2", "w3")
    story.join("w4", labels={"gpu": "yes"})
    kill(story, "w4")
    story.tell(submitted("t1", requires={"gpu": "yes"}))
    story.wait(61.0, "w1", "w2", "w3")
    assert len(opened(story)) == 1
    story.come_back("w4")
    assert closed(story) == [(True, "work is under way again")]


def test_a_mass_loss_explains_it() -> None:
    story = Story(Policy(recovery_attempt_timeout=500.0))
    story.join("w1", "w2")
    kill(story, "w1", "w2")
    story.tell(submitted("t1"))
    story.wait(100.0)
    assert not opened(story)
    story.come_back("w1")
    assert not opened(story)
    assert story.task("t1").status == "assigned"


def test_it_is_over_when_nothing_waits() -> None:
    story = stalled()
    story.tell(TaskCancelRequested(task_id="t1", actor="alice"))
    assert closed(story) == [(True, "nothing waits any more that anybody could run")]


def test_it_is_over_without_success_when_the_workers_leave() -> None:
    story = stalled()
    for name in ("w1", "w2"):
        story.tell(WorkerStopped(worker_id=name, incarnation=story.worker(name).incarnation))
    assert closed(story) == [(False, "no worker is expected any more")]


def test_a_new_leader_waits_before_it_says_so() -> None:
    story = cordoned()
    story.tell(CoordinatorStopped(coordinator_id="c1"))
    story.leading = False
    story.now += 100.0
    story.leading = True
    story.tell(LeaderElected(coordinator_id="c2", term=2))
    story.wait(59.0, "w1", "w2")
    assert not opened(story)
    story.wait(2.0, "w1", "w2")
    assert len(opened(story)) == 1


def test_a_clock_that_was_set_back_does_not_put_it_off() -> None:
    story = cordoned()
    story.leading = False
    story.now -= 10_000.0
    story.tell(DetectorDegraded(reason="clock_step", extent_s=-10_000.0, heartbeats_sequence=len(story.beats)))
    story.leading = True
    story.wait(61.0, "w1", "w2")
    assert len(opened(story)) == 1
