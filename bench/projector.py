"""How fast a backlog goes into the history, against a bare ordered push consumer of nats-py on the same stream.

`.venv/bin/python bench/projector.py --events 60000 --rounds 3`
"""

import argparse
import asyncio
import itertools
import time
from pathlib import Path

from _harness import Taken, Usage, broker, drain_bare, each_us, folder, measuring, rates, ratio, run, show

from events.bus import Bus
from events.connection import Connection
from events.jetstream import JetStreamLog
from events.streams import Streams, ensure_streams
from events.worker import WorkerReadmitted
from events.writer import Writer
from projections.projector import Projector
from projections.snapshots import Snapshots
from tests.projections.farm import Farm

STREAMS = Streams()
BATCH = 1000


async def fill(bus: Bus, events: int) -> int:
    log = JetStreamLog(bus, STREAMS)
    drafts = Farm(1, workers=200, run_tasks=2000).drafts()
    for done in range(0, events, BATCH):
        await log.append(list(itertools.islice(drafts, min(BATCH, events - done))), timeout_s=30)
    return await log.last_sequence()


async def ingest(bus: Bus, path: Path) -> Taken:
    log = JetStreamLog(bus, STREAMS)
    projector = Projector(path, log, Writer(log, "projections/bench"), bus)
    before, began = Usage.own(), time.perf_counter()
    await projector.run(once=True)
    return Taken(time.perf_counter() - began, Usage.own().cpu_s - before.cpu_s)


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


async def measure(events: int, rounds: int) -> None:
    with folder() as place, broker(place) as url:
        bus = await Connection.connect(url, name="bench")
        await ensure_streams(bus, STREAMS)
        last = await fill(bus, events)
        path = place / "history.duckdb"
        bare, ours = [], []
        for _ in range(rounds):
            bare.append(await drain_bare(bus, STREAMS.events))
            path.unlink(missing_ok=True)
            ours.append(await ingest(bus, path))
        show("nats-py's ordered consumer, empty callback", rates(bare, last), "events/s", 0)
        show("projector, all tables", rates(ours, last), "events/s", 0)
        print(f"projector / bare consumer: {ratio(rates(ours, last), rates(bare, last)):.2f}")
        show("projector, processor", each_us(ours, last), "us/event", 1)
        print(f"file {path.stat().st_size / 1e6:.0f} MB, largest memory {Usage.own().memory_mb:.0f} MB")
        show("append to commit, idle system", [took * 1000 for took in await latency(bus, path)], "ms", 1)
        await bus.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with measuring("The projector over a backlog; target: 20,000 events/s"):
        run(measure(arguments.events, arguments.rounds))
