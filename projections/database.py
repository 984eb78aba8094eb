"""One open history file: rows and the position in the log, always from the same transaction.

What goes to DuckDB blocks, and belongs into one thread at a time.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import duckdb
import msgspec
import structlog

from events import codec
from events.envelope import Recorded
from events.log import Position
from events.shortages import code_of_shortage
from projections import mapping, samples, statements
from projections.arrow import Rows
from projections.copies import Copies
from projections.errors import ProjectionError, Unreadable, WriteFailed
from projections.files import connect, is_ours, tells_of_damage
from projections.rows import HeartbeatRow
from projections.samples import Place
from projections.tables import (
    ALL_TABLES,
    ATTEMPTS,
    FAILURES,
    HEARTBEATS,
    OUTAGES,
    POLICIES,
    SCHEMA_VERSION,
    SYSTEM_RECOVERIES,
    TASK_RECOVERIES,
    TASKS,
    WORKER_RECOVERIES,
    WORKERS,
    Table,
    create_statements,
)
from projections.working_set import Changes, WorkingSet

log = structlog.get_logger(__name__)

POISON = (
    duckdb.DataError,
    duckdb.IntegrityError,
    duckdb.InvalidInputException,
    OverflowError,
    UnicodeEncodeError,
)
"""DuckDB understood the statement and refuses a value in it, or the value does not even get there."""

GAPS_MAX = 100

LAST_POLICY = f"sequence = (SELECT max(sequence) FROM {POLICIES.name})"  # noqa: S608

_GAPS = f"""
    WITH present AS (SELECT sequence FROM events UNION ALL SELECT sequence FROM parked_events),
        neighbours AS (SELECT lag(sequence, 1, 0) OVER (ORDER BY sequence) + 1 AS first, sequence - 1 AS last
            FROM present),
        reported AS (SELECT (payload->>'$.first')::BIGINT AS first, (payload->>'$.last')::BIGINT AS last
            FROM events WHERE kind = 'system.log_damaged')
    SELECT first, last FROM neighbours
    WHERE first <= last
        AND NOT EXISTS (FROM reported WHERE reported.first <= neighbours.first AND reported.last >= neighbours.last)
    ORDER BY first LIMIT {GAPS_MAX}
"""  # noqa: S608


_FORGET = f"""
    DELETE FROM {HEARTBEATS.name} WHERE sequence <= (
        SELECT sequence FROM {HEARTBEATS.name} ORDER BY sequence DESC LIMIT 1 OFFSET ?)
