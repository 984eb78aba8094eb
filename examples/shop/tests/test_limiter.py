from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from shop.limiter import TokenBucket
from shop.testing import Clock


@pytest.mark.parametrize(("rate_per_s", "burst"), [(0, 1), (1, 0)])
def test_refuses_limits_that_let_nothing_through(rate_per_s: float, burst: int) -> None:
    with pytest.raises(ValueError, match="need a positive rate"):
        TokenBucket(rate_per_s, burst)


@pytest.mark.parametrize("burst", [1, 10])
def test_a_burst_goes_through_at_once(clock: Clock, burst: int) -> None:
    bucket = TokenBucket(1, burst, clock, clock.sleep)
    for _ in range(burst):
        bucket.acquire()
    assert clock.slept == []
    bucket.acquire()
    assert clock.slept == [1]


def test_tokens_come_back(clock: Clock) -> None:
    bucket = TokenBucket(2, 2, clock, clock.sleep)
    bucket.acquire()
    bucket.acquire()
    clock.now += 1
    assert [bucket.wait_s() for _ in range(3)] == [0, 0, 0.5]


def test_tokens_do_not_pile_up(clock: Clock) -> None:
    bucket = TokenBucket(1, 3, clock, clock.sleep)
    clock.now += 3_600
    assert [bucket.wait_s() for _ in range(5)] == [0, 0, 0, 1, 2]


@pytest.mark.parametrize("rate_per_s", [1, 50])
def test_the_rate_holds_in_the_long_run(clock: Clock, rate_per_s: int) -> None:
    bucket = TokenBucket(rate_per_s, 1, clock, clock.sleep)
    started_at = clock.now
    for _ in range(1_001):
        bucket.acquire()
    assert clock.now - started_at == pytest.approx(1_000 / rate_per_s)


@pytest.mark.parametrize(("rate_per_s", "calls"), [(50, 11), (40, 13), (20, 8)])
def test_slows_down_in_real_time(rate_per_s: float, calls: int) -> None:
    bucket = TokenBucket(rate_per_s, 1)
    started_at = time.monotonic()
    for _ in range(calls):
        bucket.acquire()
    assert time.monotonic() - started_at >= (calls - 1) / rate_per_s - 0.001


@pytest.mark.slow
@pytest.mark.parametrize("threads", [2, 8])
def test_threads_share_one_limit(threads: int) -> None:
    """Twenty-five calls at twenty a second, the first five at once: a full second."""
    bucket = TokenBucket(rate_per_s=20, burst=5)
    started_at = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(bucket.acquire) for _ in range(25)]:
            done.result()
    assert time.monotonic() - started_at >= 0.999
