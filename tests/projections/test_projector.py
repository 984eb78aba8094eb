"""The consumer on a real broker: catching up, following, dying, and making the file anew."""

import asyncio
import contextlib
import itertools
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import duckdb
import pytest

from events.bus import Bus
from events.connection import Connection
from events.errors import BrokerRefused
from events.jetstream import JetStreamLog
from events.log import verify_position
from events.streams import Streams, ensure_streams
from events.system import FaultReported, LogDamaged, ProjectionRebuilt
from events.worker import WorkerReadmitted
from events.writer import Writer, append_until_stored
from projections.database import Database, Made
from projections.errors import Refused, WriteFailed
from projections.projector import Projector
from projections.tables import SCHEMA_VERSION
from projections.verify import compare, first_difference
from tests.projections.conftest import Broker, written_elsewhere
from tests.projections.farm import Farm
from tests.projections.histories import dump, select
from tests.waiting import until

EVENTS = 600


async def fill(log: JetStreamLog, events: int = EVENTS, seed: int = 1) -> int:
    drafts = Farm(seed, failure_share=0.1).drafts()
    for done in range(0, events, 1000):
        # A broker that has other things to do as well may refuse a large batch for the moment.
        await append_until_stored(log, list(itertools.islice(drafts, min(1000, events - done))), patience_s=20)
    return await log.last_sequence()


def projector_of(path: Path, log: JetStreamLog, bus: Bus | None = None) -> Projector:
    return Projector(path, log, Writer(log, "projections/test"), bus)


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def kept(folder: Path, suffix: str) -> list[Path]:
    """Old history files that were put aside, without their write-ahead logs."""
    return [file for file in folder.glob(f"history.duckdb.{suffix}-*") if file.suffix != ".wal"]


async def catch_up(path: Path, log: JetStreamLog) -> Projector:
    projector = projector_of(path, log)
    await projector.run(once=True)
    return projector


@contextlib.asynccontextmanager
async def following(projector: Projector) -> AsyncIterator[Projector]:
    work = asyncio.create_task(projector.run())
    try:
        yield projector
    finally:
        projector.stop()
        async with asyncio.timeout(20):
            await work


async def test_it_catches_up_and_goes_on(tmp_path: Path, log: JetStreamLog) -> None:
    path = tmp_path / "history.duckdb"
    last = await fill(log)
    assert (await catch_up(path, log)).position.sequence == last
    stored = await Writer(log, "test/1").write(WorkerReadmitted(worker_id="w1", actor="me"))
    projector = await catch_up(path, log)
    assert projector.position.sequence == stored.last
    assert await verify_position(log, projector.position)
    assert select(path, "SELECT count(*) FROM events") == [(last + 1,)]
    assert await first_difference(path, log) is None


async def test_it_stops_at_a_sequence(tmp_path: Path, log: JetStreamLog) -> None:
    await fill(log)
    path = tmp_path / "history.duckdb"
    projector = projector_of(path, log)
    await projector.run(until=123)
    assert projector.position.sequence == 123
    assert select(path, "SELECT max(sequence) FROM events") == [(123,)]


async def test_an_empty_log(tmp_path: Path, log: JetStreamLog) -> None:
    assert (await catch_up(tmp_path / "history.duckdb", log)).position.sequence == 0


async def test_an_idle_projector_commits_at_once(tmp_path: Path, log: JetStreamLog) -> None:
    await fill(log)
    writer = Writer(log, "test/1")
    loop = asyncio.get_running_loop()
    async with following(projector_of(tmp_path / "history.duckdb", log)) as projector:
        assert await projector.wait_for(EVENTS, 20)
        took = []
        for _ in range(20):
            began = loop.time()
            stored = await writer.write(WorkerReadmitted(worker_id="w1", actor="me"))
            assert await projector.wait_for(stored.last, 5)
            took.append(loop.time() - began)
        assert sorted(took)[10] < 0.5  # ten times what it is meant to be, for machines that do other things besides
        assert not await projector.wait_for(stored.last + 1, 0.01)


async def test_20_a_deleted_file_comes_back_the_same(tmp_path: Path, log: JetStreamLog) -> None:
    path = tmp_path / "history.duckdb"
    await fill(log)
    await catch_up(path, log)
    before = dump(path)
    path.unlink()
    await catch_up(path, log)
    assert dump(path) == before
    assert names_in(tmp_path) == [path.name]


