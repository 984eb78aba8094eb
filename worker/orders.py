"""The order to restart a worker, for as long as it stands."""

from events.base import Event
from events.worker import (
    WorkerPermanentlyFailed,
    WorkerRecoveryFailed,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRecoverySuperseded,
)


class Orders:
    """What the log orders. An order stands until its attempt is over, and only the log can tell: a supervisor that
    hears of it late, by whose clock ever, must not ask what time it is but what came afterwards."""

    def __init__(self) -> None:
        self._standing: WorkerRecoveryStarted | None = None

    def note(self, event: Event | None) -> None:
        """To be told every event about the worker, in order."""
        if isinstance(event, WorkerRecoveryStarted):
            self._standing = event if event.strategy == "restart" else None
        elif isinstance(event, WorkerPermanentlyFailed) or self._ends(event):
            self._standing = None

    def _ends(self, event: Event | None) -> bool:
        if not isinstance(event, WorkerRecoverySucceeded | WorkerRecoveryFailed | WorkerRecoverySuperseded):
            return False
        return self._standing is not None and event.attempt == self._standing.attempt

    def take(self) -> WorkerRecoveryStarted | None:
        """The one that stands, to be carried out now: each is given out once."""
        order, self._standing = self._standing, None
        return order
