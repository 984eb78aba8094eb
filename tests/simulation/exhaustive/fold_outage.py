"""What a fold knows of workers that were lost, as far as anything is decided by it: a part of `folds`.

What is only reported is left out, and so are the sizes of stages: of two workers one is under repair at a time.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from recovery.lifecycle import MISSING
from recovery.outages import open_stage
from recovery.repair_entities import Charge, Lost, Outage, Stage
from recovery.state import State
from tests.simulation.exhaustive.frames import Frame
from tests.simulation.exhaustive.tables import NUMBER
from tests.simulation.exhaustive.world import TASKS, WORKERS

STRIDE = 2
"""Between the sequences that stand for those of losses: there is room for one between any two."""


def marks(state: State) -> list[int]:
    """Sequences of losses, with which those of assignments are compared."""
    found = {lost.sequence for lost in state.lost_lately.values()}
    return sorted(found if state.outage is None else found | {state.outage.first_sequence})


def behind(state: State, sequence: int) -> int:
    """Behind how many of those it lies."""
    return bisect_left(marks(state), sequence)


def sequence_behind(count: int) -> int:
    return count * STRIDE + 1


def pack(state: State, frame: Frame) -> tuple[Any, ...]:
    window, places = int(state.policy.mass_loss_within), marks(state)
    lately = tuple(
        (NUMBER[key], frame.age(lost.at, window + 1), places.index(lost.sequence))
        for key, lost in state.lost_lately.items()
    )
    charged = tuple(
        (
            NUMBER[key],
            NUMBER[charge.worker_id],
            frame.age(charge.at, window + 1),
            behind(state, charge.assigned_sequence),
        )
        for key, charge in state.charged_lately.items()
    )
    outage = state.outage
    if outage is None:
        return lately, charged, None
    stage = open_stage(outage)
    return (
        lately,
        charged,
        (
            tuple(sorted(NUMBER[key] for key in outage.together)),
            places.index(outage.first_sequence),
            tuple(outage.failures[worker_id] for worker_id in WORKERS),
            # The next one is told by its number, and nothing else is.
            min(outage.stage, 1),
            () if stage is None else tuple(NUMBER[key] for key in stage.open),
        ),
    )


def unpack(state: State, raw: Sequence[Any], now: float) -> None:
    """The workers are there already."""
    lately, charged, packed = raw
    state.lost_lately = OrderedDict((WORKERS[key], Lost(now - age, (at + 1) * STRIDE)) for key, age, at in lately)
    state.charged_lately = OrderedDict(
        (TASKS[key], Charge(now - age, WORKERS[holder], sequence_behind(at))) for key, holder, age, at in charged
    )
    state.missing = {key: None for key, worker in state.workers.items() if worker.status in MISSING}
    state.outage = None
    if packed is not None:
        together, first, failures, stage, left = packed
        lost = {WORKERS[number]: None for number in together}
        outage = Outage(now, "", dict(lost), lost, (first + 1) * STRIDE, failed=sum(failures))
        outage.failures.update(dict(zip(WORKERS, failures, strict=True)))
        outage.stage = stage
        if left:
            names = tuple(WORKERS[number] for number in left)
            outage.stages.append(Stage(stage, names, dict.fromkeys(names), now))
        state.outage = outage
