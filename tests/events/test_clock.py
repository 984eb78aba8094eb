"""The broker's clock steps: what the estimate makes of it, and what it must not take for a step."""

import pytest

from events.clock import STEP_S, ClusterClock, seconds, utc


class Hands:
    """The local clock, and the broker's."""

    def __init__(self) -> None:
        self.monotonic = 50.0
        self.ahead = 5_000.0

    def wait(self, seconds: float) -> None:
        self.monotonic += seconds

    @property
    def broker(self) -> float:
        return self.monotonic + self.ahead


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def clock(hands: Hands) -> ClusterClock:
    made = ClusterClock(monotonic=lambda: hands.monotonic, wall=lambda: 0.0, window_s=30.0)
    assert made.observe(hands.broker) == 0.0, "the first reading is no step"
    hands.wait(2.0)
    return made


def test_a_step_forward_shows_in_the_next_reading(clock: ClusterClock, hands: Hands) -> None:
    hands.ahead += 30.0
    assert clock.observe(hands.broker) == 30.0
    assert clock.now() == hands.broker
    assert clock.observe(hands.broker) == 0.0, "once"


@pytest.mark.parametrize("latency_s", [0.0, 0.3, STEP_S])
def test_what_latency_explains_is_no_step(clock: ClusterClock, hands: Hands, latency_s: float) -> None:
    hands.wait(60.0)
    for _ in range(3):  # all that is remembered is late
        assert clock.observe(hands.broker - latency_s) == 0.0
        hands.wait(31.0)
    assert clock.observe(hands.broker) == 0.0
    assert clock.now() == hands.broker


def test_a_message_that_was_long_on_its_way_is_no_step_back(clock: ClusterClock, hands: Hands) -> None:
    sent_at = clock.monotonic()
    stored_at = hands.broker
    hands.wait(20.0)
    assert clock.observe(stored_at, sent_at=sent_at) == 0.0
    assert clock.lateness(stored_at) == 20.0
    assert clock.now() == hands.broker


def test_others_messages_cannot_prove_a_step_back(clock: ClusterClock, hands: Hands) -> None:
    before = clock.now()
    hands.ahead -= 30.0
    assert clock.observe(hands.broker) == 0.0
    assert clock.lateness(hands.broker) == 30.0
    assert clock.now() == before


@pytest.mark.parametrize(("round_trip_s", "found"), [(0.0, True), (0.5, True), (28.9, True), (29.1, False)])
def test_a_message_of_ones_own_proves_a_step_back(
    clock: ClusterClock, hands: Hands, round_trip_s: float, found: bool
) -> None:
    """It was stored after it was sent. The longer it took to be stored, the less that says."""
    hands.ahead -= 30.0
    sent_at = clock.monotonic()
    hands.wait(round_trip_s)
    before = clock.now()
    assert clock.observe(hands.broker, sent_at=sent_at) == (-30.0 if found else 0.0)
    assert clock.now() == (hands.broker if found else before)


def test_after_a_step_back_the_old_estimate_is_forgotten(clock: ClusterClock, hands: Hands) -> None:
    hands.wait(31.0)
    clock.observe(hands.broker)  # both windows know the old time
    hands.ahead -= 3_600.0
    clock.observe(hands.broker, sent_at=clock.monotonic())
    for _ in range(100):
        hands.wait(1.0)
        assert clock.observe(hands.broker) == 0.0
        assert clock.lateness(hands.broker) == 0.0
        assert clock.now() == hands.broker
    hands.ahead += 3_600.0
    assert clock.observe(hands.broker) == 3_600.0


def test_what_was_read_back_is_not_in_the_future(clock: ClusterClock, hands: Hands) -> None:
    hands.ahead -= 30.123456789
    stored_at = hands.broker
    clock.observe(stored_at, sent_at=clock.monotonic())
    assert clock.now() >= seconds(utc(stored_at))
    assert seconds(utc(clock.now())) == clock.now()


def test_without_any_reading_nothing_is_late() -> None:
    clock = ClusterClock(monotonic=lambda: 50.0, wall=lambda: 1_000.0)
    assert clock.lateness(1.0) == 0.0
    assert clock.observe(1.0, sent_at=49.0) == 0.0
