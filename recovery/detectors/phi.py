"""Phi accrual: the more irregular a worker's heartbeats have been, the more silence is allowed to it.

N. Hayashibara, X. Defago, R. Yared, T. Katayama, "The phi accrual failure detector", SRDS 2004: phi is -log10 of the
probability that a heartbeat comes later than now, if the intervals between heartbeats are distributed normally with the
mean and deviation of the last ones. Phi grows with the silence, so the time at which it reaches a threshold is known as
soon as a heartbeat has come: the quantile of that distribution.

A smallest deviation, and a pause that is nobody's fault, as the detectors of Akka and Cassandra have them: a worker
that was very regular would otherwise be suspected for a hiccup. Both are given in heartbeat intervals. Intervals longer
than `failed_after` are no jitter but ends, and teach nothing.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import erfc, fsum, inf, log10, sqrt
from statistics import NormalDist

from events.policy import Policy
from events.thresholds import Thresholds
from recovery.detectors.detector import Detector

SQRT_2 = sqrt(2.0)
INTERVALS_MIN = 8
"""Below so many, a mean and a deviation say nothing: the thresholds stand as they are."""
DECIMALS = 6
"""Of a second. Rounded, so that mathematical libraries which differ in the last digit agree on the result."""


class PhiAccrual(Detector):
    def __init__(self, thresholds: Thresholds, policy: Policy) -> None:
        super().__init__(thresholds, policy)
        self._pause = policy.phi_pause * thresholds.heartbeat_interval
        self._deviation_min = policy.phi_deviation_min * thresholds.heartbeat_interval

    def unusual_after(self, intervals: Sequence[float]) -> float:
        return self._reaches(self.policy.phi_suspect, intervals)

    def hopeless_after(self, intervals: Sequence[float]) -> float:
        return self._reaches(self.policy.phi_failed, intervals)

    def phi(self, silence: float, intervals: Sequence[float]) -> float | None:
        """How suspicious a silence of so many seconds is; infinite where its probability is too small for a float.
        None: nothing is known of this worker."""
        usual = self._usual(intervals)
        if usual is None:
            return None
        mean, deviation = usual
        later = erfc((silence - mean) / deviation / SQRT_2) / 2
        return -log10(later) if later else inf

    def _reaches(self, phi: float, intervals: Sequence[float]) -> float:
        """The silence at which phi is that high; 0.0: nothing is known of this worker."""
        usual = self._usual(intervals)
        if usual is None:
            return 0.0
        mean, deviation = usual
        return round(mean + deviations(phi) * deviation, DECIMALS)

    def _usual(self, intervals: Sequence[float]) -> tuple[float, float] | None:
        """Mean, with the pause that is allowed to everybody, and deviation of the distribution."""
        taken = [one for one in intervals if 0.0 < one <= self.thresholds.failed_after]
        if len(taken) < INTERVALS_MIN:
            return None
        mean = fsum(taken) / len(taken)
        deviation = sqrt(fsum((one - mean) ** 2 for one in taken) / len(taken))
        return mean + self._pause, max(deviation, self._deviation_min)


@lru_cache(maxsize=64)
def deviations(phi: float) -> float:
    """By how many standard deviations a heartbeat must be late for phi to be that high."""
    return -NormalDist().inv_cdf(10.0**-phi)
