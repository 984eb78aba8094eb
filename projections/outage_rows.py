"""The table `outages`, and what failures and operators do to it.

A worker is out from its failure until an attempt has brought it back and that is verified (*recovered*), until it has
come back before an attempt began (*returned*), or until nobody expects it back any more: it was given up (*permanent*),
or it was to end anyway or has ended in order (*retired*). A worker that fails again before it is well makes its outage
longer, and does not begin another one.
"""

from events.envelope import Recorded
from events.system import PolicyChanged, RecoveryPaused, RecoveryResumed
from projections.rows import FailureRow, OutageRow
from projections.working_set import Handlers, WorkingSet, elapsed_s, microseconds

PAUSED = "recovery was paused"
SWITCHED_OFF = "automatic recovery was switched off"

BACK = ("recovered", "returned")
"""Endings after which the worker is there again."""


def failed(rows: WorkingSet, at: Recorded, failure: FailureRow) -> None:
    """A failure was recorded: it begins an outage, or makes the open one longer."""
    outage = rows.outages.get(failure.worker_id)
    if outage is not None:
        outage.failures += 1
    else:
        outage = OutageRow(
            id=failure.id,
            worker_id=failure.worker_id,
            reason=failure.reason,
            category=failure.category,
            down_at=failure.failed_at if failure.down_at is None else failure.down_at,
            failed_at=failure.failed_at,
            operator=_held(rows),
        )
    failure.outage_id = outage.id
    _put(rows, at, outage)


def attempted(rows: WorkingSet, at: Recorded, worker_id: str) -> None:
    outage = rows.outages.get(worker_id)
    if outage is not None:
        outage.attempts += 1
        _put(rows, at, outage)


def ended(rows: WorkingSet, at: Recorded, failure: FailureRow, strategy: str | None) -> None:
    """The last failure of an outage is resolved, and with it the outage; `strategy`: of the attempt that did it."""
    outage = rows.outages.get(failure.worker_id)
    if outage is None:
        return
    outage.ending, outage.ended_at, outage.strategy = failure.resolution, microseconds(at.time), strategy
    if outage.ending in BACK:
        outage.recovery_s = elapsed_s(outage.down_at, at)
    _put(rows, at, outage)


def _held(rows: WorkingSet) -> str | None:
    """Why nobody is brought back at present."""
    if rows.paused:
        return PAUSED
    return SWITCHED_OFF if rows.policy is not None and not rows.policy["auto_recovery"] else None


def _put(rows: WorkingSet, at: Recorded, outage: OutageRow) -> None:
    outage.synthetic = outage.synthetic or at.synthetic
    rows.put_outage(outage)


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
    RecoveryPaused: paused,
    RecoveryResumed: resumed,
    PolicyChanged: policy_changed,
}
"""Of what is no failure's own matter; the rest comes from `failure_rows`."""
