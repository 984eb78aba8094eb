"""Copies of an open history file for others to read, each brought up to date by what has changed since it was made.

DuckDB lets one process into a file that is written. A copy of the whole costs seconds for a million events; so there
are two, which take turns: one is read by everybody, and the other gets what is new and then takes its place.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import msgspec
import structlog

from projections.files import beside, remove
from projections.samples import Place
from projections.tables import HEARTBEATS, POSITION, TABLES, Table
from projections.views import view_statements
from projections.working_set import Changes

log = structlog.get_logger(__name__)

NAME = "resurgam copy"
KEYS_MAX = 100_000
"""Changed rows that are remembered for one copy; with more of them it is made anew."""

SPARE = ".spare"
_FORMER = ".former"


class _Behind:
    """What one copy lacks."""

    def __init__(self, sequence: int, heartbeats: Place) -> None:
        self.sequence = sequence
        self.heartbeats = heartbeats
        self.keys: dict[Table, set[object]] = {}
        self._count = 0

    @property
    def too_far(self) -> bool:
        return self._count > KEYS_MAX

    def note(self, changed: dict[Table, set[object]]) -> None:
        if self.too_far:
            self.keys.clear()
            return
        for table, keys in changed.items():
            self.keys.setdefault(table, set()).update(keys)
        self._count = sum(map(len, self.keys.values()))


def _doubled(target: Path, spare: Path) -> bool:
    """The first copy byte by byte, for the turn after it: DuckDB takes seconds for another one of a million events, in
    which nothing is ingested. Where there is no room now, it makes that one when it is needed."""
    try:
        shutil.copyfile(target, spare)
    except OSError as error:
        log.info("copy_not_doubled", path=str(spare), reason=error.strerror)
        spare.unlink(missing_ok=True)
        return False
    return True


class Copies:
    """Belongs to one open file, and to the thread that has its connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._read: _Behind | None = None
        self._spare: _Behind | None = None

    def note(self, changes: Changes, after: int) -> None:
        """What was committed; the batch follows the sequence `after`."""
        behind = [one for one in (self._read, self._spare) if one is not None]
        if not behind:
            return
        changed = {
            table: {getattr(row, table.key) for rows in (new, known) for row in rows}
            for table, new, known in changes.by_table(after)
            if not table.appended
        }
        for one in behind:
            one.note(changed)

    def publish(self, target: Path, sequence: int, heartbeats: Place) -> None:
        """Puts a copy of the file as it is now in place of `target`, in one step.

        Raises:
            duckdb.Error, OSError: there is no room for it; `target` is what it was.
        """
        spare = beside(target, SPARE)
        if not (self._spare is not None and self._bring_up(spare, self._spare, heartbeats)):
            self._spare = None
            self.make(spare)
        former = beside(target, _FORMER)
        former.unlink(missing_ok=True)
        if self._read is not None and target.exists():
            os.link(target, former)
        spare.replace(target)
        self._spare = None
        if former.exists():
            former.replace(spare)
            self._spare = self._read
        elif _doubled(target, spare):
            self._spare = _Behind(sequence, heartbeats)
        self._read = _Behind(sequence, heartbeats)

    def make(self, target: Path) -> None:
        """A copy of the whole file, but for the indexes: nobody writes there, and they would be written anew at each
        turn."""
        remove(target)
        execute = self._connection.execute
        with self._attached(target):
            ((own,),) = execute("SELECT current_database()").fetchall()
            ours = "database_name = current_database() AND NOT internal"
            tables = execute(f"SELECT table_name FROM duckdb_tables() WHERE {ours}").fetchall()  # noqa: S608
            execute("BEGIN")
            for (name,) in tables:
                execute(f'CREATE TABLE "{NAME}".{name} AS FROM {name}')
            execute("COMMIT")
            quoted = own.replace('"', '""')
            execute(f'USE "{NAME}"')
            try:
                for statement in view_statements():
                    execute(statement)
            finally:
                execute(f'USE "{quoted}"')

    def _bring_up(self, spare: Path, behind: _Behind, heartbeats: Place) -> bool:
        """False: it has to be made anew, because too much has changed, or somebody still reads it."""
        if behind.too_far or heartbeats.sequence < behind.heartbeats.sequence or not spare.exists():
            return False
        try:
            with self._attached(spare):
                self._connection.execute("BEGIN")
                self._add(behind)
                self._connection.execute("COMMIT")
        except duckdb.Error as error:
            log.info("copy_made_anew", path=str(spare), reason=str(error).partition("\n")[0])
            with contextlib.suppress(duckdb.Error):
                self._connection.execute("ROLLBACK")
            self._connection.execute(f'DETACH DATABASE IF EXISTS "{NAME}"')
            return False
        return True

    def _add(self, behind: _Behind) -> None:
        for table in TABLES:
            if table.appended:
                condition = f"{table.key} > {behind.sequence}"
                self._connection.execute(f'INSERT INTO "{NAME}".{table.name} FROM {table.name} WHERE {condition}')
            elif keys := behind.keys.get(table):
                kind = table.columns[table.key].sql
                changed = f"WHERE {table.key} IN (SELECT unnest(from_json(?, '[\"{kind}\"]')))"
                listed = [msgspec.json.encode(list(keys)).decode()]
                self._connection.execute(f'DELETE FROM "{NAME}".{table.name} {changed}', listed)  # noqa: S608
                self._connection.execute(f'INSERT INTO "{NAME}".{table.name} FROM {table.name} {changed}', listed)
        name = HEARTBEATS.name
        self._connection.execute(
            f'DELETE FROM "{NAME}".{name} WHERE sequence < (SELECT min(sequence) FROM {name})'  # noqa: S608
        )
        self._connection.execute(
            f'INSERT INTO "{NAME}".{name} FROM {name} WHERE sequence > {behind.heartbeats.sequence}'
        )
        values = ", ".join(f"{column} = (SELECT {column} FROM position)" for column in POSITION)  # noqa: S608
        self._connection.execute(f'UPDATE "{NAME}".position SET {values}')  # noqa: S608

    @contextlib.contextmanager
    def _attached(self, path: Path) -> Iterator[None]:
        escaped = str(path).replace("'", "''")
        self._connection.execute(f'DETACH DATABASE IF EXISTS "{NAME}"')
        self._connection.execute(f"ATTACH '{escaped}' AS \"{NAME}\"")
        yield
        self._connection.execute(f'DETACH "{NAME}"')
