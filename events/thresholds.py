"""How much silence is allowed to one worker: the policy, its overrides and the pace of the farm taken together.

Leader and worker must come to the same numbers, so both ask here.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from events.policy import DetectorName, Override, Policy


class Thresholds(NamedTuple):
    """Seconds, the pace of the farm included. `self_fence_after` is always less than `failed_after`."""

    heartbeat_interval: float
    suspect_after: float
    self_fence_after: float
    failed_after: float
    first_heartbeat_timeout: float
    """Never less than `failed_after`: until its first heartbeat a worker counts its own silence from its registration,
    and may have tasks."""
    detector: DetectorName


def thresholds_for(policy: Policy, worker_id: str, labels: Mapping[str, str], stretch: float = 1.0) -> Thresholds:
    """What a worker of that id, registered with these labels, lives by.

    `stretch` is that of the last `PaceChanged`; 1.0 before the first.
    """
    for override in policy.overrides:
        if fnmatchcase(worker_id, override.worker) and override.labels.items() <= labels.items():
            return _thresholds(policy, override, stretch)
    return _thresholds(policy, None, stretch)


def all_thresholds(policy: Policy, stretch: float = 1.0) -> list[Thresholds]:
    """What any worker may live by: those that no override fits first."""
    return [_thresholds(policy, override, stretch) for override in (None, *policy.overrides)]


def most_patient(choice: Iterable[Thresholds]) -> Thresholds:
    """The longest of each number: a worker that lives by any of these has fenced itself before it is failed by the
    result. The detector is that of the last one.

    Raises:
        ValueError: there is none.
    """
    *numbers, detectors = zip(*choice, strict=True)
    return Thresholds._make([*map(max, numbers), detectors[-1]])


def _thresholds(policy: Policy, override: Override | None, stretch: float) -> Thresholds:
    suspect_after, self_fence_after, failed_after, first_heartbeat_timeout = policy.silences(override)
    return Thresholds(
        policy.heartbeat_interval * stretch,
        suspect_after * stretch,
        self_fence_after * stretch,
        failed_after * stretch,
        max(first_heartbeat_timeout, failed_after) * stretch,
        policy.detector if override is None or override.detector is None else override.detector,
    )
