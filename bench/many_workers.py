"""A farm of 10,000 workers that beat over a real broker: false suspicions, detection of real stops, cost of the leader.

Registrations and heartbeats are real messages, made by one process instead of ten thousand; the coordinator is the one
that people run. `.venv/bin/python bench/many_workers.py --workers 10000 --minutes 5 --stops 100`
"""

import argparse
import asyncio
import contextlib
import heapq
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil
from _harness import broker, folder, measuring, run, show

from events.bus import Message
from events.clock import utc
from events.connection import Connection
from events.errors import LogError
from events.heartbeats import HeartbeatReader
from events.jetstream import JetStreamLog
from events.log import Reader
from events.policy import Policy
from events.streams import Streams
from events.system import LeaderElected
from events.worker import Heartbeat, WorkerFailed, WorkerRegistered, WorkerSuspected
from events.writer import Writer
from worker.witness import presence

POLICY = Policy()
STREAMS = Streams()
REGISTERED_AT_ONCE = 500
BEATERS = 4
"""Connections: one would wait for its own socket."""
READY_S_MAX = 60.0
SETTLE_S = 3 * POLICY.suspect_after
CPU_MAX, MARGIN_S, MEMORY_MAX = 60.0, 1.0, 4096


class Beater:
    """Sends the heartbeats of all workers, each with its own jitter, as `worker.beats` would."""

    def __init__(self, incarnations: dict[str, int], interval_s: float) -> None:
        self._incarnations = incarnations
        self._interval_s = interval_s
        self._encoder = msgspec.json.Encoder()
        self.stopped: set[str] = set()
        self.sent = 0
        self.late_s = 0.0
        """How far the sender itself fell behind, at most: that much silence is its own fault."""

    async def run(self, connections: Sequence[Connection]) -> None:
        loop, chance = asyncio.get_running_loop(), random.Random(1)
        begun = loop.time()
        due = [(begun + chance.uniform(0, self._interval_s), worker_id, 1) for worker_id in self._incarnations]
        heapq.heapify(due)
        while True:
            await asyncio.sleep(max(due[0][0] - loop.time(), 0.001))
            now = loop.time()
            self.late_s = max(self.late_s, now - due[0][0])
            while due[0][0] <= now:
                at, worker_id, beat = due[0]
                if worker_id in self.stopped:
                    heapq.heappop(due)
                    continue
                await self._send(connections[beat % len(connections)], worker_id, beat)
                heapq.heapreplace(due, (at + self._interval_s * chance.uniform(0.9, 1.1), worker_id, beat + 1))

    async def _send(self, connection: Connection, worker_id: str, beat: int) -> None:
        heartbeat = Heartbeat(
            worker_id=worker_id,
            incarnation=self._incarnations[worker_id],
            beat=beat,
            sent_at=utc(time.time()),
            running=("tests/test_of_an_ordinary_length.py::test_name[param]",),
            cpu_percent=37.5,
            memory_bytes=123_456_789,
            load_1m=1.25,
            loop_lag_s=0.00123,
        )
        await connection.publish(STREAMS.heartbeat_subject(worker_id), self._encoder.encode(heartbeat))
        self.sent += 1


async def serve_presence(connection: Connection, beater: Beater) -> None:
    """All workers in one: who lives answers when it is called, as `worker.witness` has it."""

    async def answer(message: Message) -> None:
        if message.subject.rpartition(".")[2] not in beater.stopped:
            await connection.publish(message.reply, b"agent")

    await connection.subscribe(presence(STREAMS, "*"), answer)


class Findings:
    """What the log says of workers, as it grows."""

    def __init__(self) -> None:
        self.suspected: dict[str, float] = {}
        self.failed: dict[str, float] = {}

    async def follow(self, reader: Reader) -> None:
        while True:
            for recorded in await reader.next():
                event = recorded.event
                if isinstance(event, WorkerSuspected):
                    self.suspected.setdefault(event.worker_id, recorded.time)
                elif isinstance(event, WorkerFailed):
                    self.failed.setdefault(event.worker_id, recorded.time)


class Span(NamedTuple):
    wall_s: float
    cpu_s: float

    @classmethod
    def begin(cls, process: psutil.Process) -> "Span":
        times = process.cpu_times()
        return cls(time.monotonic(), times.user + times.system)

    def percent(self, process: psutil.Process) -> float:
        now = Span.begin(process)
        return 100.0 * (now.cpu_s - self.cpu_s) / (now.wall_s - self.wall_s)


@contextlib.asynccontextmanager
async def coordinator(path: Path, url: str, log: JetStreamLog) -> AsyncIterator[psutil.Process]:
    """As its own process; the policy's cap on heartbeats is lifted, for the farm is to be at full rate."""
    config = path / "resurgam.toml"
    config.write_text("[policy]\nheartbeat_rate_max = 100000.0\n", encoding="utf-8")
    command = [sys.executable, "-m", "coordinator", "--nats-url", url, "--port", "0", "--config", str(config)]
    with (path / "coordinator.txt").open("wb") as output:
        command += ["--db-path", str(path / "history.duckdb"), "--state-dir", str(path / "state")]
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
    try:
        await _elected(log, process)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        await process.wait()


