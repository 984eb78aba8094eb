"""Workers that beat and are of no use, and tasks that do not end: what the log says of them, and what may be decided.

Judged by what must hold in any case; the fine print of a comparison is left to `reproduced`.
"""

from collections.abc import Callable
from typing import Any

from events import task, worker
from events.base import Event
from events.envelope import Recorded
from replay.invariants.case import Case
from replay.invariants.silence import ROUNDING_S
from replay.invariants.world import LIVE, Stall, Task, Worker, World

FAILED = frozenset({"failed", "error", "crashed"})
PASSED = frozenset({"passed", "skipped", "xfailed", "xpassed"})
USELESS = "useless-on-evidence"


def _hung(world: World, _: Recorded, event: task.TaskHung) -> None:
    one = world.tasks.get(event.task_id)
    if one is not None and one.status == "running" and one.attempt == event.attempt:
        one.hung = True


def _meant(world: World, worker_id: str, incarnation: int, *statuses: str) -> Worker | None:
    one = world.workers.get(worker_id)
    return one if one is not None and one.incarnation == incarnation and one.status in statuses else None


def _stalled(world: World, recorded: Recorded, event: worker.WorkerStalled) -> None:
    one = _meant(world, event.worker_id, event.incarnation, "alive", "stalled")
    if one is not None:
        world.turn(one, "stalled")
        one.stall = Stall(event.cause, event.restart, recorded.time)


def _stall_refuted(world: World, _: Recorded, event: worker.WorkerStallRefuted) -> None:
    one = _meant(world, event.worker_id, event.incarnation, "stalled")
    if one is not None:
        world.turn(one, "alive")
        one.stall, one.moved_at = None, world.time
        one.row.clear()


FOLDS: dict[type[Event], Callable[[World, Recorded, Any], None]] = {
    task.TaskHung: _hung,
    worker.WorkerStalled: _stalled,
    worker.WorkerStallRefuted: _stall_refuted,
}


def note_end(world: World, event: task.TaskAttemptFinished) -> None:
    """Takes the word of an incarnation about a task that it has."""
    one = world.workers[event.worker_id]
    if event.outcome in PASSED:
        one.row.clear()
        one.fast_row = False
    elif event.outcome in FAILED:
        one.row.add(event.task_id)


def note_return(world: World, one: Task, event: task.TaskReturned) -> None:
    one.unknown = event.unknown
    if one.revoked and not one.began and not event.unknown:
        world.workers[event.worker_id].idled.add(event.task_id)


def note_doubt(world: World, now: float) -> None:
    """What is over does not lie ahead."""
    for one in world.workers.values():
        one.moved_at = min(one.moved_at, now)
    for each in world.tasks.values():
        each.since, each.revoked_at = min(each.since, now), min(each.revoked_at, now)


def note_failure(one: Worker, event: worker.WorkerFailed, now: float) -> None:
    """A restart because of failing everything at once that has to be repeated has failed."""
    if event.reason == "stalled" and one.stall is not None and one.stall.cause == "failing_fast":
        if one.fast_stalls:
            one.failures.append(now)
        one.fast_stalls += 1
        one.fast_row = True


# Judging


def judge_hung(case: Case, event: task.TaskHung) -> None:
    one = case.world.tasks.get(event.task_id)
    present = one is not None and (event.worker_id, event.incarnation, event.attempt) == (
        one.worker_id,
        one.incarnation,
        one.attempt,
    )
    if one is None or not present or one.status != "running" or case.world.is_orphaned(one):
        case.blame(USELESS, f"attempt {event.attempt} of {event.worker_id} is called hung, and does not run")
        return
    if one.hung:
        case.blame("decided-once", f"attempt {event.attempt} was called hung before")
    policy, own = case.world.policy, one.submitted.timeout_s
    limit = policy.task_hang_cap if own is None else own + policy.task_hang_grace
    _judge_wait(case, one.since, limit, "it runs")
    _judge_quiet(case, case.world.workers[event.worker_id])


