"""What becomes of workers: detection, exclusion, orderly ends."""

import pytest

from events.policy import Policy
from events.system import LeaderElected, PolicyChanged
from events.task import TaskAssigned, TaskRequeued
from events.worker import (
    Evidence,
    WorkerDraining,
    WorkerExited,
    WorkerFailed,
    WorkerReadmitted,
    WorkerRecoveryFailed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerStopped,
    WorkerSuspected,
    WorkerSuspicionRefuted,
)
from tests.recovery.story import Story, policy_changed, registered, submitted


def test_1_one_of_three_falls_silent() -> None:
    story = Story()
    story.join("w1", "w2", "w3")
    story.wait(5.9, "w1", "w2")
    assert not story.told(WorkerSuspected)
    story.wait(14.0, "w1", "w2")
    ((suspected_at, suspected),) = story.timed(WorkerSuspected)
    ((failed_at, failed),) = story.timed(WorkerFailed)
    assert (suspected.worker_id, failed.worker_id, failed.reason) == ("w3", "w3", "silence")
    assert (suspected_at, failed_at) == (6.0, 15.0)
    assert suspected.evidence.heartbeat_sequence == 3
    assert (suspected.evidence.silence_s, suspected.evidence.threshold_s) == (6.0, 6.0)
    assert failed.evidence is not None
    assert (failed.evidence.silence_s, failed.evidence.threshold_s) == (15.0, 15.0)
    (scheduled,) = story.told(WorkerRecoveryScheduled)
    assert (scheduled.worker_id, scheduled.attempt, scheduled.strategy) == ("w3", 1, "await")
    assert [story.worker(name).status for name in ("w1", "w2", "w3")] == ["alive", "alive", "failed"]


def test_3_a_suspect_is_heard_again() -> None:
    story = Story()
    story.join("w1")
    story.wait(6.0)
    assert story.worker("w1").status == "suspect"
    story.wait(1.0)
    story.beat("w1")
    (refuted,) = story.told(WorkerSuspicionRefuted)
    assert refuted.evidence.heartbeat_sequence == 2
    assert story.worker("w1").status == "alive"
    assert not story.told(WorkerRecoveryScheduled)


def test_a_suspect_gets_no_new_work_and_keeps_its_own() -> None:
    story = Story()
    story.join("w1", slots=2)
    story.tell(submitted("t1"))
    story.start("t1")
    story.wait(6.0)
    story.tell(submitted("t2"))
    assert (story.task("t1").status, story.task("t2").status) == ("running", "queued")
    story.beat("w1")
    assert story.task("t2").status == "assigned"


def test_4_a_take_over_after_a_long_pause_condemns_nobody() -> None:
    story = Story()
    story.join("w1", "w2", "w3")
    story.leading = False
    story.wait(300.0)
    story.leading = True
    story.tell(LeaderElected(coordinator_id="c2", term=2))
    assert not story.told(WorkerSuspected)
    story.wait(30.0, "w1", "w2")
    assert {event.worker_id for event in story.told(WorkerSuspected)} == {"w3"}
    ((suspected_at, _),) = story.timed(WorkerSuspected)
    ((failed_at, _),) = story.timed(WorkerFailed)
    assert (suspected_at, failed_at) == (306.0, 315.0)


def test_a_take_over_gives_first_heartbeats_their_time_again() -> None:
    story = Story()
    story.tell(registered("w1"))
    story.leading = False
    story.wait(100.0)
    story.leading = True
    story.tell(LeaderElected(coordinator_id="c2", term=2))
    story.wait(29.0)
    assert not story.told(WorkerFailed)
    story.wait(1.0)
    assert [event.reason for event in story.told(WorkerFailed)] == ["no_first_heartbeat"]


def permanently_failed() -> Story:
    story = Story(Policy(max_recovery_attempts=1, recovery_attempt_timeout=1.0))
    story.join("w1")
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, exit_code=3))
    story.wait(2.0)
    assert story.worker("w1").status == "permanent"
    return story


