"""Events about workers, and what each does to the tables `workers` and `worker_recovery_history`.

One row of the history is one attempt. It begins with `WorkerRecoveryScheduled` (its `recovery_time` moves on to the
moment of `WorkerRecoveryStarted`, where there is one) and ends with Succeeded, Failed or Superseded, the latter as
`success` false and `error_message` "superseded: …". A worker has at most one open attempt: the beginning of another
one ends it as superseded. An end whose beginning the log does not hold has a row of its own, with `begun` false in
its details. A permanent failure is a row of type `escalate`, with `success` false.
"""

import msgspec

from events.clock import utc
from events.envelope import Recorded
from events.failures import CODES
from events.worker import (
    WorkerClaimed,
    WorkerCordoned,
    WorkerDisconnected,
    WorkerDraining,
    WorkerDrainRequested,
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerProbeAnswered,
    WorkerReadmitted,
    WorkerRecoveryActed,
    WorkerRecoveryFailed,
    WorkerRecoveryProbed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRecoverySuperseded,
    WorkerRegistered,
    WorkerRetired,
    WorkerStalled,
    WorkerStallRefuted,
    WorkerStopped,
    WorkerSuspected,
    WorkerSuspicionRefuted,
    WorkerUncordoned,
    WorkerVanished,
)
from projections import failure_rows
from projections.rows import Details, WorkerRecovery, WorkerRow
from projections.working_set import WorkingSet, add_label, add_sequence, elapsed_s, microseconds

ESCALATE = "escalate"

OUT_OF_ORDER = ("failed", "recovering", "permanently_failed")

Beginning = WorkerRecoveryScheduled | WorkerRecoveryStarted
Ending = WorkerRecoverySucceeded | WorkerRecoveryFailed | WorkerRecoverySuperseded


def registered(rows: WorkingSet, at: Recorded, event: WorkerRegistered) -> None:
    row = rows.worker(event.worker_id, at.sequence)
    failure_rows.heard_of(rows, row, event)
    row.incarnation, row.down_at = at.sequence, None
    row.host, row.pid, row.lifeline, row.slots = event.host, event.pid, event.lifeline, event.slots
    row.labels, row.registered_at, row.synthetic = event.labels, microseconds(at.time), at.synthetic
    if row.status != "permanently_failed":
        row.status = "alive"
    _belongs_to_attempt(rows, at, event.worker_id)


def seen(
    rows: WorkingSet,
    at: Recorded,
    event: WorkerClaimed | WorkerCordoned | WorkerUncordoned | WorkerProbeAnswered | WorkerRecoveryProbed,
) -> None:
    """A report, on which somebody else decides."""
    rows.worker(event.worker_id, at.sequence)
    if isinstance(event, WorkerProbeAnswered | WorkerRecoveryProbed):
        _belongs_to_attempt(rows, at, event.worker_id)


def exited(rows: WorkingSet, at: Recorded, event: WorkerExited) -> None:
    row = rows.worker(event.worker_id, at.sequence)
    _down(row, event.incarnation, at.time - (event.unanswered_s or 0.0))
    if row.status in ("failed", "recovering") and event.incarnation == row.incarnation:
        _belongs_to_attempt(rows, at, event.worker_id)


def cut_off(rows: WorkingSet, at: Recorded, event: WorkerDisconnected | WorkerVanished) -> None:
    row = rows.worker(event.worker_id, at.sequence)
    _down(row, event.incarnation, at.time if event.closed_at is None else event.closed_at.timestamp())


def suspected(rows: WorkingSet, at: Recorded, event: WorkerSuspected) -> None:
    row = _move(rows, at, event, before=("alive",), after="suspect")
    seen_at = event.evidence.last_seen
    _down(row, event.incarnation, at.time if seen_at is None else seen_at.timestamp())


def refuted(rows: WorkingSet, at: Recorded, event: WorkerSuspicionRefuted) -> None:
    _well(_move(rows, at, event, before=("suspect",), after="alive"), event.incarnation)


def stalled(rows: WorkingSet, at: Recorded, event: WorkerStalled) -> None:
    row = _move(rows, at, event, before=("alive",), after="stalled")
    _down(row, event.incarnation, at.time - (event.waited_s or 0.0))


def stall_refuted(rows: WorkingSet, at: Recorded, event: WorkerStallRefuted) -> None:
    _well(_move(rows, at, event, before=("stalled",), after="alive"), event.incarnation)


def _down(row: WorkerRow, incarnation: int, since: float) -> None:
    """The earliest moment that speaks against this incarnation, and that nothing has refuted, counts."""
    if incarnation == row.incarnation:
        row.down_at = min(microseconds(since), row.down_at or microseconds(since))


