"""The coordinator as a whole: in this process, and as a process of its own that is told to stop, or killed."""

import asyncio
import functools
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from coordinator.access import open_system
from coordinator.broker import EmbeddedBroker
from coordinator.commands.histories import Where, opened
from coordinator.endpoint import is_alive, read_endpoint
from coordinator.exposition.lag import Lag
from coordinator.faults import BrokerFault
from coordinator.service import CoordinatorService
from coordinator.settings import ServiceSettings, Settings
from events.bus import Bus
from events.connection import Connection
from events.kinds import tag_of
from events.policy import Policy
from events.streams import Streams
from events.system import LeaderElected
from projections.client import query_file
from projections.figures import figures
from projections.metrics import METRICS
from projections.window import Window
from replay.reading import stretch
from tests.conftest import BrokerProcess
from tests.waiting import event_in, is_kind, until

ROOT = Path(__file__).parents[2]
WHOLE_LIFE = ["system.coordinator_started", "system.leader", "system.policy_changed", "system.coordinator_stopped"]


def settings(folder: Path, name: str = "c1", *, nats_url: str | None = None, namespace: str = "resurgam") -> Settings:
    return Settings(
        service=ServiceSettings(
            db_path=str(folder / f"{name}.duckdb"),
            state_dir=str(folder / ".resurgam"),
            coordinator_id=name,
            broker_sync="default",
            nats_url=nats_url,
            namespace=namespace,
        ),
        policy=Policy(max_recovery_attempts=3),
        http=False,
    )


@asynccontextmanager
async def running(made: Settings) -> AsyncIterator[CoordinatorService]:
    service = CoordinatorService(made, projector_output=Path(made.service.db_path).with_suffix(".log"))
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


def elections(service: CoordinatorService) -> int:
    """As `/metrics` counts them."""
    leadership = service._leadership
    view = None if leadership is None or not leadership.whole else leadership.view()
    return 0 if view is None else view.notes.tally.counts.get("leader_elections", {}).get((), 0)


async def leading(service: CoordinatorService) -> None:
    await until(lambda: service.health().role == "leader", 15, "leadership")


def asked_for_metrics(nats_url: str, folder: Path) -> tuple[list[str], list[tuple[int, bool]]]:
    """The figures of a running system, and how far an answer was behind that knew everything, or all but two events:
    how many events, and whether for no time at all."""
    with opened(Where(None, nats_url, None, folder / ".resurgam")) as (history, end):
        assert end is not None
        found = figures(history, Window.of("24h", None, end))
        through = history.through_sequence
        assert through is not None
        assert history.behind is not None
        lags = [history.behind(sequence) for sequence in (through, through - 2)]
    return [figure.metric for figure in found], [(events, seconds == 0.0) for events, seconds in lags]


async def kinds_in(folder: Path) -> list[str]:
    async with open_system(state_dir=folder / ".resurgam", environment={}) as system:
        return [
            "unknown" if one.event is None else tag_of(type(one.event))
            async for batch in stretch(system.log)
            for one in batch
        ]


