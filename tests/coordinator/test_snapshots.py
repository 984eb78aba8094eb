"""When a leader writes down what it has folded, what is kept of that, and what the next one makes of it."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import psutil
import pytest
import structlog

from coordinator import capture, snapshots
from coordinator.capture import NotCaptured, in_a_child
from coordinator.fleet.notes import Notes
from coordinator.leadership import Leadership
from coordinator.snapshots import KEPT_MAX, VERSION, Custom, SnapshotKeeper, beginning_of, notes_of, place_of
from events.bus import Bus
from events.ending import ended
from events.errors import LogError, LogFull, Unacknowledged
from events.heartbeats import HeartbeatReader, send_heartbeat
from events.jetstream import JetStreamLog
from events.objects import MemoryObjects, ObjectStore, stream_of
from events.policy import Policy
from events.streams import Streams
from events.system import LeaderElected
from events.task import TaskAssigned
from events.worker import Heartbeat, WorkerExited, WorkerFailed
from events.writer import Writer
from recovery.core import State
from recovery.snapshots import STATE, parse
from replay.beats import StreamBeats
from replay.fold import fold
from tests.chaos.farm import until_true
from tests.events.examples import MOMENT
from tests.recovery.facts_of import differences
from tests.recovery.leader import Farm
from tests.recovery.story import registered, submitted
from tests.waiting import event_in, is_kind, until


async def at_once(make: Callable[[], bytes]) -> bytes:
    return make()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "LOOK_S", 0.01)
    monkeypatch.setattr(snapshots, "PAUSE_S_MIN", 0.01)
    monkeypatch.setattr(snapshots, "SEARCH_PAUSE_S", 0.01)


# Writing them


class Desk:
    """A leader over a log in memory, and its keeper of snapshots."""

    def __init__(self, every: int, objects: MemoryObjects | None = None, useless: Sequence[str] = ()) -> None:
        self.farm = Farm()
        self.objects = objects or MemoryObjects()
        custom = Custom(self.objects, every, at_once)
        self.keeper = SnapshotKeeper(
            self.farm.consumer, Notes(), custom, namespace="n", source="coordinator/c1", useless=useless
        )
        self._submitted = 0

    async def more(self, count: int) -> None:
        """So many events, and what follows from them."""
        names = [f"t{self._submitted + number}" for number in range(count)]
        self._submitted += count
        await self.farm.writer.write([submitted(name) for name in names])
        await self.farm.quiet()


@contextlib.asynccontextmanager
async def running(desk: Desk, *, keeping: bool = False) -> AsyncIterator[Desk]:
    tasks = [asyncio.create_task(desk.farm.consumer.run())]
    if keeping:
        tasks.append(asyncio.create_task(desk.keeper.run()))
    try:
        yield desk
    finally:
        await ended(*tasks)


async def test_a_leader_writes_one_when_enough_has_come() -> None:
    async with running(Desk(every=10), keeping=True) as desk:
        await desk.more(20)
        assert not desk.objects.held, "somebody else's matter"
        await desk.farm.elect()
        (name,) = await until(lambda: list(desk.objects.held), what="a snapshot")
        header, unpack = parse(desk.objects.held[name])
        assert (header.namespace, header.version, header.taken_by) == ("n", VERSION, "coordinator/c1")
        assert header.events > 20
        assert set(unpack()) == {STATE, "notes"}
        await desk.more(2)
        await desk.more(20)
        await until(lambda: len(desk.objects.held) == 2, what="another one")


async def test_heartbeats_alone_are_a_reason_too() -> None:
    async with running(Desk(every=5), keeping=True) as desk:
        await desk.farm.elect()
        appended = await desk.farm.writer.write(registered("w1"))
        await desk.more(5)
        await until(lambda: desk.objects.held, what="the first one")
        before = desk.keeper._heartbeats
        for _ in range(60):
            desk.farm.pulse.beat("w1", appended.last)
        await until(lambda: desk.keeper._heartbeats > before, what="the next one")
        assert desk.farm.consumer.state.events_sequence - desk.keeper._events < 5


async def test_none_are_written_where_none_are_wanted() -> None:
    async with running(Desk(every=0), keeping=True) as desk:
        await desk.farm.elect()
        await desk.more(30)
        await desk.keeper.farewell()
        assert not desk.objects.held


async def test_an_orderly_end_leaves_one_if_it_is_worth_it() -> None:
    async with running(Desk(every=100)) as desk:
        await desk.more(5)
        await desk.keeper.farewell()
        assert not desk.objects.held
        await desk.more(10)
        await desk.keeper.farewell()
        assert len(desk.objects.held) == 1


async def test_an_end_is_not_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf(MemoryObjects):
        async def put(self, name: str, data: bytes) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr(snapshots, "FAREWELL_S_MAX", 0.01)
    async with running(Desk(every=10, objects=Deaf())) as desk:
        await desk.more(15)
        await desk.keeper.farewell()


async def test_only_the_newest_are_kept() -> None:
    async with running(Desk(every=10)) as desk:
        desk.objects.held["from somebody else"] = b""
        for _ in range(KEPT_MAX + 2):
            await desk.more(3)
            await desk.keeper.take()
        names = await desk.objects.names()
        assert len(names) == KEPT_MAX
        assert max(names) == max(name for name in names if name.startswith("state."))


async def test_those_that_nobody_can_begin_from_make_room_first() -> None:
    """A log that has lost its tail is shorter than what had been folded of it, and the newest look oldest."""
    useless = [f"state.{number:016}" for number in (900, 950, 999)]
    objects = MemoryObjects()
    objects.held = dict.fromkeys(useless, b"")
    async with running(Desk(every=10, objects=objects, useless=useless)) as desk:
        await desk.more(3)
        await desk.keeper.take()
        (name,) = await objects.names()
        assert name not in useless


class Refusing(MemoryObjects):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def put(self, name: str, data: bytes) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "level"), [(LogFull("x", "full", 10077), "error"), (Unacknowledged("no answer"), "warning")]
)
async def test_one_that_cannot_be_stored_is_said_and_harms_nobody(error: Exception, level: str) -> None:
    with structlog.testing.capture_logs() as logs:
        async with running(Desk(every=10, objects=Refusing(error)), keeping=True) as desk:
            await desk.farm.elect()
            await desk.more(15)
            await until(lambda: [one for one in logs if one["event"] == "snapshot_not_stored"], what="a word about it")
            await desk.more(3)
    assert {one["log_level"] for one in logs if one["event"] == "snapshot_not_stored"} == {level}


# Out of a copy of the process


async def test_a_child_writes_down_what_its_parent_held_in_that_moment() -> None:
    held = ["before"]
    written = asyncio.create_task(in_a_child(lambda: ",".join(held).encode() * 100_000))
    await asyncio.sleep(0)
    held.append("after")
    assert await written == b"before" * 100_000


async def test_a_child_that_fails_is_told_of() -> None:
    def broken() -> bytes:
        raise ValueError("no such thing")

    with pytest.raises(NotCaptured, match="the child process failed: ValueError: no such thing"):
        await in_a_child(broken)

    def killed() -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        return b""

    with pytest.raises(NotCaptured, match="it ended with code -9"):
        await in_a_child(killed)


async def test_without_room_for_a_process_there_is_no_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork(*_: object, **__: object) -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(capture, "fork", fork)
    with pytest.raises(NotCaptured, match="Resource temporarily unavailable"):
        await in_a_child(bytes)


async def test_a_child_does_not_outlive_whoever_waits_for_it() -> None:
    reading, writing = os.pipe()
    before = psutil.Process().children()

    def hang() -> bytes:
        while True:
            os.read(reading, 1)

    waiting = asyncio.create_task(in_a_child(hang))
    await asyncio.sleep(0)
    await ended(waiting)
    os.close(reading)
    os.close(writing)
    assert psutil.Process().children() == before


# What becomes of them


@pytest.fixture
def custom(bus: Bus, streams: Streams) -> Custom:
    return Custom(ObjectStore(bus, streams.snapshots), 10)


@contextlib.asynccontextmanager
async def coordinator(
    log: JetStreamLog, bus: Bus, streams: Streams, custom: Custom, name: str
) -> AsyncIterator[Leadership]:
    leadership = Leadership(log, bus, streams, name, Policy(), snapshots=custom)
    task = asyncio.create_task(leadership.run())
    try:
        await until(lambda: leadership.status().leading, 30.0, what=f"{name} to lead")
        yield leadership
    finally:
        await ended(task)


def _state(leadership: Leadership) -> State:
    assert leadership._consumer is not None
    return leadership._consumer.state


async def _written(custom: Custom) -> None:
    async def there() -> bool:
        return bool(await custom.objects.names())

    await until_true(there, 10.0, "a snapshot")


async def _beat(bus: Bus, streams: Streams, worker_id: str, incarnation: int) -> int:
    heartbeat = Heartbeat(worker_id=worker_id, incarnation=incarnation, beat=1, sent_at=MOMENT)
    return await send_heartbeat(bus, streams, heartbeat)


async def _work(log: JetStreamLog, bus: Bus, streams: Streams) -> int:
    """A worker with more tasks than it has room for; its incarnation."""
    writer = Writer(log, "test")
    appended = await writer.write(registered("w1", slots=2))
    await _beat(bus, streams, "w1", appended.last)
    await writer.write([submitted(f"t{number}") for number in range(30)])
    await event_in(log, is_kind(TaskAssigned))
    return appended.last


async def test_a_successor_begins_where_its_predecessor_stopped(
    log: JetStreamLog, bus: Bus, streams: Streams, custom: Custom
) -> None:
    """Scenario 16: in the middle of a recovery. What it decides on top of a snapshot is what the whole log asks for."""
    async with coordinator(log, bus, streams, custom, "c1"):
        incarnation = await _work(log, bus, streams)
        await Writer(log, "test").write(WorkerExited(worker_id="w1", incarnation=incarnation, signal=9))
        await event_in(log, is_kind(WorkerFailed))
        await _written(custom)
    with structlog.testing.capture_logs() as logs:
        async with coordinator(log, bus, streams, custom, "c2") as second:
            await event_in(log, is_kind(LeaderElected, coordinator_id="c2"))
            state = _state(second)
            await until(lambda: second.status().lag == 0 and not state.orphaned, what="what is owed")
            await until(lambda: state.heartbeats_sequence, what="the heartbeat")
            health = await second.fleet(None)
            assert health is not None
            (worker,) = health.workers
            assert worker.failure is not None, "and people are still told why"
            assert worker.failure.signal == 9
    async with StreamBeats(bus, streams) as beats:
        whole = await fold(log, at=state.events_sequence, beats=beats)
    assert whole.trends
    assert differences(whole, state) == []
    (told,) = [one for one in logs if one["event"] == "folding_from_a_snapshot"]
    assert told["taken_by"] == "coordinator/c1"
    assert told["events"] > 30


async def test_a_damaged_snapshot_costs_no_more_than_time(
    log: JetStreamLog, bus: Bus, streams: Streams, custom: Custom
) -> None:
    async with coordinator(log, bus, streams, custom, "c1"):
        await _work(log, bus, streams)
        await _written(custom)
    for name in await custom.objects.names():
        data = await custom.objects.get(name)
        assert data is not None
        await custom.objects.put(name, data[:-1] + bytes([data[-1] ^ 1]))
    with structlog.testing.capture_logs() as logs:
        async with coordinator(log, bus, streams, custom, "c2") as second:
            assert len(_state(second).tasks) == 30
            await Writer(log, "test").write([submitted(f"more-{number}") for number in range(12)])
            await until(lambda: [one for one in logs if one["event"] == "snapshot_taken"], what="one that is whole")
    assert [one for one in logs if one["event"] == "snapshot_passed_over"]
    assert [one for one in logs if one["event"] == "folding_the_whole_log"]


async def test_heartbeats_are_compared_by_their_time(bus: Bus, streams: Streams) -> None:
    sequence = await _beat(bus, streams, "w1", 7)
    stands = await place_of(bus, streams, sequence, 1.0)
    assert (stands.stands, stands.time_ns is not None) == (False, True), "another one stands there"
    assert stands.time_ns is not None
    assert (await place_of(bus, streams, sequence, stands.time_ns / 1e9)).stands
    assert not (await place_of(bus, streams, sequence + 1, 1.0)).stands, "it is lost"
    await _beat(bus, streams, "w1", 7)
    await bus.api(f"STREAM.PURGE.{streams.heartbeats}", {"seq": sequence + 1})
    assert (await place_of(bus, streams, sequence, 1.0)).stands, "it has expired"


async def test_a_reader_of_heartbeats_begins_with_the_one_it_knows(
    log: JetStreamLog, bus: Bus, streams: Streams
) -> None:
    for _ in range(3):
        last = await _beat(bus, streams, "w1", 7)
    known = (await place_of(bus, streams, 2, 0.0)).time_ns
    assert known is not None
    right = await HeartbeatReader.start(bus, streams, after=2, after_ns=known)
    assert [one.sequence for one in await right.next(5.0)] == [last]
    assert right.lost() is None
    wrong = await HeartbeatReader.start(bus, streams, after=2, after_ns=known + 1)
    lost: list[int] = []

    async def told() -> bool:
        await wrong.next(0.05)
        if (through := wrong.lost()) is not None:
            lost.append(through)
        return bool(lost)

    await until_true(told, 10.0, "the loss to be noticed")
    assert lost == [last]
    for reader in (right, wrong):
        await reader.close()


async def test_without_a_store_the_whole_log_is_folded(log: JetStreamLog, bus: Bus, streams: Streams) -> None:
    """As of a system that was set up before there were snapshots, by somebody who keeps its streams."""
    await bus.api(f"STREAM.DELETE.{stream_of(streams.snapshots)}")
    custom = Custom(ObjectStore(bus, streams.snapshots), 10)
    assert (await beginning_of(custom, log, bus, streams)).beginning is None
    await bus.api(
        f"STREAM.CREATE.{stream_of(streams.snapshots)}",
        next(one for one in streams.configurations() if one["name"] == stream_of(streams.snapshots)),
    )


def test_notes_go_with_a_snapshot() -> None:
    assert notes_of(None).workers == {}
    with structlog.testing.capture_logs() as logs:
        beginning: Any = type("Beginning", (), {"parts": {"notes": b"junk"}})
        assert notes_of(beginning).workers == {}
    assert [one["event"] for one in logs] == ["notes_not_restored"]


async def test_what_was_written_is_not_read_where_none_are_wanted(
    log: JetStreamLog, bus: Bus, streams: Streams
) -> None:
    class Unasked(MemoryObjects):
        async def names(self) -> list[str]:
            raise LogError("nobody wanted to know")

    assert (await beginning_of(Custom(Unasked(), 0), log, bus, streams)).beginning is None
