"""What becomes of workers: detection, attempts, exclusion."""

import pytest

from events.policy import Policy
from events.system import LeaderElected, PolicyChanged
from events.task import TaskAssigned
from events.worker import (
    Evidence,
    WorkerDraining,
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerProbeAnswered,
    WorkerReadmitted,
    WorkerRecoveryFailed,
    WorkerRecoveryProbed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRecoverySuperseded,
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


def test_3_a_failed_one_returns() -> None:
    story = Story()
    story.join("w1")
    story.wait(15.0)
    story.wait(5.0)
    story.tell(registered("w1"))
    assert not story.told(WorkerRecoveryProbed)
    story.beat("w1")
    (probed,) = story.told(WorkerRecoveryProbed)
    assert probed.incarnation == story.worker("w1").incarnation
    story.wait(0.5)
    story.tell(WorkerProbeAnswered(worker_id="w1", incarnation=probed.incarnation, attempt=1))
    (succeeded,) = story.told(WorkerRecoverySucceeded)
    assert succeeded.duration_s == 5.5
    assert (succeeded.attempt, succeeded.strategy) == (1, "await")
    assert story.worker("w1").attempt is None


def test_a_worker_gets_no_work_before_it_has_answered() -> None:
    story = Story()
    story.join("w1")
    story.tell(WorkerExited(worker_id="w1", incarnation=2, signal=9), submitted("t1"))
    story.join("w1")
    assert not story.told(TaskAssigned)
    probe = story.told(WorkerRecoveryProbed)[0]
    story.tell(WorkerProbeAnswered(worker_id="w1", incarnation=probe.incarnation, attempt=probe.attempt))
    assert story.told(TaskAssigned)[0].incarnation == probe.incarnation


def test_3_the_count_resets_after_the_stable_time() -> None:
    policy = Policy(attempts_reset_after=60.0, max_recovery_attempts=3, recovery_attempt_timeout=5.0)
    story = Story(policy)
    story.join("w1")
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, exit_code=1))
    story.wait(5.0)
    assert len(story.told(WorkerRecoveryFailed)) == 1
    story.wait(4.0)
    story.come_back("w1")
    assert story.told(WorkerRecoverySucceeded)[0].attempt == 2
    story.wait(60.0, "w1")
    begun = story.last
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, exit_code=1))
    first = next(event for event in story.since(begun) if isinstance(event, WorkerRecoveryScheduled))
    assert first.attempt == 1
    # And they count up from there: a worker that was stable once is not tried for ever.
    story.wait(600.0)
    numbers = [event.attempt for event in story.since(begun) if isinstance(event, WorkerRecoveryFailed)]
    assert numbers == [1, 2, 3]
    assert story.worker("w1").status == "permanent"


def test_without_the_stable_time_the_count_goes_on() -> None:
    story = Story(Policy(recovery_attempt_timeout=5.0))
    story.join("w1")
    for _ in range(2):
        story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, exit_code=1))
        story.wait(7.0)
        story.come_back("w1")
        story.wait(10.0, "w1")
    assert [event.attempt for event in story.told(WorkerRecoveryFailed)] == [1, 2]
    assert [event.attempt for event in story.told(WorkerRecoverySucceeded)] == [2, 3]


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


def test_16_a_new_leader_goes_on_with_an_attempt() -> None:
    story = Story()
    story.join("w1")
    story.tell(WorkerExited(worker_id="w1", incarnation=2, signal=9))
    story.leading = False
    story.wait(50.0)
    story.tell(registered("w1"))
    story.beat("w1")
    story.leading = True
    story.tell(LeaderElected(coordinator_id="c2", term=2))
    # The attempt's deadline is long past; the worker did come back, and has time to prove it.
    (probed,) = story.told(WorkerRecoveryProbed)
    story.wait(1.0, "w1")
    story.tell(WorkerProbeAnswered(worker_id="w1", incarnation=probed.incarnation, attempt=probed.attempt))
    assert len(story.told(WorkerRecoverySucceeded)) == 1
    assert len(story.told(WorkerRecoveryScheduled)) == 1
    assert not story.told(WorkerRecoveryFailed)


@pytest.mark.parametrize("away_s", [8.0, 15.0])
def test_6_the_same_worker_id_starts_again(away_s: float) -> None:
    story = Story()
    story.join("w1")
    story.tell(submitted("t1"))
    story.start("t1")
    story.wait(away_s)
    story.come_back("w1")
    assert story.worker("w1").status == "alive"
    assert story.worker("w1").ordinal == 2
    assert story.task("t1").status == "assigned"
    assert story.task("t1").incarnation == story.worker("w1").incarnation
    story.start("t1")
    story.finish("t1")
    assert story.task("t1").verdict == "passed"


POLICIES = [
    Policy(),
    Policy(max_recovery_attempts=1),
    Policy(max_recovery_attempts=3, recovery_interval=2.0, recovery_backoff=2.0, recovery_attempt_timeout=1.0),
    Policy(max_recovery_attempts=8, recovery_interval=10.0, recovery_backoff=3.0),
]


