"""An independent reading of the log: who holds which attempt, which budgets are spent, what may not happen.

It shares nothing with `recovery`: it knows the meaning of the events and the design's invariants, and no more than it
needs for them. Whatever it says of a recorded event, that it counts or that it is stale, the core has to say too.
"""

from events.base import Event
from tests.simulation.exhaustive.entries import Ledger
from tests.simulation.exhaustive.readings_tasks import TASK_READINGS
from tests.simulation.exhaustive.readings_workers import WORKER_READINGS

READINGS = {**TASK_READINGS, **WORKER_READINGS}


def take(ledger: Ledger, event: Event, sequence: int) -> bool | None:
    """Whether the recorded event counts; None: not for the ledger to say.

    Raises:
        Violation: the log must not hold it.
    """
    reading = READINGS.get(type(event))
    return None if reading is None else reading(ledger, event, sequence)
