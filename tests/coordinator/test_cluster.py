"""A cluster of real servers: what the log promises holds there too, and it is said clearly what cannot be had."""

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from coordinator import broker as broker_module
from coordinator import provision
from coordinator.cluster import LocalCluster, NodeState
from coordinator.commands.cluster import changes
from coordinator.endpoint import is_alive
from coordinator.faults import BrokerFault, UsageFault
from coordinator.kick import ConnectionCloser, Kick
from coordinator.monitoring import WELL, trouble_at
from coordinator.provision import provide_streams
from events.bus import Bus
from events.connection import Connection
from events.errors import Fenced
from events.jetstream import JetStreamLog
from events.lease import Lease, LeaseHolder
from events.log import Fence
from events.streams import Streams, ensure_streams
from events.system import CoordinatorStopped, LeaderElected
from events.writer import Writer, append_until_stored
from tests.chaos.farm import until_true
from tests.conftest import STREAM_BYTES_MAX, BrokerProcess
from tests.waiting import until
from worker.witness import serve_presence

RESURGAM = Path(sys.executable).with_name("resurgam")
FACT = CoordinatorStopped(coordinator_id="c1")
STREAMS = Streams(
    replicas=3,
    events_bytes_max=STREAM_BYTES_MAX,
    heartbeats_bytes_max=STREAM_BYTES_MAX,
    snapshots_bytes_max=STREAM_BYTES_MAX,
)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[LocalCluster, Bus]]:
    """A cluster with the streams on all of its nodes."""
    async with LocalCluster(folder, sync="default") as cluster:
        bus = await Connection.connect(cluster.url, name="test")
        try:
            await provide_streams(bus, STREAMS, replicas=3)
            yield cluster, bus
        finally:
            await bus.close()


async def stream_leader(bus: Bus, stream: str = STREAMS.events) -> str:
    info = msgspec.json.decode(await bus.api(f"STREAM.INFO.{stream}"))
    return str(info["cluster"]["leader"])


def send(cluster: LocalCluster, name: str, number: signal.Signals) -> None:
    pid = cluster.nodes[name].pid
    assert pid is not None
    os.kill(pid, number)


def stands_still(cluster: LocalCluster, name: str) -> bool:
    """All of its threads: on busy processors the last of them runs on for some ten milliseconds, in which it stores an
    append that it was sent."""
    threads = Path(f"/proc/{cluster.nodes[name].pid}/task").iterdir()
    return {(one / "stat").read_text().rpartition(")")[2].split()[0] for one in threads} == {"T"}


async def test_the_log_keeps_its_promises_on_three_nodes(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, bus):
        assert {one.replicas for one in await ensure_streams(bus, STREAMS)} == {3}
        log, writer = JetStreamLog(bus, STREAMS), Writer(JetStreamLog(bus, STREAMS), "test")
        elected = writer.draft(LeaderElected(coordinator_id="c1", term=1))
        token = (await log.append([elected], fence=Fence("system.leader", 0))).last
        drafts = [writer.draft(FACT) for _ in range(200)]
        assert await log.append(drafts, fence=Fence("system.leader", token)) == (token + 200, False)
        assert await log.append(drafts, fence=Fence("system.leader", token)) == (0, True)
        for count in (1, 2):
            with pytest.raises(Fenced):
                await log.append([writer.draft(FACT) for _ in range(count)], fence=Fence("system.leader", token + 1))
        assert await log.last_sequence() == token + 200


async def test_what_was_acknowledged_survives_the_node_that_led(tmp_path: Path) -> None:
    async with running(tmp_path) as (cluster, bus):
        log = JetStreamLog(bus, STREAMS)
        sent: list[str] = []
        async with await log.reader() as reader:
            for count in (*[1] * 20, 0, *[10] * 5):
                if not count:
                    victim = await stream_leader(bus)
                    send(cluster, victim, signal.SIGKILL)
                    continue
                drafts = [Writer(log, "test").draft(FACT) for _ in range(count)]
                await append_until_stored(log, drafts, patience_s=30)
                sent += [draft.envelope.id for draft in drafts]
            read: list[str] = []
            while len(read) < len(sent):
                read += [recorded.id for recorded in await reader.next(15)]
        assert read == sent
        await until(lambda: cluster.nodes[victim].restarts == 1, what="the node to be started again")


