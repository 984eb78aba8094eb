"""What streams of the simulated broker forget in time: the ids of messages, and messages with a time to live.

As in the server: when it looks is a matter of timers, which keep their pace; what is old enough is one of the wall
clock, which may step.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

SECOND = 1_000_000_000
FORGET_IDS_S_MIN = 1.0
EXPIRY_CHECK_S_MIN = 0.25


class Clock(Protocol):
    """What a stream takes from the broker."""

    def wall_ns(self) -> int: ...
    def now(self) -> float: ...
    def later(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Not if the server ends before."""
        ...


class KnownIds:
    """The ids of the last messages, with their sequences."""

    def __init__(self, clock: Clock) -> None:
        self.window_ns = 0
        self._clock = clock
        self._sequences: dict[str, int] = {}
        self._by_age: deque[tuple[str, int]] = deque()
        self._waiting = False

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._sequences

    def get(self, event_id: str) -> int | None:
        return self._sequences.get(event_id)

    def remember(self, event_id: str, sequence: int, time_ns: int) -> None:
        self._sequences[event_id] = sequence
        self._by_age.append((event_id, time_ns))
        if not self._waiting:
            self._waiting = True
            self._clock.later(self.window_ns / SECOND, self._forget)

    def _forget(self) -> None:
        by_age = self._by_age
        oldest_ns = self._clock.wall_ns() - self.window_ns
        while by_age and by_age[0][1] <= oldest_ns:
            self._sequences.pop(by_age.popleft()[0], None)
        self._waiting = bool(by_age)
        if by_age:
            wait_s = (by_age[0][1] - oldest_ns) / SECOND
            self._clock.later(max(FORGET_IDS_S_MIN, wait_s), self._forget)

    def clear(self) -> None:
        self._sequences.clear()
        self._by_age.clear()
        self._waiting = False


class Expiries:
    """When which message is to be removed; `remove` is called for it, a quarter of a second late at most."""

    def __init__(self, clock: Clock, remove: Callable[[int], object]) -> None:
        self._clock = clock
        self._remove = remove
        self._due_ns: dict[int, int] = {}
        self._look_at = 0.0

    def add(self, sequence: int, due_ns: int) -> None:
        self._due_ns[sequence] = due_ns
        self._look_later()

    def forget(self, sequence: int) -> None:
        self._due_ns.pop(sequence, None)

    def _look_later(self) -> None:
        if not self._due_ns:
            return
        wait_s = (min(self._due_ns.values()) - self._clock.wall_ns()) / SECOND
        at = self._clock.now() + max(EXPIRY_CHECK_S_MIN, wait_s)
        if self._look_at and self._look_at <= at:
            return
        self._look_at = at
        self._clock.later(at - self._clock.now(), lambda: self._look(at))

    def _look(self, at: float) -> None:
        if at != self._look_at:
            return  # an earlier one took its place
        self._look_at = 0.0
        now = self._clock.wall_ns()
        for sequence in [sequence for sequence, due_ns in self._due_ns.items() if due_ns <= now]:
            self._remove(sequence)
        self._look_later()

    def clear(self) -> None:
        self._due_ns.clear()
        self._look_at = 0.0
