"""How fast a backlog goes into the history, against a bare ordered push consumer of nats-py that reads and decodes the
same stream; how soon an event is in the tables; and what questions cost while a backlog is taken in.

`.venv/bin/python bench/projector.py --events 60000 --rounds 3`, and with `--events 1000000 --rounds 1` a whole rebuild.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

from _harness import Taken, Usage, broker, drain_bare, each_us, folder, measuring, rates, ratio, run, show

from events.bus import Bus
from events.connection import Connection
from events.jetstream import JetStreamLog
from events.streams import Streams, ensure_streams
from events.worker import WorkerReadmitted
from events.writer import Writer
from projections.__main__ import tune
from projections.projector import Projector
from projections.snapshots import Snapshots
from projections.sql import Request, SqlService
from tests.projections.farm import Farm

STREAMS = Streams()
BATCH = 1000
LIVE_RATE = 2000
LIVE_S = 10
SECOND_THOUGHT_S = 0.5
"""Somebody who asks has thought about it: as if nobody asked anything else."""
DASHBOARD = """
    SELECT date_trunc('minute', recorded_at) AS minute, kind, count(*) AS events
    FROM events WHERE kind LIKE 'worker.%' GROUP BY ALL ORDER BY minute DESC, events DESC LIMIT 50
"""


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


async def rebuilt(url: str, path: Path) -> Taken:
    """In a process of its own, for its memory."""
    before, began = Usage.of_children(), time.perf_counter()
    command = [sys.executable, "-m", "projections", "--db-path", path, "--nats-url", url, "--once"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.DEVNULL, env=os.environ | {"RESURGAM_LOG_LEVEL": "ERROR"}
    )
    await process.wait()
    return Taken(time.perf_counter() - began, Usage.of_children().cpu_s - before.cpu_s)


@contextlib.asynccontextmanager
async def following(bus: Bus, path: Path):  # noqa: ANN201
    log = JetStreamLog(bus, STREAMS)
    projector = Projector(path, log, Writer(log, "projections/bench"), bus)
    work = asyncio.create_task(projector.run())
    await projector.wait_for(await log.last_sequence(), 600)
    yield projector
    projector.stop()
    await work


async def idle(bus: Bus, projector: Projector, tries: int = 50) -> tuple[list[float], list[float]]:
    """From the call that publishes one event to its commit, and to an answer in SQL that holds it; idle system."""
    writer = Writer(JetStreamLog(bus, STREAMS), "projections/bench")
    service = SqlService(bus, STREAMS, Snapshots(projector))
    committed, answered = [], []
    for _ in range(tries):
        began = time.perf_counter()
        stored = await writer.write(WorkerReadmitted(worker_id="worker-1", actor="bench"))
        await projector.wait_for(stored.last, 10)
        committed.append(time.perf_counter() - began)
        if len(answered) < tries // 5:
            await asyncio.sleep(SECOND_THOUGHT_S)
            began = time.perf_counter()
            stored = await writer.write(WorkerReadmitted(worker_id="worker-1", actor="bench"))
            answer = await service.answer(Request("SELECT count(*) FROM events", at_least=stored.last))
            assert answer.error is None, answer.error
            answered.append(time.perf_counter() - began)
        await asyncio.sleep(0.01)
    await service.close()
    return committed, answered


async def live(bus: Bus, projector: Projector) -> list[float]:
    """From the acknowledgement of an event to its commit, while `LIVE_RATE` events a second are appended."""
    log = JetStreamLog(bus, STREAMS)
    drafts = Farm(2, workers=200).drafts()
    stored: list[tuple[int, float]] = []
    took: list[float] = []

    async def write() -> None:
        began = time.perf_counter()
        for number in range(LIVE_S * 20):
            appended = await log.append(list(itertools.islice(drafts, LIVE_RATE // 20)))
            stored.append((appended.last, time.perf_counter()))
            await asyncio.sleep(max(0.0, began + (number + 1) / 20 - time.perf_counter()))

    writing = asyncio.create_task(write())
    while not writing.done() or stored:
        await asyncio.sleep(0.005)
        now = time.perf_counter()
        while stored and stored[0][0] <= projector.position.sequence:
            took.append(now - stored.pop(0)[1])
    await writing
    return sorted(took)


async def questioned(bus: Bus, path: Path, last: int) -> tuple[Taken, list[float]]:
    """A backlog is taken in while a dashboard asks once a second; how long the answers took."""
    log = JetStreamLog(bus, STREAMS)
    projector = Projector(path, log, None, bus)
    service = SqlService(bus, STREAMS, Snapshots(projector))
    took: list[float] = []
    before, began = Usage.own(), time.perf_counter()
    work = asyncio.create_task(projector.run())

    async def ask() -> None:
        while True:
            asked = time.perf_counter()
            answer = await service.answer(Request(DASHBOARD))
            if answer.error is None:
                took.append(time.perf_counter() - asked)
            await asyncio.sleep(1)

    asking = asyncio.create_task(ask())
    await projector.wait_for(last, 600)
    taken = Taken(time.perf_counter() - began, Usage.own().cpu_s - before.cpu_s)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await service.close()
    projector.stop()
    await work
    return taken, took


async def measure(events: int, rounds: int) -> None:
    tune()
    with folder() as place, broker(place) as url:
        bus = await Connection.connect(url, name="bench")
        await ensure_streams(bus, STREAMS)
        last = await fill(bus, events)
        path = place / "history.duckdb"
        empty, bare, ours, again, asked = [], [], [], [], []
        answers: list[float] = []
        for _ in range(rounds):
            empty.append(await drain_bare(bus, STREAMS.events))
            bare.append(await drain_bare(bus, STREAMS.events, decode=True))
            path.unlink(missing_ok=True)
            ours.append(await ingest(bus, path))
            path.unlink()
            taken, took = await questioned(bus, path, last)
            asked.append(taken)
            answers += took
            path.unlink()
            again.append(await rebuilt(url, path))
        show("nats-py's ordered consumer, empty callback", rates(empty, last), "events/s", 0)
        show("nats-py's ordered consumer, decoding", rates(bare, last), "events/s", 0)
        show("projector, all tables", rates(ours, last), "events/s", 0)
        print(f"projector / bare consumer that decodes: {ratio(rates(ours, last), rates(bare, last)):.2f}")
        show("bare consumer that decodes, processor", each_us(bare, last), "us/event", 1)
        show("projector, processor", each_us(ours, last), "us/event", 1)
        show("a whole rebuild by the program", [one.wall_s for one in again], "s", 1)
        print(f"file {path.stat().st_size / 1e6:.0f} MB, largest memory {Usage.of_children().memory_mb:.0f} MB")
        show("a dashboard's question, meanwhile", [took * 1000 for took in answers], "ms", 0)
        print(f"ingestion with it / without: {ratio(rates(asked, last), rates(ours, last)):.2f}")
        async with following(bus, path) as projector:
            committed, answered = await idle(bus, projector)
            show("append to commit, idle system", [took * 1000 for took in committed], "ms", 1)
            show("append to an answer that holds it, idle", [took * 1000 for took in answered], "ms", 0)
            took = await live(bus, projector)
            show(f"stored to commit at {LIVE_RATE} events/s", [one * 1000 for one in took], "ms", 0)
            print(f"the same, 99 of 100: {took[len(took) * 99 // 100] * 1000:.0f} ms")
        await bus.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with measuring("The projector over a backlog; target: 0.6 of a bare consumer that decodes"):
        run(measure(arguments.events, arguments.rounds))
