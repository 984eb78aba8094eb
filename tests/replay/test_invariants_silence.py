"""By which rules a leader judges silence, from when on it counts, and how slowly a farm beats: what is no decision."""

from typing import Any

import pytest

from events.clock import utc
from events.policy import Policy
from events.system import DetectorDegraded, LeaderElected, PaceChanged, WatchContinued
from events.worker import Evidence, WorkerFailed, WorkerSuspected
from tests.recovery.story import Story, policy_changed
from tests.replay.wrong import checked, decided, farm

QUICK = Policy(heartbeat_interval=0.5, suspect_after=2.0, self_fence_after=3.0, failed_after=4.0)


def blamed(story: Story, invariant: str, sequence: int) -> list[str]:
    """What is said of the decision at that sequence, and of nothing else."""
    found = checked(story)
    assert {(one.invariant, one.sequence) for one in found} <= {(invariant, sequence)}
    return [one.sentence for one in found]


def silenced(story: Story, silence_s: float, threshold_s: float) -> tuple[WorkerSuspected, WorkerFailed]:
    evidence = Evidence(
        heartbeat_sequence=story.state.beats["w1"].sequence, silence_s=silence_s, threshold_s=threshold_s
    )
    about: dict[str, Any] = {"worker_id": "w1", "incarnation": story.worker("w1").incarnation, "evidence": evidence}
    return WorkerSuspected(**about), WorkerFailed(**about, reason="silence")


# The rules that a worker lives by


@pytest.mark.parametrize(("hears", "wrong"), [(False, True), (True, False)])
def test_a_worker_is_judged_by_the_rules_that_it_knows(*, hears: bool, wrong: bool) -> None:
    story = farm()
    story.tell(policy_changed(QUICK))
    story.beat("w1", rules=story.last if hears else 0)
    story.wait(5.0, "w2")
    suspected, failed = silenced(story, 5.0, 4.0)
    sequence = decided(story, suspected)
    assert bool(blamed(story, "failed-on-evidence", sequence)) == wrong
    story.wait(5.0, "w2")
    story = farm()
    story.tell(policy_changed(QUICK))
    story.beat("w1", rules=story.last if hears else 0)
    story.wait(7.0, "w2")
    decided(story, silenced(story, 7.0, 6.0)[0])
    sequence = decided(story, failed)
    sentences = blamed(story, "failed-on-evidence", sequence)
    assert sentences == (["it is failed after 5.0 s of silence: 15 are needed"] if wrong else [])


def test_without_heartbeats_the_rules_in_force_are_the_least_that_is_needed() -> None:
    story = farm()
    story.tell(policy_changed(QUICK))
    story.wait(7.0, "w2")
    sequence = decided(story, silenced(story, 1.5, 1.5)[0])
    (violation,) = checked(story, beats=())
    assert (violation.sequence, violation.sentence) == (sequence, "it is suspected after 1.5 s: 2 are needed")


# After a take-over


def taken_over() -> Story:
    story = farm()
    story.wait(20.0, "w1", "w2")
    story.wait(3.0, "w2")
    story.tell(LeaderElected(coordinator_id="c2", term=2))
    return story


def continued(story: Story, since_s: float = -10.0, witness: str = "w2") -> WatchContinued:
    beat = story.state.beats.get(witness)
    return WatchContinued(
        since=utc(story.now + since_s), witness=witness, heartbeat_sequence=0 if beat is None else beat.sequence
    )


def test_a_watch_that_was_continued_is_in_order() -> None:
    story = taken_over()
    story.wait(2.0, "w2")
    decided(story, continued(story))
    story.wait(4.0, "w2")
    decided(story, silenced(story, 6.0, 6.0)[0])
    assert checked(story) == []


def test_silence_counts_from_where_it_is_continued_and_no_further() -> None:
    story = taken_over()
    story.wait(2.0, "w2")
    decided(story, continued(story, -3.0))
    story.wait(2.5, "w2")
    sequence = decided(story, silenced(story, 6.0, 6.0)[0])
    (sentence,) = blamed(story, "failed-on-evidence", sequence)
    assert sentence == "it has been watched in silence for 5.500 s: 6 are needed"


def test_a_witness_must_have_been_heard_since() -> None:
    story = taken_over()
    story.now += 1.0
    assert blamed(story, "failed-on-evidence", decided(story, continued(story))) == [
        "w2 has not been heard since the take-over"
    ]


def test_a_witness_must_live() -> None:
    story = taken_over()
    story.wait(2.0, "w2")
    assert blamed(story, "failed-on-evidence", decided(story, continued(story, witness="w9"))) == [
        "w9 is no worker that can bear witness"
    ]


def test_a_witness_is_cited_with_its_last_heartbeat() -> None:
    story = taken_over()
    story.wait(2.0, "w2")
    event = continued(story)
    story.beat("w2")
    sequence = decided(story, event)
    assert blamed(story, "failed-on-evidence", sequence) == [
        f"heartbeat {event.heartbeat_sequence} is not the last one of w2"
    ]


def test_nothing_is_continued_twice_nor_without_need() -> None:
    story = taken_over()
    story.wait(2.0, "w2")
    decided(story, continued(story))
    for sequence in (decided(story, continued(story)), decided(story, continued(story, 1.0))):
        assert "silence does not count from a take-over" in [one.sentence for one in checked(story)]
        assert sequence in [one.sequence for one in checked(story)]


def test_a_doubt_is_not_passed_over() -> None:
    story = farm()
    story.wait(20.0, "w1", "w2")
    story.tell(DetectorDegraded(reason="own_pause", extent_s=2.0, heartbeats_sequence=len(story.beats)))
    story.wait(2.0, "w1", "w2")
    story.tell(LeaderElected(coordinator_id="c2", term=2))
    story.wait(2.0, "w2")
    assert blamed(story, "failed-on-evidence", decided(story, continued(story))) == ["a doubt is passed over"]


# The pace


def paced(stretch: float, workers_live: int = 2) -> PaceChanged:
    return PaceChanged(stretch=stretch, heartbeat_interval_s=2.0 * stretch, workers_live=workers_live)


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (paced(2.5), None),
        (paced(1.0), "at 1 times the interval there are 1 heartbeats a second, as before or too many"),
        (paced(1.5), "at 1.5 times the interval there are 0.666667 heartbeats a second, as before or too many"),
        (paced(3.0, 3), "3 live workers are counted; the log gives 2"),
    ],
)
def test_a_farm_is_slowed_down_by_enough(event: PaceChanged, sentence: str | None) -> None:
    story = Story(checks=False)
    story.join("w1", "w2")
    story.leading = False
    story.tell(policy_changed(Policy(heartbeat_rate_max=0.5)))
    assert blamed(story, "status-true", decided(story, event)) == ([] if sentence is None else [sentence])


def test_a_pace_stretches_what_is_needed() -> None:
    story = farm()
    story.tell(paced(2.0))
    story.beat("w1")
    story.wait(7.0, "w2")
    sequence = decided(story, silenced(story, 7.0, 6.0)[0])
    assert blamed(story, "failed-on-evidence", sequence) == [
        "it is suspected after 7.0 s: 12 are needed",
        "it has been watched in silence for 7.000 s: 12 are needed",
    ]
