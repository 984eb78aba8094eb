"""What chance would have done: exact distributions, and what many tests at once do to a probability.

All of it is for statements of the form "at least so often", so all p values are of one side.
"""

import random
from collections.abc import Iterable, Sequence
from math import exp, lgamma

Distribution = list[float]
"""The probability of 0, 1, 2, ... ."""

NEVER_MIXED: Distribution = [1.0]

PERMUTATIONS_MAX = 9_999
EXCEEDED_ENOUGH = 20
"""When so many permutations were as extreme, it is known well enough that nothing is there."""


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def hypergeometric(total: int, marked: int, drawn: int) -> Distribution:
    """How many of `drawn`, taken from `total` without looking, are among the `marked`. Fisher's exact test.

    Source: R. A. Fisher, The Design of Experiments (1935), chapter 2.
    """
    least, most = max(0, drawn + marked - total), min(marked, drawn)
    whole = _log_choose(total, drawn)
    found = [0.0] * (most + 1)
    for number in range(least, most + 1):
        found[number] = exp(_log_choose(marked, number) + _log_choose(total - marked, drawn - number) - whole)
    return found


def summed(one: Distribution, other: Distribution) -> Distribution:
    """Of the sum of two that do not depend on each other."""
    found = [0.0] * (len(one) + len(other) - 1)
    for place, share in enumerate(one):
        if share:
            for further, chance in enumerate(other):
                found[place + further] += share * chance
    return found


def of_chances(chances: Iterable[float]) -> Distribution:
    """How many of several things happen, each with a probability of its own (Poisson's binomial distribution)."""
    found = NEVER_MIXED
    for chance in chances:
        found = summed(found, [1.0 - chance, chance])
    return found


def tail(distribution: Distribution, seen: int) -> float:
    """The probability of `seen` or more."""
    return min(1.0, sum(reversed(distribution[seen:])))


def adjusted(p_values: Sequence[float], tried: int) -> list[float]:
    """Each p value for what it is worth among so many tests, of which all others prove nothing: whoever believes those
    up to 5 % errs in 5 % of what he believes, and, where nothing is there at all, in 5 % of all searches.

    Source: Y. Benjamini and Y. Hochberg, Controlling the false discovery rate, Journal of the Royal Statistical Society
    B 57 (1995), 289-300: the step-up procedure, as adjusted p values.
    """
    number = len(p_values)
    total, least = max(tried, number), 1.0
    found = [1.0] * number
    for place, index in reversed(list(enumerate(sorted(range(number), key=p_values.__getitem__), start=1))):
        least = min(least, p_values[index] * total / place)
        found[index] = least
    return found


def permuted(before: Sequence[float], after: Sequence[float], seed: int) -> float:
    """How often values that are dealt out anew, without looking, make the mean rank behind the line as high or higher.

    Sequential: it stops early where that happens often. Source: J. Besag and P. Clifford, Sequential Monte Carlo p
    values, Biometrika 78 (1991), 301-304.
    """
    ranks = _ranks([*before, *after])
    seen = sum(ranks[len(before) :])
    dealing = random.Random(seed)  # noqa: S311  (nobody is to be surprised: the same history gives the same p)
    exceeded = 0
    for number in range(1, PERMUTATIONS_MAX + 1):
        exceeded += sum(dealing.sample(ranks, len(after))) >= seen
        if exceeded == EXCEEDED_ENOUGH:
            return exceeded / number
    return (exceeded + 1) / (PERMUTATIONS_MAX + 1)


def _ranks(values: Sequence[float]) -> list[float]:
    """Equal values share the mean of their places."""
    ordered = sorted(range(len(values)), key=values.__getitem__)
    found = [0.0] * len(values)
    first = 0
    while first < len(ordered):
        last = first
        while last + 1 < len(ordered) and values[ordered[last + 1]] == values[ordered[first]]:
            last += 1
        for place in range(first, last + 1):
            found[ordered[place]] = (first + last) / 2
        first = last + 1
    return found
