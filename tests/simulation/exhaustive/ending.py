"""Liveness: from any state, once the faults have stopped, every task gets its verdict and every attempt its end."""

from tests.simulation.exhaustive.actions import rule
from tests.simulation.exhaustive.entries import Standing, Violation
from tests.simulation.exhaustive.facts import (
    answer,
    beat,
    exit_seen,
    finish,
    give_back,
    lift,
    readmit,
    register,
    start,
    stop,
    uncordon,
)
from tests.simulation.exhaustive.world import POLICY_NAMES, TASKS, UNIT, WORKERS, World

STEPS_MAX = 40
"""Steps of time within which everything has to be over."""

GONE: frozenset[Standing] = frozenset({"absent", "stopped", "permanent"})


def end(world: World, gone: str | None = None) -> int:
    """Lets the world go on without faults; the number of steps of time that it took.

    Somebody leads and is prompt, recovery is switched on, workers beat, work and answer, and those that are not there
    come back by themselves; all but the one that is `gone` for good, and nobody says so.

    Raises:
        Violation: it does not come to an end, or breaks an invariant on its way.
    """
    _lead(world)
    lift(world)
    if not world.state.policy.auto_recovery:
        rule(world, POLICY_NAMES[0])
    for step in range(STEPS_MAX):
        world.settle()
        for worker_id in WORKERS:
            if worker_id != gone:
                _behave(world, worker_id)
                world.settle()
        if over(world, gone):
            return step
        world.now += UNIT
        for worker_id in WORKERS:
            if worker_id != gone:
                # It beats several times in a step, so the leader never finds it silent.
                beat(world, worker_id)
    what = "without a fault" if gone is None else f"without {gone}"
    raise Violation(f"after {STEPS_MAX} steps {what} it is not over: {world.ledger}, {world.state.incidents}")


def over(world: World, gone: str | None = None) -> bool:
    ledger, state = world.ledger, world.state
    return (
        all(task.phase != "open" for task in ledger.tasks.values())
        and all(
            worker.standing in (GONE if worker_id == gone else ("alive",)) and worker.repair is None
            for worker_id, worker in ledger.workers.items()
        )
        and state.status == "healthy"
        and not state.incidents
        and not state.parked
    )


def _lead(world: World) -> None:
    leader = world.leader
    for one in world.coordinators:
        if one is not leader:
            one.become("standby")
    if leader is None:
        world.elect(world.coordinators[0])
        return
    if leader.batch is not None:
        world.append(leader.batch, leader.token)
    leader.become("prompt", leader.token)


def _behave(world: World, worker_id: str) -> None:
    worker = world.ledger.workers[worker_id]
    if worker.standing == "stalled":
        # That is an order to its supervisor.
        exit_seen(world, worker_id)
    elif worker.standing == "permanent":
        readmit(world, worker_id)
    elif worker.standing in ("absent", "exited", "failed", "stopped"):
        register(world, worker_id)
    uncordon(world, worker_id)
    beat(world, worker_id)
    world.settle()
    answer(world, worker_id)
    for task_id in TASKS:
        holding = world.ledger.tasks[task_id].holding
        if holding is None or holding.worker_id != worker_id or world.ledger.lost(holding):
            continue
        if worker.standing == "draining" and holding.stage == "assigned":
            give_back(world, task_id)
        else:
            start(world, task_id)
            finish(world, task_id, "passed")
    if worker.standing == "draining":
        stop(world, worker_id)
