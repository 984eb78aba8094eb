"""How the ledger reads what is recorded about tasks, and what may not be recorded about them."""

from collections.abc import Callable
from typing import Any

from events.base import Event
from events.system import RunCancelRequested
from events.task import (
    TaskAssigned,
    TaskAttemptFinished,
    TaskCancelRequested,
    TaskCompleted,
    TaskRequeued,
    TaskReturned,
    TaskRevoked,
    TaskStarted,
    TaskSubmitted,
)
from tests.simulation.exhaustive.entries import Holding, Ledger, TaskEntry, Violation

SPARED_MAX = 3
"""So often a task that ran pays nothing for the loss of its worker, if others were lost in the same moment."""

Reading = Callable[[Ledger, Any, int], bool]
"""Takes the ledger, the event and its sequence; whether the event counts."""


def _submitted(ledger: Ledger, event: TaskSubmitted, _: int) -> bool:
    task = ledger.tasks[event.task_id]
    if task.phase != "unknown":
        return False
    task.phase = "open"
    return True


def _assigned(ledger: Ledger, event: TaskAssigned, _: int) -> bool:
    task = ledger.tasks[event.task_id]
    holding = task.holding
    if task.phase != "open":
        raise Violation(f"{event.task_id} is assigned, and its phase is {task.phase!r}")
    if holding is not None:
        raise Violation(f"{event.task_id} is assigned to {event.worker_id} while attempt {holding} is not over")
    if event.attempt != task.attempts + 1:
        raise Violation(f"{event.task_id} is assigned as attempt {event.attempt} after {task.attempts}")
    task.attempts = event.attempt
    task.holding = Holding(event.worker_id, event.incarnation, event.attempt)
    return True


def _held(ledger: Ledger, event: TaskStarted | TaskAttemptFinished | TaskReturned) -> Holding | None:
    """The attempt that the worker speaks of, if its word about it counts."""
    holding = ledger.tasks[event.task_id].holding
    if holding is None or holding.stage not in ("assigned", "running"):
        return None
    if (holding.worker_id, holding.incarnation, holding.number) != (event.worker_id, event.incarnation, event.attempt):
        return None
    return None if ledger.over(holding.worker_id, holding.incarnation) else holding


def _started(ledger: Ledger, event: TaskStarted, _: int) -> bool:
    holding = _held(ledger, event)
    if holding is None or holding.stage != "assigned":
        return False
    ledger.tasks[event.task_id].holding = holding._replace(stage="running", started=True)
    ledger.tasks[event.task_id].silent = False
    return True


def _finished(ledger: Ledger, event: TaskAttemptFinished, _: int) -> bool:
    holding = _held(ledger, event)
    if holding is None:
        return _finished_late(ledger, event)
    ledger.tasks[event.task_id].holding = holding._replace(stage="finished", outcome=event.outcome)
    return True


def _finished_late(ledger: Ledger, event: TaskAttemptFinished) -> bool:
    """A success of an attempt that was lost counts for as long as no other has started."""
    task = ledger.tasks[event.task_id]
    holding = task.holding
    if task.phase != "open" or task.late or event.outcome != "passed":
        return False
    if holding is not None and holding[:3] == (event.worker_id, event.incarnation, event.attempt):
        if not ledger.lost(holding):
            return False
        task.holding = holding._replace(stage="finished", outcome="passed")
        return True
    number = task.attempts - (holding is not None)
    if not task.silent or task.former != (event.worker_id, event.incarnation) or number != event.attempt:
        return False
    if holding is None:
        task.holding = Holding(event.worker_id, event.incarnation, number, "finished", started=True, outcome="passed")
    elif holding.stage == "assigned":
        task.late = True
    else:
        return False
    task.silent = False
    return True


def _returned(ledger: Ledger, event: TaskReturned, _: int) -> bool:
    holding = _held(ledger, event)
    if holding is None:
        return False
    ledger.tasks[event.task_id].holding = holding._replace(stage="returned", unknown=event.unknown)
    return True


