"""The leader as an observer: whether what it sees, and when it sees it, allows it to hold silence against anybody.

It judges by readings of clocks alone. What it finds is good for a while only, and is told only if it matters: a doubt
is a fact of the log (`DetectorDegraded`), and the core counts all silence anew from there. That a leader loses sight of
the broker needs no doubt of its own: it loses its lease long before a worker can be failed, and its next election has
the same effect.
"""

from typing import Literal, NamedTuple

from events.clock import ClusterClock
from events.system import Doubt

Stream = Literal["events", "heartbeats"]

LAG_S_MAX = 1.5
"""How old a message may be when it is read: half of what lies between `self_fence_after` and `failed_after` by default,
so that a silence taken for longer than it is by that much gives no task away that still runs."""
PAUSE_S_MAX = 1.0
"""How much later than it wanted to the leader may run."""
RESTATE_S = 10.0
"""Seconds between two facts about steps of the clock that nobody suffers from: the servers of a cluster whose clocks
differ must not fill the log."""


class Finding(NamedTuple):
    reason: Doubt
    extent_s: float
    found_at: float
    """By the local monotonic clock."""


class Observer:
    """Keeps the clock, and notes what speaks against its own readings."""

    def __init__(self, clock: ClusterClock) -> None:
        self.clock = clock
        self._finding: Finding | None = None
        self._lags: dict[Stream, Finding] = {}
        self._restate_at = 0.0

    def read(self, stream: Stream, stored_at: float, *, sent_at: float | None = None) -> None:
        """Takes the time of the newest message of what was just read; `sent_at` as in `ClusterClock.observe`."""
        self.stepped(self.clock.observe(stored_at, sent_at=sent_at))
        here = self.clock.monotonic()
        lag = self.clock.lateness(stored_at)
        if lag > LAG_S_MAX:
            self._lags[stream] = Finding("stream_lag", lag, here)
        else:
            self._lags.pop(stream, None)

    def stepped(self, by_s: float) -> None:
        """Takes by how much the broker's clock has been set, negative for back, if it has been."""
        if by_s:
            self._finding = Finding("clock_step", by_s, self.clock.monotonic())
        if by_s < 0:
            # What looked late was not.
            self._lags.clear()

    def overslept(self, late_s: float) -> None:
        """Takes how much later than it wanted to the leader has run: its messages wait to be read as well."""
        if late_s > PAUSE_S_MAX and (self._finding is None or self._finding.reason != "clock_step"):
            self._finding = Finding("own_pause", late_s, self.clock.monotonic())

    def dismiss(self) -> None:
        """What was found is told, or concerned a time in which nothing was decided. Messages that are late stay so."""
        self._finding = None

    def doubt(self, patience_s: float, *, needed: bool) -> Finding | None:
        """Why silence proves nothing now; None: it does, or nobody cares.

        `patience_s`: the longest silence that does not fail a worker.
        `needed`: silence is about to be held against somebody. Without that, only a step of the clock is worth telling:
        it has made times in the state wrong.
        """
        here = self.clock.monotonic()
        found = self._finding
        if found is not None and here - found.found_at >= _good_for_s(found.reason, patience_s):
            found = self._finding = None
        if found is not None and found.reason == "clock_step" and (needed or here >= self._restate_at):
            self._restate_at = here + RESTATE_S
            return found
        if not needed:
            return None
        if found is not None:
            return found
        lags = [lag for lag in self._lags.values() if here - lag.found_at < _good_for_s(lag.reason, patience_s)]
        return max(lags, key=lambda lag: lag.extent_s, default=None)


def _good_for_s(reason: Doubt, patience_s: float) -> float:
    """After a pause everything that waits is read within a moment. What is wrong with the clock has no effect any more
    when a silence that began with it is truly long enough to fail a worker."""
    return PAUSE_S_MAX if reason == "own_pause" else patience_s
