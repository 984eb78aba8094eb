"""Detectors of others: asked, never trusted blindly, and replaced by patience where they are not there."""

from collections.abc import Iterator, Sequence
from math import nan
from typing import Any

import pytest

from events.policy import Override, Policy
from events.thresholds import thresholds_for
from events.worker import WorkerFailed
from recovery import detectors
from recovery.detectors import Detector, detector_for, installed, look_elsewhere, missing
from recovery.detectors.foreign import Absent, Foreign
from tests.recovery.story import Story

CHEN = Policy(detector="chen")


@pytest.fixture(autouse=True)
def nothing_else() -> Iterator[None]:
    """No plugin before, none behind."""
    look_elsewhere(detectors._nowhere)
    yield
    look_elsewhere(detectors._nowhere)


def built(policy: Policy) -> Detector:
    return detector_for(thresholds_for(policy, "w1", {}), policy)


class Steady(Detector):
    """Nine seconds, whatever was heard."""

    def unusual_after(self, intervals: Sequence[float]) -> float:
        return 9

    def hopeless_after(self, intervals: Sequence[float]) -> float:
        return 20.0


def test_one_from_elsewhere_is_asked_and_held_between_the_bounds() -> None:
    look_elsewhere(lambda name: Steady if name == "chen" else None)
    steady = built(CHEN)
    assert isinstance(steady, Foreign)
    assert (steady.suspect_after([2.0]), steady.failed_after([2.0])) == (9.0, 20.0)
    assert missing(CHEN) == []
    assert installed("phi") is not None
    story = Story(CHEN)
    assert story.state.rules.missing == []
    story.join("w1", "w2")
    story.wait(60.0, "w2")
    (failed,) = story.timed(WorkerFailed, worker_id="w1")
    assert failed[0] == pytest.approx(20.0, abs=0.1)


def test_one_that_is_not_there_is_replaced_by_the_most_patient() -> None:
    assert missing(Policy(overrides=(Override(worker="w*", detector="chen"),))) == ["chen"]
    absent = built(CHEN)
    assert isinstance(absent, Absent)
    assert absent.suspect_after([2.0] * 9) == CHEN.failed_after
    assert absent.failed_after([2.0] * 9) == CHEN.failed_after * CHEN.phi_patience_max
    story = Story(CHEN)
    assert story.state.rules.missing == ["chen"]
    story.join("w1", "w2")
    story.wait(60.0, "w2")
    (failed,) = story.timed(WorkerFailed, worker_id="w1")
    assert failed[0] == pytest.approx(CHEN.failed_after * CHEN.phi_patience_max, abs=0.1)


class Wild(Detector):
    def unusual_after(self, intervals: Sequence[float]) -> float:
        return nan

    def hopeless_after(self, intervals: Sequence[float]) -> float:
        raise ZeroDivisionError


class Wordy(Detector):
    def unusual_after(self, intervals: Sequence[float]) -> Any:
        return "soon"

    def hopeless_after(self, intervals: Sequence[float]) -> Any:
        return True


class Unmade(Detector):
    def __init__(self, *_: object) -> None:
        raise OSError("no model file")

    def unusual_after(self, intervals: Sequence[float]) -> float:
        return 0.0

    def hopeless_after(self, intervals: Sequence[float]) -> float:
        return 0.0


@pytest.mark.parametrize("kind", [Wild, Wordy, Unmade])
def test_one_that_fails_is_as_good_as_absent(kind: type[Detector]) -> None:
    look_elsewhere(lambda _: kind)
    odd = built(CHEN)
    assert odd.suspect_after([2.0]) == CHEN.failed_after
    assert odd.failed_after([2.0]) == CHEN.failed_after * CHEN.phi_patience_max
    assert "Foreign" in repr(odd)
