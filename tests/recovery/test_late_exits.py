"""A worker is given up for its silence; then its supervisor reports that it has ended: nobody is left to wait for."""

from typing import Any

import msgspec
import pytest

from events.policy import Policy
from events.system import SystemRecoveryStaged
from events.worker import (
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerReadmitted,
    WorkerRecoveryFailed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRecoverySuperseded,
    WorkerVanished,
)
from recovery.record import Record
from tests.recovery.story import Story, registered

LONG = Policy(recovery_attempt_timeout=100.0)
SLOW = Policy(recovery_attempt_timeout=5.0, recovery_backoff=60.0)


def silent(policy: Policy = LONG, **ladder: Any) -> Story:
    """w1 is given up for its silence; w2 and w3 are there."""
    story = Story(msgspec.structs.replace(policy, **ladder))
    story.join("w1", "w2", "w3")
    story.wait(15.0, "w2", "w3")
    assert story.worker("w1").failure_reason == "silence"
    return story


def exits(story: Story, *, synthetic: str | None = None, **how: Any) -> None:
    incarnation = story.worker("w1").failed_incarnation
    story.tell(WorkerExited(worker_id="w1", incarnation=incarnation, **how or {"signal": 9}), synthetic=synthetic)


def tried(story: Story) -> list[str]:
    return [event.strategy for event in story.told(WorkerRecoveryStarted)]


def test_what_only_waits_ends_at_once_and_the_restart_follows() -> None:
    story = silent()
    story.wait(1.0, "w2", "w3")
    exits(story)
    ((at, failed),) = story.timed(WorkerRecoveryFailed)
    assert at == 16.0, "and not when its time is over"
    assert failed.error == "there is nobody to wait for: it was killed by signal 9"
    story.wait(1.0, "w2", "w3")
    assert tried(story) == ["await", "restart"]
    assert [event.reason for event in story.told(WorkerRecoveryScheduled)] == ["silence", "worker_exit"]
    story.come_back("w1")
    assert [event.strategy for event in story.told(WorkerRecoverySucceeded)] == ["restart"]
    assert story.state.records["silence", "await"] == Record(failed=1)
    assert story.state.records["worker_exit", "restart"] == Record(succeeded=1)


def test_each_decision_names_the_report_as_its_cause() -> None:
    story = silent()
    exits(story)
    report = next(recorded for recorded in story.records if isinstance(recorded.event, WorkerExited))
    ended = next(recorded for recorded in story.records if isinstance(recorded.event, WorkerRecoveryFailed))
    assert ended.envelope is not None
    assert report.envelope is not None
    assert ended.envelope.causation_id == report.envelope.id


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"exit_code": 3}, "worker_exit"),
        ({"signal": 9, "hung": True, "unanswered_s": 2.5}, "worker_hung"),
        ({"signal": 9, "stalled": True, "detail": "no use"}, "stalled"),
    ],
)
def test_how_it_ended_decides_what_is_tried_next(how: dict[str, Any], reason: str) -> None:
    story = silent()
    exits(story, **how)
    story.wait(1.0, "w2", "w3")
    assert story.told(WorkerRecoveryScheduled)[-1].reason == reason
    assert tried(story) == ["await", "restart"]


def test_a_closed_connection_brings_nobody_back_either() -> None:
    story = silent(ladders={"silence": ("reconnect", "restart")})
    assert list(story.state.effects) == ["w1"]
    exits(story)
    assert not story.state.effects
    story.wait(1.0, "w2", "w3")
    assert tried(story) == ["reconnect", "restart"]


@pytest.mark.parametrize("strategy", ["restart", "replace", "power-cycle"])
def test_whatever_starts_another_process_goes_on(strategy: str) -> None:
    story = silent(launcher="local", ladders={"silence": (strategy,)})
    exits(story)
    assert not story.told(WorkerRecoveryFailed)
    assert story.worker("w1").failure_reason == "worker_exit"
    story.come_back("w1")
    assert [event.strategy for event in story.told(WorkerRecoverySucceeded)] == [strategy]


