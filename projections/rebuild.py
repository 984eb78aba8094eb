"""Making a history file anew beside the one that cannot be continued, and putting it in its place."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import duckdb
import structlog

from events.clock import utc
from events.host import host
from events.log import EventLog, verify_position
from projections.database import Database
from projections.errors import Unreadable, WriteFailed
from projections.files import beside, move_aside, remove, write_ahead_log

log = structlog.get_logger(__name__)

SUFFIX = ".rebuild"


def forget(path: Path) -> None:
    """Removes what an interrupted rebuild has left, once the file itself turned out to be good."""
    remove(beside(path, SUFFIX))


class Rebuild:
    """`old` is the file that stays open, and so locked, until it is replaced; None: it could not be opened. `made` is
    the new file where it is made by somebody else.

    `keep` names what the old file is kept as, `<path>.<keep>-<UTC time>`; None: it is replaced, for the log holds all
    that it held.
    """

    def __init__(
        self, path: Path, reason: str, old: Database | None, target: int, keep: str | None, made: Path | None = None
    ) -> None:
        self.path = path
        self._beside = made or beside(path, SUFFIX)
        self.reason = reason
        self.target = target
        self.started_at = utc(host().wall())
        self._old = old
        self._keep = keep

    @property
    def answering(self) -> Database | None:
        """The old file, where its tables may go on answering."""
        return None if self._keep else self._old

    def open(self) -> Database:
        """The new file, as far as an earlier start has brought it."""
        try:
            database = Database.open(self._beside)
        except Unreadable:
            return self.start_again()
        if database.outdated is None:
            return database
        database.close()
        return self.start_again()

    def start_again(self) -> Database:
        remove(self._beside)
        return Database.open(self._beside)

    def distrust(self) -> None:
        remove(self._beside)

    def swap(self, new: Database) -> None:
        """Closes both files and puts the new one in place of the old one, in one step.

        Raises:
            WriteFailed: nothing is lost; open the new file again and repeat.
        """
        if self._old is not None and self._keep is None:  # it is kept where it is another log's
            self._hand_down_samples(self._old, new)
        new.close()
        if self._old is not None:
            self._old.close()
            self._old = None
        if write_ahead_log(self._beside).exists():
            raise WriteFailed(f"{self._beside}: could not be completed")
        try:
            if self._keep is not None and self.path.exists():
                aside = move_aside(self.path, self._keep)
                log.warning("history_kept_aside", path=str(aside), reason=self.reason)
            # The old file's log would be replayed into the new file.
            write_ahead_log(self.path).unlink(missing_ok=True)
            os.replace(self._beside, self.path)  # noqa: PTH105  (the step that makes it so, by its own name)
        except OSError as error:
            raise WriteFailed(f"{self.path}: {error.strerror or error}") from error

    def _hand_down_samples(self, old: Database, new: Database) -> None:
        """What cannot be made anew from the log. Where it cannot be taken over, the stream still has a day of it."""
        exported = beside(self._beside, ".samples")
        try:
            new.take_samples(exported, old.export_samples(exported))
        except (duckdb.Error, WriteFailed, Unreadable) as error:
            log.warning("samples_lost", path=str(self.path), reason=str(error))
        finally:
            exported.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Gives the old file back untouched; the new one stays for the next start."""
        if self._old is not None:
            self._old.close()
            self._old = None


async def caught_up(made: Path, event_log: EventLog, until: int, in_thread: Callable[..., Awaitable[Any]]) -> Database:
    """A file that somebody else has made, with what the log has got since.

    Raises:
        WriteFailed: it is not of this log, or not of this program.
    """
    new: Database = await in_thread(lambda: Database.open(made))
    try:
        await _check(new, event_log)
        async with await event_log.reader(new.position.sequence) as reader:
            while new.position.sequence < until:
                await in_thread(new.apply, await reader.next())
    except BaseException:
        await in_thread(new.close)
        raise
    return new


async def _check(made: Database, event_log: EventLog) -> None:
    wrong = made.outdated
    if wrong is None and not await verify_position(event_log, made.position):
        wrong = f"the log does not hold the event {made.position.sequence} that it ends with"
    if wrong is not None:
        raise WriteFailed(f"{made.path}: {wrong}")
