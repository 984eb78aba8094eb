"""One suite for every object store: in memory, on the real broker, on the simulated one."""

import base64

import msgspec
import pytest

from events.bus import Bus
from events.errors import BrokerRefused, LogError, LogFull, ObjectDamaged, Unacknowledged
from events.objects import CHUNK_BYTES, MemoryObjects, Objects, ObjectStore, stream_of
from events.streams import MIB, Streams, ensure_streams
from tests.events.asking import code
from tests.events.conftest import _FIXTURES, REAL, SIMULATED, Side, own_streams

NAME = "state.0000000042"
PATTERN = bytes(range(251)) * 2000
"""Longer than three chunks, and no chunk is like another."""


@pytest.fixture(params=["memory", REAL, SIMULATED])
def objects(request: pytest.FixtureRequest) -> Objects:
    if request.param == "memory":
        return MemoryObjects()
    side: Side = request.getfixturevalue(_FIXTURES[request.param])
    return ObjectStore(side.bus, side.streams.snapshots)


@pytest.fixture
def store(side: Side) -> ObjectStore:
    return ObjectStore(side.bus, side.streams.snapshots)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, len(PATTERN)])
async def test_what_was_put_is_got(objects: Objects, size: int) -> None:
    assert await objects.get(NAME) is None
    await objects.put(NAME, PATTERN[:size])
    assert await objects.names() == [NAME]
    assert await objects.get(NAME) == PATTERN[:size]


async def test_one_of_the_same_name_is_replaced(objects: Objects) -> None:
    await objects.put(NAME, PATTERN)
    await objects.put(NAME, b"another")
    assert await objects.get(NAME) == b"another"
    assert await objects.names() == [NAME]


async def test_what_is_removed_is_gone(objects: Objects) -> None:
    for name in ("b", "a", "c d/é"):
        await objects.put(name, name.encode())
    assert await objects.names() == ["a", "b", "c d/é"]
    await objects.remove("b")
    await objects.remove("b")
    await objects.remove("never there")
    assert await objects.names() == ["a", "c d/é"]
    assert await objects.get("b") is None
    assert await objects.get("c d/é") == "c d/é".encode()


async def test_a_sweep_leaves_what_has_a_name(objects: Objects) -> None:
    await objects.put(NAME, PATTERN)
    await objects.sweep()
    assert await objects.get(NAME) == PATTERN


async def test_nothing_is_left_of_what_was_replaced_or_removed(store: ObjectStore, bus: Bus, streams: Streams) -> None:
    await store.put(NAME, PATTERN)
    await store.put(NAME, PATTERN[1:])
    await store.put("other", PATTERN)
    await store.remove(NAME)
    await store.remove("other")
    assert await _messages(bus, streams) == 0


async def test_a_sweep_removes_what_nobody_names(store: ObjectStore, bus: Bus, streams: Streams) -> None:
    """A writer has died before it could say what its chunks are."""
    await store.put(NAME, b"whole")
    await bus.request(f"$O.{streams.snapshots}.C.abandoned", PATTERN[:100])
    assert await _messages(bus, streams) == 3
    await store.sweep()
    assert await _messages(bus, streams) == 2
    assert await store.get(NAME) == b"whole"


async def test_a_lost_chunk_is_noticed(store: ObjectStore, bus: Bus, streams: Streams) -> None:
    await store.put(NAME, PATTERN)
    await bus.api(f"STREAM.MSG.DELETE.{stream_of(streams.snapshots)}", {"seq": 2})
    with pytest.raises(ObjectDamaged, match="3 of 4 chunks are there"):
        await store.get(NAME)


async def test_a_foreign_chunk_is_noticed(store: ObjectStore, bus: Bus, streams: Streams) -> None:
    await store.put(NAME, PATTERN)
    (subject,) = await store._subjects("C")
    await bus.api(f"STREAM.MSG.DELETE.{stream_of(streams.snapshots)}", {"seq": 4})
    await bus.request(subject, PATTERN[:7])
    with pytest.raises(ObjectDamaged, match="not those that were written"):
        await store.get(NAME)


async def test_a_description_that_nobody_can_read_is_damage(store: ObjectStore, bus: Bus, streams: Streams) -> None:
    """Of that object alone."""
    await store.put("another", b"whole")
    encoded = base64.urlsafe_b64encode(NAME.encode()).decode()
    await bus.request(f"$O.{streams.snapshots}.M.{encoded}", b'{"name": 7}')
    await bus.request(f"$O.{streams.snapshots}.M.~", b"{}")
    assert await store.names() == ["another", NAME]
    with pytest.raises(ObjectDamaged, match="cannot be read"):
        await store.get(NAME)
    await store.sweep()
    await store.remove(NAME)
    assert await store.names() == ["another"]
    assert await store.get("another") == b"whole"
    await store.put(NAME, b"anew")
    assert await store.get(NAME) == b"anew"


async def test_without_room_nothing_is_left_behind(side: Side) -> None:
    small = Streams(
        namespace=own_streams().namespace,
        events_bytes_max=MIB,
        heartbeats_bytes_max=MIB,
        snapshots_bytes_max=2 * CHUNK_BYTES,
    )
    await ensure_streams(side.bus, small)
    store = ObjectStore(side.bus, small.snapshots)
    with pytest.raises(LogFull):
        await store.put(NAME, PATTERN)
    assert await store.names() == []
    assert await _messages(side.bus, small) == 0
    await store.put(NAME, b"it fits")
    assert await store.get(NAME) == b"it fits"
    for configuration in small.configurations():
        await side.bus.api(f"STREAM.DELETE.{configuration['name']}")


async def test_what_is_too_large_for_a_message_is_refused(bus: Bus, streams: Streams) -> None:
    """A rollup is taken by this stream alone, and no chunk is larger than chunks are."""
    rollup = {"Nats-Rollup": "sub"}
    assert await code(bus, streams.event_subject("system.leader"), rollup) == 10111
    assert await code(bus, f"$O.{streams.snapshots}.C.x", None, bytes(2 * CHUNK_BYTES)) == 10054


async def test_a_rollup_replaces_what_was_on_its_subject(bus: Bus, streams: Streams) -> None:
    for number in range(3):
        await bus.request(f"$O.{streams.snapshots}.C.x", str(number).encode())
    await bus.request(f"$O.{streams.snapshots}.C.y", b"of another")
    await bus.request(f"$O.{streams.snapshots}.C.x", b"all", {"Nats-Rollup": "sub"})
    assert await _messages(bus, streams) == 2


async def test_no_store_is_an_error_of_the_broker(bus: Bus) -> None:
    store = ObjectStore(bus, "nobodys")
    for question in (store.names(), store.get(NAME), store.remove(NAME), store.sweep()):
        with pytest.raises(BrokerRefused, match="stream not found"):
            await question
    with pytest.raises((BrokerRefused, Unacknowledged)):
        await store.put(NAME, b"x")


async def test_a_broker_that_is_away_is_an_error_and_no_absence(side: Side, streams: Streams) -> None:
    gone = await side.connect("gone")
    await gone.close()
    with pytest.raises(LogError):
        await ObjectStore(gone, streams.snapshots).get(NAME)


async def _messages(bus: Bus, streams: Streams) -> int:
    info = msgspec.json.decode(await bus.api(f"STREAM.INFO.{stream_of(streams.snapshots)}"))
    found: int = info["state"]["messages"]
    return found
