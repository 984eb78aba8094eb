"""The leader was in no position to judge silence, or doubts that it was: what the core makes of it."""

from typing import Any

import pytest

from events.policy import Policy
from events.system import DetectorDegraded, SystemRecoveryStarted
from events.task import TaskAssigned, TaskCompleted, TaskRequeued
from events.worker import (
    WorkerExited,
    WorkerFailed,
    WorkerRecoveryFailed,
    WorkerRecoveryStarted,
    WorkerSuspected,
)
from tests.recovery.story import Story, folded, plain, submitted


def doubt(story: Story, reason: Any = "clock_step", extent_s: float = 30.0) -> None:
    story.tell(
        DetectorDegraded(
            reason=reason,
            extent_s=extent_s,
            heartbeats_sequence=story.state.heartbeats_sequence,
            coordinator_id="c1",
        )
    )


def step(story: Story, seconds: float) -> None:
    """The broker's clock is set, and the leader has noticed."""
    story.leading = False
    story.now += seconds
    doubt(story, extent_s=seconds)
    story.leading = True
    story.settle()


# All are silent


def test_2_all_fall_silent_at_once_and_the_observer_doubts_itself_first() -> None:
    story = Story()
    story.join("w1", "w2", "w3")
    story.tell(*(submitted(f"t{number}") for number in range(3)))
    story.start("t0", "t1", "t2")
    story.wait(2.0)
    story.beat("w1", "w2", "w3")
    story.wait(60.0)
    (doubted,) = story.timed(DetectorDegraded)
    assert doubted == (
        8.0,
        DetectorDegraded(reason="mass_silence", extent_s=6.0, heartbeats_sequence=6, coordinator_id="c1"),
    )
    assert [at for at, _ in story.timed(WorkerSuspected)] == [14.0] * 3
    assert [at for at, _ in story.timed(WorkerFailed)] == [23.0] * 3
    assert len(story.told(SystemRecoveryStarted)) == 1
    assert len(story.told(TaskRequeued)) == 3
    # They are back: no task is lost, and none has been given out twice.
    story.come_back("w1")
    for number in range(3):
        if story.task(f"t{number}").status == "assigned":
            story.start(f"t{number}")
    assert len(story.told(TaskAssigned)) == 4
    assert not story.told(TaskCompleted)


def test_all_are_heard_again_and_nobody_was_suspected() -> None:
    story = Story()
    story.join("w1", "w2")
    story.wait(10.0, "w1", "w2")
    story.wait(11.0)
    assert len(story.told(DetectorDegraded)) == 1
    story.wait(60.0, "w1", "w2")
    assert not story.told(WorkerSuspected)
    assert len(story.told(DetectorDegraded)) == 1
    story.wait(7.0)
    assert len(story.told(DetectorDegraded)) == 2, "the next time is another time"


@pytest.mark.parametrize("witnesses", [1, 2])
def test_others_that_are_heard_speak_for_the_observer(witnesses: int) -> None:
    story = Story()
    beating = [f"b{number}" for number in range(witnesses)]
    story.join("w1", "w2", *beating)
    story.wait(20.0, *beating)
    assert not story.told(DetectorDegraded)
    assert {event.worker_id: at for at, event in story.timed(WorkerFailed)} == {"w1": 15.0, "w2": 15.0}


def test_the_silence_of_one_is_its_own() -> None:
    story = Story()
    story.join("w1")
    story.wait(20.0)
    assert not story.told(DetectorDegraded)
    assert [at for at, _ in story.timed(WorkerFailed)] == [15.0]


def test_those_that_are_gone_are_no_witnesses() -> None:
    story = Story()
    story.join("w1", "w2")
    story.tell(WorkerExited(worker_id="w2", incarnation=story.worker("w2").incarnation, signal=9))
    story.wait(20.0)
    assert not story.told(DetectorDegraded)
    assert story.worker("w1").status == "failed"