def judge_taken_back(case: Case, one: Task) -> None:
    """Told to stop without a cancellation: it hangs, or has not been begun in time, or its worker is stalled."""
    holder = case.world.workers.get(one.worker_id or "")
    case.require(case.world.may_repair, "operator-obeyed", "recovery is off")
    if one.hung or holder is None:
        return
    if one.status != "assigned":
        case.blame("cancel-honoured", "it is stopped under way, and nobody has cancelled it, nor does it hang")
    elif holder.status != "stalled":
        _judge_wait(case, holder.moved_at, case.world.policy.assignment_start_deadline, "its worker has begun nothing")
        _judge_quiet(case, holder, free=True)


def judge_stalled(case: Case, event: worker.WorkerStalled) -> None:
    one = case.world.workers.get(event.worker_id)
    if one is None or one.incarnation != event.incarnation or one.status not in ("alive", "stalled"):
        case.blame(USELESS, f"incarnation {event.incarnation} is called stalled, and is not at work")
        return
    _once(case, one)
    case.require(case.world.may_repair, "operator-obeyed", "recovery is off")
    if one.status == "stalled" and (one.stall is None or one.stall.restart or not event.restart):
        case.blame("decided-once", "it is called stalled again")
    if event.cause == "not_obeyed":
        _judge_unheeded(case, event)
        _judge_quiet(case, one)
    elif event.cause == "not_started":
        idled = bool(event.tasks) and one.idled.issuperset(event.tasks)
        case.require(idled, USELESS, "it is called stalled for what it has not handed back unstarted")
    else:
        _judge_failing(case, event, one)


def _judge_unheeded(case: Case, event: worker.WorkerStalled) -> None:
    due = [case.world.tasks.get(task_id) for task_id in event.tasks]
    waiting = [
        one.revoked_at
        for one in due
        if one is not None and one.revoked and one.worker_id == event.worker_id and not case.world.is_orphaned(one)
        if one.status in ("assigned", "running")
    ]
    if not waiting or len(waiting) < len(due):
        case.blame(USELESS, "it is called stalled for orders that it has answered, or that nobody gave")
    else:
        _judge_wait(case, min(waiting), case.world.policy.revocation_grace, "its first order waits")


def _judge_failing(case: Case, event: worker.WorkerStalled, one: Worker) -> None:
    needed = 1 if one.fast_row else min(case.world.policy.fail_fast_tasks, len(event.tasks))
    row = one.row.issuperset(event.tasks) and len(one.row) >= needed
    case.require(row, USELESS, "it is called failing, and the tasks named have not failed in a row")
    if event.restart:
        case.require(one.status == "stalled", USELESS, "it is to be restarted, and others had no time to speak for it")
        case.require(event.passed_elsewhere > 0, USELESS, "nothing of what it fails has passed elsewhere")


def judge_stall_refuted(case: Case, event: worker.WorkerStallRefuted) -> None:
    one = case.world.workers.get(event.worker_id)
    if one is None or one.incarnation != event.incarnation or one.status != "stalled":
        case.blame(USELESS, f"incarnation {event.incarnation} is called of use again, and was not stalled")
        return
    _once(case, one)


def _once(case: Case, one: Worker) -> None:
    if one.decided == case.batch:
        case.blame("decided-once", "one batch decides twice about this worker")
    one.decided = case.batch


def _judge_wait(case: Case, since: float, needed: float, what: str) -> None:
    waited = case.now - max(since, case.world.watched_since)
    case.require(waited >= needed - ROUNDING_S, USELESS, f"{what} for {waited:.3f} s: {needed:g} are needed")


def _judge_quiet(case: Case, one: Worker, *, free: bool = False) -> None:
    """It lived, and had nothing left to say; with `free` it had room as well."""
    case.require(one.status in LIVE, USELESS, f"{one.worker_id} is {one.status}")
    heard = case.heard(one)
    if not heard.known:
        return
    heartbeat = None if heard.beat is None else heard.beat.heartbeat
    if heartbeat is None or heartbeat.unreported:
        case.blame(USELESS, f"{one.worker_id} has not said that all it had to report is in the log")
    elif free and not heartbeat.free:
        case.blame(USELESS, f"{one.worker_id} has said that it has no slot free")
