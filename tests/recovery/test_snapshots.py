"""Which snapshot is begun from, and why not another one; what is begun from it goes on as if the log had been read."""

import asyncio
import hashlib
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from events.ending import ended
from events.envelope import Recorded
from events.errors import BrokerRefused, LogError, ObjectDamaged, Unacknowledged
from events.memory import MemoryLog, MemoryReader
from events.objects import MemoryObjects
from events.task import TaskAssigned, TaskAttemptFinished, TaskCompleted
from recovery.consumer import RecoveryConsumer
from recovery.core import State, observe
from recovery.frozen import freeze, thaw
from recovery.snapshots import (
    STATE,
    Header,
    HeartbeatPlace,
    Search,
    Seeker,
    Unusable,
    compose,
    name_of,
    parse,
    search_patiently,
    version_of,
)
from tests.recovery.facts_of import differences
from tests.recovery.leader import Farm
from tests.recovery.story import Story, folded, registered, submitted
from tests.waiting import event_in, is_kind, until

CODE = version_of("recovery")


class Shelf:
    """The log of a story, and snapshots of it."""

    def __init__(self) -> None:
        self.objects = MemoryObjects()
        self.story = Story()
        self.story.join("w1", "w2")
        self.story.tell(*(submitted(f"t{number}") for number in range(6)))
        self.log = _log_of(self.story)
        self.heartbeats = HeartbeatPlace(stands=True, time_ns=7)
        self.asked: list[tuple[int, float]] = []

    def state(self, events: int) -> State:
        """With all heartbeats."""
        return folded(self.story.records[:events], self.story.beats)

    def header(self, folded_to: int, **fields: Any) -> Header:
        state = self.state(folded_to)
        return Header(
            **{
                "namespace": "resurgam",
                "version": CODE,
                "events": folded_to,
                "event_id": self.story.records[folded_to - 1].id,
                "heartbeats": state.heartbeats_sequence,
                "heartbeats_at": state.heartbeats_at,
                "taken_at": datetime(2026, 1, 1, tzinfo=UTC),
                "taken_by": "coordinator/c1",
                "size": 0,
                **fields,
            }
        )

    def data(self, folded_to: int, **fields: Any) -> bytes:
        return compose(self.header(folded_to, **fields), {STATE: freeze(self.state(folded_to)), "notes": b"n"})

    def put(self, events: int, data: bytes | None = None) -> str:
        name = name_of(events)
        self.objects.held[name] = self.data(events) if data is None else data
        return name

    async def place_of(self, sequence: int, at: float) -> HeartbeatPlace:
        self.asked.append((sequence, at))
        return self.heartbeats

    async def search(self) -> Search:
        return await Seeker(self.objects, self.log, self.place_of, "resurgam", CODE).search()


class Listed(MemoryLog):
    """Holds just these records."""

    def __init__(self, records: Sequence[Recorded]) -> None:
        super().__init__()
        self._records = list(records)


def _log_of(story: Story) -> MemoryLog:
    return Listed(story.records)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


async def test_without_snapshots_there_is_nothing_to_begin_with(shelf: Shelf) -> None:
    shelf.objects.held["something else"] = b"x"
    assert await shelf.search() == Search(None, ())


async def test_the_newest_is_begun_from(shelf: Shelf) -> None:
    for events in (3, 9, 5):
        shelf.put(events)
    found = (await shelf.search()).beginning
    assert found is not None
    assert (found.position.sequence, found.header.events, found.parts["notes"]) == (9, 9, b"n")
    assert differences(found.state, shelf.state(9)) == []
    assert (found.heartbeats_after, found.heartbeats_after_ns) == (2, 7)
    assert shelf.asked == [(2, shelf.story.beats[-1].time)]


