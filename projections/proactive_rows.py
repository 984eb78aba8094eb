"""Workers that are told to begin anew before they fail: a row of `worker_recovery_history` each, of type `proactive`.

It begins with the leader's order. It ends well when the worker registers as another incarnation, badly when it fails
before that, and has lost its object when somebody tells it to end for good.
"""

from events.clock import utc
from events.envelope import Recorded
from events.forecast import PROACTIVE
from events.worker import WorkerDrainRequested, WorkerFailed, WorkerRegistered
from projections.rows import WorkerRecovery
from projections.working_set import Handlers, WorkingSet, add_label, add_sequence, elapsed_s, microseconds

KIND = "proactive"


def ordered(rows: WorkingSet, at: Recorded, event: WorkerDrainRequested) -> None:
    worker = rows.workers[event.worker_id]
    if not event.restart:
        _close(rows, at, event.worker_id, success=False, error=f"superseded: {event.actor} told it to end")
        return
    if event.actor != PROACTIVE or worker.status != "draining" or event.incarnation != worker.incarnation:
        return
    if event.worker_id in rows.worker_recoveries:
        return
    row = WorkerRecovery(
        id=rows.next_worker_recovery_id(),
        worker_id=event.worker_id,
        recovery_time=microseconds(at.time),
        attempt_number=1,
        recovery_type=KIND,
        details={"sequences": [], "incarnation": worker.incarnation, "reason": event.reason},
    )
    add_sequence(row.details, at.sequence)
    add_label(row.details, at.synthetic)
    rows.put_worker_recovery(row)


def registered(rows: WorkingSet, at: Recorded, event: WorkerRegistered) -> None:
    _close(rows, at, event.worker_id, success=True, error=None)


def failed(rows: WorkingSet, at: Recorded, event: WorkerFailed) -> None:
    if event.incarnation in (None, rows.workers[event.worker_id].incarnation):
        _close(rows, at, event.worker_id, success=False, error=f"it failed before it could begin anew: {event.reason}")


def _close(rows: WorkingSet, at: Recorded, worker_id: str, *, success: bool, error: str | None) -> None:
    row = rows.worker_recoveries.get(worker_id)
    if row is None or row.recovery_type != KIND:
        return
    if row.details["sequences"][-1] != at.sequence:
        add_sequence(row.details, at.sequence)
    row.success, row.error_message = success, error
    row.details["ended_at"], row.details["duration_s"] = utc(at.time), elapsed_s(row.recovery_time, at)
    if success:
        row.details["new_incarnation"] = at.sequence
    elif error is not None and error.startswith("superseded"):
        row.details["superseded"] = True
    rows.put_worker_recovery(row)


HANDLERS: Handlers = {WorkerDrainRequested: ordered, WorkerRegistered: registered, WorkerFailed: failed}
