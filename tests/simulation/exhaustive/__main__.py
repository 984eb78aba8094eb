"""`python -m tests.simulation.exhaustive`: searches, says how far it has come, and tells the way to what it finds."""

import sys
import time
from typing import Annotated

import typer

from tests.simulation.exhaustive.roots import ROOTS, THEMES
from tests.simulation.exhaustive.search import Plan, Progress, Result, Sampling, Search
from tests.simulation.exhaustive.telling import told

PROGRESS_S = 1.0


def search(
    states: Annotated[
        int, typer.Option(min=1, help="Go on until so many distinct states have been examined.")
    ] = 500_000,
    depth: Annotated[int | None, typer.Option(min=0, help="Go no deeper than so many actions from a root.")] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Expand states in so many processes.")] = 1,
    root: Annotated[
        list[str] | None, typer.Option(help=f"Begin here; may be repeated. One of: {', '.join(ROOTS)}.")
    ] = None,
    theme: Annotated[
        str | None, typer.Option(help=f"Leave most actions out, and see deeper. One of: {', '.join(THEMES)}.")
    ] = None,
    endings: Annotated[int, typer.Option(min=1, help="Lead one state of so many to its end.")] = Sampling().endings,
) -> None:
    """Breadth-first search over the pure core, with every order of events and faults. Exit code 1: a violation."""
    roots = tuple(root or ROOTS)
    unknown = set(roots) - set(ROOTS)
    if unknown:
        raise typer.BadParameter(f"there is no root {', '.join(sorted(unknown))}; there are {', '.join(ROOTS)}")
    if theme is not None and theme not in THEMES:
        raise typer.BadParameter(f"there is no theme {theme}; there are {', '.join(THEMES)}")
    plan = Plan(roots, states, depth, processes, Sampling(endings=endings), theme)
    result = Search(plan, _progress() if sys.stderr.isatty() else None).run()
    print(report(result))
    if result.finding is not None:
        print(f"\nThe shortest way there, from the root {result.finding.root!r}:\n{told(result.finding)}")
        raise typer.Exit(1)


def report(result: Result) -> str:
    rate = result.states / result.seconds if result.seconds else 0.0
    own_rate = result.states / result.processor_seconds if result.processor_seconds else 0.0
    levels = " ".join(f"{count:,}" for count in result.levels)
    return (
        f"{result.states:,} distinct states, {result.transitions:,} transitions, all orders of {result.depth} actions\n"
        f"new states by number of actions: {levels}\n"
        f"{result.endings:,} states led to their end\n"
        f"{result.seconds:.1f} s, {rate:,.0f} states/s; {own_rate:,.0f} for a second of processor time\n"
        f"{'no violation' if result.finding is None else 'VIOLATION: ' + result.finding.message}"
    )


def _progress() -> Progress:
    last = time.monotonic()

    def show(result: Result, level: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_S:
            last = now
            sys.stderr.write(
                f"\r{result.states:,} states, {result.transitions:,} transitions, level of {level:,} \x1b[K"
            )
            sys.stderr.flush()

    return show


if __name__ == "__main__":
    typer.run(search)
