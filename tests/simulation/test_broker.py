"""The simulated broker under faults. That it is otherwise as the real one is for `tests/events` to say."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from events.bus import Bus
from events.ending import ended
from events.errors import Fenced, LogFull, Unacknowledged
from events.heartbeats import send_heartbeat
from events.jetstream import JetStreamLog
from events.lease import Lease, LeaseHolder
from events.log import Fence, Position, verify_position
from events.reader import RawReader
from events.worker import Heartbeat
from events.writer import append_until_stored
from tests.events.examples import MOMENT, cancelled
from tests.simulation.rig import EVENTS, STREAMS, SUBJECT, Rig, live, refused, virtual
from tests.waiting import until

# The broker


@virtual
async def test_a_paused_broker_answers_late(rig: Rig) -> None:
    bus = await rig.connect("w")
    rig.broker.pause()
    await refused(bus.request(SUBJECT, b"given up"))
    await asyncio.sleep(30.0)
    assert not bus.connected
    rig.broker.resume()
    await rig.since(lambda: bus.connected, 5.0)
    assert rig.stored == [b"given up"]
    await bus.request(SUBJECT, b"new")
    rig.broker.pause()
    waiting = asyncio.create_task(bus.request(SUBJECT, b"late", timeout_s=5.0))
    await asyncio.sleep(3.0)
    rig.broker.resume()
    await waiting
    assert rig.stored == [b"given up", b"new", b"late"]


@virtual
async def test_a_kill_costs_heartbeats_only_and_their_sequences_come_again(rig: Rig) -> None:
    bus = await rig.connect("w")
    log = JetStreamLog(bus, STREAMS)
    lost = 0
    for kills in range(1, 21):
        for beat in range(30):
            await send_heartbeat(
                bus, STREAMS, Heartbeat(worker_id="w", incarnation=1, beat=beat, sent_at=MOMENT, running=())
            )
            await asyncio.sleep(0.02)
        await append_until_stored(log, [cancelled()])
        before = rig.broker.streams[STREAMS.heartbeats].last_sequence
        rig.broker.crash()
        lost += before - rig.broker.streams[STREAMS.heartbeats].last_sequence
        rig.broker.start()
        await rig.since(lambda kills=kills: bus.reconnections == kills, 5.0)  # type: ignore[misc]
    assert len(rig.stored) == 20
    assert 20 < lost < 20 * 16
    assert rig.broker.streams[STREAMS.heartbeats].last_sequence == 20 * 30 - lost


async def after_power_loss(rig: Rig, *, sync_always: bool) -> int:
    """How many of 100 events, one every three seconds, are left; the last sync came at 240 s."""
    log = JetStreamLog(bus := await rig.connect("w"), STREAMS)
    drafts = [cancelled() for _ in range(100)]
    for draft in drafts:
        await log.append([draft])
        await asyncio.sleep(3.0)
    rig.broker.power_loss(sync_always=sync_always)
    kept = len(rig.stored)
    await asyncio.sleep(5.0)
    assert bus.connected, "nobody has told it"
    rig.broker.start()
    await rig.since(lambda: bus.reconnections == 1 and bus.connected, 10.0)
    assert (await log.append([cancelled()])).last == kept + 1
    assert await verify_position(log, Position(kept, drafts[kept - 1].envelope.id))
    assert kept == 100 or not await verify_position(log, Position(kept + 1, drafts[kept].envelope.id))
    return kept


def test_a_power_loss_costs_what_was_not_synced() -> None:
    assert {live(partial(after_power_loss, sync_always=True), seed) for seed in range(10)} == {100}
    kept = {live(partial(after_power_loss, sync_always=False), seed) for seed in range(10)}
    assert min(kept) >= 80
    assert len(kept) > 3


@virtual
async def test_a_broker_that_cannot_store_says_nothing(rig: Rig) -> None:
    log = JetStreamLog(await rig.connect("w"), STREAMS)
    token = (await log.append([cancelled()])).last
    tail = "task.t1.cancel_requested"
    batch = [cancelled(), cancelled()]

    def restart() -> None:
        rig.broker.stop()
        rig.broker.start()

    for mend in (rig.broker.accept_again, restart):
        rig.broker.stop_accepting()
        for drafts in ([cancelled()], batch):
            await refused(log.append(drafts))
        with pytest.raises(Fenced):
            await log.append([cancelled()], fence=Fence(tail, token + 100))
        before = await log.last_sequence()
        mend()
        await asyncio.sleep(1.0)
        assert (await log.append([cancelled()])).last == before + 1
    assert (await log.append(batch)).last == 5


@virtual
async def test_a_full_stream(rig: Rig) -> None:
    log = JetStreamLog(await rig.connect("w"), STREAMS)
    rig.broker.fill(EVENTS)
    for drafts in ([cancelled()], [cancelled(), cancelled()]):
        with pytest.raises(LogFull) as caught:
            await log.append(drafts)
        assert caught.value.code == 10077
    rig.broker.fill(EVENTS, full=False)
    assert (await log.append([cancelled()])).last == 1


@virtual
async def test_damage_is_silent_and_found_by_whoever_reads_all(rig: Rig) -> None:
    log = JetStreamLog(await rig.connect("w"), STREAMS)
    await log.append([cancelled() for _ in range(9)])
    assert rig.broker.damage(EVENTS, 4)
    assert rig.broker.damage(EVENTS, 5)
    assert not rig.broker.damage(EVENTS, 4)
    reader = await log.reader()
    found = [recorded.sequence for recorded in await reader.next()]
    assert found == [1, 2, 3, 6, 7, 8, 9]
    assert reader.damage() == [(4, 5)]
    assert reader.caught_up
    await reader.close()


@virtual
async def test_readers_see_everything_once_whatever_happens(rig: Rig) -> None:
    """The production reader over a network that is reset, cut and slow, and a broker that is killed and paused."""
    network, broker = rig.network, rig.broker
    writer = JetStreamLog(await rig.connect("w"), STREAMS)
    reading = rig.process("r")
    seen: list[str] = []
    written: list[str] = []

    reader = await reading.spawn(JetStreamLog(await rig.connect(reading), STREAMS).reader())

    async def read() -> None:
        while True:
            seen.extend(recorded.id for recorded in await reader.next())
            assert reader.damage() == []

    async def write() -> None:
        while len(written) < 800:
            drafts = [cancelled() for _ in range(1 + len(written) % 4)]
            await append_until_stored(writer, drafts)
            written.extend(draft.envelope.id for draft in drafts)
            await asyncio.sleep(0.2)

    reads = reading.spawn(read())
    writes = asyncio.create_task(write())
    faults: list[tuple[Callable[[], object], Callable[[], object]]] = [
        (lambda: network.reset("r"), lambda: None),
        (lambda: network.reset("w"), lambda: None),
        (lambda: network.cut("r"), lambda: network.heal("r")),
        (lambda: network.cut("r", "in"), lambda: network.heal("r")),
        (lambda: network.cut("w", "out"), lambda: network.heal("w")),
        (lambda: network.cut("broker"), lambda: network.heal("broker")),
        (broker.crash, broker.start),
        (broker.stop, broker.start),
        (broker.power_loss, broker.start),
        (broker.pause, broker.resume),
        (lambda: network.slow("r", 3.0), lambda: network.slow("r", 0.0)),
    ]
    for _ in range(40):
        begin, end = network.rng.choice(faults)
        begin()
        await asyncio.sleep(network.rng.choice([0.001, 0.5, 5.0, 20.0]))
        end()
        await asyncio.sleep(network.random())
    await writes
    await rig.since(lambda: len(seen) >= len(written), 30.0)
    assert seen == written
    reads.cancel()
    await reader.close()


@virtual
async def test_the_stamps_and_the_lease_follow_the_clock_of_the_broker(rig: Rig) -> None:
    bus = await rig.connect("c")
    one, two = (Lease(bus, STREAMS, LeaseHolder(name, name), ttl_s=2, monotonic=rig.loop.time) for name in "ab")
    assert await one.acquire_or_renew()
    await asyncio.sleep(1.0)
    assert not await two.acquire_or_renew()

    async def free_after() -> float:
        began = rig.loop.time()
        acquire: Callable[[], Any] = two.acquire_or_renew
        await until(acquire, 60.0, "the lease")
        return rig.loop.time() - began

    assert 1.0 <= await free_after() <= 1.4
    rig.machine.step_clock(-30.0)
    one._sequence = 0
    two, one = one, two
    assert 31.0 <= await free_after() <= 32.5, "it was stamped before the step"
    events = rig.broker.streams[EVENTS]
    for step in (0.0, -100.0, 1000.0):
        rig.machine.step_clock(step)
        await bus.request(SUBJECT)
        assert events.records[-1] is not None
        assert events.records[-1].time_ns == pytest.approx(rig.machine.wall() * 1e9, abs=1e9)


@virtual
async def test_consumers_of_nobody_are_forgotten(rig: Rig) -> None:
    log = JetStreamLog(bus := await rig.connect("w"), STREAMS)
    readers = [await log.reader() for _ in range(3)]
    events = rig.broker.streams[EVENTS]
    assert len(events.consumers) == 3
    for reader in readers:
        await reader.close()
    await asyncio.sleep(29.0)
    assert len(events.consumers) == 3
    await asyncio.sleep(2.0)
    assert len(events.consumers) == 0
    reader = await log.reader()
    await asyncio.sleep(120.0)
    await bus.request(SUBJECT)
    assert len(await reader.next()) == 1
    assert len(events.consumers) == 1
    await reader.close()


@virtual
async def test_ids_are_forgotten_after_their_window(rig: Rig) -> None:
    log = JetStreamLog(await rig.connect("w"), STREAMS)
    one = cancelled()
    await log.append([one])
    await asyncio.sleep(599.0)
    assert (await log.append([one])).duplicate
    await asyncio.sleep(3.0)
    assert not (await log.append([one])).duplicate


@virtual
async def test_inboxes_are_unique(rig: Rig) -> None:
    buses: list[Bus] = [await rig.connect(f"w{number}") for number in range(3)]
    inboxes = [bus.inbox() for bus in buses for _ in range(10)]
    assert len(set(inboxes)) == 30


# One seed, one story


async def told(rig: Rig) -> list[tuple[int, int, bytes]]:
    """Workers beat, one process repeats in EVENTS what it reads, and meanwhile things go wrong."""
    network = rig.network

    async def beat(name: str) -> None:
        bus = await rig.connect(name)
        for number in itertools.count():
            with contextlib.suppress(Unacknowledged):
                await bus.request(STREAMS.heartbeat_subject(name), f"{name} {number}".encode(), timeout_s=0.5)
            await asyncio.sleep(bus.process.host.uniform(0.1, 0.3))

    async def repeat() -> None:
        reader = await RawReader(await rig.connect("r"), STREAMS.heartbeats, after=0).start()
        bus = await rig.connect("b")
        while True:
            for sequence, _, message in await reader.next():
                await bus.publish(SUBJECT, f"{sequence} ".encode() + message.data)

    tasks = [asyncio.create_task(beat(f"w{number}")) for number in range(4)]
    tasks.append(asyncio.create_task(repeat()))
    await asyncio.sleep(5.0)
    network.cut("w1")
    await asyncio.sleep(17.0)
    network.heal("w1")
    network.reset("w2")
    await asyncio.sleep(3.0)
    rig.broker.crash()
    await asyncio.sleep(1.0)
    rig.broker.start()
    network.slow("r", 1.0)
    await asyncio.sleep(5.0)
    await ended(*tasks)
    return [
        (record.sequence, record.time_ns, record.data)
        for name in (STREAMS.heartbeats, EVENTS)
        for record in rig.broker.streams[name].existing()
    ]


def test_the_same_seed_gives_the_same_story_to_the_nanosecond() -> None:
    first = live(told, 7)
    assert len(first) > 300
    assert live(told, 7) == first
    assert live(told, 8) != first
