"""How fast the tasks of failed workers are put back: a bucket of tokens, kept as one time.

The generic cell rate algorithm in its form as virtual scheduling (ITU-T I.371, annex A): `until` is when all that has
been put back would have been, at exactly the rate; whoever comes no earlier than the whole burst before that conforms.
It says when the next one may go with the very number that this is compared with, so nobody wakes up a moment too early.
"""

from events.policy import Policy


def open_at(policy: Policy, until: float) -> float:
    """When the next one may go."""
    return until - (policy.requeue_burst - 1) / policy.requeue_rate


def charged(policy: Policy, until: float, now: float) -> float:
    """`until` after one more at `now`."""
    return max(until, now) + 1.0 / policy.requeue_rate


def dated(policy: Policy, until: float, now: float) -> float:
    """`until` under another policy, or behind a clock that may have been set back: as if the whole burst had gone just
    now, at the most."""
    return min(until, now + policy.requeue_burst / policy.requeue_rate)
