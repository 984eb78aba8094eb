"""Failure detectors: how long a worker may be silent, given how regularly it has been heard.

A detector is pure and knows no clock. It is built from the thresholds of a worker and the policy, is handed the
intervals between the arrivals of that worker's last heartbeats (`recovery.detectors.arrivals`), and says at which time
the present silence becomes suspicious, and at which it is fatal.
"""

from collections.abc import Callable

from events.policy import Policy
from events.thresholds import Thresholds, all_thresholds
from recovery.detectors.arrivals import ARRIVALS_MAX, Arrivals, Heard, intervals_between
from recovery.detectors.deadline import Deadline
from recovery.detectors.detector import Detector
from recovery.detectors.foreign import Absent, Foreign
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
    "installed",
    "intervals_between",
    "look_elsewhere",
    "missing",
]

DETECTORS: dict[str, type[Detector]] = {"deadline": Deadline, "phi": PhiAccrual}
"""Our own, by the name that a policy knows them by."""

Elsewhere = Callable[[str], type[Detector] | None]


def _nowhere(_: str) -> type[Detector] | None:
    return None


_elsewhere: list[Elsewhere] = [_nowhere]


def look_elsewhere(look: Elsewhere) -> None:
    """Where to look for detectors that are not our own, for the whole process. To be said before anything is folded:
    what a name stands for must not change under a state."""
    _elsewhere[0] = look


def installed(name: str) -> type[Detector] | None:
    """None: there is no such detector here."""
    return DETECTORS.get(name) or _elsewhere[0](name)


def missing(policy: Policy) -> list[str]:
    """Which detectors a policy asks for that are not here."""
    names = dict.fromkeys(one.detector for one in all_thresholds(policy))
    return [name for name in names if installed(name) is None]


def detector_for(thresholds: Thresholds, policy: Policy) -> Detector:
    own = DETECTORS.get(thresholds.detector)
    if own is not None:
        return own(thresholds, policy)
    kind = installed(thresholds.detector)
    return Absent(thresholds, policy) if kind is None else Foreign(kind, thresholds, policy)
