"""What a search finds, and what it has tried."""

from typing import Literal

import msgspec

Kind = Literal["failing_together", "deadly_test", "time_of_day", "motif", "policy"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is no chance. `lift`: how many times as often as chance would have it."""

    kind: Kind
    subject: str
    """What it is about, in a few words: `w1 + w2`."""
    sentence: str
    seen: int
    of: int
    """Seen so often, of so many times that it could have been."""
    expected: float
    """So often by chance."""
    lift: float
    p: float
    p_adjusted: float = 1.0
    """For all that was tried."""
    sql: str
    """Shows the rows behind it, one for each that was seen."""


class Trials(msgspec.Struct):
    """What one search has tried: candidates with support, and how many things were compared altogether."""

    candidates: list[Finding] = []
    tried: int = 0


def times(lift: float) -> str:
    if lift >= 1000:
        return "more than 1,000 times as often"
    return f"{lift:,.0f} times as often" if lift >= 10 else f"{lift:.1f} times as often"


def quoted(text: str) -> str:
    """A SQL literal."""
    return "'" + text.replace("'", "''") + "'"
