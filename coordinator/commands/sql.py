"""`resurgam sql`: questions to the history, over NATS while the system runs, to its file otherwise."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.commands.common import STATE_DIR, Namespace, NatsUrl, StateDir, command_app
from coordinator.commands.histories import DbPath, file_of_an_ended_system
from coordinator.commands.sql_forms import Form, written
from coordinator.faults import Fault, UsageFault

if TYPE_CHECKING:
    from projections.client import Result

app = command_app()

ROWS_MAX = 10_000
TIMEOUT_S = 30.0


@app.command()
def sql(
    statement: Annotated[
        str | None, typer.Argument(metavar="SQL", help="A SELECT; '-' reads it from stdin; without it, a prompt.")
    ] = None,
    *,
    form: Annotated[Form, typer.Option("--format", help="How the answer is written.")] = Form.table,
    rows_max: Annotated[int, typer.Option("--rows", min=1, help="The most rows that are answered.")] = ROWS_MAX,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that the statement may take.")] = TIMEOUT_S,
    at_least: Annotated[int, typer.Option("--at-least", min=0, help="Wait until the history holds this event.")] = 0,
    db_path: DbPath = None,
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Asks the history: worker_recovery_history, task_recovery_history, system_recovery_history, tasks, events, …

    'resurgam sql "SHOW TABLES"' lists them all, and docs/schema.md says what they mean.
    """
    from projections.errors import QueryError

    file = db_path or file_of_an_ended_system(nats_url, state_dir)

    def ask(text: str) -> "Result":
        if file is not None:
            from projections.client import query_file

            return query_file(file, text, timeout_s=timeout, rows_max=rows_max)
        return asyncio.run(_ask(text, nats_url, namespace, state_dir, timeout, rows_max, at_least))

    if statement is None and sys.stdin.isatty():
        from coordinator.commands.sql_prompt import Prompt, line_editing

        if form is Form.arrow:
            raise UsageFault("--format arrow is for programs: give a statement, and send its answer elsewhere")
        with line_editing(state_dir):
            Prompt(ask, form).run()
        return
    text = sys.stdin.read() if statement in (None, "-") else statement
    assert text is not None
    try:
        result = ask(text)
    except QueryError as error:
        raise Fault(str(error)) from error
    sys.stdout.buffer.write(written(result, form))
    sys.stdout.flush()
    if result.truncated:
        typer.echo(f"cut off after {len(result.rows)} rows; --rows allows more", err=True)


async def _ask(
    text: str,
    nats_url: str | None,
    namespace: str | None,
    state_dir: Path,
    timeout_s: float,
    rows_max: int,
    at_least: int,
) -> "Result":
    from coordinator.access import open_system
    from projections.client import query

    async with open_system(nats_url=nats_url, namespace=namespace, state_dir=state_dir, live_only=True) as system:
        return await query(system.bus, system.streams, text, timeout_s=timeout_s, rows_max=rows_max, at_least=at_least)
