"""Workers over time: states and their lengths, from the events about them."""

from datetime import UTC, datetime, timedelta

import pytest

from projections.report.lanes import LANES_MAX, Step, lanes, natural

BEGAN = datetime(2026, 3, 2, tzinfo=UTC)
END = BEGAN + timedelta(seconds=100)


def step(second: float, kind: str, worker_id: str = "w1") -> Step:
    return Step(worker_id, BEGAN + timedelta(seconds=second), f"worker.{kind}", "")


def told(*steps: Step) -> list[tuple[str, float, float]]:
    [lane], left_out = lanes(steps, BEGAN, END)
    assert left_out == 0
    return [(one.state, (one.since - BEGAN).total_seconds(), (one.until - BEGAN).total_seconds()) for one in lane.spans]


LIVES = {
    "is brought back": (
        ["0 registered", "20 failed", "21 recovery_started", "25 registered", "26 recovery_succeeded"],
        [("alive", 0, 20), ("failed", 20, 21), ("recovering", 21, 25), ("alive", 25, 100)],
    ),
    "is given up": (
        ["0 registered", "20 failed", "21 recovery_started", "30 recovery_failed", "31 permanently_failed"],
        [("alive", 0, 20), ("failed", 20, 21), ("recovering", 21, 30), ("failed", 30, 31), ("given up", 31, 100)],
    ),
    "is doubted": (
        ["0 registered", "10 suspected", "12 suspicion_refuted", "20 stalled", "25 stall_refuted"],
        [("alive", 0, 10), ("suspect", 10, 12), ("alive", 12, 20), ("stalled", 20, 25), ("alive", 25, 100)],
    ),
    "ends in order": (
        ["0 registered", "50 cordoned", "60 uncordoned", "70 draining", "80 stopped"],
        [("alive", 0, 50), ("cordoned", 50, 60), ("alive", 60, 70), ("draining", 70, 80), ("stopped", 80, 100)],
    ),
    "was failed before the window": (
        ["-50 registered", "-5 failed", "40 registered"],
        [("failed", 0, 40), ("alive", 40, 100)],
    ),
    # It registered while the attempt was under way: that it is superseded does not make it failed again.
    "comes back by itself": (
        ["0 registered", "20 failed", "21 recovery_started", "25 registered", "26 recovery_superseded"],
        [("alive", 0, 20), ("failed", 20, 21), ("recovering", 21, 25), ("alive", 25, 100)],
    ),
    "is suspected when it has failed": (
        ["0 registered", "20 failed", "22 suspected", "23 suspicion_refuted"],
        [("alive", 0, 20), ("failed", 20, 100)],
    ),
    "is there from the middle on": (["40 registered"], [("alive", 40, 100)]),
    "fails twice at one moment": (["0 registered", "20 failed", "20 failed"], [("alive", 0, 20), ("failed", 20, 100)]),
}


@pytest.mark.parametrize("name", LIVES)
def test_a_life(name: str) -> None:
    said, spans = LIVES[name]
    steps = [step(float(second), kind) for second, kind in (one.split() for one in said)]
    assert told(*steps) == spans


def test_marks_are_the_ends_of_attempts() -> None:
    [lane], _ = lanes(
        [
            step(-3, "registered"),
            step(-2, "recovery_failed"),
            step(5, "recovery_failed"),
            step(9, "recovery_succeeded"),
        ],
        BEGAN,
        END,
    )
    assert [(mark.success, (mark.at - BEGAN).total_seconds()) for mark in lane.marks] == [(False, 5), (True, 9)]


def test_of_many_those_with_most_to_show() -> None:
    steps = [step(0, "registered", f"w{number}") for number in range(LANES_MAX + 20)]
    steps += [step(90 - number, "failed", f"w{number}") for number in range(10, 30)]
    drawn, left_out = lanes(steps, BEGAN, END)
    assert (len(drawn), left_out) == (LANES_MAX, 20)
    names = [lane.worker_id for lane in drawn]
    assert set(names) >= {f"w{number}" for number in range(10, 30)}
    assert names == sorted(names, key=lambda name: int(name[1:]))


def test_a_lane_with_too_much_in_it_shows_what_prevails_and_what_was_bad() -> None:
    """Suspected again and again, out for a hundredth of a second now and then, and failed in the end."""
    steps = [step(0, "registered")]
    for number in range(800):
        second = number * 0.1
        if number % 100 == 50:
            steps += [step(second, "failed"), step(second + 0.01, "registered")]
        steps += [step(second + 0.02, "suspected"), step(second + 0.04, "suspicion_refuted")]
        steps += [step(second + 0.05, "recovery_succeeded"), step(second + 0.06, "recovery_failed")]
    steps += [step(90, "failed")]
    [lane], _ = lanes(steps, BEGAN, END)
    assert lane.coarse
    out = [span for span in lane.spans if span.state == "failed"]
    assert [round((span.since - BEGAN).total_seconds(), 2) for span in out] == [90, 5, 15, 25, 35, 45, 55, 65, 75]
    [well] = [span for span in lane.spans if span.state == "alive"]
    assert (well.since, round((well.until - BEGAN).total_seconds())) == (BEGAN, 90)
    assert not any(mark.success for mark in lane.marks)


def test_names_with_numbers() -> None:
    assert sorted(["w10", "w2", "w1", "a", "w1b"], key=natural) == ["a", "w1", "w1b", "w2", "w10"]
