"""What every predictor of exhaustion keeps: when something that is left to a worker will have run out.

A predictor is pure and knows no clock. It is handed the samples of a worker's gauges (`recovery.forecasts.trend`) and
says what it foresees, or nothing. Subclasses say what runs out, and what can be done about it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import isnan
from typing import ClassVar, NamedTuple, final

from events.forecast import Remedy, Resource
from events.policy import Policy
from recovery.forecasts import robust
from recovery.forecasts.trend import Sample

TAU_MIN = 0.6
"""How closely what is left must follow time, by Kendall's rank correlation."""
REACH = 1.5
"""No trend is drawn out further than so many times the time over which it was seen."""
GOES_ON = 0.5
"""The share of the slope that the last third of the samples must have as well: what has stopped is no trend."""
SCREEN = 2.0
"""By how much the two ends may exaggerate how long the rest lasts."""


class Outlook(NamedTuple):
    """Something runs out, if all goes on as it went."""

    resource: Resource
    value: float
    """Of the gauge, at the last sample."""
    limit: float
    slope: float
    """Of the gauge, a second."""
    expected_at: float
    """When it reaches its limit."""
    since: float
    """The time of the first sample."""
    first: int
    last: int
    """Sequences in HEARTBEATS of the first and the last sample."""
    samples: int
    remedy: Remedy
    own_share: float | None = None
    """Of the slope, what the worker's own processes explain; None: not known, or not asked."""
    own_bytes: float | None = None
    """What they have."""
    usual: float | None = None
    """Under `errors`: what would not be worth a word."""


class Predictor(ABC):
    resource: ClassVar[Resource]

    @abstractmethod
    def left(self, sample: Sample, policy: Policy) -> float:
        """How much is left until the limit; not a number: not known."""

    @abstractmethod
    def gauge(self, left: float, policy: Policy) -> float:
        """What the gauge shows when so much is left."""

    @abstractmethod
    def remedy(self, times: Sequence[float], samples: Sequence[Sample], slope: float) -> tuple[Remedy, float | None]:
        """What helps, and the share of the slope that is the worker's own doing. `slope`: of what is left."""

    @final
    def outlook(self, samples: Sequence[Sample], policy: Policy) -> Outlook | None:
        """What these samples and those before the last of them both foresee: one sample does not turn the tide."""
        known = [sample for sample in samples if not isnan(self.left(sample, policy))]
        count = policy.forecast_samples
        if len(known) <= count or self._outlook(known[-count - 1 : -1], policy) is None:
            return None
        return self._outlook(known[-count:], policy)

    @final
    def near(self, first: Sample, last: Sample, policy: Policy) -> bool:
        """Whether samples that begin and end like that may foresee anything, told at little cost. Most do not."""
        now = self.left(last, policy)
        fallen = self.left(first, policy) - now
        # Of what is unknown nothing is true.
        return fallen > 0.0 and now * (last.time - first.time) <= SCREEN * policy.forecast_horizon * fallen

    def _outlook(self, samples: Sequence[Sample], policy: Policy) -> Outlook | None:
        times = [sample.time for sample in samples]
        left = [self.left(sample, policy) for sample in samples]
        slope = robust.slope(times, left)
        span = times[-1] - times[0]
        if slope >= 0.0 or -slope * span < policy.forecast_change_min * max(left):
            return None
        now = max(0.0, min(left[-1], robust.level(times, left, slope)))
        lasts = now / -slope
        if lasts > policy.forecast_horizon or lasts > REACH * span or robust.tau(left) > -TAU_MIN:
            return None
        third = len(times) // 3
        parts = (slice(0, third), slice(third, -third), slice(-third, None))
        if any(robust.slope(times[part], left[part]) > GOES_ON * slope for part in parts):
            return None
        remedy, own_share = self.remedy(times, samples, slope)
        own = samples[-1].own_bytes
        limit = self.gauge(0.0, policy)
        value = self.gauge(left[-1], policy)
        return Outlook(
            resource=self.resource,
            value=value,
            limit=limit,
            slope=slope if limit <= value else -slope,
            expected_at=times[-1] + lasts,
            since=times[0],
            first=int(samples[0].sequence),
            last=int(samples[-1].sequence),
            samples=len(samples),
            remedy=remedy,
            own_share=own_share,
            own_bytes=None if isnan(own) else own,
        )
