"""The first connection: what is told of those who answer, and are no broker for us; always within its time."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from coordinator.broker import EmbeddedBroker
from events import connection
from events.connection import Connection
from events.errors import Unreachable
from tests.conftest import BrokerProcess, _await_ports, nats_server_binary
from tests.waiting import until

Talk = Callable[[asyncio.StreamWriter], Awaitable[None]]

INFO = b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576,"proto":1}\r\n'


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT_S", 0.1)


async def say_nothing(writer: asyncio.StreamWriter) -> None:
    del writer


async def speak_of_itself(writer: asyncio.StreamWriter) -> None:
    writer.write(INFO)


async def speak_ssh(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")


async def babble(writer: asyncio.StreamWriter) -> None:
    writer.write(b"INFO\r\n")


async def gush(writer: asyncio.StreamWriter) -> None:
    writer.write(b"x" * 1_000_000)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


class Impostor:
    """Listens, and is no broker."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.taken = 0
        self.open = 0
        self.url = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Impostor"]:
        server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.taken += 1
        self.open += 1
        try:
            await self._talk(writer)
            while await reader.read(65_536):
                pass
        except ConnectionError:
            pass
        finally:
            self.open -= 1
            writer.close()


@pytest.mark.parametrize(
    ("talk", "detail"),
    [
        (say_nothing, "it takes connections and does not answer"),
        (speak_of_itself, "it takes connections and does not answer"),
        (speak_ssh, "nats: empty response from server when expecting INFO message"),
        (babble, "what it says is not NATS"),
        (gush, "what it says is not NATS"),
        (hang_up, "nats: empty response from server when expecting INFO message"),
    ],
)
async def test_what_listens_there_is_no_broker(talk: Talk, detail: str) -> None:
    tasks = asyncio.all_tasks()
    async with Impostor(talk).listening() as impostor:
        with pytest.raises(Unreachable) as raised:
            await Connection.connect(impostor.url, name="test", wait_s=0.3)
        assert str(raised.value).startswith(f"no NATS server answers at {impostor.url} ({detail});")
        assert impostor.taken > 1
        await until(lambda: impostor.open == 0, what="the connections to be closed")
    await until(lambda: asyncio.all_tasks() == tasks, what="nothing to be left behind")


async def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    tasks = asyncio.all_tasks()
    async with Impostor(say_nothing).listening() as impostor:
        connecting = asyncio.create_task(Connection.connect(impostor.url, name="test", wait_s=60.0))
        await until(lambda: impostor.taken > 1, what="the connection")
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await until(lambda: impostor.open == 0, what="the connections to be closed")
    await until(lambda: asyncio.all_tasks() == tasks, what="nothing to be left behind")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[str]:
    """The address of a broker that lets in alice alone."""
    (tmp_path / "nats.conf").write_text(
        f'listen: "127.0.0.1:-1"\nports_file_dir: "{tmp_path}"\nlog_file: "{tmp_path}/nats.log"\n'
        f"authorization {{ user: alice, password: secret }}\n"
    )
    process = subprocess.Popen([nats_server_binary(), "-c", str(tmp_path / "nats.conf")])
    try:
        yield _await_ports(process, tmp_path)
    finally:
        process.kill()
        process.wait()


async def test_a_broker_that_wants_a_password(guarded: str) -> None:
    with pytest.raises(Unreachable, match="Authorization Violation"):
        await Connection.connect(guarded, name="test", wait_s=0.3)


async def test_a_broker_that_stands_still_for_a_while_is_waited_for(tmp_path: Path) -> None:
    """Its machine goes on taking connections for it."""
    broker = EmbeddedBroker(tmp_path, sync="default")
    await broker.start()
    try:
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGSTOP)
        server = psutil.Process(broker.pid)
        await until(lambda: server.status() == psutil.STATUS_STOPPED, what="the broker to stand still")
        with pytest.raises(Unreachable, match="takes connections and does not answer"):
            await Connection.connect(broker.url, name="test", wait_s=0.3)
        connecting = asyncio.create_task(Connection.connect(broker.url, name="test", wait_s=20.0))
        os.kill(broker.pid, signal.SIGCONT)
        bus = await connecting
        await bus.flush()
        await bus.close()
    finally:
        await broker.stop()


@pytest.mark.parametrize("steps", range(8))
async def test_a_connection_is_closed_at_any_step_of_its_loss(broker: BrokerProcess, steps: int) -> None:
    bus = await Connection.connect(broker.url, name="test")
    lost = asyncio.create_task(bus._client._process_op_err(OSError("cut")))
    for _ in range(steps):
        await asyncio.sleep(0)
    await bus.close()
    await lost
    assert bus._client.is_closed
