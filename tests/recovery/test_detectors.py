"""Failure detectors, by themselves: what silence they allow after what has been heard."""

import random
import sys
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.policy import Policy
from events.thresholds import thresholds_for
from recovery.detectors import ARRIVALS_MAX, DETECTORS, Arrivals, Detector, PhiAccrual, detector_for
from recovery.detectors.arrivals import GAP_MAX
from recovery.detectors.phi import INTERVALS_MIN, deviations

POLICY = Policy()
INTERVALS = st.lists(st.floats(-100.0, 100_000.0), max_size=ARRIVALS_MAX - 1)


def detector(name: str, policy: Policy = POLICY) -> Detector:
    return DETECTORS[name](thresholds_for(policy, "w1", {}), policy)


def phi_accrual(policy: Policy = POLICY) -> PhiAccrual:
    found = detector("phi", policy)
    assert isinstance(found, PhiAccrual)
    return found


def test_phi_is_the_default() -> None:
    assert isinstance(detector_for(thresholds_for(POLICY, "w1", {}), POLICY), PhiAccrual)


@pytest.mark.parametrize("name", DETECTORS)
@given(INTERVALS)
def test_no_detector_leaves_its_bounds(name: str, intervals: Sequence[float]) -> None:
    """Whatever was heard: nobody is failed before its fence, and nobody is waited for without an end."""
    one = detector(name)
    assert POLICY.suspect_after <= one.suspect_after(intervals) <= POLICY.failed_after
    assert POLICY.failed_after <= one.failed_after(intervals) <= 2 * POLICY.failed_after


@pytest.mark.parametrize("name", DETECTORS)
@given(
    st.floats(0.001, 1000.0),
    st.lists(st.floats(0.9, 1.1), max_size=ARRIVALS_MAX - 1),
)
def test_regular_heartbeats_leave_the_thresholds_as_they_are(
    name: str, interval: float, jitters: Sequence[float]
) -> None:
    policy = Policy(
        heartbeat_interval=interval,
        suspect_after=3 * interval,
        self_fence_after=4 * interval,
        failed_after=5 * interval,
        first_heartbeat_timeout=6 * interval,
    )
    one = detector(name, policy)
    intervals = [interval * jitter for jitter in jitters]
    assert one.suspect_after(intervals) == policy.suspect_after
    assert one.failed_after(intervals) == policy.failed_after


def test_the_more_irregular_the_more_patient() -> None:
    patience = [phi_accrual().suspect_after([2.0 - scatter, 2.0 + scatter] * 10) for scatter in (0.5, 1.0, 1.5, 1.9)]
    assert patience == sorted(set(patience))
    assert patience[0] > POLICY.suspect_after


def test_a_few_intervals_teach_nothing() -> None:
    wild = [1.0, 14.0] * INTERVALS_MIN
    assert phi_accrual().suspect_after(wild[: INTERVALS_MIN - 1]) == POLICY.suspect_after
    assert phi_accrual().suspect_after(wild[:INTERVALS_MIN]) > POLICY.suspect_after


def test_what_ended_a_life_and_what_a_clock_invented_teach_nothing() -> None:
    usual = [1.0, 3.0] * 6
    strange = [POLICY.failed_after + 0.001, 3_600.0, 0.0, -3_600.0]
    assert phi_accrual().suspect_after(usual + strange) == phi_accrual().suspect_after(usual)


def test_a_pause_and_the_smallest_deviation_are_settings() -> None:
    regular = [2.0] * 20
    eager = Policy(suspect_after=6.0, phi_pause=0.0, phi_deviation_min=0.001)
    assert phi_accrual(eager).unusual_after(regular) == pytest.approx(2.0, abs=0.02)
    paused = Policy(phi_pause=3.0, phi_deviation_min=0.001)
    assert phi_accrual(paused).unusual_after(regular) == pytest.approx(8.0, abs=0.02)
    scattered = Policy(phi_pause=0.0, phi_deviation_min=1.0)
    assert phi_accrual(scattered).unusual_after(regular) == pytest.approx(2.0 + 2.0 * deviations(8.0), abs=1e-5)


