"""Readers of a stream whose tail the broker has lost: sequences come again, and mean something else.

The real broker is given back an older copy of its store; the simulated one forgets.
"""

import os
import shutil
import signal
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from coordinator.broker import EmbeddedBroker
from events.bus import Bus
from events.connection import Connection
from events.errors import PositionLost
from events.heartbeats import HeartbeatReader, send_heartbeat
from events.jetstream import JetStreamLog, JetStreamReader
from events.stored import stored_message, stream_extent
from events.streams import MIB, Streams, ensure_streams
from events.worker import Heartbeat, RecordedHeartbeat
from tests.events.asking import SOON_S
from tests.events.conftest import REAL, SIMULATED, own_streams
from tests.events.examples import MOMENT, cancelled
from tests.simulation.ordinary import OrdinaryWorld
from tests.waiting import until


class Forgetful(ABC):
    """A broker that dies, and starts again without what it had stored since `remember`."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus

    async def remember(self) -> None:
        """An orderly stop, since a real server that is killed may lose the very last heartbeats."""
        await self._restart(self._stop, self._save)

    async def forget(self) -> None:
        await self._restart(self._kill, self._restore)

    async def _restart(self, end: Callable[[], Awaitable[None]], meanwhile: Callable[[], None]) -> None:
        before = self.bus.reconnections
        await end()
        await until(lambda: not self.bus.connected, SOON_S, "the disconnection")
        meanwhile()
        await self._start()
        await until(lambda: self.bus.reconnections > before and self.bus.connected, SOON_S, "the reconnection")

    @abstractmethod
    async def _stop(self) -> None: ...

    @abstractmethod
    async def _kill(self) -> None: ...

    @abstractmethod
    async def _start(self) -> None: ...

    @abstractmethod
    def _save(self) -> None: ...

    @abstractmethod
    def _restore(self) -> None: ...


class RealForgetful(Forgetful):
    def __init__(self, bus: Bus, broker: EmbeddedBroker, folder: Path) -> None:
        super().__init__(bus)
        self._broker = broker
        self._store, self._copy = broker.folder / "store", folder / "copy"

    async def _stop(self) -> None:
        await self._broker.stop()

    async def _kill(self) -> None:
        assert self._broker.pid is not None
        os.kill(self._broker.pid, signal.SIGKILL)
        await until(lambda: self._broker.pid is None, what="the end of the broker")
        await self._broker.stop()

    async def _start(self) -> None:
        await self._broker.start()

    def _save(self) -> None:
        shutil.copytree(self._store, self._copy)

    def _restore(self) -> None:
        shutil.rmtree(self._store)
        shutil.copytree(self._copy, self._store)


class SimulatedForgetful(Forgetful):
    def __init__(self, bus: Bus, world: OrdinaryWorld) -> None:
        super().__init__(bus)
        self._broker = world.broker
        self._saved_at = 0.0

    async def _stop(self) -> None:
        self._broker.stop()

    async def _kill(self) -> None:
        self._broker.stop()

    async def _start(self) -> None:
        self._broker.start()

    def _save(self) -> None:
        self._saved_at = self._broker.now()

    def _restore(self) -> None:
        for stream in self._broker.streams.values():
            stream.lose_since(self._saved_at)


@pytest.fixture
def streams() -> Streams:
    return own_streams()


@pytest.fixture(params=[REAL, SIMULATED])
async def broker(request: pytest.FixtureRequest, tmp_path: Path, streams: Streams) -> AsyncIterator[Forgetful]:
    if request.param == SIMULATED:
        world = OrdinaryWorld()
        bus: Bus = await world.connect("test")
        await ensure_streams(bus, streams)
        yield SimulatedForgetful(bus, world)
        await bus.close()
        return
    server = EmbeddedBroker(tmp_path / "broker", sync="default")
    await server.start()
    bus = await Connection.connect(server.url, name="test")
    await ensure_streams(bus, streams)
    yield RealForgetful(bus, server, tmp_path)
    await bus.close()
    await server.stop()


async def beat(bus: Bus, streams: Streams, *numbers: int, worker_id: str = "w1") -> int:
    """Sends these heartbeats; the sequence of the last."""
    last = 0
    for number in numbers:
        last = await send_heartbeat(
            bus, streams, Heartbeat(worker_id=worker_id, incarnation=1, beat=number, sent_at=MOMENT)
        )
    return last


def numbers(recorded: list[RecordedHeartbeat]) -> list[int]:
    return [one.heartbeat.beat for one in recorded if one.heartbeat is not None]


async def read_beats(reader: HeartbeatReader, count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        batch = await reader.next(SOON_S)
        assert batch, f"only {found} came"
        found += numbers(batch)
    return found


async def loss(reader: HeartbeatReader) -> tuple[int, list[int]]:
    """What is said of it, and the first heartbeats behind it."""
    batch = await reader.next(SOON_S)
    lost = reader.lost()
    assert lost is not None
    assert reader.lost() is None, "it is said once"
    return lost, numbers(batch)


async def test_heartbeats_go_on_behind_the_end_that_is_left(broker: Forgetful, streams: Streams) -> None:
    """It used to wait for the sequence behind the last one received, and to hear nothing of anybody until then."""
    bus = broker.bus
    reader = await HeartbeatReader.start(bus, streams)
    await beat(bus, streams, 1, 2, 3)
    await broker.remember()
    await beat(bus, streams, 4, 5, 6)
    assert await read_beats(reader, 6) == [1, 2, 3, 4, 5, 6]
    await broker.forget()
    assert await loss(reader) == (3, [])
    assert reader.sequence == 3
    assert await beat(bus, streams, 7) == 4
    assert await read_beats(reader, 1) == [7]
    await reader.close()


async def test_a_stream_that_has_grown_past_the_position_again_is_not_mistaken(
    broker: Forgetful, streams: Streams
) -> None:
    """The reader stands at a sequence that is there, and means another heartbeat."""
    bus = broker.bus
    await beat(bus, streams, 1, 2, 3)
    await broker.remember()
    last = await beat(bus, streams, 4, 5)
    reader = await HeartbeatReader.start(bus, streams)
    assert await read_beats(reader, 5) == [1, 2, 3, 4, 5]
    raw = reader._raw
    subscription, raw._subscription = raw._subscription, None  # it hears nothing for a while
    assert subscription is not None
    await bus.unsubscribe(subscription)
    raw._bus.forget_reconnect(raw._note_reconnection)
    await broker.forget()
    assert await beat(bus, streams, 6, 7, 8) > last
    raw._bus.on_reconnect(raw._note_reconnection)
    raw._renew.set()
    lost, _ = await loss(reader)
    assert lost == 6
    await beat(bus, streams, 9)
    assert await read_beats(reader, 1) == [9]
    await reader.close()


async def test_a_restart_that_loses_nothing_is_no_loss(broker: Forgetful, streams: Streams) -> None:
    bus = broker.bus
    log = JetStreamLog(bus, streams)
    beats, events = await HeartbeatReader.start(bus, streams), await log.reader()
    await beat(bus, streams, 1, 2)
    drafts = [cancelled(), cancelled()]
    await log.append(drafts[:1])
    empty = await log.reader(1, ["task.nobody.*"])
    assert await read_beats(beats, 2) == [1, 2]
    assert [one.id for one in await events.next(SOON_S)] == [drafts[0].envelope.id]
    await broker.remember()
    await beat(bus, streams, 3)
    await log.append(drafts[1:])
    assert await read_beats(beats, 1) == [3]
    assert [one.id for one in await events.next(SOON_S)] == [drafts[1].envelope.id]
    assert beats.lost() is None
    await until(lambda: events.caught_up and beats.caught_up, SOON_S, "the readers to know that they are at the end")
    await log.append([cancelled("nobody")])
    assert [one.sequence for one in await empty.next(SOON_S)] == [3], "that of another subject before it is no matter"
    for reader in (beats, events, empty):
        await reader.close()


async def events_read(reader: JetStreamReader, count: int) -> None:
    while reader.sequence < count:
        assert await reader.next(SOON_S)


async def test_a_reader_of_the_log_does_not_go_on_in_another_story(broker: Forgetful, streams: Streams) -> None:
    bus = broker.bus
    log = JetStreamLog(bus, streams)
    await log.append([cancelled()])
    await broker.remember()
    await log.append([cancelled(), cancelled("t2"), cancelled("t3")])
    whole, filtered = await log.reader(), await log.reader(0, ["task.t2.*"])
    untouched = await log.reader(0, ["task.t1.*"])
    behind = await log.reader(4)
    await events_read(whole, 4)
    await events_read(filtered, 3)
    first = await untouched.next(SOON_S)
    assert first[-1].sequence in (1, 2)
    await broker.forget()
    for reader in (whole, filtered, behind):
        with pytest.raises(PositionLost, match="does not hold message"):
            await reader.next(SOON_S)
        with pytest.raises(PositionLost):
            await reader.next(0.0)
        await reader.close()
    await untouched.close()


async def test_a_reader_whose_last_event_is_left_goes_on(broker: Forgetful, streams: Streams) -> None:
    """What was lost behind it did not concern it."""
    bus = broker.bus
    log = JetStreamLog(bus, streams)
    reader = await log.reader(0, ["task.t1.*"])
    await log.append([cancelled("t1"), cancelled("t2")])
    await events_read(reader, 1)
    await broker.remember()
    await log.append([cancelled("t2"), cancelled("t2")])
    await broker.forget()
    assert (await log.append([cancelled("t1")])).last == 3
    assert [one.sequence for one in await reader.next(SOON_S)] == [3]
    await reader.close()


async def test_what_waits_to_be_read_is_lost_as_well(broker: Forgetful, streams: Streams) -> None:
    bus = broker.bus
    log = JetStreamLog(bus, streams)
    await broker.remember()
    await log.append([cancelled(), cancelled()])
    await beat(bus, streams, 1, 2)
    events, beats = await log.reader(), await HeartbeatReader.start(bus, streams)
    await until(lambda: len(events._raw._buffer) == 2 and len(beats._raw._buffer) == 2, SOON_S, "the deliveries")
    await broker.forget()
    await until(lambda: not events._raw._buffer and not beats._raw._buffer, SOON_S, "the readers to notice")
    with pytest.raises(PositionLost):
        await events.next(SOON_S)
    assert await loss(beats) == (0, [])
    await beat(bus, streams, 3)
    assert await read_beats(beats, 1) == [3]
    await events.close()
    await beats.close()


async def test_heartbeats_that_have_expired_are_not_lost(broker: Forgetful, streams: Streams) -> None:
    bus = broker.bus
    small = Streams(
        namespace=f"{streams.namespace}s", events_bytes_max=MIB, heartbeats_bytes_max=4096, snapshots_bytes_max=MIB
    )
    await ensure_streams(bus, small)
    reader = await HeartbeatReader.start(bus, small)
    await beat(bus, small, 1)
    assert await read_beats(reader, 1) == [1]
    raw = reader._raw
    assert raw._subscription is not None
    await bus.unsubscribe(raw._subscription)
    raw._subscription = None
    sent = 1
    while (await stream_extent(bus, small.heartbeats)).first_seq <= 1:
        sent += 1
        await beat(bus, small, sent)
    first = (await stream_extent(bus, small.heartbeats)).first_seq
    raw._renew.set()
    found = await read_beats(reader, sent - first + 1)
    assert found == list(range(first, sent + 1))
    assert reader.lost() is None
    await reader.close()


async def test_one_message_and_the_extent_of_a_stream(broker: Forgetful, streams: Streams) -> None:
    bus = broker.bus
    extent = await stream_extent(bus, streams.heartbeats)
    assert extent.last_seq == 0
    assert await stored_message(bus, streams.heartbeats, {"seq": 1}) is None
    await beat(bus, streams, 1, 2)
    extent = await stream_extent(bus, streams.heartbeats)
    assert (extent.first_seq, extent.last_seq) == (1, 2)
    reader = await HeartbeatReader.start(bus, streams)
    [_, second] = await reader.next(SOON_S)
    stored = await stored_message(bus, streams.heartbeats, {"seq": 2})
    assert stored is not None
    assert stored.time_ns / 1e9 == second.time
    await reader.close()
