"""Whether a broker tells of closed connections, and what becomes of a store from before there were accounts."""

import asyncio
import json
import subprocess
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from coordinator.broker import EmbeddedBroker
from coordinator.broker_configuration import ACCOUNT, DISCONNECTIONS, GLOBAL_ACCOUNT
from coordinator.disconnections import Advisory, advisories_come, say_if_blind
from coordinator.storage import streams_fitting
from events.bus import Bus, Message
from events.connection import Connection
from events.jetstream import JetStreamLog
from events.policy import Policy
from events.streams import ensure_streams
from events.system import CoordinatorStopped
from events.worker import WorkerFailed, WorkerVanished
from events.writer import Writer
from tests.conftest import BrokerProcess, nats_server_binary
from tests.coordinator.test_service import running, settings
from tests.waiting import is_kind, until
from tests.worker.farm import Farm
from tests.worker.test_bystander import kill_whole


async def test_the_embedded_broker_tells_and_another_does_not(
    tmp_path: Path, broker: BrokerProcess, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordinator.disconnections.CANARY_S_MAX", 0.3)
    async with EmbeddedBroker(tmp_path) as embedded:
        own = await Connection.connect(embedded.url, name="test")
        assert await advisories_come(own, lambda name: Connection.connect(embedded.url, name=name))
        await own.close()
    with capture_logs() as said:
        await say_if_blind(bus, lambda name: Connection.connect(broker.url, name=name))
    assert [entry["event"] for entry in said if entry["log_level"] == "warning"] == ["disconnect_advisories_missing"]


async def test_an_advisory_names_the_client_and_why_it_went(tmp_path: Path) -> None:
    async with EmbeddedBroker(tmp_path) as embedded:
        bus = await Connection.connect(embedded.url, name="test")
        heard: list[Message] = []

        async def hear(message: Message) -> None:
            heard.append(message)

        await bus.subscribe(DISCONNECTIONS, hear)
        await bus.flush()
        worker = await Connection.connect(embedded.url, name="agent/w1")
        await worker.close()

        def of_worker() -> Advisory | None:
            advisories = [msgspec.json.decode(message.data, type=Advisory) for message in heard]
            return next((advisory for advisory in advisories if advisory.worker_id == "w1"), None)

        advisory = await until(of_worker, 5, "the advisory")
        assert advisory is not None
        assert advisory.reason == "Client Closed"
        assert advisory.client.stop is not None
        await bus.close()


@pytest.mark.parametrize("name", ["agent/", "agent/a.b", "agent/w1\n", "coordinator/c1", "w1", ""])
def test_only_workers_are_looked_for(name: str) -> None:
    advisory = msgspec.json.decode(msgspec.json.encode({"client": {"name": name}, "reason": ""}), type=Advisory)
    assert advisory.worker_id is None


def without_accounts(folder: Path, store: Path) -> "subprocess.Popen[bytes]":
    configuration = folder / "old.conf"
    configuration.write_text(
        json.dumps({"listen": "127.0.0.1:-1", "ports_file_dir": str(folder), "jetstream": {"store_dir": str(store)}})
    )
    return subprocess.Popen([nats_server_binary(), "-c", str(configuration)], stderr=subprocess.DEVNULL)


async def test_streams_from_before_there_were_accounts_are_kept(tmp_path: Path) -> None:
    store = tmp_path / "store"
    old = without_accounts(tmp_path, store)
    try:
        ports = tmp_path / f"nats-server_{old.pid}.ports"

        def url() -> str | None:
            try:
                return str(json.loads(ports.read_text())["nats"][0])
            except (OSError, ValueError):
                return None

        found = await until(url, 10, "the old server's port")
        assert found is not None
        bus = await Connection.connect(found, name="test")
        streams = streams_fitting("resurgam", 1 << 30)
        await ensure_streams(bus, streams)
        appended = await Writer(JetStreamLog(bus, streams), "test").write(CoordinatorStopped(coordinator_id="c1"))
        await bus.close()
    finally:
        old.terminate()
        await asyncio.to_thread(old.wait)
    assert (store / "jetstream" / GLOBAL_ACCOUNT).is_dir()
    for _ in range(2):
        async with EmbeddedBroker(tmp_path) as broker:
            bus = await Connection.connect(broker.url, name="test")
            assert await JetStreamLog(bus, streams).last_sequence() == appended.last
            await bus.close()
    assert [path.name for path in (store / "jetstream").iterdir()] == [ACCOUNT]


async def test_a_worker_that_is_alone_on_its_machine_is_found_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The coordinator is on another: it cannot look, and the one who can was left behind for that."""
    monkeypatch.setattr("coordinator.service.this_machine", lambda: None)
    async with running(settings(tmp_path)) as service:
        farm = Farm(service.bus, service.streams)
        try:
            worker = await farm.start("w1")
            kill_whole(worker)
            vanished = await farm.seen(is_kind(WorkerVanished, worker_id="w1", incarnation=worker.incarnation))
            failed = await farm.seen(is_kind(WorkerFailed, worker_id="w1", reason="disconnected"))
            assert isinstance(vanished.event, WorkerVanished)
            assert vanished.event.closed_at is not None
            # Its heartbeats would have been missed only after that.
            assert failed.time - vanished.event.closed_at.timestamp() < Policy().suspect_after
        finally:
            farm.stop()
