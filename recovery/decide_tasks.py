"""What is owed to tasks: a verdict, another try, a worker."""

from collections.abc import Iterator

from events.clock import utc
from events.task import (
    Budget,
    Outcome,
    RequeueReason,
    TaskCompleted,
    TaskRequeued,
    TaskRevoked,
    TaskStranded,
    Verdict,
)
from events.worker import Death
from recovery.decide_apart import assignment, owed_isolations
from recovery.decisions import Decision, infrastructure_retries, verdict_retries
from recovery.entities import Late, Quarantined, Result, Task
from recovery.indexes import orphaned
from recovery.lifecycle import WAITING
from recovery.needs import stranded_at
from recovery.outages import spares, spares_fenced
from recovery.pacing import charged, open_at
from recovery.placement import Placement
from recovery.poison import quarantined
from recovery.queue import Requirement
from recovery.state import State
from recovery.taxonomy import TAXONOMY
from recovery.timers import NEVER

VERDICT: dict[Outcome, Verdict] = {
    "passed": "passed",
    "xfailed": "passed",
    "xpassed": "passed",
    "skipped": "skipped",
    "failed": "failed",
    "error": "failed",
    "crashed": "crashed",
    "timed_out": "timed_out",
    "cancelled": "cancelled",
    "fenced": "crashed",
}
"""What each outcome means for the task when nothing is retried. (pytest has already turned a strict xpass into a
failure.)"""

GOOD: frozenset[Outcome] = frozenset({"passed", "xfailed", "xpassed", "skipped"})


def owed_to_settle(state: State) -> Iterator[Decision]:
    """For every task whose worker has spoken, or that somebody cancelled."""
    for task_id in state.unsettled:
        yield settlement(state, state.tasks[task_id])


def settlement(state: State, task: Task) -> Decision:
    if task.late is not None:
        return _after_late_success(state, task, task.late)
    if task.status == "returned":
        if task.cancel_requested:
            return _completed(task, "cancelled", "cancelled before it ran", "cancelled and handed back")
        if task.forgotten and task.began:
            return _charge_infrastructure(state, task, "lost", "its worker has forgotten it")
        if task.forgotten:
            return _requeued(task, "lost", "none", "never reached its worker")
        if task.revoked:
            return _requeued(task, "worker_unfit", "none", "handed back on order, unstarted")
        return _requeued(task, "worker_draining", "none", "handed back unstarted")
    if task.result is not None:
        return _after_result(state, task, task.result)
    if task.status in WAITING:
        return _completed(task, "cancelled", "cancelled before it ran", "cancelled while it waited")
    if orphaned(state, task):
        return _completed(task, "cancelled", "cancelled; its worker had failed", "cancelled orphan")
    return revoked(task, "cancelled", "cancelled while a worker has it")


def _after_late_success(state: State, task: Task, late: Late) -> Decision:
    """Whoever was given the replacement hands it back first, or stops it. Nothing that he says of it counts."""
    if task.status in ("assigned", "running") and not orphaned(state, task):
        return revoked(task, "its former attempt has passed", "late success: its replacement is called off")
    result = late.result
    event = TaskCompleted(
        task_id=task.task_id,
        run_id=task.run_id,
        verdict=VERDICT[result.outcome],
        attempt=late.attempt,
        worker_id=late.worker_id,
        outcome=result.outcome,
        duration_s=result.duration_s,
        message="its result came late, and before its replacement had started",
        result_sequence=result.sequence,
    )
    return Decision(event, "late success of a replaced attempt", task.event_id, task.run_id, task.synthetic)


def revoked(task: Task, reason: str, rule: str) -> Decision:
    assert task.worker_id is not None
    event = TaskRevoked(
        task_id=task.task_id,
        worker_id=task.worker_id,
        incarnation=task.incarnation,
        attempt=task.attempt,
        reason=reason,
    )
    return Decision(event, rule, task.event_id, task.run_id, task.synthetic)


def _after_result(state: State, task: Task, result: Result) -> Decision:
    outcome = result.outcome
    if task.cancel_requested and outcome in ("cancelled", "fenced"):
        return _completed(task, "cancelled", "cancelled while it ran", "cancelled while it ran")
    if outcome in GOOD:
        return _completed(task, VERDICT[outcome], "", "attempt delivered a verdict")
    if task.cancel_requested:
        return _completed(task, VERDICT[outcome], "", "attempt ended before its cancellation")
    if task.condemned:
        return quarantine(task)
    if outcome == "cancelled":
        if task.hung:
            return _after_hang(state, task)
        return _requeued(task, "worker_draining", "none", "stopped by its worker")
    if outcome == "fenced":
        if not result.started:
            return _requeued(task, "fenced", "none", "its worker was cut off before it started")
        if spares_fenced(state, task):
            return _requeued(task, "fenced", "none", "the broker was away, and its worker stopped it")
        return _charge_infrastructure(state, task, "fenced", "its worker was cut off and stopped it")
    if TAXONOMY[result.error].retry == "never":
        return _completed(task, VERDICT[outcome], f"not tried again: {result.error}", "error is never retried")
    if result.unfit and task.infrastructure_used < infrastructure_retries(state.policy, task.infrastructure_retries):
        return _requeued(task, "worker_unfit", "infrastructure", "its worker is no judge of it")
    if task.verdict_used < verdict_retries(state.policy, task.verdict_retries):
        reason: RequeueReason = "crash_retry" if outcome == "crashed" else "verdict_retry"
        return _requeued(task, reason, "verdict", "verdict retry left")
    return _completed(task, VERDICT[outcome], "", "attempt delivered a verdict")


