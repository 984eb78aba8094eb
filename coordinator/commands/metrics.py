"""`resurgam metrics`: how well the system recovers, in figures against their targets."""

from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.commands.common import (
    STATE_DIR,
    AsJson,
    Namespace,
    NatsUrl,
    StateDir,
    command_app,
    did_you_mean,
    echo_json,
)
from coordinator.commands.histories import DbPath, Since, Until, Where, opened, window_of
from coordinator.faults import Fault, FileFault, UsageFault

if TYPE_CHECKING:
    from projections.figures import Figure
    from projections.window import Window

app = command_app()

MISSED = 1
"""Exit code: a target is missed."""
UNTOLD = 5
"""Exit code: there is nothing to divide, so nobody can tell."""

SPREAD = ("MEDIAN", "P95", "LONGEST")
"""Shown where there is room for them."""
WIDE = 120
"""Characters that take all of them."""
HEADINGS = ("VALUE", "TARGET", "MET", "OF", *SPREAD, "OPEN", "EXCLUDED")


@app.command()
def metrics(
    *,
    since: Since = "24h",
    until: Until = None,
    by: Annotated[str | None, typer.Option(metavar="GROUP", help="For each 'reason', or each 'worker'.")] = None,
    synthetic_too: Annotated[
        bool, typer.Option("--include-synthetic", help="Made-up failures count as well (resurgam inject).")
    ] = False,
    operator_too: Annotated[
        bool, typer.Option("--include-operator", help="So do outages during which recovery was paused or off.")
    ] = False,
    as_json: AsJson = False,
    db_path: DbPath = None,
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Shows how well the system recovers: each figure with its target, and what it is made of.

    What each figure counts, and what not, stands in docs/metrics.md. 'n/a': there is nothing to divide.

    Exit code 0: no target is missed; 1: one is; 2: the question is wrong; 3: no broker answers; 4: the history cannot
    be asked; 5: no figure that has a target has anything to divide.
    """
    from projections.figures import figures, lag, verdict
    from projections.metrics import GROUPS

    if by is not None and by not in GROUPS:
        raise UsageFault(f"--by {by!r}: {did_you_mean(by, GROUPS)}")
    found, window = None, None
    try:
        with opened(Where(db_path, nats_url, namespace, state_dir)) as (history, end):
            if end is not None:
                window = window_of(since, until, end)
                counted = {"synthetic_too": synthetic_too, "operator_too": operator_too}
                found = figures(history, window, by=by, until_too=until is not None, **counted)
                if by is None and history.behind is not None and history.through_sequence is not None:
                    found.append(lag(*history.behind(history.through_sequence)))
    except Fault as fault:
        raise fault if type(fault) is not Fault else FileFault(str(fault)) from fault
    if found is None or window is None:
        if as_json:
            echo_json({"figures": []})
        else:
            typer.echo("no metrics: the history holds no event yet")
        raise typer.Exit(UNTOLD)
    if as_json:
        echo_json({"since": window.since, "until": window.until, "figures": found})
    else:
        _print(found, window, by)
    met = verdict(found)
    if not met:
        raise typer.Exit(UNTOLD if met is None else MISSED)


def _print(found: "list[Figure]", window: "Window", by: str | None) -> None:
    from replay.tables import console, table

    out = console()
    out.print(str(window))
    if not found:
        out.print(f"nothing has happened in it that could be told apart by {by}")
        return
    rows = [dict(zip(("FIGURE", *HEADINGS), _cells(figure), strict=True)) for figure in found]
    shown = [heading for heading in rows[0] if heading not in SPREAD or out.width >= WIDE]
    made = table(*(() if by is None else (by.upper(),)), *shown)
    for heading, column in zip(shown, made.columns[-len(shown) :], strict=True):
        column.no_wrap = True
        column.justify = "left" if heading == "FIGURE" else "right"
    former = None
    for figure, row in zip(found, rows, strict=True):
        group = () if by is None else ("" if figure.group == former else figure.group or "",)
        former = figure.group
        made.add_row(*group, *(row[heading] for heading in shown))
    out.print(made)


def _cells(figure: "Figure") -> tuple[str, ...]:
    from projections.figures import amount, basis

    target, met = "", ""
    if figure.target is not None:
        target = f"{'>' if figure.above else '<'} {amount(figure.target, figure.unit)}"
        met = {True: "yes", False: "NO", None: "n/a"}[figure.met]
    spread = (figure.median, figure.p95, figure.maximum)
    return (
        figure.title,
        "n/a" if figure.value is None else amount(figure.value, figure.unit),
        target,
        met,
        basis(figure),
        *("" if one is None else amount(one, figure.unit) for one in spread),
        str(figure.open or ""),
        str(figure.excluded or ""),
    )
