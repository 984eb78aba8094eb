"""The consumer: follows the log, keeps one history file equal to it, and makes the file anew when it cannot be.

The file is the only memory. Whatever happens, the next step is found by opening it and asking the log whether it
still holds the event at the file's position.
"""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import structlog

from events.base import Event
from events.bus import Bus
from events.ending import ended
from events.envelope import Recorded
from events.errors import BrokerRefused, LogError, PositionLost, Unacknowledged
from events.log import START, EventLog, Position, verify_position
from events.streams import STREAM_NOT_FOUND
from events.system import LogDamaged, ProjectionRebuilt
from events.writer import Writer
from projections import rebuild
from projections.database import POISON, Database
from projections.errors import ProjectionError, Refused, Unreadable, WriteFailed
from projections.faults import fault
from projections.feed import Feed
from projections.rows import HeartbeatRow
from projections.samples import HeartbeatStream, Place, Sampler

log = structlog.get_logger(__name__)

RETRY_PAUSE_S = 0.2
RETRY_PAUSE_S_MAX = 5.0
WRITE_PATIENCE_S = 5.0
WRITE_TRIES_MAX = 5
"""Without any progress, for whoever waits for the end; a service tries for as long as the disk is full."""
COMMIT_EVERY_S = 0.5
"""A commit costs about the same for one event as for a hundred: under a steady stream they wait for each other."""

R = TypeVar("R")


