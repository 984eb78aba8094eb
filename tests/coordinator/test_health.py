"""`resurgam health` and `GET /api/health` over a real broker."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coordinator.endpoint import Endpoint, write_endpoint
from coordinator.fleet.document import FleetHealth
from coordinator.fleet.examine import fleet_health
from coordinator.fleet.following import Farm, Follower
from coordinator.fleet.questions import broker_time, heartbeats_before
from events.bus import Bus
from events.clock import utc
from events.heartbeats import send_heartbeat
from events.jetstream import JetStreamLog
from events.lease import Lease, LeaseHolder
from events.log import Fence
from events.streams import Streams
from events.synthetic import SyntheticEvents
from events.system import LeaderElected
from events.worker import Heartbeat
from tests.conftest import BrokerProcess
from tests.coordinator.test_http import ask
from tests.coordinator.test_service import leading, running, settings
from tests.replay.told import drafted
from tests.waiting import until

ROOT = Path(__file__).parents[2]
LEASE_TTL_S = 60
COMMAND_S_MAX = 30.0


@pytest.fixture
def farm(bus: Bus, streams: Streams, log: JetStreamLog) -> Farm:
    return Farm(bus, streams, log)


@pytest.fixture
async def follower(farm: Farm) -> AsyncIterator[Follower]:
    """Follows a farm in which w1 and w2 are registered and beat, under a leader that is this test."""
    await lead(farm)
    for worker_id in ("w1", "w2"):
        await join(farm, worker_id)
    made = Follower(farm)
    await made.begin()
    following = asyncio.create_task(made.follow())
    yield made
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def lead(farm: Farm) -> None:
    lease = Lease(farm.bus, farm.streams, LeaseHolder("c1", "nonce"), ttl_s=LEASE_TTL_S)
    assert await lease.acquire_or_renew()
    await farm.log.append([drafted(LeaderElected(coordinator_id="c1", term=1))], fence=Fence("system.leader", 0))


async def join(farm: Farm, worker_id: str) -> int:
    registered = await SyntheticEvents(farm.log, "test").worker_registered(worker_id)
    await beat(farm, worker_id, registered.last)
    return registered.last


async def beat(farm: Farm, worker_id: str, incarnation: int, number: int = 1) -> int:
    sent_at = utc(await broker_time(farm.bus, farm.streams))
    heartbeat = Heartbeat(
        worker_id=worker_id, incarnation=incarnation, beat=number, sent_at=sent_at, running=("t1",), cpu_percent=12.5
    )
    return await send_heartbeat(farm.bus, farm.streams, heartbeat)


def seen(follower: Follower) -> dict[str, Any]:
    return {worker.worker_id: worker for worker in fleet_health(follower.view()).workers}


async def test_what_is_there_is_read(follower: Follower) -> None:
    found = fleet_health(follower.view())
    assert (found.healthy, found.by_status) == (True, {"alive": 2})
    assert (found.leader.coordinator_id, found.leader.holds_lease) == ("c1", True)
    first = found.workers[0].heartbeat
    assert first is not None
    assert first.content is not None
    assert (first.sequence, first.content.running, first.content.cpu_percent) == (1, ("t1",), 12.5)
    assert first.age_s < COMMAND_S_MAX


async def test_what_comes_is_followed(farm: Farm, follower: Follower) -> None:
    incarnation = await join(farm, "w3")
    await until(lambda: "w3" in seen(follower), 10, "the third")
    sequence = await beat(farm, "w3", incarnation, 2)
    await until(lambda: getattr(seen(follower)["w3"].heartbeat, "sequence", 0) == sequence, 10, "its heartbeat")
    await SyntheticEvents(farm.log, "test").worker_failed("w1", message="so it is said")
    await until(lambda: seen(follower)["w1"].failure is not None, 10, "the failure")
    assert seen(follower)["w1"].failure.message == "so it is said"


async def test_the_last_heartbeat_is_found_however_old(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all of them had been sent before the window."""
    from coordinator.fleet import following

    await lead(farm)
    for worker_id in ("w1", "w2"):
        await join(farm, worker_id)

    async def none_since(*_: object) -> int:
        return 2

    monkeypatch.setattr(following, "heartbeats_before", none_since)
    made = Follower(farm)
    await made.begin()
    assert {name: worker.heartbeat.sequence for name, worker in seen(made).items()} == {"w1": 1, "w2": 2}


async def test_heartbeats_are_found_by_their_time(farm: Farm, bus: Bus, streams: Streams) -> None:
    assert await heartbeats_before(bus, streams, 0.0) == 0
    for number in range(1, 6):
        await beat(farm, "w1", 1, number)
        if number == 3:
            third = await broker_time(bus, streams)
    assert await heartbeats_before(bus, streams, 0.0) == 0
    assert await heartbeats_before(bus, streams, third) == 3
    assert await heartbeats_before(bus, streams, await broker_time(bus, streams)) == 5


async def test_without_a_lease_nobody_leads(farm: Farm) -> None:
    await join(farm, "w1")
    made = Follower(farm)
    await made.begin()
    found = fleet_health(made.view())
    assert (found.status, found.healthy, found.leader.holds_lease) == ("healthy", False, False)


