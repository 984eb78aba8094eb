"""Losses that leave the system critical: what counts as one, whom it spares, and what is noted of it.

A worker that leaves in order is no loss, however few remain. Workers lost within `mass_loss_within` of each other count
as lost in one go: what runs there is put back uncharged, and failed attempts to bring them back are not counted against
them, though no worker gets more attempts in one incident than at any other time. A single worker is no mass: otherwise
a test that kills its worker again and again would never use its retries up on a farm of one.
"""

from collections import OrderedDict
from typing import TypeVar

from events.base import Event
from events.clock import utc
from events.envelope import Recorded
from events.system import NAMED_MAX, IncidentKind, IncidentReport, StageReport
from events.task import TaskCompleted, TaskRequeued
from events.worker import WorkerRecoveryFailed, WorkerRecoverySucceeded
from recovery.entities import Incident, Task, Worker
from recovery.indexes import orphaned
from recovery.lifecycle import COUNTED_LIVE, MISSING, WorkerStatus
from recovery.repair_entities import Charge, Lost, Outage, Stage
from recovery.state import State
from recovery.timers import NEVER

CUT_SHORT = ("worker_failed", "fenced")
"""Why a task is put back that was not its own fault."""
TOGETHER_MIN = 2
SPARED_MAX = 3
"""However often it happens, a task is put back uncharged so many times: it may be what takes the workers down."""
STAGES_MAX = 100
KIND = "mass_worker_loss"
BROKER: IncidentKind = "broker_outage"
QUEUE: IncidentKind = "stalled_queue"
FAILOVER: IncidentKind = "coordinator_failover"
N = TypeVar("N", Lost, Charge)

VERIFY_MARGIN_S = 1.0
"""Those that are silent are judged first."""


def in_force(state: State) -> Outage | None:
    """The outage, if there is one and the system is critical for it still, or its incident has not been closed."""
    outage = state.outage
    if outage is None or (KIND not in state.incidents and state.measured_status() != "critical"):
        return None
    return outage


def lost_together(state: State, worker_id: str | None) -> bool:
    outage = in_force(state)
    return outage is not None and worker_id in outage.together and len(outage.together) >= TOGETHER_MIN


def spares(state: State, task: Task) -> bool:
    """Whether a task that ran is put back uncharged."""
    outage = state.outage
    before = outage is not None and task.assigned_sequence < outage.first_sequence
    return before and task.spared < SPARED_MAX and lost_together(state, task.worker_id)


def spares_fenced(state: State, task: Task) -> bool:
    """Whether a task that its worker stopped because it was cut off is put back uncharged: the broker was away from
    all of them, and it had been given before that was over."""
    returned = state.returned
    return returned is not None and task.assigned_sequence < returned.sequence and task.spared < SPARED_MAX


def verified_at(state: State) -> float:
    """When whoever has lived through the last outage of the broker has been heard, or has failed for its silence; but
    for those with whom a detector has more patience than usual."""
    assert state.returned is not None
    return state.returned.at + state.policy.failed_after * state.rules.stretch + VERIFY_MARGIN_S


def index_broker(state: State) -> None:
    """To be called after every change of what is known of the broker, and of the patience with workers."""
    state.alarms.set("broker", verified_at(state) if BROKER in state.incidents and state.returned else NEVER)


def failures(state: State, worker: Worker) -> int | None:
    """Failed attempts to bring it back in the present outage; None: they count as they always do."""
    outage = state.outage
    return outage.failures[worker.worker_id] if outage is not None and lost_together(state, worker.worker_id) else None


def note_change(state: State, worker: Worker, before: WorkerStatus, recorded: Recorded) -> None:
    """Its status has changed, and the counts with it."""
    worker_id, now = worker.worker_id, recorded.time
    if worker.status in MISSING:
        state.missing[worker_id] = None
    else:
        state.missing.pop(worker_id, None)
    lost = before in COUNTED_LIVE and worker.status in MISSING
    outage = state.outage
    if outage is not None and in_force(state) is None:
        outage = state.outage = None
    if not lost:
        return
    state.lost_lately.pop(worker_id, None)
    state.lost_lately[worker_id] = Lost(now, recorded.sequence)
    _forget(state.lost_lately, now - state.policy.mass_loss_within)
    if outage is not None:
        outage.missing[worker_id] = outage.together[worker_id] = None
    elif state.measured_status() == "critical":
        together = dict.fromkeys(state.lost_lately)
        first = next(iter(state.lost_lately.values())).sequence
        state.outage = Outage(now, recorded.id, state.missing | together, together, first)
        _refund(state, state.outage, now)


def _refund(state: State, outage: Outage, now: float) -> None:
    """The first of those that are lost in one go is lost alone: nobody could know. What has paid for that gets it back,
    unless it is already lost again."""
    horizon = now - state.policy.mass_loss_within
    for task_id, charge in state.charged_lately.items():
        task = state.tasks[task_id]
        before = charge.worker_id in outage.together and charge.assigned_sequence < outage.first_sequence
        if before and charge.at >= horizon and task.status != "final" and not orphaned(state, task):
            task.infrastructure_used -= 1
            task.spared += 1
            outage.requeued += 1
            outage.uncharged += 1
    state.charged_lately.clear()


