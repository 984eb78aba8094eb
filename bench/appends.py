"""What it costs to store a few events at once: as one atomic batch, or as appends of their own in flight together.

With both rhythms of syncing of the broker that we start. `.venv/bin/python bench/appends.py`
"""

import argparse
import asyncio
import time
from collections.abc import Sequence

import psutil
from _harness import folder, measuring, run, show
from _story import history

from coordinator.broker import EmbeddedBroker
from events.connection import Connection
from events.envelope import Draft
from events.jetstream import JetStreamLog
from events.streams import Streams, ensure_streams

SIZES = (1, 2, 8, 32, 128)
SYNCS = ("default", "always")


async def together(log: JetStreamLog, drafts: Sequence[Draft]) -> None:
    await log.append(drafts, timeout_s=30)


async def each(log: JetStreamLog, drafts: Sequence[Draft]) -> None:
    await asyncio.gather(*(log.append([draft], timeout_s=30) for draft in drafts))


WAYS = (("one batch", together), ("each by itself", each))


async def measure(repetitions: int) -> None:
    needed = repetitions * sum(SIZES) * len(WAYS)
    for sync in SYNCS:
        drafts = iter(history(needed, workers=3, death_every_s=1e6).drafts)
        with folder() as place:
            broker = EmbeddedBroker(place / "broker", sync=sync)
            await broker.start()
            bus = await Connection.connect(broker.url, name="bench")
            streams = Streams()
            await ensure_streams(bus, streams)
            log = JetStreamLog(bus, streams)
            server = psutil.Process(broker.pid)
            for size in SIZES:
                for way, store in WAYS:
                    took = []
                    before = sum(server.cpu_times()[:2])
                    for _ in range(repetitions):
                        some = [next(drafts) for _ in range(size)]
                        began = time.perf_counter()
                        await store(log, some)
                        took.append((time.perf_counter() - began) * 1000)
                    cpu_ms = (sum(server.cpu_times()[:2]) - before) / repetitions * 1000
                    title = f"sync {sync}, {size} event{'s' if size > 1 else ''}, {way}"
                    show(title, took, "ms", 2, note=f"server's processor {cpu_ms:.1f} ms")
            await bus.close()
            await broker.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=30)
    arguments = parser.parse_args()
    with measuring("Appends of a few events, with one in flight"):
        run(measure(arguments.repetitions))