@pytest.mark.parametrize("second", ["await", "reconnect"])
def test_what_has_not_begun_does_not_begin(second: str) -> None:
    """It costs nothing: it has lost its object, and the restart has the number that it had."""
    story = silent(SLOW, ladders={"silence": ("await", second, "restart")})
    story.wait(5.0, "w2", "w3")
    assert [event.strategy for event in story.told(WorkerRecoveryScheduled)] == ["await", second]
    exits(story)
    (superseded,) = story.told(WorkerRecoverySuperseded)
    assert superseded.reason == "there is nobody to wait for: it was killed by signal 9"
    story.wait(60.0, "w2", "w3")
    assert tried(story)[:2] == ["await", "restart"]
    assert [event.attempt for event in story.told(WorkerRecoveryScheduled)][:3] == [1, 2, 2]


def test_one_that_was_to_begin_in_a_stage_is_not_waited_for() -> None:
    story = Story(msgspec.structs.replace(LONG, ladders={"silence": ("reconnect", "restart")}))
    story.join("w1", "w2", "w3")
    story.leading = False
    story.wait(16.0, "w3")
    while not story.told(SystemRecoveryStaged):
        assert story.lead()
    (stage,) = story.told(SystemRecoveryStaged)
    (name,) = stage.workers
    story.leading = True
    story.tell(WorkerExited(worker_id=name, incarnation=story.worker(name).failed_incarnation, signal=9))
    assert story.told(WorkerRecoverySuperseded, worker_id=name)
    begun = [event.worker_id for event in story.told(WorkerRecoveryStarted)]
    assert begun, "the stage is over, and the next one begins"


def test_between_two_attempts_it_changes_what_comes_next() -> None:
    story = silent(Policy(recovery_attempt_timeout=5.0))
    story.leading = False
    story.wait(5.0, "w2", "w3")
    (failed,) = [one.event for one in story.lead()]
    assert isinstance(failed, WorkerRecoveryFailed)
    exits(story)
    (scheduled,) = [one.event for one in story.lead()]
    assert isinstance(scheduled, WorkerRecoveryScheduled)
    assert (scheduled.strategy, scheduled.reason) == ("restart", "worker_exit")


def test_what_is_known_already_or_of_another_is_no_news() -> None:
    story = silent()
    ignored = story.state.ignored.total()
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").failed_incarnation + 1, signal=9))
    assert story.state.ignored.total() == ignored + 1
    assert not story.told(WorkerRecoveryFailed)
    exits(story)
    exits(story)
    assert story.state.ignored.total() == ignored + 2
    assert len(story.told(WorkerRecoveryFailed)) == 1


def test_a_witness_had_said_so_before() -> None:
    """Whoever took its supervisor along cannot restart it, whatever that had to say while it lived."""
    story = Story(LONG)
    story.join("w1")
    incarnation = story.worker("w1").incarnation
    story.tell(WorkerVanished(worker_id="w1", incarnation=incarnation, machine="m1", lifeline="l1"))
    exits(story)
    assert story.worker("w1").failure_reason == "disconnected"
    assert not story.told(WorkerRecoveryFailed)


def test_a_drill_says_nothing_about_a_real_failure() -> None:
    story = silent()
    exits(story, synthetic="drill")
    assert not story.told(WorkerRecoveryFailed)
    exits(story)
    assert len(story.told(WorkerRecoveryFailed)) == 1


@pytest.mark.parametrize("label", ["drill", None])
def test_a_made_up_failure_may_end_in_either_way(label: str | None) -> None:
    story = Story(LONG)
    story.join("w1")
    story.tell(WorkerFailed(worker_id="w1", reason="synthetic"), synthetic="drill")
    exits(story, synthetic=label)
    assert len(story.told(WorkerRecoveryFailed)) == 1
    assert story.worker("w1").failure_reason == "worker_exit"


def test_one_that_is_back_all_the_same_is_taken() -> None:
    """The report, and then a registration, before the leader looks."""
    story = silent()
    incarnation = story.worker("w1").incarnation
    story.tell(WorkerExited(worker_id="w1", incarnation=incarnation, signal=9), registered("w1"))
    story.beat("w1")
    story.come_back("w1")
    assert [event.strategy for event in story.told(WorkerRecoverySucceeded)] == ["await"]


def test_an_operator_readmits_one_of_which_nothing_is_left() -> None:
    story = silent(max_recovery_attempts=1, recovery_attempt_timeout=1.0)
    story.wait(30.0, "w2", "w3")
    assert len(story.told(WorkerPermanentlyFailed)) == 1
    exits(story)
    story.tell(WorkerReadmitted(worker_id="w1", actor="alice"))
    assert story.told(WorkerRecoveryScheduled)[-1].reason == "worker_exit"
