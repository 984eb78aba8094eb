"""What is written around every event, and what a reader gets back."""

from typing import Annotated

from msgspec import Meta, Struct

from events.base import Event, Moment, Sequence
from events.kinds import AnyEvent

SYNTHETIC_HEADER = "Resurgam-Synthetic"
TRACE_HEADER = "traceparent"


class Provenance(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a decision was made from. Folding both streams to `as_of_*` and deciding at `decided_at` under the rules
    of `rules_version` gives the whole batch again, of which this event is number `index` of `count`.

    A broker that loses the last heartbeats uses their sequences again: `as_of_heartbeats_at`, the time of the one at
    `as_of_heartbeats`, says which was meant. None: it is of no importance."""

    as_of_events: Sequence
    as_of_heartbeats: Sequence
    as_of_heartbeats_at: Moment | None = None
    decided_at: Moment
    rules_version: Annotated[int, Meta(ge=1)]
    rule: str
    index: Sequence = 0
    count: Annotated[int, Meta(ge=1)] = 1


class Envelope(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The payload of a message of the stream EVENTS, as JSON.

    `time` is the writer's clock and is for people only: order and time in every fold are the broker's.
    `causation_id` is the id of the event that led to this one; `correlation_id` groups a story (a run's id for
    tasks, the failure's event id for a worker's recovery). `version` is the version of the event kind's shape.
    """

    id: Annotated[str, Meta(min_length=8, max_length=128)]
    time: Moment
    source: Annotated[str, Meta(max_length=128)]
    event: AnyEvent
    version: Annotated[int, Meta(ge=1)] = 1
    causation_id: str | None = None
    correlation_id: str | None = None
    decision: Provenance | None = None


class Draft(Struct, frozen=True, gc=False):
    """An envelope on its way into the log, with what travels in headers."""

    envelope: Envelope
    synthetic: str | None = None
    """A label that marks the event as made up, so that metrics leave it out."""
    traceparent: str | None = None


class Recorded(Struct, frozen=True, gc=False):
    """A message as it stands in the log: where, when, and what.

    `envelope` is None where the message could not be understood; then `problem` says why and `raw` holds it.
    """

    sequence: int
    time: float
    """The broker's timestamp, seconds since the epoch."""
    subject: str
    envelope: Envelope | None
    synthetic: str | None = None
    problem: str | None = None
    raw: bytes = b""

    @property
    def event(self) -> Event | None:
        return None if self.envelope is None else self.envelope.event

    @property
    def id(self) -> str:
        return "" if self.envelope is None else self.envelope.id