@pytest.mark.parametrize("count", [1, 3])
async def test_an_append_that_is_on_its_way_may_be_sent_again(tmp_path: Path, count: int) -> None:
    async with running(tmp_path) as (cluster, bus):
        leader = await stream_leader(bus)
        others = [name for name in cluster.nodes if name != leader]
        beside = await Connection.connect(cluster.nodes[leader].url, name="beside the leader")
        log = JetStreamLog(beside, STREAMS)
        writer = Writer(log, "test")
        for name in others:
            send(cluster, name, signal.SIGSTOP)
        try:
            for name in others:
                await until(lambda name=name: stands_still(cluster, name), what="the node to stop")  # type: ignore[misc]
            drafts = [writer.draft(FACT) for _ in range(count)]
            storing = asyncio.create_task(append_until_stored(log, drafts, patience_s=20))
            done, _ = await asyncio.wait({storing}, timeout=3.0)  # the second try meets the first
            assert not done, storing.exception()
        finally:
            for name in others:
                send(cluster, name, signal.SIGCONT)
        await storing
        assert await log.last_sequence() == count
        await beside.close()


async def test_many_who_want_the_lease_at_one_moment(tmp_path: Path) -> None:
    async with running(tmp_path) as (cluster, _):
        buses = [await Connection.connect(node.url, name="test") for node in cluster.nodes.values()]
        leases = [Lease(one, STREAMS, LeaseHolder(f"c{number}", "x"), ttl_s=2) for number, one in enumerate(buses * 3)]
        for _ in range(2):
            # The second time the holder renews while the others try.
            held = await asyncio.gather(*(lease.acquire_or_renew() for lease in leases))
            assert sum(held) <= 1
        assert sum(lease.held for lease in leases) <= 1

        async def one_holds() -> bool:
            return any([await lease.acquire_or_renew() for lease in leases])

        await until_true(one_holds, 10, "one of them to hold it")
        for one in buses:
            await one.close()


async def test_an_agent_at_another_node_can_be_cut_off(tmp_path: Path) -> None:
    async with running(tmp_path) as (cluster, bus):
        agents = [await Connection.connect(node.url, name=f"agent/w{name}") for name, node in cluster.nodes.items()]
        for name, agent in zip(cluster.nodes, agents, strict=True):
            await serve_presence(agent, STREAMS, f"w{name}", "agent")
            await agent.flush()
        closer = ConnectionCloser(bus, STREAMS)
        for name, agent in zip(cluster.nodes, agents, strict=True):
            assert await closer.close_agent(f"w{name}") == Kick("closed")
            await until(lambda agent=agent: agent.reconnections == 1, what="the reconnection")  # type: ignore[misc]
        assert await closer.close_agent("w4") == Kick("not_connected")
        for agent in agents:
            await agent.close()


async def test_the_next_start_finds_the_same_cluster(tmp_path: Path) -> None:
    async with running(tmp_path) as (cluster, bus):
        url = cluster.url
        await Writer(JetStreamLog(bus, STREAMS), "test").write(FACT)
    with pytest.raises(UsageFault, match="holds a cluster of 3 nodes, not of 5: give --nodes 3"):
        await LocalCluster(tmp_path, size=5).start()
    async with running(tmp_path) as (cluster, bus):
        assert cluster.url == url
        assert await JetStreamLog(bus, STREAMS).last_sequence() == 1


async def test_a_port_that_is_taken_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cluster = LocalCluster(tmp_path, port=port - 1)
        with pytest.raises(UsageFault, match=f"port {port} on 127.0.0.1 is taken"):
            await cluster.start()
    assert [node.pid for node in cluster.nodes.values()] == [None] * 3


async def test_clients_know_every_node(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        dead = f"nats://127.0.0.1:{nobody.getsockname()[1]}"
    async with running(tmp_path) as (cluster, _):
        first = next(iter(cluster.nodes))
        bus = await Connection.connect(f"{dead}, {cluster.nodes[first].url}", name="test")
        await cluster.nodes[first].stop()
        # It has learnt of the others from the one it knew.
        await until(lambda: bus.reconnections == 1 and bus.connected, what="the move to another node")
        await bus.close()


# What cannot be had


async def test_replicas_need_a_cluster(broker: BrokerProcess, bus: Bus) -> None:
    with pytest.raises(UsageFault, match=f"--replicas 3 needs a cluster, and the broker at {broker.url} is a single"):
        await provide_streams(bus, msgspec.structs.replace(STREAMS, namespace="replicated"), replicas=3)


async def test_streams_are_left_as_they_are(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, bus):
        await provide_streams(bus, STREAMS, replicas=None)
        with pytest.raises(UsageFault, match=r"--replicas 1 was asked for, and the stream EVENTS at .* on 3 nodes"):
            await provide_streams(bus, STREAMS, replicas=1)
        with pytest.raises(BrokerFault, match="does not find 5 nodes with room"):
            await provide_streams(bus, msgspec.structs.replace(STREAMS, namespace="five", replicas=5), replicas=5)
        with capture_logs() as said:
            await provide_streams(bus, msgspec.structs.replace(STREAMS, namespace="one", replicas=1), replicas=None)
        assert [entry["event"] for entry in said] == ["streams_on_one_node"]


async def test_without_a_majority_it_is_said_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provision, "MAJORITY_S_MAX", 0.3)
    async with running(tmp_path) as (cluster, _):
        # One that knows that it leads would say that the others are missing.
        last = next(state.name for state in await cluster.states() if not state.leads)
        bus = await Connection.connect(cluster.nodes[last].url, name="test")
        await asyncio.gather(*(node.stop() for name, node in cluster.nodes.items() if name != last))
        other = msgspec.structs.replace(STREAMS, namespace="late")
        with pytest.raises(BrokerFault, match=r"does not answer .* needs more than half of its nodes"):
            await provide_streams(bus, other, replicas=3)
        await bus.close()