def _after_hang(state: State, task: Task) -> Decision:
    """It ran beyond its limit and was stopped by order: that is a verdict on the test, as its own time limit is."""
    if task.verdict_used < verdict_retries(state.policy, task.verdict_retries):
        return _requeued(task, "verdict_retry", "verdict", "verdict retry left")
    return _completed(task, "timed_out", "it ran beyond its limit and was stopped", "hung task was stopped")


def owed_to_orphans(state: State, now: float) -> Iterator[Decision]:
    """For every task whose worker's incarnation is over, by priority: requeued at once, whatever becomes of the worker,
    as fast as the rate allows. Who has to wait for that lets nobody pass."""
    until = state.requeues_until
    for task_id in state.orphaned:
        task = state.tasks[task_id]
        if task.condemned:
            decision = quarantine(task)
        elif task.status == "assigned":
            decision = _requeued(task, "worker_failed", "none", "worker failed before it started")
        elif spares(state, task):
            decision = _requeued(task, "worker_failed", "none", "its worker was lost together with others")
        else:
            decision = _charge_infrastructure(state, task, "worker_failed", "its worker failed under it")
        if isinstance(decision.event, TaskRequeued):
            if now < open_at(state.policy, until):
                return
            until = charged(state.policy, until, now)
        yield decision


def requeues_due(state: State) -> float:
    """When the next task of a failed worker may be put back; `NEVER` if none waits for that."""
    waiting = state.orphaned and state.may_repair
    return open_at(state.policy, state.requeues_until) if waiting else NEVER


def _charge_infrastructure(state: State, task: Task, reason: RequeueReason, what: str) -> Decision:
    allowed = infrastructure_retries(state.policy, task.infrastructure_retries)
    if task.infrastructure_used < allowed:
        return _requeued(task, reason, "infrastructure", f"{what}: infrastructure retry left")
    message = f"{what} for the {task.infrastructure_used + 1}. time; infrastructure retries allowed: {allowed}"
    return _completed(task, "crashed", message, "infrastructure retries used up")


def _requeued(task: Task, reason: RequeueReason, budget: Budget, rule: str) -> Decision:
    assert task.worker_id is not None
    event = TaskRequeued(
        task_id=task.task_id, attempt=task.attempt, worker_id=task.worker_id, reason=reason, budget=budget
    )
    return Decision(event, rule, task.event_id, task.run_id, task.synthetic)


def quarantine(task: Task) -> Decision:
    """It has run alone, and killed again."""
    told = "; ".join(f"{death.worker_id}: {death.reason} (event {death.sequence})" for death in task.deaths)
    message = (
        f"{len(task.deaths)} workers or processes have died under it, the last one while it ran alone: {told}. "
        f"{_release(task)}"
    )
    return _completed(task, "quarantined", message, "died again, and ran alone", task.deaths)


def _release(task: Task) -> str:
    return f"'resurgam quarantine release {task.fingerprint}' lets it run again"


def owed_to_barred(state: State, now: float) -> Iterator[Decision]:
    """For waiting tasks whose work had been quarantined before."""
    for task_id in state.barred:
        task = state.tasks[task_id]
        entry = quarantined(state, task, now)
        if entry is not None and not task.cancel_requested:
            yield _barred(task, entry)


def _barred(task: Task, entry: Quarantined) -> Decision:
    message = (
        f"its work has been quarantined since {utc(entry.since):%Y-%m-%d %H:%M} UTC, for what it did as task "
        f"{entry.task_id} (event {entry.sequence}); {_release(task)}"
    )
    return _completed(task, "quarantined", message, "its work is quarantined")


def _completed(task: Task, verdict: Verdict, message: str, rule: str, deaths: tuple[Death, ...] = ()) -> Decision:
    result = task.result
    event = TaskCompleted(
        task_id=task.task_id,
        run_id=task.run_id,
        verdict=verdict,
        attempt=task.attempt,
        worker_id=task.worker_id,
        outcome=None if result is None else result.outcome,
        duration_s=0.0 if result is None else result.duration_s,
        message=message,
        result_sequence=0 if result is None else result.sequence,
        deaths=deaths,
    )
    return Decision(event, rule, task.event_id, task.run_id, task.synthetic)


def owed_to_stranded(state: State, now: float) -> Iterator[Decision]:
    """For waiting tasks that require what nobody has who is there or expected."""
    for requirement in state.unmet:
        if now < stranded_at(state, requirement):
            continue
        for task_id in state.needs[requirement].unsaid:
            task = state.tasks[task_id]
            if task.unwanted or (task_id in state.barred and quarantined(state, task, now) is not None):
                continue
            event = TaskStranded(task_id=task_id, requires=dict(requirement), workers_expected=state.workers_expected)
            yield Decision(event, "nobody has the labels it requires", task.event_id, task.run_id, task.synthetic)


def owed_assignments(state: State, now: float) -> Iterator[Decision]:
    """Waiting tasks to workers with room, in the queue's order, round the workers; first of all to those set apart."""
    taken = yield from owed_isolations(state, now)
    if not state.available or not state.waiting:
        return
    placement = Placement(state, now, taken)
    blocked: set[Requirement] = set()
    for task in state.waiting.in_order(blocked, ageing=state.policy.priority_ageing):
        if placement.exhausted:
            return
        if task.unwanted:
            continue
        entry = quarantined(state, task, now)
        if entry is not None:
            if task.task_id not in state.barred:
                yield _barred(task, entry)
            continue
        worker = placement.take(task)
        if worker is None:
            blocked.add(task.requires)
            continue
        yield assignment(task, worker, "next waiting task to a worker with room")
