"""Keeping the indexes true after a change: what each entity owes, and when."""

from collections import Counter, OrderedDict

from events.failures import WITHOUT_EFFECT
from recovery.entities import Attempt, Beat, Task, Worker
from recovery.foresight import foreseen_at, forestalled_at
from recovery.lifecycle import LIVE, WAITING
from recovery.overdue import useless_at
from recovery.repairs import acts
from recovery.state import State
from recovery.timers import AT_ONCE, NEVER


def index_worker(state: State, worker: Worker) -> None:
    """Sets the time from which the worker may owe something. To be called after every change of it or its heartbeat.

    With the least patience that its detector can have: how much it really has is asked when that is used up, and not at
    every heartbeat.
    """
    state.timers.set(worker.worker_id, owes_at(state, worker, exactly=False))
    index_useless(state, worker)
    if worker.attempt is not None or worker.worker_id in state.attempts:
        index_attempt(state, worker)
    if worker.flaps or state.flapping:
        index_flapping(state, worker)
    if awaits_effect(worker):
        state.effects[worker.worker_id] = None
    elif state.effects:
        state.effects.pop(worker.worker_id, None)
    index_omens(state, worker)


def index_attempt(state: State, worker: Worker) -> None:
    """To be called after every change of its attempt, or of its status during one."""
    worker_id, attempt = worker.worker_id, worker.attempt
    begins_at, under_way = NEVER, False
    if attempt is None:
        state.attempts.pop(worker_id, None)
    else:
        state.attempts[worker_id] = None
        waiting = attempt.status == "scheduled"
        under_way = acts(attempt) and not waiting
        if acts(attempt) and waiting and worker.status == "failed" and not (worker.leaving or attempt.error):
            begins_at = attempt.not_before
    state.repairs.set(worker_id, begins_at)
    if under_way:
        state.repairing[worker_id] = None
    else:
        state.repairing.pop(worker_id, None)


def index_breaker(state: State) -> None:
    state.alarms.set("breaker", state.breaker.until if state.breaker.status == "open" else NEVER)


def index_flapping(state: State, worker: Worker) -> None:
    """To be called after every change of its status, its cordons and its failures."""
    often = len(worker.flaps) >= state.policy.flap_failures
    if often and "flapping" not in worker.cordons and worker.status not in ("permanent", "stopped"):
        state.flapping[worker.worker_id] = None
    else:
        state.flapping.pop(worker.worker_id, None)


def awaits_effect(worker: Worker) -> bool:
    """Whether its attempt needs somebody to act, and nobody has said what came of that."""
    attempt = worker.attempt
    if attempt is None or attempt.status != "started" or attempt.strategy in WITHOUT_EFFECT:
        return False
    return worker.status == "failed" and not attempt.acted and not attempt.error


def index_omens(state: State, worker: Worker) -> None:
    """To be called after every change of it, of its gauges and of what became of its tasks."""
    foresight = worker.foresight
    stirs = foresight.predictions or worker.worker_id in state.outlooks or foresight.attempts.worse is not None
    at = foreseen_at(state, worker) if stirs else NEVER
    if at != state.omens.get(worker.worker_id):
        state.omens.set(worker.worker_id, at)
    acts_at = forestalled_at(state, worker) if foresight.predictions else NEVER
    if acts_at != state.foretold.get(worker.worker_id):
        state.foretold.set(worker.worker_id, acts_at)


def index_useless(state: State, worker: Worker) -> None:
    """To be called after every change of what it holds, and of what that has come to."""
    at = useless_at(state, worker)
    if at != state.useless.get(worker.worker_id):
        state.useless.set(worker.worker_id, at)


def owes_at(state: State, worker: Worker, *, exactly: bool = True) -> float:
    """The earliest cluster time at which `decide` has something to say about this worker; or a time not after it."""
    at = _recovery_owes_at(state, worker, exactly=exactly)
    return min(at, cordoned_until(worker)) if worker.cordons else at


def cordoned_until(worker: Worker) -> float:
    """When the first of its cordons ends by itself."""
    return min((cordon.until for cordon in worker.cordons.values()), default=NEVER)


def _recovery_owes_at(state: State, worker: Worker, *, exactly: bool) -> float:
    status = worker.status
    attempt = worker.attempt
    if status in LIVE:
        silence = silent_until(state, worker, exactly=exactly)
        if attempt is None:
            return silence
        return min(silence, _attempt_owes_at(state, worker, attempt))
    if status == "exited" or (status == "failed" and worker.leaving):
        return AT_ONCE
    if attempt is None:
        return AT_ONCE if status == "failed" and state.may_repair else NEVER
    if not state.may_repair:
        return AT_ONCE
    if status != "failed" or attempt.status == "probed" or attempt.error:
        return AT_ONCE
    if attempt.status == "scheduled":
        return NEVER if acts(attempt) else attempt.not_before
    return AT_ONCE if worker.failed_incarnation != attempt.incarnation else attempt.deadline


