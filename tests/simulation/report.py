"""What a campaign shows: a bar while it runs, each failure with the way to see it again, and a table at the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tests.simulation.campaign import Failure, Tally
from tests.simulation.scenario import Scenario
from tests.simulation.schedule import schedule_of
from tests.simulation.shrink import Reduction

HOUR = 3600.0
COLUMN_WIDTH = 38
"""Of a kind of fault and its count."""


class Bar:
    """Shows the tally while a campaign runs; nothing where nobody looks. Use it as a context manager."""

    def __init__(self, total: int, console: Console) -> None:
        columns = (TextColumn("seeds"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
        self._progress = Progress(
            *columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal
        )
        self._task = self._progress.add_task("", total=total)
        self._began = monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, tally: Tally) -> None:
        self._progress.update(self._task, completed=tally.done, description=brief(tally, monotonic() - self._began))

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Makes room on the terminal for something else."""
        self._progress.stop()
        try:
            yield
        finally:
            self._progress.start()


def brief(tally: Tally, wall_s: float) -> str:
    parts = [
        f"{tally.virtual_s / HOUR:,.1f} h simulated",
        f"{_speed(tally.virtual_s, wall_s)} h/h",
        f"{tally.faults.total():,} faults",
        _count(len(tally.failures), "failure"),
    ]
    if tally.reducing:
        parts.append(f"reducing {tally.reducing}")
    return ", ".join(parts)


def show_failure(console: Console, failure: Failure, *, again: str, reduced: str) -> None:
    """`again` and `reduced` are the commands that run its scenario again, and the reduced one if there is one."""
    seed = failure.scenario.seed
    console.print()
    if failure.violation is not None:
        violation = failure.violation
        place = f" at sequence {violation.sequence}" if violation.sequence else ""
        console.print(Text(f"seed {seed} violates {violation.invariant}{place}: {violation.sentence}", "bold red"))
    elif failure.broken is not None:
        console.print(Text(f"seed {seed}: {failure.broken.sentence}", "bold red"))
    if failure.broken is not None and failure.broken.traceback:
        console.print(Text(failure.broken.traceback.rstrip()))
    if failure.log is not None:
        console.print(Text(f"its log: {failure.log}"))
    console.print(Text(f"again: {again}"))
    if failure.reduction is not None and failure.reduction.violation is not None:
        _show_reduction(console, failure, failure.reduction, reduced)
        return
    if failure.reduction is not None:
        sentence = "it did not fail again, so the simulation is not deterministic; it could not be reduced"
        console.print(Text(sentence, "bold red"))
    if failure.reduced_broken is not None:
        console.print(Text(f"it could not be reduced: {failure.reduced_broken.sentence}"))
    _show_story(console, failure.violation.entity if failure.violation else "", failure.story)


def _show_reduction(console: Console, failure: Failure, reduction: Reduction, command: str) -> None:
    assert reduction.violation is not None
    end = "" if reduction.complete else ", and was not at its end"
    console.print(Text(f"reduced to {size_of(reduction.scenario)}; that took {_count(reduction.runs, 'run')}{end}"))
    for fault in schedule_of(reduction.scenario):
        console.print(Text(f"  {fault.sentence()}"))
    console.print(Text(f"there: {reduction.violation.sentence}"))
    console.print(Text(f"again: {command}"))
    _show_story(console, reduction.violation.entity, failure.reduced_story)


def _show_story(console: Console, entity: str, lines: tuple[str, ...]) -> None:
    if not lines:
        return
    console.print(Text(f"the story of {entity}" if entity else "what came last", "underline"))
    for line in lines:
        console.print(Text(line))


def size_of(scenario: Scenario) -> str:
    """`2 faults, 1 worker, 3 tasks, 12.5 s`"""
    tasks = _count(scenario.workload.at_start, "task")
    if scenario.workload.per_minute:
        tasks += f" and {scenario.workload.per_minute:g} a minute"
    parts = [
        _count(len(schedule_of(scenario)), "fault"),
        _count(scenario.workers, "worker"),
        _count(scenario.coordinators, "coordinator"),
        tasks,
        f"{scenario.faulty_s:g} s",
    ]
    return ", ".join(parts)


def show_tally(console: Console, tally: Tally, wall_s: float, processes: int) -> None:
    if tally.faults:
        console.print()
        console.print(_faults_table(tally, max(console.width // COLUMN_WIDTH, 1)))
    console.print()
    verdicts = ", ".join(f"{count:,} {verdict}" for verdict, count in sorted(tally.verdicts.items()))
    speed = (
        f"{_speed(tally.virtual_s, wall_s)} simulated hours an hour with {_count(processes, 'process', 'es')}, "
        f"{_speed(tally.virtual_s, tally.cpu_s)} in each"
    )
    rows = (
        ("seeds", f"{tally.done:,}, of which {_failed(tally)}"),
        ("simulated", f"{tally.virtual_s / HOUR:,.2f} h in {wall_s:,.1f} s"),
        ("speed", speed),
        ("faults", f"{tally.faults.total():,}"),
        ("events", f"{tally.events:,}, and {tally.heartbeats:,} heartbeats"),
        ("tasks", f"{tally.tasks:,}: {verdicts}" if verdicts else f"{tally.tasks:,}"),
        ("digest", tally.digest()),
    )
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(name, value)
    console.print(table)


def _faults_table(tally: Tally, columns: int) -> Table:
    """The commonest first, down the first column."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for _ in range(columns):
        table.add_column("FAULT")
        table.add_column("COUNT", justify="right")
    counted = tally.faults.most_common()
    height = -(-len(counted) // columns)
    for row in range(height):
        cells = [(name, f"{count:,}") for name, count in counted[row::height]]
        table.add_row(*(cell for pair in cells for cell in pair))
    return table


def _failed(tally: Tally) -> str:
    return f"{len(tally.failures):,} failed" if tally.failures else "none failed"


def _speed(virtual_s: float, wall_s: float) -> str:
    return f"{virtual_s / wall_s:,.0f}" if wall_s > 0 else "0"


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}{plural}"
