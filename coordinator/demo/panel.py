"""The picture of the farm: who leads, a lane for each worker, the progress, the news. As high as there is room for."""

import time
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from coordinator.demo import words
from coordinator.demo.chronicle import Chronicle, Running
from events.clock import utc
from recovery.entities import Worker

if TYPE_CHECKING:
    from coordinator.demo.show import Show

STYLES = {"alive": "green", "failed": "bold red", "exited": "red", "recovering": "magenta", "stopped": "dim"}
ID_WIDTH, STATUS_WIDTH, AGE_WIDTH, DONE_WIDTH = 13, 10, 8, 8
NEWS_MIN, NEWS_MAX = 3, 12
LANES_MIN = 3
FRAME_ROWS = 6
"""Borders, the coordinator, the bar, two empty lines."""

STEPS_ROWS = 9
"""Kept free above, for the steps."""

JUST_BACK_S = 2.5
"""How long a lane says that its worker has come back."""


def panel(show: "Show") -> RenderableType:
    chronicle = show.chronicle
    elapsed = time.monotonic() - show.began
    room = max(0, show.console.height - STEPS_ROWS - FRAME_ROWS)
    lanes = max(LANES_MIN, min(show.plan.workers, room - NEWS_MIN))
    news = max(NEWS_MIN, min(NEWS_MAX, room - lanes))
    body: RenderableType = Text("starting …", "dim")
    if chronicle is not None:
        body = Group(_lanes(show, chronicle, lanes), Text(), _progress(chronicle), Text(), _news(show, chronicle, news))
    return Panel(
        body,
        title=f"[bold]Resurgam demo[/bold] · {show.title}",
        title_align="left",
        subtitle=f"{elapsed:.0f} s of {show.plan.run_time_s:g} s",
        subtitle_align="right",
        border_style="blue",
        padding=(0, 1),
        height=lanes + news + FRAME_ROWS,
    )


def _lanes(show: "Show", chronicle: Chronicle, lanes_max: int) -> Table:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(width=ID_WIDTH, no_wrap=True, overflow="ellipsis")
    grid.add_column(width=STATUS_WIDTH, no_wrap=True, overflow="ellipsis")
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_column(width=AGE_WIDTH, justify="right", no_wrap=True)
    grid.add_column(width=DONE_WIDTH, justify="right", no_wrap=True)
    now = time.time()
    grid.add_row(*_leader(show, chronicle, now))
    running = {one.worker_id: one for one in chronicle.running()}
    for worker_id in _chosen(chronicle, show.plan.worker_ids, lanes_max):
        worker = chronicle.state.workers.get(worker_id)
        status, what, age = _lane(chronicle, worker, running.get(worker_id), now)
        done = chronicle.done[worker_id]
        grid.add_row(worker_id, Text(status, STYLES.get(status, "yellow")), what, age, f"{done} done" if done else "")
    return grid


def _chosen(chronicle: Chronicle, worker_ids: list[str], lanes_max: int) -> list[str]:
    """Where there is not room for all: those to which something has happened."""
    if len(worker_ids) <= lanes_max:
        return worker_ids
    happened = [name for name in worker_ids if (one := chronicle.state.workers.get(name)) and one.failed_at]
    others = [name for name in worker_ids if name not in happened]
    return sorted((happened + others)[:lanes_max], key=worker_ids.index)


def _leader(show: "Show", chronicle: Chronicle, now: float) -> tuple[RenderableType, ...]:
    state = chronicle.state
    name = chronicle.leader or "coordinator-1"
    if show.leaderless_since is not None:
        return name, Text("killed", "bold red"), "nobody leads", words.ms(now - show.leaderless_since), ""
    if state.leader_id is None:
        return name, Text("starting" if not state.term else "stopped", "dim"), "", "", ""
    return name, Text("leads", "green"), f"term {state.term}", "", ""


def _lane(
    chronicle: Chronicle, worker: Worker | None, running: Running | None, now: float
) -> tuple[str, RenderableType, str]:
    """Status, what it does, and for how long."""
    if worker is None:
        return "starting", "", ""
    if worker.status in ("failed", "exited"):
        gone = words.ms(max(0.0, now - worker.failed_at)) if worker.status == "failed" else ""
        if worker.attempt is not None:
            what = f"attempt {worker.attempt.number}, {worker.attempt.strategy}: {worker.attempt.status}"
            return "recovering", Text(what, "magenta"), gone
        off = "" if chronicle.state.policy.auto_recovery else "automatic recovery is off"
        return worker.status, Text(off, "yellow"), gone
    if worker.attempt is not None:
        what = f"new incarnation registered: {worker.attempt.status}"
        return "recovering", Text(what, "magenta"), words.ms(max(0.0, now - worker.failed_at))
    if worker.recovered_at and now - worker.recovered_at < JUST_BACK_S:
        took = words.ms(worker.recovered_at - worker.failed_at)
        return worker.status, Text(f"back {took} after its failure", "bold green"), ""
    if running is None:
        return worker.status, "", ""
    name = words.short(chronicle.names.get(running.task_id, running.task_id))
    age = max(0.0, now - running.since)
    return worker.status, Text(name), f"{age:.1f} s" if age >= 0.1 else ""


def _progress(chronicle: Chronicle) -> Table:
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(ratio=1)
    grid.add_column(justify="right", no_wrap=True)
    state = chronicle.state
    status = Text(state.status, {"healthy": "green", "idle": "dim", "degraded": "yellow"}.get(state.status, "red"))
    text = Text("no tests yet", "dim")
    if chronicle.submitted:
        text = Text.assemble(
            f" {chronicle.final} of {chronicle.submitted} tests, {chronicle.requeued} requeued, the farm is ", status
        )
    grid.add_row(ProgressBar(total=max(1, chronicle.submitted), completed=chronicle.final), text)
    return grid


def _news(show: "Show", chronicle: Chronicle, lines: int) -> Group:
    shown = []
    whom_max = words.whom_width(show.console.width)
    for recorded in show.news[-lines:]:
        assert recorded.event is not None
        text = Text(f"{utc(recorded.time):%H:%M:%S.%f}"[:-3] + "  ", "dim", no_wrap=True, overflow="ellipsis")
        text.append_text(words.line(recorded.event, chronicle.names, whom_max=whom_max))
        shown.append(text)
    return Group(*shown)
