"""What a report says, whatever it looks like. As JSON it is just this."""

from datetime import datetime
from typing import Any

import msgspec

from projections.figures import Figure
from projections.patterns.search import Patterns


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What is reported on. `since` belongs to it, `until` does not."""

    title: str
    since: datetime
    until: datetime
    run_id: str | None = None
    incident_id: str | None = None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    events: int
    workers: int
    """That are known at all by the end."""
    failures: int
    """Of workers, real ones."""
    drills: int
    """Failures that were made up."""
    tasks: dict[str, int]
    """Completed, by verdict."""
    requeued: int
    incidents: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Something that somebody should know of."""

    sequence: int
    at: datetime
    kind: str
    text: str
    synthetic: str | None = None


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A worker in one state."""

    state: str
    since: datetime
    until: datetime


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """The end of an attempt to bring it back."""

    at: datetime
    success: bool
    text: str


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    worker_id: str
    spans: list[Span]
    marks: list[Mark]
    coarse: bool = False
    """It had more to it than can be seen: the prevailing states, the longest times out, and attempts in vain."""


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """As in the table `outages`; without drills, and without what an operator held up."""

    id: int
    worker_id: str
    reason: str
    down_at: datetime
    failed_at: datetime
    ended_at: datetime | None
    ending: str | None
    recovery_s: float | None
    attempts: int
    strategy: str | None


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Failures of workers for one reason, by what became of them."""

    reason: str
    endings: dict[str, int]

    @property
    def failures(self) -> int:
        return sum(self.endings.values())


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """An event of a causal chain. `cause`: the sequence of the event that led to it."""

    sequence: int
    at: datetime
    kind: str
    entity: str | None
    text: str
    cause: int | None


class Case(msgspec.Struct, frozen=True, kw_only=True):
    title: str
    chain: list[Link]
    left_out: int = 0
    """Events that the chain has and that are not shown."""
    note: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    scope: Scope
    made_at: datetime
    through_sequence: int | None
    """The last event that the history held."""
    summary: Summary
    figures: list[Figure]
    incident: dict[str, Any] | None
    """The row of `incidents`, in a report on one."""
    lanes: list[Lane]
    lanes_left_out: int
    """Workers that had less to show."""
    outages: list[Outage]
    reasons: list[Reason]
    cases: list[Case]
    timeline: list[Entry]
    timeline_left_out: int
    """Older entries."""
    patterns: Patterns
