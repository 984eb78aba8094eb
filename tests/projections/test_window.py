"""Windows as people say them, and answers that take more than one page."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from projections.asking import PAGE, PAGES_MAX, History
from projections.child import Result
from projections.database import Database
from projections.errors import QueryError
from projections.window import Window, timestamp_us
from tests.projections.histories import records, select
from tests.projections.seasons import Plant, Season

END = datetime(2026, 3, 9, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("since", "until", "began", "ended"),
    [
        ("90m", None, END - timedelta(minutes=90), END),
        ("1.5h", None, END - timedelta(minutes=90), END),
        ("2 w", None, END - timedelta(days=14), END),
        ("1d", "12h", END - timedelta(hours=36), END - timedelta(hours=12)),
        ("2026-03-01", "2026-03-02", datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC)),
        ("2026-03-01T18:00+02:00", None, datetime(2026, 3, 1, 16, tzinfo=UTC), END),
    ],
)
def test_windows(since: str, until: str | None, began: datetime, ended: datetime) -> None:
    assert Window.of(since, until, END) == Window(began, ended)


@pytest.mark.parametrize(
    ("since", "until", "said"),
    [
        ("yesterday", None, "--since 'yesterday' is no time: it takes a span such as 90m"),
        ("24h", "24 parsecs", "--until '24 parsecs' is no time"),
        ("999999999w", None, "is no time"),
        ("0s", None, "begins at 2026-03-09 12:00:00 and ends before"),
        ("2026-03-10", None, "begins at 2026-03-10 00:00:00 and ends before"),
        ("-3h", None, "is no time"),
    ],
)
def test_no_windows(since: str, until: str | None, said: str) -> None:
    with pytest.raises(QueryError, match=said):
        Window.of(since, until, END)


def test_a_window_in_sql(tmp_path: Path) -> None:
    path = tmp_path / "history.duckdb"
    database = Database.open(path)
    told = records(*(one.event for one in Season(1, Plant(days=0.0)).records if one.event is not None))
    database.apply(told)
    database.close()
    third = told[2].time
    within = Window(datetime.fromtimestamp(third, UTC), datetime.fromtimestamp(third + 2, UTC))
    found = select(path, f"SELECT sequence FROM events WHERE {within.holds('recorded_at')} ORDER BY sequence")
    assert found == [(3,), (4,)]
    assert timestamp_us(int(third * 1e6)) in within.holds("recorded_at")


def test_pages_until_there_are_no_more() -> None:
    rows = [[number] for number in range(2 * PAGE + 5)]
    asked = []

    def ask(sql: str, rows_max: int) -> Result:
        asked.append(sql)
        skipped = int(sql.rpartition(" ")[2]) if "OFFSET" in sql else 0
        part = rows[skipped:][: min(rows_max, 15_000)]
        return Result(["n"], ["BIGINT"], part, truncated=skipped + len(part) < len(rows), through_sequence=7)

    history = History(ask)
    assert history.rows("SELECT n FROM numbers ORDER BY n") == rows
    assert history.through_sequence == 7
    assert len(asked) == 3
    assert history.records("SELECT n FROM numbers ORDER BY n") == [{"n": number} for [number] in rows]


def test_pages_without_end() -> None:
    many = History(
        lambda sql, rows_max: Result(["n"], ["BIGINT"], [[1]] * rows_max, truncated=True, through_sequence=7)
    )
    with pytest.raises(QueryError, match=f"more than {PAGE * PAGES_MAX} rows: choose a shorter window"):
        many.rows("SELECT 1")
    large = History(lambda sql, rows_max: Result(["n"], ["BIGINT"], [], truncated=True, through_sequence=7))
    with pytest.raises(QueryError, match="too large"):
        large.rows("SELECT 1")
