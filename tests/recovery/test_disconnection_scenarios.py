"""Workers whose connections were closed: proof fails them at once, and a hint makes them suspect and no more."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.policy import Policy
from events.task import TaskRequeued
from events.worker import (
    WorkerDisconnected,
    WorkerDraining,
    WorkerExited,
    WorkerFailed,
    WorkerRecoveryScheduled,
    WorkerStopped,
    WorkerSuspected,
    WorkerSuspicionRefuted,
    WorkerVanished,
)
from tests.recovery.story import Story, registered, submitted


def vanished(story: Story, incarnation: int | None = None) -> WorkerVanished:
    own = story.worker("w1").incarnation if incarnation is None else incarnation
    return WorkerVanished(worker_id="w1", incarnation=own, machine="m1", lifeline="l1", reason="Client Closed")


def disconnected(story: Story, incarnation: int | None = None) -> WorkerDisconnected:
    own = story.worker("w1").incarnation if incarnation is None else incarnation
    beat = story.state.last_beat(story.worker("w1"))
    known = 0 if beat is None else beat.sequence
    return WorkerDisconnected(worker_id="w1", incarnation=own, reason="Client Closed", heartbeat_sequence=known)


def working() -> Story:
    """w1 runs t1; w2 is there to take it over."""
    story = Story()
    story.join("w1")
    story.tell(submitted("t1"))
    story.start("t1")
    story.join("w2")
    return story


def test_what_has_vanished_is_failed_at_once_and_its_task_goes_elsewhere() -> None:
    story = working()
    story.tell(vanished(story))
    ((failed_at, failed),) = story.timed(WorkerFailed)
    assert (failed.worker_id, failed.reason, failed_at) == ("w1", "disconnected", 0.0)
    assert failed.evidence is not None
    reported = story.records[failed.evidence.event_sequence - 1]
    assert isinstance(reported.event, WorkerVanished)
    assert "Client Closed" in failed.message
    (requeued,) = story.told(TaskRequeued)
    assert (requeued.task_id, requeued.reason) == ("t1", "worker_failed")
    assert story.task("t1").worker_id == "w2"
    assert [event.strategy for event in story.told(WorkerRecoveryScheduled)] == ["await"]


@pytest.mark.parametrize("first", ["suspected", "draining", "cut off"])
def test_what_has_vanished_is_failed_whatever_was_thought_of_it(first: str) -> None:
    story = working()
    if first == "suspected":
        story.wait(6.5, "w2")
    elif first == "draining":
        story.tell(WorkerDraining(worker_id="w1", incarnation=story.worker("w1").incarnation))
    else:
        story.tell(disconnected(story))
    story.tell(vanished(story))
    assert [event.reason for event in story.told(WorkerFailed)] == ["disconnected"]


def test_nobody_vanishes_twice_or_after_an_orderly_end() -> None:
    story = working()
    story.tell(WorkerStopped(worker_id="w1", incarnation=story.worker("w1").incarnation), vanished(story))
    story.tell(vanished(story))
    assert not story.told(WorkerFailed)
    assert story.state.ignored["worker.vanished"] == 2


def test_an_old_incarnation_may_vanish() -> None:
    story = working()
    former = story.worker("w1").incarnation
    story.tell(registered("w1"), vanished(story, former), disconnected(story, former))
    assert not story.told(WorkerFailed)
    assert not story.told(WorkerSuspected)


def test_who_is_cut_off_is_suspected_at_once_and_keeps_its_task() -> None:
    story = working()
    story.wait(1.0, "w1", "w2")
    story.tell(disconnected(story), submitted("t2"))
    ((suspected_at, suspected),) = story.timed(WorkerSuspected)
    assert (suspected.worker_id, suspected_at) == ("w1", 1.0)
    assert isinstance(story.records[suspected.evidence.event_sequence - 1].event, WorkerDisconnected)
    assert suspected.evidence.threshold_s == Policy().reconnect_grace
    assert (story.task("t1").status, story.task("t2").worker_id) == ("running", "w2")
    story.beat("w1")
    assert [event.worker_id for event in story.told(WorkerSuspicionRefuted)] == ["w1"]
    # One disconnection makes one suspicion.
    story.wait(5.0, "w1", "w2")
    assert len(story.told(WorkerSuspected)) == 1


def test_who_is_cut_off_and_stays_silent_is_failed_for_its_silence_and_no_sooner() -> None:
    story = working()
    story.tell(disconnected(story))
    story.wait(14.9, "w2")
    assert not story.told(WorkerFailed)
    story.wait(0.2, "w2")
    assert [event.reason for event in story.told(WorkerFailed)] == ["silence"]


def test_who_was_heard_since_is_not_suspected() -> None:
    story = working()
    found = disconnected(story)
    story.beat("w1")
    story.tell(found)
    assert not story.told(WorkerSuspected)


def test_who_never_beat_is_suspected_and_given_the_time_for_a_first_heartbeat() -> None:
    story = Story()
    story.tell(registered("w1"))
    story.tell(disconnected(story))
    assert len(story.told(WorkerSuspected)) == 1
    story.wait(29.9)
    assert not story.told(WorkerFailed)
    story.wait(0.1)
    assert [event.reason for event in story.told(WorkerFailed)] == ["no_first_heartbeat"]


def test_a_report_of_its_supervisor_comes_behind_a_disconnection() -> None:
    story = working()
    story.tell(disconnected(story))
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, signal=9))
    assert [event.reason for event in story.told(WorkerFailed)] == ["worker_exit"]


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.0, 1.9), st.booleans()), max_size=30))
def test_disconnections_alone_never_fail_a_worker_that_beats(steps: list[tuple[float, bool]]) -> None:
    story = working()
    for pause, cut in steps:
        if cut:
            story.tell(disconnected(story))
        story.wait(pause, "w2")
        story.beat("w1")
        assert story.worker("w1").status == "alive"
    assert not story.told(WorkerFailed)
    assert story.task("t1").status == "running"
