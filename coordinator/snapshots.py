"""The leader writes down now and then what it has folded, so that the next one need not read the whole log."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec
import structlog

from coordinator.capture import NotCaptured, in_a_child
from coordinator.fleet.notes import Notes
from events.bus import Bus
from events.clock import utc
from events.errors import LogError, LogFull
from events.host import host
from events.log import EventLog
from events.objects import Objects
from events.stored import stored_message, stream_extent
from events.streams import Streams
from recovery.consumer import RecoveryConsumer
from recovery.frozen import freeze
from recovery.snapshots import (
    STATE,
    Beginning,
    Header,
    HeartbeatPlace,
    Search,
    Seeker,
    compose,
    name_of,
    search_patiently,
    version_of,
)

log = structlog.get_logger(__name__)

VERSION = version_of("events", "recovery", "coordinator.fleet")
"""Of this program, as far as it decides what a snapshot holds."""
NOTES = "notes"

KEPT_MAX = 3
"""The newest ones: one may turn out to be damaged."""
HEARTBEATS_PER_EVENT = 10
"""So many of them are read in the time that one event takes, more or less."""
SEARCHES_MAX = 5
SEARCH_PAUSE_S = 1.0
LOOK_S = 1.0
PAUSE_S_MIN = 10.0
"""Between two of them, however much is going on: each one costs a processor for a moment."""
FAREWELL_S_MAX = 2.5
FAREWELL_SHARE = 10
"""A leader that ends in order writes one if a tenth of the usual number of events has come since the last."""

Capture = Callable[[Callable[[], bytes]], Awaitable[bytes]]


class Custom(NamedTuple):
    """How snapshots are taken."""

    objects: Objects
    every: int
    """After so many events, or ten times as many heartbeats; 0: never."""
    capture: Capture = in_a_child


async def beginning_of(custom: Custom, event_log: EventLog, bus: Bus, streams: Streams) -> Search:
    """What to begin with, and says so. Returns, if there is nothing that can be had at present, with nothing."""
    if not custom.every:
        return Search(None, ())

    async def place(sequence: int, at: float) -> HeartbeatPlace:
        return await place_of(bus, streams, sequence, at)

    async def pause() -> None:
        await asyncio.sleep(SEARCH_PAUSE_S)

    seeker = Seeker(custom.objects, event_log, place, streams.namespace, VERSION)
    found = await search_patiently(seeker, tries_max=SEARCHES_MAX, pause=pause)
    if found.beginning is None:
        log.info("folding_the_whole_log", snapshots_passed_over=len(found.passed_over))
        return found
    header = found.beginning.header
    log.info(
        "folding_from_a_snapshot",
        events=header.events,
        heartbeats=found.beginning.heartbeats_after,
        taken_at=header.taken_at.isoformat(timespec="seconds"),
        taken_by=header.taken_by,
        snapshots_passed_over=len(found.passed_over),
    )
    return found


def notes_of(beginning: Beginning | None) -> Notes:
    """What goes with it. Nothing is decided by them, so notes that cannot be read are no reason to read the log."""
    if beginning is None or NOTES not in beginning.parts:
        return Notes()
    try:
        return Notes.thaw(beginning.parts[NOTES])
    except msgspec.DecodeError as error:
        log.warning("notes_not_restored", error=str(error))
        return Notes()


class SnapshotKeeper:
    """Takes them for one fold, while that one leads."""

    def __init__(
        self,
        consumer: RecoveryConsumer,
        notes: Notes,
        custom: Custom,
        *,
        namespace: str,
        source: str,
        useless: Sequence[str] = (),
    ) -> None:
        """`useless`: names of snapshots that nobody can begin from."""
        self._consumer = consumer
        self._notes = notes
        self._custom = custom
        self._namespace = namespace
        self._source = source
        self._useless = set(useless)
        self._events = consumer.state.events_sequence
        self._heartbeats = consumer.state.heartbeats_sequence

    async def run(self) -> None:
        """For ever. What goes wrong is said, and costs no more than a longer start some day."""
        while True:
            await asyncio.sleep(LOOK_S)
            if self._custom.every and self._consumer.leading and self._due(self._custom.every):
                await self._take_if_possible()
                await asyncio.sleep(PAUSE_S_MIN)

    async def farewell(self) -> None:
        """The last one, of a consumer that has led and does not run any more: if it can be had soon."""
        if self._custom.every and self._due(max(1, self._custom.every // FAREWELL_SHARE)):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL_S_MAX):
                    await self._take_if_possible()

    def _due(self, every: int) -> bool:
        state = self._consumer.state
        events = state.events_sequence - self._events
        heartbeats = state.heartbeats_sequence - self._heartbeats
        # Sequences of heartbeats begin again when the broker has lost them.
        return (events >= every or not 0 <= heartbeats < every * HEARTBEATS_PER_EVENT) and self._consumer.settled

    async def _take_if_possible(self) -> None:
        try:
            await self.take()
        except LogFull as error:
            remedy = "give the stream more room: nats stream edit --max-bytes"
            log.error("snapshot_not_stored", error=str(error), remedy=remedy)
        except (LogError, NotCaptured) as error:
            log.warning("snapshot_not_stored", error=str(error))

    async def take(self) -> None:
        """Writes one of the state as it is now, and removes those that are too many.

        Raises:
            NotCaptured: there is no memory, or no process, for it.
            LogError: the broker does not take it.
        """
        consumer, objects = self._consumer, self._custom.objects
        state, position, notes = consumer.state, consumer.position, self._notes
        header = Header(
            namespace=self._namespace,
            version=VERSION,
            events=position.sequence,
            event_id=position.event_id,
            heartbeats=state.heartbeats_sequence,
            heartbeats_at=state.heartbeats_at,
            taken_at=utc(consumer.clock.now()),
            taken_by=self._source,
            size=0,
        )
        self._events, self._heartbeats = position.sequence, state.heartbeats_sequence
        began = host().monotonic()
        data = await self._custom.capture(lambda: compose(header, {STATE: freeze(state), NOTES: notes.freeze()}))
        name = name_of(position.sequence)
        await objects.put(name, data)
        log.info("snapshot_taken", snapshot=name, bytes=len(data), took_s=round(host().monotonic() - began, 3))
        await self._clear(name)

    async def _clear(self, newest: str) -> None:
        objects = self._custom.objects
        self._useless.discard(newest)
        others = [name for name in await objects.names() if name != newest and name not in self._useless]
        kept = {newest, *others[len(others) - KEPT_MAX + 1 :]}
        for name in await objects.names():
            if name not in kept:
                await objects.remove(name)
        self._useless.clear()
        await objects.sweep()


async def place_of(bus: Bus, streams: Streams, sequence: int, at: float) -> HeartbeatPlace:
    """Whether HEARTBEATS holds at `sequence` the one that was stored at that time.

    Raises:
        LogError: the broker does not answer, or refuses.
    """
    stored = await stored_message(bus, streams.heartbeats, {"seq": sequence})
    if stored is not None:
        return HeartbeatPlace(stored.time_ns / 1e9 == at, stored.time_ns)
    extent = await stream_extent(bus, streams.heartbeats)
    return HeartbeatPlace(sequence < extent.first_seq <= extent.last_seq + 1)
