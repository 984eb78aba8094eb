"""How long nobody leads when a leader is killed, in a large farm with a long log: until the first decision of the next.

The coordinators are those that people run, on an embedded broker that syncs every append; the farm is made up by one
process, which beats for all of its workers. `.venv/bin/python bench/failover.py --workers 10000 --events 100000`
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
from _harness import Taken, folder, measuring, run, show
from _story import Story, history
from many_workers import BEATERS, Beater

from coordinator.broker import EmbeddedBroker
from coordinator.fleet.notes import Notes
from coordinator.snapshots import Custom, SnapshotKeeper
from events.connection import Connection
from events.heartbeats import HeartbeatReader
from events.jetstream import JetStreamLog
from events.log import Reader
from events.objects import ObjectStore
from events.streams import Streams, ensure_streams
from recovery.consumer import RecoveryConsumer

STREAMS = Streams()
BATCH = 1000
LIMIT_S = 3.0
READY_S_MAX = 300.0
BEAT_S = 7.0
"""As the pace of so many workers comes to by the default limit of heartbeats a second."""
NEVER_AGAIN = "1000000000"
"""Events after which a snapshot is taken: the one that there is stays as old as it is."""


class Coordinator:
    """A process, its name, and what it says."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, output: Path, started_at: float) -> None:
        self.name = name
        self.process = process
        self.started_at = started_at
        self._output = output

    @classmethod
    async def start(cls, path: Path, url: str, name: str) -> "Coordinator":
        output = path / f"{name}.txt"
        command = [sys.executable, "-m", "coordinator", "--nats-url", url, "--port", "0", "--coordinator-id", name]
        command += ["--db-path", str(path / f"{name}.duckdb"), "--state-dir", str(path / name)]
        environment = {**os.environ, "RESURGAM_SNAPSHOT_EVENTS": NEVER_AGAIN}
        began = time.monotonic()
        with output.open("wb") as file:
            process = await asyncio.create_subprocess_exec(*command, stdout=file, stderr=file, env=environment)
        return cls(name, process, output, began)

    def said(self, event: str) -> bool:
        return f'"event": "{event}"' in self._output.read_text(encoding="utf-8")

    async def follows(self, sequence: int) -> None:
        """Until it has folded the log up to there."""
        async with asyncio.timeout(READY_S_MAX):
            while (health := await asyncio.to_thread(self._health)) is None or health["sequence"] < sequence:
                if self.process.returncode is not None:
                    raise SystemExit(f"{self.name} has ended:\n{self._output.read_text(encoding='utf-8')}")
                await asyncio.sleep(0.1)

    def _health(self) -> dict[str, int] | None:
        text = self._output.read_text(encoding="utf-8")
        address = text.partition(", HTTP ")[2].partition("\n")[0]
        if not address:
            return None
        try:
            with urllib.request.urlopen(f"{address}/healthz", timeout=10) as answer:
                found: dict[str, int] = json.load(answer)
                return found
        except OSError:
            return None

    def cpu_s(self) -> float:
        """Of the processor, so far: others' load hardly changes that."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    def last_words(self) -> str:
        return "\n".join(self._output.read_text(encoding="utf-8").splitlines()[-20:])

    async def kill(self) -> float:
        """SIGKILL; when it was sent."""
        at = time.monotonic()
        self.process.kill()
        await self.process.wait()
        return at


class Watch:
    """When each coordinator has made its first decision since somebody asked."""

    def __init__(self) -> None:
        self._awaited: dict[str, asyncio.Future[float]] = {}

    async def follow(self, reader: Reader) -> None:
        while True:
            for recorded in await reader.next():
                envelope = recorded.envelope
                if envelope is not None and envelope.decision is not None:
                    awaited = self._awaited.pop(envelope.source, None)
                    if awaited is not None:
                        awaited.set_result(time.monotonic())

    async def first_decision(self, name: str) -> float:
        awaited = self._awaited[f"coordinator/{name}"] = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(READY_S_MAX):
            decided_at: float = await awaited
        return decided_at


async def tell(bus: Connection, log: JetStreamLog, workers: int, events: int) -> Story:
    """A farm's log, a snapshot of its beginning, and so many events behind that."""
    story = history(workers + events, workers)
    begun = workers + 2
    await _append(log, story, 0, begun)
    await _snapshot(bus, log, begun)
    await _append(log, story, begun, len(story.drafts))
    return story


async def _append(log: JetStreamLog, story: Story, first: int, last: int) -> None:
    for start in range(first, last, BATCH):
        await log.append(story.drafts[start : min(start + BATCH, last)], timeout_s=30)


