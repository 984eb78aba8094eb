"""The fold of a log as a plain tuple, and back: everything that `decide` and `evolve` can tell apart, and no more.

What is left out, and why nobody can miss it:

- Causes, texts, hosts, ordinals, measured durations: they are copied into events for people, and nothing is decided by
  them. So are the reason of a failure and the strategy that follows from it.
- Whatever is written before it is next read: the last heartbeat of an incarnation that is over,
  what a task that waits was assigned as, all of a final task but that it is final.
- How old something is beyond the largest threshold of all policies: ages are compared as `now - then >= threshold`. In
  the same way what is due is due. Only where both workers are overdue does it matter for how long, as decisions about
  workers go in the order in which they fell due; there, times are kept as they are.
- Which heartbeats the leader had when it doubted itself last: here no clock goes back, and none of them is younger than
  the doubt. And who was heard last, which is only where to look first. No heartbeats are lost.
- How many attempts have ended, beyond those that make the backoff reach its cap; when they did, as the window is
  endless. (How many have failed is kept: the number decides.)

Sequences are ranks (`ranks`), times are relative to `now`. Indexes are taken as they stand, in their order, and never
recomputed: what a fold has got wrong stays wrong.
"""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

from events.system import IncidentKind, SystemStatus
from recovery.entities import Attempt, Beat, CutOff, Incident, Loss, ParkedMessage, Result, Task, Worker
from recovery.lifecycle import AttemptStatus, TaskStatus, WorkerStatus
from recovery.queue import WaitingTasks
from recovery.state import State
from recovery.timers import AT_ONCE, NEVER, Timers
from tests.simulation.exhaustive.ranks import Ranks
from tests.simulation.exhaustive.world import (
    BEGIN,
    OWN_RETRIES,
    POLICIES,
    POLICY_HASHES,
    RUN,
    TASKS,
    UNIT,
    USUAL,
    WORK,
    WORKERS,
)

Packed = tuple[Any, ...]
Raw = Sequence[Any]

SILENCES = (USUAL.suspect_after, USUAL.failed_after, USUAL.first_heartbeat_timeout)
AGE_MAX = int(max(*SILENCES, USUAL.attempts_reset_after))
"""The largest threshold that an age is compared with, in seconds."""
TRUST_MAX = int(USUAL.suspect_after + UNIT)
"""The registration of an incarnation that has beaten counts again for a view in which a newer one beats already, and
only as far as to be trusted with work."""
PAST_MAX = int(BEGIN) - 100
"""No search goes on for so long without a decision."""
ENDED_MAX = 2
"""Attempts after which the backoff stays at its cap."""
SEQUENCE = 1_000
"""Where a log goes on that was read from a tuple: behind every rank."""

WORKER_STATUS: tuple[WorkerStatus, ...] = get_args(WorkerStatus)
TASK_STATUS: tuple[TaskStatus, ...] = get_args(TaskStatus)
ATTEMPT_STATUS: tuple[AttemptStatus, ...] = get_args(AttemptStatus)
SYSTEM_STATUS: tuple[SystemStatus, ...] = get_args(SystemStatus)
INCIDENT_KIND: tuple[IncidentKind, ...] = get_args(IncidentKind)
NUMBER = {
    name: number
    for names in (WORKER_STATUS, TASK_STATUS, ATTEMPT_STATUS, SYSTEM_STATUS, INCIDENT_KIND, WORKERS, TASKS)
    for number, name in enumerate(names)
}
assert len(NUMBER) == sum(
    map(len, (WORKER_STATUS, TASK_STATUS, ATTEMPT_STATUS, SYSTEM_STATUS, INCIDENT_KIND, WORKERS, TASKS))
), "two tables share a name"

OVER = ("exited", "failed", "stopped")
HELD = ("assigned", "running")


