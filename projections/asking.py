"""A history that can be asked, whoever answers."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from projections.child import Result
from projections.errors import QueryError

Ask = Callable[[str, int], Result]
"""A statement, and how many rows at most; raises `QueryError`."""

PAGE = 20_000
PAGES_MAX = 50


class History:
    """Whole answers, even those that do not fit one reply."""

    def __init__(self, ask: Ask, behind: Callable[[int], tuple[int, float]] | None = None) -> None:
        self._ask = ask
        self.behind = behind
        """For an answer that knew of the events up to a sequence: how many it had missed of those that the log held
        when it was first asked, and for how many seconds the first of them had been there. None: nobody knows the log.
        """
        self.through_sequence: int | None = None
        """The last event that the first answer knew of."""

    def rows(self, sql: str) -> list[list[Any]]:
        """All rows of a SELECT that says in which order they come.

        Raises:
            QueryError: it has no result, or no end.
        """
        return self._whole(sql)[1]

    def records(self, sql: str) -> list[dict[str, Any]]:
        """The same with names."""
        columns, rows = self._whole(sql)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def _whole(self, sql: str) -> tuple[list[str], list[list[Any]]]:
        found: list[list[Any]] = []
        for _ in range(PAGES_MAX):
            page = self._ask(f"SELECT * FROM ({sql}) LIMIT {PAGE} OFFSET {len(found)}" if found else sql, PAGE)  # noqa: S608
            if self.through_sequence is None:
                self.through_sequence = page.through_sequence
            found += page.rows
            if not page.truncated and len(page.rows) < PAGE:
                return page.columns, found
            if page.truncated and not page.rows:
                raise QueryError("a single row of the history is too large for a reply")
        raise QueryError(f"the answer has more than {len(found)} rows: choose a shorter window")

    def last_event_at(self) -> datetime | None:
        """None: it holds none."""
        [[last]] = self.rows("SELECT max(recorded_at) FROM events")
        return None if last is None else datetime.fromisoformat(last).replace(tzinfo=UTC)
