"""What the leader holds against its own eyes, and for how long."""

import pytest

from events.clock import ClusterClock
from events.policy import Policy
from recovery.observer import LAG_S_MAX, PAUSE_S_MAX, RESTATE_S, Observer

POLICY = Policy()


class Bench:
    """An observer in good order, its machine's clock, and the broker's."""

    def __init__(self) -> None:
        self.here = 100.0
        self.ahead = 1_000.0
        self.observer = Observer(ClusterClock(monotonic=lambda: self.here, wall=lambda: 0.0))
        self.read()
        assert self.doubt() is None

    def read(self, *, late_s: float = 0.0, own: bool = False) -> None:
        stored_at = self.here + self.ahead - late_s
        self.observer.read("events", stored_at, sent_at=self.here - late_s if own else None)

    def doubt(self, *, needed: bool = True) -> tuple[str, float] | None:
        found = self.observer.doubt(POLICY.failed_after, needed=needed)
        return None if found is None else (found.reason, round(found.extent_s, 6))


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize("needed", [True, False])
@pytest.mark.parametrize("step_s", [30.0, 1.5, -1.5, -3_600.0])
def test_a_step_of_the_clock_is_told_whether_or_not_anybody_is_judged(
    bench: Bench, step_s: float, needed: bool
) -> None:
    bench.ahead += step_s
    bench.read(own=True)
    assert bench.doubt(needed=needed) == ("clock_step", step_s)


def test_steps_that_nobody_suffers_from_are_told_now_and_then(bench: Bench) -> None:
    """The servers of a cluster whose clocks differ look like one clock that goes back and forth."""
    told = 0
    for second in range(100):
        bench.here += 1.0
        bench.ahead += 2.0 if second % 2 else -2.0
        bench.read(own=True)
        if bench.doubt(needed=False) is not None:
            told += 1
            bench.observer.dismiss()
    assert told == 100 / RESTATE_S
    bench.ahead += 2.0
    bench.read(own=True)
    assert bench.doubt(needed=False) is None
    assert bench.doubt() == ("clock_step", 2.0)


def test_a_step_is_forgotten_when_all_silence_behind_it_is_long_enough(bench: Bench) -> None:
    bench.ahead += 30.0
    bench.read()
    bench.here += POLICY.failed_after - 0.001
    assert bench.doubt() == ("clock_step", 30.0)
    bench.here += 0.001
    assert bench.doubt() is None


@pytest.mark.parametrize(("late_s", "doubted"), [(0.1, False), (LAG_S_MAX, False), (LAG_S_MAX + 0.1, True)])
def test_what_is_read_late_is_a_reason_if_somebody_is_judged(bench: Bench, late_s: float, doubted: bool) -> None:
    bench.here += 60.0
    bench.read(late_s=late_s)
    assert bench.doubt(needed=False) is None
    assert bench.doubt() == (("stream_lag", round(late_s, 6)) if doubted else None)


def test_the_stream_is_current_again(bench: Bench) -> None:
    bench.read(late_s=100.0)
    assert bench.doubt() == ("stream_lag", 100.0)
    bench.read()
    assert bench.doubt() is None


def test_one_current_stream_does_not_excuse_the_other(bench: Bench) -> None:
    bench.observer.read("heartbeats", bench.here + bench.ahead - 20.0)
    bench.read()
    bench.read(late_s=3.0)
    assert bench.doubt() == ("stream_lag", 20.0)


def test_a_lag_of_long_ago_says_nothing_of_now(bench: Bench) -> None:
    bench.read(late_s=3.0)
    bench.here += POLICY.failed_after
    assert bench.doubt() is None


def test_it_turns_out_that_it_was_no_lag(bench: Bench) -> None:
    bench.ahead -= 15.75
    bench.read()
    assert bench.doubt() == ("stream_lag", 15.75)
    bench.observer.dismiss()
    bench.read(own=True)
    assert bench.doubt() == ("clock_step", -15.75)
    bench.observer.dismiss()
    bench.read()
    assert bench.doubt() is None


@pytest.mark.parametrize(("late_s", "doubted"), [(-4.0, False), (PAUSE_S_MAX, False), (PAUSE_S_MAX + 0.5, True)])
def test_a_pause_of_its_own(bench: Bench, late_s: float, doubted: bool) -> None:
    bench.observer.overslept(late_s)
    assert bench.doubt(needed=False) is None
    assert bench.doubt() == (("own_pause", late_s) if doubted else None)
    bench.here += PAUSE_S_MAX
    assert bench.doubt() is None, "what had waited has been read by now"


def test_a_pause_does_not_hide_a_step(bench: Bench) -> None:
    bench.ahead += 30.0
    bench.read()
    bench.observer.overslept(5.0)
    bench.here += PAUSE_S_MAX
    assert bench.doubt() == ("clock_step", 30.0)
