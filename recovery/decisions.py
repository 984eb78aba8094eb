"""What `decide` returns: an event to be recorded, and why."""

from collections.abc import Sequence
from typing import NamedTuple

from events.base import Event
from events.policy import Policy
from events.task import TaskRequeued
from events.worker import WorkerFailed
from recovery.entities import Worker

RULES_VERSION = 1
"""To be raised whenever `decide` returns something else for the same state: a log verifies under its own version."""

DECISIONS_MAX = 500
"""Most decisions in one cycle; what remains is still owed in the next."""
FEW = 4
"""Of so few decisions, what others wait to hear goes alone."""


class Decision(NamedTuple):
    event: Event
    rule: str
    """The name of the rule that fired."""
    causation_id: str | None = None
    correlation_id: str | None = None
    synthetic: str | None = None
    """The label of the made-up event that this follows from."""
    overdue: bool = False
    """It rests on something that has not come in time. Whoever was in no position to see it come does not say so."""


def most_urgent(few: Sequence[Decision]) -> Decision | None:
    """The failure of a worker, or else that a task waits again for such a failure, if it is the only one of them."""
    for is_urgent in (_is_failure, _is_loss):
        urgent = [decision for decision in few if is_urgent(decision.event)]
        if urgent:
            return urgent[0] if len(urgent) == 1 else None
    return None


def _is_failure(event: Event) -> bool:
    return isinstance(event, WorkerFailed)


def _is_loss(event: Event) -> bool:
    return isinstance(event, TaskRequeued) and event.reason == "worker_failed"


def about(worker: Worker, event: Event, rule: str) -> Decision:
    """A decision in the story of a worker's failure."""
    cause = worker.event_id if worker.attempt is None else worker.attempt.event_id
    return Decision(event, rule, cause or None, worker.failure_id, worker.synthetic)


def infrastructure_retries(policy: Policy, own: int | None) -> int:
    return policy.infrastructure_retries if own is None else own


def verdict_retries(policy: Policy, own: int | None) -> int:
    return policy.verdict_retries if own is None else own
