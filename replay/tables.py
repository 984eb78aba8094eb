"""A state as tables for people."""

from rich.console import Console
from rich.table import Table

from events.clock import utc
from recovery.entities import Task, Worker
from recovery.state import State

WIDTH_OF_NO_TERMINAL = 240


def console() -> Console:
    """For stdout: as wide as the terminal, and wide enough for whole lines where there is none."""
    made = Console(highlight=False)
    if not made.is_terminal:
        made.width = WIDTH_OF_NO_TERMINAL
    return made


def table(*headings: str) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        made.add_column(heading, overflow="fold")
    return made


def workers_table(state: State, workers: list[Worker]) -> Table:
    made = table("WORKER", "STATUS", "INCARNATION", "TASKS", "SLOTS", "LAST HEARTBEAT", "RECOVERY", "HOST")
    for worker in workers:
        beat = state.last_beat(worker)
        attempt = worker.attempt
        made.add_row(
            worker.worker_id,
            worker.status,
            f"{worker.ordinal} (at {worker.incarnation})",
            str(len(worker.held)),
            str(worker.slots),
            "none" if beat is None else f"{utc(beat.time):%H:%M:%S}",
            "" if attempt is None else f"attempt {attempt.number}, {attempt.strategy}, {attempt.status}",
            worker.host,
        )
    return made


def tasks_table(tasks: list[Task]) -> Table:
    made = table("TASK", "STATUS", "VERDICT", "ATTEMPT", "WORKER", "PRIORITY", "RUN")
    for task in tasks:
        made.add_row(
            task.task_id,
            _standing(task),
            task.verdict or "",
            str(task.attempt),
            task.worker_id or "",
            str(task.priority),
            task.run_id,
        )
    return made


def _standing(task: Task) -> str:
    if not task.stranded:
        return task.status
    return f"{task.status}: nobody has {', '.join(f'{name}={value}' for name, value in task.requires)}"


def headline(state: State) -> str:
    tasks = ", ".join(f"{count} {status}" for status, count in state.tasks_by_status.items() if count) or "none"
    return (
        f"behind event {state.events_sequence}, heartbeat {state.heartbeats_sequence}: {state.status}, "
        f"{state.workers_live} of {state.workers_expected} expected workers live, term {state.term} of "
        f"{state.leader_id or 'nobody'}; tasks: {tasks}"
    )


def print_state(state: State, *, rows_max: int) -> None:
    out = console()
    out.print(headline(state), soft_wrap=True)
    if state.workers:
        out.print()
        out.print(workers_table(state, list(state.workers.values())[:rows_max]))
    if state.tasks:
        out.print()
        out.print(tasks_table(list(state.tasks.values())[:rows_max]))
    hidden = max(0, len(state.workers) - rows_max) + max(0, len(state.tasks) - rows_max)
    if hidden:
        out.print(f"\n{hidden} more; --json has them all")
