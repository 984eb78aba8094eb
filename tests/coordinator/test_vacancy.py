"""A leader that is gone is replaced before its lease has run out; one that answers, or has come back, is not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
import pytest

from coordinator.broker import EmbeddedBroker
from coordinator.disconnections import SUBJECT, Advisory, Client
from coordinator.leadership import Leadership
from coordinator.vacancy import VacancyWatch, call_subject, connection_name
from events.bus import Bus, Message
from events.clock import utc
from events.connection import Connection
from events.ending import ended
from events.errors import Unacknowledged
from events.jetstream import JetStreamLog
from events.lease import Held, Lease, LeaseHolder, held_lease
from events.policy import Policy
from events.streams import Streams, ensure_streams
from tests.conftest import STREAM_BYTES_MAX
from tests.waiting import until

LONG_S = 3600
"""Whoever waits for such a lease to run out does not see the end of the test."""
FORGED = "$SYS.ACCOUNT.RESURGAM.DISCONNECT"


@pytest.fixture
async def url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Of a broker that tells of closed connections."""
    broker = EmbeddedBroker(tmp_path_factory.mktemp("broker"), sync="default")
    await broker.start()
    yield broker.url
    await broker.stop()


@pytest.fixture
async def bus(url: str) -> AsyncIterator[Bus]:
    connection = await Connection.connect(url, name=connection_name("c1"))
    yield connection
    await connection.close()


@pytest.fixture
async def streams(bus: Bus) -> Streams:
    made = Streams(
        events_bytes_max=STREAM_BYTES_MAX,
        heartbeats_bytes_max=STREAM_BYTES_MAX,
        snapshots_bytes_max=STREAM_BYTES_MAX,
    )
    await ensure_streams(bus, made)
    return made


async def leader(url: str, streams: Streams, name: str) -> Bus:
    """Holds the lease for an hour, over a connection of its own."""
    own = await Connection.connect(url, name=connection_name(name))
    lease = Lease(own, streams, LeaseHolder(name, "nonce"), ttl_s=LONG_S)
    assert await lease.acquire_or_renew()
    return own


async def answering(url: str, streams: Streams, name: str) -> Bus:
    """One that answers when it is called."""
    own = await leader(url, streams, name)

    async def answer(message: Message) -> None:
        await own.publish(message.reply, name.encode())

    await own.subscribe(call_subject(streams, name), answer)
    await own.flush()
    return own


@contextlib.asynccontextmanager
async def watching(bus: Bus, streams: Streams) -> AsyncIterator[VacancyWatch]:
    """From before there is a leader on."""
    watch = VacancyWatch(bus, streams, "c1")
    await watch.start()
    assert await watch.within(0.0) is None
    yield watch
    await watch.stop()


async def test_a_standby_takes_the_lease_of_one_that_is_gone(url: str, bus: Bus, streams: Streams) -> None:
    """Scenario 16: at once, and not when the lease has run out."""
    first = await answering(url, streams, "c0")
    leadership = Leadership(JetStreamLog(bus, streams), bus, streams, "c1", Policy())
    running = asyncio.create_task(leadership.run())
    await until(lambda: leadership.status().lag == 0, what="the standby to follow")
    assert not leadership.status().leading
    await bus.flush()
    await first.close()
    await until(lambda: leadership.status().leading, what="the standby to lead")
    await ended(running)


async def test_whoever_has_gone_is_named_with_the_lease_that_he_has_left(url: str, bus: Bus, streams: Streams) -> None:
    async with watching(bus, streams) as watch:
        first = await leader(url, streams, "c0")
        await first.close()
        held = await watch.within(10.0)
    assert held is not None
    assert held == await held_lease(bus, streams)
    assert held.holder == LeaseHolder("c0", "nonce")
    assert await Lease(bus, streams, LeaseHolder("c1", "own")).take_from(held)
    assert not await Lease(bus, streams, LeaseHolder("c2", "other")).take_from(held), "one of two standbys wins"


async def test_nobody_else_is_taken_for_the_leader(url: str, bus: Bus, streams: Streams) -> None:
    other = await Connection.connect(url, name=connection_name("c7"))
    worker = await Connection.connect(url, name="agent/c0")
    async with watching(bus, streams) as watch:
        first = await leader(url, streams, "c0")
        await worker.close()
        await other.close()
        await until(watch._told.is_set, what="the advisory")
        assert await watch.within(10.0) is None
    await first.close()


