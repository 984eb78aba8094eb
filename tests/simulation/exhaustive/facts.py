"""What workers, submitters and operators may say about tasks and workers, and how late.

Each verb says whether it can happen now, does it, and says whether that changed anything.
"""

from events.system import RecoveryPaused, RecoveryResumed, RunCancelRequested
from events.task import (
    Outcome,
    TaskAttemptFinished,
    TaskCancelRequested,
    TaskReturned,
    TaskStarted,
    TaskSubmitted,
)
from events.worker import (
    WorkerCordoned,
    WorkerDisconnected,
    WorkerDraining,
    WorkerDrainRequested,
    WorkerExited,
    WorkerFailed,
    WorkerProbeAnswered,
    WorkerReadmitted,
    WorkerRegistered,
    WorkerStopped,
    WorkerUncordoned,
    WorkerVanished,
)
from tests.simulation.exhaustive.entries import LIVE
from tests.simulation.exhaustive.world import OWN_RETRIES, RUN, USUAL, WORK, WORKERS, World

Done = bool | None
"""None: it cannot happen now; False: it changed nothing."""


def submit(world: World, task_id: str) -> Done:
    if world.ledger.tasks[task_id].phase != "unknown":
        return None
    retries = OWN_RETRIES[task_id]
    return world.record(TaskSubmitted(task_id=task_id, run_id=RUN, work=WORK, infrastructure_retries=retries))


def cancel(world: World, task_id: str) -> Done:
    task = world.ledger.tasks[task_id]
    if task.phase == "unknown" or task.cancelled:
        return None
    return world.record(TaskCancelRequested(task_id=task_id, actor="operator"))


def cancel_run(world: World) -> Done:
    if all(task.phase != "open" or task.cancelled for task in world.ledger.tasks.values()):
        return None
    return world.record(RunCancelRequested(run_id=RUN, actor="operator"))


def start(world: World, task_id: str) -> Done:
    holding = world.ledger.tasks[task_id].holding
    if holding is None or holding.stage != "assigned":
        return None
    return world.record(
        TaskStarted(
            task_id=task_id, worker_id=holding.worker_id, incarnation=holding.incarnation, attempt=holding.number
        )
    )


def finish(world: World, task_id: str, outcome: Outcome) -> Done:
    """What never began can still be reported as fenced."""
    holding = world.ledger.tasks[task_id].holding
    if holding is None or holding.stage not in ("assigned", "running"):
        return None
    if holding.stage == "assigned" and outcome != "fenced":
        return None
    return world.record(
        TaskAttemptFinished(
            task_id=task_id,
            worker_id=holding.worker_id,
            incarnation=holding.incarnation,
            attempt=holding.number,
            outcome=outcome,
            duration_s=1.0,
        )
    )


def give_back(world: World, task_id: str) -> Done:
    holding = world.ledger.tasks[task_id].holding
    if holding is None or holding.stage not in ("assigned", "running"):
        return None
    return world.record(
        TaskReturned(
            task_id=task_id, worker_id=holding.worker_id, incarnation=holding.incarnation, attempt=holding.number
        )
    )


def forget(world: World, task_id: str) -> Done:
    """Told to stop it, its worker knows nothing of it."""
    holding = world.ledger.tasks[task_id].holding
    if holding is None or holding.stage not in ("assigned", "running"):
        return None
    return world.record(
        TaskReturned(
            task_id=task_id,
            worker_id=holding.worker_id,
            incarnation=holding.incarnation,
            attempt=holding.number,
            unknown=True,
        )
    )


def start_late(world: World, task_id: str) -> Done:
    """The attempt before the present one is said to have begun."""
    task = world.ledger.tasks[task_id]
    number = task.attempts - (task.holding is not None)
    if task.former is None:
        return None
    worker_id, incarnation = task.former
    return world.record(TaskStarted(task_id=task_id, worker_id=worker_id, incarnation=incarnation, attempt=number))


