"""What the sequences and times of an encoded world are relative to, and how much of a time anybody can tell apart."""

from typing import NamedTuple

from tests.simulation.exhaustive.ranks import Ranks
from tests.simulation.exhaustive.world import POLICIES

SILENCE_MIN = min(min(policy.suspect_after, policy.failed_after, policy.first_heartbeat_timeout) for policy in POLICIES)
AGE_MAX = int(
    max(
        max(policy.suspect_after, policy.failed_after, policy.first_heartbeat_timeout, policy.attempts_reset_after)
        for policy in POLICIES
    )
)
"""The largest threshold that an age is compared with, in seconds."""
PAST_MAX = 100_000
"""No search goes on for so long without a decision."""
NEAR = 500
"""Whatever lies further ahead is from before a clock was set back, and no search comes to it again."""
FAR = 1_000_000


class Frame(NamedTuple):
    ranks: Ranks
    now: float
    alone: bool
    """Nobody holds another view of this log, nor decisions made on one, that may remember what is forgotten here."""
    blunt: bool = False
    """What is overdue is overdue, for however long."""
    lost: int = 0
    """Stands in for heartbeats that are lost, if that can still matter."""
    turned: int = 0
    """The event with which the present thresholds came, if it can still matter who has heard of it."""
    lossy: bool = False
    """Of a fold that knows of a loss of heartbeats that the log does not say yet: nothing is decided on it before, and
    then what it makes of silences begins anew."""

    def known_beat(self, worker_id: str, sequence: int) -> int:
        """The rank of a heartbeat that something rests on; it may be what stands in for it."""
        return self.ranks.beat_mark(sequence) if sequence == self.lost else self.ranks.beat(worker_id, sequence)

    def age(self, moment: float, most: int = PAST_MAX) -> int:
        age = int(self.now - moment)
        return -FAR if age < -NEAR else min(AGE_MAX if self.blunt else PAST_MAX, most, age)

    def until(self, moment: float) -> int:
        wait = int(moment - self.now)
        return FAR if wait > NEAR else max(0 if self.blunt else -PAST_MAX, wait)