class Frame(NamedTuple):
    """What sequences and times are relative to."""

    ranks: Ranks
    now: float
    alone: bool
    """Nobody holds another view of this log, nor decisions made on one, that may remember what is forgotten here."""
    blunt: bool = False
    """What is overdue is overdue, for however long."""

    def age(self, moment: float) -> int:
        return min(AGE_MAX if self.blunt else PAST_MAX, int(self.now - moment))

    def until(self, moment: float) -> int:
        return max(0 if self.blunt else -PAST_MAX, int(moment - self.now))


def pack(state: State, frame: Frame) -> Packed:
    if frame.alone and not all(_overdue(state, worker_id, frame.now) for worker_id in WORKERS):
        frame = frame._replace(blunt=True)
    ranks = frame.ranks
    return (
        POLICY_HASHES.index(state.policy_hash),
        _watched(state, frame),
        min(state.term, 1),
        state.failover_unreported,
        NUMBER[state.status],
        tuple(
            (NUMBER[kind], ranks.incident(incident.incident_id)) for kind, incident in sorted(state.incidents.items())
        ),
        tuple(ranks.parked(sequence) for sequence in state.parked),
        state.seconds_per_task,
        tuple(_worker(state, worker_id, frame) for worker_id in WORKERS),
        tuple(_task(state, task_id, ranks) for task_id in TASKS),
        tuple(NUMBER[task_id] for task_id in state.runs[RUN]) if RUN in state.runs else None,
        tuple(state.tasks_by_status[status] for status in TASK_STATUS),
        _timers(state, frame),
        _waiting(state.waiting),
        tuple(NUMBER[task_id] for task_id in state.unsettled),
        tuple(NUMBER[task_id] for task_id in state.orphaned),
        tuple(
            (level, tuple(NUMBER[worker_id] for worker_id in workers))
            for level, workers in sorted(state.available.items())
        ),
        (state.slots, state.workers_live, state.workers_expected),
    )


def unpack(raw: Raw) -> State:
    """A state at the time `BEGIN` that has the packed one's future."""
    (
        policy,
        watched,
        term,
        failover,
        status,
        incidents,
        parked,
        seconds_per_task,
        workers,
        tasks,
        run,
        counts,
        timers,
        waiting,
        unsettled,
        orphaned,
        available,
        numbers,
    ) = raw
    state = State.__new__(State)
    state.policy = POLICIES[policy]
    state.policy_hash = POLICY_HASHES[policy]
    state.policy_recorded = True
    state.policy_actor = ""
    state.term = term
    state.leader_id = None
    state.fencing_token = 1 if term else 0
    state.watched_since = BEGIN - watched
    state.watched_beat = 0
    state.heartbeats_at = BEGIN
    state.loss = Loss(0, 0, 0.0)
    state.workers = {}
    state.beats = {}
    for worker_id, packed in zip(WORKERS, workers, strict=True):
        if packed is not None:
            _unpack_worker(state, worker_id, packed)
    state.tasks = {
        task_id: _unpacked_task(task_id, packed)
        for task_id, packed in zip(TASKS, tasks, strict=True)
        if packed is not None
    }
    state.runs = {} if run is None else {RUN: {TASKS[number]: None for number in run}}
    state.status = SYSTEM_STATUS[status]
    state.incidents = {
        INCIDENT_KIND[kind]: Incident(f"i{number}", INCIDENT_KIND[kind], "critical", BEGIN, 0, 0, "")
        for kind, number in incidents
    }
    state.failover_unreported = failover
    state.parked = OrderedDict((number, ParkedMessage(number, "s", "r", "")) for number in parked)
    state.seconds_per_task = seconds_per_task
    state.events_sequence = SEQUENCE
    state.heartbeats_sequence = SEQUENCE
    state.ignored = Counter()
    state.tasks_by_status = Counter(dict(zip(TASK_STATUS, counts, strict=True)))
    state.timers = Timers()
    for worker_id, at in zip(WORKERS, timers, strict=True):
        if at is not None:
            state.timers.set(worker_id, AT_ONCE if at == "at once" else BEGIN + at)
    state.waiting = _unpacked_waiting(waiting, state)
    state.unsettled = OrderedDict((TASKS[number], None) for number in unsettled)
    state.orphaned = OrderedDict((TASKS[number], None) for number in orphaned)
    state.available = {
        level: OrderedDict((WORKERS[number], state.workers[WORKERS[number]]) for number in there)
        for level, there in available
    }
    state.available_labels = {}
    state.slots, state.workers_live, state.workers_expected = numbers
    state.heard_last = ""
    return state


