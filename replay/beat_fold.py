"""A fold of heartbeats that stands where some leader stood.

Mostly it goes forward. It goes back where a leader had read less than the one before it, and where the broker lost the
last heartbeats and hands out their sequences again.
"""

from bisect import bisect_left
from collections import deque
from datetime import datetime
from typing import Generic, Protocol, Self, TypeVar

from events.clock import utc
from events.worker import RecordedHeartbeat

KEPT_MAX = 20_000
"""How many heartbeats it can go back."""

AHEAD_MAX = 100_000
"""How many wait to be folded; beyond it they are folded unasked."""


class Memory(Protocol):
    """What heartbeats add up to: a function of those heard, in order, and of nothing else."""

    def hear(self, recorded: RecordedHeartbeat) -> None: ...
    def recall(self, other: Self) -> None:
        """Forgets all that it has heard, and knows what the other knows; the two share nothing that changes."""


M = TypeVar("M", bound=Memory)


class BeatFold(Generic[M]):
    """Makes `memory` hear each heartbeat in order. `earlier` is another of the kind, which has heard nothing yet: it
    follows at a distance, to begin from when the memory has to go back."""

    def __init__(self, memory: M, earlier: M) -> None:
        self._memory = memory
        self._earlier = earlier
        self._ahead: deque[RecordedHeartbeat] = deque()
        self._folded: deque[RecordedHeartbeat] = deque()
        self._settled_through = 0
        """Sequence of the last one that `earlier` has heard."""
        self._adrift = False
        """What was lost could not be undone: what was there cannot be told any more."""
        self.pushed = 0
        """Sequence of the last one of the stream, as far as is known."""
        self.sequence = 0
        """Of the last one folded."""

    def push(self, recorded: RecordedHeartbeat) -> None:
        """Takes the next one of the stream. If its sequence was there before, the stream has lost all from there on."""
        if recorded.sequence <= self.pushed:
            self._lose(recorded.sequence - 1)
        self.pushed = recorded.sequence
        if self._adrift:
            return
        self._ahead.append(recorded)
        if len(self._ahead) > AHEAD_MAX:
            self._fold_next()

    def stand_at(self, sequence: int, at: datetime | None) -> bool:
        """Folds up to `sequence`, or back to there. False, and nothing has changed: that is too long ago, or no
        heartbeat that was stored at `at` (None: which one it is does not matter) is known to stand there.

        A sequence with its time is enough to know a heartbeat and all before it again. The time alone says nothing of
        the order: the broker's clock may have been set back.
        """
        if self._adrift or (at is not None and not self._holds(sequence, at)):
            return False
        if self.sequence > sequence and not self._go_back(sequence):
            return False
        while self._ahead and self._ahead[0].sequence <= sequence:
            self._fold_next()
        return True

    def _holds(self, sequence: int, at: datetime) -> bool:
        among = self._ahead if sequence > self.sequence else self._folded
        place = bisect_left(among, sequence, key=lambda one: one.sequence)
        return place < len(among) and among[place].sequence == sequence and utc(among[place].time) == at

    def _fold_next(self) -> None:
        recorded = self._ahead.popleft()
        self._memory.hear(recorded)
        self._folded.append(recorded)
        self.sequence = recorded.sequence
        if len(self._folded) > KEPT_MAX:
            self._settle(self._folded.popleft())

    def _settle(self, recorded: RecordedHeartbeat) -> None:
        self._earlier.hear(recorded)
        self._settled_through = recorded.sequence

    def _go_back(self, sequence: int) -> bool:
        if sequence < self._settled_through:
            return False
        while self._folded and self._folded[-1].sequence > sequence:
            self._ahead.appendleft(self._folded.pop())
        self._memory.recall(self._earlier)
        for recorded in self._folded:
            self._memory.hear(recorded)
        self.sequence = self._folded[-1].sequence if self._folded else self._settled_through
        return True

    def _lose(self, kept: int) -> None:
        if self.sequence > kept and not self._go_back(kept):
            self._adrift = True
            self._ahead.clear()
        while self._ahead and self._ahead[-1].sequence > kept:
            self._ahead.pop()
