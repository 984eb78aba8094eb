"""How much of the rules before the present ones can still be told apart, and a rule book that tells as much.

All policies of the search have one of two sets of thresholds, of which one is the more patient in everything. So the
patience with a worker depends on whether it has heard of the last change to the others, and on nothing else. Whether
the shorter intervals were ever in force is known as well: a take-over asks for that (`recovery.decide_watch`).
"""

from copy import copy
from functools import lru_cache
from operator import ge
from typing import Any

from events.thresholds import Thresholds, thresholds_for
from recovery.rules import RuleBook, Rules
from recovery.state import State
from tests.simulation.exhaustive.frames import Frame
from tests.simulation.exhaustive.silences import over
from tests.simulation.exhaustive.world import POLICIES

Packed = tuple[Any, ...]

THRESHOLDS = [thresholds_for(policy, "", {}) for policy in POLICIES]
PATIENT, SHORT = 0, len(POLICIES) - 1
assert set(THRESHOLDS) == {THRESHOLDS[PATIENT], THRESHOLDS[SHORT]}
assert all(map(ge, THRESHOLDS[PATIENT][:-1], THRESHOLDS[SHORT][:-1]))


def turned_at(state: State, *, alone: bool) -> int:
    """The event with which the present thresholds came; 0: it makes no difference who has heard of that."""
    book = state.rules
    kept = book._kept
    present = _thresholds(kept[-1])
    place = len(kept)
    while place and _thresholds(kept[place - 1]) == present:
        place -= 1
    if place == 0 and book._forgotten in (None, present):
        return 0
    sequence = kept[place].sequence
    # Nobody else reads this log: whoever is less patient now is so with everybody who is behind that.
    if alone and (
        present == THRESHOLDS[PATIENT]
        or all(over(worker) or worker.incarnation >= sequence for worker in state.workers.values())
    ):
        return 0
    return sequence


def pack(state: State, frame: Frame) -> Packed:
    rules = state.rules._kept[-1]
    assert rules.stretch == 1.0, "no two workers are too many"
    assert rules.policy == state.policy
    shorter = state.rules.interval_min < rules.policy.heartbeat_interval
    # Who has heard of an event is not behind it: the mark lies between.
    if not frame.turned:
        return 0, shorter
    frame.ranks.rules("", frame.turned)
    return frame.ranks.event_mark(frame.turned - 1), shorter


def unpack(policy: int, mark: int, shorter: bool) -> RuleBook:
    book = copy(_book(policy, mark, shorter))
    book._kept = list(book._kept)
    book._detectors, book._patient = dict(book._detectors), dict(book._patient)
    return book


@lru_cache(maxsize=1_000)
def _book(policy: int, mark: int, shorter: bool) -> RuleBook:
    other = SHORT if THRESHOLDS[policy] == THRESHOLDS[PATIENT] else PATIENT
    book = RuleBook()
    book.change(0, POLICIES[other if mark or shorter else policy], 1.0, unheard=True)
    book.change(mark + 1 if mark else 0, POLICIES[policy], 1.0)
    return book


def _thresholds(rules: Rules) -> Thresholds:
    return thresholds_for(rules.policy, "", {}, rules.stretch)
