"""How fast a backlog goes into the history, against a bare ordered push consumer of nats-py on the same stream.

Run from the repository's root: `python -m bench.projector --events 100000`.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from events.bus import Bus, Message
from events.clock import utc
from events.jetstream import JetStreamLog
from events.streams import Streams, ensure_streams
from events.worker import WorkerReadmitted
from events.writer import Writer
from projections.projector import Projector
from projections.snapshots import Snapshots
from tests.projections.farm import Farm

STREAMS = Streams()
BATCH = 1000


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[str]:
    server = Path(sys.executable).parent / "nats-server"
    process = subprocess.Popen(
        [server, "-js", "-sd", folder / "store", "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", folder],
        stderr=subprocess.DEVNULL,
    )
    try:
        while not (found := list(folder.glob("*.ports"))) or not found[0].read_text().strip():
            time.sleep(0.01)
        yield json.loads(found[0].read_text())["nats"][0]
    finally:
        process.terminate()
        process.wait()


async def fill(bus: Bus, events: int) -> int:
    log = JetStreamLog(bus, STREAMS)
    drafts = Farm(1, workers=200, run_tasks=2000).drafts()
    for done in range(0, events, BATCH):
        await log.append(list(itertools.islice(drafts, min(BATCH, events - done))), timeout_s=30)
    return await log.last_sequence()


async def bare(bus: Bus, last: int) -> float:
    """nats-py with an ordered push consumer's settings, and nothing done with the messages."""
    finished = asyncio.Event()
    received = 0

    async def take(message: Message) -> None:
        nonlocal received
        if message.headers is not None and "Status" in message.headers:
            if message.reply:
                await bus.publish(message.reply)
            return
        received += 1
        if received == last:
            finished.set()

    inbox = bus.inbox()
    subscription = await bus.subscribe(inbox, take)
    config = {
        "deliver_subject": inbox,
        "deliver_policy": "all",
        "ack_policy": "none",
        "replay_policy": "instant",
        "flow_control": True,
        "idle_heartbeat": 1_000_000_000,
        "mem_storage": True,
    }
    began = time.perf_counter()
    await bus.api(f"CONSUMER.CREATE.{STREAMS.events}", {"stream_name": STREAMS.events, "config": config})
    await finished.wait()
    took = time.perf_counter() - began
    await bus.unsubscribe(subscription)
    return took


async def ingest(bus: Bus, path: Path) -> float:
    log = JetStreamLog(bus, STREAMS)
    projector = Projector(path, log, Writer(log, "projections/bench"), bus)
    began = time.perf_counter()
    await projector.run(once=True)
    return time.perf_counter() - began


async def latency(bus: Bus, path: Path, tries: int = 100) -> list[float]:
    """From the call that publishes one event to its commit, in an idle system."""
    log = JetStreamLog(bus, STREAMS)
    writer = Writer(log, "projections/bench")
    projector = Projector(path, log, writer, bus)
    work = asyncio.create_task(projector.run())
    await projector.wait_for(await log.last_sequence(), 60)
    took = []
    for _ in range(tries):
        began = time.perf_counter()
        stored = await writer.write(WorkerReadmitted(worker_id="worker-1", actor="bench"))
        await projector.wait_for(stored.last, 10)
        took.append(time.perf_counter() - began)
        await asyncio.sleep(0.01)
    snapshots = Snapshots(projector)
    began = time.perf_counter()
    await snapshots.fresh(0, 1)
    print(f"snapshot                {time.perf_counter() - began:8.3f} s, {snapshots.path.stat().st_size / 1e6:.0f} MB")
    projector.stop()
    await work
    return took


async def main(events: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name, broker(folder := Path(name)) as url:
        bus = await Bus.connect(url, name="bench")
        await ensure_streams(bus, STREAMS)
        last = await fill(bus, events)
        print(f"{last} events, {utc(time.time()):%Y-%m-%d %H:%M} UTC")
        path = folder / "history.duckdb"
        for _ in range(rounds):
            bare_s = await bare(bus, last)
            path.unlink(missing_ok=True)
            usage = resource.getrusage(resource.RUSAGE_SELF)
            took = await ingest(bus, path)
            after = resource.getrusage(resource.RUSAGE_SELF)
            cpu = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
            print(
                f"bare ordered consumer   {last / bare_s:8.0f} events/s\n"
                f"projector, all tables   {last / took:8.0f} events/s  ratio {bare_s / took:.2f}  "
                f"cpu {cpu:.1f} s  file {path.stat().st_size / 1e6:.0f} MB  rss {after.ru_maxrss // 1024} MB"
            )
        found = sorted(await latency(bus, path))
        print(
            f"idle, append to commit  median {statistics.median(found) * 1000:.1f} ms, "
            f"p99 {found[int(len(found) * 0.99)] * 1000:.1f} ms"
        )
        await bus.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    try:
        import uvloop
    except ImportError:
        asyncio.run(main(arguments.events, arguments.rounds))
    else:
        uvloop.run(main(arguments.events, arguments.rounds))