async def rebuilt(path: Path, log: JetStreamLog) -> str:
    """Catches up over a file that has to be made anew; returns the reason that stands in the log afterwards."""
    last = await log.last_sequence()
    assert (await catch_up(path, log)).position.sequence >= last
    recorded = await log.last_on("system.projection_rebuilt")
    assert recorded is not None
    assert isinstance(recorded.event, ProjectionRebuilt)
    assert (recorded.event.path, recorded.event.through) == (str(path), last)
    await catch_up(path, log)
    assert await first_difference(path, log) is None
    (row,) = select(path, "SELECT success, details->>'$.kind' FROM system_recovery_history ORDER BY id DESC LIMIT 1")
    assert row == (True, "projection_rebuilt")
    assert not [name for name in names_in(path.parent) if "rebuild" in name or name.endswith(".wal")]
    return recorded.event.reason


async def test_another_schema_is_made_anew(tmp_path: Path, log: JetStreamLog) -> None:
    path = tmp_path / "history.duckdb"
    await fill(log)
    await catch_up(path, log)
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE position SET schema_version = 99")
    assert await rebuilt(path, log) == f"its schema has version 99, this program's has {SCHEMA_VERSION}"
    assert names_in(tmp_path) == [path.name]


async def test_a_broken_file_is_moved_aside_and_made_anew(tmp_path: Path, log: JetStreamLog) -> None:
    path = tmp_path / "history.duckdb"
    await fill(log)
    await catch_up(path, log)
    broken = path.read_bytes()[:20_000]
    path.write_bytes(broken)
    assert "the old file cannot be read" in await rebuilt(path, log)
    (aside,) = kept(tmp_path, "unreadable")
    assert aside.read_bytes() == broken


async def test_damage_found_in_the_middle_leads_to_a_new_file(tmp_path: Path, log: JetStreamLog) -> None:
    path = tmp_path / "history.duckdb"
    await fill(log, 3000)
    await catch_up(path, log)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    # The schema stands at the front and can be read; rows do not.
    content[middle:-300_000] = b"\xff" * (len(content) - middle - 300_000)
    path.write_bytes(content)
    await Writer(log, "test/1").write(WorkerReadmitted(worker_id="worker-1", actor="me"))
    projector = projector_of(path, log)
    async with following(projector):
        assert await projector.wait_for(3001, 20)
        with contextlib.suppress(WriteFailed):
            await projector.publish(tmp_path / "copy.duckdb")
        assert await projector.wait_for(3002, 20)
    assert kept(tmp_path, "unreadable")
    assert await first_difference(path, log) is None


async def test_the_file_of_another_log_is_kept_aside(
    tmp_path: Path, log: JetStreamLog, bus: Bus, streams: Streams
) -> None:
    path = tmp_path / "history.duckdb"
    other = Streams(namespace=f"{streams.namespace}-other", events_bytes_max=streams.events_bytes_max)
    await ensure_streams(bus, other)
    await fill(JetStreamLog(bus, other), seed=2)
    await catch_up(path, JetStreamLog(bus, other))
    foreign = dump(path)
    await fill(log)
    assert await rebuilt(path, log) == f"the log does not hold the event {EVENTS} that the old file ends with"
    (aside,) = kept(tmp_path, "superseded")
    assert dump(aside) == foreign
    for configuration in other.configurations():
        await bus.api(f"STREAM.DELETE.{configuration['name']}")


async def test_an_interrupted_rebuild_is_continued(tmp_path: Path, log: JetStreamLog) -> None:
    path = tmp_path / "history.duckdb"
    await fill(log)
    await catch_up(path, log)
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE position SET schema_version = 99")
    beside = tmp_path / "history.duckdb.rebuild"
    partial = projector_of(beside, log)
    await partial.run(until=200)
    with duckdb.connect(str(beside)) as connection:
        # Had it begun from the start, this would be gone.
        connection.execute("UPDATE events SET source = 'marked' WHERE sequence = 200")
    await catch_up(path, log)
    assert select(path, "SELECT source FROM events WHERE sequence = 200") == [("marked",)]
    difference = await first_difference(path, log)
    assert difference is not None
    assert difference.startswith("events, sequence 200:")
    assert "marked" in difference


