"""What the core remembers of repairs at large: the breaker, and the present mass loss. `evolve` alone writes them."""

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Literal, NamedTuple


class LastEnd(NamedTuple):
    """How the last attempt to bring a worker back ended."""

    at: float
    failed: bool


@dataclass(slots=True)
class Breaker:
    """Over all attempts to bring workers back. A worker counts once, by the end of its last attempt."""

    status: Literal["closed", "open", "half_open"] = "closed"
    until: float = 0.0
    """While it is open: when a single attempt is let through."""
    times: int = 0
    """How often in a row it was opened."""
    event_id: str = ""
    """The last event that changed its status."""
    ends: OrderedDict[str, LastEnd] = field(default_factory=OrderedDict)
    """By worker, within the policy's window, oldest first; from the last time on that it was closed."""
    failed: int = 0
    """How many of these failed."""
    probe: str = ""
    """The worker whose attempt was let through, while it is half open."""
    probe_failed: bool | None = None
    """What became of that; None: nothing yet."""


class Lost(NamedTuple):
    """A worker was lost: it is still expected, and does not count as live any more."""

    at: float
    sequence: int


class Charge(NamedTuple):
    """A task has paid for the loss of its worker."""

    at: float
    worker_id: str
    assigned_sequence: int
    """By which that worker had come to have it."""


class Returned(NamedTuple):
    """The broker is there again, and was away for all."""

    at: float
    sequence: int
    """Of the event that says so: whoever was given something before that may have lost it to the outage."""
    away_s: float
    event_id: str
    synthetic: str | None


@dataclass(slots=True)
class Stage:
    """A part of the repairs behind a mass loss."""

    number: int
    workers: tuple[str, ...]
    open: dict[str, None]
    """Those of them whose attempt has not ended."""
    began_at: float
    ended_at: float | None = None
    succeeded: int = 0
    failed: int = 0
    superseded: int = 0


@dataclass(slots=True)
class Outage:
    """The loss of a worker has left the system critical: from then on until the incident is closed, or until enough
    others are back before one was opened."""

    since: float
    event_id: str
    """Of the loss."""
    missing: dict[str, None]
    """Workers that were missing then, or were lost in one go and back already, and those that were lost since."""
    together: dict[str, None]
    """Of these, the ones that were lost in one go."""
    first_sequence: int = 0
    """Of the event by which the first of these was lost: whoever was given something after that has not lost it in one
    go with the others."""
    preserved: int = 0
    """Tasks that were with live workers when the incident was opened."""
    requeued: int = 0
    uncharged: int = 0
    lost: int = 0
    requeued_at: float | None = None
    """When no task of a lost worker was left to be put back."""
    succeeded: int = 0
    failed: int = 0
    superseded: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """Attempts that failed, by worker: of those that were lost together, they are counted nowhere else."""
    stages: list[Stage] = field(default_factory=list)
    """The last `STAGES_MAX` of them."""
    stage: int = 0
    """How many there have been."""
