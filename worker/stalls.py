"""The leader's finding that a worker beats and is of no use, for as long as it stands."""

from events.base import Event
from events.worker import WorkerFailed, WorkerStalled, WorkerStallRefuted


class Stalls:
    """What the log says of one worker's present uselessness. Only what came afterwards tells whether it still holds."""

    def __init__(self) -> None:
        self.standing: WorkerStalled | None = None
        """The order to kill the agent of that incarnation."""

    def note(self, event: Event | None) -> None:
        """To be told every event about the worker, in order."""
        if isinstance(event, WorkerStalled):
            self.standing = event if event.restart else None
        elif isinstance(event, WorkerStallRefuted | WorkerFailed):
            self.standing = None
