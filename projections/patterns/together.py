"""Workers that fail together, more often than workers that know nothing of each other.

Time is cut into slots; the time in which nobody was there does not count. Within an hour, chance may move a
worker's failures to any other slot of that hour: so a bad hour of the whole farm makes nobody a pair. For each hour the
number of common slots is then hypergeometric, and their sum is what the pair is held against.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import combinations
from typing import NamedTuple

from projections.pattern_views import SLOT_S
from projections.patterns.chance import NEVER_MIXED, hypergeometric, summed, tail
from projections.patterns.finding import Finding, Trials, quoted, times
from projections.patterns.material import Material
from projections.window import Window

SUPPORT = 3
CROWD = 64
"""Where more fail in one slot, that slot makes no pairs: it is an incident, and has its own report."""
GROUP_P = 1e-3
"""So sure each pair of a group has to be."""


class _Pair(NamedTuple):
    workers: tuple[str, str]
    seen: int
    expected: float
    p: float


def search(material: Material, window: Window) -> Trials:
    slots: dict[str, set[int]] = defaultdict(set)
    for onset in material.onsets:
        slots[onset.worker_id].add(onset.slot)
    often = sorted(worker_id for worker_id, of_it in slots.items() if len(of_it) >= SUPPORT)
    pairs = [_judged(material, pair, slots) for pair in _candidates(often, slots)]
    hosts = {onset.worker_id: onset.host for onset in material.onsets}
    made = [_finding(group, pair, slots, window, _place(group, hosts)) for group, pair in _groups(pairs)]
    return Trials(made, len(often) * (len(often) - 1) // 2)


def _candidates(often: Iterable[str], slots: dict[str, set[int]]) -> list[tuple[str, str]]:
    present: dict[int, list[str]] = defaultdict(list)
    for worker_id in often:
        for slot in slots[worker_id]:
            present[slot].append(worker_id)
    counts = Counter(pair for workers in present.values() if len(workers) <= CROWD for pair in combinations(workers, 2))
    return [pair for pair, count in counts.items() if count >= SUPPORT]


def _judged(material: Material, pair: tuple[str, str], slots: dict[str, set[int]]) -> _Pair:
    one, other = slots[pair[0]], slots[pair[1]]
    hours = (_by_hour(one), _by_hour(other))
    distribution, expected = NEVER_MIXED, 0.0
    for hour in hours[0].keys() & hours[1].keys():
        total, first, second = material.active[hour], hours[0][hour], hours[1][hour]
        distribution = summed(distribution, hypergeometric(total, first, second))
        expected += first * second / total
    seen = len(one & other)
    return _Pair(pair, seen, expected, tail(distribution, seen))


def _by_hour(slots: Iterable[int]) -> Counter[int]:
    return Counter(slot * SLOT_S // 3600 for slot in slots)


def _groups(pairs: list[_Pair]) -> list[tuple[tuple[str, ...], _Pair]]:
    """Pairs, or, where all of several workers fail together, one group in the place of its pairs. A group is as sure as
    the least sure of its pairs."""
    by_workers = {pair.workers: pair for pair in pairs if pair.p <= GROUP_P}
    found: list[tuple[tuple[str, ...], _Pair]] = []
    taken: set[tuple[str, str]] = set()
    for first in sorted(pairs, key=lambda pair: (pair.p, -pair.seen, pair.workers)):
        if first.workers in taken:
            continue
        group, weakest = list(first.workers), first
        near = sorted({worker for pair in by_workers if set(pair) & set(group) for worker in pair} - set(group))
        for worker_id in near:
            bonds = [by_workers.get((min(one, worker_id), max(one, worker_id))) for one in group]
            known = [bond for bond in bonds if bond is not None and bond.workers not in taken]
            if first.p <= GROUP_P and len(known) == len(group):
                group.append(worker_id)
                weakest = max([weakest, *known], key=lambda pair: pair.p)
        taken.update(combinations(sorted(group), 2))
        found.append((tuple(sorted(group)), weakest))
    return found


def _place(group: tuple[str, ...], hosts: dict[str, str | None]) -> str:
    """Where they are, if that explains it."""
    there = {hosts[worker_id] for worker_id in group}
    host = there.pop()
    return "" if there or host is None else f" (all on {host})"


def _finding(group: tuple[str, ...], pair: _Pair, slots: dict[str, set[int]], window: Window, place: str) -> Finding:
    together = set.intersection(*(slots[worker_id] for worker_id in group))
    seen = len(together) if len(together) >= SUPPORT else pair.seen
    rarest = min(group, key=lambda worker_id: len(slots[worker_id]))
    of = len(slots[rarest])
    lift = pair.seen / pair.expected
    names = f"{', '.join(group[:-1])} and {group[-1]}"
    others = [worker_id for worker_id in group if worker_id != rarest]
    sentence = (
        f"{names}{place} fail together: {seen} of the {of} times that {rarest} failed, "
        f"{' and '.join(others)} failed within the same {SLOT_S} seconds, {times(lift)} as by chance"
    )
    listed = ", ".join(map(quoted, group))
    need = len(group) if len(together) >= SUPPORT else 2
    sql = (
        f"SELECT min(failed_at) AS failed_at, list(worker_id ORDER BY id) AS workers, list(host ORDER BY id) AS hosts, "
        f"list(reason ORDER BY id) AS reasons, list(id ORDER BY id) AS failures FROM failure_onsets "
        f"WHERE worker_id IN ({listed}) AND {window.holds('failed_at')} "
        f"GROUP BY slot HAVING count(DISTINCT worker_id) >= {need} ORDER BY slot"
    )
    return Finding(
        kind="failing_together",
        subject=" + ".join(group),
        sentence=sentence,
        seen=seen,
        of=of,
        expected=pair.expected,
        lift=lift,
        p=pair.p,
        sql=sql,
    )
