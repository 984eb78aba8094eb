"""`resurgam cluster`: a JetStream cluster on this machine, for trying one out."""

import asyncio
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.commands.common import STATE_DIR, command_app
from coordinator.faults import UsageFault

if TYPE_CHECKING:
    from coordinator.cluster import LocalCluster, NodeState

app = command_app()

LOOK_EVERY_S = 0.5
PORT_MAX = 65_535


@app.command()
def cluster(
    *,
    nodes: Annotated[int, typer.Option(help="How many: 3 survive the loss of one, 5 of two.")] = 3,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=PORT_MAX, help="Of the first node; the others take those behind it. [any free ones]"),
    ] = None,
    state_dir: Annotated[Path, typer.Option(help="The folder that the nodes keep their stores in.")] = STATE_DIR,
    broker_sync: Annotated[
        str, typer.Option(help="'always' survives a power loss; 'default' is faster.", metavar="SYNC")
    ] = "always",
) -> None:
    """Starts several brokers that know each other, prints how to use them, and keeps them up until Ctrl-C.

    What happens to them is printed as it happens: kill one and look. Nothing is left behind, whatever ends this
    command; the stores stay, and the next start finds them.
    """
    from coordinator.cluster import SIZES, LocalCluster

    if nodes not in SIZES:
        raise UsageFault(f"--nodes {nodes}: it takes {' or '.join(map(str, SIZES))}")
    if broker_sync not in ("always", "default"):
        raise UsageFault(f"--broker-sync {broker_sync!r}: it takes 'always' or 'default'")
    if port is not None and port + nodes - 1 > PORT_MAX:
        raise UsageFault(f"--port {port}: there are no {nodes} ports from there on")
    farm = LocalCluster(
        state_dir / "cluster", size=nodes, sync="always" if broker_sync == "always" else "default", port=port
    )
    asyncio.run(_keep(farm))


async def _keep(cluster: "LocalCluster") -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    stopping = asyncio.create_task(told.wait())
    living = asyncio.create_task(_live(cluster))
    try:
        await asyncio.wait({stopping, living}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        living.cancel()
        await asyncio.gather(stopping, living, return_exceptions=True)
        await cluster.stop()
    if not living.cancelled():
        living.result()


async def _live(cluster: "LocalCluster") -> None:
    began = time.monotonic()
    async with cluster:
        states = await cluster.states()
        for line in introduction(cluster, states, time.monotonic() - began):
            typer.echo(line)
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            before, states = states, await cluster.states()
            for line in changes(before, states):
                typer.echo(f"{time.strftime('%H:%M:%S')}  {line}")


def introduction(cluster: "LocalCluster", states: "Sequence[NodeState]", took_s: float) -> list[str]:
    """What the nodes are, and what to do with them."""
    lines = [f"{len(states)} nodes, ready after {took_s:.1f} s; their stores are in {cluster.folder}", ""]
    lines += [
        f"  {state.name}  {state.url}  process {state.pid}{'  leads the cluster' if state.leads else ''}"
        for state in states
    ]
    url = cluster.url
    return [
        *lines,
        "",
        "In other terminals, one coordinator or more, and workers:",
        "",
        f"  resurgam coordinator --nats-url {url} --replicas {min(len(states), 3)}",
        f"  resurgam coordinator --nats-url {url} --port 8081 --db-path standby.duckdb --state-dir .standby",
        f"  resurgam worker --nats-url {url} --worker-id w1",
        "",
        "Ctrl-C stops all nodes.",
    ]


def changes(before: "Sequence[NodeState]", after: "Sequence[NodeState]") -> list[str]:
    """What has happened between two looks at the same nodes, a line each."""
    lines = []
    for old, new in zip(before, after, strict=True):
        if new.pid is None and old.pid is not None:
            lines.append(f"{new.name} is gone")
        elif new.pid != old.pid:
            lines.append(f"{new.name} has been started again, as process {new.pid}")
        elif new.pid is not None and new.problem != old.problem:
            lines.append(f"{new.name} is well" if new.problem is None else f"{new.name}: {new.problem}")
    leaders, formerly = ([state.name for state in states if state.leads] for states in (after, before))
    if leaders != formerly:
        lines.append(f"{' and '.join(leaders)} leads the cluster" if leaders else "nobody leads the cluster")
    if (short := _short_of_majority(after)) and not _short_of_majority(before):
        lines.append(f"no majority: nothing can be written until {short} of {len(after)} nodes run")
    return lines


def _short_of_majority(states: "Sequence[NodeState]") -> int:
    """How many must run, if too few do; else 0."""
    needed = len(states) // 2 + 1
    return needed if sum(state.pid is not None for state in states) < needed else 0
