"""What is recorded about tasks, into the world."""

from collections.abc import Callable
from typing import Any

from events import task
from events.base import Event
from events.envelope import Recorded
from replay.invariants import poison, usefulness
from replay.invariants.world import Task, World


def _submitted(world: World, recorded: Recorded, event: task.TaskSubmitted) -> None:
    if event.task_id not in world.tasks:
        world.tasks[event.task_id] = Task(event, recorded.sequence)
        world.counts["queued"] += 1
        world.moved_at = world.time
        world.submitted += 1


def _assigned(world: World, recorded: Recorded, event: task.TaskAssigned) -> None:
    one = world.tasks.get(event.task_id)
    holder = world.workers.get(event.worker_id)
    if one is None or one.status not in ("queued", "isolated") or event.attempt <= one.attempt:
        return
    if holder is None or event.incarnation > holder.incarnation:
        return
    world.move(one, "assigned")
    one.attempt, one.worker_id, one.incarnation = event.attempt, event.worker_id, event.incarnation
    one.revoked = one.began = one.hung = one.unknown = False
    one.isolated, one.assigned_at, one.stranded = event.isolated, recorded.sequence, False
    if not world.is_orphaned(one):
        world.take_up(one, holder)
        if event.isolated and not holder.apart:
            holder.apart = event.task_id


def _spoken(
    world: World, event: task.TaskStarted | task.TaskAttemptFinished | task.TaskReturned, *statuses: str
) -> Task | None:
    """The task of which a worker may speak: the present attempt, by the incarnation that has it."""
    one = world.tasks.get(event.task_id)
    if one is None or one.status not in statuses or one.attempt != event.attempt:
        return None
    if one.worker_id != event.worker_id or one.incarnation != event.incarnation or world.is_orphaned(one):
        return None
    return one


def _started(world: World, _: Recorded, event: task.TaskStarted) -> None:
    one = _spoken(world, event, "assigned")
    if one is not None:
        world.move(one, "running")
        world.begin(one, world.workers[event.worker_id])
        one.replaced = None


def _finished(world: World, recorded: Recorded, event: task.TaskAttemptFinished) -> None:
    one = _spoken(world, event, "assigned", "running")
    if one is not None:
        world.let_go(one)
        world.move(one, "finished")
        one.result, one.result_sequence = event, recorded.sequence
        usefulness.note_end(world, event)
        if event.outcome == "crashed" and recorded.synthetic is None:
            world.deaths[recorded.sequence] = event.worker_id, frozenset((event.task_id,))
    elif event.outcome in usefulness.PASSED and event.task_id in world.tasks:
        _passed_late(world, recorded.sequence, event, world.tasks[event.task_id])


def _passed_late(world: World, sequence: int, event: task.TaskAttemptFinished, one: Task) -> None:
    """A success of an attempt that was lost: it counts while no other attempt has started."""
    said = event.attempt, event.worker_id, event.incarnation
    if one.late is not None:
        return
    own = world.is_orphaned(one) and said == (one.attempt, one.worker_id, one.incarnation)
    if own or (one.status in ("queued", "isolated") and said == one.replaced):
        world.move(one, "finished")
        one.result, one.result_sequence, one.replaced = event, sequence, None
    elif one.status == "assigned" and said == one.replaced:
        one.late, one.late_sequence, one.replaced = event, sequence, None


def _returned(world: World, _: Recorded, event: task.TaskReturned) -> None:
    one = _spoken(world, event, "assigned", "running")
    if one is not None:
        world.let_go(one)
        world.move(one, "returned")
        usefulness.note_return(world, one, event)


def _stranded(world: World, _: Recorded, event: task.TaskStranded) -> None:
    one = world.tasks.get(event.task_id)
    if one is not None and one.status in ("queued", "isolated"):
        one.stranded = True


def _requeued(world: World, _: Recorded, event: task.TaskRequeued) -> None:
    one = world.tasks.get(event.task_id)
    if one is None or one.status in ("queued", "isolated", "final") or event.attempt != one.attempt:
        return
    unreported = one.status in ("assigned", "running")
    one.replaced = (one.attempt, one.worker_id or "", one.incarnation) if unreported else None
    if event.reason == "worker_failed":
        world.requeues_until = max(world.requeues_until, world.time) + 1.0 / world.policy.requeue_rate
    one.spared += event.reason in ("worker_failed", "fenced") and event.budget == "none" and one.began
    if event.reason == "worker_failed" and event.budget == "infrastructure":
        world.charged_lately[event.task_id] = world.time, event.worker_id, one.assigned_at
    world.let_go(one)
    world.move(one, "queued")
    one.infrastructure_used += event.budget == "infrastructure"
    one.verdict_used += event.budget == "verdict"
    one.result, one.result_sequence = None, 0


def _completed(world: World, _: Recorded, event: task.TaskCompleted) -> None:
    one = world.tasks.get(event.task_id)
    if one is not None and one.status != "final":
        world.let_go(one)
        world.move(one, "final")
        poison.note_verdict(world, one, event)


def _revoked(world: World, recorded: Recorded, event: task.TaskRevoked) -> None:
    one = world.tasks.get(event.task_id)
    if one is not None and event.attempt == one.attempt and one.status in ("assigned", "running"):
        one.revoked, one.revoked_at = True, one.revoked_at if one.revoked else recorded.time


def _cancelled(world: World, _: Recorded, event: task.TaskCancelRequested) -> None:
    one = world.tasks.get(event.task_id)
    if one is not None and one.status != "final":
        one.cancelled = True


FOLDS: dict[type[Event], Callable[[World, Recorded, Any], None]] = {
    task.TaskSubmitted: _submitted,
    task.TaskAssigned: _assigned,
    task.TaskIsolated: poison.fold_isolated,
    task.TaskStranded: _stranded,
    task.TaskStarted: _started,
    task.TaskAttemptFinished: _finished,
    task.TaskReturned: _returned,
    task.TaskRequeued: _requeued,
    task.TaskCompleted: _completed,
    task.TaskRevoked: _revoked,
    task.TaskCancelRequested: _cancelled,
}
