"""`resurgam incidents`: what befell the system as a whole, and how it came through."""

import asyncio
import difflib
from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.commands.common import STATE_DIR, AsJson, Namespace, NatsUrl, StateDir, command_app, echo_json
from coordinator.faults import UsageFault

if TYPE_CHECKING:
    from pathlib import Path

    from events.system import StageReport
    from replay.incidents import Incident

app = command_app("What befell the system as a whole, and how it came through.")


@app.command(name="list")
def list_incidents(
    *,
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
    as_json: AsJson = False,
) -> None:
    """Lists the incidents, oldest first: kind, beginning, outcome, duration, and what was affected."""
    found = asyncio.run(_incidents(nats_url, namespace, state_dir))
    if as_json:
        echo_json(list(found.values()))
        return
    if not found:
        typer.echo("no incidents")
        return
    from replay.tables import console, table

    made = table("INCIDENT", "KIND", "BEGAN", "OUTCOME", "SECONDS", "WORKERS", "TASKS", "STAGES")
    for one in found.values():
        outcome = "open" if one.success is None else "success" if one.success else "no success"
        seconds = "" if one.duration_s is None else f"{one.duration_s:.1f}"
        counts = (str(number) for number in (one.affected_workers, one.affected_tasks, one.stages))
        made.add_row(one.incident_id, one.kind, f"{one.began_at:%Y-%m-%d %H:%M:%S}", outcome, seconds, *counts)
    console().print(made)


@app.command()
def show(
    incident_id: Annotated[str, typer.Argument(metavar="ID", help="As 'resurgam incidents list' shows it.")],
    *,
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
    as_json: AsJson = False,
) -> None:
    """Shows the report of one incident: workers, tasks, attempts, the stages of its repairs, and how long they took.

    Ends with 2 if there is no such incident.
    """
    found = asyncio.run(_incidents(nats_url, namespace, state_dir))
    one = found.get(incident_id)
    if one is None:
        near = difflib.get_close_matches(incident_id, found, 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else "'resurgam incidents list' shows what there is"
        raise UsageFault(f"there is no incident {incident_id!r}; {hint}")
    if as_json:
        echo_json(one)
        return
    from replay.incidents import told

    for label, sentence in told(one):
        typer.echo(f"{label:<10}{sentence}")
    if one.report is not None and one.report.stages:
        _show_stages(one.report.stages)


def _show_stages(stages: "tuple[StageReport, ...]") -> None:
    from replay.incidents import STAGE_COLUMNS, stage_row
    from replay.tables import console, table

    made = table(*STAGE_COLUMNS)
    for stage in stages:
        made.add_row(*stage_row(stage))
    console().print(made)


async def _incidents(nats_url: str | None, namespace: str | None, state_dir: "Path") -> "dict[str, Incident]":
    from coordinator.access import open_system
    from replay.incidents import TAILS, Incidents
    from replay.reading import stretch

    incidents = Incidents()
    async with open_system(nats_url=nats_url, namespace=namespace, state_dir=state_dir) as system:
        async for batch in stretch(system.log, tails=TAILS):
            incidents.take(batch)
    return incidents.found
