"""The broker's clock steps under a farm that is otherwise in good order: nobody is condemned, no work is lost."""

from collections import Counter

import pytest

from events.base import Event
from events.system import DetectorDegraded
from events.worker import WorkerFailed
from tests.simulation.faults import LEADER, Fault, FaultKind
from tests.simulation.scenario import Outcome, Scenario, Workload
from tests.simulation.world import simulate

STEPS: tuple[tuple[float, ...], ...] = (
    (30.0,),
    (-30.0,),
    (5.0,),
    (-5.0,),
    (-1.2,),
    (3_600.0,),
    (-3_600.0,),
    (30.0, -30.0),
    (-30.0, 30.0),
    (-10.0, -10.0, -10.0),
)


def stepped(
    steps: tuple[float, ...], *others: Fault, seed: int = 1, workers: int = 3, coordinators: int = 1
) -> Outcome:
    faults = (
        Fault(at=20.0 + 7.0 * number, kind=FaultKind.CLOCK_STEP, target="broker", magnitude=seconds)
        for number, seconds in enumerate(steps)
    )
    scenario = Scenario(
        seed=seed,
        workers=workers,
        coordinators=coordinators,
        workload=Workload(at_start=10, per_minute=20),
        faulty_s=60.0,
        schedule=tuple(sorted([*faults, *others], key=lambda fault: fault.at)),
    )
    outcome = simulate(scenario, keep_records=True)
    assert outcome.violation is None, outcome.violation
    assert sum(outcome.verdicts.values()) == outcome.tasks
    return outcome


def told(outcome: Outcome) -> Counter[type[Event]]:
    return Counter(type(recorded.event) for recorded in outcome.records if recorded.event is not None)


@pytest.mark.parametrize(("workers", "coordinators"), [(1, 1), (3, 1), (5, 2)])
@pytest.mark.parametrize("steps", STEPS)
def test_a_step_of_the_brokers_clock_condemns_nobody(steps: tuple[float, ...], workers: int, coordinators: int) -> None:
    counts = told(stepped(steps, workers=workers, coordinators=coordinators))
    assert counts[WorkerFailed] == 0
    assert 1 <= counts[DetectorDegraded] <= 2 * len(steps)


@pytest.mark.parametrize("steps", [(30.0,), (-30.0,)])
@pytest.mark.parametrize("between_s", [0.0, 1.0, 5.0])
def test_a_worker_that_dies_under_a_step_is_failed_all_the_same(steps: tuple[float, ...], between_s: float) -> None:
    death = Fault(at=20.0 + between_s, kind=FaultKind.WORKER_CRASH, target="worker-2", duration_s=25.0)
    outcome = stepped(steps, death)
    failed = {recorded.event.worker_id for recorded in outcome.records if isinstance(recorded.event, WorkerFailed)}
    assert failed == {"worker-2"}


@pytest.mark.parametrize("seconds", [30.0, -30.0])
def test_a_step_while_the_broker_is_away(seconds: float) -> None:
    """As when its machine boots: the leader has to be elected again, under another time."""
    away = Fault(at=19.0, kind=FaultKind.BROKER_RESTART, target="broker", duration_s=5.0)
    assert told(stepped((seconds,), away))[WorkerFailed] == 0


@pytest.mark.parametrize("seconds", [30.0, -30.0])
def test_a_step_under_a_failover(seconds: float) -> None:
    crash = Fault(at=19.9, kind=FaultKind.COORDINATOR_CRASH, target=LEADER, duration_s=20.0)
    assert told(stepped((seconds,), crash, coordinators=2))[WorkerFailed] == 0


def test_a_storm_of_condemnations_is_no_more() -> None:
    """A step back by 15.8 s once made every heartbeat look old, and every new incarnation too: 9,000 in a minute."""
    outcome = simulate(Scenario(seed=2, workers=3, faulty_s=300.0), keep_records=True)
    assert outcome.violation is None, outcome.violation
    assert outcome.faults["clock_step"] > 0
    assert outcome.events < 500
