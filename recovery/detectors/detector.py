"""What every detector keeps, whatever it makes of a worker's heartbeats."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

from events.policy import Policy
from events.thresholds import Thresholds


class Detector(ABC):
    """Subclasses say what is unusual. That is held between bounds which no detector can leave: a worker fences itself
    `self_fence_after` after its last acknowledged heartbeat, so nobody is failed before `failed_after`; and one that
    has stopped is suspected by `failed_after`, and failed by `phi_patience_max` times that, however wild it was before.
    """

    def __init__(self, thresholds: Thresholds, policy: Policy) -> None:
        self.thresholds = thresholds
        self.policy = policy
        self.failed_after_max = thresholds.failed_after * policy.phi_patience_max

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.thresholds})"

    @abstractmethod
    def unusual_after(self, intervals: Sequence[float]) -> float:
        """The silence, in seconds, that is worth a suspicion."""

    @abstractmethod
    def hopeless_after(self, intervals: Sequence[float]) -> float:
        """The silence, in seconds, after which nobody expects to hear of the worker."""

    @final
    def suspect_after(self, intervals: Sequence[float]) -> float:
        """Seconds, from `thresholds.suspect_after` to `thresholds.failed_after`.

        `intervals`: seconds between the worker's last heartbeats, oldest first, as `Arrivals.intervals` gives them.
        """
        thresholds = self.thresholds
        return min(max(self.unusual_after(intervals), thresholds.suspect_after), thresholds.failed_after)

    @final
    def failed_after(self, intervals: Sequence[float]) -> float:
        """Seconds, from `thresholds.failed_after` to `failed_after_max`."""
        return min(max(self.hopeless_after(intervals), self.thresholds.failed_after), self.failed_after_max)
