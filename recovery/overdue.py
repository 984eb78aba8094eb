"""When a worker that beats owes an explanation: work that it has not begun, an order that it has not answered, a task
that does not end.

Everything here is taken from the log, and believed only if the worker's own heartbeats bear it out, all of them for as
long as the deadline: by its own account it had a slot free and nothing left to report. So neither a suite that takes
minutes to collect, nor a worker that is cut off, nor reports that wait for the broker look like a fault.
"""

from recovery.entities import Beat, Run, Task, Worker
from recovery.state import State
from recovery.timers import AT_ONCE, NEVER


def useless_at(state: State, worker: Worker) -> float:
    """From when on there is something to say about it that nobody but `recovery.decide_useless` says; an index of
    that, to be set after every change of the worker, of what it holds, and of its heartbeat."""
    if worker.status not in ("alive", "stalled", "draining"):
        return NEVER
    stall = stalled_at(state, worker) if worker.status == "stalled" else NEVER
    if not worker.held and not worker.idled:
        return stall
    if stall == NEVER and _plainly_at_work(state, worker):
        return NEVER
    return min(stall, hung_at(state, worker), unheeded_at(state, worker), unstarted_at(state, worker))


def _plainly_at_work(state: State, worker: Worker) -> bool:
    """What most workers are at most events, told at little cost: no deadline can be over at the last heartbeat."""
    beat = state.beats.get(worker.worker_id)
    if worker.revoked or worker.idled or (beat is not None and beat.incarnation != worker.incarnation):
        return False
    heard_at = 0.0 if beat is None else beat.time
    if worker.hung_from <= heard_at:
        return False
    if len(worker.running) >= min(worker.slots, len(worker.held)):
        return True
    return worker.moved_at + state.policy.assignment_start_deadline > heard_at


def hung_from(state: State, worker: Worker, now: float) -> float:
    """A time before which none of what it runs is beyond its limit, reckoned anew if the one that is known is over."""
    if worker.hung_from > now:
        return worker.hung_from
    tasks = ((state.tasks[task_id], run) for task_id, run in worker.running.items())
    return min((AT_ONCE if task.hung else run.since + limit_s(state, task) for task, run in tasks), default=NEVER)


def witness(state: State, worker: Worker) -> Beat | None:
    """The last heartbeat, unless its time is not to be trusted."""
    beat = state.last_beat(worker)
    return beat if beat is not None and beat.sequence > state.watched_beat else None


def limit_s(state: State, task: Task) -> float:
    """How long an attempt may run before it counts as hung."""
    policy = state.policy
    return policy.task_hang_cap if task.timeout_s is None else task.timeout_s + policy.task_hang_grace


def hung_at(state: State, worker: Worker) -> float:
    """When the first of its tasks runs beyond its limit, or has to be revoked because it did."""
    if worker.status == "stalled" and worker.stall is not None and worker.stall.restart:
        return NEVER
    return min((run_hung_at(state, worker, task_id, run) for task_id, run in worker.running.items()), default=NEVER)


def run_hung_at(state: State, worker: Worker, task_id: str, run: Run) -> float:
    task = state.tasks[task_id]
    if task_id in worker.revoked:
        return NEVER
    if task.hung:
        return AT_ONCE if state.may_repair else NEVER
    beat = witness(state, worker)
    if beat is None:
        return NEVER
    due = max(run.since, state.watched_since) + limit_s(state, task)
    return _borne_out(beat, max(due, beat.quiet_since + state.policy.revocation_grace))


def unheeded_at(state: State, worker: Worker) -> float:
    """When it has left an order unanswered for too long."""
    stall = worker.stall if worker.status == "stalled" else None
    if not worker.revoked or not state.may_repair or worker.status == "draining":
        return NEVER
    beat = witness(state, worker)
    if beat is None or (stall is not None and stall.restart):
        return NEVER
    since = max(min(worker.revoked.values()), state.watched_since, beat.quiet_since)
    return _borne_out(beat, since + state.policy.revocation_grace)


def unstarted_at(state: State, worker: Worker) -> float:
    """When it has not begun for too long what it has a free slot for, or has to be called stalled because of that."""
    if worker.status != "alive" or not state.may_repair:
        return NEVER
    if worker.idled:
        return AT_ONCE
    if worker.revoked or len(worker.running) >= min(worker.slots, len(worker.held)):
        return NEVER
    beat = witness(state, worker)
    if beat is None:
        return NEVER
    since = max(worker.moved_at, state.watched_since, beat.free_since)
    return _borne_out(beat, since + state.policy.assignment_start_deadline)


def stalled_at(state: State, worker: Worker) -> float:
    """When something is owed about a stalled worker besides what is owed to any."""
    stall = worker.stall
    assert stall is not None
    if acquittal(worker):
        return AT_ONCE
    if state.may_repair and unstarted_tasks(worker):
        return AT_ONCE
    if stall.cause == "failing_fast" and not stall.restart and state.may_repair:
        return stall.since + state.policy.fail_fast_judgement
    return NEVER


def acquittal(worker: Worker) -> str:
    """Why a stalled worker is so no longer; empty: it is."""
    stall = worker.stall
    assert stall is not None
    if stall.cause == "not_started":
        return "it has begun a task" if worker.begun_sequence > stall.sequence else ""
    if stall.cause == "not_obeyed":
        return "" if worker.revoked or worker.idled else "it has answered"
    return "" if worker.row is not None else "it has passed a task"


def unstarted_tasks(worker: Worker) -> list[str]:
    """What it holds and has neither begun nor been told to hand back, oldest first."""
    if len(worker.held) == len(worker.running):
        return []
    return [task_id for task_id in worker.held if task_id not in worker.running and task_id not in worker.revoked]


def _borne_out(beat: Beat, due: float) -> float:
    """`due`, if a heartbeat has come since: only that shows that the worker was alive and had nothing to say."""
    return due if beat.time >= due else NEVER
