"""What README says about brokers of one's own is what a server takes, and gives what it promises."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.binary import find_binary
from coordinator.disconnections import advisories_come
from coordinator.kick import ConnectionCloser
from events.connection import Connection
from events.streams import Streams, ensure_streams
from tests.conftest import STREAM_BYTES_MAX, _await_ports
from worker.witness import serve_presence

README = Path(__file__).parents[2] / "README.md"


def excerpts() -> list[str]:
    return re.findall(r"^```nats\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


ACCOUNTS = next(text for text in excerpts() if "accounts {" in text)
NODE = next(text for text in excerpts() if "cluster {" in text)


@pytest.mark.parametrize("text", [ACCOUNTS, NODE, NODE + ACCOUNTS], ids=["accounts", "node", "both"])
def test_a_server_understands_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "nats.conf").write_text(text)
    done = subprocess.run(
        [find_binary(), "-t", "-c", tmp_path / "nats.conf"], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert "configuration file" in done.stderr
    assert "is valid" in done.stderr


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A node as README says, on its own."""
    text, found = re.subn(r"^cluster \{.*?^\}$", "", NODE + ACCOUNTS, flags=re.MULTILINE | re.DOTALL)
    assert found == 1
    for given, ours in {'"0.0.0.0:4222"': '"127.0.0.1:-1"', '"/var/lib/nats"': json.dumps(str(tmp_path))}.items():
        assert given in text
        text = text.replace(given, ours)
    (tmp_path / "nats.conf").write_text(
        f"{text}\nports_file_dir: {json.dumps(str(tmp_path))}\nlog_file: {json.dumps(str(tmp_path / 'nats.log'))}\n"
    )
    process = subprocess.Popen([str(find_binary()), "-c", str(tmp_path / "nats.conf")])
    try:
        yield _await_ports(process, tmp_path)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


async def test_it_gives_the_account_what_a_coordinator_wants(url: str) -> None:
    bus = await Connection.connect(url, name="coordinator/c1")
    agent = await Connection.connect(url, name="agent/w1")
    streams = Streams(
        events_bytes_max=STREAM_BYTES_MAX, heartbeats_bytes_max=STREAM_BYTES_MAX, snapshots_bytes_max=STREAM_BYTES_MAX
    )
    assert len(await ensure_streams(bus, streams)) == 4
    assert await advisories_come(bus, lambda name: Connection.connect(url, name=name))
    await serve_presence(agent, streams, "w1", "agent")
    await agent.flush()
    assert (await ConnectionCloser(bus, streams).close_agent("w1")).outcome == "closed"
    await agent.close()
    await bus.close()
