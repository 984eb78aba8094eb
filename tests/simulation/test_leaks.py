"""Memory that runs out in the simulator: seeds are mostly over before anybody can see it coming, so it is told here."""

import pytest

from events.forecast import WorkerFailurePredicted, WorkerPredictionJudged
from events.worker import WorkerDrainRequested, WorkerRegistered
from tests.simulation.faults import Fault, FaultKind
from tests.simulation.planted import BUGS
from tests.simulation.scenario import Outcome, Scenario
from tests.simulation.world import simulate

OWN = 0.9
LEAK = Fault(
    at=5.0, kind=FaultKind.MEMORY_LEAK, target="worker-1", duration_s=300.0, magnitude=250.0, choice=OWN
)  # fmt: skip


def leaking(workers: int) -> Outcome:
    return simulate(Scenario(seed=1, workers=workers, faulty_s=300.0, schedule=(LEAK,)), keep_records=True)


@pytest.mark.parametrize(("workers", "orders"), [(1, 0), (3, 1)])
def test_a_leak_is_foreseen_and_forestalled_where_others_can_take_the_work(workers: int, orders: int) -> None:
    outcome = leaking(workers)
    assert outcome.violation is None
    events = [recorded.event for recorded in outcome.records]
    assert sum(isinstance(event, WorkerFailurePredicted) for event in events) == 1
    assert sum(isinstance(event, WorkerDrainRequested) for event in events) == orders
    assert [event.right for event in events if isinstance(event, WorkerPredictionJudged)] == [True]
    assert sum(isinstance(event, WorkerRegistered) and event.worker_id == "worker-1" for event in events) == 2


def test_the_last_worker_is_not_to_begin_anew() -> None:
    with BUGS["last-worker-renewed"].planted():
        violation = leaking(1).violation
    assert violation is not None
    assert (violation.invariant, violation.entity) == ("foreseen-on-evidence", "worker-1")
