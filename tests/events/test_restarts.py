"""What outlives a broker that is killed or stopped; the real one and the simulated one."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from events.bus import Bus
from events.errors import Unacknowledged
from events.heartbeats import HeartbeatReader, send_heartbeat
from events.jetstream import JetStreamLog
from events.reader import RawReader
from events.streams import Streams, ensure_streams
from events.worker import Heartbeat
from tests.events.asking import (
    LAST,
    SOON_S,
    TAIL,
    Heard,
    code,
    eventually,
    last_sequence,
    part,
)
from tests.events.conftest import Mortal, own_streams
from tests.events.examples import MOMENT, cancelled
from tests.waiting import until

# Ends and restarts


@pytest.fixture
async def reborn(mortal: Mortal) -> AsyncIterator[tuple[Mortal, Bus, Streams]]:
    bus = await mortal.connect("test")
    streams = own_streams()
    await ensure_streams(bus, streams)
    yield mortal, bus, streams
    await bus.close()


Reborn = tuple[Mortal, Bus, Streams]


async def again(mortal: Mortal, bus: Bus) -> None:
    """Kills it, starts it, and waits until the client has noticed both."""
    before = bus.reconnections
    await mortal.kill()
    await until(lambda: not bus.connected, SOON_S, "the disconnection")
    await mortal.start()
    await until(lambda: bus.reconnections > before and bus.connected, SOON_S, "the reconnection")


async def test_ids_are_known_after_a_restart(reborn: Reborn) -> None:
    mortal, bus, streams = reborn
    log = JetStreamLog(bus, streams)
    one, batch = cancelled(), [cancelled(), cancelled()]
    await log.append([one])
    await log.append(batch)
    await again(mortal, bus)
    assert (await log.append([one])).duplicate
    assert (await log.append(batch)).duplicate
    assert (await log.append([cancelled()])).last == 4


async def test_an_open_batch_does_not_survive(reborn: Reborn) -> None:
    mortal, bus, streams = reborn
    subject = streams.event_subject("task.a")
    assert await bus.request(subject, b"{}", part(1)) == b""
    await again(mortal, bus)
    assert await code(bus, subject, part(2, commit="1")) == 10176
    assert await last_sequence(bus, streams.events) == 0


async def test_a_lease_that_ran_out_meanwhile_is_gone_after_the_restart(reborn: Reborn) -> None:
    mortal, bus, streams = reborn
    subject = streams.lease_subject
    assert await code(bus, subject, {LAST: "0", "Nats-TTL": "1s"}) == 0
    written = asyncio.get_running_loop().time()
    await again(mortal, bus)

    async def free() -> bool:
        return await code(bus, subject, {LAST: "0", "Nats-TTL": "60s"}) == 0

    await eventually(free, "the end of the lease")
    assert asyncio.get_running_loop().time() - written >= 0.9
    await again(mortal, bus)
    assert await code(bus, subject, {LAST: "0", "Nats-TTL": "1s"}) == 10071, "this one still has its time"


async def test_what_is_sent_without_a_connection_arrives_later(reborn: Reborn) -> None:
    """Even what the caller has given up; which is why every append has an id."""
    mortal, bus, streams = reborn
    subject = streams.event_subject(TAIL)
    await mortal.kill()
    await until(lambda: not bus.connected, SOON_S, "the disconnection")
    with pytest.raises(Unacknowledged):
        await bus.request(subject, b"given up", timeout_s=0.05)
    await bus.publish(subject, b"sent")
    waiting = asyncio.create_task(bus.request(subject, b"awaited", timeout_s=SOON_S))
    await mortal.start()
    assert msgspec.json.decode(await waiting)["seq"] == 3
    assert await last_sequence(bus, streams.events) == 3
    reader = await RawReader(bus, streams.events, after=0).start()
    found = [message.data for _, _, message in await reader.next(5.0)]
    while len(found) < 3:
        found += [message.data for _, _, message in await reader.next(5.0)]
    await reader.close()
    assert found == [b"given up", b"sent", b"awaited"]


async def test_a_broker_that_stands_still_stores_later_what_was_sent_meanwhile(reborn: Reborn) -> None:
    mortal, bus, streams = reborn
    subject = streams.event_subject(TAIL)
    await mortal.pause()
    with pytest.raises(Unacknowledged):
        await bus.request(subject, b"given up", timeout_s=0.1)
    waiting = asyncio.create_task(bus.request(subject, b"awaited", timeout_s=SOON_S))
    await bus.publish(subject, b"sent")
    await mortal.resume()
    assert msgspec.json.decode(await waiting)["seq"] in (2, 3)

    async def all_stored() -> bool:
        return await last_sequence(bus, streams.events) == 3

    await eventually(all_stored, "three events")
    assert (bus.connected, bus.reconnections) == (True, 0)


async def test_the_buffer_of_a_client_without_a_connection_has_an_end(reborn: Reborn) -> None:
    mortal, bus, streams = reborn
    await mortal.kill()
    await until(lambda: not bus.connected, SOON_S, "the disconnection")

    async def flood() -> None:
        for _ in range(100):
            await bus.publish(streams.service_subject("s"), b"x" * 100_000)

    with pytest.raises(Unacknowledged, match="could not send"):
        await flood()
    await mortal.start()


async def test_subscriptions_outlive_the_broker(reborn: Reborn) -> None:
    mortal, bus, streams = reborn
    heard, missed = Heard(), Heard()
    calls: list[int] = []
    bus.on_reconnect(lambda: calls.append(1))
    await bus.subscribe(streams.service_subject("s"), heard)
    gone = await bus.subscribe(streams.service_subject("t"), missed)
    await again(mortal, bus)
    late = Heard()
    await bus.subscribe(streams.service_subject("u"), late)
    await bus.unsubscribe(gone)
    for service in "stu":
        await bus.publish(streams.service_subject(service), service.encode())
    await late.count(1)
    assert (heard.data, missed.data, late.data) == ([b"s"], [], [b"u"])
    assert calls == [1]
    await mortal.stop()
    await until(lambda: not bus.connected, SOON_S, "the disconnection")
    await bus.subscribe(streams.service_subject("v"), late)
    await mortal.start()
    await until(lambda: len(calls) == 2, SOON_S, "the reconnection")
    await bus.publish(streams.service_subject("v"), b"v")
    await late.count(2)


async def test_readers_go_on_where_they_were(reborn: Reborn) -> None:
    mortal, bus, streams = reborn
    log = JetStreamLog(bus, streams)
    drafts = [cancelled(f"t{number % 3}") for number in range(30)]
    events = await log.reader()
    filtered = await log.reader(0, ("task.t1.*",))
    beats = await HeartbeatReader.start(bus, streams)
    seen: list[str] = []
    seen_filtered: list[str] = []

    async def read(count: int) -> None:
        async with asyncio.timeout(SOON_S):
            while len(seen) < count:
                seen.extend(recorded.id for recorded in await events.next())
            while len(seen_filtered) < count // 3:
                seen_filtered.extend(recorded.id for recorded in await filtered.next())

    await log.append(drafts[:15])
    await read(15)
    await again(mortal, bus)
    await log.append(drafts[15:])
    await read(30)
    assert seen == [draft.envelope.id for draft in drafts]
    assert seen_filtered == [draft.envelope.id for draft in drafts[1::3]]
    assert events.damage() == []
    beat = Heartbeat(worker_id="w1", incarnation=1, beat=1, sent_at=MOMENT, running=())
    await send_heartbeat(bus, streams, beat)
    assert [recorded.heartbeat for recorded in await beats.next(SOON_S)] == [beat]
    for reader in (events, filtered, beats):
        await reader.close()