async def _elected(log: JetStreamLog, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(READY_S_MAX):
        while process.returncode is None:
            with contextlib.suppress(LogError):
                last = await log.last_on("system.leader")
                if last is not None and isinstance(last.event, LeaderElected):
                    return
            await asyncio.sleep(0.05)
    raise SystemExit("the coordinator ended before it led")


async def register(log: JetStreamLog, workers: int) -> dict[str, int]:
    writer = Writer(log, "bench")
    incarnations: dict[str, int] = {}
    names = [f"w{number:05d}" for number in range(workers)]
    for first in range(0, workers, REGISTERED_AT_ONCE):
        some = names[first : first + REGISTERED_AT_ONCE]
        events = [WorkerRegistered(worker_id=name, host="farm", pid=1, slots=1, supervised=False) for name in some]
        appended = await writer.write(events)
        incarnations.update((name, appended.last - len(some) + 1 + index) for index, name in enumerate(some))
    return incarnations


async def stop_at_random(beater: Beater, count: int, over_s: float) -> None:
    chance = random.Random(2)
    for worker_id in chance.sample(sorted(beater._incarnations), count):
        beater.stopped.add(worker_id)
        await asyncio.sleep(over_s / count)


async def last_beats(bus: Connection, stopped: set[str]) -> dict[str, float]:
    """By the broker's clock, of those that were stopped."""
    found: dict[str, float] = {}
    reader = await HeartbeatReader.start(bus, STREAMS)
    try:
        while not reader.caught_up:
            for recorded in await reader.next(1.0):
                if recorded.heartbeat is not None and recorded.heartbeat.worker_id in stopped:
                    found[recorded.heartbeat.worker_id] = recorded.time
    finally:
        await reader.close()
    return found


async def measure(arguments: argparse.Namespace) -> None:
    with folder() as path, broker(path) as url:
        bus = await Connection.connect(url, name="bench")
        log = JetStreamLog(bus, STREAMS)
        async with coordinator(path, url, log) as process:
            empty = process.memory_info().rss
            incarnations = await register(log, arguments.workers)
            beater, findings = Beater(incarnations, POLICY.heartbeat_interval), Findings()
            connections = [await Connection.connect(url, name=f"beater-{number}") for number in range(BEATERS)]
            await serve_presence(connections[0], beater)
            reader = await log.reader(tails=["worker.*.suspected", "worker.*.failed"])
            tasks = [asyncio.create_task(beater.run(connections)), asyncio.create_task(findings.follow(reader))]
            await asyncio.sleep(SETTLE_S)
            span, sent = Span.begin(process), beater.sent
            over_s = arguments.minutes * 60.0
            stopping = asyncio.create_task(
                stop_at_random(beater, arguments.stops, max(over_s - POLICY.failed_after - 5.0, 1.0))
            )
            await asyncio.sleep(over_s)
            await stopping
            for task in tasks:
                if task.done():
                    task.result()
            percent, memory = span.percent(process), process.memory_info().rss - empty
            rate = (beater.sent - sent) / over_s
            beats = await last_beats(bus, beater.stopped)
            report(arguments, beater, findings, beats, (percent, memory, rate))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await reader.close()
            for connection in (*connections, bus):
                await connection.close()


def report(
    arguments: argparse.Namespace,
    beater: Beater,
    findings: Findings,
    beats: dict[str, float],
    cost: tuple[float, int, float],
) -> None:
    percent, memory, rate = cost
    false = sorted({*findings.suspected, *findings.failed} - beater.stopped)
    missed = sorted(beater.stopped - set(findings.failed))
    delays = sorted(findings.failed[one] - beats[one] for one in beater.stopped if one in findings.failed)
    show("heartbeats sent", [rate], "a second", 0, note=f"the sender was {beater.late_s:.2f} s late at most")
    show("suspected without having stopped", [len(false)], "workers", 0, note=f"limit 0 {false[:3] or ''}")
    show("stopped, and not found", [len(missed)], "workers", 0, note=f"limit 0 {missed[:3] or ''}")
    if delays:
        limit = POLICY.failed_after + MARGIN_S
        p99 = delays[min(len(delays) - 1, round(0.99 * len(delays)))]
        show("last beat to WorkerFailed", delays, "s", 2)
        show("  99th percentile", [p99], "s", 2, note=f"limit {limit:g}, ratio {p99 / limit:.2f}")
    show("the coordinator's process", [percent], "% of a core", 0, note=f"limit {CPU_MAX:g}")
    each = memory / arguments.workers
    show("its memory for each worker", [each], "bytes", 0, note=f"aim {MEMORY_MAX:,}, ratio {each / MEMORY_MAX:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--stops", type=int, default=100)
    arguments = parser.parse_args()
    with measuring(f"{arguments.workers:,} workers for {arguments.minutes:g} minutes (process {os.getpid()})"):
        run(measure(arguments))


if __name__ == "__main__":
    main()
