"""Facts about tasks."""

from events.base import Event
from events.envelope import Recorded
from events.system import RunCancelRequested
from events.task import (
    OUTCOME_CODES,
    TaskAssigned,
    TaskAttemptFinished,
    TaskCancelRequested,
    TaskCompleted,
    TaskHung,
    TaskIsolated,
    TaskRequeued,
    TaskReturned,
    TaskRevoked,
    TaskStarted,
    TaskStranded,
    TaskSubmitted,
)
from events.work import fingerprint, name_of
from recovery.apart import change, forget, set_apart
from recovery.entities import Late, Replaced, Result, Run, Task, Worker
from recovery.fitness import PASSED, note_end
from recovery.handlers import Handler
from recovery.indexes import index_availability, index_task, index_useless, load_level, orphaned, takes_work
from recovery.lifecycle import TASK, WAITING, TaskStatus
from recovery.needs import note_said
from recovery.outages import note_completed, note_requeued
from recovery.overdue import hung_from, limit_s
from recovery.pacing import charged
from recovery.poison import file_waiting, note_crash, note_verdict, quarantined
from recovery.state import State
from recovery.taxonomy import code_of
from recovery.timers import AT_ONCE, NEVER

AVERAGE_WEIGHT = 0.1
"""Of the newest attempt in the moving average of run times."""


def submitted(state: State, recorded: Recorded, event: TaskSubmitted) -> bool:
    if event.task_id in state.tasks:
        return False
    task = Task(
        task_id=event.task_id,
        run_id=event.run_id,
        work=event.work,
        priority=event.priority,
        timeout_s=event.timeout_s,
        infrastructure_retries=event.infrastructure_retries,
        verdict_retries=event.verdict_retries,
        requires=tuple(sorted(event.requires.items())),
        submitted_at=recorded.time,
        queued_sequence=recorded.sequence,
        event_id=recorded.id,
        synthetic=recorded.synthetic,
        fingerprint=fingerprint(event.work),
    )
    state.tasks[task.task_id] = task
    state.runs.setdefault(task.run_id, {})[task.task_id] = None
    state.tasks_by_status["queued"] += 1
    state.moved_at = recorded.time
    file_waiting(state, task, recorded.time)
    if quarantined(state, task, recorded.time) is not None:
        state.barred[task.task_id] = None
    return True


def stranded(state: State, recorded: Recorded, event: TaskStranded) -> bool:
    del recorded
    task = state.tasks.get(event.task_id)
    if task is None or task.status not in WAITING or task.stranded:
        return False
    note_said(state, task)
    return True


def _hold(state: State, worker: Worker, task: Task, now: float) -> None:
    """Charges the task to its worker's load."""
    if orphaned(state, task):
        task.synthetic = worker.made_up
        return
    if task.isolated and not worker.set_apart_for:
        set_apart(state, worker, task)
    level = load_level(worker)
    if len(worker.held) == len(worker.running):
        worker.moved_at = now  # it had nothing to begin until now
    worker.held[task.task_id] = None
    index_availability(state, worker, was=level)
    index_useless(state, worker)


def _let_go(state: State, task: Task, now: float) -> None:
    worker = state.workers.get(task.worker_id or "")
    if worker is None or worker.incarnation != task.incarnation or task.task_id not in worker.held:
        return
    level = load_level(worker)
    del worker.held[task.task_id]
    if worker.running.pop(task.task_id, None) is not None and not worker.running:
        worker.hung_from = NEVER
    worker.revoked.pop(task.task_id, None)
    if worker.set_apart_for == task.task_id:
        forget(state, worker)
    worker.moved_at = now
    index_availability(state, worker, was=level)
    index_useless(state, worker)


def isolated(state: State, recorded: Recorded, event: TaskIsolated) -> bool:
    task, worker = state.tasks.get(event.task_id), state.workers.get(event.worker_id)
    if task is None or worker is None or (task.status, TaskIsolated) not in TASK:
        return False
    if worker.incarnation != event.incarnation or not takes_work(worker) or worker.set_apart_for:
        return False
    change(state, task, TASK[task.status, TaskIsolated], recorded)
    task.apart_at = worker.worker_id
    set_apart(state, worker, task)
    return True