"""  # noqa: S608


class Made(NamedTuple):
    """What a batch does to the file."""

    changes: Changes
    statements: list[tuple[str, Rows]]
    position: Position


class Database:
    """Opened by `open`. `outdated` says why the file cannot be continued, though it is ours; None: it can be."""

    def __init__(self, path: Path, connection: duckdb.DuckDBPyConnection) -> None:
        self.path = path
        self._connection = connection
        self._rows = WorkingSet()
        self._copies = Copies(connection)
        self.position = Position(0, "")
        self.heartbeats = Place(0, 0.0)
        """How far the samples go."""
        self._samples = 0
        self.outdated: str | None = None

    @classmethod
    def open(cls, path: Path) -> Self:
        """Opens the file, and makes it where there is none.

        Raises:
            Refused: it is not ours, or cannot be had now.
            Unreadable: it is a broken DuckDB file.
        """
        connection = connect(path)
        database = cls(path, connection)
        try:
            with _understood():
                database._adopt()
        except BaseException:
            database.close()
            raise
        return database

    def _adopt(self) -> None:
        if not is_ours(self.path, self._connection):
            self._create()
        version, sequence, event_id = self._one("SELECT schema_version, sequence, event_id FROM position")
        self.position = Position(sequence, event_id)
        if version != SCHEMA_VERSION:
            self.outdated = f"its schema has version {version}, this program's has {SCHEMA_VERSION}"
        elif different := self._different_table():
            self.outdated = f"its table {different} is not as this program makes it"
        elif understood := self._understood_by_now():
            self.outdated = f"it parked event {understood}, which this program understands"
        else:
            self._load()

    def _create(self) -> None:
        self._connection.execute("BEGIN")
        for statement in create_statements():
            self._connection.execute(statement)
        self._connection.execute("COMMIT")

    def _different_table(self) -> str | None:
        found: dict[str, dict[str, str]] = {}
        for table, column, kind in self._connection.execute(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() "
            "WHERE database_name = current_database() AND schema_name = 'main' ORDER BY table_name, column_index"
        ).fetchall():
            found.setdefault(table, {})[column] = kind
        for table in ALL_TABLES:
            if found.get(table.name) != {name: column.sql for name, column in table.columns.items()}:
                return table.name
        return None

    def _understood_by_now(self) -> int | None:
        """The first parked message that an older program did not understand and this one does."""
        found = self._connection.execute(
            "SELECT sequence, subject, payload FROM parked_events WHERE NOT starts_with(reason, ?) ORDER BY sequence",
            [mapping.REFUSED],
        )
        while parked := found.fetchmany(1000):
            for sequence, subject, payload in parked:
                if mapping.understood(codec.decode(sequence, 0.0, subject, payload, None)):
                    return int(sequence)
        return None

    def _load(self) -> None:
        """What a batch builds on, from the tables themselves."""
        histories = (WORKER_RECOVERIES, TASK_RECOVERIES, SYSTEM_RECOVERIES)
        highest = ", ".join(f"(SELECT coalesce(max(id), 0) FROM {table.name})" for table in histories)  # noqa: S608
        last_worker, last_task, last_system = self._one(f"SELECT {highest}")
        status = self._connection.execute(
            "SELECT payload->>'$.status' FROM events WHERE kind = 'system.status_changed' "
            "ORDER BY sequence DESC LIMIT 1"
        ).fetchone()
        paused = self._connection.execute(
            "SELECT kind FROM events WHERE kind IN ('system.recovery_paused', 'system.recovery_resumed') "
            "ORDER BY sequence DESC LIMIT 1"
        ).fetchone()
        self._rows = WorkingSet(
            last_ids=(last_worker, last_task, last_system),
            system_status=None if status is None else status[0],
            open_worker_recoveries=self._select(WORKER_RECOVERIES, "success IS NULL"),
            open_task_recoveries=self._select(TASK_RECOVERIES, "success IS NULL"),
            open_system_recoveries=self._select(SYSTEM_RECOVERIES, "success IS NULL"),
            open_failures=self._select(FAILURES, "scope = 'worker' AND resolution IS NULL"),
            open_outages=self._select(OUTAGES, "ending IS NULL"),
            policy=None if not (last := self._select(POLICIES, LAST_POLICY)) else last[0].policy,
            paused=paused is not None and paused[0] == "system.recovery_paused",
        )
        self.heartbeats = Place(*self._one("SELECT heartbeat_sequence, heartbeat_time FROM position"))
        (self._samples,) = self._one(f"SELECT count(*) FROM {HEARTBEATS.name}")  # noqa: S608

    def apply(self, batch: list[Recorded]) -> None:
        """Stores what a batch does to the tables, and the position behind it, in one transaction: `fetch`, `made`
        and `store`, for whoever has one thread for all of it. An event with a value that DuckDB refuses is parked.

        Raises:
            WriteFailed: nothing was stored; open the file again and repeat.
            Unreadable: the file is damaged.
        """
        try:
            self.fetch(batch)
            self.store(self.made(batch))
        except POISON as refused:
            self.apply_in_parts(batch, refused)

    def fetch(self, batch: list[Recorded]) -> None:
        """Brings the workers and tasks of a batch into the working set, where they exist.

        Raises:
            WriteFailed, Unreadable: as `apply`.
        """
        assert batch[0].sequence > self.position.sequence, "a batch follows the position"
        with _understood():
            worker_ids, task_ids = self._rows.missing(*mapping.keys(batch))
            for worker in self._by_keys(WORKERS, worker_ids):
                self._rows.workers[worker.worker_id] = worker
            unfinished = set()
            for task in self._by_keys(TASKS, task_ids):
                self._rows.tasks[task.task_id] = task
                if task.verdict is None:
                    unfinished.add(task.task_id)
            for attempt in self._by_keys(ATTEMPTS, unfinished, "task_id"):
                self._rows.attempts.setdefault(attempt.task_id, []).append(attempt)

    def made(self, batch: list[Recorded]) -> Made:
        """What a batch does to the file; `fetch` has brought the rows that it builds on. Touches the working set and
        nothing else, and is all that needs Python.

        Raises:
            Some of `POISON`: a value does not fit a column; go on with `apply_in_parts`.
        """
        mapping.apply(self._rows, batch)
        changes = self._rows.take_changes()
        statements_and_rows = []
        for table, new, known in changes.by_table(self.position.sequence):
            if new:
                statements_and_rows.append((statements.insert(table), Rows(table, new)))
            if known:
                statements_and_rows.append((statements.upsert(table), Rows(table, known)))
        return Made(changes, statements_and_rows, Position(batch[-1].sequence, batch[-1].id))

    def store(self, made: Made) -> None:
        """Stores it, with its position, in one transaction.

        Raises:
            WriteFailed, Unreadable: as `apply`. POISON: as `made`.
        """
        with _understood():
            self._connection.execute("BEGIN")
            for statement, rows in made.statements:
                self._write(statement, rows)
            moved = self._one(
                "UPDATE position SET sequence = ?, event_id = ? WHERE sequence = ?",
                [*made.position, self.position.sequence],
            )
            assert moved == (1,), "the position was moved by somebody else"
            self._connection.execute("COMMIT")
            self._copies.note(made.changes, self.position.sequence)
            self.position = made.position

    def apply_in_parts(self, batch: list[Recorded], refused: Exception) -> None:
        """As `apply`, for a batch of which nothing was stored, since there is a value in it that DuckDB refuses: that
        event is found by halving, in several transactions, and parked."""
        self._rollback()
        with _understood():
            self._load()
        if len(batch) > 1:
            half = len(batch) // 2
            self.apply(batch[:half])
            self.apply(batch[half:])
            return
        if batch[0].envelope is None:
            raise ProjectionError(f"event {batch[0].sequence} cannot even be parked: {refused}") from refused
        log.warning("event_parked", sequence=batch[0].sequence, reason=str(refused))
        self.apply([mapping.parked(batch[0], f"{mapping.REFUSED}{_first_line(refused)}")])

    def add_samples(self, rows: list[HeartbeatRow], place: Place) -> None:
        """Stores heartbeats, and how far they go, in one transaction; the oldest make room for them.

        Raises:
            WriteFailed, Unreadable: as `apply`.
        """
        if place == self.heartbeats:
            return
        with _understood():
            self._connection.execute("BEGIN")
            if rows:
                self._write(statements.insert(HEARTBEATS), Rows(HEARTBEATS, rows))
            self._samples += len(rows)
            if self._samples > samples.ROWS_MAX:
                self._connection.execute(_FORGET, [samples.ROWS_KEPT])
                (self._samples,) = self._one(f"SELECT count(*) FROM {HEARTBEATS.name}")  # noqa: S608
            self._connection.execute("UPDATE position SET heartbeat_sequence = ?, heartbeat_time = ?", list(place))
            self._connection.execute("COMMIT")
        self.heartbeats = place

    def export_samples(self, target: Path) -> Place:
        """Writes them to a Parquet file, for `take_samples` of another file's."""
        escaped = str(target).replace("'", "''")
        with _understood():
            self._connection.execute(f"COPY {HEARTBEATS.name} TO '{escaped}' (FORMAT parquet)")
        return self.heartbeats

    def take_samples(self, source: Path, place: Place) -> None:
        """Takes over what another file of the same log has kept, for the stream has forgotten most of it."""
        with _understood():
            self._connection.execute("BEGIN")
            self._connection.execute(f"DELETE FROM {HEARTBEATS.name}")  # noqa: S608
            self._connection.execute(f"INSERT INTO {HEARTBEATS.name} BY NAME FROM read_parquet(?)", [str(source)])
            self._connection.execute("UPDATE position SET heartbeat_sequence = ?, heartbeat_time = ?", list(place))
            self._connection.execute("COMMIT")
            self._load()

    def _by_keys(self, table: Table, keys: set[str], column: str | None = None) -> list[Any]:
        """Rows that have one of these keys, or one of these values in another column, in the order of their keys."""
        if not keys:
            return []
        parameter = msgspec.json.encode(sorted(keys)).decode()
        statement = statements.by_values(table, column or table.key)
        return statements.rows(table, self._connection.execute(statement, [parameter]).fetchall())

    def _write(self, statement: str, rows: Rows) -> None:
        self._connection.register(statements.ROWS, rows.stream())
        self._connection.execute(statement)
        self._connection.unregister(statements.ROWS)

    def _select(self, table: Table, condition: str) -> list[Any]:
        return statements.rows(table, self._connection.execute(statements.select(table, condition)).fetchall())

    def _one(self, statement: str, parameters: list[Any] | None = None) -> tuple[Any, ...]:
        row = self._connection.execute(statement, parameters).fetchone()
        assert row is not None
        return tuple(row)

    def _rollback(self) -> None:
        # Where no transaction is open any more, there is nothing left to take back.
        with contextlib.suppress(duckdb.Error):
            self._connection.execute("ROLLBACK")

    def unreported_gaps(self) -> list[tuple[int, int]]:
        """Sequences (first, last) up to the position that the log did not hold and no `LogDamaged` speaks of."""
        with _understood():
            (present,) = self._one("SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM parked_events)")
            if present == self.position.sequence:
                return []
            return [(first, last) for first, last in self._connection.execute(_GAPS).fetchall()]

    def publish(self, target: Path) -> Position:
        """Puts a copy that other processes may open in place of `target`, in one step.

        Raises:
            WriteFailed: there is no room for it. Unreadable: the file is damaged.
        """
        while (published := self.publish_soon(target)) is None:
            pass
        return published

    def publish_soon(self, target: Path) -> Position | None:
        """As `publish`; where a whole copy has to be made for that, a piece of it, which does not take long, and None:
        to be called again.

        Raises:
            WriteFailed, Unreadable: as `publish`.
        """
        with _understood():
            if self._copies.prepare(target, self.position.sequence, self.heartbeats):
                return None
            self._copies.publish(target, self.position.sequence, self.heartbeats)
        return self.position

    def close(self) -> None:
        """Writes the WAL into the file. Where that fails, the WAL stays beside it, and nothing is lost."""
        with contextlib.suppress(duckdb.Error):
            self._connection.close()


@contextlib.contextmanager
def _understood() -> Iterator[None]:
    """DuckDB's errors by what has to be done about them."""
    try:
        yield
    except (*POISON, duckdb.ProgrammingError):
        raise
    except OSError as error:
        raise WriteFailed(error.strerror or str(error), code_of_shortage(error.errno, "database")) from error
    except duckdb.OutOfMemoryException as error:
        raise WriteFailed(_first_line(error), "system_resource") from error
    except duckdb.Error as error:
        text = _first_line(error)
        if tells_of_damage(error):
            raise Unreadable(text) from error
        raise WriteFailed(text) from error


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0]