def test_an_exit_that_was_reported_is_judged_in_spite_of_the_doubt() -> None:
    story = Story(lead=False)
    story.now += 1.0
    story.join("w1", "w2", "w3")
    story.now += 7.0
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, signal=9))
    decided = [decision.event for _ in range(2) for decision in story.lead()]
    assert [event.worker_id for event in decided if isinstance(event, WorkerFailed)] == ["w1"]
    assert [event.reason for event in decided if isinstance(event, DetectorDegraded)] == ["mass_silence"]
    assert not any(isinstance(event, WorkerSuspected) for event in decided)


# The clock steps


@pytest.mark.parametrize("seconds", [30.0, 3_600.0, -15.75, -3_600.0])
def test_nobody_is_condemned_for_a_step_of_the_clock(seconds: float) -> None:
    story = Story()
    story.join("w1", "w2")
    story.wait(10.0, "w1", "w2")
    step(story, seconds)
    story.wait(60.0, "w1", "w2")
    assert not story.told(WorkerSuspected)
    assert len(story.told(DetectorDegraded)) == 1


@pytest.mark.parametrize("seconds", [30.0, 3_600.0, -15.75, -3_600.0])
def test_who_dies_under_a_step_of_the_clock_is_missed_as_soon_as_ever(seconds: float) -> None:
    story = Story()
    story.join("w1", "w2")
    story.wait(10.0, "w1", "w2")
    step(story, seconds)
    begun = story.now
    story.wait(20.0, "w1")
    (failed,) = [recorded for recorded in story.records if isinstance(recorded.event, WorkerFailed)]
    assert failed.time - begun == 15.0
    event = failed.event
    assert isinstance(event, WorkerFailed)
    assert event.worker_id == "w2"
    assert event.evidence is not None
    assert event.evidence.silence_s is not None
    assert event.evidence.silence_s >= 15.0


@pytest.mark.parametrize("seconds", [3_600.0, -3_600.0])
def test_whoever_is_being_brought_back_keeps_its_time(seconds: float) -> None:
    story = Story()
    story.join("w1", "w2")
    story.wait(16.0, "w2")
    assert len(story.told(WorkerRecoveryStarted)) == 1
    step(story, seconds)
    begun = story.now
    story.wait(14.0, "w2")
    assert not story.told(WorkerRecoveryFailed)
    story.wait(30.0, "w2")
    first = next(recorded for recorded in story.records if isinstance(recorded.event, WorkerRecoveryFailed))
    assert 15.0 <= first.time - begun <= 30.0


def test_a_wait_for_the_next_attempt_does_not_grow_by_the_step() -> None:
    story = Story()
    story.join("w1", "w2")
    story.wait(45.0, "w2")
    attempt = story.worker("w1").attempt
    assert attempt is not None
    assert (attempt.number, attempt.status) == (2, "scheduled")
    begun = len(story.told(WorkerRecoveryStarted))
    step(story, -7_200.0)
    longest = Policy().recovery_interval
    story.wait(longest - 0.1, "w2")
    assert len(story.told(WorkerRecoveryStarted)) == begun, "how much of the wait was over is not known any more"
    story.wait(0.1, "w2")
    assert len(story.told(WorkerRecoveryStarted)) == begun + 1


def test_both_orders_of_reading_give_the_same_state() -> None:
    """Heartbeats and events are folded apart: what was heard before a doubt may be read after it."""
    story = Story(lead=False)
    story.join("w1", "w2")
    story.now -= 30.0
    doubt(story, extent_s=-30.0)
    story.now += 2.0
    story.beat("w1")
    again = folded(story.records, story.beats)
    assert plain(again.beats) == plain(story.state.beats)
    for worker_id in ("w1", "w2"):
        assert again.timers.get(worker_id) == story.state.timers.get(worker_id)
    assert story.state.timers.get("w2") == story.now - 2.0 + 6.0
