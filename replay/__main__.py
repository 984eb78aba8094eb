"""`resurgam replay`, and `python -m replay` for a broker known by its address. Reads; never writes, never acts."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from replay.access import CannotReplay, CannotVerify, Location, Opener, open_by_address

NatsUrl = Annotated[
    str | None, typer.Option("--nats-url", envvar="RESURGAM_NATS_URL", help="The broker of the system.", metavar="URL")
]
Namespace = Annotated[
    str | None, typer.Option("--namespace", envvar="RESURGAM_NAMESPACE", help="The system's name on that broker.")
]
StateDir = Annotated[Path, typer.Option("--state-dir", help="The folder of a system that runs or ran here.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]

STATE_DIR = Path(".resurgam")
ROWS_MAX = 1000
"""Tasks that the text form of a state shows; JSON has them all."""


def create_app(opener: Opener) -> typer.Typer:
    """The commands, over systems found by `opener`."""
    app = typer.Typer(
        help="Look into the log: what happened, why, and what the system knew at the time.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    @app.command()
    def story(
        name: Annotated[
            str | None, typer.Argument(help="The id of a worker, task, run, coordinator, incident or event.")
        ] = None,
        sequence: Annotated[
            int | None, typer.Option(help="Instead of an id: the event there, its causes and its consequences.")
        ] = None,
        *,
        nats_url: NatsUrl = None,
        namespace: Namespace = None,
        state_dir: StateDir = STATE_DIR,
        as_json: AsJson = False,
    ) -> None:
        """Every event that concerns an entity, in order; of an event, also what led to it and what it led to."""
        if (name is None) == (sequence is None):
            raise CannotReplay("give an id, or --sequence and a number, and not both")
        _run(_story(opener, Location(nats_url, namespace, state_dir), name, sequence, as_json=as_json))

    @app.command()
    def state(
        at: Annotated[int | None, typer.Option(help="The sequence of an event; without it the last one.")] = None,
        *,
        nats_url: NatsUrl = None,
        namespace: Namespace = None,
        state_dir: StateDir = STATE_DIR,
        as_json: AsJson = False,
    ) -> None:
        """The state of the whole system behind one event: workers, recoveries under way, tasks."""
        _run(_state(opener, Location(nats_url, namespace, state_dir), at, as_json=as_json))

    @app.command()
    def verify(
        first: Annotated[int, typer.Option("--from", min=1, help="Compare decisions from this sequence on.")] = 1,
        last: Annotated[int | None, typer.Option("--to", help="And up to this one.")] = None,
        *,
        nats_url: NatsUrl = None,
        namespace: Namespace = None,
        state_dir: StateDir = STATE_DIR,
        as_json: AsJson = False,
    ) -> None:
        """Decides everything again and compares. Exit code 0: all equal; 1: a difference; 5: it cannot be told."""
        _run(_verify(opener, Location(nats_url, namespace, state_dir), first, last, as_json=as_json))

    return app


def _run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def _story(opener: Opener, location: Location, name: str | None, sequence: int | None, *, as_json: bool) -> None:
    from rich.console import Console

    from replay import timeline
    from replay.progress import shown
    from replay.story import chain_of, story_of, title_of

    async with opener(location) as source:
        with shown("reading", 1, await source.log.last_sequence()) as progress:
            if name is not None:
                found = await story_of(source.log, name, progress=progress)
            else:
                assert sequence is not None
                found = await chain_of(source.log, sequence, progress=progress)
    if not found.events:
        raise CannotReplay(
            f"nothing in the log is called {name!r}: 'resurgam workers', 'resurgam tasks' and 'resurgam events' list "
            f"what there is"
            if name is not None
            else f"there is no event at sequence {sequence}"
        )
    if as_json:
        for recorded in found.events:
            print(timeline.as_json(recorded))
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(title_of(found, name) if name is not None else f"the event at {sequence}", style="bold underline")
    previous: float | None = None
    for recorded in found.events:
        console.print(timeline.line(recorded, found.sequences, previous or recorded.time))
        previous = recorded.time


async def _state(opener: Opener, location: Location, at: int | None, *, as_json: bool) -> None:
    from replay.beats import StreamBeats
    from replay.fold import as_of, fold
    from replay.progress import shown

    async with opener(location) as source, StreamBeats(source.bus, source.streams) as beats:
        with shown("folding", 1, at or await source.log.last_sequence()) as progress:
            folded = await fold(source.log, at=at, beats=beats, progress=progress)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(as_of(folded))).decode())
        return
    from replay.tables import print_state

    print_state(folded, rows_max=ROWS_MAX)


async def _verify(opener: Opener, location: Location, first: int, last: int | None, *, as_json: bool) -> None:
    from replay.beats import StreamBeats
    from replay.progress import shown
    from replay.verify import verify

    async with opener(location) as source, StreamBeats(source.bus, source.streams) as beats:
        end = await source.log.last_sequence() if last is None else last
        with shown("verifying", 1, end) as progress:
            outcome = await verify(source.log, beats, first=first, last=end, progress=progress)
    if as_json:
        print(msgspec.json.encode(outcome).decode())
    else:
        print(outcome.sentence())
    if outcome.difference is not None:
        raise typer.Exit(1)
    if outcome.obstacle is not None:
        raise typer.Exit(CannotVerify.exit_code)


def main() -> None:
    import sys

    from events.errors import LogError

    try:
        create_app(open_by_address)(prog_name="python -m replay")
    except LogError as error:
        print(f"replay: {error}", file=sys.stderr)
        sys.exit(3)
    except CannotReplay as error:
        print(f"replay: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
