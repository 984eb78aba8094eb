"""`resurgam report`: what happened and how well it was dealt with, for people and for programs."""

import enum
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.commands.common import STATE_DIR, Namespace, NatsUrl, StateDir, command_app
from coordinator.commands.histories import DbPath, Since, Until, Where, opened, window_of
from coordinator.faults import Fault, FileFault, UsageFault

if TYPE_CHECKING:
    from projections.asking import History
    from projections.report.content import Report, Scope

app = command_app()


class Form(enum.StrEnum):
    md = "md"
    html = "html"
    json = "json"


SUFFIXES = {".md": Form.md, ".html": Form.html, ".htm": Form.html, ".json": Form.json}


@app.command()
def report(
    *,
    since: Since = "24h",
    until: Until = None,
    form: Annotated[
        Form | None, typer.Option("--format", help="md, html (one page with pictures), json; else as --output ends.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it there.", dir_okay=False)] = None,
    incident: Annotated[str | None, typer.Option("--incident", metavar="ID", help="On this incident.")] = None,
    run: Annotated[str | None, typer.Option("--run", metavar="ID", help="On this run.")] = None,
    db_path: DbPath = None,
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Reports on the last day, another window, an incident or a run: figures against their targets, a timeline, workers
    over time, the worst cases with their causes, and patterns.

    Ends with 1 where there is nothing to report on, and with 2 for a window, run or incident that cannot be.
    """
    chosen = _chosen(form, output)
    if incident is not None and run is not None:
        raise UsageFault("--incident and --run: a report is on one of them")
    with opened(Where(db_path, nats_url, namespace, state_dir)) as (history, end):
        if end is None:
            raise Fault("there is nothing to report on: the history holds no event yet")
        made = _made(history, since, until, incident, run, end)
    _write(_written(made, chosen), output)


def _chosen(form: Form | None, output: Path | None) -> Form:
    if form is None and output is not None:
        form = SUFFIXES.get(output.suffix.lower())
        if form is None:
            raise UsageFault(f"--output {output}: its name says no format, so give --format md, html or json")
    if output is not None and not output.parent.is_dir():
        raise UsageFault(f"--output {output}: there is no folder {output.parent}")
    if form is Form.html and output is None and sys.stdout.isatty():
        raise UsageFault("--format html is for a browser: name a file with --output")
    return form or Form.md


def _made(
    history: "History", since: str, until: str | None, incident: str | None, run: str | None, end: datetime
) -> "Report":
    from projections.report.gather import Nothing, Unknown, gather

    try:
        return gather(history, _scope(history, since, until, incident, run, end), datetime.now(UTC))
    except Unknown as error:
        raise UsageFault(str(error)) from error
    except Nothing as error:
        raise Fault(f"there is nothing to report on: {error}") from error


def _scope(
    history: "History", since: str, until: str | None, incident: str | None, run: str | None, end: datetime
) -> "Scope":
    from projections.report.gather import of_incident, of_run, of_window

    if incident is not None:
        return of_incident(history, incident, end)
    if run is not None:
        return of_run(history, run, end)
    return of_window(window_of(since, until, end))


def _written(made: "Report", form: Form) -> str:
    if form is Form.html:
        from projections.report.page import page

        return page(made)
    if form is Form.md:
        from projections.report.markdown import markdown

        return markdown(made)
    import msgspec

    return msgspec.json.format(msgspec.json.encode(made)).decode() + "\n"


def _write(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise FileFault(f"--output {output}: it cannot be written: {error.strerror}") from error
    typer.echo(f"{output} written", err=True)
