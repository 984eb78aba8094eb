"""SQL over NATS, from a projector that goes on working."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from events.bus import Bus
from events.jetstream import JetStreamLog
from events.streams import Streams
from events.worker import WorkerReadmitted
from events.writer import Writer
from projections import child, sql
from projections.client import QueryError, Result, query_file
from projections.client import query as ask
from projections.projector import Projector
from projections.snapshots import Snapshots, snapshot_path
from projections.sql import REPLY_BYTES_MAX, Reply, SqlService
from tests.projections.farm import Farm

ENDLESS = "SELECT count(*) FROM range(100_000) a, range(1_000_000_000) b WHERE a.range * b.range % 7 = 3"


@pytest.fixture
async def served(tmp_path: Path, log: JetStreamLog, bus: Bus, streams: Streams) -> AsyncIterator[Projector]:
    await log.append([draft for _, draft in zip(range(200), Farm(6).drafts(), strict=False)])
    projector = Projector(tmp_path / "history.duckdb", log, Writer(log, "projections/test"), bus)
    service = SqlService(bus, streams, Snapshots(projector))
    await service.start()
    work = asyncio.create_task(projector.run())
    yield projector
    projector.stop()
    await work
    await service.close()


async def test_a_client_sees_what_it_has_written(
    served: Projector, bus: Bus, streams: Streams, log: JetStreamLog
) -> None:
    count = "SELECT count(*) FROM events"
    assert (await ask(bus, streams, count, at_least=200)).rows == [[200]]
    stored = await Writer(log, "test/1").write(WorkerReadmitted(worker_id="w1", actor="me"))
    found = await ask(bus, streams, count, at_least=stored.last)
    assert (found.rows, found.through_sequence) == ([[201]], 201)
    assert query_file(snapshot_path(served.path), count).rows == [[201]]


async def test_a_client_is_told_why_not(served: Projector, bus: Bus, streams: Streams) -> None:
    assert await served.wait_for(200, 20)
    with pytest.raises(QueryError, match="only SELECT and EXPLAIN are taken, and this is DELETE"):
        await ask(bus, streams, "DELETE FROM events")
    with pytest.raises(QueryError, match=r"does not hold event 999 after 0\.1 s: it has come to event 200"):
        await ask(bus, streams, "SELECT 1", at_least=999, timeout_s=0.1)
    with pytest.raises(QueryError, match="Table with name nowhere does not exist"):
        await ask(bus, streams, "FROM nowhere")


async def test_nobody_answers(bus: Bus, streams: Streams) -> None:
    with pytest.raises(QueryError, match="no projector answers"):
        await ask(bus, streams, "SELECT 1")


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", b"[]", b'{"sql":"SELECT 1","rows_max":0}', b'{"sql":1}', b'{"sql":"SELECT 1","x":1}', b"[" * 50_000],
)
async def test_a_request_that_is_none(served: Projector, bus: Bus, streams: Streams, payload: bytes) -> None:
    assert served is not None
    reply = msgspec.json.decode(await bus.request(streams.service_subject("sql"), payload), type=Reply)
    assert reply.error is not None
    assert reply.error.startswith("the request is not understood")


async def test_records_and_large_replies(served: Projector, bus: Bus, streams: Streams) -> None:
    request = {"sql": "SELECT 1 AS a_long_name_that_is_repeated FROM range(60000)", "format": "records"}
    payload = msgspec.json.encode(request | {"rows_max": 60_000, "timeout_s": 20, "at_least": 200})
    answer = await bus.request(streams.service_subject("sql"), payload, timeout_s=30)
    assert len(answer) <= REPLY_BYTES_MAX
    reply = msgspec.json.decode(answer, type=Reply)
    assert reply.truncated
    assert reply.rows[0] == {"a_long_name_that_is_repeated": 1}
    assert len(reply.rows) > 10_000
    assert served.rebuilding is None


async def test_many_ask_at_once(served: Projector, bus: Bus, streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "WAITING_MAX", 2)
    assert await served.wait_for(200, 20)
    asked = [ask(bus, streams, f"SELECT {number}", timeout_s=20) for number in range(8)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    answered = [answer for answer in answers if isinstance(answer, Result)]
    refused = [answer for answer in answers if isinstance(answer, QueryError)]
    assert (len(answered), len(refused)) == (4, 4)
    assert {str(answer) for answer in refused} == {"too many statements wait already; try again later"}


async def test_the_end_does_not_wait_for_a_statement(served: Projector, bus: Bus, streams: Streams) -> None:
    assert await served.wait_for(200, 20)
    service = SqlService(bus, streams, Snapshots(served))
    started = asyncio.Event()
    asked = asyncio.create_task(service.answer(sql.Request(ENDLESS, timeout_s=100)))
    child_start = child.start

    def start() -> child.Process:
        loop.call_soon_threadsafe(started.set)
        return child_start()

    loop = asyncio.get_running_loop()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(child, "start", start)
        await started.wait()
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await service.close()
    async with asyncio.timeout(10):
        await loop.shutdown_default_executor()