def _damaged(shelf: Shelf) -> dict[str, tuple[bytes, str]]:
    whole = shelf.data(9)
    digest, _, body = whole.partition(b"\n")
    line, _, packed = body.partition(b"\n")

    def signed(body: bytes) -> bytes:
        return hashlib.sha256(body).hexdigest().encode() + b"\n" + body

    longer = msgspec.json.encode({**msgspec.json.decode(line), "size": 1})
    flipped = bytes([body[100] ^ 1])
    return {
        "empty": (b"", "checksum"),
        "cut": (whole[:-1], "checksum"),
        "flipped": (digest + b"\n" + body[:100] + flipped + body[101:], "checksum"),
        "headless": (signed(b"{}\n" + packed), "header cannot be read"),
        "unzipped": (signed(line + b"\n" + b"no zlib"), "cannot be unpacked"),
        "other size": (signed(longer + b"\n" + packed), "in the place of 1"),
        "no parts": (signed(longer + b"\n" + zlib.compress(b"\xc1")), "cannot be unpacked"),
        "no state": (compose(shelf.header(9), {"notes": b""}), "holds no state"),
        "bytes": (compose(shelf.header(9), {STATE: b"junk"}), "not a state of this version"),
        "another's state": (compose(shelf.header(9), {STATE: freeze(shelf.state(8))}), "speaks of another state"),
        "namespace": (shelf.data(9, namespace="other"), "belongs to 'other'"),
        "code": (shelf.data(9, version="0123"), "other code"),
        "lost tail": (shelf.data(9, event_id="another-event"), "does not hold event 9"),
        "ahead": (shelf.data(9, events=900), "does not hold event 900"),
    }


@pytest.mark.parametrize("harm", list(_damaged(Shelf())))
async def test_one_that_is_of_no_use_is_passed_over_for_the_one_before(shelf: Shelf, harm: str) -> None:
    data, reason = _damaged(shelf)[harm]
    older = shelf.put(5)
    newer = shelf.put(9, data)
    found = await shelf.search()
    assert found.beginning is not None
    assert found.beginning.position.sequence == 5
    ((name, why),) = found.passed_over
    assert name == newer
    assert reason in why
    del shelf.objects.held[older]
    assert (await shelf.search()).beginning is None, "then it is the whole log"


async def test_one_that_is_gone_or_damaged_in_the_store_is_passed_over(shelf: Shelf) -> None:
    class Perforated(MemoryObjects):
        async def get(self, name: str) -> bytes | None:
            if name == name_of(9):
                return None
            if name == name_of(8):
                raise ObjectDamaged("1 of 2 chunks are there")
            return await super().get(name)

    holes = Perforated()
    shelf.objects = holes
    for events in (5, 8, 9):
        shelf.put(events)
    found = await shelf.search()
    assert found.beginning is not None
    assert found.beginning.position.sequence == 5
    assert [why for _, why in found.passed_over] == ["it has just been removed", "1 of 2 chunks are there"]


async def test_heartbeats_that_are_not_there_any_more_are_read_anew(shelf: Shelf) -> None:
    """The broker has lost the last of them: events and heartbeats are streams of their own."""
    shelf.put(9)
    shelf.heartbeats = HeartbeatPlace(stands=False, time_ns=9)
    found = (await shelf.search()).beginning
    assert found is not None
    assert found.heartbeats_after == 0
    assert found.heartbeats_after_ns is None
    for beat in shelf.story.beats:
        observe(found.state, beat)
    assert differences(found.state, shelf.state(9)) == []


async def test_a_snapshot_without_heartbeats_asks_for_none(shelf: Shelf) -> None:
    state = folded(shelf.story.records[:9], ())
    header = shelf.header(9, heartbeats=0, heartbeats_at=None)
    shelf.put(9, compose(header, {STATE: freeze(state)}))
    found = (await shelf.search()).beginning
    assert found is not None
    assert (found.heartbeats_after, shelf.asked) == (0, [])


async def test_a_heartbeat_whose_time_is_unknown_cannot_be_compared(shelf: Shelf) -> None:
    """As behind a loss: the fold stands where nothing was read."""
    state = shelf.state(9)
    state.heartbeats_at = None
    shelf.put(9, compose(shelf.header(9, heartbeats_at=None), {STATE: freeze(state)}))
    found = (await shelf.search()).beginning
    assert found is not None
    assert (found.heartbeats_after, found.state.beats, shelf.asked) == (0, {}, [])


class Troubled(MemoryObjects):
    """Its first answers are these errors."""

    def __init__(self, *errors: LogError) -> None:
        super().__init__()
        self.errors = list(errors)

    async def names(self) -> list[str]:
        if self.errors:
            raise self.errors.pop(0)
        return await super().names()


