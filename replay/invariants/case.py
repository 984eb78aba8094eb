"""One decision before its judges: what the leader knew when it made it."""

from collections.abc import Callable
from typing import NamedTuple

from events.envelope import Recorded
from events.worker import RecordedHeartbeat
from replay.invariants.world import Worker, World, incarnation_of

Blame = Callable[[str, int, str, str], None]
"""Takes an invariant, a sequence, an entity and a sentence."""


class Heard(NamedTuple):
    """What is known of a worker's heartbeats at the time of a decision. Not `known`: the stream does not tell."""

    known: bool
    beat: RecordedHeartbeat | None = None
    """Of the present incarnation."""
    newer: RecordedHeartbeat | None = None
    """Of an incarnation whose registration had not been read yet."""
    presumed: RecordedHeartbeat | None = None
    """What stands in for those that are forgotten, when silence is judged."""

    @property
    def last(self) -> RecordedHeartbeat | None:
        """Of the present incarnation, presumed or real."""
        return self.beat or self.presumed


class Case:
    """`world` stands where the leader stood. One object serves decision after decision."""

    def __init__(self, world: World, blame: Blame) -> None:
        self.world = world
        self.batch = 0
        self.now = 0.0
        """When it was decided."""
        self.beats_known = False
        """Heartbeats are given, and folded exactly as far as the leader had."""
        self.beats_since = 0.0
        """No heartbeat from before this time is given; 0.0: all are."""
        self.requeues_batch = 0
        self.requeues_until = 0.0
        """`World.requeues_until` with what the present batch has put back so far."""
        self._blame = blame
        self._sequence = 0
        self._entity = ""
        self.synthetic: str | None = None

    def open(self, recorded: Recorded, entity: str) -> None:
        self._sequence, self._entity, self.synthetic = recorded.sequence, entity, recorded.synthetic

    def blame(self, invariant: str, sentence: str) -> None:
        self._blame(invariant, self._sequence, self._entity, sentence)

    def require(self, truth: bool, invariant: str, sentence: str) -> bool:  # noqa: FBT001 - reads as a sentence
        if not truth:
            self.blame(invariant, sentence)
        return truth

    def labelled(self, *due: str | None) -> None:
        """The decision must bear one of these labels; None for none."""
        if self.synthetic not in due:
            given, wanted = (repr(label) if label else "no label" for label in (self.synthetic, due[0]))
            self.blame("synthetic-marked", f"it carries {given}, and what it answers {wanted}")

    def heard(self, one: Worker) -> Heard:
        if not self.beats_known:
            return Heard(known=False)
        loss, heard = self.world.loss, self.world.heard_of(one.worker_id)
        for beat in heard:
            if incarnation_of(beat) == one.incarnation:
                return Heard(known=True, beat=beat)
        for beat in heard:
            # Numbers come again when the log loses its tail: one from before the registration is of an earlier life.
            if incarnation_of(beat) > one.incarnation and beat.time >= one.registered_at:
                return Heard(known=True, newer=beat)
        if one.incarnation < loss.event_sequence:
            return Heard(known=True, presumed=RecordedHeartbeat(loss.through, loss.at, None))
        return Heard(known=one.registered_at >= self.beats_since)
