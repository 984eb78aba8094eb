"""How commands ask the history of a system that runs: over NATS, in pages, as far as its projector has come."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from coordinator.commands.histories import Where, opened
from coordinator.commands.report import Form, report
from coordinator.faults import Fault
from events.bus import Bus
from events.jetstream import JetStreamLog
from events.streams import Streams
from events.writer import Writer
from projections.projector import Projector
from projections.snapshots import Snapshots
from projections.sql import SqlService
from tests.projections.farm import Farm

EVENTS = 600
WIDE = "SELECT range AS n, repeat('x', 100) AS text FROM range(25000) ORDER BY n"
"""More than one reply holds, and more rows than one page."""


@pytest.fixture
async def where(tmp_path: Path, log: JetStreamLog, bus: Bus, streams: Streams) -> AsyncIterator[Where]:
    await log.append([draft for _, draft in zip(range(EVENTS), Farm(6).drafts(), strict=False)])
    projector = Projector(tmp_path / "history.duckdb", log, Writer(log, "projections/test"), bus)
    service = SqlService(bus, streams, Snapshots(projector))
    await service.start()
    work = asyncio.create_task(projector.run())
    assert await projector.wait_for(EVENTS, 20)
    yield Where(None, bus.url, streams.namespace, tmp_path)
    projector.stop()
    await work
    await service.close()


async def test_a_running_system_answers_in_pages(where: Where) -> None:
    def ask() -> tuple[list[int], int | None, datetime | None]:
        with opened(where) as (history, end):
            return [row[0] for row in history.rows(WIDE)], history.through_sequence, end

    before = datetime.now(UTC)
    rows, through, end = await asyncio.to_thread(ask)
    assert rows == list(range(25_000))
    assert through == EVENTS
    # It is not over: the window ends now, and not with the last event.
    assert end is not None
    assert before <= end <= datetime.now(UTC)


async def test_a_statement_that_has_no_result_is_a_fault(where: Where) -> None:
    def ask() -> None:
        with opened(where) as (history, _):
            history.rows("FROM nowhere")

    with pytest.raises(Fault, match="Table with name nowhere does not exist"):
        await asyncio.to_thread(ask)


async def test_a_report_on_a_running_system(where: Where, tmp_path: Path) -> None:
    output = tmp_path / "now.html"
    await asyncio.to_thread(
        report,
        form=Form.html,
        output=output,
        nats_url=where.nats_url,
        namespace=where.namespace,
        state_dir=where.state_dir,
    )
    page = output.read_text()
    assert page.startswith("<!doctype html>")
    assert f"as far as event {EVENTS}." in page
    assert '<section id="lanes">' in page
