"""Who is connected, by the word of real servers: all of them, and nobody who has gone."""

from pathlib import Path

import psutil
import pytest

from coordinator import connections as asking
from coordinator.broker import EmbeddedBroker
from coordinator.connections import connections
from events.bus import Bus
from events.connection import Connection
from tests.chaos.farm import until_true
from tests.conftest import BrokerProcess
from tests.waiting import until


async def named(url: str, *names: str) -> list[Bus]:
    return [await Connection.connect(url, name=name) for name in names]


async def end(*buses: Bus) -> None:
    for bus in buses:
        await bus.close()


@pytest.mark.parametrize("page", [1, 2, 3, 1024])
async def test_everybody_is_listed_page_by_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    monkeypatch.setattr(asking, "PAGE", page)
    async with EmbeddedBroker(tmp_path, sync="default") as broker:
        buses = await named(broker.url, "coordinator/c1", "agent/w1", "supervisor/w1", "agent/w2")
        listing = await connections(buses[0])
        assert listing is not None
        assert sorted(client.name for client in listing.clients) == [
            "agent/w1", "agent/w2", "coordinator/c1", "supervisor/w1"
        ]  # fmt: skip
        assert len({client.cid for client in listing.clients}) == 4
        await end(*buses)


async def test_those_who_have_gone_are_not_listed(broker: BrokerProcess) -> None:
    """Any broker answers that, without an account of the farm's own."""
    asker, staying, going = await named(broker.url, "coordinator/c1", "agent/stays", "agent/goes")

    async def names() -> set[str]:
        listing = await connections(asker)
        assert listing is not None
        return {client.name for client in listing.clients} & {"agent/stays", "agent/goes"}

    assert await names() == {"agent/stays", "agent/goes"}
    await going.close()

    async def gone() -> bool:
        return await names() == {"agent/stays"}

    await until_true(gone, 5, "the end of the connection")
    await end(asker, staying)


async def test_more_than_can_be_asked_for_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PAGE", 1)
    monkeypatch.setattr(asking, "PAGES_MAX", 2)
    async with EmbeddedBroker(tmp_path, sync="default") as broker:
        buses = await named(broker.url, "coordinator/c1", "agent/w1", "agent/w2")
        assert await connections(buses[0]) is None
        await end(*buses)


async def test_a_broker_that_stands_still_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ANSWER_S_MAX", 0.1)
    async with EmbeddedBroker(tmp_path, sync="default") as broker:
        (bus,) = await named(broker.url, "coordinator/c1")
        assert broker.pid is not None
        server = psutil.Process(broker.pid)
        server.suspend()
        try:
            await until(lambda: server.status() == psutil.STATUS_STOPPED, what="the stop")
            assert await connections(bus) is None
        finally:
            server.resume()

        async def answered() -> bool:
            return await connections(bus) is not None

        await until_true(answered, 5, "an answer")
        await bus.close()
