from __future__ import annotations

import time
from itertools import pairwise

import pytest

from shop.retry import GaveUp, Transient, delays, with_backoff
from shop.testing import Clock


class Flaky:
    """Fails so many times, then works."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise Transient(f"failure {self.calls}")
        return "done"


@pytest.mark.parametrize(
    ("first_s", "factor", "cap_s", "attempts_max", "expected"),
    [
        (1, 2, 60, 1, []),
        (1, 2, 3, 5, [1, 2, 3, 3]),
        (1, 10, 50, 4, [1, 10, 50]),
    ],
)
def test_delays(
    first_s: float, factor: float, cap_s: float, attempts_max: int, expected: list[float]
) -> None:
    assert delays(first_s, factor, cap_s, attempts_max) == expected


@pytest.mark.parametrize(("failures", "slept"), [(0, []), (1, [1]), (3, [1, 2, 4])])
def test_sleeps_between_attempts(clock: Clock, failures: int, slept: list[float]) -> None:
    call = Flaky(failures)
    assert with_backoff(call, first_s=1, cap_s=60, sleep=clock.sleep) == "done"
    assert clock.slept == slept
    assert call.calls == failures + 1


@pytest.mark.parametrize("attempts_max", [1, 5])
def test_gives_up(clock: Clock, attempts_max: int) -> None:
    call = Flaky(100)
    with pytest.raises(GaveUp, match=f"after {attempts_max} attempts") as caught:
        with_backoff(call, attempts_max=attempts_max, sleep=clock.sleep)
    assert call.calls == attempts_max
    assert isinstance(caught.value.__cause__, Transient)


@pytest.mark.parametrize("error", [ValueError, KeyError])
def test_other_errors_are_not_tried_again(clock: Clock, error: type[Exception]) -> None:
    def call() -> None:
        raise error("for good")

    with pytest.raises(error):
        with_backoff(call, sleep=clock.sleep)
    assert clock.slept == []


@pytest.mark.parametrize(("failures", "pause_s"), [(1, 0.2), (2, 0.3)])
def test_real_pauses(failures: int, pause_s: float) -> None:
    started_at = time.monotonic()
    with_backoff(Flaky(failures), first_s=pause_s / failures, factor=1)
    assert time.monotonic() - started_at >= pause_s


@pytest.mark.slow
def test_real_pauses_grow() -> None:
    """0.2, 0.4 and 0.6 seconds: the last would be 0.8 but for the cap."""
    moments = []

    def call() -> str:
        moments.append(time.monotonic())
        if len(moments) < 4:
            raise Transient("not yet")
        return "done"

    with_backoff(call, first_s=0.2, cap_s=0.6)
    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert all(pause >= wanted for pause, wanted in zip(pauses, [0.2, 0.4, 0.6], strict=True))
