"""How fast the recovery consumer folds a backlog, against nats-py's own ordered push consumers on the same streams.

`.venv/bin/python bench/consumer.py --events 60000 --rounds 3`
"""

import argparse
import asyncio
import gc
import time
from collections import Counter

from _harness import Taken, Usage, broker, drain_bare, each_us, folder, measuring, rates, ratio, run, show
from _story import history

from events.bus import Bus
from events.connection import Connection
from events.heartbeats import HeartbeatReader, send_heartbeat
from events.jetstream import JetStreamLog
from events.kinds import tag_of
from events.streams import Streams, ensure_streams
from recovery.consumer import RecoveryConsumer
from recovery.core import State

STREAMS = Streams()
BATCH = 1000
SHOWN = 12


async def tell(bus: Bus, events: int) -> tuple[State, int, int]:
    """Fills both streams; the state that they add up to, and their last sequences."""
    story = history(events)
    print(f"{len(story.drafts)} events and {len(story.heartbeats)} heartbeats of {len(story.worker_ids)} workers:")
    kinds = Counter(tag_of(type(draft.envelope.event)) for draft in story.drafts)
    print("  " + ", ".join(f"{kind} {count}" for kind, count in kinds.most_common(SHOWN)))
    log = JetStreamLog(bus, STREAMS)
    for start in range(0, len(story.drafts), BATCH):
        await log.append(story.drafts[start : start + BATCH], timeout_s=30)
    for start in range(0, len(story.heartbeats), BATCH):
        beats = story.heartbeats[start : start + BATCH]
        await asyncio.gather(*(send_heartbeat(bus, STREAMS, beat, timeout_s=30) for beat in beats))
    return story.state, len(story.drafts), len(story.heartbeats)


async def fold(bus: Bus, events_last: int, heartbeats_last: int) -> tuple[Taken, State]:
    """What it takes until a standby has folded both streams, and what it has made of them."""
    log = JetStreamLog(bus, STREAMS)
    before, began = Usage.own(), time.perf_counter()
    events, heartbeats = await log.reader(), await HeartbeatReader.start(bus, STREAMS)
    consumer = RecoveryConsumer(log, events, heartbeats, source="coordinator/bench")
    folding = asyncio.create_task(consumer.run())
    state = consumer.state
    # The consumer has no signal for it, and needs none.
    while state.events_sequence < events_last or state.heartbeats_sequence < heartbeats_last:  # noqa: ASYNC110
        await asyncio.sleep(0.002)
    taken = Taken(time.perf_counter() - began, Usage.own().cpu_s - before.cpu_s)
    folding.cancel()
    await asyncio.gather(folding, return_exceptions=True)
    await events.close()
    await heartbeats.close()
    return taken, state


def same(one: State, other: State) -> bool:
    return one.tasks_by_status == other.tasks_by_status and one.workers_live == other.workers_live


async def measure(events: int, rounds: int) -> None:
    with folder() as place, broker(place) as url:
        bus = await Connection.connect(url, name="bench")
        await ensure_streams(bus, STREAMS)
        told, last, beats = await tell(bus, events)
        # A coordinator does not hold the story in memory: no collection of garbage shall look through it here.
        gc.collect()
        gc.freeze()
        bare, ours = [], []
        for _ in range(rounds):
            bare.append(await drain_bare(bus, STREAMS.events, STREAMS.heartbeats))
            taken, state = await fold(bus, last, beats)
            ours.append(taken)
            if not same(state, told):
                print("the fold differs from the story that it was made from")
            del state
        both = last + beats
        show("nats-py's ordered consumers, empty callback", rates(bare, both), "messages/s", 0)
        show("recovery consumer, not leading", rates(ours, both), "messages/s", 0)
        print(f"recovery consumer / bare consumers: {ratio(rates(ours, both), rates(bare, both)):.2f}")
        show("nats-py's ordered consumers, processor", each_us(bare, both), "us/message", 1)
        show("recovery consumer, processor", each_us(ours, both), "us/message", 1)
        print(f"by processor time: {ratio(each_us(bare, both), each_us(ours, both)):.2f}")
        await bus.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with measuring("The recovery consumer over a backlog; target: half of the bare consumer's speed"):
        run(measure(arguments.events, arguments.rounds))