def _overdue(state: State, worker_id: str, now: float) -> bool:
    """Whether anything about the worker might have been decided before now."""
    worker = state.workers.get(worker_id)
    if worker is None:
        return False
    silent = not _over(worker) and now - _last(state, worker) >= min(SILENCES)
    return silent or (worker.attempt is not None and _due(worker.attempt) <= now)


def _due(attempt: Attempt) -> float:
    return attempt.not_before if attempt.status == "scheduled" else attempt.deadline


def _watched(state: State, frame: Frame) -> int:
    """Counts only where a worker that is or may be live again has been silent for as long."""
    since = state.watched_since
    workers = state.workers.values()
    past = frame.alone and since < frame.now
    if past and not any(not _over(worker) and _last(state, worker) <= since for worker in workers):
        return PAST_MAX
    return frame.age(since)


def _over(worker: Worker) -> bool:
    """Whether the present incarnation will never be live again."""
    return worker.status in OVER or (worker.status == "permanent" and worker.incarnation == worker.failed_incarnation)


def _last(state: State, worker: Worker) -> float:
    """When something was heard of the worker's present incarnation, or of one behind it."""
    beat = state.beats.get(worker.worker_id)
    return worker.registered_at if beat is None or beat.incarnation < worker.incarnation else beat.time


def _worker(state: State, worker_id: str, frame: Frame) -> Packed | None:
    ranks, alone = frame.ranks, frame.alone
    worker = state.workers.get(worker_id)
    beat = state.beats.get(worker_id)
    if worker is None:
        return None if beat is None else _beat(beat, worker_id, frame)
    status, incarnation, attempt = worker.status, worker.incarnation, worker.attempt
    over = _over(worker)
    heard = beat is not None and beat.incarnation == incarnation
    if beat is not None and alone and (beat.incarnation < incarnation or (over and heard)):
        beat = None
    failure_counts = status in ("failed", "permanent") or attempt is not None or not alone
    return (
        NUMBER[status],
        ranks.incarnation(worker_id, incarnation),
        0 if over and alone else min(TRUST_MAX if heard and alone else PAST_MAX, frame.age(worker.registered_at)),
        tuple(NUMBER[task_id] for task_id in worker.held),
        ranks.beat(worker_id, worker.suspected_beat) if status == "suspect" else 0,
        ranks.incarnation(worker_id, worker.failed_incarnation) if failure_counts else 0,
        None if attempt is None else _attempt(attempt, worker_id, frame),
        len(worker.attempts_failed),
        min(ENDED_MAX, len(worker.attempts_ended)),
        min(AGE_MAX, int(frame.now - worker.recovered_at)) if worker.recovered_at else None,
        None if beat is None else _beat(beat, worker_id, frame),
        _cut_off(worker, beat, frame),
    )


def _cut_off(worker: Worker, beat: Beat | None, frame: Frame) -> int | None:
    """The heartbeat behind which the worker counts as cut off, until one comes that refutes it."""
    found = worker.cut_off
    if found is None or worker.status != "alive" or (frame.alone and beat is not None and beat.sequence > found.beat):
        return None
    return frame.ranks.beat(worker.worker_id, found.beat)


def _beat(beat: Beat, worker_id: str, frame: Frame) -> Packed:
    ranks = frame.ranks
    return ranks.incarnation(worker_id, beat.incarnation), frame.age(beat.time), ranks.beat(worker_id, beat.sequence)


def _attempt(attempt: Attempt, worker_id: str, frame: Frame) -> Packed:
    return (
        attempt.number,
        NUMBER[attempt.status],
        frame.ranks.incarnation(worker_id, attempt.incarnation),
        frame.until(_due(attempt)),
        attempt.answered,
        bool(attempt.error),
    )


