"""Which task may have killed its worker: what is held against tasks, and what acquits them.

Only the death of a process says anything, reported by its supervisor, by a witness that finds nothing left, or by the
worker whose runner it was. Silence may be the network's, and whoever was killed by order died of that. Every task that
had begun is a suspect, so innocents that ran beside a guilty one are too: a run alone, which costs nothing but time,
tells one from the other. Who dies while half the farm does, dies of something else.
"""

from collections import defaultdict
from itertools import islice

from events.clock import seconds
from events.envelope import Recorded
from events.task import TaskAttemptFinished
from events.worker import Begun, Death, WorkerExited, WorkerVanished
from recovery.entities import Quarantined, Task, Worker
from recovery.exits import how_it_exited
from recovery.needs import note_waiting
from recovery.state import State

MASS: frozenset[str] = frozenset({"mass_worker_loss", "broker_outage"})
"""Incidents in which nobody is accused: workers die of what has happened to all of them."""

PARDON_S = 10.0
"""Deaths so shortly before such an incident belong to it, unless one task has seen two of them."""
LINE_MAX = 32
"""Tasks in line that one slot may have got through before anybody has heard of it: more than it is handed at once."""
DEATHS_MAX = 20
"""Held against one task."""
ACCUSATIONS_MAX = 1000
"""Remembered to be pardoned."""
QUARANTINED_MAX = 10_000
"""Kinds of work; beyond that the oldest are forgotten."""
NAME_MAX = 200


def is_suspect(state: State, task: Task) -> bool:
    """It has to run alone."""
    return len(task.deaths) >= state.policy.poison_deaths


def file_waiting(state: State, task: Task, now: float) -> None:
    """Puts a queued task where it waits: in line, or for a worker of its own."""
    note_waiting(state, task, now)
    if is_suspect(state, task):
        state.waiting.remove(task)
        state.suspects.add(task)
    else:
        state.suspects.discard(task.task_id)
        state.waiting.add(task)


def refile(state: State, now: float) -> None:
    """Another policy, or a pardon."""
    for task_id in state.accused_tasks:
        task = state.tasks[task_id]
        if task.status == "queued":
            file_waiting(state, task, now)


def amid_losses(state: State) -> bool:
    """Whether an incident is open in which nobody is accused."""
    return any(kind in MASS for kind in state.incidents)


def note_death(state: State, worker: Worker, recorded: Recorded, event: WorkerExited | WorkerVanished) -> None:
    """To be called when the worker counts as dead, and before it lets go of what it held."""
    if (
        recorded.synthetic is not None
        or worker.made_up is not None
        or (isinstance(event, WorkerExited) and event.stalled)
    ):
        return
    if amid_losses(state) or state.status_with(state.workers_live + 1) == "critical":
        return
    reason = how_it_exited(event) if isinstance(event, WorkerExited) else "nothing was left of it"
    for task_id, after in _begun(state, worker, event).items():
        death = Death(sequence=recorded.sequence, worker_id=worker.worker_id, reason=reason, after=after)
        _accuse(state, state.tasks[task_id], death, recorded.time)


def _begun(state: State, worker: Worker, event: WorkerExited | WorkerVanished) -> dict[str, int]:
    """What may have killed it, with how many had begun behind each in its slot. Where its supervisor died as well, and
    cannot tell, that is what the log knows to run, and what stood next in line in each slot when its connection was
    closed: starts and ends may have been on their way. What it was given later it has never seen; where nobody knows
    when that was, that may be all of them. Whatever is alone on its worker is meant in any case."""
    begun = dict.fromkeys(worker.running, 0)
    if isinstance(event, WorkerVanished) and event.closed_at is not None:
        closed_at = seconds(event.closed_at)
        next_in_line = (
            task_id
            for task_id in worker.held
            if task_id not in worker.running and state.tasks[task_id].assigned_at <= closed_at
        )
        begun |= {
            task_id: place // worker.slots
            for place, task_id in enumerate(islice(next_in_line, LINE_MAX * worker.slots))
        }
    elif isinstance(event, WorkerExited) and event.begun is not None:
        begun = {one.task_id: one.after for one in event.begun if is_held(state, worker, one)}
    if worker.set_apart_for in worker.held:
        begun[worker.set_apart_for] = 0
    return begun


def is_held(state: State, worker: Worker, begun: Begun) -> bool:
    return begun.task_id in worker.held and state.tasks[begun.task_id].attempt == begun.attempt


def note_crash(state: State, task: Task, recorded: Recorded, event: TaskAttemptFinished) -> None:
    """A process that ran the task has died under it, and its worker lives."""
    if recorded.synthetic is None:
        reason = "its process died under the task"
        _accuse(state, task, Death(sequence=recorded.sequence, worker_id=event.worker_id, reason=reason), recorded.time)


def _accuse(state: State, task: Task, death: Death, now: float) -> None:
    task.deaths = (*task.deaths[-DEATHS_MAX + 1 :], death)
    task.condemned = task.isolated
    state.accused_tasks[task.task_id] = None
    state.accusations.append((now, task.task_id, death.sequence))
    if len(state.accusations) > ACCUSATIONS_MAX:
        state.accusations.popleft()


def pardon(state: State, now: float) -> None:
    """So many have died that it was none of their tasks, but for one that has seen two of the deaths."""
    recent: dict[str, list[int]] = defaultdict(list)
    for at, task_id, sequence in state.accusations:
        if at > now - PARDON_S:
            recent[task_id].append(sequence)
    state.accusations.clear()
    for task_id, sequences in recent.items():
        task = state.tasks[task_id]
        if len(sequences) == 1 and task.status != "final":
            task.deaths = tuple(death for death in task.deaths if death.sequence != sequences[0])
            task.condemned = False
    refile(state, now)


def note_verdict(state: State, task: Task, name: str, recorded: Recorded, deaths: tuple[Death, ...]) -> None:
    """The task was quarantined for these deaths: so is its work from now on, and whoever was there is acquitted."""
    now = recorded.time
    explained = {death.sequence for death in deaths}
    for task_id in state.accused_tasks:
        other = state.tasks[task_id]
        if other is not task and not other.condemned:
            other.deaths = tuple(death for death in other.deaths if death.sequence not in explained)
    refile(state, now)
    state.quarantine.pop(task.fingerprint, None)
    state.quarantine[task.fingerprint] = Quarantined(
        name[:NAME_MAX], task.task_id, recorded.sequence, now, tuple(deaths)
    )
    while len(state.quarantine) > QUARANTINED_MAX or expired(state, next(iter(state.quarantine.values())), now):
        state.quarantine.popitem(last=False)


def expired(state: State, entry: Quarantined, now: float) -> bool:
    return now >= entry.since + state.policy.quarantine_ttl


def quarantined(state: State, task: Task, now: float) -> Quarantined | None:
    """Why its work is not to be run; None: it may."""
    if not state.quarantine:
        return None
    entry = state.quarantine.get(task.fingerprint)
    return None if entry is None or expired(state, entry, now) else entry
