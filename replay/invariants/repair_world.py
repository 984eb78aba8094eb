"""What the invariants know of attempts to bring workers back, and of what is over all of them: a part of `world`."""

from dataclasses import dataclass, field
from typing import NamedTuple

PASSIVE = frozenset({"await", "escalate"})
"""Strategies under which nothing is done."""


def repairs_max(share: float, expected: int) -> int:
    """How many of the expected workers may be under repair at once."""
    return max(1, int(share * expected + 1e-6))


@dataclass(slots=True)
class Attempt:
    """An open attempt to bring a worker back."""

    number: int
    incarnation: int
    not_before: float
    strategy: str = "await"
    reason: str = "unknown"
    status: str = "scheduled"
    deadline: float = 0.0
    acted: bool = False
    """Somebody has said what came of what its strategy does."""
    answered: bool = False
    spoiled: bool = False
    """It cannot succeed any more: its strategy could not be carried out, its new agent died, or failed again, or what
    it would bring back is gone."""

    @property
    def hopeless(self) -> bool:
        """It must not even begin."""
        return self.status == "scheduled" and self.spoiled

    @property
    def acts(self) -> bool:
        """It does more than wait."""
        return self.strategy not in PASSIVE


class Returned(NamedTuple):
    """The broker was away from everybody, and is there again."""

    at: float
    sequence: int
    label: str | None


@dataclass(slots=True)
class Outage:
    """The loss of a worker has left the system critical."""

    together: set[str]
    """Workers that were lost in one go."""
    first: int = 0
    """Sequence of the first of these losses."""
    failures: dict[str, int] = field(default_factory=dict)
    stage: int = 0
    stage_open: set[str] = field(default_factory=set)
    """Workers of the present stage whose attempt has not ended."""
    stage_size: int = 0
    brought_back: int = 0
    """In the present or last stage; or they have lost their object."""


@dataclass(slots=True)
class Repairs:
    """What is being done at once to bring workers back, and the breaker over it."""

    under_way: set[str] = field(default_factory=set)
    """Workers whose attempt does something and has begun."""
    breaker: str = "closed"
    until: float = 0.0
    times: int = 0
    probe: str = ""
    probe_failed: bool | None = None
    ends: dict[str, tuple[float, bool]] = field(default_factory=dict)
    """By worker: when its last attempt ended, and whether it failed; since the breaker was closed last."""
    batch: int = 0
    begun: int = 0
    """Attempts that this batch begins."""
