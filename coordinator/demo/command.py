"""The command line of `resurgam demo`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.commands.common import command_app

if TYPE_CHECKING:
    from coordinator.demo.plan import Plan
    from coordinator.demo.show import Show
    from coordinator.demo.stage import Stage

app = command_app()

READING_S = 1.0
TERMINATED = 143


@app.command()
def demo(
    *,
    num_workers: Annotated[int, typer.Option(help="Workers, of one slot each; at least 2.")] = 3,
    run_time: Annotated[float, typer.Option(help="Seconds after which all must have happened.")] = 60.0,
    state_dir: Annotated[
        Path | None, typer.Option(help="A new folder for log and history. [.resurgam/demo-<time>]")
    ] = None,
) -> None:
    """Watch a test suite survive what is done to its workers and to its coordinator.

    Starts a small farm, runs the example project's suite on it, kills an agent, the coordinator, and an agent again;
    and checks in the event log that each step happened. Exits with 0 when all of them did, 1 when one did not.
    """
    import sys
    import time

    from rich.console import Console

    from coordinator.commands.common import STATE_DIR, actor
    from coordinator.demo.plan import Plan, check_numbers, example_suite, fresh_folder
    from coordinator.demo.report import plan_in_words, print_report
    from coordinator.demo.show import Show

    check_numbers(num_workers, run_time)
    suite = example_suite()
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # not every terminal knows a check mark
    console = Console(highlight=False)
    plan = Plan(
        workers=num_workers,
        run_time_s=run_time,
        state_dir=fresh_folder(state_dir or STATE_DIR / f"demo-{time.strftime('%m%d-%H%M%S')}"),
        suite=suite,
        actor=actor(),
        reading_s=READING_S if console.is_terminal else 0.0,
    )
    console.print(f"[bold]Resurgam demo[/bold]: {plan_in_words(plan)}")
    stage = _played(plan, Show(console, plan))
    print_report(console, stage)


def _played(plan: "Plan", show: "Show") -> "Stage":
    """In a loop of its own. Ctrl-C and SIGTERM stop everything that was started before this process ends."""
    import asyncio
    import signal

    from coordinator.demo.plan import shown
    from coordinator.demo.script import perform
    from coordinator.demo.stage import StepFailed

    terminated = False

    async def work() -> "Stage":
        whole = asyncio.current_task()
        assert whole is not None

        def on_sigterm() -> None:
            nonlocal terminated
            if not terminated:
                terminated = True
                whole.cancel()

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, on_sigterm)
        return await perform(plan, show)

    try:
        return asyncio.run(work())
    except (KeyboardInterrupt, asyncio.CancelledError):
        show.console.print(
            f"interrupted; all processes have been stopped, what was recorded is in {shown(plan.state_dir)}"
        )
        if terminated:
            raise typer.Exit(TERMINATED) from None
        raise
    except StepFailed:
        show.console.print(f"\nall processes have been stopped, what was recorded is in {shown(plan.state_dir)}")
        raise
