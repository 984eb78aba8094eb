"""A broker that a test may kill."""

import json
import random
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from events.connection import Connection
from events.jetstream import JetStreamLog
from events.streams import Streams
from events.worker import WorkerReadmitted
from events.writer import Writer
from tests.conftest import nats_server_binary
from tests.waiting import until


class Broker:
    """A nats-server that keeps its port and its store over restarts."""

    def __init__(self, folder: Path) -> None:
        self.url = ""
        self.store = folder / "store"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        # Not one of those that outgoing connections are given: a client that reconnects could meet itself there.
        port = self.url.rpartition(":")[2] or str(random.randrange(10_240, 32_000))
        places = ["-sd", str(self.store), "--ports_file_dir", str(self._folder)]
        self._process = subprocess.Popen(  # noqa: ASYNC220  (it returns at once)
            [nats_server_binary(), "-js", "-a", "127.0.0.1", "-p", port, *places],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        ports = self._folder / f"nats-server_{self._process.pid}.ports"
        await until(lambda: ports.exists() and ports.read_text().strip().endswith("}"), what="the broker's port")
        self.url = str(json.loads(ports.read_text())["nats"][0])

    def end(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None


async def written_elsewhere(store: Path, streams: Streams, worker_id: str) -> int:
    """Into this store, by a broker that nobody else is connected to; the sequence."""
    folder = store.parent / "elsewhere"
    folder.mkdir()
    broker = Broker(folder)
    broker.store = store
    await broker.start()
    bus = await Connection.connect(broker.url, name="elsewhere")
    stored = await Writer(JetStreamLog(bus, streams), "test/1").write(WorkerReadmitted(worker_id=worker_id, actor="me"))
    await bus.close()
    broker.end(signal.SIGTERM)
    return stored.last


@pytest.fixture
async def own_broker(tmp_path: Path) -> AsyncIterator[Broker]:
    folder = tmp_path / "broker"
    folder.mkdir()
    server = Broker(folder)
    await server.start()
    yield server
    server.end()
