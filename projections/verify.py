"""Compares a history file with what the log makes of it, row for row."""

import asyncio
import tempfile
from pathlib import Path

import duckdb

from events.bus import Bus
from events.log import EventLog, Position, verify_position
from events.streams import Streams
from projections.client import query
from projections.database import Database
from projections.errors import Held, ProjectionError, QueryError
from projections.projector import Projector
from projections.snapshots import snapshot_path
from projections.tables import TABLES

PATIENCE_S = 60.0


async def difference_of(path: Path, log: EventLog, bus: Bus, streams: Streams) -> tuple[str | None, int]:
    """As `first_difference`, for a file that a projector may have open: then of the copy that it publishes. And the
    event up to which that was compared.

    Raises:
        Held: somebody else has it open.
        Refused, Unreadable, LogError: as there.
    """
    with tempfile.TemporaryDirectory(prefix=".verify-", dir=path.parent) as folder:
        compared = path
        try:
            position, _ = await asyncio.to_thread(_position, path)
        except Held:
            compared = Path(folder) / "published.duckdb"
            await _published(path, log, bus, streams, compared)
            position, _ = await asyncio.to_thread(_position, compared)
        return await first_difference(compared, log, bus), position.sequence


async def _published(path: Path, log: EventLog, bus: Bus, streams: Streams, kept: Path) -> None:
    """Keeps the copy as it is now: the next one will take its place."""
    last = await log.last_sequence()
    try:
        await query(bus, streams, "SELECT 1", at_least=last, timeout_s=PATIENCE_S)
        await asyncio.to_thread(_keep, snapshot_path(path), kept)
    except (QueryError, duckdb.Error) as error:
        raise Held(path, f"somebody has it open, and no copy of it can be had: {error}") from error


def _keep(published: Path, kept: Path) -> None:
    with duckdb.connect(config={"autoload_known_extensions": False}) as connection:
        for name, file, how in (("published", published, "(READ_ONLY)"), ("kept", kept, "")):
            escaped = str(file).replace("'", "''")
            connection.execute(f"ATTACH '{escaped}' AS {name} {how}")
        connection.execute("COPY FROM DATABASE published TO kept")


async def first_difference(path: Path, log: EventLog, bus: Bus | None = None) -> str | None:
    """The first difference between the file and a rebuild up to the file's own position; None: they are equal.

    Raises:
        Refused, Unreadable: the file cannot be opened.
        LogError: the log cannot be read.
    """
    position, outdated = await asyncio.to_thread(_position, path)
    if outdated is not None:
        return f"the file cannot be compared: {outdated}"
    if not await verify_position(log, position):
        return f"the log does not hold the event {position.sequence} that the file ends with"
    with tempfile.TemporaryDirectory(prefix="resurgam-verify-") as folder:
        rebuilt = Path(folder) / "rebuilt.duckdb"
        projector = Projector(rebuilt, log, None, bus)
        await projector.run(until=position.sequence)
        if projector.position != position:
            return f"the log ends at event {projector.position.sequence}, the file at {position.sequence}"
        return await asyncio.to_thread(compare, path, rebuilt)


def _position(path: Path) -> tuple[Position, str | None]:
    if not path.exists():
        raise ProjectionError(f"{path}: there is no such file")
    database = Database.open(path)
    try:
        return database.position, database.outdated
    finally:
        database.close()


def compare(path: Path, rebuilt: Path) -> str | None:
    """The first difference between two closed files, table by table in the order of their keys."""
    with duckdb.connect(config={"autoload_known_extensions": False}) as connection:
        for name, file in (("stored", path), ("rebuilt", rebuilt)):
            escaped = str(file).replace("'", "''")
            connection.execute(f"ATTACH '{escaped}' AS {name} (READ_ONLY)")
        for table in TABLES:
            found = connection.execute(
                f"SELECT coalesce(s.{table.key}, r.{table.key})::VARCHAR, "  # noqa: S608
                f"if(s.{table.key} IS NULL, 'no such row', s::VARCHAR), "
                f"if(r.{table.key} IS NULL, 'no such row', r::VARCHAR) "
                f"FROM stored.{table.name} s FULL JOIN rebuilt.{table.name} r ON s.{table.key} = r.{table.key} "
                f"WHERE s IS DISTINCT FROM r ORDER BY coalesce(s.{table.key}, r.{table.key}) LIMIT 1"
            ).fetchone()
            if found is not None:
                key, stored, made = found
                return f"{table.name}, {table.key} {key}:\n  the file: {stored}\n  the log:  {made}"
    return None
