"""Slopes, samples and shares of failures: what forecasts are made from, without a state."""

import random
from itertools import pairwise
from math import comb, isnan

import pytest

from events.clock import utc
from events.policy import Policy
from events.worker import Heartbeat
from recovery.forecasts import BEATS_PER_SAMPLE, BLOCK, PREDICTORS, SAMPLES_MAX, Attempts, FarmAttempts, Outlook, Trend
from recovery.forecasts.errors import forget, note, unlikely
from recovery.forecasts.robust import level, slope, tau
from recovery.forecasts.trend import GAP_MAX

GIB = float(1 << 30)
POLICY = Policy()


def beats_of(*values: float, lag: float = 0.0, own: float | None = 0.0, disk: bool = False) -> list[Heartbeat]:
    """`BEATS_PER_SAMPLE` beats for each value, which the last of them shows; the others show less."""
    beats = []
    for number in range(BEATS_PER_SAMPLE, (len(values) + 1) * BEATS_PER_SAMPLE):
        value = values[number // BEATS_PER_SAMPLE - 1]
        shown = int(value) if number % BEATS_PER_SAMPLE == BEATS_PER_SAMPLE - 1 else int(value * 0.9)
        beats.append(
            Heartbeat(
                worker_id="w1",
                incarnation=1,
                beat=number,
                sent_at=utc(number),
                memory_available_bytes=None if disk else shown,
                disk_free_bytes=shown if disk else None,
                memory_bytes=1,
                tasks_memory_bytes=None if own is None else int(own * (values[0] - value)),
                loop_lag_s=lag,
            )
        )
    return beats


def trend_of(beats: list[Heartbeat]) -> Trend:
    """One heartbeat every two seconds, behind one of a sample before."""
    trend = Trend(1)
    for number, heartbeat in enumerate(beats, 1):
        trend.add(heartbeat, 2.0 * number, number)
    return trend


def foreseen(trend: Trend, resource: str, policy: Policy = POLICY) -> Outlook | None:
    predictor = next(one for one in PREDICTORS.values() if one.resource == resource)
    ends = trend.ends()
    outlook = predictor.outlook(trend.samples(), policy)
    assert outlook is None or (ends is not None and predictor.near(*ends, policy)), "a glance must not miss it"
    return outlook


def falling(a_sample: float, count: int, start: float = 4 * GIB) -> list[float]:
    return [start - a_sample * number for number in range(count)]


# Arithmetic


def test_the_slope_is_that_of_most_points() -> None:
    times = [float(number) for number in range(12)]
    values = [100.0 - 3.0 * time for time in times]
    assert slope(times, values) == -3.0
    assert level(times, values, -3.0) == values[-1]
    values[2], values[7], values[9] = 1e9, -1e9, 5e8
    assert slope(times, values) == pytest.approx(-3.0, abs=0.5)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, 2, 3, 4], 1.0), ([4, 3, 2, 1], -1.0), ([1, 1, 1, 1], 0.0), ([1, 3, 2, 4], 2 / 3)],
)
def test_rank_correlation_with_time(values: list[float], expected: float) -> None:
    assert tau(values) == pytest.approx(expected)


# Samples


def test_a_sample_is_the_best_of_a_few_heartbeats() -> None:
    trend = trend_of(beats_of(4 * GIB, 3 * GIB, 2 * GIB, 1 * GIB))
    samples = trend.samples()
    assert [one.memory_available_bytes for one in samples] == [3 * GIB, 2 * GIB], (
        "the first and the last may be in parts"
    )
    assert [one.sequence for one in samples] == [6, 11]
    assert [one.before for one in samples] == [5, 10]
    assert all(isnan(one.disk_free_bytes) for one in samples)


def test_what_is_unknown_for_a_while_is_known_afterwards() -> None:
    beats = beats_of(3 * GIB, 3 * GIB, 3 * GIB, own=None)
    beats[7] = beats_of(3 * GIB, 3 * GIB)[7]
    (sample,) = trend_of(beats).samples()
    assert sample.own_bytes == 1.0
    disk = trend_of(beats_of(3 * GIB, 2 * GIB, 1 * GIB, disk=True)).samples()
    assert [one.disk_free_bytes for one in disk] == [2 * GIB]
    assert isnan(disk[0].memory_available_bytes)


@pytest.mark.parametrize("skipped", [0, 1, 4, 5, 12, 137, 240])
def test_wherever_the_reading_began_the_same_is_known_at_last(skipped: int) -> None:
    rng = random.Random(skipped)
    beats = beats_of(*(rng.uniform(1, 4) * GIB for _ in range(3 * SAMPLES_MAX)))
    whole, late = Trend(1), Trend(1)
    for number, heartbeat in enumerate(beats, 1):
        whole.add(heartbeat, 2.0 * number, number)
        if number > skipped:
            late.add(heartbeat, 2.0 * number, number)
        kept = whole.samples() if late.full else whole.samples(skipped)
        assert number <= skipped or repr(late.samples()) == repr(kept)
    assert whole.full
    assert late.full


