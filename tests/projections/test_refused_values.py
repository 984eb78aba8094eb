"""Values that no table can hold, in a batch on its way from a real broker into a file."""

from pathlib import Path

import pytest

from events.jetstream import JetStreamLog
from events.task import TaskAssigned
from events.work import CommandWork
from events.writer import Writer
from projections import mapping
from tests.projections.histories import select, spoil
from tests.projections.test_projector import catch_up, fill


async def test_what_the_database_refuses_is_parked_and_the_rest_goes_on(
    tmp_path: Path, log: JetStreamLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the rows cannot be made of it, or cannot be stored."""
    spoil(monkeypatch, 123)
    monkeypatch.setattr(mapping, "_too_large", lambda event, plan: None)
    path = tmp_path / "history.duckdb"
    await fill(log)
    work = CommandWork(argv=("true",), cwd="/srv")
    too_many = TaskAssigned(task_id="t1", worker_id="w1", incarnation=1, attempt=2**40, work=work)
    refused = (await Writer(log, "projections/test").write(too_many)).last
    last = await fill(log, 200, seed=2)
    await catch_up(path, log)
    assert select(path, "SELECT sequence FROM parked_events ORDER BY sequence") == [(123,), (refused,)]
    assert select(path, "SELECT count(*), max(sequence) FROM events") == [(last - 2, last)]
