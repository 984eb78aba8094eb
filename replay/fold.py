"""Time travel: the state as it was at one sequence of the log."""

from typing import Any

import msgspec

from events.clock import utc
from events.log import EventLog
from recovery.entities import Task, Worker
from recovery.evolve import evolve, observe
from recovery.state import State
from replay.access import CannotReplay
from replay.beats import Beats, NoBeats
from replay.reading import Progress, stretch


async def fold(
    log: EventLog, *, at: int | None = None, beats: Beats | None = None, progress: Progress | None = None
) -> State:
    """The state behind the event at sequence `at` (None: behind the last one), with the heartbeats stored by then.

    Raises:
        CannotReplay: the log does not go that far.
    """
    last = await log.last_sequence()
    if at is not None and not 0 <= at <= last:
        raise CannotReplay(f"--at {at}: the log goes from 1 to {last}")
    end = last if at is None else at
    state = State()
    time = 0.0
    async for batch in stretch(log, last=end, progress=progress):
        for recorded in batch:
            evolve(state, recorded)
        time = batch[-1].time
    for beat in await (beats or NoBeats()).until(time if at is not None and at < last else float("inf")):
        observe(state, beat)
    return state


def as_of(state: State) -> dict[str, Any]:
    """The state for people and programs: where it stands, the fleet, the tasks."""
    return {
        "events_sequence": state.events_sequence,
        "heartbeats_sequence": state.heartbeats_sequence,
        "status": state.status,
        "leader_id": state.leader_id,
        "term": state.term,
        "policy_hash": state.policy_hash,
        "workers_live": state.workers_live,
        "workers_expected": state.workers_expected,
        "tasks_by_status": dict(state.tasks_by_status),
        "ignored": dict(state.ignored),
        "incidents": [
            {"incident_id": one.incident_id, "kind": one.kind, "since": utc(one.started_at)}
            for one in state.incidents.values()
        ],
        "workers": [worker_row(state, worker) for worker in state.workers.values()],
        "tasks": [task_row(task) for task in state.tasks.values()],
    }


def worker_row(state: State, worker: Worker) -> dict[str, Any]:
    attempt = worker.attempt
    beat = state.last_beat(worker)
    return {
        "worker_id": worker.worker_id,
        "status": worker.status,
        "incarnation": worker.incarnation,
        "incarnations": worker.ordinal,
        "host": worker.host,
        "slots": worker.slots,
        "labels": worker.labels,
        "tasks": list(worker.held),
        "last_heartbeat": None if beat is None else utc(beat.time),
        "failure": worker.failure_reason if worker.status in ("failed", "permanent") else None,
        "attempt": None
        if attempt is None
        else {
            "number": attempt.number,
            "strategy": attempt.strategy,
            "status": attempt.status,
            "not_before": utc(attempt.not_before),
            "deadline": utc(attempt.deadline) if attempt.deadline else None,
        },
    }


def task_row(task: Task) -> dict[str, Any]:
    return {
        "task_id": task.task_id,
        "run_id": task.run_id,
        "status": task.status,
        "verdict": task.verdict,
        "attempt": task.attempt,
        "worker_id": task.worker_id,
        "incarnation": task.incarnation,
        "priority": task.priority,
        "infrastructure_used": task.infrastructure_used,
        "verdict_used": task.verdict_used,
        "requires": dict(task.requires),
        "stranded": task.stranded,
        "deaths": [msgspec.structs.asdict(death) for death in task.deaths],
    }
