"""The two streams of a system, folded for looking at it: what is there now, and then what comes."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from coordinator.fleet.examine import View
from coordinator.fleet.notes import Notes, Vitals
from coordinator.fleet.questions import broker_time, heartbeats_before, somebody_leads
from events.bus import Bus
from events.clock import ClusterClock
from events.errors import LogError
from events.heartbeats import HeartbeatReader, last_heartbeat
from events.log import EventLog
from events.stored import stream_extent
from events.streams import Streams
from events.worker import RecordedHeartbeat
from recovery.core import State, evolve, forget_beats, observe
from recovery.detectors import ARRIVALS_MAX
from replay.reading import Progress, stretch

WINDOW_MIN_S = 60.0
"""Heartbeats are read from so long ago at least: a farm may send hundreds of millions a day, and a worker is judged by
its latest."""
QUESTIONS_AT_ONCE = 100
"""For the last heartbeat of each that has sent none in that time."""
QUIET_S = 5.0
POLL_S = 1.0


class Farm(NamedTuple):
    bus: Bus
    streams: Streams
    log: EventLog


class Follower:
    """`begin` reads what is there, `follow` goes on with what comes, `view` shows what has been read so far."""

    def __init__(self, farm: Farm) -> None:
        self._farm = farm
        self._clock = ClusterClock()
        self._state = State()
        self._notes = Notes()
        self._vitals = Vitals()
        self._holds_lease = False
        self._answered_at = 0.0

    @property
    def unanswered_s(self) -> float:
        """For how long the broker has not said anything; it is asked every second."""
        return self._clock.monotonic() - self._answered_at

    def view(self) -> View:
        return View(self._state, self._notes, self._vitals, self._clock.now(), self._holds_lease)

    async def begin(self, progress: Progress | None = None) -> None:
        """Folds the log and the recent heartbeats.

        Raises:
            LogError: the broker does not answer.
        """
        async for batch in stretch(self._farm.log, progress=progress):
            for recorded in batch:
                evolve(self._state, recorded)
            self._notes.take(batch)
        await self._look_up()
        policy = self._state.policy
        window = max(WINDOW_MIN_S, 2 * policy.failed_after, (ARRIVALS_MAX + 2) * self._state.rules.heartbeat_interval)
        after = await heartbeats_before(self._farm.bus, self._farm.streams, self._clock.now() - window)
        recent = await self._recent(after)
        heard = {recorded.heartbeat.worker_id for recorded in recent if recorded.heartbeat is not None}
        self._observe([*await self._last_of_silent(heard), *recent])

    async def follow(self) -> None:
        """Until it is cancelled.

        Raises:
            PositionLost: the broker has lost what was read; somebody has to begin again.
            LogError: the connection has been closed.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_events())
            group.create_task(self._follow_heartbeats())
            group.create_task(self._poll())

    async def _follow_events(self) -> None:
        async with await self._farm.log.reader(self._state.events_sequence) as reader:
            while True:
                batch = await reader.next()
                for recorded in batch:
                    evolve(self._state, recorded)
                self._notes.take(batch)

    async def _follow_heartbeats(self) -> None:
        after = self._state.heartbeats_sequence
        reader = await HeartbeatReader.start(self._farm.bus, self._farm.streams, after=after)
        try:
            while True:
                batch = await reader.next()
                lost = reader.lost()
                if lost is not None:
                    forget_beats(self._state, lost)
                    self._vitals.forget()
                self._observe(batch)
        finally:
            await reader.close()

    def _observe(self, batch: Sequence[RecordedHeartbeat]) -> None:
        for recorded in batch:
            observe(self._state, recorded)
        self._vitals.take(batch)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self._look_up()
            except LogError:
                # The broker is away: nobody leads, and the clock goes on by our own.
                self._holds_lease = False

    async def _look_up(self) -> None:
        """What the broker's clock says, and whether somebody has the lease."""
        bus, streams = self._farm.bus, self._farm.streams
        sent_at = self._clock.monotonic()
        self._clock.observe(await broker_time(bus, streams), sent_at=sent_at)
        self._holds_lease = await somebody_leads(bus, streams)
        self._answered_at = self._clock.monotonic()

    async def _recent(self, after: int) -> list[RecordedHeartbeat]:
        last = (await stream_extent(self._farm.bus, self._farm.streams.heartbeats)).last_seq
        taken: list[RecordedHeartbeat] = []
        if after >= last:
            return taken
        reader = await HeartbeatReader.start(self._farm.bus, self._farm.streams, after=after)
        try:
            while reader.sequence < last and not reader.caught_up:
                batch = await reader.next(QUIET_S)
                if not batch:
                    break
                taken.extend(batch)
        finally:
            await reader.close()
        return taken

    async def _last_of_silent(self, heard: set[str]) -> list[RecordedHeartbeat]:
        """The last heartbeats of those that are not among `heard`, in order."""
        silent = [
            worker.worker_id
            for worker in self._state.workers.values()
            if worker.status != "stopped" and worker.worker_id not in heard
        ]
        bus, streams = self._farm.bus, self._farm.streams
        found = []
        for start in range(0, len(silent), QUESTIONS_AT_ONCE):
            some = silent[start : start + QUESTIONS_AT_ONCE]
            answers = await asyncio.gather(*(last_heartbeat(bus, streams, worker_id) for worker_id in some))
            found += [recorded for recorded in answers if recorded is not None]
        return sorted(found, key=lambda recorded: recorded.sequence)
