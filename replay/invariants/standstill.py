"""A queue that stands still: when that is an incident, and when it is over."""

from events.system import SystemRecoveryStarted
from replay.invariants.case import Case
from replay.invariants.silence import ROUNDING_S
from replay.invariants.world import EXPECTED, Task, World

QUEUE = "stalled_queue"
ONE = "one-incident"


def judge_opened(case: Case, event: SystemRecoveryStarted) -> None:
    world = case.world
    lasted = case.now - max(world.moved_at, world.interrupted_at)
    case.require(lasted >= world.policy.queue_stalled_after - ROUNDING_S, ONE, f"something moved {lasted:.1f} s before")
    case.require(not _under_way(world), ONE, "the queue is called stalled, and somebody has a task")
    case.require(_runnable(world) and world.expected > 0, ONE, "the queue is called stalled, and nothing could be done")
    waiting = len(_waiting(world))
    case.require(event.affected_tasks == waiting, "conservation", f"{event.affected_tasks} wait, not {waiting}")


def judge_closed(case: Case) -> None:
    world = case.world
    over = _under_way(world) or not _runnable(world) or world.expected == 0
    case.require(over, ONE, "it is closed, and work waits still that nobody has been given")


def _waiting(world: World) -> list[Task]:
    return [one for one in world.tasks.values() if one.status in ("queued", "isolated")]


def _under_way(world: World) -> bool:
    held = (one for one in world.tasks.values() if one.status in ("assigned", "running"))
    return any(not world.is_orphaned(one) or world.is_cancelled(one) for one in held)


def _runnable(world: World) -> bool:
    """Whether something waits that somebody could run who is there or expected."""
    labels = [one.labels.items() for one in world.workers.values() if one.status in EXPECTED]
    return any(one.submitted.requires.items() <= own for one in _waiting(world) for own in labels)