def assigned(state: State, recorded: Recorded, event: TaskAssigned) -> bool:
    task = state.tasks.get(event.task_id)
    if task is None or (task.status, TaskAssigned) not in TASK or event.attempt <= task.attempt:
        return False
    worker = state.workers.get(event.worker_id)
    if worker is None or event.incarnation > worker.incarnation:
        return False  # no leader can have meant an incarnation that does not exist yet
    change(state, task, TASK[task.status, TaskAssigned], recorded)
    task.attempt, task.assigned_at = event.attempt, recorded.time
    task.worker_id = event.worker_id
    task.incarnation = event.incarnation
    task.assigned_sequence = recorded.sequence
    task.revoked = task.began = task.hung = task.forgotten = task.condemned = False
    task.stranded = False
    task.isolated = event.isolated
    _hold(state, worker, task, recorded.time)
    index_task(state, task)
    return True


def _current(
    state: State, event: TaskStarted | TaskAttemptFinished | TaskReturned, kind: type[Event]
) -> tuple[Task, TaskStatus] | None:
    """The task and its next status, if a worker's word about it counts: it speaks of the present attempt, and it is
    the incarnation that was given it, and that one is not over."""
    task = state.tasks.get(event.task_id)
    if task is None or event.attempt != task.attempt or event.worker_id != task.worker_id:
        return None
    if event.incarnation != task.incarnation or task.status in WAITING or orphaned(state, task):
        return None
    status = TASK.get((task.status, kind))
    return None if status is None else (task, status)


def started(state: State, recorded: Recorded, event: TaskStarted) -> bool:
    found = _current(state, event, TaskStarted)
    if found is None:
        return False
    task, status = found
    change(state, task, status, recorded)
    task.began = True
    task.replaced = None
    worker = _holder(state, task)
    worker.running[task.task_id] = Run(recorded.time, recorded.sequence)
    worker.hung_from = min(hung_from(state, worker, recorded.time), recorded.time + limit_s(state, task))
    worker.moved_at = recorded.time
    worker.begun_sequence = recorded.sequence
    worker.idled = ()
    index_useless(state, worker)
    return True


def _holder(state: State, task: Task) -> Worker:
    """Of a task that is assigned or running, and no orphan."""
    assert task.worker_id is not None
    return state.workers[task.worker_id]


def attempt_finished(state: State, recorded: Recorded, event: TaskAttemptFinished) -> bool:
    found = _current(state, event, TaskAttemptFinished)
    if found is None:
        return _late_success(state, recorded, event)
    task, status = found
    unfit = note_end(state, _holder(state, task), task, event)
    if event.outcome == "crashed" and not unfit:
        note_crash(state, task, recorded, event)
    error = code_of(event.outcome, event.error)
    if event.outcome in OUTCOME_CODES and recorded.synthetic is None:
        state.errors[error] += 1
    began = task.status == "running"
    task.result = Result(event.outcome, recorded.sequence, event.duration_s, began, unfit, error)
    _let_go(state, task, recorded.time)
    change(state, task, status, recorded)
    average = state.seconds_per_task
    state.seconds_per_task = (
        event.duration_s if average == 0.0 else average + AVERAGE_WEIGHT * (event.duration_s - average)
    )
    index_task(state, task)
    return True


def _late_success(state: State, recorded: Recorded, event: TaskAttemptFinished) -> bool:
    """Of an attempt that its worker has lost: taken, unless another one has started by now, as the order of the log
    has it. Whatever else a late word says is stale."""
    task = state.tasks.get(event.task_id)
    if task is None or task.late is not None or event.outcome not in PASSED:
        return False
    said = Replaced(event.attempt, event.worker_id, event.incarnation)
    result = Result(event.outcome, recorded.sequence, event.duration_s, started=True)
    lost = (task.attempt, task.worker_id, task.incarnation) == said and orphaned(state, task)
    if lost or (said == task.replaced and task.status in WAITING):
        task.result, task.replaced = result, None
        change(state, task, TASK[task.status, TaskAttemptFinished], recorded)
    elif said == task.replaced and task.status == "assigned":
        task.late, task.replaced = Late(event.attempt, event.worker_id, result), None
        task.synthetic = recorded.synthetic
    else:
        return False
    index_task(state, task)
    return True


