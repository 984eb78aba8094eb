"""What goes wrong with a worker, in a closed set of words, and the open set of names of what is tried against it."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from events.base import Sequence, Text

FailureReason = Literal[
    "worker_exit",
    "worker_hung",
    "stalled",
    "disconnected",
    "silence",
    "no_first_heartbeat",
    "unanswered",
    "synthetic",
    "unknown",
]
"""Why a worker counts as failed: its supervisor saw it exit; its supervisor killed it for not answering, or because it
was stalled; its connections closed and nothing is left of it; heartbeats stopped; heartbeats never began; it beats and
did not answer a probe; somebody said so in a test; nobody knows."""

ErrorCode = Literal[
    "connection",
    "timeout",
    "worker_exit",
    "worker_resource",
    "task_error",
    "task_crash",
    "task_timeout",
    "task_resource",
    "database",
    "coordinator",
    "broker",
    "security",
    "system_resource",
    "unknown",
]
"""What kind of error it was. Set where it happens, and never guessed from the text of a message; `recovery.taxonomy`
says what is done about each."""

CODES: dict[FailureReason, ErrorCode] = {
    "worker_exit": "worker_exit",
    "worker_hung": "timeout",
    "stalled": "timeout",
    "disconnected": "connection",
    "silence": "connection",
    "no_first_heartbeat": "connection",
    "unanswered": "connection",
    "synthetic": "unknown",
    "unknown": "unknown",
}
"""Of a worker's failure, where nobody who saw it has said more."""

StrategyName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
"""A rung of the ladder. Those that are built in follow; others come with plugins."""

AWAIT: Final = "await"
RECONNECT: Final = "reconnect"
RESTART: Final = "restart"
REPLACE: Final = "replace"
ESCALATE: Final = "escalate"
"""No attempt: what follows when all attempts are used up."""

PROVEN: frozenset[FailureReason] = frozenset({"worker_exit", "worker_hung", "stalled", "disconnected"})
"""Somebody has seen that nothing is left of it."""

LADDERS: dict[FailureReason, tuple[StrategyName, ...]] = {
    # The process is gone for certain, and its supervisor has said so: waiting for it to come back would waste time.
    "worker_exit": (RESTART, REPLACE),
    "worker_hung": (RESTART, REPLACE),
    "stalled": (RESTART, REPLACE),
    # Its supervisor is gone as well: only whoever started that can start it again. If that is not us, it may be a
    # service manager, which takes its time.
    "disconnected": (REPLACE, AWAIT, RESTART, REPLACE),
    # It may be on the other side of a cut network; then it registers again by itself.
    "silence": (AWAIT, RECONNECT, RESTART, REPLACE),
    "no_first_heartbeat": (AWAIT, RECONNECT, RESTART, REPLACE),
    # It gets through and is not got through to: its connection is what is wrong with it.
    "unanswered": (RECONNECT, RESTART, REPLACE),
    # A drill kills nobody's connection and starts no processes.
    "synthetic": (AWAIT, RESTART),
    "unknown": (AWAIT, RECONNECT, RESTART, REPLACE),
}
"""What is tried against each failure, one after the other, unless the policy says otherwise."""

FOR_THE_LIVING: frozenset[str] = frozenset({AWAIT, RECONNECT})
"""Strategies that bring back a process which lives."""

WITHOUT_EFFECT: frozenset[str] = frozenset({AWAIT, RESTART})
"""Strategies for which a leader need not do anything: the worker comes back by itself, or its supervisor follows the
log."""

StrategyOrder = Literal["ladder", "history"]

Effect = Literal["done", "failed", "unavailable"]
"""What came of a strategy's act: it has done its part, and the worker is to register; it has tried in vain; it cannot
be done at all, for this worker or by this leader, and need not be tried again."""


class Rung(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A strategy that was considered for an attempt, with its record: attempts of that strategy against that reason,
    over all workers. Older ones count less (`recovery.record`)."""

    strategy: StrategyName
    succeeded: Sequence = 0
    failed: Sequence = 0
    estimate: float | None = None
    """The probability of a success that the order rests on; None where the record does not count."""
    rejected: Text = ""
    """Why it was not taken. Empty: it was, or stands behind the one that was."""
