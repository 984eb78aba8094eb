"""When an attempt may start: arithmetic, without state."""

import hashlib

from events.policy import Policy


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
