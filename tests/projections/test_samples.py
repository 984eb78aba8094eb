"""Heartbeats that are kept: which, for how long, and through whatever happens to file and stream."""

from pathlib import Path

import duckdb
import pytest

from events.bus import Bus
from events.clock import utc
from events.heartbeats import send_heartbeat
from events.jetstream import JetStreamLog
from events.streams import Streams
from events.worker import Heartbeat, RecordedHeartbeat
from events.writer import Writer
from projections import samples
from projections.database import Database
from projections.projector import Projector
from projections.rows import HeartbeatRow
from projections.samples import EVERY, HeartbeatStream, Place, sample
from tests.projections.histories import EPOCH, select
from tests.projections.test_projector import following, names_in
from tests.waiting import until

MINUTES = 3
BEATS = EVERY * (MINUTES - 1) + 5


def heartbeat(beat: int, worker_id: str = "w1") -> Heartbeat:
    return Heartbeat(worker_id=worker_id, incarnation=7, beat=beat, sent_at=utc(EPOCH), running=("t1",), free=1)


def recorded(beat: int) -> RecordedHeartbeat:
    return RecordedHeartbeat(beat, EPOCH + beat, heartbeat(beat))


def row(beat: int) -> HeartbeatRow:
    found = sample(recorded(beat))
    assert found is not None
    return found


async def beat_on(bus: Bus, streams: Streams, first: int, last: int) -> None:
    for beat in range(first, last + 1):
        await send_heartbeat(bus, streams, heartbeat(beat))


def kept(path: Path) -> list[int]:
    return [beat for (beat,) in select(path, "SELECT beat FROM heartbeat_samples ORDER BY sequence")]


def projector_of(path: Path, log: JetStreamLog, bus: Bus, streams: Streams) -> Projector:
    return Projector(path, log, Writer(log, "projections/test"), bus, HeartbeatStream(bus, streams))


def test_the_first_and_every_thirtieth() -> None:
    assert [beat for beat in range(1, 100) if sample(recorded(beat))] == [1, 31, 61, 91]
    assert sample(RecordedHeartbeat(1, EPOCH, None)) is None
    assert (row(31).recorded_at, row(31).running, row(31).free) == (int(EPOCH + 31) * 1_000_000, 1, 1)


def test_the_oldest_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "ROWS_MAX", 5)
    monkeypatch.setattr(samples, "ROWS_KEPT", 3)
    path = tmp_path / "history.duckdb"
    database = Database.open(path)
    for number in range(7):
        database.add_samples([row(1 + EVERY * number)], Place(1 + EVERY * number, EPOCH))
    database.close()
    assert kept(path) == [91, 121, 151, 181]
    database = Database.open(path)
    assert database.heartbeats == Place(181, EPOCH)
    database.close()


async def test_samples_go_on_where_they_ended(tmp_path: Path, log: JetStreamLog, bus: Bus, streams: Streams) -> None:
    path = tmp_path / "history.duckdb"
    await beat_on(bus, streams, 1, BEATS - 20)
    await projector_of(path, log, bus, streams).run(once=True)
    assert kept(path) == [1, 31]
    await beat_on(bus, streams, BEATS - 19, BEATS)
    await projector_of(path, log, bus, streams).run(once=True)
    assert kept(path) == [1, 31, 61]
    assert select(path, "SELECT heartbeat_sequence FROM position") == [(BEATS,)]


async def test_samples_come_in_while_it_runs(
    tmp_path: Path, log: JetStreamLog, bus: Bus, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "STORE_EVERY_S", 0.05)
    async with following(projector_of(tmp_path / "history.duckdb", log, bus, streams)) as projector:
        await beat_on(bus, streams, 1, 31)

        def seen() -> bool:
            database = projector._database
            return database is not None and database.heartbeats.sequence == 31

        await until(seen)
    assert kept(tmp_path / "history.duckdb") == [1, 31]


async def test_a_file_that_is_made_anew_keeps_what_the_stream_has_forgotten(
    tmp_path: Path, log: JetStreamLog, bus: Bus, streams: Streams
) -> None:
    path = tmp_path / "history.duckdb"
    await beat_on(bus, streams, 1, 31)
    await projector_of(path, log, bus, streams).run(once=True)
    await bus.api(f"STREAM.PURGE.{streams.heartbeats}")
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE position SET schema_version = 99")
    await beat_on(bus, streams, 32, 61)
    await projector_of(path, log, bus, streams).run(once=True)
    assert kept(path) == [1, 31, 61]
    assert names_in(tmp_path) == [path.name]


async def test_a_stream_that_has_lost_its_tail_is_read_on_from_its_end(
    tmp_path: Path, log: JetStreamLog, bus: Bus, streams: Streams
) -> None:
    path = tmp_path / "history.duckdb"
    database = Database.open(path)
    database.add_samples([row(1)], Place(40, EPOCH))  # as if the broker had lost forty, and then stored others
    database.close()
    await beat_on(bus, streams, 1, 45)
    await projector_of(path, log, bus, streams).run(once=True)
    await beat_on(bus, streams, 46, 61)
    await projector_of(path, log, bus, streams).run(once=True)
    assert kept(path) == [1, 61]


async def test_a_missing_stream_is_no_reason_to_stop(
    tmp_path: Path, log: JetStreamLog, bus: Bus, streams: Streams
) -> None:
    nobody = HeartbeatStream(bus, Streams(namespace="nobody"))
    path = tmp_path / "history.duckdb"
    await Projector(path, log, None, bus, nobody).run(once=True)
    assert kept(path) == []
