"""The core: fold recorded facts into a state, and say what that state still owes.

    evolve(state, recorded)   applies an event of EVENTS
    observe(state, recorded)  applies a heartbeat of HEARTBEATS
    decide(state, now)        what is owed at this time; changes nothing

It knows no clock, no chance, no network and no disk. `decide` looks at what is, not at what has just happened, so
whoever folds the same streams to the same sequences owes the same decisions, in the same order.
"""

from collections.abc import Iterator
from itertools import chain, islice

from recovery.decide_forecast import owed_to_forecasts
from recovery.decide_repairs import owed_to_repairs
from recovery.decide_system import owed_to_system
from recovery.decide_tasks import (
    owed_assignments,
    owed_to_barred,
    owed_to_orphans,
    owed_to_settle,
    owed_to_stranded,
    requeues_due,
)
from recovery.decide_useless import owed_to_useless
from recovery.decide_watch import awaits_witness, heard_ahead, owed_to_watch
from recovery.decide_workers import owed_to_workers
from recovery.decisions import DECISIONS_MAX, FEW, RULES_VERSION, Decision, most_urgent
from recovery.evolve import evolve, forget_beats, observe, recall_beats
from recovery.flapping import owed_to_flapping
from recovery.needs import stranding_due
from recovery.standstill import owed_to_queue, stalls_at
from recovery.state import State

__all__ = [
    "DECISIONS_MAX",
    "RULES_VERSION",
    "Decision",
    "State",
    "awaits_witness",
    "decide",
    "evolve",
    "forget_beats",
    "heard_ahead",
    "next_due",
    "observe",
    "recall_beats",
]


def decide(state: State, now: float, *, limit: int = DECISIONS_MAX) -> list[Decision]:
    """At most `limit` of the decisions owed at cluster time `now`, the urgent ones first: workers, those that beat and
    are of no use, then tasks that lost theirs, then the system's own record, then verdicts, then new assignments.

    Where a single worker has failed, or a single task has lost its worker, and few other decisions are owed, that is
    decided alone: what is appended by itself is stored and heard of sooner than the smallest of atomic batches, by a
    factor of ten with one replica. The others are owed as much when it is folded.
    """
    owed = _owed(state, now)
    first = list(islice(owed, FEW + 1))
    if 1 < len(first) <= FEW:
        alone = most_urgent(first)
        return first[:limit] if alone is None else [alone]
    return [*first[:limit], *islice(owed, max(0, limit - len(first)))]


def _owed(state: State, now: float) -> Iterator[Decision]:
    return chain(
        owed_to_workers(state, now),
        owed_to_repairs(state, now),
        owed_to_useless(state, now),
        owed_to_flapping(state, now),
        owed_to_orphans(state, now) if state.may_repair else (),
        owed_to_forecasts(state, now),
        owed_to_system(state, now),
        owed_to_watch(state, now),
        owed_to_settle(state),
        owed_to_barred(state, now),
        owed_to_stranded(state, now),
        owed_assignments(state, now),
        owed_to_queue(state, now),
    )


def next_due(state: State) -> float:
    """The cluster time at which `decide` may owe more than it does now, if no event comes; infinite for never."""
    timers = (state.timers, state.useless, state.repairs, state.alarms, state.omens, state.foretold)
    return min(requeues_due(state), stranding_due(state), stalls_at(state), *(timer.next() for timer in timers))
