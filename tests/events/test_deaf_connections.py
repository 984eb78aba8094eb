"""Connections on which nothing arrives any more and nobody says so: how long they are kept, and who keeps theirs."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from events import connection
from events.bus import Bus
from events.connection import PING_INTERVAL_S, PINGS_OUTSTANDING_MAX, Connection
from tests.chaos.proxy import Proxy
from tests.conftest import BrokerProcess
from tests.waiting import until

GIVEN_UP_S_MAX = PING_INTERVAL_S * (PINGS_OUTSTANDING_MAX + 1)
LATE_S_MAX = 3.0
"""How much later a busy machine may see it."""


@asynccontextmanager
async def over_a_cable(broker: BrokerProcess) -> AsyncIterator[tuple[Bus, Proxy]]:
    cable = Proxy(broker.url)
    await cable.open()
    try:
        bus = await Connection.connect(cable.url, name="test")
        try:
            yield bus, cable
        finally:
            async with asyncio.timeout(connection.CLOSE_S_MAX + LATE_S_MAX):
                await bus.close()
    finally:
        await cable.close()


@asynccontextmanager
async def filled(bus: Bus) -> AsyncIterator[None]:
    """Somebody goes on publishing until nothing more fits into the connection, and then waits."""

    full = False

    async def fill() -> None:
        while not full:
            await bus.publish("somewhere", b"x" * (1 << 19))

    filling = asyncio.create_task(fill())
    try:
        done, _ = await asyncio.wait({filling}, timeout=1.0)
        assert not done
        full = True
        yield
    finally:
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)


def test_a_deaf_connection_is_kept_for_six_seconds() -> None:
    assert GIVEN_UP_S_MAX == 6


@pytest.mark.parametrize("full", [False, True], ids=["nothing to say", "full of what waits to be taken"])
async def test_a_deaf_connection_is_given_up_for_another(broker: BrokerProcess, *, full: bool) -> None:
    async with over_a_cable(broker) as (bus, cable):
        cable.cut_for_good()
        async with filled(bus) if full else contextlib.nullcontext():
            back_s_max = GIVEN_UP_S_MAX + LATE_S_MAX
            await until(lambda: bus.reconnections == 1 and bus.connected, back_s_max, "another connection")
        await bus.flush()


async def test_a_deaf_connection_that_is_full_can_be_closed(
    broker: BrokerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CLOSE_S_MAX", 0.2)
    async with over_a_cable(broker) as (bus, cable):
        cable.cut_for_good()
        async with filled(bus), asyncio.timeout(LATE_S_MAX):
            await bus.close()
        assert bus.closed.is_set()


async def test_a_process_that_stands_still_keeps_its_connection(
    broker: BrokerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a collection of garbage, or work that does not let the loop run: each time for longer than all pings may
    wait."""
    monkeypatch.setattr(connection, "PING_INTERVAL_S", 0.05)
    async with over_a_cable(broker) as (bus, _):
        for _ in range(5):
            stand_still(0.3)
            await bus.flush()
            assert bus.connected
        assert bus.reconnections == 0


def stand_still(seconds: float) -> None:
    """Computes, and lets nobody else run."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        sum(range(1000))
