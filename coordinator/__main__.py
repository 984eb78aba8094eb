"""`python -m coordinator`: the service, until it is told to stop."""

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.commands.common import command_app
from coordinator.faults import INTERRUPTED, run_at_the_door

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.service import CoordinatorService
    from coordinator.settings import Settings

app = command_app()


@app.command()
def coordinator(
    *,
    db_path: Annotated[
        str | None, typer.Option(help="The DuckDB file for the history. [./benchmark_db.duckdb]")
    ] = None,
    port: Annotated[int | None, typer.Option(help="The port of HTTP; 0 takes any free one. [8080]")] = None,
    host: Annotated[str | None, typer.Option(help="The address of HTTP. [127.0.0.1]")] = None,
    nats_url: Annotated[
        str | None,
        typer.Option(
            help="A broker that runs already, or the nodes of a cluster: URL,URL,URL; without it one is started here.",
            metavar="URL",
        ),
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(help="On how many nodes of a cluster new streams are kept. [1]", min=1, max=5)
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="This system's name on the broker. [resurgam]")] = None,
    state_dir: Annotated[str | None, typer.Option(help="The folder of the broker's store. [.resurgam]")] = None,
    coordinator_id: Annotated[str | None, typer.Option(help="This coordinator's name. [host name and pid]")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with settings; flags and RESURGAM_… win.")] = None,
    disable_auto_recovery: Annotated[
        bool, typer.Option("--disable-auto-recovery", help="Detect and record failures, and take no action.")
    ] = False,
    max_recovery_attempts: Annotated[
        int | None, typer.Option(help="Attempts to bring one worker back, in 10 minutes. [5]")
    ] = None,
    recovery_interval: Annotated[
        float | None, typer.Option(help="The longest pause between two attempts, in seconds. [60]")
    ] = None,
    enable_proactive_recovery: Annotated[
        bool | None,
        typer.Option(
            "--enable-proactive-recovery/--disable-proactive-recovery",
            help="Restart workers that are about to fail. [enabled]",
        ),
    ] = None,
    broker_sync: Annotated[
        str | None, typer.Option(help="'always' survives a power loss; 'default' is faster. [always]")
    ] = None,
    example_config: Annotated[
        bool, typer.Option("--example-config", help="Print a configuration file with every setting, and end.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
) -> None:
    """Runs a coordinator: it leads, or stands by for the one that leads.

    Every policy setting can also be given in a file or as RESURGAM_POLICY_<NAME>; --example-config lists them. Ends
    with 0 when told to stop, 2 for a wrong setting, 3 without a working broker, 4 when the history file is refused.
    """
    from coordinator.config import example_file, load_settings

    if example_config:
        print(example_file(), end="")
        return
    settings = load_settings(
        file=config,
        flags={
            "db_path": db_path,
            "port": port,
            "host": host,
            "nats_url": nats_url,
            "replicas": replicas,
            "namespace": namespace,
            "state_dir": state_dir,
            "coordinator_id": coordinator_id,
            "broker_sync": broker_sync,
            "auto_recovery": False if disable_auto_recovery else None,
            "max_recovery_attempts": max_recovery_attempts,
            "recovery_interval": recovery_interval,
            "enable_proactive_recovery": enable_proactive_recovery,
        },
    )
    import logging

    from coordinator.logs import configure_logs

    configure_logs(logging.DEBUG if verbose else logging.INFO)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            runner.run(_serve(settings))
        except asyncio.CancelledError:
            raise typer.Exit(INTERRUPTED) from None


async def _serve(settings: "Settings") -> None:
    """Until the first SIGTERM or SIGINT; a second one does not wait for the order of the ending."""
    from coordinator.service import CoordinatorService

    service = CoordinatorService(settings)
    loop = asyncio.get_running_loop()
    whole = asyncio.current_task()
    assert whole is not None
    told = asyncio.Event()

    def on_signal() -> None:
        if told.is_set():
            whole.cancel()
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    stopping = asyncio.create_task(told.wait(), name="signal")
    living = asyncio.create_task(_live(service), name="service")
    reason = "it failed"
    try:
        await asyncio.wait({stopping, living}, return_when=asyncio.FIRST_COMPLETED)
        reason = "it was told to" if told.is_set() else reason
    finally:
        stopping.cancel()
        living.cancel()
        await asyncio.gather(stopping, living, return_exceptions=True)
        await service.stop(reason)
    if living.done() and not living.cancelled():
        living.result()


async def _live(service: "CoordinatorService") -> None:
    await service.start()
    print(f"coordinator {service.coordinator_id}: broker {service.nats_url}, HTTP {service.http_address}", flush=True)
    await service.wait()


def _loop_factory() -> "Callable[[], asyncio.AbstractEventLoop] | None":
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def main() -> None:
    run_at_the_door(app)


if __name__ == "__main__":
    main()