def pass_late(world: World, task_id: str) -> Done:
    """The attempt before the present one, or one before the verdict, reports a success."""
    task = world.ledger.tasks[task_id]
    if task.phase == "final":
        worker_id, incarnation, number = WORKERS[0], max(1, world.ledger.workers[WORKERS[0]].incarnation), 1
    elif task.former is not None:
        worker_id, incarnation = task.former
        number = task.attempts - (task.holding is not None)
    else:
        return None
    return world.record(
        TaskAttemptFinished(
            task_id=task_id,
            worker_id=worker_id,
            incarnation=incarnation,
            attempt=number,
            outcome="passed",
            duration_s=1.0,
        )
    )


def register(world: World, worker_id: str) -> Done:
    return world.record(WorkerRegistered(worker_id=worker_id, host="h", pid=1, slots=1))


def beat(world: World, worker_id: str) -> Done:
    incarnation = world.ledger.workers[worker_id].incarnation
    return world.beat(worker_id, incarnation, free=_free(world, worker_id)) if incarnation else None


def beat_deaf(world: World, worker_id: str) -> Done:
    """It has heard of no rules since its last heartbeat."""
    incarnation = world.ledger.workers[worker_id].incarnation
    if not incarnation:
        return None
    before = world.state.beats.get(worker_id)
    rules = before.rules if before is not None and before.incarnation == incarnation else 0
    return world.beat(worker_id, incarnation, rules=rules, free=_free(world, worker_id))


def beat_laden(world: World, worker_id: str) -> Done:
    """It has something to say that the log has not taken, and no slot free."""
    incarnation = world.ledger.workers[worker_id].incarnation
    return world.beat(worker_id, incarnation, unreported=1) if incarnation else None


def beat_late(world: World, worker_id: str) -> Done:
    """The incarnation before is heard once more. It had heard of no rules since its registration."""
    former = world.ledger.workers[worker_id].former
    if not former:
        return None
    # Whoever has read less of the log may still go by it.
    return world.beat(worker_id, former, rules=0) or not world.alone


def _free(world: World, worker_id: str) -> int:
    """Slots that run nothing, by what the worker has said."""
    holdings = [task.holding for task in world.ledger.tasks.values() if task.holding is not None]
    return int(not any(one.stage == "running" and one.worker_id == worker_id for one in holdings))


def exit_seen(world: World, worker_id: str) -> Done:
    incarnation = world.ledger.workers[worker_id].incarnation
    return world.record(WorkerExited(worker_id=worker_id, incarnation=incarnation, signal=9)) if incarnation else None


def exit_late(world: World, worker_id: str) -> Done:
    """The supervisor's report about the incarnation before."""
    former = world.ledger.workers[worker_id].former
    return world.record(WorkerExited(worker_id=worker_id, incarnation=former, signal=9)) if former else None


def exit_unregistered(world: World, worker_id: str) -> Done:
    if not world.ledger.workers[worker_id].incarnation:
        return None
    return world.record(WorkerExited(worker_id=worker_id, incarnation=0, exit_code=1))


def disconnect(world: World, worker_id: str) -> Done:
    """The broker has closed its connections, and it does not come back for a while."""
    incarnation = world.ledger.workers[worker_id].incarnation
    return _disconnected(world, worker_id, incarnation) if incarnation else None


def disconnect_late(world: World, worker_id: str) -> Done:
    """The same of the incarnation before."""
    former = world.ledger.workers[worker_id].former
    return _disconnected(world, worker_id, former) if former else None


def _disconnected(world: World, worker_id: str, incarnation: int) -> bool:
    beat = world.state.beats.get(worker_id)
    known = beat.sequence if beat is not None and beat.incarnation == incarnation else 0
    return world.record(WorkerDisconnected(worker_id=worker_id, incarnation=incarnation, heartbeat_sequence=known))


