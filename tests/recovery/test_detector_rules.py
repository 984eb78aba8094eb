"""Thresholds of one worker among others, and of one that may not have heard of those in force."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.policy import Override, Policy
from events.system import PaceChanged, PolicyChanged
from events.thresholds import Thresholds, all_thresholds, most_patient, thresholds_for
from events.worker import WorkerFailed, WorkerSuspected
from recovery.detectors import Deadline
from recovery.rules import KEPT_MAX, RuleBook
from tests.recovery.story import Story, folded, policy_changed, registered

FAR = Override(worker="far-*", suspect_after=10.0, self_fence_after=40.0, failed_after=45.0)
MOON = Override(labels={"site": "moon"}, failed_after=20.0, detector="deadline")
USUAL = Policy()
SPLIT = Policy(overrides=(FAR, MOON))
QUICK = Policy(heartbeat_interval=0.5, suspect_after=2.0, self_fence_after=3.0, failed_after=4.0)
SLOW_ONE = Policy(heartbeat_interval=5.0, suspect_after=20.0, self_fence_after=40.0, failed_after=60.0)
POLICIES = (USUAL, SPLIT, QUICK, SLOW_ONE)


def paced(stretch: float, workers_live: int = 1) -> PaceChanged:
    return PaceChanged(stretch=stretch, heartbeat_interval_s=2.0 * stretch, workers_live=workers_live)


# Whose thresholds


@pytest.mark.parametrize(
    ("worker_id", "labels", "expected"),
    [
        ("w1", {}, Thresholds(2.0, 6.0, 12.0, 15.0, 30.0, "phi")),
        ("far-7", {}, Thresholds(2.0, 10.0, 40.0, 45.0, 45.0, "phi")),
        ("w1", {"site": "moon", "gpu": "yes"}, Thresholds(2.0, 6.0, 12.0, 20.0, 30.0, "deadline")),
        ("w1", {"site": "earth"}, Thresholds(2.0, 6.0, 12.0, 15.0, 30.0, "phi")),
        ("far-7", {"site": "moon"}, Thresholds(2.0, 10.0, 40.0, 45.0, 45.0, "phi")),
        ("afar-7", {}, Thresholds(2.0, 6.0, 12.0, 15.0, 30.0, "phi")),
    ],
)
def test_the_first_override_that_fits_counts(worker_id: str, labels: dict[str, str], expected: Thresholds) -> None:
    assert thresholds_for(SPLIT, worker_id, labels) == expected
    assert expected in all_thresholds(SPLIT)


def test_a_pattern_and_labels_must_both_fit() -> None:
    policy = Policy(overrides=(Override(worker="w?", labels={"site": "far"}, failed_after=20.0),))
    fits = [(worker_id, labels) for worker_id in ("w1", "w10", "x1") for labels in ({"site": "far"}, {})]
    assert [one for one in fits if thresholds_for(policy, *one).failed_after == 20.0] == [("w1", {"site": "far"})]


def test_the_pace_stretches_everything_that_counts_time() -> None:
    assert thresholds_for(SPLIT, "far-1", {}, 2.5) == Thresholds(5.0, 25.0, 100.0, 112.5, 112.5, "phi")


def test_the_most_patient_is_so_in_each_respect() -> None:
    one, other = thresholds_for(QUICK, "w1", {}), thresholds_for(SPLIT, "w1", {"site": "moon"})
    assert most_patient([one, other]) == Thresholds(2.0, 6.0, 12.0, 20.0, 30.0, "deadline")
    assert most_patient([other, one]) == Thresholds(2.0, 6.0, 12.0, 20.0, 30.0, "phi")
    with pytest.raises(ValueError, match="not enough values"):
        most_patient([])


def test_workers_are_judged_by_their_own() -> None:
    story = Story(SPLIT)
    story.join("w1", "far-1", "w0")
    story.join("w2", labels={"site": "moon"})
    story.wait(60.0, "w0")
    assert {event.worker_id: at for at, event in story.timed(WorkerSuspected)} == {"w1": 6.0, "w2": 6.0, "far-1": 10.0}
    assert {event.worker_id: at for at, event in story.timed(WorkerFailed)} == {"w1": 15.0, "w2": 20.0, "far-1": 45.0}
    thresholds = {event.worker_id: event.evidence and event.evidence.threshold_s for event in story.told(WorkerFailed)}
    assert thresholds == {"w1": 15.0, "w2": 20.0, "far-1": 45.0}


def test_a_registration_with_other_labels_changes_whose_they_are() -> None:
    story = Story(SPLIT)
    story.join("w1")
    assert not isinstance(story.worker("w1").detector, Deadline)
    story.join("w1", labels={"site": "moon"})
    assert isinstance(story.worker("w1").detector, Deadline)


def test_a_worker_that_never_beats_is_given_the_time_in_which_it_may_hold_tasks() -> None:
    policy = Policy(suspect_after=20.0, self_fence_after=40.0, failed_after=50.0)
    assert policy.first_heartbeat_timeout < policy.failed_after
    story = Story(policy)
    story.tell(registered("w1"))
    story.wait(60.0)
    ((failed_at, failed),) = story.timed(WorkerFailed)
    assert (failed_at, failed.reason, failed.message) == (
        50.0,
        "no_first_heartbeat",
        "no heartbeat within 50 s of its registration",
    )


# What a worker knows


def test_rules_confirmed_by_a_heartbeat_count_from_there() -> None:
    story = Story(SLOW_ONE)
    story.join("w1", "w2", "w0")
    story.wait(1.0)
    story.tell(policy_changed(QUICK))
    story.beat("w1")
    story.beat("w2", rules=2)
    story.wait(70.0, "w0")
    assert {event.worker_id: at - 1.0 for at, event in story.timed(WorkerFailed)} == {"w1": 4.0, "w2": 60.0}


def test_who_has_not_beaten_lives_by_what_was_in_force_when_it_registered() -> None:
    story = Story(SLOW_ONE)
    story.tell(registered("w1"))
    story.tell(policy_changed(QUICK))
    story.tell(registered("w2"))
    story.wait(70.0)
    assert {event.worker_id: at for at, event in story.timed(WorkerFailed)} == {"w1": 60.0, "w2": 30.0}


def test_what_is_forgotten_is_not_what_is_allowed() -> None:
    """Of rules long gone only the most patient of each number is known, and that is enough."""
    book = RuleBook()
    book.change(5, SPLIT, 1.0)
    for number in range(2 * KEPT_MAX):
        book.change(10 + number, QUICK, 1.0)
    assert book.patient_detector("w1", {}, 3).thresholds.failed_after == 45.0
    assert book.patient_detector("w1", {}, 4).thresholds.suspect_after == 10.0
    assert book.patient_detector("w1", {}, 10 + 2 * KEPT_MAX).thresholds == thresholds_for(QUICK, "w1", {})
    assert len(repr(book)) < 20_000


def test_workers_share_what_they_have_in_common() -> None:
    book = RuleBook()
    book.change(5, QUICK, 1.0)
    assert book.detector("w1", {}) is book.detector("w2", {"site": "moon"})
    assert book.patient_detector("w1", {}, 4) is book.patient_detector("w2", {}, 0)
    book.change(6, SPLIT, 1.0)
    assert book.detector("w1", {}) is book.detector("w2", {})
    assert book.detector("w1", {}) is not book.detector("far-1", {})
    assert book.patient_detector("far-1", {}, 5).thresholds == thresholds_for(SPLIT, "far-1", {})


def rulings(story: Story, worker_id: str, labels: dict[str, str]) -> Iterator[tuple[int, Thresholds]]:
    """All that there have been, by their sequences. The leader itself sets the pace, too."""
    policy, stretch = USUAL, 1.0
    yield 0, thresholds_for(policy, worker_id, labels)
    for recorded in story.records:
        if isinstance(recorded.event, PolicyChanged):
            policy = recorded.event.policy
        elif isinstance(recorded.event, PaceChanged):
            stretch = recorded.event.stretch
        else:
            continue
        yield recorded.sequence, thresholds_for(policy, worker_id, labels, stretch)


def everybodys(story: Story) -> Iterator[Thresholds]:
    """The thresholds of all workers under all rules that there have been."""
    for who in (("w1", {}), ("far-1", {}), ("w1", {"site": "moon"})):
        yield from (thresholds for _, thresholds in rulings(story, *who))


# No task is given away before its worker has fenced itself

CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("policy"), st.sampled_from(range(len(POLICIES)))),
        st.tuples(st.just("pace"), st.sampled_from([1.0, 1.5, 4.0])),
        st.tuples(st.just("hear"), st.just(0)),
        st.tuples(st.just("beat"), st.floats(0.1, 3.0)),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(
    CHANGES,
    CHANGES,
    st.sampled_from([("w1", {}), ("far-1", {}), ("w1", {"site": "moon"})]),
)
def test_a_worker_that_is_cut_off_has_fenced_itself_before_it_is_failed(
    before: list[tuple[str, Any]], after: list[tuple[str, Any]], who: tuple[str, dict[str, str]]
) -> None:
    """It hears of changes when it does, names what it lives by in its heartbeats, and may learn of more behind the last
    one. Then it is cut off, and more changes follow. Whichever of the rules that it can know it fences itself by: it
    has done so when it is failed, and it is failed in bounded time."""
    worker_id, labels = who
    story = Story(checks=False)
    story.join("w0")
    story.join(worker_id, labels=labels)
    heard, named, last_beat, cut_off = 0, 0, story.now, False
    for verb, value in [*before, ("cut", 0), *after]:
        if verb in ("policy", "pace"):
            story.tell(policy_changed(POLICIES[value]) if verb == "policy" else paced(value))
        elif verb == "cut":
            cut_off = True
        elif verb == "hear" and not cut_off:
            heard = story.state.rules.sequence
        elif verb == "beat":
            story.wait(value)
            if not cut_off:
                last_beat, named = story.now, heard
                story.beat(worker_id, rules=heard)
            story.beat("w0")
    story.wait(1_000.0, "w0")
    failed = next(
        one for one in story.records if isinstance(one.event, WorkerFailed) and one.event.worker_id == worker_id
    )
    by_sequence = dict(rulings(story, worker_id, labels))
    # What comes into force when it has been failed already, nobody can have known.
    possible = [thresholds for sequence, thresholds in by_sequence.items() if named <= sequence < failed.sequence]
    silence = failed.time - last_beat
    assert silence > max(one.self_fence_after for one in possible)
    assert silence >= max(one.failed_after for one in possible) - 1e-5
    # Of rules long gone only the most patient is known, whoever that was for.
    longest = max(thresholds.failed_after for thresholds in everybodys(story))
    assert silence <= 2 * longest + 20.0
    again = folded(story.records, story.beats)
    assert repr(again.rules) == repr(story.state.rules)
