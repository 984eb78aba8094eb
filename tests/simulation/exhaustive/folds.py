"""The fold of a log as a plain tuple, and back: everything that `decide` and `evolve` can tell apart, and no more.

What is left out, and why nobody can miss it:

- Causes, texts, hosts, ordinals, measured durations: they are copied into events for people, and nothing is decided by
  them. So are reasons of failures that are proven alike and against which the same is tried, how often a strategy has
  failed, and what it has on record.
- Whatever is written before it is next read: the last heartbeat of an incarnation that is over,
  what a task that waits was assigned as, all of a final task but that it is final.
- How old something is beyond the largest threshold of all policies: ages are compared as `now - then >= threshold`. In
  the same way what is due is due. Only where both workers are overdue does it matter for how long, as decisions about
  workers go in the order in which they fell due; there, times are kept as they are. What is ahead of a clock that was
  set back is ahead, however far.
- Which heartbeats the leader had when it doubted itself last, or has said to be lost, once there are only later ones.
  And who was heard last, which is only where to look first.
- What came of heartbeats before the last one: of rows without a gap, how long they are (`watching`); of reports and
  slots, when they last stood in the way (`idleness`). The intervals between them count for the other detector alone.
- Former rules, but for whether a worker has heard of the last change that matters (`rulebooks`).
- Gauges and shares of failures: heartbeats here show none, and attempts are too few, so that nothing is foreseen.
- Rows of attempts that fail at once, and tasks that hang: here no attempt does, and no task runs for so long.
- Failures with good recoveries: no policy here calls any number of them flapping, and only operators cordon.
- What the breaker counts: it opens for three workers, and here are two.
- How many attempts have ended, beyond those that make the backoff reach its cap; when they did, as the window is
  endless. (How many have failed is kept: the number decides.)

Sequences are ranks (`ranks`), times are relative to `now`. Indexes are taken as they stand, in their order, and never
recomputed: what a fold has got wrong stays wrong.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from typing import Any

from recovery.entities import Incident, Late, Loss, ParkedMessage, Pause, Replaced, Result, Task
from recovery.forecasts import FarmAttempts
from recovery.indexes import awaits_effect, index_attempt, index_useless, index_worker
from recovery.overdue import useless_at
from recovery.queue import ByPriority, WaitingTasks
from recovery.repair_entities import Breaker
from recovery.state import State
from recovery.timers import AT_ONCE, NEVER, Timers
from tests.simulation.exhaustive import fold_outage, fold_workers, rulebooks
from tests.simulation.exhaustive.frames import PAST_MAX, Frame
from tests.simulation.exhaustive.ranks import FORMER, KNOWN, Ranks
from tests.simulation.exhaustive.rulebooks import turned_at
from tests.simulation.exhaustive.silences import loss, lost, overdue, watched, watched_beat
from tests.simulation.exhaustive.tables import (
    INCIDENT_KIND,
    NUMBER,
    SYSTEM_STATUS,
    TASK_STATUS,
)
from tests.simulation.exhaustive.watching import distrusted, taken_over
from tests.simulation.exhaustive.world import (
    BEGIN,
    OWN_RETRIES,
    POLICIES,
    POLICY_HASHES,
    RUN,
    TASKS,
    WORK,
    WORKERS,
)

Packed = tuple[Any, ...]
Raw = Sequence[Any]

SEQUENCE = 10_000
"""Where a log goes on that was read from a tuple: behind every rank."""
BEATS = (KNOWN + FORMER) // 2
"""Where its heartbeats go on."""

PASSED = Result("passed", 1, 1.0, started=True)
NO_LOSS = Loss(0, 0, 0.0)

HELD = ("assigned", "running")
SPOKEN_FOR = (*HELD, "returned")


def pack(state: State, frame: Frame) -> Packed:
    if frame.alone and not all(overdue(state, worker_id, frame.now) for worker_id in WORKERS):
        frame = frame._replace(blunt=True)
    frame = frame._replace(lost=lost(state, frame), turned=turned_at(state, alone=frame.alone))
    assert not state.accused, "no attempt fails at once"
    assert state.returned is None, "the broker is never away"
    assert not state.outlooks, "gauges show nothing"
    assert not state.track_records
    assert not state.farm_attempts.count, "so many attempts there are not"
    elected_at = taken_over(state, frame)
    ranks = frame.ranks
    return (
        POLICY_HASHES.index(state.policy_hash),
        state.pause is not None,
        rulebooks.pack(state, frame),
        (
            watched(state, frame, needed=elected_at is not None),
            watched_beat(state, frame),
            None if elected_at is None else frame.age(elected_at),
            distrusted(state, frame),
        ),
        loss(state, frame),
        min(state.term, 1),
        state.failover_unreported,
        NUMBER[state.status],
        tuple(
            (NUMBER[kind], ranks.incident(incident.incident_id)) for kind, incident in sorted(state.incidents.items())
        ),
        tuple(ranks.parked(sequence) for sequence in state.parked),
        state.seconds_per_task,
        tuple(fold_workers.pack(state, worker_id, frame) for worker_id in WORKERS),
        tuple(_task(state, task_id, ranks) for task_id in TASKS),
        tuple(NUMBER[task_id] for task_id in state.runs[RUN]) if RUN in state.runs else None,
        tuple(state.tasks_by_status[status] for status in TASK_STATUS),
        None if frame.lossy else _timers(state, frame),
        None if frame.lossy else tuple(_useless(state, worker_id, frame) for worker_id in WORKERS),
        tuple(_timer(state.repairs.get(worker_id), frame) for worker_id in WORKERS),
        fold_outage.pack(state, frame),
        _waiting(state.waiting),
        tuple(NUMBER[task_id] for task_id in state.unsettled),
        tuple(NUMBER[task_id] for task_id in state.orphaned),
        tuple(
            (level, tuple(NUMBER[worker_id] for worker_id in workers))
            for level, workers in sorted(state.available.items())
        ),
        (state.slots, state.workers_live, state.workers_expected),
    )


def unpack(raw: Raw, now: float = BEGIN) -> State:
    """A state at that time that has the packed one's future."""
    (
        policy,
        paused,
        rules,
        (since, known, elected, distrusted_for),
        loss_told,
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
        useless,
        repairs,
        outage,
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
    state.pause = Pause("operator", "", now, 1) if paused else None
    state.policy_actor = ""
    state.beats_known = 0  # no decision here says what it is based on
    state.rules = rulebooks.unpack(policy, *rules)
    state.term = term
    state.leader_id = None
    state.fencing_token = 1 if term else 0
    # Before the first election nobody has watched.
    state.watched_since = now - since if term else 0.0
    state.taken_over = None if elected is None else now - elected
    state.distrusted_until = 0.0 if distrusted_for == PAST_MAX else now - distrusted_for
    state.interrupted_at = state.moved_at = now
    state.watched_beat = known
    state.heartbeats_at = now
    state.loss = NO_LOSS if loss_told is None else Loss(loss_told[0], loss_told[1], now - loss_told[2])
    state.workers = {}
    state.beats = {}
    state.stragglers = {}
    state.arrivals = {}
    for worker_id, packed in zip(WORKERS, workers, strict=True):
        if packed is not None:
            fold_workers.unpack(state, worker_id, packed, now)
    state.tasks = {
        task_id: _unpacked_task(task_id, packed)
        for task_id, packed in zip(TASKS, tasks, strict=True)
        if packed is not None
    }
    state.runs = {} if run is None else {RUN: {TASKS[number]: None for number in run}}
    state.status = SYSTEM_STATUS[status]
    state.incidents = {
        INCIDENT_KIND[kind]: Incident(f"i{number}", INCIDENT_KIND[kind], "critical", now, 0, 0, "")
        for kind, number in incidents
    }
    state.failover_unreported = failover
    state.predecessor, state.decided_at = None, 0.0  # they are only told
    state.parked = OrderedDict((number, ParkedMessage(number, "s", "r", "")) for number in parked)
    state.seconds_per_task = seconds_per_task
    state.ends = OrderedDict()
    state.records = OrderedDict()
    state.errors = Counter()
    state.events_sequence = SEQUENCE
    state.heartbeats_sequence = BEATS
    state.ignored = Counter()
    state.tasks_by_status = Counter(dict(zip(TASK_STATUS, counts, strict=True)))
    state.timers, state.useless, state.repairs, state.alarms = Timers(), Timers(), Timers(), Timers()
    state.breaker = Breaker()
    state.returned, state.outage_unreported = None, False
    state.attempts, state.repairing = {}, {}
    for worker in state.workers.values():
        index_attempt(state, worker)
    fold_outage.unpack(state, outage, now)
    for worker_id, at in zip(WORKERS, repairs, strict=True):
        state.repairs.set(worker_id, NEVER if at is None else now + at)
    state.accused = {}
    state.flapping = {}
    # No leader says that it has acted.
    state.effects = {worker_id: None for worker_id, worker in state.workers.items() if awaits_effect(worker)}
    state.trends, state.outlooks, state.omens = {}, {}, Timers()
    state.farm_attempts, state.track_records = FarmAttempts(), {}
    state.foretold, state.renewing = Timers(), {}
    state.made_up = {}
    if timers is None:
        for worker in state.workers.values():
            index_worker(state, worker)
    else:
        for worker_id, at in zip(WORKERS, timers, strict=True):
            if at is not None:
                state.timers.set(worker_id, AT_ONCE if at == "at once" else now + at)
        for worker_id, at in zip(WORKERS, useless, strict=True):
            if at == "right":
                index_useless(state, state.workers[worker_id])
            elif at is not None:
                state.useless.set(worker_id, AT_ONCE if at == "at once" else now + at)
    state.waiting = _unpacked_waiting(waiting, state)
    state.unsettled = OrderedDict((TASKS[number], None) for number in unsettled)
    state.requeues_until = 0.0  # with two tasks nobody comes near the rate
    # So many deaths that nobody is ever accused.
    state.accusations, state.accused_tasks, state.quarantine = deque(), {}, OrderedDict()
    state.needs, state.unmet, state.expected_labels = {}, {}, Counter()
    state.suspects, state.set_apart, state.barred = ByPriority(), {}, {}
    state.orphaned = ByPriority()
    for number in orphaned:
        state.orphaned.add(state.tasks[TASKS[number]])
    state.available = {
        level: OrderedDict((WORKERS[number], state.workers[WORKERS[number]]) for number in there)
        for level, there in available
    }
    state.available_labels = {}
    state.slots, state.workers_live, state.workers_expected = numbers
    state.heard_last = ""
    return state


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
        fold_outage.behind(state, task.assigned_sequence) if status in HELD else 0,
        task.infrastructure_used,
        task.spared,
        task.verdict_used,
        None if task.result is None else (task.result.outcome, task.result.started),
        task.cancel_requested,
        task.revoked and status in HELD,
        task.began and status in SPOKEN_FOR,
        task.forgotten and status == "returned",
        sum(other.queued_sequence < task.queued_sequence for other in state.tasks.values() if other.status == "queued")
        if status == "queued"
        else 0,
        _replaced(task, ranks),
        task.late is not None,
    )


