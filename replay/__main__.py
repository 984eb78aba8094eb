"""`resurgam replay`, and `python -m replay` for a broker known by its address. Reads; never writes, never acts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
import typer

from replay.access import CannotReplay, CannotVerify, Location, Opener, open_by_address

if TYPE_CHECKING:
    from events.log import EventLog
    from replay.beats import Beats
    from replay.check import Check
    from replay.invariants import Violation

NatsUrl = Annotated[
    str | None, typer.Option("--nats-url", envvar="RESURGAM_NATS_URL", help="The broker of the system.", metavar="URL")
]
Namespace = Annotated[
    str | None, typer.Option("--namespace", envvar="RESURGAM_NAMESPACE", help="The system's name on that broker.")
]
StateDir = Annotated[Path, typer.Option("--state-dir", help="The folder of a system that runs or ran here.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]
Archived = Annotated[
    Path | None, typer.Option("--log", metavar="FILE", help="Read an archive that 'resurgam replay export' wrote.")
]

STATE_DIR = Path(".resurgam")
LIVE = Path("live")
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
        archive: Archived = None,
        as_json: AsJson = False,
    ) -> None:
        """Every event that concerns an entity, in order; of an event, also what led to it and what it led to."""
        if (name is None) == (sequence is None):
            raise CannotReplay("give an id, or --sequence and a number, and not both")
        where = _opener(opener, Location(nats_url, namespace, state_dir), archive)
        _run(_story(where, name, sequence, as_json=as_json))

    @app.command()
    def state(
        at: Annotated[int | None, typer.Option(help="The sequence of an event; without it the last one.")] = None,
        *,
        nats_url: NatsUrl = None,
        namespace: Namespace = None,
        state_dir: StateDir = STATE_DIR,
        archive: Archived = None,
        as_json: AsJson = False,
    ) -> None:
        """The state of the whole system behind one event: workers, recoveries under way, tasks."""
        _run(_state(_opener(opener, Location(nats_url, namespace, state_dir), archive), at, as_json=as_json))

    @app.command()
    def verify(
        first: Annotated[int, typer.Option("--from", min=1, help="Compare decisions from this sequence on.")] = 1,
        last: Annotated[int | None, typer.Option("--to", help="And up to this one.")] = None,
        *,
        nats_url: NatsUrl = None,
        namespace: Namespace = None,
        state_dir: StateDir = STATE_DIR,
        archive: Archived = None,
        as_json: AsJson = False,
    ) -> None:
        """Decides everything again and compares. Exit code 0: all equal; 1: a difference; 5: it cannot be told."""
        where = _opener(opener, Location(nats_url, namespace, state_dir), archive)
        _run(_verify(where, first, last, as_json=as_json))

    @app.command()
    def export(
        file: Annotated[
            Path, typer.Argument(metavar="FILE", help="The Parquet file to write; an older one is replaced.")
        ],
        *,
        nats_url: NatsUrl = None,
        namespace: Namespace = None,
        state_dir: StateDir = STATE_DIR,
    ) -> None:
        """Writes the whole log and its heartbeats into one file, which --log reads again."""
        _run(_export(opener, Location(nats_url, namespace, state_dir), file))

    app.command("check")(check_command(opener))
    app.command("detectors")(detectors_command(opener))
    return app


def detectors_command(opener: Opener) -> Callable[..., None]:
    """The command `detectors`, over systems found by `opener`."""

    def detectors(
        *,
        settings: Annotated[
            list[str] | None,
            typer.Option(
                "--setting",
                metavar="DETECTOR[:NAME=VALUE,...]",
                help="What to try, as in phi:phi_failed=9 or deadline:failed_after=10; repeatable.",
            ),
        ] = None,
        picture: Annotated[
            Path | None, typer.Option(metavar="FILE", help="Draw the comparison, as .svg or as .html with the figures.")
        ] = None,
        nats_url: NatsUrl = None,
        namespace: Namespace = None,
        state_dir: StateDir = STATE_DIR,
        archive: Archived = None,
        as_json: AsJson = False,
    ) -> None:
        """What other failure detectors, or other settings, would have made of the recorded heartbeats: false alarms
        against detection time. Without --setting: deadline and phi, from hasty to patient. --log live is the default.
        """
        where = _opener(opener, Location(nats_url, namespace, state_dir), None if archive == LIVE else archive)
        _run(_detectors(where, settings or [], picture, as_json=as_json))

    return detectors


def check_command(opener: Opener) -> Callable[..., None]:
    """The command `check`, over systems found by `opener`."""

    def check(
        *,
        first: Annotated[int, typer.Option("--from", min=1, help="Report violations from this sequence on.")] = 1,
        follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
        at_rest: Annotated[
            bool, typer.Option("--at-rest", help="All is over: demand verdicts for all tasks, and nothing left open.")
        ] = False,
        nats_url: NatsUrl = None,
        namespace: Namespace = None,
        state_dir: StateDir = STATE_DIR,
        archive: Archived = None,
        as_json: AsJson = False,
    ) -> None:
        """Checks that the log keeps every promise (docs/invariants.md). Exit code 0: it does; 1: a violation."""
        if follow and (at_rest or archive is not None):
            raise CannotReplay(f"--follow goes on: {'--at-rest' if at_rest else '--log'} speaks of what is over")
        location = Location(nats_url, namespace, state_dir)
        _check(opener, location, archive, first=first, follow=follow, at_rest=at_rest, as_json=as_json)

    return check


class _Opened(NamedTuple):
    log: "EventLog"
    beats: "AbstractAsyncContextManager[Beats]"
    """To be entered by whoever needs them."""


Where = Callable[[], AbstractAsyncContextManager[_Opened]]


def _opener(opener: Opener, location: Location, archive: Path | None, *, follow: bool = False) -> Where:
    """A live or sleeping system, or an archive: to the commands they are the same."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[_Opened]:
        if archive is not None:
            from replay.archive import Archive, ArchiveBeats, ArchiveLog
            from replay.plugins import use_installed_detectors

            use_installed_detectors()
            with Archive(archive) as read:
                yield _Opened(ArchiveLog(read), nullcontext(ArchiveBeats(read)))
            return
        from replay.beats import StreamBeats
        from replay.check import FollowingBeats

        async with opener(location) as source:
            kind = FollowingBeats if follow else StreamBeats
            yield _Opened(source.log, kind(source.bus, source.streams))

    return opened