@pytest.mark.parametrize("policy", POLICIES, ids=["default", "one", "quick", "eight"])
def test_11_a_worker_never_returns(policy: Policy) -> None:
    story = Story(policy)
    story.join("w1")
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, exit_code=3))
    story.wait(599.0)
    allowed = policy.max_recovery_attempts
    expected = list(range(1, allowed + 1))
    for kind in (WorkerRecoveryScheduled, WorkerRecoveryStarted, WorkerRecoveryFailed):
        assert [getattr(event, "attempt", None) for event in story.told(kind)] == expected
    starts = [at for at, _ in story.timed(WorkerRecoveryStarted)]
    ends = [at for at, _ in story.timed(WorkerRecoveryFailed)]
    assert starts[0] == 0.0
    for number, (began, ended) in enumerate(zip(starts, ends, strict=True), start=1):
        assert ended - began == pytest.approx(policy.recovery_attempt_timeout)
        if number < allowed:
            ceiling = min(policy.recovery_interval, policy.recovery_backoff * 2 ** (number - 1))
            assert 0.0 <= starts[number] - ended <= ceiling
    (permanent,) = story.told(WorkerPermanentlyFailed)
    assert permanent.attempts == allowed
    assert story.state.workers_expected == 0
    quiet = story.last
    story.wait(10_000.0)
    assert story.last == quiet, "silence, after the permanent failure"


def test_11_the_ladder_goes_on_to_its_last_rung() -> None:
    story = Story()
    story.join("w1")
    story.wait(300.0)
    assert [event.strategy for event in story.told(WorkerRecoveryStarted)] == ["await"] + ["restart"] * 4


def test_11_an_agent_that_dies_before_it_registers_ends_the_attempt_at_once() -> None:
    story = Story()
    story.join("w1")
    story.tell(WorkerExited(worker_id="w1", incarnation=2, exit_code=1))
    story.wait(1.0)
    story.tell(WorkerExited(worker_id="w1", incarnation=0, signal=11))
    ((at, failed),) = story.timed(WorkerRecoveryFailed)
    assert at == 1.0
    assert "signal 11" in failed.error


def test_12_drops_that_are_all_recovered_are_never_permanent() -> None:
    story = Story()
    story.join("w1")
    for _ in range(6):
        story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, signal=9))
        story.wait(20.0)
        story.come_back("w1")
        story.wait(20.0, "w1")
    assert len(story.told(WorkerRecoverySucceeded)) == 6
    assert not story.told(WorkerPermanentlyFailed)
    assert story.worker("w1").status == "alive"


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
    assert story.state.status == "idle"
    story.join("w1", "w2")
    story.tell(*(submitted(f"t{number}") for number in range(9)))
    story.wait(100.0, "w1", "w2")
    assert story.state.status == "healthy"
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


def test_coming_back_during_the_backoff_supersedes_the_attempt() -> None:
    story = Story(Policy(recovery_attempt_timeout=1.0, recovery_backoff=60.0))
    story.join("w1")
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, exit_code=1))
    story.wait(1.0)
    assert [event.attempt for event in story.told(WorkerRecoveryScheduled)] == [1, 2]
    assert len(story.told(WorkerRecoveryStarted)) == 1
    story.come_back("w1")
    assert [event.attempt for event in story.told(WorkerRecoverySuperseded)] == [2]
    story.tell(submitted("t1"))
    assert story.task("t1").status == "assigned"


def test_failing_again_during_the_backoff_carries_the_attempt_over() -> None:
    """Both facts are read before the leader looks: the attempt goes on, for the newer failure."""
    story = Story(Policy(recovery_attempt_timeout=1.0, recovery_backoff=60.0))
    story.join("w1")
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, exit_code=1))
    story.wait(1.0)
    story.tell(registered("w1"), WorkerFailed(worker_id="w1", reason="synthetic"))
    story.wait(60.0)
    assert story.told(WorkerRecoveryStarted)[-1].incarnation == story.worker("w1").failed_incarnation


def test_failing_again_under_an_attempt_fails_the_attempt() -> None:
    story = Story()
    story.join("w1")
    story.tell(WorkerExited(worker_id="w1", incarnation=2, exit_code=1))
    story.join("w1")
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, exit_code=7))
    (failed,) = story.told(WorkerRecoveryFailed)
    assert failed.error == "it came back and failed again: it exited with code 7"
    assert [event.attempt for event in story.told(WorkerRecoveryScheduled)] == [1, 2]


def test_a_second_incarnation_has_to_prove_itself_anew() -> None:
    story = Story()
    story.join("w1")
    story.tell(WorkerExited(worker_id="w1", incarnation=2, exit_code=1))
    story.join("w1")
    (first,) = story.told(WorkerRecoveryProbed)
    story.tell(
        WorkerProbeAnswered(worker_id="w1", incarnation=first.incarnation, attempt=first.attempt), registered("w1")
    )
    assert not story.told(WorkerRecoverySucceeded)
    story.beat("w1")
    assert [probe.incarnation for probe in story.told(WorkerRecoveryProbed)] == [
        first.incarnation,
        story.worker("w1").incarnation,
    ]
    # What the older one says now is stale.
    story.tell(WorkerProbeAnswered(worker_id="w1", incarnation=first.incarnation, attempt=first.attempt))
    assert not story.told(WorkerRecoverySucceeded)
    story.tell(WorkerProbeAnswered(worker_id="w1", incarnation=story.worker("w1").incarnation, attempt=1))
    assert len(story.told(WorkerRecoverySucceeded)) == 1


