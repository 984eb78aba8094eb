"""Events about failures, and what each does to the table `outages`.

A worker is out from its failure until an attempt has brought it back and that is verified (*recovered*), until it has
come back before an attempt began (*returned*), or until nobody expects it back any more: it was given up (*permanent*),
or it was to end anyway or has ended in order (*retired*). A worker that fails again before it is well makes its outage
longer, and does not begin another one.
"""

from events.envelope import Recorded
from events.system import PolicyChanged, RecoveryPaused, RecoveryResumed
from events.worker import (
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRecoverySuperseded,
    WorkerRegistered,
    WorkerRetired,
    WorkerStopped,
)
from projections.rows import OutageRow
from projections.working_set import Handlers, WorkingSet, elapsed_s, microseconds

PAUSED = "recovery was paused"
SWITCHED_OFF = "automatic recovery was switched off"

BACK = ("recovered", "returned")
"""Endings after which the worker is there again."""


def failed(rows: WorkingSet, at: Recorded, event: WorkerFailed) -> None:
    failure = rows.failures.get(event.worker_id)
    if failure is None or failure.id != at.sequence:
        return  # it speaks of an incarnation that is over
    outage = rows.outages.get(event.worker_id)
    if outage is not None:
        outage.failures += 1
    else:
        outage = OutageRow(
            id=at.sequence,
            worker_id=event.worker_id,
            reason=failure.reason,
            category=failure.category,
            down_at=failure.failed_at if failure.down_at is None else failure.down_at,
            failed_at=failure.failed_at,
            operator=_held(rows),
        )
    _put(rows, at, outage)


def _held(rows: WorkingSet) -> str | None:
    """Why nobody is brought back at present."""
    if rows.paused:
        return PAUSED
    return SWITCHED_OFF if rows.policy is not None and not rows.policy["auto_recovery"] else None


def _put(rows: WorkingSet, at: Recorded, outage: OutageRow) -> None:
    outage.synthetic = outage.synthetic or at.synthetic
    rows.put_outage(outage)


def registered(rows: WorkingSet, at: Recorded, event: WorkerRegistered) -> None:
    if event.worker_id not in rows.worker_recoveries:
        _end(rows, at, event.worker_id, "returned")


def started(rows: WorkingSet, at: Recorded, event: WorkerRecoveryStarted) -> None:
    outage = rows.outages.get(event.worker_id)
    if outage is not None:
        outage.attempts += 1
        _put(rows, at, outage)


def superseded(rows: WorkingSet, at: Recorded, event: WorkerRecoverySuperseded) -> None:
    worker = rows.workers[event.worker_id]
    if worker.incarnation != worker.failed_incarnation:
        _end(rows, at, event.worker_id, "returned")


def succeeded(rows: WorkingSet, at: Recorded, event: WorkerRecoverySucceeded) -> None:
    outage = rows.outages.get(event.worker_id)
    if outage is not None:
        outage.strategy = event.strategy
    _end(rows, at, event.worker_id, "recovered")


def permanently_failed(rows: WorkingSet, at: Recorded, event: WorkerPermanentlyFailed) -> None:
    _end(rows, at, event.worker_id, "permanent")


def ended(rows: WorkingSet, at: Recorded, event: WorkerRetired | WorkerStopped) -> None:
    if event.incarnation == rows.workers[event.worker_id].failed_incarnation:
        _end(rows, at, event.worker_id, "retired")


def _end(rows: WorkingSet, at: Recorded, worker_id: str, ending: str) -> None:
    outage = rows.outages.get(worker_id)
    if outage is None:
        return
    outage.ending, outage.ended_at = ending, microseconds(at.time)
    if ending in BACK:
        outage.recovery_s = elapsed_s(outage.down_at, at)
    _put(rows, at, outage)


def paused(rows: WorkingSet, at: Recorded, event: RecoveryPaused) -> None:
    del at, event
    rows.paused = True
    _hold_open_ones(rows)


def resumed(rows: WorkingSet, at: Recorded, event: RecoveryResumed) -> None:
    del at, event
    rows.paused = False


def policy_changed(rows: WorkingSet, at: Recorded, event: PolicyChanged) -> None:
    del at
    if not event.policy.auto_recovery:
        _hold_open_ones(rows)


def _hold_open_ones(rows: WorkingSet) -> None:
    """How long these take from now on is an operator's doing."""
    for outage in list(rows.outages.values()):
        if outage.operator is None:
            outage.operator = _held(rows)
            rows.put_outage(outage)


HANDLERS: Handlers = {
    WorkerRegistered: registered,
    WorkerFailed: failed,
    WorkerRecoveryStarted: started,
    WorkerRecoverySucceeded: succeeded,
    WorkerRecoverySuperseded: superseded,
    WorkerPermanentlyFailed: permanently_failed,
    WorkerRetired: ended,
    WorkerStopped: ended,
    RecoveryPaused: paused,
    RecoveryResumed: resumed,
    PolicyChanged: policy_changed,
}
