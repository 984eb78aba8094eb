"""Copies of an open history file for others to read, each brought up to date by what has changed since it was made.

DuckDB lets one process into a file that is written. A copy of the whole costs seconds for a million events; so there
are two, which take turns: one is read by everybody, and the other gets what is new and then takes its place. The first
one is made in pieces, and between them batches go into the file.
"""

import contextlib
import os
import shutil
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import duckdb
import msgspec
import structlog

from projections.files import beside, remove
from projections.samples import Place
from projections.tables import EVENTS, HEARTBEATS, POSITION, TABLES, Table
from projections.views import view_statements
from projections.working_set import Changes

log = structlog.get_logger(__name__)

NAME = "resurgam copy"
KEYS_MAX = 100_000
"""Changed rows that are remembered for one copy; with more of them it is made anew."""

PIECE = 122_880
"""Sequences whose rows are copied in one go: as many as DuckDB keeps together."""

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
        self._unfinished: tuple[_Behind, Iterator[None]] | None = None
        """A copy that is being made piece by piece."""

    def note(self, changes: Changes, after: int) -> None:
        """What was committed; the batch follows the sequence `after`."""
        unfinished = None if self._unfinished is None else self._unfinished[0]
        behind = [one for one in (self._read, self._spare, unfinished) if one is not None]
        if not behind:
            return
        changed = {
            table: {getattr(row, table.key) for rows in (new, known) for row in rows}
            for table, new, known in changes.by_table(after)
            if not table.appended
        }
        for one in behind:
            one.note(changed)

    def prepare(self, target: Path, sequence: int, heartbeats: Place) -> bool:
        """Makes another piece of the copy that `publish` needs, where there is none; True: there is more to make.
        Between the pieces the file may change: `publish` adds what has changed since the first.

        Raises:
            As `publish`.
        """
        if self._unfinished is None:
            if self._spare is not None and not self._spare.too_far and beside(target, SPARE).exists():
                return False
            self._spare = None
            behind = _Behind(sequence, heartbeats)
            self._unfinished = behind, self._pieces(beside(target, SPARE), behind)
        behind, pieces = self._unfinished
        try:
            next(pieces)
        except StopIteration:
            self._unfinished, self._spare = None, behind
        except BaseException:
            self._unfinished = None
            raise
        return self._unfinished is not None

    def publish(self, target: Path, sequence: int, heartbeats: Place) -> None:
        """Puts a copy of the file as it is now in place of `target`, in one step.

        Raises:
            duckdb.Error, OSError: there is no room for it; `target` is what it was.
        """
        self._unfinished = None
        spare = beside(target, SPARE)
        if not (self._spare is not None and self._bring_up(spare, self._spare, heartbeats)):
            self._spare = None
            self.make(spare, sequence, heartbeats)
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

    def make(self, target: Path, sequence: int, heartbeats: Place) -> None:
        """A copy of the whole file."""
        for _ in self._pieces(target, _Behind(sequence, heartbeats)):
            pass

    def _pieces(self, target: Path, behind: _Behind) -> Iterator[None]:
        """Of a copy of the whole file, as it was before the first piece or has become since, but for the indexes:
        nobody writes there, and they would be written anew at each turn."""
        remove(target)
        statements = self._statements(behind)
        while True:
            rows = 0
            with self._attached(target):
                while statements and rows < PIECE:
                    statement, count = statements.popleft()
                    self._connection.execute(statement)
                    rows += count
                if not statements:
                    self._create_views()
                    return
            yield

    def _statements(self, behind: _Behind) -> deque[tuple[str, int]]:
        """What makes the tables, each statement with the rows that it moves, roughly. Samples are copied whole and at
        once, for their sequences may go back; what else is only ever added to goes as far as `behind`."""
        sizes = self._connection.execute(
            "SELECT table_name, estimated_size FROM duckdb_tables() "
            "WHERE database_name = current_database() AND NOT internal"
        ).fetchall()
        appended = [table for table in TABLES if table.appended]
        whole = [HEARTBEATS.name, *(name for name, _ in sizes if name not in {table.name for table in appended})]
        rows = dict(sizes)
        statements = deque(
            (f'CREATE TABLE "{NAME}".{name} AS FROM {name}', int(rows[name])) for name in dict.fromkeys(whole)
        )
        for table in appended:
            statements.append((f'CREATE TABLE "{NAME}".{table.name} AS FROM {table.name} LIMIT 0', 0))
            for begin in range(0, behind.sequence, PIECE):
                condition = f"{table.key} > {begin} AND {table.key} <= {min(begin + PIECE, behind.sequence)}"
                insert = f'INSERT INTO "{NAME}".{table.name} FROM {table.name} WHERE {condition}'
                statements.append((insert, PIECE if table is EVENTS else 0))
        return statements

    def _create_views(self) -> None:
        execute = self._connection.execute
        ((own,),) = execute("SELECT current_database()").fetchall()
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