def vanish(world: World, worker_id: str) -> Done:
    """A witness on its machine finds that nothing is left of it."""
    incarnation = world.ledger.workers[worker_id].incarnation
    return _vanished(world, worker_id, incarnation) if incarnation else None


def vanish_late(world: World, worker_id: str) -> Done:
    """The same of the incarnation before."""
    former = world.ledger.workers[worker_id].former
    return _vanished(world, worker_id, former) if former else None


def _vanished(world: World, worker_id: str, incarnation: int) -> bool:
    return world.record(
        WorkerVanished(worker_id=worker_id, incarnation=incarnation, machine="machine-1", lifeline="lifeline-1")
    )


def order_end(world: World, worker_id: str) -> Done:
    """An operator tells it to end, whatever it is doing."""
    worker = world.ledger.workers[worker_id]
    if worker.standing == "absent" or worker.leaving:
        return None
    return world.record(WorkerDrainRequested(worker_id=worker_id, actor="operator"))


def order_restart(world: World, worker_id: str) -> Done:
    worker = world.ledger.workers[worker_id]
    if worker.standing not in LIVE or worker.leaving:
        return None
    return world.record(
        WorkerDrainRequested(worker_id=worker_id, actor="operator", restart=True, incarnation=worker.incarnation)
    )


def pause(world: World) -> Done:
    """Under the usual policy; what another one makes of it adds nothing."""
    if world.state.pause is not None or world.state.policy != USUAL:
        return None
    return world.record(RecoveryPaused(actor="operator"))


def lift(world: World) -> Done:
    return None if world.state.pause is None else world.record(RecoveryResumed(actor="operator"))


def drain(world: World, worker_id: str) -> Done:
    incarnation = world.ledger.workers[worker_id].incarnation
    return world.record(WorkerDraining(worker_id=worker_id, incarnation=incarnation)) if incarnation else None


def stop(world: World, worker_id: str) -> Done:
    incarnation = world.ledger.workers[worker_id].incarnation
    return world.record(WorkerStopped(worker_id=worker_id, incarnation=incarnation)) if incarnation else None


def stop_late(world: World, worker_id: str) -> Done:
    former = world.ledger.workers[worker_id].former
    return world.record(WorkerStopped(worker_id=worker_id, incarnation=former)) if former else None


def condemn(world: World, worker_id: str) -> Done:
    """A made-up failure, of whatever incarnation there is."""
    if world.ledger.workers[worker_id].standing not in LIVE:
        return None
    return world.record(WorkerFailed(worker_id=worker_id, reason="synthetic"), synthetic="drill")


def answer(world: World, worker_id: str) -> Done:
    worker = world.ledger.workers[worker_id]
    if worker.repair is None or worker.repair.stage != "probed" or worker.repair.answered:
        return None
    number = worker.repair.number
    return world.record(WorkerProbeAnswered(worker_id=worker_id, incarnation=worker.incarnation, attempt=number))


def answer_late(world: World, worker_id: str) -> Done:
    """The incarnation before answers, or a probe before the present attempt is answered."""
    worker = world.ledger.workers[worker_id]
    if worker.repair is None or not worker.former:
        return None
    number = worker.repair.number
    return world.record(WorkerProbeAnswered(worker_id=worker_id, incarnation=worker.former, attempt=number))


def cordon(world: World, worker_id: str) -> Done:
    if world.ledger.workers[worker_id].standing == "absent" or world.ledger.workers[worker_id].cordoned:
        return None
    return world.record(WorkerCordoned(worker_id=worker_id, cause="operator", actor="operator"))


def uncordon(world: World, worker_id: str) -> Done:
    if not world.ledger.workers[worker_id].cordoned:
        return None
    return world.record(WorkerUncordoned(worker_id=worker_id, actor="operator"))


def readmit(world: World, worker_id: str) -> Done:
    if world.ledger.workers[worker_id].standing != "permanent":
        return None
    return world.record(WorkerReadmitted(worker_id=worker_id, actor="operator"))
