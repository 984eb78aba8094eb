"""Workers that are set apart for one task, and where tasks wait meanwhile: the mutating part, for `evolve`."""

from events.envelope import Recorded
from events.task import TaskStarted
from events.worker import WorkerExited, WorkerVanished
from recovery.entities import Run, Task, Worker
from recovery.fitness import clear
from recovery.indexes import index_availability, index_task, load_level
from recovery.lifecycle import TASK, TaskStatus
from recovery.needs import note_left
from recovery.poison import is_held, note_death
from recovery.state import State
from recovery.timers import NEVER


def change(state: State, task: Task, status: TaskStatus, recorded: Recorded) -> None:
    """Moves a task to another status and keeps the counts, and takes it from where it waited."""
    if task.status == "queued":
        state.waiting.remove(task)
        state.barred.pop(task.task_id, None)
    if task.status in ("queued", "isolated"):
        state.suspects.discard(task.task_id)
        give_back(state, task)
        if status != "isolated":
            note_left(state, task)
    state.moved_at = recorded.time
    state.tasks_by_status[task.status] -= 1
    state.tasks_by_status[status] += 1
    task.status = status
    task.event_id = recorded.id
    task.synthetic = recorded.synthetic


def note_end(state: State, worker: Worker, recorded: Recorded, *, draining: bool) -> None:
    """It counts as dead, and has yet to let go of what it held."""
    event = recorded.event
    if isinstance(event, WorkerExited | WorkerVanished):
        _note_begun(state, worker, recorded, event)
        if not draining:  # else somebody is ending it
            note_death(state, worker, recorded, event)


def _note_begun(state: State, worker: Worker, recorded: Recorded, event: WorkerExited | WorkerVanished) -> None:
    """What its supervisor knows it to have begun has begun, whether or not anybody had heard of it."""
    for begun in () if isinstance(event, WorkerVanished) else event.begun or ():
        task = state.tasks.get(begun.task_id)
        if task is not None and task.status == "assigned" and is_held(state, worker, begun):
            change(state, task, TASK["assigned", TaskStarted], recorded)
            task.began, task.replaced = True, None
            worker.running[task.task_id] = Run(recorded.time, recorded.sequence)


def release_held(state: State, worker: Worker, recorded: Recorded) -> None:
    """What the ended incarnation held is nobody's now."""
    worker.made_up = recorded.synthetic
    lose(state, worker)
    held, worker.held = worker.held, {}
    worker.running.clear()
    worker.hung_from = NEVER
    worker.revoked.clear()
    worker.idled = ()
    clear(state, worker)
    for task_id in held:
        task = state.tasks[task_id]
        task.synthetic = recorded.synthetic
        index_task(state, task)


def set_apart(state: State, worker: Worker, task: Task) -> None:
    """From here on the worker gets nothing else."""
    level = load_level(worker)
    worker.set_apart_for = task.task_id
    state.set_apart[worker.worker_id] = task.task_id
    index_availability(state, worker, was=level)


def give_back(state: State, task: Task) -> None:
    """The worker that was set apart for a waiting task is like any other again."""
    worker = state.workers.get(task.apart_at)
    task.apart_at = ""
    if worker is not None:
        forget(state, worker)
        index_availability(state, worker, was=None)


def forget(state: State, worker: Worker) -> None:
    """It is not set apart any more; the index of those that may get work is the caller's to mend."""
    if worker.set_apart_for:
        worker.set_apart_for = ""
        del state.set_apart[worker.worker_id]


def lose(state: State, worker: Worker) -> None:
    """The incarnation is over: whoever waited for it waits for another worker."""
    task = state.tasks.get(worker.set_apart_for)
    forget(state, worker)
    if task is not None and task.status == "isolated":
        task.apart_at = ""
        state.suspects.add(task)
