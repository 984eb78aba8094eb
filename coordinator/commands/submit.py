"""`resurgam submit`: hand work to a running system, and wait for its verdicts if asked to."""

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from coordinator.commands.common import (
    STATE_DIR,
    AsJson,
    Namespace,
    NatsUrl,
    StateDir,
    actor,
    command_app,
    interpreter,
    pairs,
)
from coordinator.faults import UsageFault

app = command_app()

REPEAT_MAX = 100_000


@app.command()
def submit(
    command: Annotated[
        list[str] | None, typer.Argument(help="After '--': a command, or with --pytest more arguments for pytest.")
    ] = None,
    *,
    pytest: Annotated[
        str | None, typer.Option("--pytest", metavar="PATH", help="Collect the tests there; one task for each.")
    ] = None,
    python: Annotated[
        str | None, typer.Option(help="The interpreter of the suite; the active virtual environment's by default.")
    ] = None,
    runner: Annotated[
        str | None,
        typer.Option("--runner", metavar="NAME", help="What follows '--' is for this plugin of the workers."),
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, max=REPEAT_MAX, help="Submit the command so many times.")] = 1,
    title: Annotated[str | None, typer.Option(help="What the run is called.")] = None,
    priority: Annotated[int, typer.Option(min=-1000, max=1000, help="Higher goes first.")] = 0,
    timeout: Annotated[float | None, typer.Option(help="Seconds that one attempt may take.")] = None,
    infrastructure_retries: Annotated[
        int | None, typer.Option(min=0, max=1000, help="Attempts again after the worker died; else the policy's.")
    ] = None,
    verdict_retries: Annotated[
        int | None, typer.Option(min=0, max=1000, help="Attempts again after a failure; else the policy's.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE that the worker must have; repeatable.")] = None,
    env: Annotated[list[str] | None, typer.Option(help="KEY=VALUE for the command's environment; repeatable.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow to the verdicts and exit as pytest would.")] = False,
    as_json: AsJson = False,
    nats_url: NatsUrl = None,
    namespace: Namespace = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Submits a command (`resurgam submit -- make test`) or a suite (`resurgam submit --pytest tests -- -k fast`).

    Without --wait: prints the run's id and ends. With it: 0 all passed, 1 some did not, 5 there was no test.
    """
    from coordinator.commands.submitting import Order, collected_works, command_works, submit_and_follow
    from events.identity import is_id

    if timeout is not None and not 0 < timeout < float("inf"):
        raise UsageFault(f"--timeout {timeout:g}: it takes a number of seconds above 0")
    if pytest is None and not command:
        raise UsageFault("nothing to submit: give a command after '--', or --pytest and a path")
    if pytest is not None and (repeat > 1 or env):
        raise UsageFault("--repeat and --env are for commands; pytest has arguments of its own for both")
    if pytest is not None and runner is not None:
        raise UsageFault("--runner names another runner than pytest: give one of the two")
    if runner is not None and not is_id(runner):
        raise UsageFault(f"--runner {runner!r} is no name: it takes 1 to 64 letters, digits, '_' or '-'")

    async def work() -> int:
        if pytest is not None:
            works, code, errors = await collected_works(
                interpreter(python), str(Path.cwd()), (pytest, *(command or ()))
            )
            if errors:
                typer.echo(errors.rstrip(), err=True)
            if code != 0:
                return code
        else:
            works = command_works(tuple(command or ()), str(Path.cwd()), pairs("--env", env or ()), repeat, runner)
        order = Order(
            title=title or (f"pytest {pytest}" if pytest else " ".join(command or ())),
            actor=actor(),
            works=works,
            priority=priority,
            timeout_s=timeout,
            infrastructure_retries=infrastructure_retries,
            verdict_retries=verdict_retries,
            requires=pairs("--label", label or ()),
        )
        from coordinator.access import open_system

        async with open_system(nats_url=nats_url, namespace=namespace, state_dir=state_dir, live_only=True) as system:
            return await submit_and_follow(system.log, order, wait=wait, report=_Printer(as_json=as_json))

    raise typer.Exit(asyncio.run(work()))


class _Printer:
    """Keeps `submitting.Report` on stdout."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def __call__(self, kind: str, text: str, fields: dict[str, object]) -> None:
        if self._as_json:
            typer.echo(msgspec.json.encode({"report": kind, **fields}).decode())
        else:
            typer.echo(text)