@given(
    st.lists(st.floats(0.1, 10.0), min_size=INTERVALS_MIN, max_size=ARRIVALS_MAX - 1),
    st.sampled_from([1.0, 3.0, 8.0, 12.0]),
)
def test_the_time_is_that_at_which_phi_gets_so_high(intervals: Sequence[float], phi: float) -> None:
    policy = Policy(phi_suspect=phi)
    one = phi_accrual(policy)
    assert one.phi(one.unusual_after(intervals), intervals) == pytest.approx(phi, rel=1e-3)


def test_phi_of_what_cannot_be_told() -> None:
    assert phi_accrual().phi(1.0, []) is None
    assert phi_accrual().phi(1e6, [2.0] * 20) == float("inf")


@pytest.mark.parametrize("seed", range(5))
def test_ten_thousand_irregular_heartbeats_fail_nobody(seed: int) -> None:
    """Jitter with a deviation of a second, and pauses of up to four."""
    chance = random.Random(seed)
    arrivals = Arrivals(1)
    now, alarms = 0.0, {name: [0, 0] for name in DETECTORS}
    arrivals.add(now, 1)
    for sequence in range(2, 10_002):
        pause = chance.uniform(0.0, 4.0) if chance.random() < 0.05 else 0.0
        later = now + max(0.001, chance.gauss(POLICY.heartbeat_interval, 1.0)) + pause
        for name, counts in alarms.items():
            counts[0] += now + detector(name).suspect_after(arrivals.intervals()) < later
            counts[1] += now + detector(name).failed_after(arrivals.intervals()) < later
        now = later
        arrivals.add(now, sequence)
    assert [failures for _, failures in alarms.values()] == [0, 0]
    assert alarms["phi"][0] <= 1 < alarms["deadline"][0] / 20, "and phi suspects next to nobody, either"


# What is remembered


@given(
    st.lists(
        st.tuples(st.floats(0.0, 1e9), st.integers(1, 5) | st.sampled_from([GAP_MAX, GAP_MAX + 1])),
        max_size=3 * ARRIVALS_MAX,
    ),
    st.sampled_from([0, 2**32 - 40, 9 * 2**32 - 7]),
    st.integers(0, 200),
    st.floats(0.0, 1e9),
)
def test_arrivals_are_the_last_ones(
    heard: list[tuple[float, int]], sequence: int, behind: int, interrupted_at: float
) -> None:
    """Of any sequences; and what is behind a great gap has nothing to do with what is before it."""
    arrivals, all_that_came, behind = Arrivals(3), list[tuple[float, int]](), sequence + behind
    for time, gap in heard:
        sequence += gap
        if gap > GAP_MAX:
            all_that_came.clear()
        arrivals.add(time, sequence)
        all_that_came.append((time, sequence))
    kept = [time for time, number in all_that_came[-ARRIVALS_MAX:] if number > behind]
    assert arrivals.times(behind) == kept
    assert arrivals.full == (len(all_that_came) >= ARRIVALS_MAX)
    assert arrivals.intervals(behind, interrupted_at) == [
        later - earlier for earlier, later in pairwise(kept) if not earlier <= interrupted_at < later
    ]


@given(
    st.lists(st.tuples(st.sampled_from([-1.0, 0.0, 1.0, 2.0, 3.0]), st.integers(1, 3)), max_size=2 * ARRIVALS_MAX),
    st.integers(0, 80),
)
def test_a_row_is_broken_by_a_gap_and_by_a_step_back(steps: list[tuple[float, int]], behind: int) -> None:
    arrivals, time, sequence = Arrivals(3), 100.0, 0
    for step, gap in steps:
        time, sequence = time + step, sequence + gap
        arrivals.add(time, sequence)
    times = arrivals.times(behind)
    rows = [
        first
        for first in range(len(times))
        if all(0.0 <= later - earlier <= 2.0 for earlier, later in pairwise(times[first:]))
    ]
    assert arrivals.unbroken_since(2.0, behind) == (times[rows[0]] if rows else float("inf"))


def test_arrivals_take_little_room() -> None:
    arrivals = Arrivals(1)
    for sequence in range(10_000):
        arrivals.add(float(sequence), sequence)
    parts = [arrivals, *(getattr(arrivals, name) for name in Arrivals.__slots__)]
    assert sum(sys.getsizeof(part) for part in parts) < 600
    assert repr(arrivals).startswith("Arrivals(1, [9968.0, 9969.0, ")