class Projector:
    """One history file, kept equal to `log`. `run` it once; `stop` ends it in order.

    Without `writer` it only reads the log. With `bus`, the position is verified after every reconnection as well: a
    broker that lost the tail of its
    log in a crash hands out the same sequences again.
    """

    def __init__(
        self,
        path: Path,
        event_log: EventLog,
        writer: Writer | None,
        bus: Bus | None = None,
        heartbeats: HeartbeatStream | None = None,
    ) -> None:
        self.path = path
        self._heartbeats = heartbeats
        self._log = event_log
        self._writer = writer
        self._bus = bus
        self._database: Database | None = None
        self._last = START
        self._rebuild: rebuild.Rebuild | None = None
        self._distrusted: str | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="duckdb")
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        """Somebody waits for a commit."""
        self._stop = asyncio.Event()
        self._adoption: tuple[Path, str, asyncio.Future[int]] | None = None
        self._moved = asyncio.Event()
        self._reconnected = False
        self._look_for_gaps = True
        self._committed_at = 0.0

    @property
    def position(self) -> Position:
        """What is committed; also after the end."""
        return self._last if self._database is None else self._database.position

    @property
    def rebuilding(self) -> str | None:
        """Why the history cannot be asked at the moment; None: it can be."""
        if self._rebuild is not None:
            done = f"{self.position.sequence} of {self._rebuild.target} events"
            return f"the history is being made anew ({done}), for {self._rebuild.reason}"
        return "the history is not open" if self._database is None else None

    def stop(self) -> None:
        """Ends `run` after the transaction under way."""
        self._stop.set()
        self._wake.set()
        self._hurry.set()

    async def run(self, *, until: int | None = None, once: bool = False) -> None:
        """Follows the log until `stop`; with `once` up to its present end, with `until` up to that sequence.

        Raises:
            Refused: the file is not ours, or somebody else has it.
            WriteFailed: with `once` or `until`, the file cannot be written, tried again and again.
            LogError: the log cannot be read at all any more.
        """
        if self._bus is not None:
            self._bus.on_reconnect(self._on_reconnect)
        try:
            goal = await self._log.last_sequence() if once else None
            await self._persist(goal, until, wait_for_stream=not once and until is None)
        finally:
            if self._bus is not None:
                self._bus.forget_reconnect(self._on_reconnect)
            if self._rebuild is not None:
                await self._in_thread(self._rebuild.abandon)
            if self._adoption is not None:
                self._adoption[2].cancel()
            await self._close_database()
            self._thread.shutdown()

    async def _persist(self, goal: int | None, until: int | None, *, wait_for_stream: bool) -> None:
        """Opens and follows, again after everything that may pass."""
        pause, opened, failures = RETRY_PAUSE_S, False, 0
        while not self._stop.is_set():
            before = self.position
            try:
                await self._open()
                opened = True
                if await self._follow(goal, until):
                    return
                continue
            except Unreadable as broken:
                await self._distrust(str(broken))
            except (WriteFailed, Refused) as error:
                failures = 1 if self.position.sequence > before.sequence else failures + 1
                if not opened or (failures > WRITE_TRIES_MAX and not wait_for_stream):
                    raise
                log.warning("history_not_written", path=str(self.path), reason=str(error), retry_s=pause)
                await self._close_database()
                if failures == 1 and isinstance(error, WriteFailed):
                    await self._write(fault(self.path, error.error, str(error)))
            except PositionLost as lost:
                log.warning("log_tail_lost", reason=str(lost))
                continue
            except Unacknowledged as silence:
                if self._bus is not None and self._bus.closed.is_set():
                    raise
                log.warning("log_not_answering", reason=str(silence), retry_s=pause)
            except BrokerRefused as refused:
                if refused.code != STREAM_NOT_FOUND or not wait_for_stream:
                    raise
                log.warning("log_not_there", reason=str(refused), retry_s=pause)
            pause = RETRY_PAUSE_S if self.position.sequence > before.sequence else min(pause * 2, RETRY_PAUSE_S_MAX)
            await self._rest(pause)

    def _on_reconnect(self) -> None:
        self._reconnected = True
        self._wake.set()

    async def _open(self) -> None:
        """Leaves a database that can be continued: the file itself, or the one that is to replace it."""
        self._reconnected = False
        if self._rebuild is None:
            reason, keep = await self._open_file()
            if reason is None:
                return
            log.warning("history_rebuild", path=str(self.path), reason=reason)
            target = await self._log.last_sequence()
            old, self._database = self._database, None
            self._rebuild = rebuild.Rebuild(self.path, reason, old, target, keep)
        if self._database is None:
            self._database = await self._in_thread(self._rebuild.open)
        if not await verify_position(self._log, self._database.position):
            await self._close_database()
            self._database = await self._in_thread(self._rebuild.start_again)

    async def _open_file(self) -> tuple[str | None, str | None]:
        """Why the file has to be made anew (None: it is open and goes on), and what the old one is kept as."""
        if self._distrusted is not None:
            return f"the old file cannot be read: {self._distrusted}", "unreadable"
        if self._database is None:
            try:
                self._database = await self._in_thread(lambda: Database.open(self.path))
            except Unreadable as broken:
                return f"the old file cannot be read: {broken}", "unreadable"
        if self._database.outdated is not None:
            return self._database.outdated, None
        if not await verify_position(self._log, self._database.position):
            sequence = self._database.position.sequence
            return f"the log does not hold the event {sequence} that the old file ends with", "superseded"
        rebuild.forget(self.path)
        return None, None

    async def _follow(self, goal: int | None, until: int | None) -> bool:
        """Applies what comes; True when the end that was asked for is reached, or `stop` was called."""
        assert self._database is not None
        self._announce()
        feed = Feed(await self._log.reader(self._database.position.sequence), self._wake.set)
        sampling = None
        if goal is None and until is None and self._rebuild is None:
            sampling = asyncio.create_task(self._sample(self._database), name="samples of heartbeats")
            sampling.add_done_callback(lambda _: self._wake.set())
        try:
            while not self._stop.is_set():
                self._wake.clear()
                if sampling is not None and sampling.done():
                    sampling.result()
                if self._distrusted is not None and self._rebuild is None:
                    raise Unreadable(self._distrusted)
                if self._adoption is not None:
                    await self._take_over()
                    return False
                if self._reconnected:
                    # What was read ahead may be what the broker has lost: all of it is read again.
                    return False
                if feed.waiting and feed.more_to_come:
                    await feed.gather()
                elif feed.waiting and not feed.plenty and goal is None and until is None and self._rebuild is None:
                    await self._linger()
                batch = feed.take(until)
                self._look_for_gaps |= bool(feed.damage())
                if batch:
                    self._committed_at = asyncio.get_running_loop().time()
                    await self._apply(self._database, batch)
                    self._announce()
                    continue
                if self._rebuild is not None:
                    if feed.exhausted or self._database.position.sequence >= self._rebuild.target:
                        await self._swap(self._rebuild, self._database)
                        return False
                else:
                    reached = self._reached(goal, until, feed)
                    if self._look_for_gaps and (reached or feed.exhausted):
                        await self._report_gaps(self._database)
                    if reached:
                        if goal is not None:
                            await self._sample(self._database, to_end=True)
                        return True
                await self._wake.wait()
            return True
        finally:
            if sampling is not None:
                await ended(sampling)
            await feed.close()

    async def _apply(self, database: Database, batch: list[Recorded]) -> None:
        """Rows are made here and stored in the thread: two threads that run Python at one time hinder each other."""
        await self._in_thread(database.fetch, batch)
        try:
            await self._in_thread(database.store, database.made(batch))
        except POISON as refused:
            await self._in_thread(database.apply_in_parts, batch, refused)

    async def _sample(self, database: Database, *, to_end: bool = False) -> None:
        """What fails on the log's side fails alone: the next opening tries again."""
        if self._heartbeats is None:
            return

        async def store(rows: list[HeartbeatRow], place: Place) -> None:
            await self._in_thread(database.add_samples, rows, place)

        try:
            await Sampler(self._heartbeats, database.heartbeats, store).run(to_end=to_end)
        except LogError as error:
            log.warning("heartbeats_not_sampled", reason=str(error))

    async def _linger(self) -> None:
        """After a pause in the stream the next commit comes at once, in a steady stream every `COMMIT_EVERY_S`."""
        pause = self._committed_at + COMMIT_EVERY_S - asyncio.get_running_loop().time()
        if pause > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._hurry.wait()
        self._hurry.clear()

    def _announce(self) -> None:
        """Wakes everybody who waits for the position to move."""
        self._moved.set()
        self._moved = asyncio.Event()

    def _reached(self, goal: int | None, until: int | None, feed: Feed) -> bool:
        sequence = self.position.sequence
        if goal is not None and (sequence >= goal or feed.exhausted):
            return True
        return until is not None and (sequence >= until or feed.waiting)

    async def _swap(self, work: rebuild.Rebuild, new: Database) -> None:
        through = new.position.sequence
        self._database = None
        await self._in_thread(work.swap, new)
        self._rebuild, self._distrusted = None, None
        log.info("history_rebuilt", path=str(self.path), through=through)
        await self._write(
            ProjectionRebuilt(path=str(self.path), reason=work.reason, through=through, started_at=work.started_at)
        )

    async def _report_gaps(self, database: Database) -> None:
        """Says once what the log has lost; what cannot be said now is found again at the next start."""
        self._look_for_gaps = False
        for first, last in await self._in_thread(database.unreported_gaps):
            log.error("log_damaged", first=first, last=last)
            await self._write(LogDamaged(first=first, last=last, noticed_by=f"projections of {self.path.name}"))

    async def _write(self, event: Event) -> None:
        if self._writer is None:
            return
        try:
            await self._writer.write(event, patience_s=WRITE_PATIENCE_S)
        except LogError as error:
            log.warning("event_not_written", kind=type(event).__name__, reason=str(error))

    async def _distrust(self, reason: str) -> None:
        log.error("history_unreadable", path=str(self.path), reason=reason)
        await self._close_database()
        await self._write(fault(self.path, "database", reason))
        if self._rebuild is None:
            self._distrusted = reason
        else:
            await self._in_thread(self._rebuild.distrust)

    async def _rest(self, pause_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._stop.wait()

    async def wait_for(self, sequence: int, timeout_s: float) -> bool:
        """Waits until the event at `sequence` is committed; False: it was not in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.position.sequence < sequence or self._rebuild is not None:
                    self._hurry.set()
                    await self._moved.wait()
        return self.position.sequence >= sequence and self._rebuild is None

    @property
    def copied(self) -> Position | None:
        """How far a copy would go that was published now; None: there can be none."""
        database = self._database if self._rebuild is None else self._rebuild.answering
        return None if database is None else database.position

    async def publish(self, target: Path) -> Position:
        """Copies the tables as they stand between two batches into the file `target`, replacing it in one step. While
        the history is made anew, those are the old tables.

        Raises:
            WriteFailed: there is no room for it, or no history at the moment.
        """
        try:
            while (published := await self._in_thread(self._publish, target)) is None:
                pass  # between the pieces of a copy, batches are stored
            return published
        except Unreadable as broken:
            self._distrusted = str(broken)
            self._wake.set()
            raise WriteFailed("the history is damaged and will be made anew") from broken

    def _publish(self, target: Path) -> Position | None:
        database = self._database if self._rebuild is None else self._rebuild.answering
        if database is None:
            raise WriteFailed(self.rebuilding or "the history is not open")
        return database.publish_soon(target)

    async def adopt(self, made: Path, reason: str) -> int:
        """Goes on with a file that somebody else has made from the log, in place of the present one; how far it went.

        Raises:
            ProjectionError: it is not one that could be continued; everything stays as it was.
        """
        if self._adoption is not None or self._rebuild is not None or self._database is None:
            raise WriteFailed(self.rebuilding or "the history is being replaced already")
        self._adoption = (made, reason, asyncio.get_running_loop().create_future())
        self._wake.set()
        return await self._adoption[2]

    async def _take_over(self) -> None:
        """Between two batches, and with what has come since: nobody sees the history go back."""
        assert self._adoption is not None
        assert self._database is not None
        (made, reason, answer), self._adoption = self._adoption, None
        try:
            new = await rebuild.caught_up(made, self._log, self._database.position.sequence, self._in_thread)
            work = rebuild.Rebuild(self.path, reason, self._database, new.position.sequence, None, made)
            await self._swap(work, new)
        except (ProjectionError, LogError) as error:
            answer.set_exception(error)
        else:
            answer.set_result(work.target)

    async def _close_database(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            self._last = database.position
            await self._in_thread(database.close)

    async def _in_thread(self, function: Callable[..., R], *arguments: object) -> R:
        """All that touches DuckDB runs in one thread, one after another."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
