"""A virtual loop, a host on it and a process of that host, for tests of what the simulator is made of."""

from collections.abc import Iterator

import pytest

from tests.simulation.loop import VirtualLoop
from tests.simulation.process import SimHost, SimProcess


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()
    assert loop.unhandled == []


@pytest.fixture
def machine(loop: VirtualLoop) -> SimHost:
    return SimHost(loop, "machine", seed=1)


@pytest.fixture
def process(machine: SimHost) -> SimProcess:
    return SimProcess(machine.loop, machine, "process")