@pytest.mark.parametrize(
    ("errors", "found", "pauses"),
    [
        ([], True, 0),
        ([Unacknowledged("x")], True, 1),
        ([Unacknowledged("x")] * 2, True, 2),
        ([Unacknowledged("x")] * 3, False, 2),
        ([BrokerRefused("x", "there is no such stream")], False, 0),
    ],
)
async def test_a_broker_that_does_not_answer_is_asked_again_and_not_for_ever(
    shelf: Shelf, errors: list[LogError], found: bool, pauses: int
) -> None:
    shelf.objects = Troubled(*errors)
    shelf.put(9)
    paused = []

    async def pause() -> None:
        paused.append(1)

    seeker = Seeker(shelf.objects, shelf.log, shelf.place_of, "resurgam", CODE)
    search = await search_patiently(seeker, tries_max=3, pause=pause)
    assert (search.beginning is not None, len(paused)) == (found, pauses)


def test_names_are_sorted_by_age() -> None:
    assert sorted(map(name_of, (7, 12_000_000_000, 99, 100))) == list(map(name_of, (7, 99, 100, 12_000_000_000)))


def test_another_source_is_another_version() -> None:
    assert version_of("recovery") == CODE
    assert len({CODE, version_of("events"), version_of("recovery", "events"), version_of("recovery.detectors")}) == 4


def test_what_was_composed_is_parsed() -> None:
    shelf = Shelf()
    header, unpack = parse(shelf.data(9))
    assert header == msgspec.structs.replace(shelf.header(9), size=header.size)
    assert set(unpack()) == {STATE, "notes"}
    with pytest.raises(Unusable):
        parse(b"")


# What begins with one


async def test_a_consumer_goes_on_from_a_state_as_if_it_had_read_the_log() -> None:
    farm = Farm()
    first = asyncio.create_task(farm.consumer.run())
    await farm.elect()
    appended = await farm.writer.write(registered("w1", slots=2))
    farm.pulse.beat("w1", appended.last)
    await farm.writer.write([submitted("t1"), submitted("t2")])
    await event_in(farm.log, is_kind(TaskAssigned, task_id="t2"))
    await farm.quiet()
    assert farm.consumer.settled
    position = farm.consumer.position
    assert position == (farm.log.last, farm.log.stored(farm.log.last).id)
    state = thaw(freeze(farm.consumer.state))
    await ended(first)
    second = RecoveryConsumer(
        farm.log,
        MemoryReader(farm.log, position.sequence, ()),
        farm.pulse,
        source="coordinator/c2",
        clock=farm.consumer.clock,
        state=state,
        position=position,
    )
    assert second.position == position
    farm.consumer = second
    running = asyncio.create_task(second.run())
    await farm.elect(nonce="nonce-02")
    await farm.writer.write(
        TaskAttemptFinished(
            task_id="t1", worker_id="w1", incarnation=appended.last, attempt=1, outcome="passed", duration_s=1.0
        )
    )
    await event_in(farm.log, is_kind(TaskCompleted, task_id="t1"))
    await farm.quiet()
    await farm.verified()
    assert differences(second.state, _whole(farm)) == []
    await ended(running)


def _whole(farm: Farm) -> State:
    records = [farm.log.stored(sequence) for sequence in range(1, farm.log.last + 1)]
    return folded(records, farm.pulse.sent)


async def test_a_state_that_nobody_can_check_is_not_settled() -> None:
    """Its last event has no id to be known by, or it has forgotten heartbeats and the log does not say so yet."""
    farm = Farm()
    assert not farm.consumer.settled
    running = asyncio.create_task(farm.consumer.run())
    await farm.writer.write(registered("w1"))
    await until(lambda: farm.consumer.settled, what="an event to be folded")
    farm.log.store_bytes("worker.w1.stopped", b"garbage")
    await until(lambda: not farm.consumer.settled, what="the garbage to be folded")
    await farm.writer.write(submitted("t1"))
    await until(lambda: farm.consumer.settled, what="the next event")
    farm.consumer.forget_beats(7)
    assert not farm.consumer.settled
    await ended(running)
