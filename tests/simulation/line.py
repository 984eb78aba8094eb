"""The line between a simulated supervisor and its agent."""

from collections import deque
from collections.abc import Callable

from tests.simulation.process import SimProcess


class SimLink:
    """Keeps `worker.ports.Link`. What is said is heard in the other process's next turn, or once it goes on."""

    def __init__(self, owner: SimProcess) -> None:
        self.closed = False
        self.on_message: Callable[[], None] | None = None
        """Called in the owner's process whenever there is something to receive."""
        self._owner = owner
        self._other: SimLink | None = None
        self._inbox: deque[tuple[str, str]] = deque()
        self._called = False

    def send(self, word: str, argument: str | int = "") -> bool:
        other = self._other
        if other is None or other.closed:
            return False
        other._inbox.append((word, str(argument)))
        other._call()
        return True

    def receive(self) -> list[tuple[str, str]]:
        messages = list(self._inbox)
        self._inbox.clear()
        if self._other is None:
            self.closed = True
        return messages

    def close(self) -> None:
        self.closed = True
        if self._other is not None:
            self._other._other = None
            self._other._call()
            self._other = None

    def listen(self, on_message: Callable[[], None]) -> None:
        self.on_message = on_message
        if self._inbox or self._other is None:
            self._call()

    def _call(self) -> None:
        if not self._called and self.on_message is not None:
            self._called = True
            self._owner.call(self._wake)

    def _wake(self) -> None:
        self._called = False
        if self.on_message is not None:
            self.on_message()


def pair(one: SimProcess, another: SimProcess) -> tuple[SimLink, SimLink]:
    """Each end closes when its process dies."""
    ours, theirs = SimLink(one), SimLink(another)
    ours._other, theirs._other = theirs, ours
    another.on_death(theirs.close)
    return ours, theirs
