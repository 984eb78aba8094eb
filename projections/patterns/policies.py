"""What has become worse with a change of the policy, against the time from the change before it.

How often workers fail: chance may move the failures to any slot, before or after, in which the farm was up. How many
are not brought back: Fisher's exact test. How long it takes to bring one back: a permutation test on ranks, since a
repair that takes minutes would drown all others in a mean.
"""

from collections.abc import Iterator
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from projections.pattern_views import SLOT_S
from projections.patterns.chance import hypergeometric, permuted, tail
from projections.patterns.finding import Finding, Trials
from projections.patterns.material import Material, Onset, Period
from projections.window import Window, timestamp_us

SUPPORT = 3
COMPARED_MAX = 500
"""Repairs on each side of a change: the nearest ones."""
LESS_THAN_ONE = 0.5
"""What stands for none where something is compared with it."""
RECOVERY_S_MIN = 0.001


class _Side(NamedTuple):
    period: Period
    failures: list[Onset]
    """The first in each slot: what fails together is one failure here."""


def search(material: Material, window: Window) -> Trials:
    del window  # the periods lie in it
    sides = [_Side(period, _within(material.onsets, period)) for period in material.periods]
    made: list[Finding] = []
    tried = 0
    for before, after in pairwise(sides):
        if not before.failures and not after.failures:
            continue
        tried += 3
        made += (one for one in _worse(before, after) if one.seen >= SUPPORT)
    return Trials(made, tried)


def _within(onsets: list[Onset], period: Period) -> list[Onset]:
    slots: dict[int, Onset] = {}
    for onset in onsets:
        if period.began_us <= onset.at_us < period.ended_us:
            slots.setdefault(onset.slot, onset)
    return list(slots.values())


def _worse(before: _Side, after: _Side) -> Iterator[Finding]:
    yield from _more_failures(before, after)
    yield from _more_lost(before, after)
    yield from _slower(before, after)


def _more_failures(before: _Side, after: _Side) -> Iterator[Finding]:
    total, seen = len(before.failures) + len(after.failures), len(after.failures)
    slots = before.period.slots + after.period.slots
    expected = total * after.period.slots / slots
    if seen <= expected:
        return
    hours = [side.period.slots * SLOT_S / 3600 for side in (before, after)]
    yield _finding(
        after,
        f"workers fail more often: {seen} times in {hours[1]:.1f} h, before it {len(before.failures)} "
        f"times in {hours[0]:.1f} h",
        (seen, total, expected),
        seen / after.period.slots / (max(len(before.failures), LESS_THAN_ONE) / before.period.slots),
        tail(hypergeometric(slots, total, after.period.slots), seen),
        "SELECT * FROM failure_onsets WHERE {after} "
        "QUALIFY row_number() OVER (PARTITION BY slot ORDER BY id) = 1 ORDER BY id",
    )


def _more_lost(before: _Side, after: _Side) -> Iterator[Finding]:
    lost = [sum(onset.lost for onset in side.failures) for side in (before, after)]
    total = len(before.failures) + len(after.failures)
    seen, of = lost[1], len(after.failures)
    expected = sum(lost) * of / total
    if seen <= expected:
        return
    yield _finding(
        after,
        f"fewer workers are brought back: {seen} of {of} were not, before it {lost[0]} of {len(before.failures)}",
        (seen, of, expected),
        seen / of / (max(lost[0], LESS_THAN_ONE) / max(len(before.failures), 1)),
        tail(hypergeometric(total, sum(lost), of), seen),
        "SELECT * FROM failure_onsets WHERE {after} "
        "QUALIFY row_number() OVER (PARTITION BY slot ORDER BY id) = 1 "
        "AND resolution IN ('permanent', 'failed_again') ORDER BY id",
    )


def _slower(before: _Side, after: _Side) -> Iterator[Finding]:
    taken = [[one.recovery_s for one in side.failures if one.recovery_s is not None] for side in (before, after)]
    slow, new = taken[0][-COMPARED_MAX:], taken[1][:COMPARED_MAX]
    if not slow or len(new) < SUPPORT or median(new) <= median(slow):
        return
    usual = max(median(slow), RECOVERY_S_MIN)
    seen = sum(one > usual for one in new)
    yield _finding(
        after,
        f"workers are back later: after {median(new):.1f} s (median of {len(new)}), before it {usual:.1f} s (of "
        f"{len(slow)}); {seen} took longer than that",
        (seen, len(new), len(new) / 2),
        median(new) / usual,
        permuted(slow, new, seed=after.period.sequence),
        "SELECT * FROM (SELECT * FROM failure_onsets WHERE {after} "
        "QUALIFY row_number() OVER (PARTITION BY slot ORDER BY id) = 1) WHERE recovery_s IS NOT NULL "
        f"QUALIFY row_number() OVER (ORDER BY id) <= {COMPARED_MAX} AND recovery_s > {usual!r} ORDER BY id",
    )


def _finding(after: _Side, what: str, counts: tuple[int, int, float], lift: float, p: float, sql: str) -> Finding:
    seen, of, expected = counts
    period = after.period
    since = timestamp_us(period.began_us)
    within = f"failed_at >= {since} AND failed_at < {timestamp_us(period.ended_us)}"
    return Finding(
        kind="policy",
        subject=f"policy {period.sequence}",
        sentence=f"since the policy changed at event {period.sequence} (by {period.actor}: {period.changes}), {what}",
        seen=seen,
        of=of,
        expected=expected,
        lift=lift,
        p=p,
        sql=sql.format(after=within),
    )