def _requeued(ledger: Ledger, event: TaskRequeued, _: int) -> bool:
    task = ledger.tasks[event.task_id]
    holding = task.holding
    if holding is None or holding.number != event.attempt:
        raise Violation(f"{event} ends an attempt that is not under way: {holding}")
    lost = ledger.lost(holding)
    if holding.stage in ("assigned", "running") and not lost:
        raise Violation(f"{event.task_id} is requeued while {holding.worker_id} lives and has it")
    if holding.outcome == "passed" or task.late:
        raise Violation(f"{event.task_id} is requeued, and it has passed")
    forgotten = _forgotten(holding)
    handed_back = holding.stage == "returned" and not forgotten
    blameless = handed_back or holding.outcome == "cancelled" or not holding.started
    if event.budget == "infrastructure":
        if blameless or not (lost or forgotten or holding.outcome == "fenced"):
            raise Violation(f"{event.task_id} pays with an infrastructure retry for {holding}")
        task.infrastructure_used += 1
        # What was paid before it was known that others were lost in the same moment is given back.
        given_back_max = SPARED_MAX - task.spared
        if task.infrastructure_used > ledger.limits.infrastructure[event.task_id] + given_back_max:
            raise Violation(f"{event.task_id} has had {task.infrastructure_used} infrastructure retries")
    elif event.budget == "verdict":
        if holding.outcome != "failed":
            raise Violation(f"{event.task_id} pays with a verdict retry for {holding}")
        task.verdict_used += 1
        if task.verdict_used > ledger.limits.verdict:
            raise Violation(f"{event.task_id} has had {task.verdict_used} verdict retries")
    elif not blameless:
        task.spared += 1
        if event.reason != "worker_failed" or task.spared > SPARED_MAX:
            raise Violation(f"{event.task_id} pays nothing for {holding}, as {task.spared} times in all")
    task.former = (holding.worker_id, holding.incarnation)
    task.silent = holding.stage in ("assigned", "running")
    task.holding = None
    return True


def _forgotten(holding: Holding) -> bool:
    """It had begun, and its worker knows nothing of it any more."""
    return holding.stage == "returned" and holding.unknown and holding.started


def _completed(ledger: Ledger, event: TaskCompleted, _: int) -> bool:
    task = ledger.tasks[event.task_id]
    holding = task.holding
    if task.phase != "open":
        raise Violation(f"{event.task_id} gets the verdict {event.verdict!r}, and its phase is {task.phase!r}")
    outcome = None if holding is None else holding.outcome
    if task.late:
        if holding is None or (holding.stage in ("assigned", "running") and not ledger.lost(holding)):
            raise Violation(f"{event.task_id} gets its verdict while its next attempt is {holding}")
        outcome = "passed"
    if outcome == "passed" and event.verdict != "passed":
        raise Violation(f"{event.task_id} has passed and ends as {event.verdict!r}")
    if event.verdict in ("passed", "failed"):
        if outcome != event.verdict:
            raise Violation(f"{event.task_id} ends as {event.verdict!r} after {holding}")
    elif event.verdict == "cancelled":
        if not task.cancelled:
            raise Violation(f"{event.task_id} ends as cancelled, and nobody asked for it")
        if holding is not None and holding.stage in ("assigned", "running") and not ledger.lost(holding):
            raise Violation(f"{event.task_id} ends as cancelled while {holding.worker_id} lives and has it")
    elif event.verdict == "crashed":
        spent = task.infrastructure_used >= ledger.limits.infrastructure[event.task_id]
        gone = holding is not None and (ledger.lost(holding) or _forgotten(holding) or outcome == "fenced")
        if holding is None or not gone or not holding.started or not spent:
            raise Violation(f"{event.task_id} ends as crashed with {task}")
    else:
        raise Violation(f"{event.task_id} ends as {event.verdict!r}, which nothing here leads to")
    ledger.tasks[event.task_id] = TaskEntry("final")
    return True


def _revoked(ledger: Ledger, event: TaskRevoked, _: int) -> bool:
    holding = ledger.tasks[event.task_id].holding
    return holding is not None and holding.number == event.attempt and holding.stage in ("assigned", "running")


def _cancel_requested(ledger: Ledger, event: TaskCancelRequested, _: int) -> bool:
    task = ledger.tasks[event.task_id]
    if task.phase != "open":
        return False
    task.cancelled = True
    return True


def _run_cancel_requested(ledger: Ledger, event: RunCancelRequested, _: int) -> bool:
    del event
    concerned = [task for task in ledger.tasks.values() if task.phase == "open"]
    for task in concerned:
        task.cancelled = True
    return bool(concerned)


TASK_READINGS: dict[type[Event], Reading] = {
    TaskSubmitted: _submitted,
    TaskAssigned: _assigned,
    TaskStarted: _started,
    TaskAttemptFinished: _finished,
    TaskReturned: _returned,
    TaskRequeued: _requeued,
    TaskCompleted: _completed,
    TaskRevoked: _revoked,
    TaskCancelRequested: _cancel_requested,
    RunCancelRequested: _run_cancel_requested,
}
