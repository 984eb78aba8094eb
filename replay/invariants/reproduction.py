"""Deciding again while the log comes in: `replay.verify`, fed by hand."""

from collections.abc import Coroutine

from events.envelope import Recorded
from events.worker import RecordedHeartbeat
from replay.beats import ListedBeats
from replay.verify import Difference, Verifier


class PushedBeats(ListedBeats):
    """Keeps `Beats` over what has been pushed so far."""

    def __init__(self, first: int) -> None:
        super().__init__([])
        self._kept_from = first
        self._pushed = 0
        self._asked = 0

    def push(self, recorded: RecordedHeartbeat) -> None:
        while self._left and self._left[-1].sequence >= recorded.sequence:
            self._left.pop()  # the broker has lost it, and used its sequence again
        self._left.append(recorded)
        self._pushed = recorded.sequence

    @property
    def first(self) -> int:
        """What was not pushed counts as expired."""
        return self._kept_from if self._asked <= self._pushed else self._asked + 2

    @first.setter
    def first(self, sequence: int) -> None:
        self._kept_from = sequence

    async def through(self, sequence: int) -> list[RecordedHeartbeat]:
        self._asked = sequence
        return await super().through(sequence)


class Reproduction:
    """Stops at the first difference: behind it every state is another."""

    def __init__(self, beats_from: int) -> None:
        self._beats = PushedBeats(beats_from)
        self._beats.first = beats_from
        self._verifier = Verifier(self._beats)
        self._over = False

    @property
    def skipped(self) -> int:
        """Batches that could not be compared."""
        return self._verifier.skipped + (self._verifier.obstacle is not None)

    def observe(self, recorded: RecordedHeartbeat) -> None:
        if not self._over:
            self._beats.push(recorded)

    def take(self, recorded: Recorded) -> Difference | None:
        """The difference that this event has brought to light."""
        if self._over:
            return None
        _run(self._verifier.take(recorded))
        self._over = self._verifier.done
        return self._verifier.difference


def _run(work: Coroutine[object, None, None]) -> None:
    """To its end, at once: over pushed heartbeats the verifier never waits."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("the verifier waits for something")
