"""What a history file holds, and events to fill one with."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from events.base import Event
from events.clock import utc
from events.envelope import Draft, Envelope, Recorded
from projections import mapping
from projections.rows import EventRow
from projections.tables import TABLES
from projections.working_set import Changes, WorkingSet

EPOCH = 1_790_000_000.0

Dump = dict[str, list[tuple[Any, ...]]]


def dump(path: Path) -> Dump:
    """Every table of a closed file, in the order of its key."""
    with duckdb.connect(str(path), read_only=True) as connection:
        found = {
            table.name: connection.execute(f"SELECT * FROM {table.name} ORDER BY {table.key}").fetchall()
            for table in TABLES
        }
        found["position"] = connection.execute("SELECT * FROM position").fetchall()
    return found


def select(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def drafts(events: Iterable[Event]) -> list[Draft]:
    return [
        Draft(Envelope(id=f"event-id-{number}", time=utc(EPOCH), source="test/1", event=event))  # type: ignore[arg-type]
        for number, event in enumerate(events, start=1)
    ]


def record(sequence: int, event: Event, synthetic: str | None = None) -> Recorded:
    """An event as the log has it: one a second."""
    envelope = Envelope(
        id=f"event-id-{sequence}",
        time=utc(EPOCH),
        source="test/1",
        event=event,  # type: ignore[arg-type]
    )
    return Recorded(sequence, EPOCH + sequence, f"resurgam.event.{event.tail()}", envelope, synthetic)


def records(*events: Event, synthetic: str | None = None) -> list[Recorded]:
    return [record(number, event, synthetic) for number, event in enumerate(events, start=1)]


def garbage(sequence: int, payload: bytes = b"\x00garbage\xff") -> Recorded:
    return Recorded(sequence, EPOCH + sequence, "resurgam.event.nonsense", None, None, "malformed: garbage", payload)


def recorded_from(stream: Iterable[Draft], total: int) -> list[Recorded]:
    """The first `total` of a farm's drafts, as the log would have them."""
    found = []
    for sequence, draft in zip(range(1, total + 1), stream, strict=False):
        subject = f"resurgam.event.{draft.envelope.event.tail()}"
        found.append(Recorded(sequence, EPOCH + sequence * 0.0137, subject, draft.envelope, draft.synthetic))
    return found


def changes(*events: Event, synthetic: str | None = None) -> Changes:
    """What the events do to empty tables."""
    rows = WorkingSet()
    mapping.apply(rows, records(*events, synthetic=synthetic))
    return rows.take_changes()


def spoil(monkeypatch: pytest.MonkeyPatch, sequence: int) -> None:
    """From here on the row of that event holds a time that no buffer and no TIMESTAMP can hold."""
    made = mapping._event

    def spoilt(recorded: Recorded, envelope: Envelope, plan: mapping._Plan) -> EventRow:
        row = made(recorded, envelope, plan)
        if recorded.sequence == sequence:
            row.recorded_at = 2**70
        return row

    monkeypatch.setattr(mapping, "_event", spoilt)


def at(sequence: int) -> int:
    """The broker's time of an event made by `records`, as rows carry it."""
    return int(EPOCH + sequence) * 1_000_000
