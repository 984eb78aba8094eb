"""`resurgam simulate`, and `python -m tests.simulation`: the whole system in virtual time, under faults from a seed."""

import os
import re
import shlex
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import typer

from coordinator.commands.common import command_app
from coordinator.faults import INTERRUPTED, FileFault, UsageFault
from tests.simulation.campaign import FOLDER, SECONDS_MAX, Campaign, Failure, Settings, Watcher, read_scenario
from tests.simulation.jobs import WORLD
from tests.simulation.scenario import Scenario
from tests.simulation.schedule import Options, scenario_of
from tests.simulation.shrink import RUNS_MAX

SEEDS = "0:100"

app = command_app()


@app.command()
def simulate(
    *,
    seeds: Annotated[
        str | None, typer.Option(help="The first seed and the one behind the last, or a single one.", metavar="A:B")
    ] = None,
    scenario: Annotated[
        Path | None, typer.Option(help="Instead of seeds: run the scenario in this file.", metavar="FILE")
    ] = None,
    hours: Annotated[
        float | None, typer.Option(help="Virtual hours a seed, with steady work; else up to five minutes.")
    ] = None,
    faults: Annotated[int | None, typer.Option(min=0, max=100_000, help="So many for each seed.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=1000, help="So many for each seed.")] = None,
    slots: Annotated[int | None, typer.Option(min=1, max=1000, help="So many for each worker.")] = None,
    coordinators: Annotated[int | None, typer.Option(min=1, max=9, help="So many for each seed.")] = None,
    tasks: Annotated[int | None, typer.Option(min=0, max=1_000_000, help="So many at the start.")] = None,
    projector: Annotated[
        bool | None, typer.Option("--projector/--no-projector", help="With the history database, or without.")
    ] = None,
    processes: Annotated[int | None, typer.Option(min=1, max=1024, help="By default one for each core.")] = None,
    shrink: Annotated[
        bool | None, typer.Option("--shrink/--no-shrink", help="Make failing seeds small; files are left as they are.")
    ] = None,
    shrink_runs: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Runs that the reduction of a failure may take.")
    ] = RUNS_MAX,
    stop_after: Annotated[int, typer.Option(min=1, help="Failures after which no further seed is begun.")] = 10,
    keep_log: Annotated[bool, typer.Option("--keep-log", help=f"Write each run's log to {FOLDER}.")] = False,
    timeout: Annotated[
        float, typer.Option(help="Seconds of this machine's clock that one run may take.")
    ] = SECONDS_MAX,
    simulator: Annotated[str, typer.Option(hidden=True, help="MODULE:FUNCTION that takes the world's place.")] = WORLD,
) -> None:
    """Runs the system in virtual time under faults that a seed decides, and checks the invariants of its log.

    The same seed gives the same run. Exit code 0: all seeds are clean; 1: one failed.
    """
    options = Options(
        workers=workers,
        slots=slots,
        coordinators=coordinators,
        tasks=tasks,
        faults=faults,
        projector=projector,
        hours=_positive("--hours", hours),
    )
    scenarios: Iterable[Scenario]
    if scenario is None:
        chosen = _seeds(seeds or SEEDS)
        total, scenarios = len(chosen), (scenario_of(seed, options) for seed in chosen)
    elif seeds is not None or options != Options():
        raise UsageFault("--scenario brings its own seed and sizes: leave out --seeds and whatever else decides them")
    else:
        total, scenarios = 1, [_scenario(scenario)]
    settings = Settings(
        processes=min(processes or os.cpu_count() or 1, max(total, 1)),
        shrink=scenario is None if shrink is None else shrink,
        runs_max=shrink_runs,
        stop_after=stop_after,
        keep_log=keep_log,
        seconds_max=_positive("--timeout", timeout) or SECONDS_MAX,
        simulator=simulator,
    )
    raise typer.Exit(_run(scenarios, total, settings, _Commands(options, scenario, simulator)))


class _Commands(NamedTuple):
    """How a failure is seen again."""

    options: Options
    file: Path | None
    simulator: str

    def again(self, failure: Failure) -> str:
        if self.file is not None:
            return self._line("--scenario", str(self.file))
        seed = failure.scenario.seed
        return self._line("--seeds", f"{seed}:{seed + 1}", *self._flags())

    def reduced(self, failure: Failure) -> str:
        return self._line("--scenario", str(failure.reduced))

    def _line(self, *arguments: str) -> str:
        other = () if self.simulator == WORLD else ("--simulator", self.simulator)
        return shlex.join(("resurgam", "simulate", *arguments, *other))

    def _flags(self) -> Iterator[str]:
        for name, value in msgspec.structs.asdict(self.options).items():
            if isinstance(value, bool):
                yield f"--{name}" if value else f"--no-{name}"
            elif value is not None:
                yield from (f"--{name}", f"{value!r}")


def _run(scenarios: Iterable[Scenario], total: int, settings: Settings, commands: _Commands) -> int:
    from rich.console import Console

    from tests.simulation import report

    out = Console(highlight=False, soft_wrap=True)
    began = time.monotonic()

    interrupted = False
    with report.Bar(total, Console(stderr=True)) as bar:

        def tell(failure: Failure) -> None:
            with bar.aside():
                report.show_failure(out, failure, again=commands.again(failure), reduced=commands.reduced(failure))

        campaign = Campaign(scenarios, settings, Watcher(bar.show, tell))
        try:
            campaign.run()
        except KeyboardInterrupt:
            interrupted = True
    report.show_tally(out, campaign.tally, time.monotonic() - began, settings.processes)
    left = total - campaign.tally.done
    if interrupted:
        out.print(f"interrupted; {left:,} of {total:,} seeds were not done")
        return INTERRUPTED
    if left:
        out.print(f"stopped after {len(campaign.tally.failures)} failures; {left:,} of {total:,} seeds were not done")
    return 1 if campaign.tally.failures else 0


def _seeds(text: str) -> range:
    match = re.fullmatch(r"([0-9]{1,18})(?::([0-9]{1,18}))?", text)
    if match is None:
        raise UsageFault(f"--seeds {text!r}: it takes two numbers with a colon between them, such as --seeds 0:100")
    first = int(match[1])
    behind = first + 1 if match[2] is None else int(match[2])
    if behind <= first:
        raise UsageFault(
            f"--seeds {text}: there is no seed from {first} up to, but without, {behind}; "
            f"--seeds {first}:{first + 1} is one seed"
        )
    return range(first, behind)


def _scenario(path: Path) -> Scenario:
    try:
        return read_scenario(path)
    except OSError as error:
        raise FileFault(f"--scenario {path}: cannot be read ({error.strerror})") from error
    except msgspec.MsgspecError as error:
        raise FileFault(f"--scenario {path}: is no scenario ({error})") from error


def _positive(flag: str, number: float | None) -> float | None:
    if number is not None and not 0 < number < float("inf"):
        raise UsageFault(f"{flag} {number:g}: it takes a number above 0")
    return number


if __name__ == "__main__":
    from coordinator.faults import run_at_the_door

    run_at_the_door(lambda: app(prog_name="python -m tests.simulation"))
