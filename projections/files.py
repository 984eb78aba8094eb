"""The history file from outside: whose it is, who holds it, and what it may be replaced by."""

import re
import time
from pathlib import Path

import duckdb

from projections.errors import Held, Refused, Unreadable
from projections.tables import SIGNATURE

MEMORY_LIMIT = "1GB"
THREADS = 1
"""Rows go in by some ten thousand, which a second thread only makes dearer: by a fifth of the processor time."""

CHECKPOINT_AT = "128MB"
"""Of write-ahead log. A checkpoint writes the last group of rows of each table anew, so at DuckDB's own 16 MB a backlog
is mostly written again and again. Reading so much of it back after a kill takes a second or two."""

_LOCKED = re.compile(r"Conflicting lock is held in (.*?) ?\(PID (\d+)\)")
_DAMAGE = re.compile(
    r"corrupt|checksum|serializ|replaying WAL|not a valid DuckDB|version number|read enough bytes", re.IGNORECASE
)
_SYSTEM = re.compile(r"no space|permission denied|read-only|input/output error|too many open files", re.IGNORECASE)
_MAGIC_AT = 8
_MAGIC = b"DUCK"


def connect(path: Path) -> duckdb.DuckDBPyConnection:
    """Opens a file for writing, after a look at what it is.

    Raises:
        Refused: it is something else than a DuckDB file, or the system forbids it.
        Held: another process has it open.
        Unreadable: it is a DuckDB file that DuckDB cannot read.
    """
    try:
        _look_at(path)
        return duckdb.connect(
            str(path),
            config={
                "memory_limit": MEMORY_LIMIT,
                "threads": THREADS,
                "checkpoint_threshold": CHECKPOINT_AT,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,
            },
        )
    except OSError as error:
        raise Refused(path, error.strerror or str(error)) from error
    except duckdb.Error as error:
        held = _LOCKED.search(str(error))
        if held is not None:
            holder, pid = held.groups()
            why = f"process {pid} ({holder or 'unknown'}) has it open; stop it first, or ask it for SQL over NATS"
            raise Held(path, why) from error
        if tells_of_damage(error) or isinstance(error, duckdb.InternalException):
            raise Unreadable(str(error).partition("\n")[0]) from error
        raise Refused(path, str(error).partition("\n")[0]) from error


def _look_at(path: Path) -> None:
    if not path.parent.is_dir():
        raise Refused(path, f"there is no folder {path.parent}")
    if not path.exists():
        return
    if not path.is_file():
        raise Refused(path, "is not a file")
    with path.open("rb") as file:
        start = file.read(_MAGIC_AT + len(_MAGIC))
    if not start:
        # Left by a program that died in its first moment; DuckDB does not take an empty file for a new one.
        path.unlink()
    elif start[_MAGIC_AT:] != _MAGIC:
        raise Refused(path, "is not a DuckDB file; give another --db-path, or move it away if it was one once")


def tells_of_damage(error: duckdb.Error) -> bool:
    """Whether an error means that the file's content is broken, and not that the system fails or forbids.

    DuckDB has no error codes, and one type for both; only the words tell.
    """
    text = str(error)
    return _DAMAGE.search(text) is not None and _SYSTEM.search(text) is None


def is_ours(path: Path, connection: duckdb.DuckDBPyConnection) -> bool:
    """False for an empty database.

    Raises:
        Refused: it holds tables of somebody else.
    """
    columns = connection.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = current_database() AND NOT internal"
    ).fetchall()
    if not columns:
        return False
    if {column for table, column in columns if table == "position"} >= SIGNATURE:
        return True
    table = min(table for table, _ in columns)
    raise Refused(path, f"is somebody else's database (it has a table {table!r}); give another --db-path")


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def write_ahead_log(path: Path) -> Path:
    return beside(path, ".wal")


def remove(path: Path) -> None:
    """Removes a file of ours with its write-ahead log; where there is none, nothing."""
    write_ahead_log(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def move_aside(path: Path, suffix: str) -> Path:
    """Renames a file and its write-ahead log to `<name>.<suffix>-<UTC time>`; returns the new name."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = beside(path, f".{suffix}-{stamp}")
    count = 1
    while aside.exists():
        count += 1
        aside = beside(path, f".{suffix}-{stamp}-{count}")
    # The log first: without it the file is still a whole one, but a log alone would be replayed into its successor.
    if write_ahead_log(path).exists():
        write_ahead_log(path).rename(write_ahead_log(aside))
    path.rename(aside)
    return aside
