"""An order, as it is given, and what there is to say of it afterwards."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Word = Literal["pause", "resume", "drain", "cordon", "uncordon", "readmit", "cancel"]

WAIT_S = 10.0
WAIT_S_MAX = 3600.0

Prose = Annotated[str, Meta(max_length=1000)]
Wait = Annotated[float, Meta(ge=0, le=WAIT_S_MAX)]


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /api/orders`, too.

    `targets`: ids of workers, of runs or tasks for `cancel`, none for `pause` and `resume`; `*` and `?` stand for any
    characters, or one.
    """

    order: Word
    targets: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...], Meta(max_length=1000)] = ()
    actor: Prose = ""
    reason: Prose = ""
    restart: bool = False
    """Of `drain`: begin anew instead of ending."""
    wait_s: Wait = WAIT_S
    """For what is to come of it."""


Outcome = Literal["done", "pending", "unchanged", "refused"]
"""`pending`: it is in the log, and its effect has not come within the time. `unchanged`: it was so already.
`refused`: it makes no sense for this one, and is not in the log."""

GOOD: frozenset[Outcome] = frozenset({"done", "unchanged"})


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    target: str
    """Empty where the system is meant."""
    outcome: Outcome
    sequence: int
    """Of the event that records the order; 0: there is none."""
    sentence: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    order: Word
    actor: str
    reason: str
    effects: tuple[Effect, ...]

    @property
    def good(self) -> bool:
        return all(effect.outcome in GOOD for effect in self.effects)
