"""A simulated broker, and processes that only hold connections: for tests of the broker and of the network."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest

from events.bus import Message
from events.errors import Unacknowledged
from events.streams import Streams
from tests.simulation.broker import SimBroker
from tests.simulation.bus import SimBus
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network
from tests.simulation.process import SimHost, SimProcess

T = TypeVar("T")

STREAMS = Streams()
EVENTS = STREAMS.events
SERVICE = STREAMS.service_subject("s")
SUBJECT = STREAMS.event_subject("task.t1.x")
SEEDS = (1, 2, 3)


class Rig:
    def __init__(self, loop: VirtualLoop, seed: int) -> None:
        self.loop = loop
        self.seed = seed
        self.network = Network(loop, random.Random(seed))
        self.machine = SimHost(loop, "broker", seed=seed)
        self.broker = SimBroker(self.network, self.machine)
        for configuration in STREAMS.configurations():
            self.broker.add_stream(configuration)
        self.broker.start()

    def process(self, name: str) -> SimProcess:
        """On a host of the same name."""
        process = SimProcess(self.loop, SimHost(self.loop, name, seed=self.seed), name)
        process.start(asyncio.Event().wait())
        return process

    async def connect(self, process: SimProcess | str) -> SimBus:
        owner = self.process(process) if isinstance(process, str) else process
        return await owner.spawn(self.broker.connect(owner, owner.name))

    async def serve(self, process: SimProcess) -> list[bytes]:
        """Answers on SERVICE with what it is asked. What it has been asked."""
        bus = await self.connect(process)
        asked: list[bytes] = []

        async def echo(message: Message) -> None:
            asked.append(message.data)
            await bus.publish(message.reply, message.data)

        await process.spawn(bus.subscribe(SERVICE, echo))
        await bus.flush()
        return asked

    @property
    def stored(self) -> list[bytes]:
        """The payloads in EVENTS."""
        return [record.data for record in self.broker.streams[EVENTS].existing()]

    async def since(self, condition: Callable[[], bool], within_s: float) -> float:
        """Waits for it, and returns how many virtual seconds that took."""
        began = self.loop.time()
        while not condition():
            assert self.loop.time() - began < within_s, f"not within {within_s:g} s"
            await asyncio.sleep(0.01)
        return self.loop.time() - began


Story = Callable[[Rig], Coroutine[Any, Any, T]]


def live(story: Story[T], seed: int) -> T:
    """Lets it happen, and no exception go unnoticed."""
    loop = VirtualLoop()
    result: T = loop.run_until_complete(story(Rig(loop, seed)))
    loop.close()
    assert loop.unhandled == []
    return result


def virtual(story: Story[None]) -> Callable[[int], None]:
    """Makes a test of it, for several seeds."""

    @pytest.mark.parametrize("seed", SEEDS)
    def test(seed: int) -> None:
        live(story, seed)

    test.__name__, test.__doc__ = story.__name__, story.__doc__
    return test


async def refused(attempt: Awaitable[object]) -> str:
    """It is not acknowledged; what was said."""
    with pytest.raises(Unacknowledged) as caught:
        await attempt
    return str(caught.value)
