"""Whole streams of heartbeats before the core, under each detector: who keeps the contract is never failed, and who has
stopped is never kept."""

from collections.abc import Sequence
from itertools import accumulate

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.policy import Policy
from events.worker import WorkerFailed, WorkerSuspected, WorkerSuspicionRefuted
from recovery.detectors import DETECTORS
from tests.recovery.story import BEGIN, Story

SLOW = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
GAPS = st.lists(
    st.one_of(st.floats(0.01, 14.9), st.floats(1.8, 2.2), st.sampled_from([0.01, 6.0, 14.99])), min_size=1, max_size=60
)


def heard(detector: str, gaps: Sequence[float]) -> Story:
    """One worker beats with these gaps between, and another as it should."""
    story = Story(Policy(detector=detector), checks=False)
    story.join("w1", "w2")
    for gap in gaps:
        story.wait(gap, "w2")
        story.beat("w1")
    return story


@pytest.mark.parametrize("detector", DETECTORS)
@SLOW
@given(GAPS)
def test_who_keeps_the_contract_is_never_failed(detector: str, gaps: Sequence[float]) -> None:
    story = heard(detector, gaps)
    assert not story.told(WorkerFailed)
    suspected, refuted = story.told(WorkerSuspected), story.told(WorkerSuspicionRefuted)
    assert [event.worker_id for event in suspected] == [event.worker_id for event in refuted]
    assert len(suspected) <= sum(gap > 5.99 for gap in gaps)
    assert story.worker("w1").status == "alive"


@pytest.mark.parametrize(("detector", "longest"), [("deadline", 15.0), ("phi", 30.0)])
@SLOW
@given(GAPS)
def test_who_has_stopped_is_never_kept(detector: str, longest: float, gaps: Sequence[float]) -> None:
    story = heard(detector, gaps)
    stopped = story.now - BEGIN
    story.wait(40.0, "w2")
    failures = [(at, event) for at, event in story.timed(WorkerFailed) if event.worker_id == "w1"]
    suspicions = [at for at, event in story.timed(WorkerSuspected) if event.worker_id == "w1" and at > stopped]
    assert len(failures) == len(suspicions) == 1
    failed_at, failure = failures[0]
    assert failure.evidence is not None
    assert failure.evidence.threshold_s is not None
    # Times are those of a wire that carries microseconds.
    assert 15.0 - 1e-5 <= failed_at - stopped <= longest + 0.02
    assert 6.0 - 1e-5 <= suspicions[0] - stopped <= 15.02
    assert failed_at - stopped == pytest.approx(failure.evidence.threshold_s, abs=0.02)


@SLOW
@given(GAPS)
def test_phi_suspects_nobody_whom_fixed_thresholds_would_not(gaps: Sequence[float]) -> None:
    fixed, accrual = heard("deadline", gaps), heard("phi", gaps)
    assert len(accrual.told(WorkerSuspected)) <= len(fixed.told(WorkerSuspected))


@pytest.mark.parametrize("detector", DETECTORS)
@given(st.lists(st.floats(1.8, 2.2), max_size=40))
def test_regular_workers_are_found_as_fast_as_ever(detector: str, gaps: Sequence[float]) -> None:
    story = heard(detector, gaps)
    stopped = list(accumulate(gaps))[-1] if gaps else 0.0
    story.wait(16.0, "w2")
    assert [at for at, _ in story.timed(WorkerSuspected)] == [pytest.approx(stopped + 6.0, abs=0.02)]
    assert [at for at, _ in story.timed(WorkerFailed)] == [pytest.approx(stopped + 15.0, abs=0.02)]


def test_an_irregular_worker_is_waited_for_when_its_fixed_time_is_over() -> None:
    """The index holds the fixed time, and finds out at that time what the true one is."""
    story = Story()
    story.join("w1", "w2")
    for gap in [1.0, 5.0] * 6:
        story.wait(gap, "w2")
        story.beat("w1")
    stopped = story.now - BEGIN
    story.wait(7.0, "w2")
    assert not story.told(WorkerSuspected)
    story.wait(8.0, "w2")
    ((suspected_at, suspected),) = story.timed(WorkerSuspected)
    assert suspected.evidence.threshold_s == pytest.approx(suspected_at - stopped, abs=0.02)
    assert (suspected.evidence.threshold_s or 0.0) > 10.0


def test_the_silence_of_all_is_no_irregularity_of_one() -> None:
    """The broker was away, or the leader was: once they are heard again, nothing of it is held in their favour."""
    story = Story()
    story.join("w1", "w2")
    story.wait(30.0, "w1", "w2")
    story.wait(11.0)
    story.wait(10.0, "w1", "w2")
    stopped = story.now - BEGIN
    story.wait(16.0, "w2")
    assert [at - stopped for at, _ in story.timed(WorkerSuspected)] == [pytest.approx(6.0, abs=2.1)]
    assert [at - stopped for at, _ in story.timed(WorkerFailed)] == [pytest.approx(15.0, abs=2.1)]