def test_13_a_permanently_failed_worker_is_excluded_until_readmitted() -> None:
    story = permanently_failed()
    story.tell(submitted("t1"))
    story.beat("w1")
    story.join("w1")
    story.wait(60.0, "w1")
    assert story.worker("w1").status == "permanent"
    assert not story.told(TaskAssigned)
    assert story.state.workers_expected == 0
    story.tell(WorkerReadmitted(worker_id="w1", actor="alice"))
    assert story.worker("w1").status == "alive"
    assert story.task("t1").status == "assigned"


@pytest.mark.parametrize("ended", [WorkerStopped, WorkerExited])
def test_13_no_restart_gets_round_the_exclusion(ended: type[WorkerStopped] | type[WorkerExited]) -> None:
    story = permanently_failed()
    story.join("w1")
    story.tell(ended(worker_id="w1", incarnation=story.worker("w1").incarnation))
    story.join("w1")
    story.wait(60.0, "w1")
    assert story.worker("w1").status == "permanent"


@pytest.mark.parametrize("ended", [WorkerStopped, WorkerExited])
def test_13_readmitted_while_it_is_away_it_is_brought_back(ended: type[WorkerStopped] | type[WorkerExited]) -> None:
    story = permanently_failed()
    story.join("w1")
    story.tell(ended(worker_id="w1", incarnation=story.worker("w1").incarnation))
    begun = story.last
    story.tell(WorkerReadmitted(worker_id="w1", actor="alice"))
    assert story.worker("w1").status == "failed"
    assert any(isinstance(event, WorkerRecoveryScheduled) for event in story.since(begun))
    story.come_back("w1")
    assert story.worker("w1").status == "alive"


def test_13_readmission_gives_all_attempts_back() -> None:
    story = permanently_failed()
    story.tell(WorkerReadmitted(worker_id="w1", actor="alice"))
    story.wait(60.0)
    assert [event.attempt for event in story.told(WorkerRecoveryFailed)] == [1, 1]
    assert story.worker("w1").status == "permanent"


def test_14_no_worker_is_idle_and_a_full_farm_is_healthy() -> None:
    story = Story()
    story.wait(100.0)
    assert story.status == "idle"
    story.join("w1", "w2")
    story.tell(*(submitted(f"t{number}") for number in range(9)))
    story.wait(100.0, "w1", "w2")
    assert story.status == "healthy"
    assert not story.state.incidents


def test_draining_is_no_failure() -> None:
    story = Story()
    story.join("w1", "w2", slots=2)
    story.tell(submitted("t1"), submitted("t2"))
    story.start("t1", "t2")
    own = "t1" if story.task("t1").worker_id == "w1" else "t2"
    story.tell(WorkerDraining(worker_id="w1", incarnation=story.worker("w1").incarnation))
    story.tell(submitted("t3"))
    assert story.task("t3").worker_id == "w2"
    story.finish(own)
    assert story.task(own).verdict == "passed"
    story.tell(WorkerStopped(worker_id="w1", incarnation=story.worker("w1").incarnation))
    story.wait(100.0, "w2")
    assert not story.told(WorkerFailed)
    assert not story.told(WorkerRecoveryScheduled)
    assert story.state.workers_expected == 1


def test_an_agent_that_dies_while_its_worker_stops_is_not_brought_back() -> None:
    """Its supervisor reports both at once, and will carry out no order to restart it."""
    story = Story()
    story.join("w1", "w2")
    story.tell(submitted("t1"))
    story.start("t1")
    incarnation = story.worker("w1").incarnation
    story.tell(WorkerDraining(worker_id="w1", incarnation=incarnation))
    exited = WorkerExited(worker_id="w1", incarnation=incarnation, signal=9)
    story.tell(exited, WorkerStopped(worker_id="w1", incarnation=incarnation))
    assert story.worker("w1").status == "stopped"
    assert story.told(WorkerRecoveryScheduled) == []
    assert story.status == "healthy"
    assert story.task("t1").worker_id == "w2"
    story.wait(100.0, "w2")
    assert story.told(WorkerFailed) == []


