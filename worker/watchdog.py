"""Judges from pings and answers whether a process still lives behind its pid. Pure: time comes in."""

from collections import deque

PINGS = 8
"""In one `watchdog_after`, so a process that stops is found out at most an eighth later than it could be."""
LATE_PINGS = 2
"""A watcher this many ping intervals late was itself stopped or starved and has nothing to say about others."""


class Watchdog:
    def __init__(self, watchdog_after: float, now: float) -> None:
        self.watchdog_after = watchdog_after
        self._unanswered: deque[tuple[int, float]] = deque(maxlen=PINGS * 4)
        self._number = 0
        self._due = now

    @property
    def interval(self) -> float:
        return self.watchdog_after / PINGS

    def ping(self, now: float) -> int:
        """The number of the ping to send now."""
        if now - self._due > LATE_PINGS * self.interval:
            self._unanswered.clear()
        self._due = now + self.interval
        self._number += 1
        self._unanswered.append((self._number, now))
        return self._number

    def pong(self, number: int) -> None:
        while self._unanswered and self._unanswered[0][0] <= number:
            self._unanswered.popleft()

    def unanswered_s(self, now: float) -> float:
        """How long the oldest ping without an answer has been waiting."""
        return now - self._unanswered[0][1] if self._unanswered else 0.0

    def hung(self, now: float) -> bool:
        """Never true when it is asked late: the answers may lie unread, the question may have been sent too late."""
        late = now - self._due > LATE_PINGS * self.interval
        return not late and self.unanswered_s(now) >= self.watchdog_after