def _run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def _story(where: Where, name: str | None, sequence: int | None, *, as_json: bool) -> None:
    from rich.console import Console

    from replay import timeline
    from replay.progress import shown
    from replay.story import chain_of, story_of, title_of

    async with where() as source:
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


async def _state(where: Where, at: int | None, *, as_json: bool) -> None:
    from replay.fold import as_of, fold
    from replay.progress import shown

    async with where() as source, source.beats as beats:
        with shown("folding", 1, at or await source.log.last_sequence()) as progress:
            folded = await fold(source.log, at=at, beats=beats, progress=progress)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(as_of(folded))).decode())
        return
    from replay.tables import print_state

    print_state(folded, rows_max=ROWS_MAX)


async def _verify(where: Where, first: int, last: int | None, *, as_json: bool) -> None:
    from replay.progress import shown
    from replay.verify import verify

    async with where() as source, source.beats as beats:
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


async def _detectors(where: Where, settings: list[str], picture: Path | None, *, as_json: bool) -> None:
    from replay.archive import ArchiveBeats
    from replay.beats import StreamBeats
    from replay.laboratory.chart import report
    from replay.laboratory.experiment import answer, experiment
    from replay.laboratory.picture import check_name, write_picture
    from replay.progress import shown
    from replay.tables import console

    if picture is not None:
        check_name(picture)
    async with where() as source, source.beats as beats:
        assert isinstance(beats, ArchiveBeats | StreamBeats)
        with shown("reading", beats.first, beats.last) as progress:
            done = await experiment(source.log, beats, settings, progress=progress)
    if picture is not None:
        write_picture(picture, done.trace, done.scores)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(answer(done))).decode())
        return
    out = console()
    out.print(report(done.trace, done.scores, width=out.width))


async def _export(opener: Opener, location: Location, file: Path) -> None:
    from replay.export import export
    from replay.progress import shown

    async with opener(location) as source:
        with shown("exporting", 1, await source.log.last_sequence()) as progress:
            exported = await export(source, file, progress=progress)
    print(f"{file}: {exported.events} events and {exported.heartbeats} heartbeats")
    if exported.missing:
        print(f"{exported.missing} events are missing in the log itself: 'resurgam check' says which")


def _check(
    opener: Opener,
    location: Location,
    archive: Path | None,
    *,
    first: int,
    follow: bool,
    at_rest: bool,
    as_json: bool,
) -> None:
    checks: list[Check] = []

    def report(violation: "Violation") -> None:
        if as_json:
            fields = ("invariant", "sequence", "entity", "sentence")
            print(msgspec.json.encode({name: getattr(violation, name) for name in fields}).decode(), flush=True)
        else:
            print(f"{violation}\n    {_story_command(violation, location, archive)}", flush=True)

    async def work() -> None:
        from replay.check import Check
        from replay.progress import shown

        async with _opener(opener, location, archive, follow=follow)() as source, source.beats as beats:
            checks.append(Check(source.log, beats, report, first=first))
            with shown("checking", 1, await source.log.last_sequence()) as progress:
                await checks[0].run(at_rest=at_rest, progress=progress)
            if follow:
                await checks[0].follow()

    try:
        asyncio.run(work())
    except KeyboardInterrupt:
        if not follow:
            raise
    for check in checks:
        print(_summary(check, as_json=as_json))
        for line in () if as_json else check.advice():
            print(line)
        if check.found:
            raise typer.Exit(1)


def _summary(check: "Check", *, as_json: bool) -> str:
    if not as_json:
        return check.summary()
    checker = check.checker
    fields = ("events", "decisions", "batches", "heartbeats", "unjudged", "unreproduced")
    return msgspec.json.encode({"violations": check.found} | {name: getattr(checker, name) for name in fields}).decode()


def _story_command(violation: "Violation", location: Location, archive: Path | None) -> str:
    """What to type to see the story behind a violation."""
    import shlex

    words = ["resurgam", "replay", "story", violation.entity or f"--sequence={violation.sequence}"]
    if archive is not None:
        words += ["--log", str(archive)]
    elif location.nats_url is not None:
        words += ["--nats-url", location.nats_url]
    if archive is None and location.namespace is not None:
        words += ["--namespace", location.namespace]
    if archive is None and location.state_dir != STATE_DIR:
        words += ["--state-dir", str(location.state_dir)]
    return shlex.join(words)


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
