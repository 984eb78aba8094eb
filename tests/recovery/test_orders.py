"""Operators: recovery is paused and resumed, workers are told to end or to begin anew."""

import pytest

from events.policy import Policy
from events.system import RecoveryPaused, RecoveryResumed
from events.task import TaskAssigned, TaskCancelRequested, TaskCompleted, TaskRequeued
from events.worker import (
    WorkerDraining,
    WorkerDrainRequested,
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerReadmitted,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerRecoverySuperseded,
    WorkerRetired,
    WorkerStalled,
    WorkerStopped,
    WorkerSuspected,
)
from tests.recovery.story import Story, policy_changed, submitted

PAUSED = RecoveryPaused(actor="alice", reason="the switch is being replaced")
RESUMED = RecoveryResumed(actor="alice")


def drain(worker_id: str = "w1", *, restart: bool = False, incarnation: int | None = None) -> WorkerDrainRequested:
    return WorkerDrainRequested(worker_id=worker_id, actor="alice", restart=restart, incarnation=incarnation)


def exits(story: Story, worker_id: str = "w1") -> None:
    story.tell(WorkerExited(worker_id=worker_id, incarnation=story.worker(worker_id).incarnation, signal=9))


def busy(policy: Policy | None = None) -> Story:
    """Two workers, each with a task that runs; a third task waits."""
    story = Story(policy)
    story.join("w1", "w2")
    story.tell(submitted("t1"), submitted("t2"), submitted("t3"))
    story.start("t1", "t2")
    return story


def repairs(story: Story) -> list[object]:
    return [*story.told(WorkerRecoveryScheduled), *story.told(TaskRequeued)]


def test_31_paused_recovery_detects_and_does_nothing_about_it() -> None:
    story = busy()
    story.tell(PAUSED)
    exits(story)
    assert len(story.told(WorkerFailed, worker_id="w1")) == 1
    story.wait(300.0, "w2")
    assert repairs(story) == []
    assert story.task("t1").status == "running", "it is still its lost worker's"


def test_31_work_goes_on_at_whoever_is_well_while_recovery_is_paused() -> None:
    story = busy()
    story.tell(PAUSED)
    exits(story)
    story.finish("t2")
    assert story.told(TaskCompleted, task_id="t2", verdict="passed")
    assert story.task("t3").worker_id == "w2"
    story.tell(submitted("t4"), TaskCancelRequested(task_id="t4", actor="alice"))
    assert story.told(TaskCompleted, task_id="t4", verdict="cancelled")
    story.join("w3")
    story.tell(submitted("t5"))
    assert story.told(TaskAssigned, task_id="t5", worker_id="w3")


def test_31_what_is_owed_is_done_once_recovery_is_resumed() -> None:
    story = busy()
    story.tell(PAUSED)
    exits(story)
    story.wait(60.0, "w2")
    story.tell(RESUMED)
    assert len(story.told(WorkerRecoveryScheduled, worker_id="w1", attempt=1)) == 1
    assert len(story.told(TaskRequeued, task_id="t1", budget="infrastructure")) == 1
    story.come_back("w1")
    assert story.worker("w1").attempt is None


def test_an_attempt_under_way_is_superseded_by_a_pause_and_made_anew() -> None:
    story = busy()
    exits(story)
    story.tell(PAUSED)
    assert [event.reason for event in story.told(WorkerRecoverySuperseded)] == ["recovery was paused"]
    story.tell(RESUMED)
    assert [event.attempt for event in story.told(WorkerRecoveryScheduled)] == [1, 1], "it costs no attempt"


def test_a_pause_holds_under_every_policy_and_after_an_election() -> None:
    story = busy()
    story.tell(PAUSED)
    pause = story.state.pause
    assert pause is not None
    assert (pause.actor, pause.reason, pause.sequence) == ("alice", PAUSED.reason, story.last)
    story.tell(policy_changed(Policy(auto_recovery=False)), policy_changed(Policy()), RecoveryPaused(actor="bob"))
    assert story.state.pause == pause, "the first one counts"
    exits(story)
    assert repairs(story) == []


def test_resumed_under_a_policy_without_recovery_nothing_is_done() -> None:
    story = busy(Policy(auto_recovery=False))
    story.tell(PAUSED)
    exits(story)
    story.tell(RESUMED, RESUMED)
    assert repairs(story) == []
    assert story.state.ignored["system.recovery_resumed"] == 1


def test_nobody_is_stalled_while_recovery_is_paused() -> None:
    story = Story()
    story.join("w1", "w2")
    story.tell(submitted("t1"), PAUSED)
    story.wait(60.0, "w1", "w2", free=1)
    assert story.told(WorkerStalled) == []


# Drain


def test_31_a_drained_worker_gets_nothing_more_finishes_and_is_not_missed() -> None:
    story = busy()
    story.tell(drain())
    assert story.worker("w1").status == "draining"
    assert story.state.workers_expected == 1
    story.tell(submitted("t4", priority=5))
    incarnation = story.worker("w1").incarnation
    story.tell(WorkerDraining(worker_id="w1", incarnation=incarnation))
    story.finish("t1")
    story.tell(WorkerStopped(worker_id="w1", incarnation=incarnation))
    story.wait(300.0, "w2")
    assert story.worker("w1").status == "stopped"
    assert not story.told(TaskAssigned, task_id="t4", worker_id="w1")
    assert story.told(WorkerFailed) == []
    assert repairs(story) == []
    assert story.state.ignored.total() == 0
    assert story.status == "healthy"


