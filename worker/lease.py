"""How long a worker may rely on being taken for alive. Pure: time comes in, on a clock that goes on in sleep.

A heartbeat is an offer: from the moment at which it was sent, its sender counts its own silence by the rules that the
heartbeat names. The leader judges whoever sent it by those rules, or by more patient ones, and counts from when it was
stored, which is later. So it holds, for every heartbeat by itself: **the fence that it promises falls before anybody
draws conclusions from the silence behind it.**

A worker cannot know which of its heartbeats is the last that was stored: the last one acknowledged, or any sent since
then whose acknowledgement was lost. It keeps the promises of all of these. As they are sent one after the other, that
is: what the last acknowledged one promised, or less if one sent since then promises less.

* **Shorter rules** are in force from the moment at which the first heartbeat that names them is sent, and not before:
  nobody can have heard that the worker knows of them.
* **Longer rules** are in force once a heartbeat that names them was acknowledged, and not before: the leader that
  judges may not have read them yet, or the heartbeat may not have arrived.
* A worker that is cut off in the midst of a change lives by either, and has fenced itself by the earlier of the two.
  The leader, to which its last heartbeat names the old rules, waits by the more patient of the two.
* A new agent has promised nothing yet, may do nothing before its first heartbeat was acknowledged, and begins with the
  rules that were recorded when it had registered.
* A broker that comes back without its last events may have lost the rules themselves. Whoever had read them finds his
  place in the log gone, stops what it runs, and begins anew with what is recorded now.

It is a lease in the sense of C. Gray and D. Cheriton, "Leases: an efficient fault-tolerant mechanism for distributed
file cache consistency" (1989), whose term may change while it is held.
"""

from typing import NamedTuple

from events.thresholds import Thresholds

BEGIN_WITHIN_BEATS = 1.5
"""Nothing is started once the last acknowledged heartbeat is older than this many intervals."""


NEVER = float("-inf")


class Deadlines(NamedTuple):
    """Until when, on the worker's clock."""

    begin: float
    """Something may be started."""
    sure: float
    """Nobody else can have given this worker up by its silence, nor even suspected it."""
    keep: float
    """A keeper may keep its task, whatever becomes of the agent. One that was started by `begin`, and counts from its
    start as long as there was to `keep` when its agent last told it, is done before `failed_after`, too."""
    fence: float
    """The agent may let its tasks run."""


def keep_s(thresholds: Thresholds) -> float:
    """How long after a heartbeat was sent keepers may keep their tasks."""
    latest_s = thresholds.failed_after - BEGIN_WITHIN_BEATS * thresholds.heartbeat_interval
    return min(thresholds.self_fence_after, latest_s)


def promised(sent_at: float, thresholds: Thresholds) -> Deadlines:
    """By a heartbeat that names these rules."""
    return Deadlines(
        begin=sent_at + BEGIN_WITHIN_BEATS * thresholds.heartbeat_interval,
        sure=sent_at + thresholds.suspect_after,
        keep=sent_at + keep_s(thresholds),
        fence=sent_at + thresholds.self_fence_after,
    )


class Lease:
    """Of one incarnation, from its registration on."""

    def __init__(self, registered_at: float, thresholds: Thresholds) -> None:
        self.until = promised(registered_at, thresholds)._replace(begin=NEVER, keep=NEVER)
        self._keep_s = keep_s(thresholds)
        """The least of all that are still to be kept."""
        self._offered = registered_at, thresholds

    def offer(self, sent_at: float, thresholds: Thresholds) -> bool:
        """A heartbeat is about to be sent. True: it promises to keep tasks for less long than what was promised before,
        so keepers have to hear of it first."""
        self._offered = sent_at, thresholds
        self.until = Deadlines(*map(min, self.until, promised(sent_at, thresholds)))
        before, self._keep_s = self._keep_s, min(self._keep_s, keep_s(thresholds))
        return self._keep_s < before

    def take(self) -> None:
        """The last one that was offered is acknowledged."""
        sent_at, thresholds = self._offered
        self.until = promised(sent_at, thresholds)
        self._keep_s = keep_s(thresholds)
