"""Closing the connection of a worker's agent at the server, with real servers that allow it, or do not."""

import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from coordinator.broker import EmbeddedBroker
from coordinator.broker_configuration import ACCOUNT, ACCOUNTS, KICK, SYSTEM_ACCOUNT
from coordinator.kick import ConnectionCloser, Kick
from events.bus import Bus
from events.connection import Connection
from events.credentials import VARIABLE
from events.streams import Streams
from tests.conftest import BrokerProcess, _await_ports, nats_server_binary
from tests.waiting import until
from worker.witness import ask_presence, serve_presence

STREAMS = Streams()


@asynccontextmanager
async def connected(url: str, name: str) -> AsyncIterator[Bus]:
    bus = await Connection.connect(url, name=name)
    try:
        yield bus
    finally:
        await bus.close()


@asynccontextmanager
async def worker(url: str, worker_id: str, role: str = "agent") -> AsyncIterator[Bus]:
    async with connected(url, f"{role}/{worker_id}") as bus:
        await serve_presence(bus, STREAMS, worker_id, role)
        await bus.flush()
        yield bus


async def test_an_agent_whose_connection_is_closed_comes_back(tmp_path: Path) -> None:
    async with (
        EmbeddedBroker(tmp_path, sync="default") as broker,
        connected(broker.url, "coordinator/c1") as bus,
        worker(broker.url, "w1") as agent,
        worker(broker.url, "w1", "supervisor") as supervisor,
        worker(broker.url, "w2") as other,
    ):
        closer = ConnectionCloser(bus, STREAMS)
        for time in (1, 2):
            assert await closer.close_agent("w1") == Kick("closed")
            await until(lambda n=time: agent.reconnections == n, what="the reconnection")  # type: ignore[misc]
        assert await ask_presence(bus, STREAMS, "w1", timeout_s=1.0) == ""
        assert (bus.reconnections, supervisor.reconnections, other.reconnections) == (0, 0, 0)


async def test_every_connection_of_that_name_is_closed(tmp_path: Path) -> None:
    """One of them may be half open, and nobody can tell which."""
    async with (
        EmbeddedBroker(tmp_path, sync="default") as broker,
        connected(broker.url, "coordinator/c1") as bus,
        worker(broker.url, "w1") as one,
        worker(broker.url, "w1") as another,
    ):
        assert (await ConnectionCloser(bus, STREAMS).close_agent("w1")).outcome == "closed"
        await until(lambda: (one.reconnections, another.reconnections) == (1, 1), what="both to come back")


async def test_an_agent_that_is_not_connected(tmp_path: Path) -> None:
    async with (
        EmbeddedBroker(tmp_path, sync="default") as broker,
        connected(broker.url, "coordinator/c1") as bus,
        worker(broker.url, "w1", "supervisor"),
    ):
        assert await ConnectionCloser(bus, STREAMS).close_agent("w1") == Kick("not_connected")


async def test_a_broker_that_does_not_allow_it_is_told_of_once(broker: BrokerProcess, bus: Bus) -> None:
    async with worker(broker.url, "w1") as agent:
        closer = ConnectionCloser(bus, STREAMS)
        with capture_logs() as said:
            assert (await closer.close_agent("w1")).outcome == "not_permitted"
            assert (await closer.close_agent("w1")).outcome == "not_permitted"
        assert [entry["event"] for entry in said] == ["connections_cannot_be_closed"]
        assert agent.reconnections == 0


async def test_a_broker_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordinator.kick.ANSWER_S_MAX", 0.1)
    broker = EmbeddedBroker(tmp_path, sync="default")
    await broker.start()
    async with connected(broker.url, "coordinator/c1") as bus:
        await broker.stop()
        await until(lambda: not bus.connected, what="the disconnection")
        assert (await ConnectionCloser(bus, STREAMS).close_agent("w1")).outcome == "unanswered"


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[str]:
    """A broker where only the coordinators may close connections."""
    users = [
        {"user": "coordinator", "password": "secret"},
        {"user": "worker", "password": "secret", "permissions": {"publish": {"deny": [KICK]}}},
    ]
    configuration = {
        "listen": "127.0.0.1:-1",
        "ports_file_dir": str(tmp_path),
        "log_file": str(tmp_path / "nats.log"),
        "accounts": {**ACCOUNTS, ACCOUNT: {**ACCOUNTS[ACCOUNT], "jetstream": "disabled", "users": users}},
        "system_account": SYSTEM_ACCOUNT,
    }
    (tmp_path / "nats.conf").write_text(json.dumps(configuration))
    process = subprocess.Popen([nats_server_binary(), "-c", str(tmp_path / "nats.conf")])
    try:
        yield _await_ports(process, tmp_path)
    finally:
        process.kill()
        process.wait()


async def test_it_may_be_the_coordinators_alone(shared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordinator.kick.ANSWER_S_MAX", 0.5)

    def show(user: str) -> str:
        path = tmp_path / f"{user}.toml"
        path.write_text(f'user = "{user}"\npassword = "secret"\n')
        path.chmod(0o600)
        monkeypatch.setenv(VARIABLE, str(path))
        return shared

    async with (
        connected(show("coordinator"), "coordinator/c1") as leader,
        worker(show("worker"), "w1") as agent,
        worker(shared, "w2") as rogue,
    ):
        kick = await ConnectionCloser(rogue, STREAMS).close_agent("w1")
        assert kick.outcome == "unanswered"
        assert "permissions violation" in kick.detail
        assert agent.reconnections == 0
        assert await ConnectionCloser(leader, STREAMS).close_agent("w1") == Kick("closed")
        await until(lambda: agent.reconnections == 1, what="the reconnection")
