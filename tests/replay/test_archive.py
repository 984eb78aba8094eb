"""Archives: what goes in comes out, to the bit, and reads like the log that it was."""

import json
from pathlib import Path

import duckdb
import pytest

from events import codec
from events.envelope import Recorded
from events.errors import BrokerRefused
from events.heartbeats import send_heartbeat
from events.jetstream import JetStreamLog
from events.kinds import tag_of
from events.streams import Streams, ensure_streams
from events.task import TaskCompleted, TaskSubmitted
from events.worker import Heartbeat
from replay.access import Location, Source, open_by_address
from replay.archive import (
    EVENTS,
    HEARTBEATS,
    ROWS_READ,
    Archive,
    ArchiveBeats,
    ArchiveFault,
    ArchiveLog,
    ArchiveWriter,
    Message,
)
from replay.beats import StreamBeats
from replay.export import export
from replay.reading import stretch
from replay.story import story_of
from replay.verify import verify
from tests.conftest import BrokerProcess
from tests.events.examples import EXAMPLES, MOMENT, drafted
from tests.recovery.story import Story, submitted
from tests.replay.wrong import recovered

ODD = (
    Message(EVENTS, 1, 1_790_000_000_123_456_789, "farm.event.worker.w1.odd", None, b"\x00\xff not JSON"),
    Message(EVENTS, 2, 1_790_000_000_123_456_790, "farm.event.a b", {"Nats-Msg-Id": "x", "B": "\u00fc\n'\"{}"}, b""),
    Message(EVENTS, 3, 0, "", {}, b"x" * 300_000),
    Message(HEARTBEATS, 7, 2**62, "farm.heartbeat.w1", None, b"{}"),
)


def written(path: Path, messages: tuple[Message, ...] | list[Message]) -> Path:
    with ArchiveWriter(path, "farm") as writer:
        for message in messages:
            writer.add(message)
    return path


def told(story: Story) -> list[Message]:
    """A story as a broker would hold it."""
    events = [
        Message(
            EVENTS,
            recorded.sequence,
            round(recorded.time * 1e6) * 1000,
            f"farm.event.{recorded.subject}",
            None,
            codec.encode(recorded.envelope) if recorded.envelope is not None else recorded.raw,
        )
        for recorded in story.records
    ]
    beats = [
        Message(
            HEARTBEATS,
            beat.sequence,
            round(beat.time * 1e6) * 1000,
            f"farm.heartbeat.{beat.heartbeat.worker_id}",
            None,
            json_of(beat.heartbeat),
        )
        for beat in story.beats
        if beat.heartbeat is not None
    ]
    return events + beats


def json_of(heartbeat: Heartbeat) -> bytes:
    import msgspec

    return msgspec.json.encode(heartbeat)


async def everything(log: ArchiveLog | JetStreamLog) -> list[Recorded]:
    return [recorded async for batch in stretch(log) for recorded in batch]


def test_every_byte_comes_back(tmp_path: Path) -> None:
    with Archive(written(tmp_path / "log.parquet", ODD)) as archive:
        assert archive.namespace == "farm"
        assert [*archive.messages(EVENTS), *archive.messages(HEARTBEATS)] == list(ODD)
        assert archive.span(EVENTS) == (1, 3)
        assert archive.span(HEARTBEATS) == (7, 7)
    assert list(tmp_path.iterdir()) == [tmp_path / "log.parquet"], "nothing is left beside it"


def test_nothing_at_all(tmp_path: Path) -> None:
    with Archive(written(tmp_path / "log.parquet", ())) as archive:
        assert archive.messages(EVENTS) == []
        assert archive.span(HEARTBEATS) == (0, 0)


def test_a_name_that_looks_like_a_pattern(tmp_path: Path) -> None:
    written(tmp_path / "log1.parquet", ())
    with Archive(written(tmp_path / "log[1]*?'s.parquet", ODD)) as archive:
        assert archive.span(EVENTS) == (1, 3)


def test_an_error_leaves_no_file_and_the_older_one(tmp_path: Path) -> None:
    path = written(tmp_path / "log.parquet", ODD)
    before = path.read_bytes()
    with pytest.raises(AttributeError, match="_asdict"), ArchiveWriter(path, "farm") as writer:
        writer.add(None)  # type: ignore[arg-type]
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


async def test_it_reads_like_a_log(tmp_path: Path) -> None:
    story = recovered()
    with Archive(written(tmp_path / "log.parquet", told(story))) as archive:
        log = ArchiveLog(archive)
        read = await everything(log)
        assert [one.envelope for one in read] == [one.envelope for one in story.records]
        assert [one.time for one in read] == [one.time for one in story.records]
        assert await log.last_sequence() == story.last
        assert await log.read_one(3) == read[2]
        assert await log.read_one(story.last + 1) is None
        assert await log.read_one(0) is None
        assert await log.last_on("system.leader") == read[0]
        assert await log.last_on("system.leaders") is None
        assert [one.sequence for one in (await story_of(log, "t1")).events] == [
            one.sequence for one in story.records if getattr(one.event, "task_id", "") == "t1"
        ]
        outcome = await verify(log, ArchiveBeats(archive))
        assert (outcome.difference, outcome.obstacle) == (None, None)
        assert outcome.decisions > 10
        beats = ArchiveBeats(archive)
        assert beats.first == 1
        assert await beats.through(1) + await beats.until(float("inf")) == story.beats
        with pytest.raises(BrokerRefused, match=r"log.parquet is an archive: what it holds is past"):
            await log.append([drafted(EXAMPLES[0])])


