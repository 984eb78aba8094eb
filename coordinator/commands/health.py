"""`resurgam health`: who is well and who is not, on what evidence, and what is being done about it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from coordinator.commands.common import STATE_DIR, AsJson, Namespace, NatsUrl, StateDir, command_app, echo_json
from coordinator.faults import UsageFault

if TYPE_CHECKING:
    from pathlib import Path

    from coordinator.fleet.document import FleetHealth
    from coordinator.fleet.following import Follower

app = command_app()

UNHEALTHY = 1
"""Exit code: the status is degraded or critical, or nobody leads."""
ROWS = 20
REFRESH_S = 0.5
JSON_EVERY_S = 2.0
UNANSWERED_S_MAX = 2.5
"""It is asked every second."""


@app.command()
def health(
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it live, until Ctrl-C.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=0, help=f"How many workers are listed, the worst first; else {ROWS}, with --json all."),
    ] = None,
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
    as_json: AsJson = False,
) -> None:
    """Shows how the system is: its status, its leader, and its workers, the worst first, with the evidence.

    Exit code 0: healthy or idle; 1: degraded or critical, or nobody leads; 2: nothing runs here; 3: no broker answers.
    With --watch: 0 after Ctrl-C.
    """
    if watch and not as_json and not sys.stdout.isatty():
        raise UsageFault("--watch draws on a terminal, and this is none: use --watch --json, or ask again and again")
    where = (nats_url, namespace, state_dir)
    if watch:
        try:
            asyncio.run(_watch(*where, limit=limit, as_json=as_json))
        except KeyboardInterrupt:
            return
    found = asyncio.run(_ask(*where, limit=limit if as_json or limit is not None else ROWS))
    if as_json:
        echo_json(found)
    else:
        _print_board(found)
    if not found.healthy:
        raise typer.Exit(UNHEALTHY)


@asynccontextmanager
async def _opened(nats_url: str | None, namespace: str | None, state_dir: "Path") -> "AsyncIterator[Follower]":
    from coordinator.access import open_system
    from coordinator.fleet.following import Farm, Follower
    from replay.progress import shown

    async with open_system(nats_url=nats_url, namespace=namespace, state_dir=state_dir, live_only=True) as system:
        follower = Follower(Farm(system.bus, system.streams, system.log))
        with shown("folding", 1, await system.log.last_sequence()) as progress:
            await follower.begin(progress)
        yield follower


async def _ask(nats_url: str | None, namespace: str | None, state_dir: "Path", *, limit: int | None) -> "FleetHealth":
    from coordinator.fleet.examine import fleet_health

    async with _opened(nats_url, namespace, state_dir) as follower:
        return fleet_health(follower.view(), limit=limit)


async def _watch(
    nats_url: str | None, namespace: str | None, state_dir: "Path", *, limit: int | None, as_json: bool
) -> None:
    """For ever. Begins again where the broker has lost what was read."""
    from events.errors import PositionLost

    while True:
        async with _opened(nats_url, namespace, state_dir) as follower:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(follower.follow())
                    group.create_task(_write_json(follower, limit) if as_json else _draw(follower, limit))
            except* PositionLost:
                pass


async def _write_json(follower: "Follower", limit: int | None) -> None:
    """A line every two seconds."""
    from coordinator.fleet.examine import fleet_health

    while True:
        typer.echo(msgspec.json.encode(fleet_health(follower.view(), limit=limit)).decode())
        await asyncio.sleep(JSON_EVERY_S)


async def _draw(follower: "Follower", limit: int | None) -> None:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from coordinator.fleet.board import board
    from coordinator.fleet.examine import fleet_health
    from replay.tables import console

    out = console()
    with Live(console=out, screen=True, auto_refresh=False) as live:
        while True:
            width, height = out.size
            found = fleet_health(follower.view(), limit=height if limit is None else min(limit, height))
            silence = follower.unanswered_s
            lost = f"the broker has not answered for {silence:.0f} s: what follows was known then"
            banner = [Text(lost, "reverse red")] if silence > UNANSWERED_S_MAX else []
            picture = board(found, width=width, height=height - len(banner))
            live.update(Group(*banner, picture), refresh=True)
            await asyncio.sleep(REFRESH_S)


def _print_board(found: "FleetHealth") -> None:
    from coordinator.fleet.board import board
    from replay.tables import console

    out = console()
    out.print(board(found, width=out.width), soft_wrap=True)
