"""Hours of the day (UTC) at which workers fail on more days than they would at any hour.

What is counted is days, so that one bad night is one and not twenty. On a day with so many failures, chance may move
them to any other slot of that day in which the farm was up.
"""

from collections import Counter, defaultdict

from projections.patterns.chance import hypergeometric, of_chances, tail
from projections.patterns.finding import Finding, Trials, times
from projections.patterns.material import Material
from projections.window import Window

SUPPORT = 3


def search(material: Material, window: Window) -> Trials:
    slots = {onset.slot: onset.hour for onset in material.onsets}
    failing: dict[int, Counter[int]] = defaultdict(Counter)
    for hour in slots.values():
        failing[hour // 24][hour % 24] += 1
    active: Counter[int] = Counter()
    for hour, number in material.active.items():
        active[hour // 24] += number
    made, tried = [], 0
    for hour in range(24):
        days = [day for day in failing if day * 24 + hour in material.active]
        chances = [
            1 - hypergeometric(active[day], material.active[day * 24 + hour], failing[day].total())[0] for day in days
        ]
        seen = sum(hour in failing[day] for day in days)
        # Where it may be seen so often at all; that does not depend on when anything failed within a day.
        tried += len(days) >= SUPPORT
        if seen >= SUPPORT:
            made.append(_finding(hour, seen, len(days), chances, window))
    return Trials(made, tried)


def _finding(hour: int, seen: int, of: int, chances: list[float], window: Window) -> Finding:
    expected = sum(chances)
    lift = seen / expected
    return Finding(
        kind="time_of_day",
        subject=f"{hour:02}:00-{hour:02}:59 UTC",
        sentence=(
            f"workers fail between {hour:02}:00 and {hour:02}:59 UTC on {seen} of the {of} days with failures, "
            f"{times(lift)} as at any hour"
        ),
        seen=seen,
        of=of,
        expected=expected,
        lift=lift,
        p=tail(of_chances(chances), seen),
        sql=(
            f"SELECT failed_at::DATE AS day, count(*) AS failures, list(DISTINCT worker_id) AS workers, "
            f"list(id ORDER BY id) AS ids FROM failure_onsets WHERE hour(failed_at) = {hour} "
            f"AND {window.holds('failed_at')} GROUP BY day ORDER BY day"
        ),
    )
