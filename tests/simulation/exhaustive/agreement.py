"""The core's state and the ledger have read the same log: they must tell the same of it."""

from tests.simulation.exhaustive.entries import Stage, TaskEntry, Violation, WorkerEntry
from tests.simulation.exhaustive.world import World

HELD_MAX = 2
"""One that runs, and one handed out ahead of its time."""
HANDED_OUT: frozenset[Stage] = frozenset({"assigned", "running"})


def agree(world: World) -> None:
    """
    Raises:
        Violation: they differ.
    """
    state, ledger = world.state, world.ledger
    statuses: dict[str, int] = {}
    for task_id, entry in ledger.tasks.items():
        task = state.tasks.get(task_id)
        status = None if task is None else task.status
        expected = _task_status(entry)
        if status != expected:
            raise Violation(f"{task_id} is {status!r} for the core, and {expected!r} by the log: {entry}")
        if expected is not None:
            statuses[expected] = statuses.get(expected, 0) + 1
        holding = entry.holding
        if task is not None and holding is not None:
            said = (task.worker_id, task.attempt)
            if said != (holding.worker_id, holding.number):
                raise Violation(f"{task_id} is with {said} for the core, and {holding} by the log")
            if holding.stage in HANDED_OUT and task.incarnation != holding.incarnation:
                raise Violation(
                    f"{task_id} is with incarnation {task.incarnation} for the core, and {holding} by the log"
                )
        if task is not None and entry.phase == "open":
            # What is given back counts as spared from then on.
            spent = (task.infrastructure_used + task.spared, task.verdict_used)
            if spent != (entry.infrastructure_used + entry.spared, entry.verdict_used):
                raise Violation(f"{task_id} has spent {spent} for the core, and {entry} by the log")
    counted = {status: count for status, count in state.tasks_by_status.items() if count}
    if counted != statuses:
        raise Violation(f"tasks are lost or made up: {counted} is not {statuses}")
    for worker_id, entry_of_worker in ledger.workers.items():
        _agree_on_worker(world, worker_id, entry_of_worker)


def _task_status(entry: TaskEntry) -> str | None:
    if entry.phase == "unknown":
        return None
    if entry.phase == "final":
        return "final"
    return "queued" if entry.holding is None else entry.holding.stage


def _agree_on_worker(world: World, worker_id: str, entry: WorkerEntry) -> None:
    worker = world.state.workers.get(worker_id)
    status = "absent" if worker is None else worker.status
    if status != entry.standing:
        raise Violation(f"{worker_id} is {status!r} for the core, and {entry.standing!r} by the log")
    if worker is None:
        return
    attempt = worker.attempt
    said = None if attempt is None else (attempt.number, attempt.status, attempt.answered)
    if said != entry.repair:
        raise Violation(f"{worker_id} is under {said} for the core, and {entry.repair} by the log")
    if bool(worker.cordons) != entry.cordoned:
        raise Violation(f"{worker_id} is under {worker.cordons} for the core, and {entry} by the log")
    if worker.incarnation != entry.incarnation:
        raise Violation(
            f"{worker_id} has incarnation {worker.incarnation} for the core, {entry.incarnation} by the log"
        )
    holds = [
        task_id
        for task_id, task in world.ledger.tasks.items()
        if task.holding is not None
        and task.holding.stage in HANDED_OUT
        and (task.holding.worker_id, task.holding.incarnation) == (worker_id, entry.incarnation)
    ]
    if len(holds) > HELD_MAX:
        raise Violation(f"{worker_id} has one slot and holds {holds}")
