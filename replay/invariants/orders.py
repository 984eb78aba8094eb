"""What operators order: that recovery halts, that a worker ends. And what is decided about those that cannot obey."""

from collections.abc import Callable
from typing import Any

from events import system, worker
from events.base import Event
from events.envelope import Recorded
from replay.invariants import foresight
from replay.invariants.case import Case
from replay.invariants.world import LEAVING, LIVE, World


def _paused(world: World, _: Recorded, __: system.RecoveryPaused) -> None:
    world.paused = True


def _resumed(world: World, _: Recorded, __: system.RecoveryResumed) -> None:
    world.paused = False


def _drain_requested(world: World, _: Recorded, event: worker.WorkerDrainRequested) -> None:
    one = world.workers.get(event.worker_id)
    if one is None or event.incarnation not in (None, one.incarnation):
        return
    if one.status in LIVE:
        world.turn(one, "draining")
    elif one.status not in LEAVING or event.restart:
        return
    one.leaving = one.leaving or not event.restart
    foresight.note_order(world, one, restart=event.restart)


def _retired(world: World, _: Recorded, event: worker.WorkerRetired) -> None:
    one = world.workers.get(event.worker_id)
    if one is not None and one.status == "failed" and one.leaving and one.incarnation == event.incarnation:
        world.turn(one, "stopped")


FOLDS: dict[type[Event], Callable[[World, Recorded, Any], None]] = {
    system.RecoveryPaused: _paused,
    system.RecoveryResumed: _resumed,
    worker.WorkerDrainRequested: _drain_requested,
    worker.WorkerRetired: _retired,
}


def judge_retired(case: Case, event: worker.WorkerRetired) -> None:
    one = case.world.workers.get(event.worker_id)
    if one is None:
        case.blame("operator-obeyed", "it is retired, and has never registered")
        return
    if one.decided == case.batch:
        case.blame("decided-once", "one batch decides twice about this worker")
    one.decided = case.batch
    case.labelled(one.synthetic)
    if one.status != "failed" or event.incarnation != one.incarnation:
        case.blame("attempts-end", f"incarnation {event.incarnation} is retired, and {one.incarnation} is {one.status}")
    case.require(one.leaving, "operator-obeyed", "it is retired, and nobody has told it to end")
