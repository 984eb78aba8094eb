"""Archives: a log and its heartbeats in one Parquet file, and the same file read like a log.

One row a message, EVENTS before HEARTBEATS, each in the order of its stream: `stream`, `sequence`, `time_ns` (the
broker's timestamp), `subject`, `headers` and `payload`, as a reader of the stream gets them. Nothing is interpreted on
the way in, so a message that this program does not understand comes out as it went in. Any tool that reads Parquet
opens the file. Its metadata holds the format, the namespace, the number of rows and a checksum over all of them.
"""

import base64
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import duckdb
import msgspec

from events import codec
from events.ending import Closing
from events.envelope import Draft, Recorded
from events.errors import BrokerRefused
from events.heartbeats import decode_heartbeat
from events.log import Appended, Fence
from events.subjects import matches
from events.worker import RecordedHeartbeat
from replay.access import CannotReplay

FORMAT, VERSION = "resurgam-archive", "1"
EVENTS, HEARTBEATS = "EVENTS", "HEARTBEATS"

ROWS_WRITTEN = 2_000
"""Rows that go to DuckDB at a time."""

ROWS_READ = 8_192
"""Rows that are read at a time, and in one row group: to read some, no others need be unpacked."""

_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
}
_ROWS = """[{"stream":"VARCHAR","sequence":"BIGINT","time_ns":"BIGINT","subject":"VARCHAR",
             "headers":"MAP(VARCHAR, VARCHAR)","payload":"VARCHAR"}]"""
_CREATE = """CREATE TABLE messages (stream VARCHAR NOT NULL, sequence BIGINT NOT NULL, time_ns BIGINT NOT NULL,
             subject VARCHAR NOT NULL, headers MAP(VARCHAR, VARCHAR), payload BLOB NOT NULL)"""
_INSERT = """INSERT INTO messages SELECT one.stream, one.sequence, one.time_ns, one.subject, one.headers,
             from_base64(one.payload) FROM (SELECT unnest(from_json(?, ?)) AS one)"""
_CHECKSUM = """SELECT count(*), coalesce(bit_xor(md5_number(concat_ws(' ', stream, sequence, time_ns, subject,
               coalesce(to_json(headers)::VARCHAR, '-'), md5(payload)))), 0) FROM """
_SELECT = "SELECT stream, sequence, time_ns, subject, headers, payload FROM read_parquet(?) WHERE "


class ArchiveFault(CannotReplay):
    """A file is no archive, or cannot be read or written. The message is one sentence."""

    exit_code = 4


class Message(NamedTuple):
    """One message of a stream, as it is kept."""

    stream: str
    sequence: int
    time_ns: int
    subject: str
    headers: Mapping[str, str] | None
    payload: bytes


class ArchiveWriter:
    """Takes messages, each stream in its order, and makes the file on leaving the context; none if that is by an error.

    Raises (all of it):
        ArchiveFault: the file cannot be written.
    """

    def __init__(self, path: Path, namespace: str) -> None:
        self._path = path
        self._namespace = namespace
        self._rows: list[dict[str, Any]] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._connection: duckdb.DuckDBPyConnection | None = None

    def __enter__(self) -> Self:
        try:
            # Beside the file, since a log may be larger than memory, and the end is a rename.
            self._folder = tempfile.TemporaryDirectory(prefix=".resurgam-export-", dir=self._path.parent)
        except OSError as error:
            raise ArchiveFault(f"{self._path} cannot be written: {error.strerror}") from error
        try:
            with _written(self._path):
                self._connection = duckdb.connect(str(self._inside("rows.duckdb")), config=_CONFIG)
                self._connection.execute(_CREATE)
        except ArchiveFault:
            self._folder.cleanup()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._folder is not None
        assert self._connection is not None
        try:
            if kind is None:
                self._finish(self._connection)
        finally:
            self._connection.close()
            self._folder.cleanup()

    def add(self, message: Message) -> None:
        row = message._asdict()
        row["payload"] = base64.b64encode(message.payload).decode()
        self._rows.append(row)
        if len(self._rows) >= ROWS_WRITTEN:
            self._flush()

    def _inside(self, name: str) -> Path:
        assert self._folder is not None
        return Path(self._folder.name) / name

    def _flush(self) -> None:
        if self._rows:
            assert self._connection is not None
            with _written(self._path):
                self._connection.execute(_INSERT, [msgspec.json.encode(self._rows).decode(), _ROWS])
            self._rows = []

    def _finish(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._flush()
        made = self._inside("archive.parquet")
        with _written(self._path):
            rows, checksum = connection.execute(_CHECKSUM + "messages").fetchall()[0]
            metadata = {
                "format": FORMAT,
                "version": VERSION,
                "namespace": self._namespace,
                "rows": str(rows),
                "checksum": str(checksum),
            }
            pairs = ", ".join(f"{name}: {_quoted(value)}" for name, value in metadata.items())
            connection.execute(
                f"COPY (SELECT * FROM messages ORDER BY stream, sequence) TO {_quoted(str(made))} "  # noqa: S608
                f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROWS_READ}, KV_METADATA {{{pairs}}})"
            )
            made.replace(self._path)


@contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise ArchiveFault(f"{path} cannot be written: {_first_line(error)}") from error
    except OSError as error:
        raise ArchiveFault(f"{path} cannot be written: {error.strerror}") from error


class Archive:
    """An archive, open for reading. Use as a context manager.

    Raises (on entering):
        ArchiveFault: there is no such file, it is no archive, it is damaged, or a newer program has written it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.namespace = ""
        self._connection = duckdb.connect(config=_CONFIG)

    def __enter__(self) -> Self:
        if not self.path.is_file():
            raise ArchiveFault(f"there is no file {self.path}: 'resurgam replay export FILE' writes one")
        try:
            self._connection.execute("SET enable_progress_bar = false")
            found = self._ask("SELECT key, value FROM parquet_kv_metadata(?)")
        except duckdb.Error as error:
            raise ArchiveFault(f"{self.path} is no Parquet file: {_first_line(error)}") from error
        metadata = {key.decode(): value.decode("utf-8", "replace") for key, value in found}
        if metadata.get("format") != FORMAT:
            raise ArchiveFault(f"{self.path} is a Parquet file, and no archive of a log")
        if metadata.get("version") != VERSION:
            raise ArchiveFault(
                f"{self.path} is an archive of version {metadata.get('version')}, not {VERSION}: upgrade this program"
            )
        try:
            rows, checksum = self._ask(_CHECKSUM + "read_parquet(?)")[0]
        except duckdb.Error as error:
            raise self._damaged(_first_line(error)) from error
        if (str(rows), str(checksum)) != (metadata.get("rows"), metadata.get("checksum")):
            raise self._damaged(f"its {rows} rows are not the {metadata.get('rows')} that were written")
        self.namespace = metadata.get("namespace", "")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def messages(self, stream: str, *, after: int = 0, limit: int = ROWS_READ) -> list[Message]:
        """The next messages of a stream behind sequence `after`, in order, at most `limit`; [] only at the end."""
        found = self._stretch(stream, after, limit)
        if found:
            return found
        # Sequences are missing: for a while, or for good.
        following = self._ask(
            "SELECT min(sequence) FROM read_parquet(?) WHERE stream = ? AND sequence > ?", stream, after
        )
        return [] if following[0][0] is None else self._stretch(stream, following[0][0] - 1, limit)

    def _stretch(self, stream: str, after: int, limit: int) -> list[Message]:
        # With both bounds, only the row groups in between are unpacked.
        return self._select(
            "stream = ? AND sequence > ? AND sequence <= ? ORDER BY sequence", stream, after, after + limit
        )

    def last_on(self, subject: str) -> Message | None:
        """The last message of EVENTS on one subject."""
        found = self._select("stream = 'EVENTS' AND subject = ? ORDER BY sequence DESC LIMIT 1", subject)
        return found[0] if found else None

    def span(self, stream: str) -> tuple[int, int]:
        """The first and the last sequence of a stream; zeros for an empty one."""
        found = self._ask(
            "SELECT coalesce(min(sequence), 0), coalesce(max(sequence), 0) FROM read_parquet(?) WHERE stream = ?",
            stream,
        )
        first, last = found[0]
        return first, last

    def _select(self, condition: str, *values: object) -> list[Message]:
        rows = self._ask(_SELECT + condition, *values)
        return [Message(*row) for row in rows]

    def _ask(self, statement: str, *values: object) -> list[Any]:
        # A name with a wildcard in it is a name.
        name = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(self.path))
        return self._connection.execute(statement, [name, *values]).fetchall()

    def _damaged(self, what: str) -> ArchiveFault:
        return ArchiveFault(f"{self.path} is damaged: {what}; export it again, or take another copy")


class ArchiveReader(Closing):
    """Keeps `events.log.Reader` over what an archive holds."""

    def __init__(self, archive: Archive, after: int, tails: Sequence[str], last: int) -> None:
        self._archive = archive
        self._tails = tails
        self._last = last
        self._scanned = after
        self._damage: list[tuple[int, int]] = []
        self.sequence = after
        self.caught_up = after >= last
        self.steady = True

    async def next(self, wait_s: float | None = None) -> list[Recorded]:
        """What follows; [] at the end, at once: nothing more will come."""
        del wait_s
        while self._scanned < self._last:
            batch = self._scan()
            if batch:
                self.sequence = batch[-1].sequence
                self.caught_up = self._scanned >= self._last
                return batch
        self.caught_up = True
        return []

    def _scan(self) -> list[Recorded]:
        messages = self._archive.messages(EVENTS, after=self._scanned)
        wanted = []
        for message in messages:
            if not self._tails and message.sequence != self._scanned + 1:
                self._damage.append((self._scanned + 1, message.sequence - 1))
            self._scanned = message.sequence
            if not self._tails or any(matches(tail, _tail_of(message.subject)) for tail in self._tails):
                wanted.append(decoded(message))
        return wanted

    def damage(self) -> list[tuple[int, int]]:
        found, self._damage = self._damage, []
        return found

    async def close(self) -> None:
        self._scanned = self._last


class ArchiveLog:
    """Keeps `events.log.EventLog` over an archive, for readers: it takes no appends."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._last = archive.span(EVENTS)[1]

    async def append(self, drafts: Sequence[Draft], *, fence: Fence | None = None, timeout_s: float = 2.0) -> Appended:
        del drafts, fence, timeout_s
        raise BrokerRefused("append", f"{self._archive.path} is an archive: what it holds is past")

    async def reader(self, after: int = 0, tails: Sequence[str] = ()) -> ArchiveReader:
        return ArchiveReader(self._archive, after, tails, self._last)

    async def last_sequence(self) -> int:
        return self._last

    async def read_one(self, sequence: int) -> Recorded | None:
        found = self._archive.messages(EVENTS, after=sequence - 1, limit=1) if sequence > 0 else []
        return decoded(found[0]) if found and found[0].sequence == sequence else None

    async def last_on(self, tail: str) -> Recorded | None:
        found = self._archive.last_on(f"{self._archive.namespace}.event.{tail}")
        return None if found is None else decoded(found)


