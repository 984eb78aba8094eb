"""Failure detectors: how long a worker may be silent, given how regularly it has been heard.

A detector is pure and knows no clock. It is built from the thresholds of a worker and the policy, is handed the
intervals between the arrivals of that worker's last heartbeats (`recovery.detectors.arrivals`), and says at which time
the present silence becomes suspicious, and at which it is fatal.
"""

from events.policy import Policy
from events.thresholds import Thresholds
from recovery.detectors.arrivals import ARRIVALS_MAX, Arrivals, Heard, intervals_between
from recovery.detectors.deadline import Deadline
from recovery.detectors.detector import Detector
from recovery.detectors.phi import PhiAccrual

__all__ = [
    "ARRIVALS_MAX",
    "DETECTORS",
    "Arrivals",
    "Deadline",
    "Detector",
    "Heard",
    "PhiAccrual",
    "detector_for",
    "intervals_between",
]

DETECTORS: dict[str, type[Detector]] = {"deadline": Deadline, "phi": PhiAccrual}
"""By the name that a policy knows them by."""


def detector_for(thresholds: Thresholds, policy: Policy) -> Detector:
    return DETECTORS[thresholds.detector](thresholds, policy)
