"""What happens shortly before a worker fails, and hardly at other times of its life.

Each life of a worker that ended in a failure is cut, from its end, into minutes. The last one is compared
with the others of the same life, so that nothing counts that a worker always shows: a case-crossover design
(M. Maclure, The case-crossover method, American Journal of Epidemiology 133 (1991), 144-153). If a sign had nothing
to do with the failure, each of the minutes that have it might as well be the last. A motif is one kind of event, or one
that follows upon another within the minute.
"""

from collections import defaultdict
from itertools import combinations
from typing import NamedTuple

from projections.pattern_views import SIGN_S
from projections.patterns.chance import of_chances, tail
from projections.patterns.finding import Finding, Trials, quoted, times
from projections.patterns.material import Material
from projections.window import Window

SUPPORT = 3
SYMBOLS_MAX = 12
"""In one minute; what comes after is left out."""

Motif = tuple[str, ...]


class _Judged(NamedTuple):
    motif: Motif
    lives: frozenset[int]
    """Those whose last minute has it."""
    expected: float
    p: float


def search(material: Material, window: Window) -> Trials:
    minutes = {life.failure: life.minutes for life in material.lives}
    places = _places(material)
    made = []
    # Where it stands is not looked at here, so those that are left out have no part in the number of trials.
    frequent = {motif: found for motif, found in places.items() if len({life for life, _ in found}) >= SUPPORT}
    for motif, found in sorted(frequent.items()):
        in_life: dict[int, int] = defaultdict(int)
        for life, _ in found:
            in_life[life] += 1
        chances = [number / minutes[life] for life, number in in_life.items()]
        seen = frozenset(life for life, minute in found if minute == 0)
        if len(seen) >= SUPPORT:
            made.append(_Judged(motif, seen, sum(chances), tail(of_chances(chances), len(seen))))
    kept = [one for one in made if not any(_says_more(other, one) for other in made)]
    return Trials([_finding(one, len(minutes), window) for one in kept], len(frequent))


def _places(material: Material) -> dict[Motif, set[tuple[int, int]]]:
    """For each motif, the minutes of lives that have it."""
    within: dict[tuple[int, int], list[str]] = defaultdict(list)
    for sign in material.signs:
        within[sign.failure, sign.minute].append(sign.symbol)
    places: dict[Motif, set[tuple[int, int]]] = defaultdict(set)
    for place, symbols in within.items():
        told = symbols[:SYMBOLS_MAX]
        for symbol in told:
            places[symbol,].add(place)
        for first, second in combinations(told, 2):
            if first != second:
                places[first, second].add(place)
    return places


def _says_more(other: _Judged, one: _Judged) -> bool:
    """The longer one is told, where it is there before the same failures, and no less sure."""
    return (
        len(other.motif) > len(one.motif)
        and set(one.motif) <= set(other.motif)
        and (other.lives == one.lives and other.p <= one.p)
    )


def _finding(one: _Judged, lives: int, window: Window) -> Finding:
    seen, lift = len(one.lives), len(one.lives) / one.expected
    name = " then ".join(one.motif)
    return Finding(
        kind="motif",
        subject=name,
        sentence=(
            f"{name} comes within the {SIGN_S} s before {seen} of {lives} failures, {times(lift)} as at other times of "
            f"the same workers"
        ),
        seen=seen,
        of=lives,
        expected=one.expected,
        lift=lift,
        p=one.p,
        sql=_rows(one.motif, window),
    )


def _rows(motif: Motif, window: Window) -> str:
    first, last = quoted(motif[0]), quoted(motif[-1])
    order = f"HAVING min(sequence) FILTER (symbol = {first}) < max(sequence) FILTER (symbol = {last}) "
    return (
        f"SELECT id, min(failed_at) AS failed_at, any_value(worker_id) AS worker_id, "
        f"list(sequence ORDER BY sequence) AS events FROM signs_before_failures "
        f"WHERE minute = 0 AND symbol IN ({', '.join(dict.fromkeys((first, last)))}) AND {window.holds('failed_at')} "
        f"GROUP BY id {order if len(motif) > 1 else ''}ORDER BY id"
    )
