"""A stretch of time of the history, and how people say which."""

import re
from datetime import UTC, datetime, timedelta
from typing import Self

import msgspec

from projections.errors import QueryError

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

HOW = "it takes a span such as 90m, 24h or 7d, or a moment such as 2026-01-31 or 2026-01-31T18:00Z"


class Window(msgspec.Struct, frozen=True):
    """From `since` up to, and without, `until`; both in UTC."""

    since: datetime
    until: datetime

    @classmethod
    def of(cls, since: str, until: str | None, end: datetime) -> Self:
        """Spans count back from `end`, or from `until` where that is given.

        Raises:
            QueryError: it cannot be read, or nothing is in it.
        """
        last = end if until is None else _moment("--until", until, end)
        window = cls(_moment("--since", since, last), last)
        if window.since >= window.until:
            raise QueryError(f"--since {since}: that window begins at {window.since:%Y-%m-%d %H:%M:%S} and ends before")
        return window

    def __str__(self) -> str:
        return f"{self.since:%Y-%m-%d %H:%M:%S} to {self.until:%Y-%m-%d %H:%M:%S} UTC"

    @property
    def seconds(self) -> float:
        return (self.until - self.since).total_seconds()

    def holds(self, column: str) -> str:
        """The SQL condition that a time lies in it."""
        return f"{column} >= {timestamp(self.since)} AND {column} < {timestamp(self.until)}"


def timestamp(moment: datetime) -> str:
    """A SQL literal."""
    return f"TIMESTAMP '{moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=' ')}'"


def _moment(flag: str, text: str, end: datetime) -> datetime:
    span = _SPAN.fullmatch(text.strip())
    try:
        if span is not None:
            return end - timedelta(**{_UNITS[span[2]]: float(span[1])})
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise QueryError(f"{flag} {text!r} is no time: {HOW}") from error


def timestamp_us(microseconds: int) -> str:
    """The literal of so many microseconds since the epoch."""
    return timestamp(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds))
