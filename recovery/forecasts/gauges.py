"""What runs out on a machine: memory, the disk, the patience of a supervisor."""

from collections.abc import Sequence
from math import isnan
from typing import ClassVar

from events.forecast import Remedy, Resource
from events.policy import Policy
from recovery.forecasts import robust
from recovery.forecasts.predictor import Predictor
from recovery.forecasts.trend import Sample

OWN_SHARE_MIN = 0.5
"""Of the memory that is being used up, what the worker's own processes must take for its restart to be of use."""


class Memory(Predictor):
    """A restart gives back what the worker's own processes have taken, and nothing else: where the growth of these does
    not explain at least half of the loss, somebody else on that machine takes it."""

    resource: ClassVar[Resource] = "memory"

    def left(self, sample: Sample, policy: Policy) -> float:
        del policy
        return sample.memory_available_bytes

    def gauge(self, left: float, policy: Policy) -> float:
        del policy
        return left

    def remedy(self, times: Sequence[float], samples: Sequence[Sample], slope: float) -> tuple[Remedy, float | None]:
        own = [sample.own_bytes for sample in samples]
        if any(isnan(one) for one in own):
            return "none", None
        share = round(robust.slope(times, own) / -slope, 3)
        return ("restart" if share >= OWN_SHARE_MIN else "none"), share


class Disk(Predictor):
    """No restart empties a disk. What helps is to fill it no further: the worker gets nothing more for a while."""

    resource: ClassVar[Resource] = "disk"

    def left(self, sample: Sample, policy: Policy) -> float:
        del policy
        return sample.disk_free_bytes

    def gauge(self, left: float, policy: Policy) -> float:
        del policy
        return left

    def remedy(self, times: Sequence[float], samples: Sequence[Sample], slope: float) -> tuple[Remedy, float | None]:
        del times, samples, slope
        return "cordon", None


class LoopLag(Predictor):
    """An agent whose loop is as late as its supervisor is patient (`watchdog_after`) is killed with all it runs."""

    resource: ClassVar[Resource] = "loop_lag"

    def left(self, sample: Sample, policy: Policy) -> float:
        return policy.watchdog_after - sample.loop_lag_s

    def gauge(self, left: float, policy: Policy) -> float:
        return policy.watchdog_after - left

    def remedy(self, times: Sequence[float], samples: Sequence[Sample], slope: float) -> tuple[Remedy, float | None]:
        del times, samples, slope
        return "restart", None
