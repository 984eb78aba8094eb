"""The log has lost its tail, and hands out the numbers of incarnations again. Heartbeats that outlived the loss name
incarnations that nobody knows any more, and higher ones than there are."""

import pytest

from events.clock import utc
from events.system import DetectorDegraded
from events.task import TaskAssigned, TaskCompleted
from events.worker import (
    Heartbeat,
    RecordedHeartbeat,
    WorkerDisconnected,
    WorkerFailed,
    WorkerSuspected,
)
from recovery.core import decide, forget_beats, observe
from tests.recovery.story import BEGIN, Story, registered, submitted
from tests.replay.wrong import agreed


def survivors(story: Story, *incarnations: int, worker_id: str = "w1", age_s: float = 100.0) -> None:
    """Heartbeats from before the loss, as whoever starts anew reads them, one after another."""
    for incarnation in incarnations:
        heartbeat = Heartbeat(worker_id=worker_id, incarnation=incarnation, beat=1, sent_at=utc(BEGIN - age_s))
        story.beats.append(RecordedHeartbeat(len(story.beats) + 1, BEGIN - age_s, heartbeat))
        observe(story.state, story.beats[-1])


@pytest.mark.parametrize(
    "incarnations",
    [
        (500,),
        (500, 700),
        (700, 500),
        (4,),  # by and by the log has as many events as that
        (30, 9, 4, 1),
    ],
)
@pytest.mark.parametrize("first_beat_after", [0.0, 20.0])
def test_a_worker_is_heard_whatever_its_earlier_incarnations_were_called(
    incarnations: tuple[int, ...], first_beat_after: float
) -> None:
    story = Story()
    survivors(story, *incarnations)
    story.wait(20.0)
    story.tell(registered("w1"), submitted("t1"))
    story.wait(first_beat_after)
    story.wait(40.0, "w1")
    assert story.told(WorkerSuspected) == []
    assert story.told(WorkerFailed) == []
    story.start("t1")
    story.finish("t1")
    story.tell(*(submitted(f"t{number}") for number in range(2, 40)))
    story.wait(20.0, "w1")
    assert story.told(WorkerFailed) == []
    assert len(story.told(TaskCompleted)) == 1
    agreed(story)


def test_one_that_dies_is_missed_as_ever() -> None:
    story = Story()
    survivors(story, 500)
    story.tell(registered("w1"), registered("w2"))
    story.wait(10.0, "w1", "w2")
    story.wait(20.0, "w2")
    [failed] = story.told(WorkerFailed)
    assert (failed.worker_id, failed.reason) == ("w1", "silence")
    assert failed.evidence is not None
    assert failed.evidence.silence_s == pytest.approx(15.0, abs=2.1)
    agreed(story)


def test_one_that_never_beats_is_missed_as_ever() -> None:
    story = Story()
    survivors(story, 500)
    story.wait(20.0)
    story.tell(registered("w1"))
    story.wait(29.0)
    assert story.told(WorkerFailed) == []
    story.wait(2.0)
    [failed] = story.told(WorkerFailed)
    assert failed.reason == "no_first_heartbeat"
    agreed(story)


def test_the_very_same_number_costs_one_condemnation() -> None:
    """Nothing tells its heartbeats from those of long ago. The worker hears that it is given up, and registers anew."""
    story = Story()
    survivors(story, story.last + 1)
    story.wait(20.0)
    story.tell(registered("w1"))
    assert len(story.told(WorkerFailed)) == 1
    story.come_back("w1")
    story.wait(40.0, "w1")
    assert len(story.told(WorkerFailed)) == 1
    agreed(story)


def test_whoever_reads_all_heartbeats_agrees_with_a_leader_that_has_forgotten_some() -> None:
    """That leader had read them before the loss. A later one, and replay, read the whole stream."""
    story = Story()
    survivors(story, 500)
    story.wait(5.0)
    through = len(story.beats)
    forget_beats(story.state, through)
    story.tell(DetectorDegraded(reason="heartbeats_lost", extent_s=0.0, heartbeats_sequence=through))
    story.tell(registered("w1"), submitted("t1"))
    story.wait(40.0, "w1")
    assert len(story.told(TaskAssigned)) == 1
    story.wait(20.0)
    assert len(story.told(WorkerFailed)) == 1
    agreed(story)


def test_a_newer_incarnation_that_has_not_registered_still_speaks_against_the_present_one() -> None:
    """Its registration is on its way, or is not to be read: nothing more is heard of the present one."""
    story = Story()
    story.join("w1")
    story.beat("w1", incarnation=story.last + 5)
    story.wait(16.0)
    [failed] = story.told(WorkerFailed)
    assert failed.message.endswith("beats, and has not registered")
    agreed(story)


def test_a_straggler_of_an_older_incarnation_is_no_sign_of_life_of_the_newer() -> None:
    """The agent that was given up wakes, and beats, while its successor is silent."""
    story = Story()
    story.join("w1", "w2")
    old = story.worker("w1").incarnation
    story.tell(registered("w1"))
    story.beat("w1")
    for _ in range(10):
        story.wait(2.0, "w2")
        story.beat("w1", incarnation=old)
    assert [event.reason for event in story.told(WorkerFailed)] == ["silence"]
    agreed(story)


def test_a_successor_that_is_heard_before_it_is_registered_is_indexed_in_spite_of_survivors() -> None:
    story = Story()
    survivors(story, 500)
    story.tell(registered("w1"))
    story.wait(10.0)
    story.beat("w1", incarnation=story.last + 5)
    story.wait(20.0)
    ((at, failed),) = story.timed(WorkerFailed)
    assert (at, failed.reason) == (25.0, "silence"), "failed_after its successor's heartbeat, and no later"


def test_one_without_a_connection_whose_successor_is_heard_first() -> None:
    story = Story()
    survivors(story, 500)
    story.join("w1")
    story.leading = False
    own = story.worker("w1").incarnation
    story.tell(WorkerDisconnected(worker_id="w1", incarnation=own, reason="reset", heartbeat_sequence=2))
    story.beat("w1", incarnation=story.last + 5)
    assert decide(story.state, story.now) == []
    assert not story.state.timers.due(story.now)