@dataclass(slots=True)
class _Delivered:
    """Keeps `events.bus.Message`."""

    subject: str
    data: bytes
    reply: str = ""
    headers: dict[str, str] | None = None


class ArchiveBeats:
    """Keeps `replay.beats.Beats` over an archive."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._left: deque[RecordedHeartbeat] = deque()
        self._read = 0
        first, self.last = archive.span(HEARTBEATS)
        self.first = max(first, 1)

    async def through(self, sequence: int) -> list[RecordedHeartbeat]:
        taken = []
        while self._filled() and self._left[0].sequence <= sequence:
            taken.append(self._left.popleft())
        return taken

    async def until(self, time: float) -> list[RecordedHeartbeat]:
        taken = []
        while self._filled() and self._left[0].time <= time:
            taken.append(self._left.popleft())
        return taken

    def _filled(self) -> bool:
        if not self._left and self._read < self.last:
            messages = self._archive.messages(HEARTBEATS, after=self._read)
            self._read = messages[-1].sequence
            self._left.extend(
                decode_heartbeat(one.sequence, one.time_ns / 1e9, _Delivered(one.subject, one.payload))
                for one in messages
            )
        return bool(self._left)


def decoded(message: Message) -> Recorded:
    """The message as a reader of the live log gets it, to the bit."""
    return codec.decode(message.sequence, message.time_ns / 1e9, message.subject, message.payload, message.headers)


def _tail_of(subject: str) -> str:
    return subject.partition(".")[2].removeprefix("event.")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _first_line(error: duckdb.Error) -> str:
    return str(error).partition("\n")[0]
