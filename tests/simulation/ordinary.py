"""The simulated broker on an ordinary event loop, in real time: for tests that hold it against a real one."""

import asyncio
import contextvars
import random
from collections.abc import Callable

from events.host import Host
from tests.simulation.broker import SimBroker
from tests.simulation.bus import SimBus
from tests.simulation.network import Network
from tests.simulation.protocol import Machine


class OrdinaryMachine(Host):
    """This machine's clocks and chance, under a name."""

    def __init__(self, name: str) -> None:
        self.name = name


class OrdinaryProcess:
    """Keeps `tests.simulation.protocol.Process` for code that runs in this very process; it never dies."""

    def __init__(self, host: Machine) -> None:
        self.host = host
        self.context = contextvars.copy_context()

    def on_death(self, callback: Callable[[], None]) -> None:
        del callback


class OrdinaryWorld:
    """A started broker on a host of its own. Made inside a running loop."""

    def __init__(self, seed: int = 1) -> None:
        self.network = Network(asyncio.get_running_loop(), random.Random(seed))
        self.broker = SimBroker(self.network, OrdinaryMachine("broker"))
        self.broker.start()

    async def connect(self, name: str, *, host: str = "client") -> SimBus:
        return await self.broker.connect(OrdinaryProcess(OrdinaryMachine(host)), name)