# The command


@pytest.fixture
def live(broker: BrokerProcess, streams: Streams, tmp_path: Path) -> Path:
    """A folder whose system runs: this test process stands in for its coordinator."""
    folder = tmp_path / ".resurgam"
    folder.mkdir()
    endpoint = Endpoint(
        nats_url=broker.url, namespace=streams.namespace, db_path=str(tmp_path / "history.duckdb"), pid=os.getpid()
    )
    write_endpoint(folder, endpoint)
    return tmp_path


def program(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "resurgam.py"), "health", *arguments]


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RESURGAM_")}
    return {**kept, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "LINES": "30", "TERM": "xterm"}


def command(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        program(*arguments),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=COMMAND_S_MAX,
        check=False,
    )


async def test_the_exit_code_says_how_it_is(live: Path, farm: Farm) -> None:
    await lead(farm)
    assert command(live).returncode == 0, "idle"
    for worker_id in ("w1", "w2"):
        await join(farm, worker_id)
    done = command(live)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("healthy: 2 of 2 expected workers live (2 alive)\nled by c1 for ")
    await SyntheticEvents(farm.log, "test").worker_failed("w2")
    done = command(live, "--limit", "1")
    assert done.returncode == 1
    assert done.stdout.startswith("degraded: 1 of 2 expected workers live (1 failed, 1 alive)")
    assert done.stdout.endswith("and 1 more alive\n")


async def test_json_is_the_document(live: Path, farm: Farm) -> None:
    await lead(farm)
    await join(farm, "w1")
    done = command(live, "--json")
    found = msgspec.json.decode(done.stdout, type=FleetHealth)
    assert (done.returncode, found.status, [worker.worker_id for worker in found.workers]) == (0, "healthy", ["w1"])


def test_watching_needs_a_terminal(live: Path) -> None:
    done = command(live, "--watch")
    assert done.returncode == 2
    assert done.stderr.startswith("resurgam: --watch draws on a terminal, and this is none: use --watch --json")


def test_what_has_ended_is_not_healthy(tmp_path: Path) -> None:
    assert command(tmp_path).returncode == 2
    done = command(tmp_path, "--nats-url", "nats://127.0.0.1:9")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)


async def test_watching_ends_well_with_an_interrupt(live: Path, farm: Farm) -> None:
    await lead(farm)
    await join(farm, "w1")
    ours, theirs = pty.openpty()
    shown = bytearray()
    loop = asyncio.get_running_loop()
    watching = await asyncio.create_subprocess_exec(
        *program("--watch"), cwd=live, env=environment(), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    loop.add_reader(ours, lambda: shown.extend(os.read(ours, 65_536)))
    try:
        await until(lambda: b"1 alive" in shown, COMMAND_S_MAX, "the first picture")
        await SyntheticEvents(farm.log, "test").worker_failed("w1")
        await until(lambda: b"1 failed" in shown, COMMAND_S_MAX, "the failure")
        watching.send_signal(signal.SIGINT)
        code = await asyncio.wait_for(watching.wait(), COMMAND_S_MAX)
    finally:
        loop.remove_reader(ours)
        if watching.returncode is None:
            watching.kill()
            await watching.wait()
        os.close(ours)
    assert code == 0
    assert b"Traceback" not in shown


async def test_watching_in_json_writes_a_line_at_a_time(live: Path, farm: Farm) -> None:
    await lead(farm)
    watching = await asyncio.create_subprocess_exec(
        *program("--watch", "--json"), cwd=live, env=environment(), stdout=asyncio.subprocess.PIPE
    )
    assert watching.stdout is not None
    try:
        async with asyncio.timeout(COMMAND_S_MAX):
            first = json.loads(await watching.stdout.readline())
            second = json.loads(await watching.stdout.readline())
    finally:
        watching.kill()
        await watching.wait()
    assert first["status"] == "idle"
    assert first["at"] < second["at"]


# Over HTTP


async def test_the_leader_answers_over_http(broker: BrokerProcess, streams: Streams, tmp_path: Path) -> None:
    made = settings(tmp_path, nats_url=broker.url, namespace=streams.namespace)
    made = msgspec.structs.replace(made, http=True, service=msgspec.structs.replace(made.service, port=0))
    async with running(made) as service:
        await leading(service)
        assert service._http is not None
        server = service._http
        farm = Farm(service.bus, streams, service.log)
        for worker_id in ("w1", "w2"):
            await join(farm, worker_id)
        assert service._leadership is not None
        vitals = service._leadership._vitals
        await until(lambda: len(vitals) == 2, 10, "both workers")
        answer = (await ask(server, "/api/health")).content
        assert (answer["healthy"], answer["status"]) == (True, "healthy")
        assert answer["leader"]["coordinator_id"] == service.coordinator_id
        assert answer["workers"][0]["heartbeat"]["content"]["running"] == ["t1"]
        few = (await ask(server, "/api/health?limit=1")).content
        assert (len(few["workers"]), few["omitted"]) == (1, {"alive": 1})
        assert len((await ask(server, "/api/health?limit=all")).content["workers"]) == 2
        assert (await ask(server, "/api/health?limit=-1")).status == 400
