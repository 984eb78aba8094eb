"""However large the farm, it sends no more than so many heartbeats a second; and silence is judged accordingly."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.policy import Policy
from events.system import PaceChanged
from events.worker import WorkerFailed, WorkerStopped, WorkerSuspected
from tests.recovery.story import Story, folded, policy_changed
from tests.replay.wrong import checked

CROWDED = Policy(heartbeat_rate_max=1.0)
"""Two workers may beat every two seconds."""


def farm_of(count: int, policy: Policy = CROWDED) -> Story:
    story = Story(policy)
    story.join(*(f"w{number}" for number in range(count)))
    return story


def stop(story: Story, *worker_ids: str) -> None:
    story.tell(
        *(WorkerStopped(worker_id=one, incarnation=story.worker(one).incarnation) for one in worker_ids),
    )


def paces(story: Story) -> list[tuple[float, float, int]]:
    return [(event.stretch, event.heartbeat_interval_s, event.workers_live) for event in story.told(PaceChanged)]


def test_a_farm_that_fits_keeps_its_pace() -> None:
    assert paces(farm_of(2)) == []
    assert paces(farm_of(5, Policy())) == []


def test_it_slows_down_with_some_to_spare_and_speeds_up_late() -> None:
    story = farm_of(3)
    assert paces(story) == [(1.875, 3.75, 3)]
    story.join("w3")
    assert paces(story)[1:] == [(2.5, 5.0, 4)]
    story.join("w4")
    assert len(paces(story)) == 2, "there was some to spare"
    stop(story, "w0", "w1")
    assert len(paces(story)) == 2, "and it may be needed again"
    stop(story, "w2")
    assert paces(story)[2:] == [(1.25, 2.5, 2)]
    stop(story, "w3")
    assert paces(story)[3:] == [(1.0, 2.0, 1)]
    assert checked(story, reproduce=True) == []


def test_silence_is_judged_by_the_pace() -> None:
    story = farm_of(3)
    story.beat("w0", "w1", "w2")
    story.wait(60.0, "w1", "w2")
    assert [at for at, _ in story.timed(WorkerSuspected)] == [6.0 * 1.875]
    assert [at for at, _ in story.timed(WorkerFailed)] == [15.0 * 1.875]
    assert checked(story, reproduce=True) == []


def test_who_has_not_heard_that_it_may_beat_more_often_is_given_the_time_it_was_told() -> None:
    story = farm_of(3)
    slow = story.state.rules.sequence
    story.beat("w0", "w1", "w2")
    stop(story, "w1", "w2")
    assert paces(story)[-1] == (1.0, 2.0, 1)
    story.beat("w0", rules=slow)
    story.wait(60.0)
    assert [at for at, _ in story.timed(WorkerFailed)] == [15.0 * 1.875]


def test_a_policy_finds_the_pace_as_it_is() -> None:
    story = farm_of(3)
    story.tell(policy_changed(Policy(heartbeat_rate_max=0.5)))
    assert paces(story)[1:] == [(3.75, 7.5, 3)]
    story.tell(policy_changed(Policy()))
    assert paces(story)[2:] == [(1.0, 2.0, 3)]


@pytest.mark.parametrize("rate", [5e-324, 1e-300, 1e-6])
def test_no_rate_is_too_small_to_be_reckoned_with(rate: float) -> None:
    story = farm_of(1, Policy(heartbeat_rate_max=rate))
    assert [stretch for stretch, _, _ in paces(story)] == [min(1_000_000.0, 0.625 / rate)]


@given(st.lists(st.integers(-3, 3), max_size=40))
def test_the_rate_is_kept_and_changes_are_few(steps: list[int]) -> None:
    """Between two changes the farm has grown, or shrunk by much more than that."""
    story, joined, here = Story(CROWDED, checks=False), 0, list[str]()
    for step in steps:
        for _ in range(step):
            here.append(f"w{joined}")
            story.join(here[-1])
            joined += 1
        leaving, here = here[: max(0, -step)], here[max(0, -step) :]
        stop(story, *leaving)
        rules = story.state.rules
        assert len(here) / rules.heartbeat_interval <= CROWDED.heartbeat_rate_max
        assert rules.stretch == 1.0 or len(here) / 2.0 > 0.5 * rules.stretch
    told = paces(story)
    for (before, _, crowd), (after, _, later) in pairwise(told):
        assert later > crowd if after > before else later < crowd
        assert after > before or before == 1.0 or later <= before
    again = folded(story.records, story.beats)
    assert repr(again.rules) == repr(story.state.rules)