async def test_the_leftover_of_a_rebuild_is_removed(tmp_path: Path, log: JetStreamLog) -> None:
    path = tmp_path / "history.duckdb"
    await fill(log)
    await catch_up(path, log)
    shutil.copy(path, tmp_path / "history.duckdb.rebuild")
    await catch_up(path, log)
    assert names_in(tmp_path) == [path.name]


async def test_a_foreign_file_is_refused(tmp_path: Path, log: JetStreamLog) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(Refused):
        await catch_up(path, log)
    assert path.read_text() == "mine"


async def test_what_nobody_understands_is_parked(tmp_path: Path, log: JetStreamLog, bus: Bus, streams: Streams) -> None:
    await fill(log)
    hostile = {
        "task.t1.submitted": b'{"id":"12345678","time":"2026-01-01T00:00:00Z","source":"x","event":'
        b'{"kind":"task.new"}}',
        "worker.w1.failed": b'{"id":"12345678","time":"2026-01-01T00:00:00Z","source":"x","event":'
        b'{"kind":"worker.failed","worker_id":"w1","reason":"because"}}',
        "nonsense": b"\x00\xff\xfe",
        "system.x": b"",
        "deep": b"[" * 100_000,
        "worker.w2.stopped": b'{"id":"12345678","time":"2026-01-01T00:00:00Z","source":"x","event":'
        b'{"kind":"worker.stopped","worker_id":"w1","incarnation":1}}',
        "worker.w1.stopped": b'{"id":"12345678","time":"2026-01-01T00:00:00Z","source":"x","event":'
        b'{"kind":"worker.stopped","worker_id":"w1","incarnation":' + b"9" * 30 + b"}}",
        "worker.w1.recovery_failed": b'{"id":"12345678","time":"2026-01-01T00:00:00Z","source":"x","event":'
        b'{"kind":"worker.recovery_failed","worker_id":"w1","incarnation":1,"strategy":"restart","error":"e","attempt":'
        + str(2**40).encode()
        + b"}}",
    }
    for tail, payload in hostile.items():
        await bus.request(streams.event_subject(tail), payload)
    await Writer(log, "test/1").write(WorkerReadmitted(worker_id="worker-1", actor="me"))
    path = tmp_path / "history.duckdb"
    await catch_up(path, log)
    parked = select(path, "SELECT subject, payload, reason FROM parked_events ORDER BY sequence")
    assert [subject for subject, _, _ in parked] == [streams.event_subject(tail) for tail in hostile]
    assert [payload for _, payload, _ in parked][:6] == list(hostile.values())[:6]
    assert parked[0][2].startswith("unknown kind 'task.new'")
    assert parked[6][2].startswith("malformed worker.stopped")
    assert "attempt is more than a table can hold" in parked[7][2]
    assert select(path, "SELECT kind FROM events ORDER BY sequence DESC LIMIT 1") == [("worker.readmitted",)]
    assert await first_difference(path, log) is None


async def test_a_gap_is_reported_once(tmp_path: Path, bus: Bus, streams: Streams) -> None:
    """A stream that admits deletion plays the disk that loses messages."""
    lossy = Streams(namespace=f"{streams.namespace}-lossy", events_bytes_max=streams.events_bytes_max)
    configuration = lossy.configurations()[0] | {"deny_delete": False}
    await bus.api(f"STREAM.CREATE.{lossy.events}", configuration)
    log = JetStreamLog(bus, lossy)
    await fill(log)
    for sequence in (100, 101, 300):
        await bus.api(f"STREAM.MSG.DELETE.{lossy.events}", {"seq": sequence})
    path = tmp_path / "history.duckdb"
    await catch_up(path, log)
    await catch_up(path, log)
    path.unlink()
    await catch_up(path, log)
    found = select(path, "SELECT payload->>'$.first', payload->>'$.last' FROM events WHERE kind = 'system.log_damaged'")
    assert found == [("100", "101"), ("300", "300")]
    recorded = await log.last_on("system.log_damaged")
    assert recorded is not None
    assert isinstance(recorded.event, LogDamaged)
    await bus.api(f"STREAM.DELETE.{lossy.events}")


async def test_a_missing_stream(tmp_path: Path, bus: Bus) -> None:
    log = JetStreamLog(bus, Streams(namespace="nobody"))
    with pytest.raises(BrokerRefused):
        await projector_of(tmp_path / "history.duckdb", log).run(once=True)