def _forget(lately: OrderedDict[str, N], horizon: float) -> None:
    """What came before. The last one has just been noted, and stays."""
    while next(iter(lately.values())).at < horizon:
        lately.popitem(last=False)


def note_opened(state: State, recorded: Recorded) -> None:
    if state.outage is None:
        state.outage = Outage(recorded.time, recorded.id, dict(state.missing), {})
    outage = state.outage
    counts = state.tasks_by_status
    outage.preserved = max(0, counts["assigned"] + counts["running"] - len(state.orphaned))
    _note_orphans(state, recorded.time)


def note_requeued(state: State, task: Task, recorded: Recorded, event: TaskRequeued, *, began: bool) -> None:
    """The task has been put back; `began`: its attempt had."""
    outage = state.outage
    uncharged = event.reason in CUT_SHORT and event.budget == "none" and began
    task.spared += uncharged
    if event.reason == "worker_failed" and event.budget == "infrastructure":
        state.charged_lately.pop(task.task_id, None)
        state.charged_lately[task.task_id] = Charge(recorded.time, event.worker_id, task.assigned_sequence)
        _forget(state.charged_lately, recorded.time - state.policy.mass_loss_within)
    broker = state.incidents.get(BROKER)
    if broker is not None and event.reason in CUT_SHORT:
        broker.requeued += 1
        broker.uncharged += uncharged
    if outage is not None and event.reason == "worker_failed":
        outage.requeued += 1
        outage.uncharged += uncharged
        _note_orphans(state, recorded.time)


def note_completed(state: State, recorded: Recorded, event: TaskCompleted, *, orphan: bool) -> None:
    """The task has its verdict. `orphan`: its worker had failed."""
    outage = state.outage
    if outage is not None and orphan:
        outage.lost += event.verdict in ("crashed", "quarantined")
        _note_orphans(state, recorded.time)


def _note_orphans(state: State, now: float) -> None:
    outage = state.outage
    assert outage is not None
    if outage.requeued_at is None and not state.orphaned:
        outage.requeued_at = now


def note_stage(state: State, workers: tuple[str, ...], now: float) -> None:
    outage = state.outage
    assert outage is not None
    outage.stage += 1
    outage.stages.append(Stage(outage.stage, workers, dict.fromkeys(workers), now))
    if len(outage.stages) > STAGES_MAX:
        del outage.stages[0]


def open_stage(outage: Outage) -> Stage | None:
    stage = outage.stages[-1] if outage.stages else None
    return stage if stage is not None and stage.open else None


def note_attempt(state: State, worker_id: str, now: float, event: Event) -> None:
    """An attempt to bring the worker back has ended."""
    outage = state.outage
    if outage is None:
        return
    stage = open_stage(outage)
    counted: list[Outage | Stage] = [outage]
    if stage is not None and worker_id in stage.open:
        del stage.open[worker_id]
        stage.ended_at = None if stage.open else now
        counted.append(stage)
    for one in counted:
        if isinstance(event, WorkerRecoverySucceeded):
            one.succeeded += 1
        elif isinstance(event, WorkerRecoveryFailed):
            one.failed += 1
        else:
            one.superseded += 1
    if isinstance(event, WorkerRecoveryFailed):
        outage.failures[worker_id] += 1


def broker_report(state: State, incident: Incident) -> IncidentReport:
    returned = state.returned
    return IncidentReport(
        workers=tuple(state.missing)[:NAMED_MAX],
        tasks_preserved=max(0, incident.affected_tasks - incident.requeued),
        tasks_requeued=incident.requeued,
        tasks_uncharged=incident.uncharged,
        broker_away_s=None if returned is None else returned.away_s,
    )


def affected_tasks(state: State, outage: Outage) -> int:
    """Tasks that have lost their worker in it."""
    return len(state.orphaned) + outage.requeued + outage.lost


def next_size(outage: Outage) -> int:
    """Of the next stage: one, and twice as many behind each that brought somebody back."""
    last = outage.stages[-1] if outage.stages else None
    return 1 if last is None or last.succeeded + last.superseded == 0 else 2 * len(last.workers)


def report(outage: Outage) -> IncidentReport:
    first = outage.stages[0] if outage.stage == len(outage.stages) > 0 else None
    return IncidentReport(
        workers=tuple(outage.missing)[:NAMED_MAX],
        workers_lost_together=len(outage.together),
        tasks_preserved=outage.preserved,
        tasks_requeued=outage.requeued,
        tasks_uncharged=outage.uncharged,
        tasks_lost=outage.lost,
        attempts_succeeded=outage.succeeded,
        attempts_failed=outage.failed,
        attempts_superseded=outage.superseded,
        stages=tuple(map(_stage_report, outage.stages)),
        requeued_after_s=_after(outage, outage.requeued_at) if outage.requeued else None,
        repairing_after_s=None if first is None else _after(outage, first.began_at),
    )


def _after(outage: Outage, moment: float | None) -> float | None:
    return None if moment is None else max(0.0, round(moment - outage.since, 6))


def _stage_report(stage: Stage) -> StageReport:
    return StageReport(
        stage=stage.number,
        began_at=utc(stage.began_at),
        ended_at=None if stage.ended_at is None else utc(stage.ended_at),
        workers=stage.workers[:NAMED_MAX],
        size=len(stage.workers),
        succeeded=stage.succeeded,
        failed=stage.failed,
        superseded=stage.superseded,
    )
