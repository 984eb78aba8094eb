"""Tests under which workers die, more often than because they run for long.

A death that has nothing to do with what was running comes at any moment of the time in which that worker ran anything.
So a test was running then with the probability that is its share of that time, worker by worker: one that runs for
half of the time is there at half of the deaths, and one that runs on a bad machine only is there at its deaths. The
number of deaths is held against the permutation in which each death is given another such moment; its distribution is
known exactly, as the sum of things with a probability each.
"""

from collections import defaultdict

from projections.patterns.chance import of_chances, tail
from projections.patterns.finding import Finding, Trials, quoted, times
from projections.patterns.material import Material
from projections.window import Window

SUPPORT = 2
"""Since the third death under a test puts it into quarantine: more need not come."""


def search(material: Material, window: Window) -> Trials:
    places = {(death.failure, death.worker_id) for death in material.deaths}
    present: dict[str, set[int]] = defaultdict(set)
    for death in material.deaths:
        present[death.command].add(death.failure)
    made = []
    for command, failures in sorted(present.items()):
        if len(failures) < SUPPORT:
            continue
        chances = [material.shares.get((worker_id, command), 0.0) for _, worker_id in places]
        expected = sum(chances)
        seen = len(failures)
        made.append(_finding(command, seen, len(places), expected, tail(of_chances(chances), seen), window))
    return Trials(made, material.commands if places else 0)


def _finding(command: str, seen: int, of: int, expected: float, p: float, window: Window) -> Finding:
    lift = seen / expected
    return Finding(
        kind="deadly_test",
        subject=command,
        sentence=(
            f"workers die under {command}: it was running at {seen} of {of} deaths of busy workers, {times(lift)} as "
            f"the time that it takes would make it"
        ),
        seen=seen,
        of=of,
        expected=expected,
        lift=lift,
        p=p,
        sql=(
            f"SELECT id, min(failed_at) AS failed_at, any_value(worker_id) AS worker_id, any_value(reason) AS reason, "
            f"list(task_id) AS tasks FROM deaths_under_tests WHERE command = {quoted(command)} "
            f"AND {window.holds('failed_at')} GROUP BY id ORDER BY id"
        ),
    )
