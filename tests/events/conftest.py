"""One suite for every implementation of the log, and one for every broker that the log may stand on."""

import contextlib
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from coordinator.broker import EmbeddedBroker
from events.bus import Bus
from events.connection import Connection
from events.identity import new_id
from events.jetstream import JetStreamLog
from events.log import EventLog
from events.memory import MemoryLog
from events.streams import MIB, Streams, ensure_streams
from tests.conftest import BrokerProcess
from tests.simulation.ordinary import OrdinaryWorld
from tests.waiting import until

REAL, SIMULATED = "nats-server", "simulated"


def own_streams() -> Streams:
    """A namespace that no other test uses."""
    return Streams(
        namespace=f"t{new_id().replace('-', '')[-16:]}",
        events_bytes_max=64 * MIB,
        heartbeats_bytes_max=64 * MIB,
        snapshots_bytes_max=64 * MIB,
    )


# The log


class Port:
    """An event log, and what a stranger may do to it."""

    def __init__(self, log: EventLog, inject: Callable[[str, bytes], Awaitable[object]], prefix: str) -> None:
        self.log = log
        self.inject = inject
        """Stores any bytes under any subject tail."""
        self.prefix = prefix
        """What subjects begin with."""


@pytest.fixture(params=["memory", REAL, SIMULATED])
def port(request: pytest.FixtureRequest) -> Port:
    if request.param == "memory":
        memory = MemoryLog()

        async def store(tail: str, payload: bytes) -> None:
            memory.store_bytes(tail, payload)

        return Port(memory, store, "")
    side: Side = request.getfixturevalue(_FIXTURES[request.param])

    async def publish(tail: str, payload: bytes) -> bytes:
        return await side.bus.request(side.streams.event_subject(tail), payload)

    return Port(JetStreamLog(side.bus, side.streams), publish, side.streams.event_subject(""))


@pytest.fixture
def event_log(port: Port) -> EventLog:
    return port.log


# The broker


class Side:
    """A connection to a broker that stays alive, with streams of its own, and the way to more connections."""

    def __init__(self, bus: Bus, streams: Streams, connect: Callable[[str], Awaitable[Bus]]) -> None:
        self.bus = bus
        self.streams = streams
        self._connect = connect
        self._connected: list[Bus] = []

    async def connect(self, name: str) -> Bus:
        bus = await self._connect(name)
        self._connected.append(bus)
        return bus

    async def close(self) -> None:
        for bus in (*self._connected, self.bus):
            await bus.close()


@contextlib.asynccontextmanager
async def _side(connect: Callable[[str], Awaitable[Bus]]) -> AsyncIterator[Side]:
    side = Side(await connect("test"), own_streams(), connect)
    await ensure_streams(side.bus, side.streams)
    yield side
    for configuration in side.streams.configurations():
        await side.bus.api(f"STREAM.DELETE.{configuration['name']}")
    await side.close()


@pytest.fixture
async def real_side(broker: BrokerProcess) -> AsyncIterator[Side]:
    async with _side(lambda name: Connection.connect(broker.url, name=name)) as side:
        yield side


@pytest.fixture
async def simulated_side() -> AsyncIterator[Side]:
    async with _side(OrdinaryWorld().connect) as side:
        yield side


_FIXTURES = {REAL: "real_side", SIMULATED: "simulated_side"}


@pytest.fixture(params=[REAL, SIMULATED])
def side(request: pytest.FixtureRequest) -> Side:
    found: Side = request.getfixturevalue(_FIXTURES[request.param])
    return found


@pytest.fixture
def bus(side: Side) -> Bus:
    return side.bus


@pytest.fixture
def streams(side: Side) -> Streams:
    return side.streams


@pytest.fixture
def log(side: Side) -> JetStreamLog:
    return JetStreamLog(side.bus, side.streams)


# A broker that is killed


class Mortal(ABC):
    """A broker that a test may kill; what it had acknowledged is there when it starts again."""

    @abstractmethod
    async def connect(self, name: str) -> Bus: ...

    @abstractmethod
    async def kill(self) -> None: ...

    @abstractmethod
    async def stop(self) -> None:
        """It ends in order."""

    @abstractmethod
    async def start(self) -> None: ...

    @abstractmethod
    async def pause(self) -> None: ...

    @abstractmethod
    async def resume(self) -> None: ...


class RealMortal(Mortal):
    def __init__(self, broker: EmbeddedBroker) -> None:
        self._broker = broker

    async def connect(self, name: str) -> Bus:
        return await Connection.connect(self._broker.url, name=name)

    async def kill(self) -> None:
        self._signal(signal.SIGKILL)
        await until(lambda: self._broker.pid is None, what="the end of the broker")
        await self._broker.stop()

    async def stop(self) -> None:
        await self._broker.stop()

    async def start(self) -> None:
        await self._broker.start()

    async def pause(self) -> None:
        self._signal(signal.SIGSTOP)
        server = psutil.Process(self._broker.pid)
        # All of its threads have to stop, and until then it goes on answering.
        await until(lambda: server.status() == psutil.STATUS_STOPPED, what="the broker to stand still")

    async def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._broker.pid is not None
        os.kill(self._broker.pid, number)


class SimulatedMortal(Mortal):
    def __init__(self) -> None:
        self._world = OrdinaryWorld()

    async def connect(self, name: str) -> Bus:
        return await self._world.connect(name)

    async def kill(self) -> None:
        self._world.broker.crash()

    async def stop(self) -> None:
        self._world.broker.stop()

    async def start(self) -> None:
        self._world.broker.start()

    async def pause(self) -> None:
        self._world.broker.pause()

    async def resume(self) -> None:
        self._world.broker.resume()


@pytest.fixture(params=[REAL, SIMULATED])
async def mortal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Mortal]:
    if request.param == SIMULATED:
        yield SimulatedMortal()
        return
    broker = EmbeddedBroker(tmp_path, sync="default")
    await broker.start()
    yield RealMortal(broker)
    await broker.stop()
