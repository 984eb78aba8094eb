"""Detectors of others, and what stands in for one that is not there."""

from collections.abc import Sequence
from math import inf, isnan

from events.policy import Policy
from events.thresholds import Thresholds
from recovery.detectors.detector import Detector


class Absent(Detector):
    """For a detector that this program does not have: the most patience that any may have. So nobody is condemned who
    would not be by the other, and who is gone is found all the same."""

    def unusual_after(self, intervals: Sequence[float]) -> float:
        del intervals
        return inf

    def hopeless_after(self, intervals: Sequence[float]) -> float:
        del intervals
        return inf


class Foreign(Detector):
    """Asks a detector that is not ours, and takes it for absent whenever it fails."""

    def __init__(self, kind: type[Detector], thresholds: Thresholds, policy: Policy) -> None:
        super().__init__(thresholds, policy)
        try:
            self._asked: Detector = kind(thresholds, policy)
        except Exception:  # noqa: BLE001 - a leader that fails whenever it decides would be worse
            self._asked = Absent(thresholds, policy)

    def __repr__(self) -> str:
        return f"Foreign({self._asked})"

    def unusual_after(self, intervals: Sequence[float]) -> float:
        try:
            return _sane(self._asked.unusual_after(tuple(intervals)))
        except Exception:  # noqa: BLE001
            return inf

    def hopeless_after(self, intervals: Sequence[float]) -> float:
        try:
            return _sane(self._asked.hopeless_after(tuple(intervals)))
        except Exception:  # noqa: BLE001
            return inf


def _sane(answer: object) -> float:
    """A number of seconds; what is none at all counts as endless.

    Raises:
        TypeError: it is nothing of that kind.
    """
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        raise TypeError(f"{answer!r} is no number of seconds")
    return inf if isnan(answer) else float(answer)