def test_a_drained_worker_that_falls_silent_is_failed_once_it_is_certain() -> None:
    story = Story()
    story.join("w1")
    story.tell(WorkerDraining(worker_id="w1", incarnation=2))
    story.wait(20.0)
    assert not story.told(WorkerSuspected)
    ((at, failed),) = story.timed(WorkerFailed)
    assert at == 15.0
    assert failed.evidence is not None
    assert failed.evidence.threshold_s == 15.0


def test_a_worker_that_hung_is_restarted() -> None:
    story = Story()
    story.join("w1")
    story.tell(WorkerExited(worker_id="w1", incarnation=2, signal=9, hung=True, unanswered_s=2.25))
    (failed,) = story.told(WorkerFailed)
    assert failed.reason == "worker_hung"
    assert failed.message == "it did not answer its supervisor for 2.2 s and was killed"
    assert story.told(WorkerRecoveryStarted)[0].strategy == "restart"


def test_a_synthetic_suspicion_is_refuted_by_the_facts() -> None:
    story = Story()
    story.join("w1")
    story.tell(WorkerSuspected(worker_id="w1", incarnation=2, evidence=Evidence()))
    assert [event.worker_id for event in story.told(WorkerSuspicionRefuted)] == ["w1"]


def test_a_quicker_policy_does_not_count_for_whom_it_has_not_reached() -> None:
    """It has beaten, and fences itself, by the rules that it knew."""
    story = Story()
    story.join("w1")
    story.wait(5.0)
    quicker = Policy(heartbeat_interval=0.5, suspect_after=2.0, self_fence_after=3.0, failed_after=4.0)
    story.tell(policy_changed(quicker))
    story.wait(20.0)
    assert [at for at, _ in story.timed(WorkerSuspected)] == [6.0]
    assert [at for at, _ in story.timed(WorkerFailed)] == [15.0]
    assert story.state.policy_hash == story.told(PolicyChanged)[0].policy_hash


def test_two_incarnations_of_one_worker() -> None:
    story = Story()
    story.join("w1")
    first = story.worker("w1").incarnation
    story.tell(submitted("t1"))
    story.start("t1")
    stale = story.finished("t1", "failed")
    story.join("w1")
    assert story.worker("w1").incarnation > first
    ignored = story.state.ignored.total()
    story.tell(
        stale,
        WorkerExited(worker_id="w1", incarnation=first, signal=9),
        WorkerDraining(worker_id="w1", incarnation=first),
        WorkerFailed(worker_id="w1", incarnation=first, reason="silence"),
    )
    story.beat("w1", incarnation=first)
    assert story.state.ignored.total() == ignored + 5
    assert story.worker("w1").status == "alive"
    assert story.task("t1").status == "assigned"
    assert story.task("t1").attempt == 2


def test_a_beat_may_come_before_the_registration_of_its_incarnation() -> None:
    """The two streams are read apart. What is heard of the next incarnation says nothing bad about this one."""
    story = Story()
    story.join("w1")
    story.wait(100.0, "w1")
    story.beat("w1", incarnation=story.last + 1)
    story.wait(10.0)
    assert not story.told(WorkerFailed)
    assert not story.told(WorkerSuspected)
    story.wait(5.0)
    (failed,) = story.told(WorkerFailed)
    assert failed.message == f"its incarnation {story.state.beats['w1'].incarnation} beats, and has not registered"


@pytest.mark.parametrize("deaths", [1, 2])
def test_one_failure_is_stored_before_what_follows_and_several_together(deaths: int) -> None:
    story = Story()
    names = ["w1", "w2", "w3", "w4", "w5"]
    story.join(*names)
    story.tell(*(submitted(f"t{number}") for number in range(5)))
    story.start(*(f"t{number}" for number in range(5)))
    story.batches.clear()
    story.tell(
        *(WorkerExited(worker_id=name, incarnation=story.worker(name).incarnation, signal=9) for name in names[:deaths])
    )
    told = [[type(one.event) for one in batch.decisions] for batch in story.batches]
    if deaths == 1:
        assert told[:2] == [[WorkerFailed], [TaskRequeued]]
    else:
        assert told[0][:2] == [WorkerFailed, WorkerFailed]
    assert len(story.told(TaskRequeued)) == deaths