def test_one_that_beats_and_does_not_answer_cannot_be_used() -> None:
    story = Story()
    story.join("w1")
    story.tell(WorkerExited(worker_id="w1", incarnation=2, exit_code=1), submitted("t1"))
    story.wait(1.0)
    story.join("w1")
    story.wait(60.0, "w1")
    assert [event.error for event in story.told(WorkerRecoveryFailed)][:1] == [
        "it came back and failed again: it registered again and beats, but did not answer the probe"
    ]
    assert not story.told(TaskAssigned)


def test_one_that_registers_and_never_beats_fails_the_attempt() -> None:
    story = Story()
    story.join("w1")
    story.tell(WorkerExited(worker_id="w1", incarnation=2, exit_code=1))
    story.wait(29.0)
    story.tell(registered("w1"))
    story.wait(29.0)
    assert not story.told(WorkerRecoveryFailed), "it has first_heartbeat_timeout from its registration on"
    story.wait(1.0)
    assert [event.reason for event in story.told(WorkerFailed)] == ["worker_exit", "no_first_heartbeat"]
    assert story.told(WorkerRecoveryFailed)[0].error.startswith("it came back and failed again: no heartbeat within")


def test_stopping_under_an_attempt_supersedes_it() -> None:
    story = Story()
    story.join("w1")
    story.tell(WorkerExited(worker_id="w1", incarnation=2, exit_code=1))
    story.tell(WorkerStopped(worker_id="w1", incarnation=2))
    (superseded,) = story.told(WorkerRecoverySuperseded)
    assert superseded.reason == "the worker is stopped now"
    quiet = story.last
    story.wait(1000.0)
    assert story.last == quiet


def test_a_synthetic_failure_hands_its_label_on() -> None:
    story = Story()
    story.join("w1")
    story.tell(WorkerFailed(worker_id="w1", reason="synthetic"), synthetic="drill")
    story.come_back("w1")
    labels = {
        type(recorded.event): recorded.synthetic
        for recorded in story.records
        if isinstance(recorded.event, WorkerFailed | WorkerRecoveryScheduled | WorkerRecoverySucceeded)
    }
    assert set(labels.values()) == {"drill"}
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, exit_code=1))
    assert story.records[-1].synthetic is None


def test_a_synthetic_suspicion_is_refuted_by_the_facts() -> None:
    story = Story()
    story.join("w1")
    story.tell(WorkerSuspected(worker_id="w1", incarnation=2, evidence=Evidence()))
    assert [event.worker_id for event in story.told(WorkerSuspicionRefuted)] == ["w1"]


def test_under_a_new_policy_silence_counts_anew() -> None:
    """The workers have beaten by the rules that they knew."""
    story = Story()
    story.join("w1")
    story.wait(5.0)
    quicker = Policy(heartbeat_interval=0.5, suspect_after=2.0, self_fence_after=3.0, failed_after=4.0)
    story.tell(policy_changed(quicker))
    assert not story.told(WorkerSuspected)
    story.wait(4.0)
    assert [at for at, _ in story.timed(WorkerSuspected)] == [7.0]
    assert [at for at, _ in story.timed(WorkerFailed)] == [9.0]
    assert story.state.policy_hash == story.told(PolicyChanged)[0].policy_hash


def test_26_without_auto_recovery_failures_are_only_recorded() -> None:
    story = Story(Policy(auto_recovery=False))
    story.join("w1", "w2")
    story.tell(submitted("t1"), submitted("t2"))
    story.start("t1", "t2")
    story.wait(1000.0)
    assert len(story.told(WorkerFailed)) == 2
    assert not story.told(WorkerRecoveryScheduled)
    assert {task.status for task in story.state.tasks.values()} == {"running"}
    assert len(story.state.orphaned) == 2
    begun = story.last
    story.tell(policy_changed(Policy()))
    assert {task.status for task in story.state.tasks.values()} == {"queued"}
    assert sum(isinstance(event, WorkerRecoveryScheduled) for event in story.since(begun)) == 2


def test_26_switched_off_under_an_attempt_it_is_withdrawn() -> None:
    story = Story()
    story.join("w1")
    story.tell(WorkerExited(worker_id="w1", incarnation=2, exit_code=1))
    story.tell(policy_changed(Policy(auto_recovery=False)))
    (superseded,) = story.told(WorkerRecoverySuperseded)
    assert superseded.reason == "automatic recovery was switched off"
    # One that comes back by itself gets work like any other.
    story.join("w1")
    story.tell(submitted("t1"))
    assert story.task("t1").status == "assigned"
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, exit_code=1))
    begun = story.last
    story.tell(policy_changed(Policy()))
    assert any(isinstance(event, WorkerRecoveryScheduled) for event in story.since(begun))


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