def _replaced(task: Task, ranks: Ranks) -> Packed | None:
    found = task.replaced
    if found is None or task.status not in ("queued", "assigned"):
        return None
    return found.attempt, NUMBER[found.worker_id], ranks.incarnation(found.worker_id, found.incarnation)


def _unpacked_task(task_id: str, raw: Raw) -> Task:
    task = Task(task_id, RUN, WORK, 0, None, OWN_RETRIES[task_id], None, (), 0.0, 0, "", status=TASK_STATUS[raw[0]])
    if task.status == "final":
        task.work = None
        task.verdict = "passed"
        return task
    (
        _,
        attempt,
        worker,
        incarnation,
        assigned,
        infrastructure,
        spared,
        verdict,
        result,
        cancelled,
        revoked,
        began,
        forgotten,
        rank,
        replaced,
        late,
    ) = raw
    task.attempt = attempt
    task.worker_id = None if worker is None else WORKERS[worker]
    task.incarnation = incarnation
    task.assigned_sequence = fold_outage.sequence_behind(assigned)
    task.infrastructure_used = infrastructure
    task.spared = spared
    task.verdict_used = verdict
    task.result = None if result is None else Result(result[0], 1, 1.0, result[1])
    task.cancel_requested = cancelled
    task.revoked = revoked
    task.began = began
    task.forgotten = forgotten
    task.queued_sequence = rank
    task.replaced = None if replaced is None else Replaced(replaced[0], WORKERS[replaced[1]], replaced[2])
    task.late = Late(1, WORKERS[0], PASSED) if late else None
    return task


def _timers(state: State, frame: Frame) -> Packed:
    return tuple(_timer(state.timers.get(worker_id), frame) for worker_id in WORKERS)


def _timer(at: float, frame: Frame) -> int | str | None:
    if at == NEVER:
        return None
    return "at once" if at <= AT_ONCE else frame.until(at)


def _useless(state: State, worker_id: str, frame: Frame) -> int | str | None:
    """What the index says; in short, if it is right."""
    at, worker = state.useless.get(worker_id), state.workers.get(worker_id)
    if at == NEVER and worker is None:
        return None
    return "right" if worker is not None and at == useless_at(state, worker) else _timer(at, frame)


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
