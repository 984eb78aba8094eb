"""`resurgam events`: the log itself, filtered, and followed if asked to."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.commands.common import STATE_DIR, AsJson, Namespace, NatsUrl, StateDir, command_app, did_you_mean
from coordinator.faults import UsageFault

if TYPE_CHECKING:
    from events.envelope import Recorded
    from events.log import EventLog

app = command_app()

FAMILIES = ("worker", "task", "system")


@app.command()
def events(
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    kind: Annotated[
        list[str] | None, typer.Option(help="worker.failed, or a family: worker, task, system; repeatable.")
    ] = None,
    entity: Annotated[
        str | None, typer.Option(help="Only what concerns this worker, task, run, coordinator or incident.")
    ] = None,
    after: Annotated[int, typer.Option(min=0, help="Only what follows this sequence.")] = 0,
    last: Annotated[int | None, typer.Option(min=0, help="Only the last so many events of the log.")] = None,
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
    as_json: AsJson = False,
) -> None:
    """Prints the events of the log, one a line."""
    from coordinator.access import open_system

    tails = [tail for name in kind or () for tail in tails_of(name)]

    async def work() -> None:
        async with open_system(nats_url=nats_url, namespace=namespace, state_dir=state_dir, live_only=follow) as system:
            start = after if last is None else max(after, await system.log.last_sequence() - last)
            await _print_events(system.log, start, tails, entity, follow=follow, as_json=as_json)

    asyncio.run(work())


async def _print_events(
    log: "EventLog", after: int, tails: list[str], entity: str | None, *, follow: bool, as_json: bool
) -> None:
    from rich.console import Console

    from replay import timeline
    from replay.reading import stretch
    from replay.story import concerns

    console = Console(highlight=False, soft_wrap=True)

    def show(batch: "list[Recorded]") -> None:
        for recorded in batch:
            if entity is not None and (recorded.event is None or not concerns(recorded.event, entity)):
                continue
            if as_json:
                typer.echo(timeline.as_json(recorded))
            else:
                console.print(timeline.line(recorded))

    if not follow:
        async for batch in stretch(log, first=after + 1, tails=tails):
            show(batch)
        return
    async with await log.reader(after, tails) as reader:
        while True:
            show(await reader.next())


def tails_of(kind: str) -> list[str]:
    """The subjects that hold the events of a kind, or of a whole family.

    Raises:
        UsageFault: there is no such kind.
    """
    from events.base import AddressedTaskEvent
    from events.kinds import KINDS

    if kind in FAMILIES:
        return [f"{kind}.>"]
    found = KINDS.get(kind)
    if found is None:
        raise UsageFault(f"--kind {kind!r}: {did_you_mean(kind, [*FAMILIES, *KINDS])}")
    family, _, name = kind.partition(".")
    if family == "system":
        return [kind]
    return [f"{family}.*.{name}" + (".*" if issubclass(found, AddressedTaskEvent) else "")]