async def test_a_whole_life(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as service:
        await leading(service)
        await until(lambda: service.health().lag == 0 and service.health().projector_alive, 10, "health")
        health = service.health()
        assert (health.coordinator_id, health.term, health.healthy) == ("c1", 1, True)
        endpoint = read_endpoint(tmp_path / ".resurgam")
        assert endpoint is not None
        assert (endpoint.nats_url, endpoint.pid, endpoint.http) == (service.nats_url, os.getpid(), None)
        policy = await event_in(service.log, lambda recorded: recorded.subject.endswith("policy_changed"))
        await service.catch_up()
        observed = await service.observe()
        assert (observed.health.role, observed.lag, observed.whole) == ("leader", Lag(0, 0.0), True)
        figures, behind = await asyncio.to_thread(asked_for_metrics, service.nats_url, tmp_path)
        assert figures == [metric.name for metric in METRICS]
        assert behind == [(0, True), (2, False)]
    assert getattr(policy.event, "policy", None) == Policy(max_recovery_attempts=3)
    assert await kinds_in(tmp_path) == WHOLE_LIFE
    endpoint = read_endpoint(tmp_path / ".resurgam")
    assert endpoint is not None
    assert endpoint.pid == 0
    history = query_file(tmp_path / "c1.duckdb", "SELECT count(*) FROM events")
    assert history.rows == [[4]], "the history took in the farewell before it was closed"


async def test_a_policy_that_is_in_force_already_is_not_recorded_again(tmp_path: Path) -> None:
    for _ in range(2):
        async with running(settings(tmp_path)) as service:
            await leading(service)
            await until(lambda: service.health().sequence >= 3, 10, "the policy")
    assert await kinds_in(tmp_path) == [*WHOLE_LIFE, WHOLE_LIFE[0], WHOLE_LIFE[1], WHOLE_LIFE[3]]


async def test_the_projector_comes_back(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as service:
        assert service._projector is not None
        await until(lambda: service._projector is not None and service._projector.alive, 10, "the projector")
        first = service._projector.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(
            lambda: service._projector is not None and service._projector.pid not in (None, first), 10, "another"
        )


async def test_a_standby_takes_over(broker: BrokerProcess, streams: Streams, tmp_path: Path) -> None:
    shared = {"nats_url": broker.url, "namespace": streams.namespace}
    async with running(settings(tmp_path, "second-of-two", **shared)) as first:
        await leading(first)
        async with running(settings(tmp_path, "first-of-two", **shared)) as second:
            assert second.health().role == "standby"
            assert second.health().term <= 1
            await first.stop("a test")
            await leading(second)
            await event_in(second.log, is_kind(LeaderElected, coordinator_id="first-of-two", term=2))
            await until(lambda: elections(second) == 2, 10, "the count that goes on from the former leader's")


async def test_a_broker_without_jetstream(tmp_path: Path) -> None:
    from coordinator.binary import find_binary

    ports = tmp_path / "ports"
    ports.mkdir()
    plain = await asyncio.create_subprocess_exec(
        str(find_binary()), "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(ports), "-l", str(tmp_path / "log")
    )
    try:
        found = await until(lambda: [json.loads(path.read_text() or "{}") for path in ports.iterdir()], 10, "its port")
        url = found[0]["nats"][0]
        with pytest.raises(BrokerFault, match="has no JetStream: start it with 'nats-server -js'"):
            await CoordinatorService(settings(tmp_path, nats_url=url)).start()
    finally:
        plain.terminate()
        await plain.wait()


class Program:
    """`python -m coordinator` in a folder."""

    def __init__(self, folder: Path, process: asyncio.subprocess.Process, words: str) -> None:
        self.folder = folder
        self.process = process
        self.words = words

    @property
    def http(self) -> str:
        found = re.search(r"HTTP (http://\S+)", self.words)
        assert found is not None, self.words
        return found[1]

    async def both_children(self) -> list[int]:
        """The pids of the broker and of the projector."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")

        def listed() -> list[int]:
            found = [int(word) for word in path.read_text().split()]
            return found if len(found) == 2 else []

        return await until(listed, 10, "broker and projector")

    async def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode


async def started(folder: Path, *arguments: str) -> Program:
    with (folder / "stderr").open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "coordinator", "--port", "0", "--broker-sync", "default", *arguments),
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    assert process.stdout is not None
    return Program(folder, process, (await process.stdout.readline()).decode())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_in_order_when_told_to(tmp_path: Path, number: signal.Signals) -> None:
    program = await started(tmp_path)
    host, _, port = program.http.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()
    await writer.wait_closed()
    children = await program.both_children()
    assert await program.end(number) == 0
    assert not any(map(is_alive, children))
    assert (await kinds_in(tmp_path))[-1] == "system.coordinator_stopped"
    assert "Traceback" not in (tmp_path / "stderr").read_text()


async def test_who_cannot_wait_for_its_end_is_shown_no_traceback(tmp_path: Path) -> None:
    program = await started(tmp_path)
    children = await program.both_children()
    program.process.send_signal(signal.SIGINT)
    assert await program.end(signal.SIGTERM) in (0, 130), "0: it had ended before it heard the second one"
    await until(lambda: not any(map(is_alive, children)), 15, "the end of its children")
    assert "Traceback" not in (tmp_path / "stderr").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="parents' deaths are told by the kernel on Linux only")
async def test_kill_9_leaves_nothing_behind_and_the_next_one_goes_on(tmp_path: Path) -> None:
    program = await started(tmp_path)
    children, address = await program.both_children(), read_endpoint(tmp_path / ".resurgam")
    await program.end(signal.SIGKILL)
    await until(lambda: not any(map(is_alive, children)), 15, "the end of its children")
    again = await started(tmp_path)
    after = read_endpoint(tmp_path / ".resurgam")
    assert address is not None
    assert after is not None
    assert after.nats_url == address.nats_url
    assert await again.end(signal.SIGTERM) == 0
    assert (await kinds_in(tmp_path)).count("system.coordinator_started") == 2


async def test_a_history_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    import duckdb

    with duckdb.connect(str(tmp_path / "foreign.duckdb")) as foreign:
        foreign.execute("CREATE TABLE accounts (id INTEGER)")
    program = await started(tmp_path, "--db-path", "foreign.duckdb")
    async with asyncio.timeout(30):
        await program.process.communicate()
    assert program.process.returncode == 4
    said = (tmp_path / "stderr").read_text()
    assert "foreign.duckdb" in said.splitlines()[-1]
    assert said.splitlines()[-1].startswith("resurgam: ")
    assert "Traceback" not in said


async def test_a_broker_that_goes_away_while_streams_are_made_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = EmbeddedBroker(tmp_path / "broker", sync="default")
    await broker.start()
    service = CoordinatorService(settings(tmp_path, nats_url=broker.url))
    service._bus = bus = await Connection.connect(broker.url, name="test")
    # What was asked before the end of the broker is not answered; it need not take so long to find that out.
    monkeypatch.setattr(bus, "api", functools.partial(Bus.api, bus, timeout_s=0.1))
    await broker.stop()
    await until(lambda: not bus.connected, what="the disconnection")
    with structlog.testing.capture_logs() as logs:
        making = asyncio.create_task(service._ensure_streams())
        try:
            await until(
                lambda: any(entry["event"] == "waiting_for_broker" for entry in logs), what="it to say that it waits"
            )
            assert not making.done()
            await broker.start()
            await making
        finally:
            making.cancel()
            await bus.close()
            await broker.stop()