async def _forged(bus: Bus, url: str, advisory: bytes) -> None:
    """By anybody who may write there."""
    stranger = await Connection.connect(url, name="stranger")
    await stranger.publish(FORGED, advisory)
    await stranger.flush()
    await stranger.close()
    await bus.flush()


def _said(name: str, *, stop: float | None) -> bytes:
    return msgspec.json.encode(Advisory(Client(connection_name(name), None if stop is None else utc(stop)), "forged"))


async def test_a_leader_that_answers_keeps_its_lease(url: str, bus: Bus, streams: Streams) -> None:
    async with watching(bus, streams) as watch:
        first = await answering(url, streams, "c0")
        await _forged(bus, url, _said("c0", stop=None))
        await until(watch._told.is_set, what="the advisory")
        assert await watch.within(10.0) is None
    await first.close()


async def test_a_leader_that_has_renewed_since_keeps_its_lease(url: str, bus: Bus, streams: Streams) -> None:
    """It has come back, though it may not listen yet."""
    async with watching(bus, streams) as watch:
        first = await leader(url, streams, "c0")
        held = await held_lease(bus, streams)
        assert held is not None
        await _forged(bus, url, _said("c0", stop=held.renewed_at - 1.0))
        await until(watch._told.is_set, what="the advisory")
        assert await watch.within(10.0) is None
        await _forged(bus, url, _said("c0", stop=held.renewed_at + 1.0))
        assert await watch.within(10.0) == held
    await first.close()


async def test_what_is_no_advisory_is_not_heard(url: str, bus: Bus, streams: Streams) -> None:
    async with watching(bus, streams) as watch:
        for nonsense in (b"", b"{", b'{"client": 7}', _said("c1", stop=None)):
            await _forged(bus, url, nonsense)
        await _forged(bus, url, _said("c0", stop=None))
        await until(watch._told.is_set, what="the only one that counts")
        assert set(watch._closed) == {"c0"}
        assert await watch.within(10.0) is None, "nobody holds the lease: it is there to be taken"


async def test_nothing_is_known_of_a_broker_that_does_not_answer(url: str, bus: Bus, streams: Streams) -> None:
    async with watching(bus, streams) as watch:
        await bus.api(f"STREAM.DELETE.{streams.leases}")
        await _forged(bus, url, _said("c0", stop=None))
        assert await watch.within(10.0) is None


async def test_a_lease_that_nobody_understands_is_nobodys(bus: Bus, streams: Streams) -> None:
    assert await held_lease(bus, streams) is None
    await bus.request(streams.lease_subject, b"{}")
    held: Held | None = await held_lease(bus, streams)
    assert held is None


async def test_it_answers_when_it_is_called(bus: Bus, streams: Streams) -> None:
    async with watching(bus, streams):
        assert await bus.request(call_subject(streams, "c1")) == b"c1"


async def _closed_and_told(bus: Bus, leader: Bus) -> None:
    """The broker notices a closed connection in its own time, and has told of it when this returns."""
    told = asyncio.Event()

    async def hear(_: Message) -> None:
        told.set()

    subscription = await bus.subscribe(SUBJECT, hear)
    await bus.flush()
    await leader.close()
    async with asyncio.timeout(10):
        await told.wait()
    await bus.unsubscribe(subscription)


async def test_a_lease_that_was_left_before_anybody_listened_is_found(url: str, bus: Bus, streams: Streams) -> None:
    first = await leader(url, streams, "c0")
    await _closed_and_told(bus, first)
    watch = VacancyWatch(bus, streams, "c1")
    await watch.start()
    held = await watch.within(10.0)
    assert held is not None
    assert held.holder.coordinator_id == "c0"
    assert await watch.within(0.0) is None, "and asked for once"
    await watch.stop()


@pytest.mark.parametrize("name", ["c0", "c1"])
async def test_a_lease_of_one_that_answers_or_is_of_ones_own_name_is_not(
    url: str, bus: Bus, streams: Streams, name: str
) -> None:
    first = await (answering if name == "c0" else leader)(url, streams, name)
    watch = VacancyWatch(bus, streams, "c1")
    await watch.start()
    assert await watch.within(10.0) is None
    await watch.stop()
    await first.close()


async def test_without_a_broker_it_begins_to_listen_all_the_same(url: str, bus: Bus, streams: Streams) -> None:
    deaf = await Connection.connect(url, name="deaf")

    async def flush(timeout_s: int = 2) -> None:
        raise Unacknowledged("no answer")

    deaf.flush = flush  # type: ignore[method-assign]
    watch = VacancyWatch(deaf, streams, "c8")
    await watch.start()
    await watch.stop()
    await deaf.close()
