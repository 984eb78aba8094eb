"""The policy: every number the recovery core decides by, with its default, its unit and its limits.

A policy is data. It travels in `PolicyChanged` events, so a fold of the log always knows the rules of its time.
"""

import hashlib
from typing import Annotated

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Share = Annotated[float, Meta(gt=0, le=1)]


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Validated where it is built: a policy whose settings contradict each other cannot exist.

    Raises:
        ValueError: two settings contradict each other; the message names both, their values and the way out.
    """

    # Switches
    auto_recovery: bool = True
    enable_proactive_recovery: bool = True
    """Recorded and handed on; no rule reads it yet."""

    # Detection, seconds
    heartbeat_interval: Seconds = 2.0
    suspect_after: Seconds = 6.0
    self_fence_after: Seconds = 12.0
    failed_after: Seconds = 15.0
    first_heartbeat_timeout: Seconds = 30.0
    watchdog_after: Seconds = 2.0
    reconnect_grace: Seconds = 1.0

    # Recovery of workers
    max_recovery_attempts: Annotated[int, Meta(ge=1, le=1000)] = 5
    recovery_attempts_window: Seconds = 600.0
    recovery_interval: Seconds = 60.0
    recovery_backoff: Seconds = 1.0
    recovery_attempt_timeout: Seconds = 30.0
    attempts_reset_after: Seconds = 600.0

    # Recovery of tasks
    infrastructure_retries: Count = 3
    verdict_retries: Count = 0

    # Handing out work ahead of its time: as many tasks a slot as fill `ahead`, never more than `tasks_ahead_max`
    ahead: Seconds = 0.25
    tasks_ahead_max: Annotated[int, Meta(ge=0, le=100)] = 32

    # System status, shares of the expected workers
    degraded_below: Share = 0.8
    critical_below: Share = 0.5

    def __post_init__(self) -> None:
        beats = self.heartbeat_interval * 3
        if beats > self.suspect_after * (1 + 1e-9):
            # Two lost beats in a row are an ordinary day of a network.
            raise ValueError(
                f"heartbeat_interval {self.heartbeat_interval:g} s is too long for suspect_after "
                f"{self.suspect_after:g} s: three beats must fit; set suspect_after to at least {beats:g}"
            )
        if not self.suspect_after < self.self_fence_after < self.failed_after:
            # A worker must have stopped its own tasks before they may start elsewhere.
            raise ValueError(
                f"suspect_after {self.suspect_after:g} s < self_fence_after {self.self_fence_after:g} s < "
                f"failed_after {self.failed_after:g} s does not hold: a silent worker must stop its own tasks "
                f"before they are given away"
            )
        if self.first_heartbeat_timeout < self.heartbeat_interval:
            raise ValueError(
                f"first_heartbeat_timeout {self.first_heartbeat_timeout:g} s is shorter than heartbeat_interval "
                f"{self.heartbeat_interval:g} s: no worker could ever join"
            )
        if self.critical_below > self.degraded_below:
            raise ValueError(
                f"critical_below {self.critical_below:g} is above degraded_below {self.degraded_below:g}: "
                f"a system is degraded before it is critical"
            )
        if self.recovery_backoff > self.recovery_interval:
            raise ValueError(
                f"recovery_backoff {self.recovery_backoff:g} s is longer than its cap, recovery_interval "
                f"{self.recovery_interval:g} s"
            )


def policy_hash(policy: Policy) -> str:
    """The first 16 hex digits of SHA-256 over the policy's JSON with fields in order of definition."""
    return hashlib.sha256(msgspec.json.encode(policy)).hexdigest()[:16]