async def test_a_node_without_its_majority_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    async def look(host: str, port: int, question: str = WELL) -> str | None:
        nonlocal looks
        looks += 1
        return await trouble_at(host, port, question)

    async with running(tmp_path) as (cluster, _):
        last, pid = next((state.name, state.pid) for state in await cluster.states() if not state.leads)
        monkeypatch.setattr(broker_module, "HEALTH_EVERY_S", 0.01)
        monkeypatch.setattr(broker_module, "trouble_at", look)
        await asyncio.gather(*(node.stop() for name, node in cluster.nodes.items() if name != last))

        async def ill() -> bool:
            return await cluster.nodes[last].problem() is not None

        await until_true(ill, 15, "it to miss the others")
        enough = looks + 3 * broker_module.UNHEALTHY_MAX
        await until(lambda: looks > enough, 15, "its supervisor to look at it")
        assert cluster.nodes[last].pid == pid


# The command


async def test_the_command_keeps_the_nodes_up_and_leaves_nothing(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(str(RESURGAM), "cluster", "--state-dir", str(tmp_path), "--broker-sync", "default"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        said = await said_until(process.stdout, r"Ctrl-C stops")
        assert len(re.findall(r"--nats-url nats://127\.0\.0\.1:\d+(,nats://127\.0\.0\.1:\d+){2}", said)) == 3
        pids = [int(pid) for pid in re.findall(r"process (\d+)", said)]
        os.kill(pids[1], signal.SIGKILL)
        again = await said_until(process.stdout, r"n2 has been started again, as process (\d+)")
        pids.append(int(again.rpartition(" ")[2]))
        process.kill()  # it cannot clear up after itself
        await process.wait()
        await until(lambda: not [pid for pid in pids if is_alive(pid)], what="the end of all nodes")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_command_ends_in_order(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(str(RESURGAM), "cluster", "--state-dir", str(tmp_path), "--broker-sync", "default"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    pids = re.findall(r"process (\d+)", await said_until(process.stdout, r"Ctrl-C stops"))
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 0
    assert not [pid for pid in pids if is_alive(int(pid))]


async def said_until(output: asyncio.StreamReader, pattern: str) -> str:
    said = ""
    async with asyncio.timeout(20):
        while not re.search(pattern, said):
            line = (await output.readline()).decode()
            assert line, f"it ended; it had said: {said}"
            said += line
    return said.rstrip()


def state(name: str, pid: int | None = 1, problem: str | None = None, *, leads: bool = False) -> NodeState:
    return NodeState(name, f"nats://{name}", pid, problem, leads)


ALL_WELL = [state("n1", leads=True), state("n2"), state("n3")]


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        (ALL_WELL, ALL_WELL, []),
        (ALL_WELL, [state("n1", leads=True), state("n2", 7), state("n3")], ["n2 has been started again, as process 7"]),
        (ALL_WELL, [state("n1", leads=True), state("n2", None, "it is not running"), state("n3")], ["n2 is gone"]),
        (ALL_WELL, [state("n1", leads=True), state("n2", 1, "it lags"), state("n3")], ["n2: it lags"]),
        ([state("n1", leads=True), state("n2", 1, "it lags"), state("n3")], ALL_WELL, ["n2 is well"]),
        (ALL_WELL, [state("n1"), state("n2", leads=True), state("n3")], ["n2 leads the cluster"]),
        (
            ALL_WELL,
            [state("n1"), state("n2", None), state("n3", None)],
            [
                "n2 is gone",
                "n3 is gone",
                "nobody leads the cluster",
                "no majority: nothing can be written until 2 of 3 nodes run",
            ],
        ),
    ],
)
def test_what_has_happened(before: list[NodeState], after: list[NodeState], lines: list[str]) -> None:
    assert changes(before, after) == lines