def _well(row: WorkerRow, incarnation: int) -> None:
    if incarnation == row.incarnation:
        row.down_at = None


def drain_requested(rows: WorkingSet, at: Recorded, event: WorkerDrainRequested) -> None:
    row = rows.worker(event.worker_id, at.sequence)
    if event.incarnation in (None, row.incarnation) and row.status in ("alive", "suspect", "stalled"):
        row.status = "draining"


def retired(rows: WorkingSet, at: Recorded, event: WorkerRetired) -> None:
    _move(rows, at, event, before=("failed", "recovering"), after="stopped")


def draining(rows: WorkingSet, at: Recorded, event: WorkerDraining) -> None:
    _move(rows, at, event, before=("alive", "suspect", "stalled"), after="draining")


def stopped(rows: WorkingSet, at: Recorded, event: WorkerStopped) -> None:
    before = ("alive", "suspect", "stalled", "draining", "failed", "recovering")
    _move(rows, at, event, before=before, after="stopped")


def _move(
    rows: WorkingSet,
    at: Recorded,
    event: WorkerSuspected
    | WorkerSuspicionRefuted
    | WorkerStalled
    | WorkerStallRefuted
    | WorkerDraining
    | WorkerRetired
    | WorkerStopped,
    *,
    before: tuple[str, ...],
    after: str,
) -> WorkerRow:
    row = rows.worker(event.worker_id, at.sequence)
    if event.incarnation == row.incarnation and row.status in before:
        row.status = after
    return row


def failed(rows: WorkingSet, at: Recorded, event: WorkerFailed) -> None:
    """Counts once for each incarnation, and not for one that is over already."""
    row = rows.worker(event.worker_id, at.sequence)
    if event.incarnation is not None and event.incarnation != row.incarnation:
        return
    if row.status in OUT_OF_ORDER and row.failed_incarnation == row.incarnation:
        return
    if row.status != "permanently_failed":
        row.status = "failed"
    if at.synthetic is None:
        row.failures += 1
    row.failed_at, row.failed_sequence, row.failed_incarnation = microseconds(at.time), at.sequence, row.incarnation
    row.failure_reason, row.failure_synthetic = event.reason, at.synthetic
    row.failure_category = event.error or CODES[event.reason]


def readmitted(rows: WorkingSet, at: Recorded, event: WorkerReadmitted) -> None:
    row = rows.worker(event.worker_id, at.sequence)
    if row.status == "permanently_failed":
        row.status = "failed" if row.failed_incarnation == row.incarnation else "alive"


def scheduled(rows: WorkingSet, at: Recorded, event: WorkerRecoveryScheduled) -> None:
    rows.worker(event.worker_id, at.sequence)
    attempt = _attempt(rows, at, event)
    attempt.details["scheduled_at"] = utc(at.time)
    attempt.details["not_before"] = event.not_before
    if event.reason is not None and event.reason != attempt.details.get("failure_reason"):
        # More was known by then: its supervisor has reported its end.
        attempt.details |= {"failure_reason": event.reason, "category": CODES[event.reason]}
    if event.considered:
        attempt.details["order"] = event.order
        attempt.details["considered"] = [msgspec.to_builtins(rung) for rung in event.considered]
    rows.put_worker_recovery(attempt)


def started(rows: WorkingSet, at: Recorded, event: WorkerRecoveryStarted) -> None:
    row = rows.worker(event.worker_id, at.sequence)
    if row.status == "failed":
        row.status = "recovering"
    attempt = _attempt(rows, at, event)
    attempt.recovery_time = microseconds(at.time)
    attempt.recovery_type = event.strategy
    attempt.details["deadline"] = event.deadline
    rows.put_worker_recovery(attempt)


def acted(rows: WorkingSet, at: Recorded, event: WorkerRecoveryActed) -> None:
    rows.worker(event.worker_id, at.sequence)
    attempt = rows.worker_recoveries.get(event.worker_id)
    if attempt is None or (attempt.attempt_number, attempt.recovery_type) != (event.attempt, event.strategy):
        return
    add_sequence(attempt.details, at.sequence)
    attempt.details["acted"] = event.outcome
    attempt.details["act"] = event.detail
    rows.put_worker_recovery(attempt)


