"""What replay needs of a system: its log and its heartbeats. Whoever mounts the commands says how one is found."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from events.bus import Bus
from events.connection import Connection
from events.jetstream import JetStreamLog
from events.log import EventLog
from events.streams import Streams


class Source(Protocol):
    """A system that can be read. Nothing here ever writes to it."""

    @property
    def bus(self) -> Bus: ...

    @property
    def streams(self) -> Streams: ...

    @property
    def log(self) -> EventLog: ...


class Location(NamedTuple):
    """What the command line said about where the system is."""

    nats_url: str | None
    namespace: str | None
    state_dir: Path


Opener = Callable[[Location], AbstractAsyncContextManager[Source]]


class CannotReplay(Exception):
    """What was asked for is not in the log, or not any more. The message is one sentence."""

    exit_code = 2


class CannotVerify(CannotReplay):
    """The log does not hold what a verification needs."""

    exit_code = 5


class _Direct:
    def __init__(self, bus: Bus, streams: Streams) -> None:
        self.bus = bus
        self.streams = streams
        self.log = JetStreamLog(bus, streams)


@asynccontextmanager
async def open_by_address(location: Location) -> AsyncIterator[Source]:
    """The opener of `python -m replay`, which knows no folders: an address it must be.

    Raises:
        Unreachable: nobody answers there.
        CannotReplay: no address was given.
    """
    if location.nats_url is None:
        raise CannotReplay("'python -m replay' needs --nats-url; 'resurgam replay' finds the system of this folder")
    bus = await Connection.connect(location.nats_url, name="replay", wait_s=2.0)
    try:
        yield _Direct(bus, Streams(namespace=location.namespace or "resurgam"))
    finally:
        await bus.close()
