"""Time: the wire carries UTC datetimes, everything inside counts seconds since the epoch as a float."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from events.host import host

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def utc(seconds: float) -> datetime:
    """Seconds since the epoch as an aware datetime, rounded to the microsecond that the wire can hold."""
    return EPOCH + timedelta(microseconds=round(seconds * 1_000_000))


def seconds(moment: datetime) -> float:
    """The inverse of `utc`; exact for every moment that `utc` made."""
    return (moment - EPOCH) // _MICROSECOND / 1_000_000


def quantised(moment: float) -> float:
    """The value that `moment` has after a journey over the wire."""
    return seconds(utc(moment))


STEP_S = 1.0
"""Seconds by which the broker's clock must leap for it to be called a step: more than a healthy network's latency."""


class ClusterClock:
    """The broker's clock, estimated from the timestamps that it puts on stored messages.

    A message is read some time after it was stored, so each reading bounds the broker's clock from below. The best
    (largest) bound of the last two windows is used: it tracks a drifting clock and forgets a bad estimate within
    `2 * window_s`. Between readings the local monotonic clock carries the estimate on.

    A step forward shows in the next reading, which is a better bound than any before. A step back looks like messages
    that are late, and only a message of one's own can tell the two apart: it was stored after it was sent, which bounds
    the broker's clock from above (the two sides of F. Cristian, "Probabilistic clock synchronization", 1989). Once a
    step back is proven, the estimate follows it at once, and this is the only case in which `now` goes back: if it
    stood still instead until the broker has caught up, so would every timeout, for as long as the step was wide.
    (Behind one that nothing has proven `now` does, once the windows have forgotten what was before.)
    """

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] | None = None,
        wall: Callable[[], float] | None = None,
        window_s: float = 30.0,
    ) -> None:
        self._monotonic = monotonic = monotonic or host().monotonic
        wall = wall or host().wall
        self._window_s = window_s
        # Until the first message is seen, this machine's own clock is the only one there is.
        self._offset_guess = wall() - monotonic()
        self._offset_current: float | None = None
        self._offset_previous: float | None = None
        self._window_ends = monotonic() + window_s
        self._latest = 0.0

    def observe(self, stored_at: float, *, sent_at: float | None = None) -> float:
        """Takes the broker's timestamp (seconds) of a message that has just been read.

        `sent_at` is given for a message of one's own: what `monotonic` said before it was first sent.

        Returns by how many seconds the broker's clock is now found to have stepped, negative for back; 0.0: not at all.
        That the local clock stood still while its machine slept looks like a step forward.
        """
        here = self._monotonic()
        offset = stored_at - here
        best = self._best()
        if best is not None and sent_at is not None:
            estimate = max(here + best, self._latest)
            if estimate > stored_at + (here - sent_at) + STEP_S:
                self._offset_current, self._offset_previous = offset, None
                self._window_ends = here + self._window_s
                self._latest = quantised(stored_at)
                return stored_at - estimate
        if here >= self._window_ends:
            self._offset_previous = self._offset_current
            self._offset_current = offset
            self._window_ends = here + self._window_s
        elif self._offset_current is None or offset > self._offset_current:
            self._offset_current = offset
        self._latest = max(self._latest, quantised(stored_at))
        return 0.0 if best is None or offset <= best + STEP_S else offset - best

    @property
    def synchronised(self) -> bool:
        return self._offset_current is not None

    def monotonic(self) -> float:
        """The local clock that carries the estimate: for `sent_at`, and for measuring spans of time."""
        return self._monotonic()

    def lateness(self, stored_at: float) -> float:
        """How many seconds ago, by the estimate, a message was stored that has just been read."""
        best = self._best()
        return 0.0 if best is None else max(0.0, self._monotonic() + best - stored_at)

    def now(self) -> float:
        """Seconds since the epoch. Not before any timestamp that was observed, and never going back but for a step."""
        best = self._best()
        offset = self._offset_guess if best is None else best
        self._latest = max(self._latest, quantised(self._monotonic() + offset))
        return self._latest

    def _best(self) -> float | None:
        current, previous = self._offset_current, self._offset_previous
        return current if previous is None or (current is not None and current > previous) else previous