def test_whoever_has_forgotten_and_whoever_is_told_to_agree() -> None:
    """A broker lost heartbeats: who had read them leaves them out, and who had not has never seen them."""
    beats = beats_of(*falling(GIB / 100, 2 * SAMPLES_MAX))
    for lost in range(20, 60):
        whole, late = Trend(1), Trend(1)
        for number, heartbeat in enumerate(beats, 1):
            whole.add(heartbeat, 2.0 * number, number)
            if number > lost:
                late.add(heartbeat, 2.0 * number, number)
            assert repr(whole.samples(lost)) == repr(late.samples(lost))
            assert repr(whole.ends(lost)) == repr(late.ends(lost))


def test_sequences_of_any_size_are_told_exactly() -> None:
    behind = 5 * 2**32 - 12
    small, great = trend_of(beats_of(*falling(GIB / 100, 10))), Trend(1)
    for number, heartbeat in enumerate(beats_of(*falling(GIB / 100, 10)), 1):
        great.add(heartbeat, 2.0 * number, behind + number)
    assert [(one.sequence - behind, one.before - behind) for one in great.samples()] == [
        (one.sequence, one.before) for one in small.samples()
    ]
    assert [one.sequence - behind for one in great.samples(behind + 20)] == [one.sequence for one in small.samples(20)]


@pytest.mark.parametrize("alone", [BEATS_PER_SAMPLE, BEATS_PER_SAMPLE + 2], ids=["between samples", "within one"])
def test_behind_a_great_gap_a_row_begins_anew(alone: int) -> None:
    """Whoever has read what was before it knows no more than who has not."""
    beats = beats_of(*falling(GIB / 100, 6))
    whole, late = Trend(1), Trend(1)
    for number, heartbeat in enumerate(beats):
        sequence = number + 1 + (GAP_MAX if number >= alone else 0)
        whole.add(heartbeat, 2.0 * number, sequence)
        if number >= alone:
            late.add(heartbeat, 2.0 * number, sequence)
            assert repr(whole.known()) == repr(late.known())
    assert whole.samples()


@pytest.mark.parametrize("lag", [1e300, -1e300])
def test_a_gauge_may_say_anything(lag: float) -> None:
    """Everybody may write heartbeats."""
    trend = trend_of(beats_of(*[float(2**62)] * 3, lag=lag))
    (sample,) = trend.samples()
    assert (sample.loop_lag_s > 0) == (lag > 0)
    assert sample.memory_available_bytes == 2.0**62


def test_a_clock_that_is_set_back_begins_a_new_row() -> None:
    trend, times = Trend(1), [2.0 * number for number in range(1, 60)]
    for number, heartbeat in enumerate(beats_of(*falling(GIB / 100, 10)), 1):
        trend.add(heartbeat, times[number] - (50.0 if number > 30 else 0.0), number)
    samples = trend.samples()
    assert all(earlier.time < later.time for earlier, later in pairwise(samples))
    assert samples[0].sequence == 31
    assert "Sample" in repr(trend)


# What runs out


def test_memory_that_its_own_processes_use_up() -> None:
    outlook = foreseen(trend_of(beats_of(*falling(GIB / 4, 15), own=1.0)), "memory")
    assert outlook is not None
    assert outlook.slope == pytest.approx(-GIB / 40)
    assert outlook.value == 4 * GIB - 13 * GIB / 4
    assert outlook.expected_at == pytest.approx(outlook.since + 110.0 + outlook.value / (GIB / 40), abs=0.01)
    assert (outlook.remedy, outlook.own_share, outlook.samples) == ("restart", 1.0, 12)
    assert outlook.limit == 0.0


@pytest.mark.parametrize(("own", "remedy"), [(0.51, "restart"), (0.49, "none"), (None, "none")])
def test_a_restart_helps_only_where_the_worker_is_to_blame(own: float | None, remedy: str) -> None:
    outlook = foreseen(trend_of(beats_of(*falling(GIB / 4, 15), own=own)), "memory")
    assert outlook is not None
    assert outlook.remedy == remedy


def test_a_disk_that_fills() -> None:
    outlook = foreseen(trend_of(beats_of(*falling(GIB / 4, 15), disk=True)), "disk")
    assert outlook is not None
    assert (outlook.remedy, outlook.limit) == ("cordon", 0.0)
    assert foreseen(trend_of(beats_of(*falling(GIB / 4, 15), disk=True)), "memory") is None


def test_a_loop_that_is_later_and_later() -> None:
    beats = [
        Heartbeat(worker_id="w1", incarnation=1, beat=number, sent_at=utc(number), loop_lag_s=number * 0.02)
        for number in range(1, 80)
    ]
    outlook = foreseen(trend_of(beats), "loop_lag")
    assert outlook is not None
    assert outlook.slope == pytest.approx(0.01)
    assert (outlook.limit, outlook.remedy) == (POLICY.watchdog_after, "restart")
    assert 0.0 < outlook.value < outlook.limit


