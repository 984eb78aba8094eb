"""How many attempts to bring workers back may run at once, and which: folding and asking.

An attempt that only waits for its worker costs nothing and harms nobody: what is counted, and held back, are those that
do something.
"""

from math import floor

from events.base import Event
from events.policy import Policy
from events.worker import WorkerRecoveryFailed, WorkerRecoverySuperseded
from recovery.entities import Attempt, Worker
from recovery.repair_entities import Breaker, LastEnd
from recovery.state import State

WAITING = frozenset({"await", "escalate"})
"""Strategies under which nothing is done."""
ROUNDING = 1e-9


def acts(attempt: Attempt) -> bool:
    return attempt.strategy not in WAITING


def repairs_max(state: State, *, renewing: int = 0) -> int:
    """`renewing`: workers that begin anew, and so are not expected just now; they are to come back as well."""
    return max(1, floor(state.policy.repairs_share * (state.workers_expected + renewing) + ROUNDING))


def note_attempt_end(state: State, worker: Worker, now: float, event: Event) -> None:
    """Its attempt ends with this event. If that has lost its object, was a drill, or could not be carried out at all,
    it shows nothing."""
    breaker, worker_id, attempt = state.breaker, worker.worker_id, worker.attempt
    assert attempt is not None
    failed = isinstance(event, WorkerRecoveryFailed)
    tried = not isinstance(event, WorkerRecoverySuperseded) and attempt.strategy not in worker.unavailable
    shown = worker.synthetic is None and tried
    if breaker.status == "half_open" and breaker.probe == worker_id:
        breaker.probe_failed = failed if shown else None
        if not shown:
            breaker.probe = ""
    if not shown or not acts(attempt):
        return
    before = breaker.ends.pop(worker_id, None)
    breaker.ends[worker_id] = LastEnd(now, failed)
    breaker.failed += failed - (before is not None and before.failed)
    _forget(breaker, state.policy, now)


def _forget(breaker: Breaker, policy: Policy, now: float) -> None:
    """What has left the window. The last one has just been noted, and stays."""
    horizon = now - policy.breaker_window
    worker_id, end = next(iter(breaker.ends.items()))
    while end.at <= horizon:
        del breaker.ends[worker_id]
        breaker.failed -= end.failed
        worker_id, end = next(iter(breaker.ends.items()))


def trips(state: State) -> bool:
    """Whether too many workers could not be brought back lately."""
    breaker, policy = state.breaker, state.policy
    enough = breaker.failed >= policy.breaker_failures
    return enough and breaker.failed >= policy.breaker_share * len(breaker.ends) - ROUNDING
