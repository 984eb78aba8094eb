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


class ClusterClock:
    """The broker's clock, estimated from the timestamps that it puts on stored messages.

    A message is read some time after it was stored, so each reading bounds the broker's clock from below. The best
    (largest) bound of the last two windows is used: it tracks a drifting or stepped clock and forgets a bad estimate
    within `2 * window_s`. Between readings the local monotonic clock carries the estimate on. `now` never goes back.
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

    def observe(self, stored_at: float) -> None:
        """Takes the broker's timestamp (seconds) of a message that has just been read."""
        here = self._monotonic()
        offset = stored_at - here
        if here >= self._window_ends:
            self._offset_previous = self._offset_current
            self._offset_current = offset
            self._window_ends = here + self._window_s
        elif self._offset_current is None or offset > self._offset_current:
            self._offset_current = offset
        self._latest = max(self._latest, quantised(stored_at))

    @property
    def synchronised(self) -> bool:
        return self._offset_current is not None

    def now(self) -> float:
        offsets = [offset for offset in (self._offset_current, self._offset_previous) if offset is not None]
        offset = max(offsets) if offsets else self._offset_guess
        self._latest = max(self._latest, quantised(self._monotonic() + offset))
        return self._latest
