"""Both implementations of the event log, behind one fixture."""

from collections.abc import Awaitable, Callable

import pytest

from events.bus import Bus
from events.log import EventLog
from events.memory import MemoryLog
from events.streams import Streams


class Port:
    """An event log, and what a stranger may do to it."""

    def __init__(self, log: EventLog, inject: Callable[[str, bytes], Awaitable[object]], prefix: str) -> None:
        self.log = log
        self.inject = inject
        """Stores any bytes under any subject tail."""
        self.prefix = prefix
        """What subjects begin with."""


@pytest.fixture(params=["memory", "jetstream"])
def port(request: pytest.FixtureRequest) -> Port:
    if request.param == "memory":
        memory = MemoryLog()

        async def store(tail: str, payload: bytes) -> None:
            memory.store_bytes(tail, payload)

        return Port(memory, store, "")
    bus: Bus = request.getfixturevalue("bus")
    streams: Streams = request.getfixturevalue("streams")

    async def publish(tail: str, payload: bytes) -> bytes:
        return await bus.request(streams.event_subject(tail), payload)

    return Port(request.getfixturevalue("log"), publish, streams.event_subject(""))


@pytest.fixture
def event_log(port: Port) -> EventLog:
    return port.log
