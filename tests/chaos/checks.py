"""What must hold at the end of every chaos test, whatever was done to the system.

The log is judged by small folds of its own, written apart from those in `recovery/`: a mistake there must not be able
to hide itself.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from events.envelope import Recorded
from events.forecast import PROACTIVE
from events.system import EventParked, LeaderElected, SystemRecoveryCompleted, SystemRecoveryStarted
from events.task import TaskAssigned, TaskAttemptFinished, TaskCompleted, TaskRequeued, TaskReturned, TaskStarted
from events.worker import (
    WorkerDraining,
    WorkerDrainRequested,
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerReadmitted,
    WorkerRecoveryFailed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRecoverySuperseded,
    WorkerRegistered,
    WorkerStopped,
    WorkerSuspected,
    WorkerSuspicionRefuted,
)
from projections.verify import first_difference
from replay.beats import StreamBeats
from replay.verify import verify
from tests.chaos.farm import Farm
from tests.waiting import described, until
from tests.worker.processes import marked

OVER = (WorkerFailed, WorkerExited, WorkerStopped)


async def check_everything(farm: Farm, *, apart: bool = True) -> list[Recorded]:
    """Ends the farm, in order, and judges it; returns its log. `apart` False: attempts of a task may have touched."""
    last = [name for name, member in farm.members.items() if not name.startswith("w") and member.running][-1]
    await farm.stop()
    assert await until(lambda: not marked(farm.mark), 5, "the end of every process") is True
    records = await farm.records()
    check_verdicts(records, farm.tasks)
    check_assignments(records)
    check_attempts(records)
    check_leaders(records)
    check_ledger(records, farm.ledger)
    if apart:
        assert farm.shop.overlaps() == [], "two attempts of a task lived at one time"
    async with StreamBeats(farm.bus, farm.streams) as beats:
        outcome = await verify(farm.log, beats)
    assert outcome.difference is None, outcome.sentence()
    # A broker that is killed loses its last heartbeats, and what was decided on them cannot be decided again.
    lost = outcome.obstacle is not None and "heartbeats that the broker has lost" in outcome.obstacle
    assert outcome.obstacle is None or (lost and farm.broker.restarts), outcome.sentence()
    for path in sorted(farm.folder.glob("*.duckdb")):
        assert await first_difference(path, farm.log) is None
    check_rows(records, farm, last)
    return records


def check_verdicts(records: Sequence[Recorded], tasks: Sequence[str]) -> None:
    verdicts = Counter(recorded.event.task_id for recorded in records if isinstance(recorded.event, TaskCompleted))
    assert verdicts == Counter(tasks)


class Moment(NamedTuple):
    """From `sequence` on the worker is this incarnation, and may or may not be given work."""

    sequence: int
    incarnation: int
    ready: bool


def lives(records: Sequence[Recorded]) -> dict[str, list[Moment]]:
    found: dict[str, list[Moment]] = defaultdict(list)
    permanent: set[str] = set()
    for recorded in records:
        event, sequence = recorded.event, recorded.sequence
        if isinstance(event, WorkerRegistered):
            found[event.worker_id].append(Moment(sequence, sequence, event.worker_id not in permanent))
        elif isinstance(event, WorkerPermanentlyFailed):
            permanent.add(event.worker_id)
        elif isinstance(event, WorkerReadmitted):
            permanent.discard(event.worker_id)
        elif isinstance(event, (*OVER, WorkerDraining, WorkerSuspected, WorkerSuspicionRefuted)):
            before = found[event.worker_id][-1] if found[event.worker_id] else None
            if before is None or event.incarnation not in (None, before.incarnation):
                continue
            # Only a suspect can be refuted back into service; whatever else has ended stays so.
            ready = isinstance(event, WorkerSuspicionRefuted)
            found[event.worker_id].append(Moment(sequence, before.incarnation, ready))
    return found


def check_assignments(records: Sequence[Recorded]) -> None:
    """Each went to an incarnation that was alive, and no suspect, where its decision was made."""
    workers = lives(records)
    for recorded in records:
        event = recorded.event
        if not isinstance(event, TaskAssigned):
            continue
        assert recorded.envelope is not None
        decision = recorded.envelope.decision
        assert decision is not None
        moments = workers[event.worker_id]
        known = bisect_right(moments, decision.as_of_events, key=lambda moment: moment.sequence)
        assert known, f"to a worker that had never registered: {described(recorded)}"
        moment = moments[known - 1]
        assert moment.ready, f"to a worker that was not alive {moment}: {described(recorded)}"
        assert event.incarnation == moment.incarnation, f"to an incarnation that was over: {described(recorded)}"


def check_attempts(records: Sequence[Recorded]) -> None:
    """An attempt begins only when the log has shown the end of the one before, or of the incarnation that had it."""
    assigned: dict[tuple[str, int], TaskAssigned] = {}
    ended: set[tuple[str, int]] = set()
    over: dict[str, int] = {}
    for recorded in records:
        event = recorded.event
        if isinstance(event, TaskAssigned):
            key = (event.task_id, event.attempt)
            assert key not in assigned, f"assigned twice: {described(recorded)}"
            assigned[key] = event
        elif isinstance(event, TaskAttemptFinished | TaskReturned):
            ended.add((event.task_id, event.attempt))
        elif isinstance(event, OVER):
            over[event.worker_id] = max(over.get(event.worker_id, 0), event.incarnation or 0)
        elif isinstance(event, WorkerRegistered):
            over[event.worker_id] = max(over.get(event.worker_id, 0), recorded.sequence - 1)
        elif isinstance(event, TaskStarted) and event.attempt > 1:
            before = assigned[event.task_id, event.attempt - 1]
            assert (before.task_id, before.attempt) in ended or over.get(before.worker_id, 0) >= before.incarnation, (
                f"attempt {before.attempt} was still alive: {described(recorded)}"
            )


def check_leaders(records: Sequence[Recorded]) -> None:
    """Terms only grow, and every decision is that of the leader of its time."""
    term, leader = 0, ""
    for recorded in records:
        assert recorded.envelope is not None or recorded.problem
        if isinstance(recorded.event, LeaderElected):
            assert recorded.event.term > term, f"a term that was there already: {described(recorded)}"
            term, leader = recorded.event.term, recorded.event.coordinator_id
        elif recorded.envelope is not None and recorded.envelope.decision is not None:
            assert recorded.envelope.source == f"coordinator/{leader}", f"a stale decision: {described(recorded)}"


def check_ledger(records: Sequence[Recorded], ledger: dict[int, str]) -> None:
    """What was acknowledged is there, where it was said to be; and nothing stands in the log twice."""
    stored = {recorded.sequence: recorded.id for recorded in records}
    assert {sequence: stored.get(sequence) for sequence in ledger} == ledger
    assert list(stored) == list(range(1, len(records) + 1))
    ids = Counter(recorded.id for recorded in records if recorded.id)
    assert [event_id for event_id, count in ids.items() if count > 1] == []


Row = tuple[Any, ...]


def check_rows(records: Sequence[Recorded], farm: Farm, name: str) -> None:
    """Every recovery has its row in the history of the coordinator that ended last, with how it ended."""
    held = farm.rows(
        "SELECT max(sequence) FROM (SELECT sequence FROM events UNION SELECT sequence FROM parked_events)", name
    )
    assert held == [(records[-1].sequence,)]
    workers = farm.rows(
        "SELECT worker_id, attempt_number, recovery_type, success FROM worker_recovery_history ORDER BY id", name
    )
    assert workers == worker_attempts(records)
    tasks = farm.rows("SELECT task_id, attempt_number, success FROM task_recovery_history ORDER BY id", name)
    requeued = [one.event for one in records if isinstance(one.event, TaskRequeued)]
    assert [row[:2] for row in tasks] == [(event.task_id, event.attempt) for event in requeued]
    assert [row for row in tasks if row[2] is None] == []
    systems = farm.rows(
        "SELECT details->>'incident_id', success FROM system_recovery_history "
        "WHERE details->>'kind' <> 'projection_rebuilt' ORDER BY id",
        name,
    )
    assert systems == incidents(records)
    parked = farm.rows("SELECT sequence FROM parked_events ORDER BY sequence", name)
    assert [row[0] for row in parked] == [recorded.sequence for recorded in records if recorded.envelope is None]
    said = Counter(recorded.event.sequence for recorded in records if isinstance(recorded.event, EventParked))
    assert said == Counter(row[0] for row in parked)


def worker_attempts(records: Sequence[Recorded]) -> list[Row]:
    """Worker, number, strategy and success of each attempt in the order of their beginnings; None: it is open."""
    attempts: list[list[Any]] = []
    still_open: dict[str, list[Any]] = {}
    renewed: dict[str, list[Any]] = {}
    for recorded in records:
        event = recorded.event
        if isinstance(event, WorkerRecoveryScheduled):
            assert event.worker_id not in still_open, f"two attempts at one time: {described(recorded)}"
            attempts.append([event.worker_id, event.attempt, event.strategy, None])
            still_open[event.worker_id] = attempts[-1]
        elif isinstance(event, WorkerRecoveryStarted | WorkerRecoverySucceeded | WorkerRecoveryFailed):
            assert still_open[event.worker_id][1:3] == [event.attempt, event.strategy]
            if not isinstance(event, WorkerRecoveryStarted):
                still_open.pop(event.worker_id)[3] = isinstance(event, WorkerRecoverySucceeded)
        elif isinstance(event, WorkerRecoverySuperseded):
            still_open.pop(event.worker_id)[3] = False
        elif isinstance(event, WorkerDrainRequested) and event.actor == PROACTIVE:
            attempts.append([event.worker_id, 1, "proactive", None])
            renewed[event.worker_id] = attempts[-1]
        elif isinstance(event, WorkerRegistered | WorkerFailed) and event.worker_id in renewed:
            renewed.pop(event.worker_id)[3] = isinstance(event, WorkerRegistered)
        elif isinstance(event, WorkerPermanentlyFailed):
            attempts.append([event.worker_id, event.attempts, "escalate", False])
    return [tuple(attempt) for attempt in attempts]


def incidents(records: Sequence[Recorded]) -> list[Row]:
    """Id and success of each incident; None: it is open."""
    found: dict[str, bool | None] = {}
    for recorded in records:
        event = recorded.event
        if isinstance(event, SystemRecoveryStarted):
            assert event.incident_id not in found
            found[event.incident_id] = None
        elif isinstance(event, SystemRecoveryCompleted):
            assert found[event.incident_id] is None
            found[event.incident_id] = event.success
    return list(found.items())
