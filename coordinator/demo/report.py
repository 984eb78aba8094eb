"""What remains of a demo: the stories of its recoveries, the history tables, the figures, and where to look further."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from coordinator.demo import words
from coordinator.demo.chronicle import Chronicle
from coordinator.demo.findings import verdicts
from coordinator.demo.plan import ROOT, Plan, shown
from coordinator.demo.stage import Killing, Stage
from events.base import TaskEvent, WorkerEvent
from events.envelope import Recorded
from events.task import TaskCompleted, TaskStarted
from projections.client import query_file

ROWS_MAX = 8
TOOK = "round((details->>'$.duration_s')::DOUBLE * 1000) AS ms"
CLOCK = "strftime(recovery_time, '%H:%M:%S.%g') AS time"
QUERIES = {
    "worker_recovery_history": (
        f"id, worker_id, {CLOCK}, attempt_number AS attempt, success, recovery_type AS type, "
        f"details->>'$.failure_reason' AS reason, {TOOK}"
    ),
    "task_recovery_history": (
        f"id, task_id, worker_id, strftime(recovery_time, '%H:%M:%S') AS time, attempt_number AS attempt, success, "
        f"recovery_type AS type, {TOOK}"
    ),
    "system_recovery_history": (
        f"id, {CLOCK}, system_status AS status, success, affected_workers AS workers, affected_tasks AS tasks, "
        f"details->>'$.kind' AS kind, {TOOK}"
    ),
}
"""What is shown of each table of the history; all of them have a column `details` with the rest."""


def print_report(console: Console, stage: Stage) -> None:
    chronicle = stage.chronicle
    for killing in stage.killings:
        _heading(console, f"The story of {killing.worker_id}{'' if killing.recovered else ', by hand'}, from the log")
        _print_story(console, chronicle, killing)
    for table, columns in QUERIES.items():
        _heading(console, f"{table}, from {shown(stage.plan.db_path)}")
        _print_rows(console, stage.plan.db_path, table, columns)
        if table == "worker_recovery_history":
            console.print(Text(_without_row(stage), "dim"))
    _heading(console, "In figures")
    for name, value in _figures(stage):
        _print_figure(console, name, value)
    _heading(console, "Look further: the log and the history are kept")
    for command in commands(stage):
        console.print(Text(command), soft_wrap=True)


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, "bold underline"))


def _print_story(console: Console, chronicle: Chronicle, killing: Killing) -> None:
    task_id = killing.task_id
    for recorded in _story(chronicle, killing):
        assert recorded.event is not None
        text = Text()
        text.append(f"{recorded.sequence:>6} ", "dim")
        text.append(f"{(recorded.time - killing.at) * 1000:>+8.0f} ms  ")
        text.append_text(words.line(recorded.event, {task_id: "the test"}))
        console.print(text, no_wrap=True, overflow="ellipsis")
    name = Text(f"{'':20}the test is {words.short(chronicle.names[task_id])}, task {task_id}", "dim")
    console.print(name, no_wrap=True, overflow="ellipsis")


def _story(chronicle: Chronicle, killing: Killing) -> Iterator[Recorded]:
    """The worker's own events, and those of the test that was interrupted, up to the end of both."""
    back = final = begun = False
    for recorded in chronicle.after(killing.incarnation):
        event = recorded.event
        if isinstance(event, TaskEvent) and event.task_id == killing.task_id:
            begun = begun or isinstance(event, TaskStarted)
            final = isinstance(event, TaskCompleted)
            if not begun:
                continue
        elif (
            not isinstance(event, WorkerEvent)
            or event.worker_id != killing.worker_id
            or recorded.sequence <= killing.sequence
        ):
            continue
        yield recorded
        back = back or (killing.back_at > 0 and recorded.time >= killing.back_at)
        if back and final:
            return


def _print_rows(console: Console, db_path: Path, table: str, columns: str) -> None:
    result = query_file(db_path, f"SELECT {columns} FROM {table} ORDER BY id")  # noqa: S608 - both are ours
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", show_edge=False)
    for name in result.columns:
        made.add_column(name, no_wrap=True, overflow="ellipsis")
    for row in result.rows[:ROWS_MAX]:
        made.add_row(*(_value(value) for value in row))
    console.print(made)
    if len(result.rows) > ROWS_MAX:
        console.print(Text(f"and {len(result.rows) - ROWS_MAX} more", "dim"))
    if not result.rows:
        console.print(Text("no rows", "dim"))


def _without_row(stage: Stage) -> str:
    by_hand = ", ".join(killing.worker_id for killing in stage.killings if killing.recovered is None)
    return f"{by_hand}, brought back by hand, has no row: no attempt was made"


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}"
    return "" if value is None else str(value)


def _figures(stage: Stage) -> Iterator[tuple[str, str]]:
    told = verdicts(stage.chronicle.events)
    for killing in stage.killings:
        how = "by itself" if killing.recovered else "by hand"
        yield f"{killing.worker_id} back", f"{words.ms(killing.back_at - killing.at)} after its agent was killed, {how}"
    if stage.failover is not None and stage.failover.elected is not None:
        after = words.ms(stage.failover.elected.recorded.time - stage.failover.at)
        yield "a new leader", f"{after} after the old one was killed (its lease lasts 2 s)"
    total = told.counts.total()
    interrupted = sum(len(killing.tasks) for killing in stage.killings)
    yield "tasks preserved", f"{total} of {total}: {interrupted} taken from killed agents, one verdict for each"
    yield "verdicts", ", ".join(f"{count} {verdict}" for verdict, count in told.counts.most_common())
    yield "events", f"{len(stage.chronicle.events)} in the log, {stage.elapsed_s:.1f} s in all"


def _print_figure(console: Console, name: str, value: str) -> None:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=16)
    grid.add_column(overflow="fold")
    grid.add_row(name, Text(value, "bold"))
    console.print(grid)


def commands(stage: Stage) -> list[str]:
    """What to type, in a form that works where the demo was started."""
    plan, killing = stage.plan, stage.killings[0]
    program, folder = _program(), shlex.quote(shown(plan.state_dir))
    history = shlex.quote(shown(plan.db_path))
    return [
        f"{program} replay story {killing.worker_id} --state-dir {folder}",
        f"{program} replay story {killing.task_id} --state-dir {folder}",
        f"{program} replay verify --state-dir {folder}",
        f"{program} report --output report.html \\\n    --db-path {history}",
        f'{program} sql "FROM task_recovery_history" \\\n    --db-path {history}',
    ]


def _program() -> str:
    """How this program is called from here: by its name, by the script beside the interpreter, or as a file."""
    if shutil.which("resurgam"):
        return "resurgam"
    script = Path(sys.executable).parent / "resurgam"
    if os.access(script, os.X_OK):
        return shlex.quote(shown(script))
    return f"{shlex.quote(shown(Path(sys.executable)))} {shlex.quote(shown(ROOT / 'resurgam.py'))}"


def plan_in_words(plan: Plan) -> str:
    return f"{words.several(plan.workers, 'worker')}, at most {plan.run_time_s:g} s; everything is kept in " + shown(
        plan.state_dir
    )
