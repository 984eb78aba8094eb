"""Slopes and trends of a few points, hardly touched by outliers: arithmetic, without state.

What is searched for is what research on software aging searches for, with its tools: the trend test of Mann (1945) and
Kendall (1975), and the slope of Theil (1950) and Sen (1968), first put to a system's resources by S. Garg, A. van
Moorsel, K. Vaidyanathan, K. Trivedi, "A methodology for detection and estimation of software aging", ISSRE 1998. The
test alone sees aging where there is none (F. Machida, A. Andrzejak, R. Matias, E. Vicente, "On the effectiveness of
Mann-Kendall test for detection of software aging", WoSAR 2013): here it is one condition of several.
"""

from collections.abc import Sequence
from statistics import median


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """The median of the slopes between all pairs of points, per second. Times ascend strictly; two points at least.

    Up to 29 % of the points may be anything. Costs the square of their number.
    """
    count = len(times)
    return median(
        (values[later] - values[earlier]) / (times[later] - times[earlier])
        for earlier in range(count - 1)
        for later in range(earlier + 1, count)
    )


def level(times: Sequence[float], values: Sequence[float], of_slope: float) -> float:
    """Where the line of that slope is at the last of the times: half of the points lie above it, half below."""
    last = times[-1]
    return median(value + of_slope * (last - time) for time, value in zip(times, values, strict=True))


def tau(values: Sequence[float]) -> float:
    """Kendall's rank correlation with time, from -1.0 (each value is less than the one before) to 1.0."""
    count = len(values)
    balance = sum(
        (values[later] > values[earlier]) - (values[later] < values[earlier])
        for earlier in range(count - 1)
        for later in range(earlier + 1, count)
    )
    return balance / (count * (count - 1) / 2)
