"""How command line tools find a system: running, or ended and asleep in a folder."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from coordinator.endpoint import Endpoint, is_alive, read_endpoint
from coordinator.faults import BrokerFault, UsageFault
from events.bus import Bus
from events.connection import Connection
from events.errors import BrokerRefused, Unreachable, Unwelcome
from events.identity import is_id
from events.jetstream import JetStreamLog
from events.streams import STREAM_NOT_FOUND, Streams
from replay.plugins import use_installed_detectors

STATE_DIR = ".resurgam"
WAIT_S = 2.0


class System(NamedTuple):
    bus: Bus
    streams: Streams
    log: JetStreamLog
    state_dir: Path
    db_path: Path | None
    """The history database, as far as the folder tells; None for a system known by its address alone."""
    live: bool
    """False: it has ended, and a broker was started over its store for the time of this command."""


@asynccontextmanager
async def open_system(
    *,
    nats_url: str | None = None,
    namespace: str | None = None,
    state_dir: Path | None = None,
    environment: Mapping[str, str] | None = None,
    name: str = "resurgam-cli",
    live_only: bool = False,
) -> AsyncIterator[System]:
    """`nats_url`, then RESURGAM_NATS_URL, then the endpoint that a running system left in `state_dir`, then the store
    of a system that has ended there (not with `live_only`: what is to be done by workers needs a running one).

    Raises:
        Unreachable: an address was given and nobody answers there.
        UsageFault: nothing was found, or the folder's store cannot be used.
        BrokerFault: there is a broker, but no system of this namespace on it.
    """
    use_installed_detectors()
    variables = os.environ if environment is None else environment
    folder = Path(STATE_DIR if state_dir is None else state_dir)
    endpoint = read_endpoint(folder)
    url = nats_url or variables.get("RESURGAM_NATS_URL") or None
    chosen = namespace or variables.get("RESURGAM_NAMESPACE") or None
    if chosen is not None and not is_id(chosen):
        raise UsageFault(f"the namespace {chosen!r} is no name: it takes 1 to 64 letters, digits, '_' or '-'")
    async with AsyncExitStack() as stack:
        bus: Bus
        if url is not None:
            bus, live = await Connection.connect(url, name=name, wait_s=WAIT_S), True
        else:
            chosen = chosen or (endpoint.namespace if endpoint is not None else None)
            bus, live = await _from_folder(folder, endpoint, stack, name, live_only=live_only)
        stack.push_async_callback(bus.close)
        streams = Streams(namespace=chosen or "resurgam")
        await _check_streams(bus, streams)
        db_path = Path(endpoint.db_path) if endpoint is not None and url in (None, endpoint.nats_url) else None
        yield System(bus, streams, JetStreamLog(bus, streams), folder, db_path, live)


async def _from_folder(
    folder: Path, endpoint: Endpoint | None, stack: AsyncExitStack, name: str, *, live_only: bool
) -> tuple[Bus, bool]:
    if endpoint is not None and is_alive(endpoint.pid):
        try:
            return await Connection.connect(endpoint.nats_url, name=name, wait_s=WAIT_S), True
        except Unwelcome:
            raise
        except Unreachable as error:
            raise BrokerFault(
                f"process {endpoint.pid} runs the system in {folder}, but its broker at {endpoint.nats_url} does not "
                f"answer: it may be restarting; try again, or stop that process"
            ) from error
    store = folder / "broker"
    if live_only or not (store / "store").is_dir():
        ended = " (one has ended there)" if (store / "store").is_dir() else ""
        raise UsageFault(
            f"no running system is known in {folder}{ended}: start one with 'resurgam coordinator', or name its broker "
            f"with --nats-url or RESURGAM_NATS_URL"
            if live_only
            else f"no system is known in {folder}: start one with 'resurgam coordinator' or 'resurgam run', name its "
            f"broker with --nats-url or RESURGAM_NATS_URL, or its folder with --state-dir"
        )
    from coordinator.broker import EmbeddedBroker

    # Nothing is to be made durable here that was not before.
    broker = await stack.enter_async_context(EmbeddedBroker(store, sync="default"))
    return await Connection.connect(broker.url, name=name), False


async def _check_streams(bus: Bus, streams: Streams) -> None:
    try:
        await bus.api(f"STREAM.INFO.{streams.events}")
    except BrokerRefused as refused:
        if refused.code != STREAM_NOT_FOUND:
            raise
        raise BrokerFault(
            f"the broker at {bus.url} holds no system named {streams.namespace!r}: start one there with "
            f"'resurgam coordinator --nats-url {bus.url}', or give another --namespace"
        ) from refused