def _attempt(rows: WorkingSet, at: Recorded, event: Beginning) -> WorkerRecovery:
    """The open attempt that `event` speaks of, or a new one."""
    current = rows.worker_recoveries.get(event.worker_id)
    if current is not None:
        if (current.attempt_number, current.details["incarnation"]) == (event.attempt, event.incarnation):
            add_sequence(current.details, at.sequence)
            add_label(current.details, at.synthetic)
            return current
        current.details["superseded"] = True
        _close(rows, current, at, success=False, error=f"superseded: attempt {event.attempt} began")
    return _new(rows, at, event.worker_id, event.attempt, event.strategy, event.incarnation)


def _new(
    rows: WorkingSet, at: Recorded, worker_id: str, attempt: int, strategy: str, incarnation: int
) -> WorkerRecovery:
    worker = rows.workers[worker_id]
    details: Details = {"sequences": [], "incarnation": incarnation}
    if worker.failed_sequence is not None:
        details |= failure_details(worker)
        add_sequence(details, worker.failed_sequence)
        add_label(details, worker.failure_synthetic)
    add_sequence(details, at.sequence)
    add_label(details, at.synthetic)
    return WorkerRecovery(
        id=rows.next_worker_recovery_id(),
        worker_id=worker_id,
        recovery_time=microseconds(at.time),
        attempt_number=attempt,
        recovery_type=strategy,
        details=details,
    )


def failure_details(worker: WorkerRow) -> Details:
    reason = worker.failure_reason or "unknown"
    return {"failure_reason": reason, "category": worker.failure_category or CODES["unknown"]}


def succeeded(rows: WorkingSet, at: Recorded, event: WorkerRecoverySucceeded) -> None:
    row = rows.worker(event.worker_id, at.sequence)
    if row.status in ("failed", "recovering"):
        row.status = "alive"
    attempt = _ending(rows, at, event)
    if "synthetic" not in attempt.details:
        row.recoveries += 1
    attempt.details["new_incarnation"] = event.incarnation
    attempt.details["duration_s"] = event.duration_s
    _close(rows, attempt, at, success=True, error=None)


def attempt_failed(rows: WorkingSet, at: Recorded, event: WorkerRecoveryFailed) -> None:
    _unsuccessful(rows, at, _ending(rows, at, event), event.error or "no reason given")


def superseded(rows: WorkingSet, at: Recorded, event: WorkerRecoverySuperseded) -> None:
    attempt = _ending(rows, at, event)
    attempt.details["superseded"] = True
    _unsuccessful(rows, at, attempt, f"superseded: {event.reason}")


def _unsuccessful(rows: WorkingSet, at: Recorded, attempt: WorkerRecovery, error: str) -> None:
    row = rows.workers[attempt.worker_id]
    if row.status == "recovering":
        row.status = "failed"
    _close(rows, attempt, at, success=False, error=error)


def _ending(rows: WorkingSet, at: Recorded, event: Ending) -> WorkerRecovery:
    rows.worker(event.worker_id, at.sequence)
    current = rows.worker_recoveries.get(event.worker_id)
    if current is None or current.attempt_number != event.attempt:
        current = _new(rows, at, event.worker_id, event.attempt, event.strategy, event.incarnation)
        current.details["begun"] = False
    else:
        add_sequence(current.details, at.sequence)
        add_label(current.details, at.synthetic)
    return current


def permanently_failed(rows: WorkingSet, at: Recorded, event: WorkerPermanentlyFailed) -> None:
    row = rows.worker(event.worker_id, at.sequence)
    row.status = "permanently_failed"
    attempt = rows.worker_recoveries.get(event.worker_id)
    if attempt is None or attempt.recovery_type != ESCALATE:
        if attempt is not None:
            attempt.details["superseded"] = True
            _close(rows, attempt, at, success=False, error="superseded: the worker failed permanently")
        attempt = _new(rows, at, event.worker_id, event.attempts, ESCALATE, row.incarnation)
    else:
        add_sequence(attempt.details, at.sequence)
    error = f"permanently failed: {event.message}" if event.message else "permanently failed"
    _close(rows, attempt, at, success=False, error=error)


def _close(rows: WorkingSet, attempt: WorkerRecovery, at: Recorded, *, success: bool, error: str | None) -> None:
    attempt.success = success
    attempt.error_message = error
    attempt.details["ended_at"] = utc(at.time)
    attempt.details.setdefault("duration_s", elapsed_s(attempt.recovery_time, at))
    rows.put_worker_recovery(attempt)


def _belongs_to_attempt(rows: WorkingSet, at: Recorded, worker_id: str) -> None:
    attempt = rows.worker_recoveries.get(worker_id)
    if attempt is not None:
        add_sequence(attempt.details, at.sequence)
        rows.put_worker_recovery(attempt)