async def _snapshot(bus: Connection, log: JetStreamLog, last: int) -> None:
    events, heartbeats, notes = await log.reader(), await HeartbeatReader.start(bus, STREAMS), Notes()
    consumer = RecoveryConsumer(log, events, heartbeats, source="coordinator/bench")
    consumer.listen(notes.take)
    folding = asyncio.create_task(consumer.run())
    while consumer.state.events_sequence < last:  # noqa: ASYNC110 - there is no signal for it
        await asyncio.sleep(0.01)
    folding.cancel()
    await asyncio.gather(folding, return_exceptions=True)
    objects = ObjectStore(bus, STREAMS.snapshots)
    keeper = SnapshotKeeper(
        consumer, notes, Custom(objects, 1), namespace=STREAMS.namespace, source="coordinator/bench"
    )
    began = time.perf_counter()
    await keeper.take()
    took = time.perf_counter() - began
    (name,) = await objects.names()
    show("a snapshot: written", [took], "s", 2, note=f"{len(await objects.get(name) or b'') / 1e6:.1f} MB")
    for reader in (events, heartbeats):
        await reader.close()


@contextlib.asynccontextmanager
async def beating(url: str, story: Story) -> AsyncIterator[None]:
    incarnations = {worker_id: worker.incarnation for worker_id, worker in story.state.workers.items()}
    connections = [await Connection.connect(url, name=f"beater-{number}") for number in range(BEATERS)]
    task = asyncio.create_task(Beater(incarnations, BEAT_S).run(connections))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for connection in connections:
            await connection.close()


async def standbys(path: Path, url: str, log: JetStreamLog, watch: Watch, rounds: int) -> list[Taken]:
    """From the kill of the leader to the first decision of the standby; then that one is killed, and so on."""
    taken = []
    leader = await Coordinator.start(path, url, "c0")
    await leader.follows(await log.last_sequence())
    try:
        for number in range(1, rounds + 1):
            standby = await Coordinator.start(path, url, f"c{number}")
            await standby.follows(await log.last_sequence())
            decided = asyncio.create_task(watch.first_decision(standby.name))
            await asyncio.sleep(0)
            killed, cpu_s = await leader.kill(), standby.cpu_s()
            leader = standby
            taken.append(Taken(await _outcome(decided, standby) - killed, standby.cpu_s() - cpu_s))
    finally:
        await leader.kill()
    return taken


async def _outcome(decided: "asyncio.Task[float]", coordinator: Coordinator) -> float:
    try:
        return await decided
    except TimeoutError:
        raise SystemExit(f"{coordinator.name} decides nothing:\n{coordinator.last_words()}") from None


async def newcomers(path: Path, url: str, watch: Watch, rounds: int, prefix: str) -> tuple[list[Taken], list[float]]:
    """Nobody follows: the leader is killed, and a new process started at that time. From there to its first decision,
    and how many of the processes began from a snapshot."""
    taken, from_snapshot = [], []
    for number in range(rounds):
        decided = asyncio.create_task(watch.first_decision(f"{prefix}{number}"))
        newcomer = await Coordinator.start(path, url, f"{prefix}{number}")
        try:
            taken.append(Taken(await _outcome(decided, newcomer) - newcomer.started_at, newcomer.cpu_s()))
            from_snapshot.append(float(newcomer.said("folding_from_a_snapshot")))
        finally:
            await newcomer.kill()
    return taken, from_snapshot


async def measure(arguments: argparse.Namespace) -> None:
    with folder() as path:
        broker = EmbeddedBroker(path / "broker", sync="always")
        await broker.start()
        bus = await Connection.connect(broker.url, name="bench")
        try:
            await ensure_streams(bus, STREAMS)
            log = JetStreamLog(bus, STREAMS)
            story = await tell(bus, log, arguments.workers, arguments.events)
            watch, reader = Watch(), await log.reader(await log.last_sequence())
            following = asyncio.create_task(watch.follow(reader))
            async with beating(broker.url, story):
                await report(arguments, path, broker.url, bus, log, watch)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await reader.close()
        finally:
            await bus.close()
            await broker.stop()


async def report(
    arguments: argparse.Namespace, path: Path, url: str, bus: Connection, log: JetStreamLog, watch: Watch
) -> None:
    def tell_of(name: str, taken: list[Taken], note: str = "") -> None:
        walls = sorted(one.wall_s for one in taken)
        median = walls[len(walls) // 2]
        show(name, walls, "s", 2, note=f"limit {LIMIT_S:g} s, ratio {median / LIMIT_S:.2f}{note}")
        show("  of the processor, in that time", [one.cpu_s for one in taken], "s", 2)

    tell_of("killed leader to the standby's decision", await standbys(path, url, log, watch, arguments.rounds))
    taken, used = await newcomers(path, url, watch, arguments.rounds, "from-snapshot-")
    tell_of("start of a process to its first decision", taken, f"; {sum(used):.0f} of {len(used)} from the snapshot")
    objects = ObjectStore(bus, STREAMS.snapshots)
    for name in await objects.names():
        await objects.remove(name)
    taken, used = await newcomers(path, url, watch, arguments.rounds, "from-log-")
    tell_of("the same without a snapshot", taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    what = f"Failover with {arguments.workers:,} workers and {arguments.events:,} events since the snapshot"
    with measuring(what):
        run(measure(arguments))


if __name__ == "__main__":
    main()
