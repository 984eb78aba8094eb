"""Looks for the first seed that catches a planted bug, and keeps the table of what was found in docs/simulator.md."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.simulation.campaign import Campaign, Settings
from tests.simulation.planted import BUGS
from tests.simulation.planted.bug import Bug
from tests.simulation.schedule import scenario_of

PAGE = Path(__file__).parents[3] / "docs" / "simulator.md"
SIMULATORS = "tests.simulation.planted.simulators"
SEEDS_MAX = 1000
SECONDS_MAX = 300.0
"""Of this machine's clock, for one seed."""

BEGIN, END = "<!-- planted bugs: begin -->", "<!-- planted bugs: end -->"
HEAD = "| bug | what somebody did | seed | seeds needed | invariant |\n|---|---|---|---|---|\n"
ROW = re.compile(r"^\| `([^`|]+)` \| .* \| (\d+) \| (\d+) \| `([^`|]+)` \|$", re.MULTILINE)


class Catch(NamedTuple):
    """The first seed with which the bug breaks an invariant that holds without it."""

    bug: str
    seed: int
    seeds: int
    """How many were run to find it, itself included."""
    invariant: str
    sentence: str = ""
    """The violation's own; the table has no room for it."""


class Hunted(NamedTuple):
    bug: str
    catch: Catch | None
    broken: tuple[str, ...]
    """Runs that came to no end, and why: neither caught nor clean."""


def hunt(planted: Bug, seeds: range, processes: int) -> Hunted:
    """Runs the seeds in order until one catches the bug."""
    settings = Settings(
        processes=processes,
        shrink=False,
        stop_after=1,
        seconds_max=SECONDS_MAX,
        simulator=f"{SIMULATORS}:{planted.name}",
    )
    broken: list[str] = []
    first = seeds.start
    while first < seeds.stop:
        tally = Campaign((scenario_of(seed) for seed in range(first, seeds.stop)), settings).run()
        # Several are under way at a time. Those before the one that failed first have been done as well.
        failures = sorted(tally.failures, key=lambda failure: failure.scenario.seed)
        if not failures:
            break
        for failure in failures:
            seed, violation = failure.scenario.seed, failure.violation
            if violation is not None:
                needed = seed - seeds.start + 1
                catch = Catch(planted.name, seed, needed, violation.invariant, violation.sentence)
                return Hunted(planted.name, catch, tuple(broken))
            broken.append(f"seed {seed}: {failure.broken.sentence if failure.broken else 'no outcome'}")
        first = failures[-1].scenario.seed + 1
    return Hunted(planted.name, None, tuple(broken))


def rows(text: str) -> list[Catch]:
    """What the table on a page says."""
    table = text.partition(BEGIN)[2].partition(END)[0]
    return [Catch(name, int(seed), int(seeds), invariant) for name, seed, seeds, invariant in ROW.findall(table)]


def table_of(catches: Iterable[Catch]) -> str:
    return HEAD + "".join(
        f"| `{catch.bug}` | {BUGS[catch.bug].mistake} | {catch.seed} | {catch.seeds} | `{catch.invariant}` |\n"
        for catch in catches
    )


def updated(text: str, found: Sequence[Catch]) -> str:
    """The page with the rows of what was found in the place of the old ones, in the order of `BUGS`.

    Raises:
        ValueError: the page has no place for the table.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} holds no lines {BEGIN} and {END}")
    known = {catch.bug: catch for catch in (*rows(text), *found)}
    table = table_of(known[name] for name in BUGS if name in known)
    return f"{before}{BEGIN}\n{table}{END}{after}"