async def test_it_is_read_in_portions_and_says_what_is_missing(tmp_path: Path) -> None:
    payload = codec.encode(drafted(submitted("t1")).envelope)
    last = 2 * ROWS_READ + 10
    rows = [
        Message(EVENTS, sequence, sequence, "farm.event.task.t1.submitted", None, payload)
        for sequence in range(1, last + 1)
        if sequence not in (5, 6, ROWS_READ + 1)
    ]
    with Archive(written(tmp_path / "log.parquet", rows)) as archive:
        log = ArchiveLog(archive)
        async with await log.reader(2) as reader:
            sizes = []
            while batch := await reader.next():
                sizes.append(len(batch))
            assert sizes == [ROWS_READ - 3, ROWS_READ, 8]
            assert sum(sizes) == len(rows) - 2
            assert reader.caught_up
            assert reader.damage() == [(5, 6), (ROWS_READ + 1, ROWS_READ + 1)]
            assert reader.damage() == []
        async with await log.reader(0, ["task.*.completed"]) as reader:
            assert await reader.next() == []
            assert reader.caught_up


async def test_a_live_log_to_a_file_and_back(broker: BrokerProcess, streams: Streams, tmp_path: Path) -> None:
    """Both streams of a real broker, messages that nobody understands among them."""
    path = tmp_path / "log.parquet"
    async with open_by_address(Location(broker.url, streams.namespace, tmp_path)) as source:
        await ensure_streams(source.bus, streams)
        log = source.log
        await log.append([drafted(event) for event in EXAMPLES])
        await log.append([drafted(EXAMPLES[0], synthetic="drill")])
        await source.bus.request(streams.event_subject("worker.w1.odd"), b"\xff{", {"X-Odd": "1"})
        for beat in (1, 2):
            await send_heartbeat(
                source.bus, streams, Heartbeat(worker_id="w1", incarnation=1, beat=beat, sent_at=MOMENT)
            )
        exported = await export(source, path)
        assert exported == (len(EXAMPLES) + 2, 2, 0)
        live = await everything(JetStreamLog(source.bus, streams))
        async with StreamBeats(source.bus, streams) as beats:
            live_beats = await beats.until(float("inf"))
        with Archive(path) as archive:
            assert await everything(ArchiveLog(archive)) == live
            assert await ArchiveBeats(archive).until(float("inf")) == live_beats
            await same_bytes(source, archive)
    assert {tag_of(type(one.event)) for one in live if one.event} == {tag_of(type(one)) for one in EXAMPLES}


async def same_bytes(source: Source, archive: Archive) -> None:
    """Against what the server itself says of each message."""
    import base64
    from datetime import datetime

    for message in archive.messages(EVENTS):
        answer = await source.bus.api(f"STREAM.MSG.GET.{source.streams.events}", {"seq": message.sequence})
        stored = json.loads(answer)["message"]
        assert base64.b64decode(stored.get("data", "")) == message.payload
        assert stored["subject"] == message.subject
        whole, _, fraction = stored["time"].rstrip("Z").partition(".")
        seconds = round(datetime.fromisoformat(whole + "+00:00").timestamp())
        assert message.time_ns == seconds * 1_000_000_000 + int(fraction.ljust(9, "0"))
        lines = base64.b64decode(stored.get("hdrs", "")).decode().split("\r\n")[1:]
        assert [line for line in lines if line] == [f"{key}: {value}" for key, value in (message.headers or {}).items()]


def test_any_tool_reads_it(tmp_path: Path) -> None:
    path = written(tmp_path / "log.parquet", told(recovered()))
    rows = duckdb.sql(
        "SELECT decode(payload)::JSON->'event'->>'kind' AS kind, count(*) FROM read_parquet($path) "
        "WHERE stream = 'EVENTS' GROUP BY ALL",
        params={"path": str(path)},
    ).fetchall()
    assert dict(rows)[tag_of(TaskSubmitted)] == dict(rows)[tag_of(TaskCompleted)] == 4


def opened(path: Path) -> None:
    with Archive(path):
        pass


def test_files_that_are_none(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("nothing of the kind")
    other = tmp_path / "other.parquet"
    duckdb.sql(f"COPY (SELECT 1 AS one) TO '{other}' (FORMAT parquet)")
    newer = tmp_path / "newer.parquet"
    metadata = "{format: 'resurgam-archive', version: '2'}"
    duckdb.sql(f"COPY (SELECT 1 AS one) TO '{newer}' (FORMAT parquet, KV_METADATA {metadata})")
    for path, sentence in (
        (tmp_path / "gone.parquet", "there is no file .*gone.parquet: 'resurgam replay export FILE' writes one"),
        (tmp_path, "there is no file "),
        (text, "notes.txt is no Parquet file: "),
        (other, "other.parquet is a Parquet file, and no archive of a log"),
        (newer, "newer.parquet is an archive of version 2, not 1: upgrade this program"),
    ):
        with pytest.raises(ArchiveFault, match=sentence) as caught:
            opened(path)
        assert "\n" not in str(caught.value)


def test_a_damaged_file(tmp_path: Path) -> None:
    path = written(tmp_path / "log.parquet", told(recovered()))
    whole = path.read_bytes()
    opened(path)
    for position in range(4, len(whole) - 3000, 97):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        with pytest.raises(ArchiveFault, match=r"log.parquet is damaged: .*; export it again, or take another copy"):
            opened(path)
    path.write_bytes(whole[:-10])
    with pytest.raises(ArchiveFault, match=r"log.parquet is no Parquet file"):
        opened(path)


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(ArchiveFault, match=r"log.parquet cannot be written: No such file or directory"):
        written(tmp_path / "nowhere" / "log.parquet", ODD)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").touch()
    with pytest.raises(ArchiveFault, match="folder cannot be written: Is a directory"):
        written(tmp_path / "folder", ODD)
