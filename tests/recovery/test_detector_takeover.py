"""A new leader: what it may hold against a worker that fell silent before its election."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.clock import seconds
from events.policy import Policy
from events.system import DetectorDegraded, LeaderElected, WatchContinued
from events.worker import WorkerFailed, WorkerSuspected
from recovery.core import awaits_witness
from tests.recovery.story import BEGIN, Story, folded, policy_changed
from tests.replay.wrong import checked


def farm_of(*worker_ids: str, policy: Policy | None = None, lived: float = 60.0) -> Story:
    story = Story(policy)
    story.join(*worker_ids)
    story.wait(lived, *worker_ids)
    return story


def unled(story: Story, seconds: float, *beating: str) -> None:
    """The leader is gone, and workers beat on."""
    story.leading = False
    story.wait(seconds, *beating)


def elect(story: Story) -> float:
    story.leading = False
    story.tell(LeaderElected(coordinator_id="c2", term=2))
    story.leading = True
    story.settle()
    return story.now


def failures(story: Story) -> dict[str, float]:
    return {event.worker_id: BEGIN + at for at, event in story.timed(WorkerFailed)}


@pytest.mark.parametrize("away", [0.5, 4.0, 10.0, 14.0])
@pytest.mark.parametrize("before", [0.0, 3.0, 9.0])
def test_who_has_died_is_found_as_soon_as_ever(away: float, before: float) -> None:
    """Its last heartbeat is in the stream, and so are those of others, all along."""
    story = farm_of("w1", "w2", "w3")
    died = story.now
    story.wait(before, "w2", "w3")
    unled(story, away, "w2", "w3")
    elected = elect(story)
    story.wait(20.0, "w2", "w3")
    ((_, continued),) = story.timed(WatchContinued)
    assert continued.witness in ("w2", "w3")
    assert seconds(continued.since) <= died
    assert failures(story) == {"w1": pytest.approx(max(died + 15.0, elected + 2.0), abs=2.1)}
    assert failures(story)["w1"] >= died + 15.0
    assert checked(story, reproduce=True) == []


def test_nobody_is_condemned_for_a_time_in_which_the_broker_was_away() -> None:
    story = farm_of("w1", "w2", "w3")
    unled(story, 30.0)
    elected = elect(story)
    story.wait(8.0, "w2", "w3")
    story.wait(30.0, "w1", "w2", "w3")
    assert failures(story) == {}
    assert all(seconds(event.since) > elected - 2.5 for event in story.told(WatchContinued))
    assert checked(story, reproduce=True) == []


def test_what_came_back_before_the_election_counts_from_there() -> None:
    story = farm_of("w1", "w2", "w3")
    unled(story, 30.0)
    back = story.now
    unled(story, 10.0, "w2", "w3")
    elect(story)
    story.wait(40.0, "w2", "w3")
    ((_, continued),) = story.timed(WatchContinued)
    assert seconds(continued.since) == back
    assert failures(story) == {"w1": pytest.approx(back + 15.0, abs=0.1)}
    assert checked(story, reproduce=True) == []


def test_whose_heartbeats_have_gaps_is_no_witness() -> None:
    story = farm_of("w1", "w2", "w3")
    unled(story, 6.0, "w2", "w3")
    elected = elect(story)
    for _ in range(10):
        story.wait(3.0)
        story.beat("w2", "w3")
    assert not story.told(WatchContinued)
    assert failures(story) == {"w1": pytest.approx(elected + 15.0, abs=0.1)}


def test_one_alone_has_no_witness() -> None:
    story = farm_of("w1")
    unled(story, 10.0)
    elected = elect(story)
    story.wait(20.0)
    assert failures(story) == {"w1": pytest.approx(elected + 15.0, abs=0.1)}


def test_a_witness_that_has_fallen_silent_itself_says_nothing() -> None:
    """The leader doubts itself instead, and a decision that this makes void is none."""
    story = farm_of("w1", "w2", lived=10.0)
    elect(story)
    story.wait(1.0)
    story.beat("w1", "w2")
    unled(story, 10.0)  # it has been stopped
    story.leading = True
    story.settle()
    assert [event.reason for event in story.told(DetectorDegraded)] == ["mass_silence"]
    assert not story.told(WatchContinued)
    assert checked(story, reproduce=True) == []


def test_a_doubt_of_the_former_leader_stays_in_force() -> None:
    story = farm_of("w1", "w2", "w3")
    story.wait(4.0, "w2", "w3")
    story.tell(DetectorDegraded(reason="stream_lag", extent_s=3.0, heartbeats_sequence=story.state.heartbeats_sequence))
    doubted = story.now
    unled(story, 5.0, "w2", "w3")
    elect(story)
    story.wait(20.0, "w2", "w3")
    ((_, continued),) = story.timed(WatchContinued)
    assert seconds(continued.since) == doubted
    assert failures(story) == {"w1": pytest.approx(doubted + 15.0, abs=0.1)}
    assert checked(story, reproduce=True) == []


def test_a_doubt_behind_the_election_ends_the_matter() -> None:
    story = farm_of("w1", "w2", "w3")
    unled(story, 5.0, "w2", "w3")
    story.leading = False
    story.tell(LeaderElected(coordinator_id="c2", term=2))
    story.tell(DetectorDegraded(reason="own_pause", extent_s=3.0, heartbeats_sequence=story.state.heartbeats_sequence))
    doubted = story.now
    assert not awaits_witness(story.state, story.now)
    story.tell(WatchContinued(since=story.records[0].envelope.time, witness="w2", heartbeat_sequence=1))  # type: ignore[union-attr] # the story's own
    assert story.state.watched_since == doubted
    story.leading = True
    story.wait(20.0, "w2", "w3")
    assert len(story.told(WatchContinued)) == 1
    assert failures(story) == {"w1": pytest.approx(doubted + 15.0, abs=0.1)}


def test_it_is_not_waited_for_when_it_cannot_matter_any_more() -> None:
    story = farm_of("w1", "w2")
    elected = elect(story)
    assert awaits_witness(story.state, elected + 29.0)
    assert not awaits_witness(story.state, elected + 30.0)


def test_a_young_farm_gives_what_it_has() -> None:
    story = farm_of("w1", "w2", "w3", lived=5.0)
    died = story.now
    unled(story, 3.0, "w2", "w3")
    elect(story)
    story.wait(20.0, "w2", "w3")
    assert failures(story) == {"w1": pytest.approx(died + 15.0, abs=2.1)}
    assert checked(story, reproduce=True) == []


def test_a_margin_as_small_as_a_step_that_nobody_notices_is_none() -> None:
    story = farm_of("w1", "w2", "w3", policy=Policy(self_fence_after=14.5))
    unled(story, 5.0, "w2", "w3")
    elected = elect(story)
    story.wait(20.0, "w2", "w3")
    assert not story.told(WatchContinued)
    assert failures(story) == {"w1": pytest.approx(elected + 15.0, abs=0.1)}


def test_what_a_witness_may_have_lived_by_decides_what_a_gap_is() -> None:
    """Slowed down, it may be late by the time of a step that its old pace would have shown."""
    story = farm_of("w1", "w2", "w3", policy=Policy(heartbeat_interval=1.0, self_fence_after=12.5))
    story.tell(policy_changed(Policy()))
    unled(story, 5.0, "w2", "w3")
    elect(story)
    story.wait(20.0, "w2", "w3")
    assert story.state.rules.fence_margin_min == 2.5
    assert story.told(WatchContinued), "2.5 s at most from one to the next, and 0.9 s at least"
    story.tell(policy_changed(Policy(heartbeat_interval=1.0, self_fence_after=13.5)))
    story.tell(policy_changed(Policy()))
    unled(story, 5.0, "w2", "w3")
    elect(story)
    story.wait(20.0, "w2", "w3")
    assert len(story.told(WatchContinued)) == 1


def test_who_is_over_is_no_witness() -> None:
    story = farm_of("w1", "w2")
    unled(story, 3.0, "w2")
    story.leading = False
    story.tell(LeaderElected(coordinator_id="c2", term=2))
    story.tell(WorkerFailed(worker_id="w2", reason="synthetic"), synthetic="test")
    story.beat("w2")
    story.leading = True
    story.settle()
    assert not story.told(WatchContinued)


@settings(deadline=None, max_examples=40)
@given(
    st.floats(0.0, 14.0),
    st.floats(0.0, 12.0),
    st.one_of(st.floats(0.0, 3.0), st.floats(-20.0, 20.0)),
    st.lists(st.floats(0.9, 1.1), min_size=8, max_size=8),
)
def test_a_step_that_nobody_saw_fails_nobody_before_its_fence(
    before: float, after: float, step: float, jitters: list[float]
) -> None:
    """Between two leaders the broker's clock is set. What it shows of the silence of a worker is not what has passed;
    but when that worker is failed, it has fenced itself by any clock."""
    story = farm_of("w1", "w2", "w3")
    died = story.now
    unled(story, before, "w2", "w3")
    story.now += step
    for jitter in jitters:
        if after > 0.0:
            story.wait(min(after, 2.0 * jitter))
            story.beat("w2", "w3")
        after -= 2.0 * jitter
    elect(story)
    for jitter in jitters * 4:
        story.wait(2.0 * jitter)
        story.beat("w2", "w3")
    failed = failures(story)
    if "w1" in failed:
        assert failed["w1"] - step - died > 12.0
    else:
        assert step < -10.0, "its last heartbeat bears a time that is still to come"
    again = folded(story.records, story.beats)
    assert again.watched_since == story.state.watched_since


def test_a_dead_worker_is_suspected_first() -> None:
    story = farm_of("w1", "w2", "w3")
    unled(story, 25.0, "w2", "w3")
    elect(story)
    story.wait(5.0, "w2", "w3")
    assert [event.worker_id for event in story.told(WorkerSuspected)] == ["w1"]
    assert list(failures(story)) == ["w1"]