def silent_until(state: State, worker: Worker, *, exactly: bool = True) -> float:
    """When the present silence of a live worker becomes suspicious or fatal, or a time not after that; `AT_ONCE` if a
    suspect was heard, or if a worker lost its connection."""
    beat = state.last_beat(worker)
    if beat is None:
        newer = state.newer_beat(worker)
        if newer is not None:
            return state.silent_since(newer) + failed_after(state, worker, newer, exactly=exactly)
    if worker.status == "alive" and worker.cut_off is not None and state.cut_off(worker) is not None:
        return AT_ONCE
    if beat is None:
        beat = state.presumed_beat(worker)
    if beat is None:
        since = max(worker.registered_at, state.watched_since)
        return since + state.detector(worker, None).thresholds.first_heartbeat_timeout
    if worker.status == "suspect" and beat.sequence > worker.suspected_beat:
        return AT_ONCE
    # A draining worker gets no new work anyway: suspicion would change nothing.
    patience = suspect_after if worker.status == "alive" else failed_after
    return state.silent_since(beat) + patience(state, worker, beat, exactly=exactly)


def suspect_after(state: State, worker: Worker, beat: Beat, *, exactly: bool = True) -> float:
    """How long the silence behind a heartbeat may last before it is suspicious, in seconds; or the least it can be."""
    detector = state.detector(worker, beat)
    if not exactly:
        return detector.thresholds.suspect_after
    return detector.suspect_after(state.intervals(beat, worker.worker_id))


def failed_after(state: State, worker: Worker, beat: Beat, *, exactly: bool = True) -> float:
    """The same, before it is fatal."""
    detector = state.detector(worker, beat)
    if not exactly:
        return detector.thresholds.failed_after
    return detector.failed_after(state.intervals(beat, worker.worker_id))


def _attempt_owes_at(state: State, worker: Worker, attempt: Attempt) -> float:
    """For a worker that is live again while an attempt to bring it back is open."""
    if not state.may_repair or attempt.status == "scheduled":
        return AT_ONCE
    beats = state.last_beat(worker) is not None
    if attempt.status == "started":
        return AT_ONCE if beats else NEVER
    # A leader that has just taken over may have read the answer and not yet the beat that the probe rests on.
    return AT_ONCE if attempt.answered and beats else attempt.deadline


def index_made_up(state: State, worker: Worker) -> None:
    """Keeps the index of workers that are missing because of a synthetic event."""
    label = {"exited": worker.made_up, "failed": worker.synthetic}.get(worker.status)
    if label is None:
        state.made_up.pop(worker.worker_id, None)
    else:
        state.made_up[worker.worker_id] = label


def index_availability(state: State, worker: Worker, *, was: int | None) -> None:
    """Moves the worker between the load levels. `was` is its level before the change, None: it was not available."""
    level = load_level(worker)
    if was is not None and was != level:
        _leave_level(state, worker, was)
    if level is not None:
        if was != level:
            _enter_level(state, worker, level)
        # At the end even if it was here: work goes round.
        state.available[level].move_to_end(worker.worker_id)
    if (was is None) != (level is None):
        state.slots += worker.slots if was is None else -worker.slots


def _enter_level(state: State, worker: Worker, level: int) -> None:
    workers = state.available.get(level)
    if workers is None:
        workers = state.available[level] = OrderedDict()
    workers[worker.worker_id] = worker
    if worker.labels:
        labels = state.available_labels.get(level)
        if labels is None:
            labels = state.available_labels[level] = Counter()
        for label in worker.labels.items():
            labels[label] += 1


def _leave_level(state: State, worker: Worker, level: int) -> None:
    workers = state.available[level]
    del workers[worker.worker_id]
    if not workers:
        del state.available[level]
    if worker.labels:
        labels = state.available_labels[level]
        for label in worker.labels.items():
            labels[label] -= 1
            if not labels[label]:
                del labels[label]
        if not labels:
            del state.available_labels[level]


def load_level(worker: Worker) -> int | None:
    """How many full rounds of its slots the worker holds; None: it gets no work."""
    if not takes_work(worker) or worker.set_apart_for:
        return None
    return len(worker.held) // worker.slots


def takes_work(worker: Worker) -> bool:
    return worker.status == "alive" and worker.attempt is None and not worker.cordons


def orphaned(state: State, task: Task) -> bool:
    """Whether the task is in the hands of an incarnation that is over."""
    if task.status not in ("assigned", "running") or task.worker_id is None:
        return False
    worker = state.workers.get(task.worker_id)
    return worker is None or worker.status not in LIVE or worker.incarnation != task.incarnation


def index_task(state: State, task: Task) -> None:
    """Files the task under what is owed to it. To be called after every change of it, or of its worker's standing."""
    task_id = task.task_id
    orphan = orphaned(state, task)
    if orphan and not task.unwanted:
        state.orphaned.add(task)
        state.unsettled.pop(task_id, None)
        return
    state.orphaned.discard(task_id)
    owed = task.status in ("finished", "returned") or (
        task.unwanted
        and (task.status in WAITING or orphan or (task.status in ("assigned", "running") and not task.revoked))
    )
    if owed:
        state.unsettled[task_id] = None
    else:
        state.unsettled.pop(task_id, None)