@pytest.mark.parametrize("paused", [False, True])
def test_one_that_fails_while_it_drains_is_retired_and_its_tasks_go_elsewhere(paused: bool) -> None:
    story = busy()
    story.tell(drain())
    if paused:
        story.tell(PAUSED)
    exits(story)
    assert story.told(WorkerRetired, worker_id="w1", incarnation=story.worker("w1").incarnation)
    assert story.worker("w1").status == "stopped"
    assert story.told(WorkerRecoveryScheduled) == []
    if paused:
        assert story.told(TaskRequeued) == []
        story.tell(RESUMED)
    assert story.told(TaskRequeued, task_id="t1", budget="infrastructure")
    story.wait(300.0, "w2")
    assert story.told(WorkerRecoveryScheduled) == []


def test_a_failed_worker_that_is_told_to_end_is_not_brought_back() -> None:
    story = busy()
    exits(story)
    assert story.worker("w1").attempt is not None
    story.tell(drain())
    assert story.worker("w1").status == "stopped"
    assert [event.reason for event in story.told(WorkerRecoverySuperseded)] == ["the worker is stopped now"]
    story.wait(300.0, "w2")
    assert len(story.told(WorkerRecoveryScheduled)) == 1


def test_an_attempt_that_is_due_when_its_worker_is_told_to_end_does_not_begin() -> None:
    """Seed 1929 with 200 faults."""
    story = busy()
    story.leading = False
    exits(story)
    while not story.told(WorkerRecoveryScheduled):
        assert story.lead()
    story.tell(drain())
    story.leading = True
    story.settle()
    assert len(story.told(WorkerRetired)) == 1
    assert story.told(WorkerRecoveryStarted) == []
    assert [event.reason for event in story.told(WorkerRecoverySuperseded)] == ["the worker is stopped now"]


def test_an_exit_that_nobody_has_judged_yet_may_be_followed_by_the_order() -> None:
    story = busy()
    story.leading = False
    exits(story)
    story.tell(drain())
    story.leading = True
    story.settle()
    assert len(story.told(WorkerFailed)) == len(story.told(WorkerRetired)) == 1
    assert story.told(WorkerRecoveryScheduled) == []


def test_to_begin_anew_it_drains_and_registers_again_at_no_cost() -> None:
    story = busy()
    incarnation = story.worker("w1").incarnation
    story.tell(drain(restart=True, incarnation=incarnation))
    story.tell(WorkerDraining(worker_id="w1", incarnation=incarnation))
    story.finish("t1")
    story.join("w1")
    assert story.worker("w1").status == "alive"
    assert story.task("t3").worker_id == "w1"
    assert story.told(WorkerFailed) == []
    assert repairs(story) == []


def test_one_that_drains_to_begin_anew_and_does_not_come_back_is_found_by_its_silence() -> None:
    story = busy()
    story.tell(drain(restart=True))
    story.finish("t1")
    story.wait(40.0, "w2")
    assert [event.reason for event in story.told(WorkerFailed)] == ["silence"]
    assert story.told(WorkerSuspected) == []
    assert story.told(WorkerRecoveryScheduled, worker_id="w1")


def test_an_order_to_end_overrules_one_to_begin_anew_and_not_the_other_way_round() -> None:
    story = busy()
    story.tell(drain(restart=True), drain(), drain(restart=True))
    exits(story)
    assert story.told(WorkerRetired)
    assert story.told(WorkerRecoveryScheduled) == []


def test_a_new_registration_is_of_somebody_who_was_not_told() -> None:
    story = busy()
    story.tell(drain())
    story.join("w1")
    exits(story)
    assert story.told(WorkerRetired) == []
    assert story.told(WorkerRecoveryScheduled, worker_id="w1")


@pytest.mark.parametrize("restart", [False, True])
def test_orders_that_mean_nobody_change_nothing(restart: bool) -> None:
    story = busy()
    story.tell(drain("w9", restart=restart), drain(restart=restart, incarnation=1))
    assert story.worker("w1").status == "alive"
    exits(story)
    story.tell(drain(restart=True))
    assert story.worker("w1").status == "failed", "its recovery does that"
    assert story.state.ignored["worker.drain_requested"] == 3


def test_a_retirement_that_nobody_ordered_changes_nothing() -> None:
    story = busy()
    exits(story)
    story.tell(WorkerRetired(worker_id="w1", incarnation=story.worker("w1").incarnation))
    story.tell(WorkerRetired(worker_id="w9", incarnation=1))
    assert story.worker("w1").status == "failed"
    story.tell(drain("w2"))
    story.tell(WorkerRetired(worker_id="w2", incarnation=story.worker("w2").incarnation))
    assert story.worker("w2").status == "draining"
    assert story.state.ignored["worker.retired"] == 3


def test_an_order_that_was_forgotten_with_a_permanent_failure_does_not_come_back_with_its_end() -> None:
    story = busy()
    story.leading = False
    exits(story)
    story.tell(WorkerFailed(worker_id="w1", reason="worker_exit"), drain())
    story.tell(WorkerPermanentlyFailed(worker_id="w1", attempts=1), WorkerReadmitted(worker_id="w1", actor="alice"))
    story.leading = True
    story.settle()
    assert story.told(WorkerRetired) == []
    assert story.told(WorkerRecoveryScheduled, worker_id="w1")


def test_a_drill_on_a_draining_worker_is_told_as_one() -> None:
    story = busy()
    story.tell(drain())
    story.tell(WorkerFailed(worker_id="w1", reason="synthetic"), synthetic="drill")
    retired = next(one for one in story.records if isinstance(one.event, WorkerRetired))
    assert retired.synthetic == "drill"
