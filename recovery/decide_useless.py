"""What is owed about workers that beat and are of no use, and about tasks that do not end.

In order of escalation: what a worker has not begun in time is taken back, and so is a task that runs beyond its limit;
it is told so (`TaskRevoked`) and keeps them until it answers. What it hands back, or has never had, goes elsewhere. A
worker that does not answer, or that had the work and did not begin it, is stalled: its supervisor kills it and says so,
and that report alone gives its tasks away. While neither worker nor supervisor obeys they stay where they are: a worker
that beats may run them, and nothing proves that it does not. It gets nothing more, and an operator sees it.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

from events.task import TaskHung
from events.worker import StallCause, WorkerStalled, WorkerStallRefuted
from recovery.decide_tasks import revoked
from recovery.decisions import Decision
from recovery.entities import Worker
from recovery.fitness import accused, elsewhere, failed_elsewhere, passed_elsewhere
from recovery.indexes import owes_at
from recovery.overdue import acquittal, limit_s, run_hung_at, unheeded_at, unstarted_at, unstarted_tasks
from recovery.state import State

TASKS_MAX = 20
"""Named in the evidence against a worker."""


def owed_to_useless(state: State, now: float) -> Iterator[Decision]:
    """At most one decision about each worker, besides those about its tasks."""
    if not state.accused and not state.useless.ripe and state.useless.next() > now:
        return iter(())
    return _owed(state, now)


def _owed(state: State, now: float) -> Iterator[Decision]:
    decided: set[str] = set()
    for worker_id in state.useless.in_turn(now):
        worker = state.workers[worker_id]
        if owes_at(state, worker) <= now:
            continue  # its silence or its recovery comes first
        yield from _about_runs(state, worker, now)
        decision = _about_alive(state, worker, now) if worker.status == "alive" else _about_stalled(state, worker, now)
        if decision is not None:
            decided.add(worker_id)
            yield decision
        else:
            yield from _taken_back(state, worker, now)
    for worker_id in state.accused:
        worker = state.workers[worker_id]
        if worker_id not in decided and owes_at(state, worker) > now:
            decision = _about_accused(state, worker, now)
            if decision is not None:
                yield decision


def _about_runs(state: State, worker: Worker, now: float) -> Iterator[Decision]:
    """Of tasks that do not end: each is said to hang first, and told to stop in the next cycle."""
    for task_id, run in worker.running.items():
        task = state.tasks[task_id]
        if task.unwanted or run_hung_at(state, worker, task_id, run) > now:
            continue
        if task.hung:
            yield revoked(task, "it runs beyond its limit", "hung task is stopped")
            continue
        event = TaskHung(
            task_id=task_id,
            worker_id=worker.worker_id,
            incarnation=worker.incarnation,
            attempt=task.attempt,
            started_sequence=run.sequence,
            ran_s=round(max(0.0, now - run.since), 6),
            limit_s=limit_s(state, task),
            heartbeat_sequence=_beat(state, worker),
        )
        yield Decision(event, "task beyond its limit", task.event_id, task.run_id, task.synthetic, overdue=True)


def _about_alive(state: State, worker: Worker, now: float) -> Decision | None:
    if unheeded_at(state, worker) <= now:
        return _unheeded(state, worker, now)
    if worker.idled and unstarted_at(state, worker) <= now:
        deadline = state.policy.assignment_start_deadline
        event = _stalled(state, worker, "not_started", worker.idled, deadline)
        return Decision(event, "handed back what it had not begun, with a slot free", worker.event_id)
    return None


def _about_stalled(state: State, worker: Worker, now: float) -> Decision | None:
    if worker.stall is None:
        return None
    reason = acquittal(worker)
    if reason:
        return _refuted(worker, reason)
    return _unheeded(state, worker, now) if unheeded_at(state, worker) <= now else None


def _taken_back(state: State, worker: Worker, now: float) -> Iterator[Decision]:
    """What a worker has not begun in time, and all that a stalled one has not begun."""
    if worker.status == "stalled" and state.may_repair:
        reason, rule, overdue = "its worker is stalled", "unstarted at a stalled worker", False
    elif unstarted_at(state, worker) <= now:
        deadline = state.policy.assignment_start_deadline
        reason = f"not started within {deadline:g} s, with a slot free"
        rule, overdue = "assignment not started in time", True
    else:
        return
    for task_id in unstarted_tasks(worker):
        task = state.tasks[task_id]
        if not task.unwanted:
            yield revoked(task, reason, rule)._replace(overdue=overdue)


def _unheeded(state: State, worker: Worker, now: float) -> Decision:
    waited = max(0.0, now - min(worker.revoked.values()))
    event = _stalled(state, worker, "not_obeyed", worker.revoked, state.policy.revocation_grace, waited_s=waited)
    return Decision(event, "order not answered in time", worker.event_id, overdue=True)


def _about_accused(state: State, worker: Worker, now: float) -> Decision | None:
    """Others have the word: what fails elsewhere as well is the work's fault."""
    row, stall, policy = worker.row, worker.stall, state.policy
    assert row is not None
    if not state.may_repair:
        return None
    if worker.status == "alive":
        if not accused(state, worker):
            return None
        event = _stalled(state, worker, "failing_fast", row.tasks, policy.fail_fast_within, restart=False)
        return Decision(event, "fails everything at once", worker.event_id)
    if worker.status != "stalled" or stall is None or stall.cause != "failing_fast" or stall.restart:
        return None
    if failed_elsewhere(row):
        return _refuted(worker, "such work fails elsewhere as well")
    if not elsewhere(state, worker):
        return _refuted(worker, "nobody is left to compare it with")
    passed = passed_elsewhere(row) - stall.passed
    over = now >= stall.since + policy.fail_fast_judgement
    if passed >= policy.fail_fast_tasks or (over and passed > 0):
        event = _stalled(state, worker, "failing_fast", row.tasks, policy.fail_fast_within, passed=passed)
        return Decision(event, "what it fails passes elsewhere", worker.event_id)
    return _refuted(worker, "nobody else has had such work") if over else None


def _stalled(
    state: State,
    worker: Worker,
    cause: StallCause,
    tasks: Iterable[str],
    threshold_s: float,
    *,
    waited_s: float | None = None,
    restart: bool = True,
    passed: int = 0,
) -> WorkerStalled:
    return WorkerStalled(
        worker_id=worker.worker_id,
        incarnation=worker.incarnation,
        cause=cause,
        restart=restart,
        tasks=tuple(islice(dict.fromkeys(tasks), TASKS_MAX)),
        waited_s=None if waited_s is None else round(waited_s, 6),
        threshold_s=threshold_s,
        heartbeat_sequence=_beat(state, worker),
        passed_elsewhere=passed,
    )


def _refuted(worker: Worker, reason: str) -> Decision:
    event = WorkerStallRefuted(worker_id=worker.worker_id, incarnation=worker.incarnation, reason=reason)
    return Decision(event, "stalled worker is of use", worker.event_id)


def _beat(state: State, worker: Worker) -> int:
    beat = state.last_beat(worker)
    return 0 if beat is None else beat.sequence
