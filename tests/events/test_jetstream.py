"""What a broker does and memory cannot: die, fill up, lose answers and messages. The real one and the simulated one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from events.bus import Bus
from events.connection import Connection
from events.envelope import Recorded
from events.errors import BrokerRefused, LogFull, Unacknowledged, Unreachable
from events.heartbeats import HeartbeatReader, send_heartbeat
from events.identity import new_id
from events.jetstream import JetStreamLog
from events.lease import Lease, LeaseHolder
from events.log import Position, verify_position
from events.streams import MIB, Streams, ensure_streams
from events.worker import Heartbeat, RecordedHeartbeat
from events.writer import append_until_stored
from tests.events.conftest import Mortal, Side, own_streams
from tests.events.examples import MOMENT, cancelled
from tests.waiting import until

WITHIN_S = 20.0


# A broker that is killed


async def test_killed_and_restarted_nothing_is_lost_and_nothing_comes_twice(mortal: Mortal) -> None:
    bus = await mortal.connect("test")
    streams = own_streams()
    await ensure_streams(bus, streams)
    event_log = JetStreamLog(bus, streams)
    written: list[str] = []
    seen: list[Recorded] = []
    enough, all_written = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        while not enough.is_set():
            drafts = [cancelled() for _ in range(1 + len(written) % 3)]
            await append_until_stored(event_log, drafts, patience_s=WITHIN_S)
            written.extend(draft.envelope.id for draft in drafts)
        all_written.set()

    async def read() -> None:
        async with await event_log.reader() as reader:
            while not (all_written.is_set() and len(seen) >= len(written)):
                seen.extend(await reader.next(0.2))
            assert reader.damage() == []

    async with asyncio.timeout(3 * WITHIN_S), asyncio.TaskGroup() as group:
        group.create_task(write())
        group.create_task(read())
        for kills in range(1, 3):
            before = len(seen)
            await until(lambda before=before: len(seen) > before + 20, WITHIN_S, "events to flow")  # type: ignore[misc]
            await mortal.kill()
            await mortal.start()
            await until(lambda kills=kills: bus.reconnections == kills, WITHIN_S, "the reconnection")  # type: ignore[misc]
        before = len(seen)
        await until(lambda: len(seen) > before + 20, WITHIN_S, "events to flow again")
        enough.set()
    assert [recorded.id for recorded in seen] == written
    assert [recorded.sequence for recorded in seen] == list(range(1, len(seen) + 1))
    assert bus.reconnections >= 2
    await bus.close()


async def test_without_a_broker_an_append_is_unacknowledged(mortal: Mortal) -> None:
    bus = await mortal.connect("test")
    streams = own_streams()
    await ensure_streams(bus, streams)
    event_log = JetStreamLog(bus, streams)
    draft, batch = cancelled(), [cancelled(), cancelled()]
    await mortal.stop()
    for drafts in ([draft], batch):
        with pytest.raises(Unacknowledged):
            await event_log.append(drafts, timeout_s=0.2)
    await mortal.start()
    assert (await append_until_stored(event_log, [draft], patience_s=WITHIN_S)).last in (1, 3)
    await append_until_stored(event_log, batch, patience_s=WITHIN_S)
    assert await event_log.last_sequence() == 3
    await bus.close()


async def test_nobody_listens() -> None:
    with pytest.raises(Unreachable, match=r"no NATS server answers at nats://127\.0\.0\.1:1 "):
        await Connection.connect("nats://127.0.0.1:1", name="test", wait_s=0.0)


# Answers that are lost


@pytest.mark.parametrize("count", [1, 2, 400])
async def test_a_lost_answer_and_the_same_again_is_stored_once(log: JetStreamLog, count: int) -> None:
    drafts = [cancelled() for _ in range(count)]
    with pytest.raises(Unacknowledged):
        await log.append(drafts, timeout_s=1e-6)
    await append_until_stored(log, drafts, patience_s=WITHIN_S)
    await append_until_stored(log, drafts, patience_s=WITHIN_S)
    assert await log.last_sequence() == count
    async with await log.reader() as reader:
        found: list[Recorded] = []
        while len(found) < count:
            found += await reader.next(5.0)
    assert [recorded.id for recorded in found] == [draft.envelope.id for draft in drafts]


async def test_a_batch_that_lost_a_part_on_the_way_may_be_sent_again(
    log: JetStreamLog, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafts = [cancelled() for _ in range(5)]
    publish = bus.publish

    async def forgetful(subject: str, payload: bytes = b"", headers: Any = None, reply: str = "") -> None:
        if not headers or headers.get("Nats-Batch-Sequence") != "3":
            await publish(subject, payload, headers, reply)

    monkeypatch.setattr(bus, "publish", forgetful)
    with pytest.raises(Unacknowledged, match="incomplete"):
        await log.append(drafts)
    monkeypatch.undo()
    assert await log.last_sequence() == 0
    assert (await log.append(drafts)).last == 5


async def test_too_many_batches_at_once_may_be_sent_again(log: JetStreamLog, bus: Bus, streams: Streams) -> None:
    subject = streams.event_subject("task.t1.cancel_requested")
    for number in range(60):
        headers = {"Nats-Batch-Id": f"open-{number}", "Nats-Batch-Sequence": "1"}
        if await bus.request(subject, b"{}", headers):
            break
    else:
        raise AssertionError("the server opens any number of batches")
    with pytest.raises(Unacknowledged, match="inflight"):
        await log.append([cancelled(), cancelled()])
    assert (await log.append([cancelled()])).last == 1


# A stream that is full


@pytest.mark.parametrize("size", [1, 3])
async def test_a_full_log_says_so_and_stores_nothing_more(bus: Bus, size: int) -> None:
    streams = Streams(
        namespace=own_streams().namespace, events_bytes_max=64 * 1024, heartbeats_bytes_max=MIB, snapshots_bytes_max=MIB
    )
    await ensure_streams(bus, streams)
    event_log = JetStreamLog(bus, streams)
    stored: list[str] = []
    drafts = []

    async def fill() -> None:
        nonlocal drafts
        for _ in range(200):
            drafts = [cancelled(actor="x" * 1000) for _ in range(size)]
            await event_log.append(drafts)
            stored.extend(draft.envelope.id for draft in drafts)

    with pytest.raises(LogFull) as caught:
        await fill()
    assert caught.value.code in (10077, 10047, 10122, 10123)
    assert len(stored) > 20
    assert await event_log.last_sequence() == len(stored)
    with pytest.raises(LogFull):
        await append_until_stored(event_log, drafts, patience_s=0.0)
    # Somebody makes room, and the same drafts go in.
    configuration = streams.configurations()[0] | {"max_bytes": 2 * MIB}
    await bus.api(f"STREAM.UPDATE.{streams.events}", configuration)
    await append_until_stored(event_log, drafts, patience_s=WITHIN_S)
    assert await event_log.last_sequence() == len(stored) + size
    for one in streams.configurations():
        await bus.api(f"STREAM.DELETE.{one['name']}")


# Damage


@pytest.fixture
async def deletable(bus: Bus) -> AsyncIterator[Streams]:
    """A stream that admits deletion, as if the disk had lost something."""
    streams = own_streams()
    configuration = streams.configurations()[0] | {"deny_delete": False, "deny_purge": False}
    await bus.api(f"STREAM.CREATE.{streams.events}", configuration)
    yield streams
    await bus.api(f"STREAM.DELETE.{streams.events}")


async def test_missing_messages_are_reported_once_and_reading_goes_on(bus: Bus, deletable: Streams) -> None:
    event_log = JetStreamLog(bus, deletable)
    drafts = [cancelled() for _ in range(10)]
    await event_log.append(drafts)
    for sequence in (1, 4, 5, 9):
        await bus.api(f"STREAM.MSG.DELETE.{deletable.events}", {"seq": sequence})
    async with await event_log.reader() as reader:
        found: list[Recorded] = []
        damage: list[tuple[int, int]] = []
        while len(found) < 6:
            found += await reader.next(5.0)
            damage += reader.damage()
        assert [recorded.sequence for recorded in found] == [2, 3, 6, 7, 8, 10]
        assert damage == [(1, 1), (4, 5), (9, 9)]
        assert reader.damage() == []
    assert not await verify_position(event_log, Position(9, drafts[8].envelope.id))
    async with await event_log.reader(0, ("task.t1.*",)) as reader:
        filtered: list[Recorded] = []
        while len(filtered) < 6:
            filtered += await reader.next(5.0)
        assert len(filtered) == 6
        assert reader.damage() == [], "with a filter, missing sequences prove nothing"


async def test_the_log_itself_admits_no_deletion(bus: Bus, streams: Streams, log: JetStreamLog) -> None:
    await log.append([cancelled()])
    for verb, body in (("MSG.DELETE", {"seq": 1}), ("PURGE", {})):
        with pytest.raises(BrokerRefused):
            await bus.api(f"STREAM.{verb}.{streams.events}", body)
    assert await log.last_sequence() == 1


async def test_existing_streams_are_left_alone(bus: Bus, streams: Streams, log: JetStreamLog) -> None:
    await log.append([cancelled()])
    await ensure_streams(bus, Streams(namespace=streams.namespace, events_bytes_max=MIB))
    assert await log.last_sequence() == 1


# Heartbeats


async def test_heartbeats_come_in_order_and_only_from_their_own_worker(bus: Bus, streams: Streams) -> None:
    reader = await HeartbeatReader.start(bus, streams)
    beats = [
        Heartbeat(worker_id=f"w{number % 2}", incarnation=1, beat=number, sent_at=MOMENT, running=("t1",))
        for number in range(1, 7)
    ]
    for beat in beats:
        await send_heartbeat(bus, streams, beat)
    foreign = b'{"worker_id":"w1","incarnation":1,"beat":9,"sent_at":"2026-01-01T00:00:00Z"}'
    await bus.request(streams.heartbeat_subject("w0"), foreign)
    await bus.request(streams.heartbeat_subject("w0"), b"garbage")
    found: list[RecordedHeartbeat] = []
    while len(found) < 8:
        found += await reader.next(5.0)
    assert [recorded.heartbeat for recorded in found] == [*beats, None, None]
    assert [recorded.sequence for recorded in found] == list(range(1, 9))
    assert reader.sequence == 8
    assert reader.caught_up
    await reader.close()


# The lease


def candidate(bus: Bus, streams: Streams, name: str) -> Lease:
    return Lease(bus, streams, LeaseHolder(name, new_id()), ttl_s=1)


async def eventually(ask: Callable[[], Any], what: str) -> None:
    await until(ask, 10.0, what)


async def test_one_of_two_candidates_holds_the_lease(bus: Bus, streams: Streams) -> None:
    one, two = candidate(bus, streams, "c1"), candidate(bus, streams, "c2")
    assert await one.acquire_or_renew()
    assert not await two.acquire_or_renew()
    assert (one.held, two.held) == (True, False)
    # Renewed, it outlasts its time to live.
    loop = asyncio.get_running_loop()
    end = loop.time() + 1.5 * one.ttl_s

    async def outlasted() -> bool:
        assert await one.acquire_or_renew()
        assert not await two.acquire_or_renew()
        return loop.time() >= end

    await eventually(outlasted, "more than its time to live")
    assert one.held


async def test_a_lease_that_is_not_renewed_expires(side: Side, bus: Bus, streams: Streams) -> None:
    second = await side.connect("second")
    one, two = candidate(bus, streams, "c1"), candidate(second, streams, "c2")
    assert await one.acquire_or_renew()
    overlaps = []

    async def taken() -> bool:
        acquired = await two.acquire_or_renew()
        overlaps.append(acquired and one.held)
        return acquired

    await eventually(taken, "the lease to expire")
    assert not any(overlaps), "the old holder stops before a new one can begin"
    assert not await one.acquire_or_renew()
    assert two.held


async def test_a_released_lease_is_soon_free(bus: Bus, streams: Streams) -> None:
    one, two = candidate(bus, streams, "c1"), candidate(bus, streams, "c2")
    assert await one.acquire_or_renew()
    await one.release()
    assert not one.held
    await one.release()
    await eventually(two.acquire_or_renew, "the lease")
    await one.release()
    assert two.held
    assert await two.acquire_or_renew()


async def test_two_processes_of_one_name_are_two_candidates(bus: Bus, streams: Streams) -> None:
    one, two = candidate(bus, streams, "c1"), candidate(bus, streams, "c1")
    results = await asyncio.gather(one.acquire_or_renew(), two.acquire_or_renew())
    assert sorted(results) == [False, True]


async def test_without_the_broker_a_holder_stays_one_until_its_time_is_over(mortal: Mortal) -> None:
    bus = await mortal.connect("test")
    streams = own_streams()
    await ensure_streams(bus, streams)
    now = 100.0
    lease = Lease(bus, streams, LeaseHolder("c1", new_id()), ttl_s=1, monotonic=lambda: now)
    assert await lease.acquire_or_renew()
    await mortal.stop()
    assert not await lease.acquire_or_renew()
    before = lease.held
    now += lease.ttl_s - lease.margin_s
    assert (before, lease.held) == (True, False)
    await lease.release()
    await bus.close()
