"""When an attempt may start and which rung of the ladder it climbs: arithmetic, without state."""

import hashlib

from events.policy import Policy
from events.worker import FailureReason, Strategy

LADDER: dict[FailureReason, tuple[Strategy, ...]] = {
    # The process is gone for certain: waiting for it to come back would waste time.
    "worker_exit": ("restart",),
    "worker_hung": ("restart",),
    "stalled": ("restart",),
    # Its supervisor is gone as well: only whoever started that can start it again.
    "disconnected": ("await", "restart"),
    # It may be on the other side of a cut network; then it registers again by itself.
    "silence": ("await", "restart"),
    "no_first_heartbeat": ("await", "restart"),
    "synthetic": ("await", "restart"),
    "unknown": ("await", "restart"),
}
"""The rungs for each failure reason, first to last; the last one is tried again until the attempts are used up."""


def strategy_for(reason: FailureReason, attempt: int) -> Strategy:
    """The rung that attempt number `attempt` (from 1) climbs."""
    rungs = LADDER[reason]
    return rungs[min(attempt, len(rungs)) - 1]


def backoff_s(policy: Policy, recent: int, key: str) -> float:
    """Seconds before the next attempt, after `recent` attempts within the window.

    The first goes at once. Then exponential backoff with full jitter, as in Marc Brooker, "Exponential Backoff And
    Jitter" (AWS Architecture Blog, 2015), capped at `recovery_interval`; the random number is a hash of `key`, so
    that a replay waits the same time.
    """
    if recent == 0:
        return 0.0
    ceiling = min(policy.recovery_interval, policy.recovery_backoff * 2.0 ** min(recent - 1, 60))
    return ceiling * unit_hash(key)


def unit_hash(key: str) -> float:
    """A number in [0, 1) that looks random and is the same for the same key on every machine."""
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)
