"""What `decide` returns: an event to be recorded, and why."""

from typing import NamedTuple

from events.base import Event
from events.policy import Policy
from recovery.entities import Worker

RULES_VERSION = 1
"""To be raised whenever `decide` returns something else for the same state: a log verifies under its own version."""

DECISIONS_MAX = 500
"""Most decisions in one cycle; what remains is still owed in the next."""


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


def about(worker: Worker, event: Event, rule: str) -> Decision:
    """A decision in the story of a worker's failure."""
    cause = worker.event_id if worker.attempt is None else worker.attempt.event_id
    return Decision(event, rule, cause or None, worker.failure_id, worker.synthetic)


def infrastructure_retries(policy: Policy, own: int | None) -> int:
    return policy.infrastructure_retries if own is None else own


def verdict_retries(policy: Policy, own: int | None) -> int:
    return policy.verdict_retries if own is None else own