def returned(state: State, recorded: Recorded, event: TaskReturned) -> bool:
    found = _current(state, event, TaskReturned)
    if found is None:
        return False
    task, status = found
    task.forgotten = event.unknown
    if task.revoked and not task.began and not event.unknown and not task.unwanted:
        worker = _holder(state, task)
        worker.idled = (*worker.idled, task.task_id)
    _let_go(state, task, recorded.time)
    change(state, task, status, recorded)
    index_task(state, task)
    return True


def requeued(state: State, recorded: Recorded, event: TaskRequeued) -> bool:
    task = state.tasks.get(event.task_id)
    if task is None or event.attempt != task.attempt or (task.status, TaskRequeued) not in TASK:
        return False
    unreported = task.status in ("assigned", "running")
    task.replaced = Replaced(task.attempt, event.worker_id, task.incarnation) if unreported else None
    if event.reason == "worker_failed":
        state.requeues_until = charged(state.policy, state.requeues_until, recorded.time)
    _let_go(state, task, recorded.time)
    change(state, task, TASK[task.status, TaskRequeued], recorded)
    began = task.began
    if event.budget == "infrastructure":
        task.infrastructure_used += 1
    elif event.budget == "verdict":
        task.verdict_used += 1
    task.result = None
    task.queued_sequence = recorded.sequence
    file_waiting(state, task, recorded.time)
    index_task(state, task)
    note_requeued(state, task, recorded, event, began=began)
    return True


def completed(state: State, recorded: Recorded, event: TaskCompleted) -> bool:
    task = state.tasks.get(event.task_id)
    if task is None or (task.status, TaskCompleted) not in TASK:
        return False
    orphan = orphaned(state, task)
    _let_go(state, task, recorded.time)
    change(state, task, TASK[task.status, TaskCompleted], recorded)
    if event.verdict == "quarantined" and event.deaths and task.work is not None:
        note_verdict(state, task, name_of(task.work), recorded, event.deaths)
    task.verdict = event.verdict
    task.work = None
    state.accused_tasks.pop(task.task_id, None)
    open_tasks = state.runs[task.run_id]
    del open_tasks[task.task_id]
    if not open_tasks:
        del state.runs[task.run_id]
    index_task(state, task)
    note_completed(state, recorded, event, orphan=orphan)
    return True


def revoked(state: State, recorded: Recorded, event: TaskRevoked) -> bool:
    task = state.tasks.get(event.task_id)
    if task is None or event.attempt != task.attempt or task.status not in ("assigned", "running"):
        return False
    task.revoked = True
    index_task(state, task)
    if not orphaned(state, task):
        worker = _holder(state, task)
        worker.revoked.setdefault(task.task_id, recorded.time)
        index_useless(state, worker)
    return True


def hung(state: State, recorded: Recorded, event: TaskHung) -> bool:
    del recorded
    task = state.tasks.get(event.task_id)
    if task is None or event.attempt != task.attempt or task.status != "running" or task.hung:
        return False
    task.hung = True
    if not orphaned(state, task):
        worker = _holder(state, task)
        worker.hung_from = AT_ONCE
        index_useless(state, worker)
    return True


def _request_cancel(state: State, task: Task, recorded: Recorded) -> None:
    task.cancel_requested = True
    task.synthetic = recorded.synthetic
    index_task(state, task)


def cancel_requested(state: State, recorded: Recorded, event: TaskCancelRequested) -> bool:
    task = state.tasks.get(event.task_id)
    if task is None or task.status == "final":
        return False
    _request_cancel(state, task, recorded)
    return True


def run_cancel_requested(state: State, recorded: Recorded, event: RunCancelRequested) -> bool:
    open_tasks = state.runs.get(event.run_id)
    if open_tasks is None:
        return False
    for task_id in open_tasks:
        _request_cancel(state, state.tasks[task_id], recorded)
    return True


HANDLERS: dict[type[Event], Handler] = {
    TaskSubmitted: submitted,
    TaskAssigned: assigned,
    TaskIsolated: isolated,
    TaskStranded: stranded,
    TaskStarted: started,
    TaskAttemptFinished: attempt_finished,
    TaskReturned: returned,
    TaskRequeued: requeued,
    TaskCompleted: completed,
    TaskRevoked: revoked,
    TaskHung: hung,
    TaskCancelRequested: cancel_requested,
    RunCancelRequested: run_cancel_requested,
}
