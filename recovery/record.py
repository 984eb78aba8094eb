"""What has helped against which failure so far: the record of every strategy, over all workers.

The estimate is Laplace's rule of succession, (s + 1) / (s + f + 2), the mean of what a uniform prior leaves after s
successes and f failures ("Mémoire sur la probabilité des causes", 1774): one lucky try does not outdo fifty good ones,
and what was never tried stands between what mostly helps and what mostly does not. Farms change, so old attempts fade:
whenever a record has grown to `ATTEMPTS_MAX` both its counts are halved, a coarse form of the discounted counts of
Garivier and Moulines, "On Upper-Confidence Bound Policies for Switching Bandit Problems" (2011). Nothing is tried for
the sake of learning: whatever stands behind is tried anyway when the one in front has failed.
"""

from collections import OrderedDict
from dataclasses import dataclass

from events.failures import FailureReason, StrategyName

ATTEMPTS_MAX = 100
RECORDS_MAX = 1_000
"""Strategies come and go with policies: those that were used last are kept in mind."""


@dataclass(slots=True)
class Record:
    """Of one strategy against failures for one reason. Drills do not count, nor what could not be done at all."""

    succeeded: int = 0
    failed: int = 0

    @property
    def estimate(self) -> float:
        """The probability that the next attempt succeeds."""
        return (self.succeeded + 1) / (self.succeeded + self.failed + 2)


Records = OrderedDict[tuple[FailureReason, StrategyName], Record]


def note(records: Records, reason: FailureReason, strategy: StrategyName, *, success: bool) -> None:
    # Taken out and put in again: the order that `move_to_end` makes is not the one in which msgspec writes a mapping.
    record = records[reason, strategy] = records.pop((reason, strategy), Record())
    if len(records) > RECORDS_MAX:
        records.popitem(last=False)
    record.succeeded += success
    record.failed += not success
    if record.succeeded + record.failed >= ATTEMPTS_MAX:
        record.succeeded //= 2
        record.failed //= 2
