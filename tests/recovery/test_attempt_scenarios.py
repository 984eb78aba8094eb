"""Bringing failed workers back: attempts, their spacing, their end."""

import msgspec
import pytest

from events.policy import Policy
from events.system import LeaderElected
from events.task import TaskAssigned
from events.worker import (
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerProbeAnswered,
    WorkerRecoveryFailed,
    WorkerRecoveryProbed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRecoverySuperseded,
    WorkerStopped,
)
from tests.recovery.story import Story, policy_changed, registered, submitted


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


def test_an_answer_without_a_heartbeat_is_no_success() -> None:
    """A leader that has just taken over may have read the probe of the one before, and not yet what it rested on."""
    story = Story()
    story.join("w1")
    story.tell(WorkerExited(worker_id="w1", incarnation=2, signal=9))
    story.tell(registered("w1"))
    incarnation = story.worker("w1").incarnation
    story.tell(
        WorkerRecoveryProbed(worker_id="w1", incarnation=incarnation, attempt=1),
        WorkerProbeAnswered(worker_id="w1", incarnation=incarnation, attempt=1),
    )
    assert not story.told(WorkerRecoverySucceeded)
    story.beat("w1")
    assert len(story.told(WorkerRecoverySucceeded)) == 1


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
    # Attempts last 5 s, with a second at most between them, whatever the jitter: 7.5 s on, the second is under way.
    story = Story(Policy(recovery_attempt_timeout=5.0, recovery_interval=1.0))
    story.join("w1")
    for _ in range(2):
        story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, exit_code=1))
        story.wait(7.5)
        story.come_back("w1")
        story.wait(10.0, "w1")
    assert [event.attempt for event in story.told(WorkerRecoveryFailed)] == [1, 2]
    assert [event.attempt for event in story.told(WorkerRecoverySucceeded)] == [2, 3]


def test_attempts_that_have_left_the_window_are_forgotten() -> None:
    story = Story(Policy(recovery_attempts_window=60.0, max_recovery_attempts=2, recovery_attempt_timeout=5.0))
    story.join("w1")
    for _ in range(3):
        story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, exit_code=1))
        story.wait(7.0)
        story.come_back("w1")
        story.wait(60.0, "w1")
    assert [event.attempt for event in story.told(WorkerRecoveryFailed)] == [1, 1, 1]
    assert not story.told(WorkerPermanentlyFailed)
    assert len(story.worker("w1").attempts_failed) == 1


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
    assert [event.strategy for event in story.told(WorkerRecoveryStarted)] == [
        "await",
        "reconnect",
        *["restart"] * 3,
    ]


def test_11_an_agent_that_dies_before_it_registers_ends_the_attempt_at_once() -> None:
    story = Story()
    story.join("w1")
    story.tell(WorkerExited(worker_id="w1", incarnation=2, exit_code=1))
    story.wait(1.0)
    story.tell(WorkerExited(worker_id="w1", incarnation=0, signal=11))
    ((at, failed),) = story.timed(WorkerRecoveryFailed)
    assert at == 1.0
    assert "signal 11" in failed.error


def test_an_agent_that_died_unregistered_is_no_news_of_one_that_did_register() -> None:
    story = Story()
    story.join("w1")
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, exit_code=1))
    story.tell(registered("w1"))
    story.tell(WorkerExited(worker_id="w1", incarnation=0, exit_code=2))
    assert story.worker("w1").status == "alive"
    story.beat("w1")
    assert len(story.told(WorkerRecoveryProbed)) == 1
    assert not story.told(WorkerRecoveryFailed)


def test_an_answer_counts_for_the_attempt_that_asked() -> None:
    story = Story()
    story.join("w1")
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, exit_code=1))
    story.join("w1")
    (probed,) = story.told(WorkerRecoveryProbed)
    answer = WorkerProbeAnswered(worker_id="w1", incarnation=probed.incarnation, attempt=probed.attempt + 1)
    story.tell(answer)
    assert not story.told(WorkerRecoverySucceeded)
    story.tell(msgspec.structs.replace(answer, attempt=probed.attempt))
    assert len(story.told(WorkerRecoverySucceeded)) == 1


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


def test_the_longest_of_messages_fits_into_what_repeats_it() -> None:
    story = Story()
    story.join("w1")
    story.tell(WorkerExited(worker_id="w1", incarnation=2, exit_code=1))
    story.tell(registered("w1"), WorkerFailed(worker_id="w1", reason="synthetic", message="x" * 32_768))
    assert len(story.told(WorkerRecoveryFailed)) == 1


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