def _unpack_worker(state: State, worker_id: str, raw: Raw) -> None:
    if len(raw) == 3:
        incarnation, age, sequence = raw
        state.beats[worker_id] = Beat(incarnation, BEGIN - age, sequence)
        return
    status, incarnation, age, held, suspected, failed, attempt, failures, ended, recovered, beat, cut_off = raw
    state.workers[worker_id] = Worker(
        worker_id,
        WORKER_STATUS[status],
        incarnation,
        1,
        1,
        {},
        "h",
        BEGIN - age,
        "",
        held={TASKS[number]: None for number in held},
        suspected_beat=suspected,
        failed_incarnation=failed,
        failed_at=BEGIN,
        attempt=None if attempt is None else _unpacked_attempt(attempt),
        attempts_failed=[BEGIN] * failures,
        attempts_ended=[BEGIN] * ended,
        recovered_at=0.0 if recovered is None else BEGIN - recovered,
        cut_off=None if cut_off is None else CutOff(cut_off, 1),
    )
    if beat is not None:
        incarnation, age, sequence = beat
        state.beats[worker_id] = Beat(incarnation, BEGIN - age, sequence)


def _unpacked_attempt(raw: Raw) -> Attempt:
    number, status, incarnation, due, answered, error = raw
    moment = BEGIN + due
    said = "it failed" if error else ""
    return Attempt(number, "restart", ATTEMPT_STATUS[status], incarnation, moment, "", moment, answered, said)


def _task(state: State, task_id: str, ranks: Ranks) -> Packed | None:
    task = state.tasks.get(task_id)
    if task is None:
        return None
    status = task.status
    if status == "final":
        return (NUMBER[status],)
    worker_id = task.worker_id
    return (
        NUMBER[status],
        task.attempt,
        None if worker_id is None else NUMBER[worker_id],
        ranks.incarnation(worker_id, task.incarnation) if worker_id is not None and status in HELD else 0,
        task.infrastructure_used,
        task.verdict_used,
        None if task.result is None else (task.result.outcome, task.result.started),
        task.cancel_requested,
        task.revoked and status in HELD,
        sum(other.queued_sequence < task.queued_sequence for other in state.tasks.values() if other.status == "queued")
        if status == "queued"
        else 0,
    )


def _unpacked_task(task_id: str, raw: Raw) -> Task:
    task = Task(task_id, RUN, WORK, 0, None, OWN_RETRIES[task_id], None, (), 0, "", TASK_STATUS[raw[0]])
    if task.status == "final":
        task.work = None
        task.verdict = "passed"
        return task
    _, attempt, worker, incarnation, infrastructure, verdict, result, cancelled, revoked, rank = raw
    task.attempt = attempt
    task.worker_id = None if worker is None else WORKERS[worker]
    task.incarnation = incarnation
    task.infrastructure_used = infrastructure
    task.verdict_used = verdict
    task.result = None if result is None else Result(result[0], 1, 1.0, result[1])
    task.cancel_requested = cancelled
    task.revoked = revoked
    task.queued_sequence = rank
    return task


def _timers(state: State, frame: Frame) -> Packed:
    return tuple(_timer(state.timers.get(worker_id), frame) for worker_id in WORKERS)


def _timer(at: float, frame: Frame) -> int | str | None:
    if at == NEVER:
        return None
    return "at once" if at <= AT_ONCE else frame.until(at)


def _waiting(waiting: WaitingTasks) -> Packed:
    lanes = tuple(
        (*lane, tuple(NUMBER[task_id] for group in groups.values() for task_id in group))
        for lane, groups in waiting._lanes.items()
    )
    return len(waiting), lanes


def _unpacked_waiting(raw: Raw, state: State) -> WaitingTasks:
    size, lanes = raw
    waiting = WaitingTasks()
    waiting._size = size
    for priority, new, group in lanes:
        in_line = OrderedDict((TASKS[number], state.tasks[TASKS[number]]) for number in group)
        # No task requires anything of a worker.
        waiting._lanes[priority, new] = {(): in_line}
    return waiting