async def test_it_outlives_the_broker(tmp_path: Path, own_broker: Broker, streams: Streams) -> None:
    bus = await Connection.connect(own_broker.url, name="test")
    await ensure_streams(bus, streams)
    log = JetStreamLog(bus, streams)
    path = tmp_path / "history.duckdb"
    await fill(log)
    async with following(projector_of(path, log, bus)) as projector:
        assert await projector.wait_for(EVENTS, 20)
        own_broker.end()
        await own_broker.start()
        stored = await Writer(log, "test/1").write(WorkerReadmitted(worker_id="worker-1", actor="me"))
        assert await projector.wait_for(stored.last, 20)
    assert await first_difference(path, log) is None
    await bus.close()


async def test_a_lost_tail_is_noticed_while_it_runs(tmp_path: Path, own_broker: Broker, streams: Streams) -> None:
    """The broker comes back with an older store and hands out the same sequences again."""
    bus = await Connection.connect(own_broker.url, name="test")
    await ensure_streams(bus, streams)
    log = JetStreamLog(bus, streams)
    path = tmp_path / "history.duckdb"
    await fill(log)
    own_broker.end(signal.SIGTERM)
    backup = tmp_path / "backup"
    shutil.copytree(own_broker.store, backup)
    await own_broker.start()
    await until(lambda: bus.connected)
    async with following(projector_of(path, log, bus)) as projector:
        lost = await Writer(log, "test/1").write(WorkerReadmitted(worker_id="lost", actor="me"))
        assert await projector.wait_for(lost.last, 20)
        own_broker.end()
        shutil.rmtree(own_broker.store)
        shutil.copytree(backup, own_broker.store)
        # Before the projector meets it: what that says of its new file would take the sequence.
        again = await written_elsewhere(own_broker.store, streams, "again")
        assert again == lost.last
        await own_broker.start()
        await until(lambda: projector.rebuilding is None and bool(kept(tmp_path, "superseded")), 20)
        assert await projector.wait_for(again + 1, 20)
    assert select(path, f"SELECT entity FROM events WHERE sequence = {again}") == [("again",)]
    assert await first_difference(path, log) is None
    await bus.close()


async def test_a_disk_that_fails_for_a_while(
    tmp_path: Path, log: JetStreamLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "history.duckdb"
    await fill(log)
    store, failures = Database.store, iter(range(3))

    def failing(database: Database, made: Made) -> None:
        if next(failures, None) is not None:
            raise WriteFailed("No space left on device")
        store(database, made)

    monkeypatch.setattr(Database, "store", failing)
    monkeypatch.setattr("projections.projector.RETRY_PAUSE_S", 0.01)
    await catch_up(path, log)
    monkeypatch.undo()
    assert next(failures, None) is None
    assert await first_difference(path, log) is None
    said = await log.last_on("system.fault_reported")
    assert said is not None
    assert isinstance(said.event, FaultReported)
    assert said.event.error == "database"


async def test_a_disk_that_stays_full_ends_what_somebody_waits_for(
    tmp_path: Path, log: JetStreamLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "history.duckdb"
    await fill(log)
    await projector_of(path, log).run(until=100)

    def full(_: Database, __: Made) -> None:
        raise WriteFailed("No space left on device")

    monkeypatch.setattr(Database, "store", full)
    monkeypatch.setattr("projections.projector.RETRY_PAUSE_S", 0.001)
    with pytest.raises(WriteFailed, match="No space left"):
        await catch_up(path, log)
    monkeypatch.undo()
    assert select(path, "SELECT max(sequence) FROM events") == [(100,)]
    await catch_up(path, log)
    assert await first_difference(path, log) is None


async def test_two_files_of_one_log_are_equal(tmp_path: Path, log: JetStreamLog) -> None:
    await fill(log)
    one, two = tmp_path / "one.duckdb", tmp_path / "two.duckdb"
    await catch_up(one, log)
    step = projector_of(two, log)
    await step.run(until=99)
    await catch_up(two, log)
    assert await asyncio.to_thread(compare, one, two) is None
    with duckdb.connect(str(two)) as connection:
        connection.execute("DELETE FROM tasks WHERE task_id = (SELECT min(task_id) FROM tasks)")
    difference = await first_difference(two, log)
    assert difference is not None
    assert "the file: no such row" in difference
