"""How commands find a system."""

import os
from pathlib import Path

import pytest

from coordinator.access import open_system
from coordinator.broker import EmbeddedBroker
from coordinator.endpoint import Endpoint, is_alive, read_endpoint, write_endpoint
from coordinator.faults import BrokerFault, UsageFault
from coordinator.storage import streams_fitting
from events.connection import Connection
from events.errors import Unreachable
from events.jetstream import JetStreamLog
from events.streams import Streams, ensure_streams
from events.system import CoordinatorStopped
from events.writer import Writer
from tests.conftest import BrokerProcess

NOBODY = "nats://127.0.0.1:9"
A_PID_OF_NOBODY = 2**22 + 1


def endpoint(url: str, namespace: str, pid: int) -> Endpoint:
    return Endpoint(nats_url=url, namespace=namespace, db_path="/history.duckdb", pid=pid)


async def test_by_flag(broker: BrokerProcess, streams: Streams, tmp_path: Path) -> None:
    environment = {"RESURGAM_NATS_URL": NOBODY}
    async with open_system(
        nats_url=broker.url, namespace=streams.namespace, state_dir=tmp_path, environment=environment
    ) as system:
        assert system.live
        assert system.db_path is None
        assert await system.log.last_sequence() == 0


async def test_by_environment_which_goes_before_the_folder(
    broker: BrokerProcess, streams: Streams, tmp_path: Path
) -> None:
    write_endpoint(tmp_path, endpoint(NOBODY, "other", os.getpid()))
    environment = {"RESURGAM_NATS_URL": broker.url, "RESURGAM_NAMESPACE": streams.namespace}
    async with open_system(state_dir=tmp_path, environment=environment) as system:
        assert system.streams.namespace == streams.namespace
        assert system.db_path is None


async def test_by_what_runs_in_the_folder(broker: BrokerProcess, streams: Streams, tmp_path: Path) -> None:
    write_endpoint(tmp_path, endpoint(broker.url, streams.namespace, os.getpid()))
    async with open_system(state_dir=tmp_path, environment={}) as system:
        assert system.live
        assert system.db_path == Path("/history.duckdb")


async def test_a_run_that_has_ended_is_woken_for_the_command(tmp_path: Path) -> None:
    async with EmbeddedBroker(tmp_path / "broker", sync="default") as ended:
        bus = await Connection.connect(ended.url, name="test")
        streams = streams_fitting("resurgam", ended.room)
        await ensure_streams(bus, streams)
        await Writer(JetStreamLog(bus, streams), "test").write(CoordinatorStopped(coordinator_id="c1"))
        await bus.close()
        write_endpoint(tmp_path, endpoint(ended.url, "resurgam", A_PID_OF_NOBODY))
    async with open_system(state_dir=tmp_path, environment={}) as system:
        assert not system.live
        assert await system.log.last_sequence() == 1
        assert system.db_path == Path("/history.duckdb")
    with pytest.raises(UsageFault, match="one has ended there"):
        async with open_system(state_dir=tmp_path, environment={}, live_only=True):
            pass


async def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UsageFault) as caught:
        async with open_system(state_dir=tmp_path, environment={}):
            pass
    assert str(caught.value) == (
        f"no system is known in {tmp_path}: start one with 'resurgam coordinator' or 'resurgam run', name its broker "
        f"with --nats-url or RESURGAM_NATS_URL, or its folder with --state-dir"
    )


async def test_an_address_where_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordinator.access.WAIT_S", 0.1)
    with pytest.raises(Unreachable, match=NOBODY):
        async with open_system(nats_url=NOBODY, state_dir=tmp_path, environment={}):
            pass


async def test_a_coordinator_whose_broker_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordinator.access.WAIT_S", 0.1)
    write_endpoint(tmp_path, endpoint(NOBODY, "resurgam", os.getpid()))
    with pytest.raises(BrokerFault, match=f"process {os.getpid()} runs the system in .* does not answer"):
        async with open_system(state_dir=tmp_path, environment={}):
            pass


async def test_a_broker_without_the_system(broker: BrokerProcess, tmp_path: Path) -> None:
    with pytest.raises(BrokerFault, match="holds no system named 'nobody': start one there with 'resurgam coordinator"):
        async with open_system(nats_url=broker.url, namespace="nobody", state_dir=tmp_path, environment={}):
            pass


async def test_a_namespace_that_is_no_name(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match=r"the namespace 'a\.b' is no name"):
        async with open_system(nats_url=NOBODY, namespace="a.b", state_dir=tmp_path, environment={}):
            pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"nats_url": 3}'])
def test_an_endpoint_that_makes_no_sense_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "endpoint.json").write_text(content)
    assert read_endpoint(tmp_path) is None


@pytest.mark.parametrize(
    ("pid", "alive"),
    [(os.getpid(), True), (1, True), (0, False), (-1, False), (A_PID_OF_NOBODY, False)],
    ids=["ours", "init", "zero", "negative", "nobody"],
)
def test_which_process_lives(pid: int, alive: bool) -> None:
    assert is_alive(pid) is alive
