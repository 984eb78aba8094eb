"""What is owed to tasks that have to run alone: a worker that is set apart for them, and then the order.

A worker that is set apart finishes what it has and gets nothing else. While so many workers are missing that an
incident is open, nobody is sent out to kill another one; with automatic recovery off nobody waits for its end.
"""

from collections.abc import Generator, Iterator
from itertools import islice

from events.task import TaskAssigned, TaskIsolated
from recovery.decisions import Decision
from recovery.entities import Task, Worker
from recovery.indexes import takes_work
from recovery.placement import LOOK_MAX, fits, trusted
from recovery.poison import amid_losses
from recovery.state import State

APART_SHARE = 0.1
"""Of the live workers, and one at least, may be set apart at one time."""
APART_MAX = 100
SUSPECTS_LOOKED_AT = 2 * APART_MAX
"""In one cycle: who requires what nobody has does not keep the others waiting."""


def owed_isolations(state: State, now: float) -> Generator[Decision, None, set[str]]:
    """Returns the workers that are set apart by these decisions."""
    taken: set[str] = set()
    if not state.suspects and not state.set_apart:
        return taken
    if state.may_repair and (amid_losses(state) or state.measured_status() == "critical"):
        return taken
    stranded: list[Task] = []
    for worker_id, task_id in state.set_apart.items():
        task, worker = state.tasks[task_id], state.workers[worker_id]
        if task.status != "isolated" or task.cancel_requested:
            continue
        if not takes_work(worker):
            stranded.append(task)
        elif not worker.held and trusted(state, worker, now - state.rules.suspect_after_min):
            yield assignment(task, worker, "alone on its worker", isolated=True)
    room = min(APART_MAX, max(1, int(state.workers_live * APART_SHARE))) - len(state.set_apart) + len(stranded)
    if room <= 0 or any(state.tasks[task_id].condemned for task_id in state.accused_tasks):
        return taken  # a verdict that is about to be given may acquit the others
    suspects = [state.tasks[task_id] for task_id in islice(state.suspects, SUSPECTS_LOOKED_AT)]
    for task in (*stranded, *sorted(suspects, key=_likelihood)):
        if len(taken) >= room:
            break
        chosen = None if task.cancel_requested else _worker_for(state, task, taken, now)
        if chosen is not None:
            taken.add(chosen.worker_id)
            event = TaskIsolated(
                task_id=task.task_id, worker_id=chosen.worker_id, incarnation=chosen.incarnation, deaths=task.deaths
            )
            yield Decision(event, "has to run alone", task.event_id, task.run_id, task.synthetic)
    return taken


def _likelihood(task: Task) -> tuple[int, int, int]:
    """Who is most likely to be guilty goes first, and by that acquits the others."""
    return -task.priority, -len(task.deaths), sum(death.after for death in task.deaths)


def _worker_for(state: State, task: Task, taken: set[str], now: float) -> Worker | None:
    """Whoever holds least, and another than had it last if there is one among those looked at."""
    after = now - state.rules.suspect_after_min
    second: Worker | None = None
    for worker in islice(_by_load(state), LOOK_MAX):
        if worker.worker_id in taken or not fits(task, worker) or not trusted(state, worker, after):
            continue
        if worker.worker_id != task.worker_id:
            return worker
        second = worker
    return second


def _by_load(state: State) -> Iterator[Worker]:
    for level in sorted(state.available):
        yield from state.available[level].values()


def assignment(task: Task, worker: Worker, rule: str, *, isolated: bool = False) -> Decision:
    assert task.work is not None
    event = TaskAssigned(
        task_id=task.task_id,
        worker_id=worker.worker_id,
        incarnation=worker.incarnation,
        attempt=task.attempt + 1,
        work=task.work,
        priority=task.priority,
        timeout_s=task.timeout_s,
        isolated=isolated,
    )
    return Decision(event, rule, task.event_id, task.run_id, task.synthetic)