@pytest.mark.parametrize(
    "values",
    [
        [4 * GIB] * 16,
        falling(-GIB / 100, 16),
        falling(GIB / 4, 13),
        falling(GIB / 50, 16),
        falling(GIB / 400, 16, start=GIB / 2),
        [*falling(GIB / 4, 11), *[1.5 * GIB] * 5],
        [*[4 * GIB] * 5, *falling(GIB / 4, 11)],
        [4 * GIB] * 8 + [GIB / 10] * 8,
        [(4 - 0.28 * (number % 4) - number * 0.01) * GIB for number in range(16)],
    ],
    ids=["steady", "rises", "too few", "too slow", "too little", "has stopped", "has just begun", "a step", "teeth"],
)
def test_what_foresees_nothing(values: list[float]) -> None:
    assert foreseen(trend_of(beats_of(*values, own=1.0)), "memory") is None


def test_one_sample_alone_does_not_turn_the_tide() -> None:
    values = falling(GIB / 4, 14)
    assert foreseen(trend_of(beats_of(*values, own=1.0)), "memory") is None
    assert foreseen(trend_of(beats_of(*values, values[-1] - GIB / 4, own=1.0)), "memory") is not None


def test_noise_does_not_hide_a_leak_nor_make_one() -> None:
    rng = random.Random(4)
    noisy = [value + rng.gauss(0, GIB / 40) for value in falling(GIB / 4, 15)]
    assert foreseen(trend_of(beats_of(*noisy, own=1.0)), "memory") is not None
    for _ in range(200):
        noise = [max(1.0, rng.gauss(GIB, GIB / 4)) for _ in range(15)]
        assert foreseen(trend_of(beats_of(*noise, own=1.0)), "memory") is None


# Failures


def block(own: Attempts, farm: FarmAttempts, bad: int, time: float = 1.0) -> None:
    for number in range(BLOCK):
        assert note(own, farm, time + number, bad=number < bad) == (number == BLOCK - 1)


def test_a_block_that_is_worse_than_before_and_than_elsewhere() -> None:
    farm = FarmAttempts()
    own, others = Attempts(), [Attempts() for _ in range(4)]
    for one in (own, *others):
        block(one, farm, 1)
    assert (farm.bad, farm.count) == (5, 5 * BLOCK)
    block(own, farm, 14, time=100.0)
    assert own.worse is not None
    assert (own.worse.bad, own.worse.since, own.worse.until) == (14, 100.0, 100.0 + BLOCK - 1)
    assert own.worse.usual == pytest.approx(1 / BLOCK)
    assert (farm.bad, farm.count) == (18, 5 * BLOCK)
    forget(own, farm)
    assert (farm.bad, farm.count) == (4, 4 * BLOCK)
    forget(Attempts(), farm)
    assert farm.count == 4 * BLOCK


@pytest.mark.parametrize(
    ("before", "others", "bad"),
    [(1, (1, 1, 1, 1), 5), (12, (1, 1, 1, 1), 14), (1, (12, 12, 12, 12), 14), (None, (1, 1, 1, 1), 14), (1, (1,), 14)],
    ids=["few", "always bad", "bad everywhere", "nothing before", "too few others"],
)
def test_a_block_that_says_nothing(before: int | None, others: tuple[int, ...], bad: int) -> None:
    farm, own = FarmAttempts(), Attempts()
    for count in others:
        block(Attempts(), farm, count)
    if before is not None:
        block(own, farm, before)
    block(own, farm, bad)
    assert own.worse is None


def test_what_was_long_ago_counts_less() -> None:
    farm, own = FarmAttempts(), Attempts()
    for _ in range(40):
        block(own, farm, 4)
    assert 2 * BLOCK < own.count_before < 5 * BLOCK
    assert own.bad_before / own.count_before == pytest.approx(4 / BLOCK, abs=0.02)


def test_chance_is_reckoned_exactly() -> None:
    tail = sum(comb(10, number) * comb(BLOCK + 62, BLOCK - number) for number in range(8, 11))
    one_in = comb(BLOCK + 72, BLOCK) // tail
    assert unlikely(8, 2, 72, one_in)
    assert not unlikely(8, 2, 72, one_in + 1)


def test_a_trend_can_be_kept_and_gone_on_with() -> None:
    beats = beats_of(*falling(GIB / 100, 2 * SAMPLES_MAX))
    for kept_at in (0, 3, 40, 170):
        whole, other = Trend(1), Trend(1)
        for number, heartbeat in enumerate(beats, 1):
            if number == kept_at:
                other = Trend.of(other.known())
            whole.add(heartbeat, 2.0 * number, number)
            other.add(heartbeat, 2.0 * number, number)
        assert repr(other.known()) == repr(whole.known())
