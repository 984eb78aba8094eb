"""A fold of heartbeats that stands where some leader stood.

Mostly it goes forward. It goes back where a leader had read less than the one before it, and where the broker lost the
last heartbeats and hands out their sequences again.
"""

from collections import deque
from collections.abc import Callable
from datetime import datetime

from events.clock import seconds, utc
from events.worker import RecordedHeartbeat

KEPT_MAX = 20_000
"""How many heartbeats it can go back."""

AHEAD_MAX = 100_000
"""How many wait to be folded; beyond it they are folded unasked."""

MICROSECOND = 1e-6
NOWHERE = 2**63


class BeatFold:
    """`apply` takes each heartbeat in order; `forget` undoes all that was applied."""

    def __init__(self, apply: Callable[[RecordedHeartbeat], None], forget: Callable[[], None]) -> None:
        self._apply = apply
        self._forget = forget
        self._ahead: deque[RecordedHeartbeat] = deque()
        self._folded: deque[RecordedHeartbeat] = deque()
        self._settled: dict[str, RecordedHeartbeat] = {}
        """Of those folded too long ago to be undone, the last of each worker's newest incarnation."""
        self._settled_through = 0
        self.pushed = 0
        """Sequence of the last one of the stream, as far as is known."""
        self.sequence = 0
        """Of the last one folded."""

    def push(self, recorded: RecordedHeartbeat) -> None:
        """Takes the next one of the stream. If its sequence was there before, the stream has lost all from there on."""
        if recorded.sequence <= self.pushed:
            self._lose(recorded.sequence - 1)
        self.pushed = recorded.sequence
        self._ahead.append(recorded)
        if len(self._ahead) > AHEAD_MAX:
            self._fold_next()

    def stand_at(self, sequence: int, at: datetime | None) -> bool:
        """Folds up to `sequence`, or back to there. False: that is too long ago, or the heartbeat there is not the one
        that was stored at `at` (None: which one it is does not matter); nothing stored later than that is folded.
        """
        if self.sequence > sequence and not self._go_back(sequence):
            return False
        ahead = self._ahead
        latest = float("inf") if at is None else seconds(at) + MICROSECOND
        while ahead and ahead[0].sequence <= sequence and ahead[0].time <= latest:
            self._fold_next()
        if at is None:
            return True
        return self.sequence == sequence and bool(self._folded) and utc(self._folded[-1].time) == at

    def _fold_next(self) -> None:
        recorded = self._ahead.popleft()
        self._apply(recorded)
        self._folded.append(recorded)
        self.sequence = recorded.sequence
        if len(self._folded) > KEPT_MAX:
            self._settle(self._folded.popleft())

    def _settle(self, recorded: RecordedHeartbeat) -> None:
        self._settled_through = recorded.sequence
        heartbeat = recorded.heartbeat
        if heartbeat is None:
            return
        known = self._settled.get(heartbeat.worker_id)
        if known is None or known.heartbeat is None or known.heartbeat.incarnation <= heartbeat.incarnation:
            self._settled[heartbeat.worker_id] = recorded

    def _go_back(self, sequence: int) -> bool:
        if sequence < self._settled_through:
            return False
        while self._folded and self._folded[-1].sequence > sequence:
            self._ahead.appendleft(self._folded.pop())
        self._forget()
        for recorded in sorted(self._settled.values(), key=lambda one: one.sequence):
            self._apply(recorded)
        for recorded in self._folded:
            self._apply(recorded)
        self.sequence = self._folded[-1].sequence if self._folded else self._settled_through
        return True

    def _lose(self, kept: int) -> None:
        if self.sequence > kept and not self._go_back(kept):
            self.sequence = self._settled_through = NOWHERE  # what was there cannot be told any more
        while self._ahead and self._ahead[-1].sequence > kept:
            self._ahead.pop()
