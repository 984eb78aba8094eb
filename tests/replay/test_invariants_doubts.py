"""A leader that doubts its own eyes: when it may decide so, and what nobody may be blamed for afterwards."""

from typing import Any

import pytest

from events.clock import utc
from events.system import DetectorDegraded
from events.worker import Evidence, WorkerFailed, WorkerSuspected
from tests.recovery.story import Story
from tests.replay.wrong import checked, decided, farm


def doubt(story: Story, **changes: Any) -> DetectorDegraded:
    said: dict[str, Any] = {"reason": "mass_silence", "extent_s": 6.0, "heartbeats_sequence": len(story.beats)}
    return DetectorDegraded(**said | changes)


def suspected(story: Story, silence_s: float) -> WorkerSuspected:
    evidence = Evidence(heartbeat_sequence=story.state.beats["w1"].sequence, silence_s=silence_s, threshold_s=6.0)
    return WorkerSuspected(worker_id="w1", incarnation=story.worker("w1").incarnation, evidence=evidence)


def test_a_common_silence_and_all_that_follows_is_in_order() -> None:
    story = Story()
    story.join("w1", "w2", "w3")
    story.wait(10.0, "w1", "w2", "w3")
    story.wait(30.0)
    assert len(story.told(DetectorDegraded)) == 1
    assert len(story.told(WorkerFailed)) == 3
    story.come_back("w1")
    assert checked(story, reproduce=True) == []


@pytest.mark.parametrize("seconds", [30.0, -15.75, 3_600.0, -3_600.0])
def test_a_step_of_the_clock_and_all_that_follows_is_in_order(seconds: float) -> None:
    story = Story()
    story.join("w1", "w2", "w3")
    story.wait(40.0, "w1", "w2")
    story.leading = False
    story.now += seconds
    story.tell(doubt(story, reason="clock_step", extent_s=seconds))
    story.leading = True
    story.wait(100.0, "w1")
    assert {event.worker_id for event in story.told(WorkerFailed)} == {"w2", "w3"}
    assert checked(story, reproduce=True) == []


@pytest.mark.parametrize(
    ("silent_s", "beating", "changes", "sentence"),
    [
        (5.0, [], {"extent_s": 5.0}, "judgement is put off for mass_silence of 5.000 s"),
        (7.0, [], {"reason": "clock_step"}, "judgement is put off for clock_step"),
        (8.0, ["w2"], {}, "w2 was heard"),
    ],
)
def test_judgement_is_put_off_by_decision_for_a_common_silence_alone(
    silent_s: float, beating: list[str], changes: dict[str, Any], sentence: str
) -> None:
    story = farm()
    story.wait(silent_s, *beating)
    sequence = decided(story, doubt(story, **changes))
    violation, *_ = checked(story)
    assert (violation.invariant, violation.sequence) == ("failed-on-evidence", sequence)
    assert violation.sentence.startswith(sentence)


def test_the_silence_of_one_is_not_common() -> None:
    story = Story(checks=False)
    story.join("w1")
    story.leading = False
    story.wait(7.0)
    sequence = decided(story, doubt(story))
    (violation,) = checked(story)
    assert violation.sequence == sequence
    assert violation.sentence.endswith("with 1 live workers")


@pytest.mark.parametrize(("later_s", "wrong"), [(5.9, True), (6.0, False)])
def test_no_silence_counts_from_before_a_doubt(later_s: float, wrong: bool) -> None:
    story = farm()
    story.wait(10.0)
    story.tell(doubt(story, reason="own_pause", extent_s=10.0))
    story.wait(later_s)
    sequence = decided(story, suspected(story, 10.0 + later_s))
    found = [(one.invariant, one.sequence) for one in checked(story)]
    assert found == ([("failed-on-evidence", sequence)] if wrong else [])


def test_what_was_heard_before_a_step_back_is_not_heard_in_the_future() -> None:
    story = farm()
    story.wait(10.0, "w1", "w2")
    story.now -= 3_600.0
    story.tell(doubt(story, reason="clock_step", extent_s=-3_600.0))
    story.wait(6.0)
    decided(story, suspected(story, 6.0), decided_at=utc(story.now))
    assert checked(story) == []
