"""The policy: every number the recovery core decides by, with its default, its unit and its limits.

A policy is data. It travels in `PolicyChanged` events, so a fold of the log always knows the rules of its time.
"""

import hashlib
from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from events.failures import ESCALATE, LADDERS, FailureReason, StrategyName, StrategyOrder

Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Share = Annotated[float, Meta(gt=0, le=1)]
Phi = Annotated[float, Meta(ge=1, le=100)]
"""-log10 of the probability that a worker which lives is silent for so long."""
WorkerPattern = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_*?-]{1,64}$")]

LauncherName = Annotated[str, Meta(pattern=r"^([a-z][a-z0-9_-]{0,31})?$")]
"""Empty: there is none."""
Ladder = Annotated[tuple[StrategyName, ...], Meta(min_length=1, max_length=16)]

DetectorName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
"""`phi`, `deadline`, or one that is installed as a plugin."""

THRESHOLDS = ("suspect_after", "self_fence_after", "failed_after", "first_heartbeat_timeout", "detector")
"""What may differ from worker to worker."""


class Override(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Other thresholds for some of the workers: those whose id fits `worker`, where `*` stands for any characters and
    `?` for one, and that have all of `labels`."""

    worker: WorkerPattern = "*"
    labels: dict[str, str] = {}
    suspect_after: Seconds | None = None
    self_fence_after: Seconds | None = None
    failed_after: Seconds | None = None
    first_heartbeat_timeout: Seconds | None = None
    detector: DetectorName | None = None


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Validated where it is built: a policy whose settings contradict each other cannot exist.

    Raises:
        ValueError: two settings contradict each other; the message names both, their values and the way out.
    """

    # Switches
    auto_recovery: bool = True
    enable_proactive_recovery: bool = True
    """Whether anything is done about a worker that is about to fail. That it is gets recorded and judged either way."""

    # Detection, seconds
    heartbeat_interval: Seconds = 2.0
    suspect_after: Seconds = 6.0
    self_fence_after: Seconds = 12.0
    failed_after: Seconds = 15.0
    first_heartbeat_timeout: Seconds = 30.0
    """Never less than `failed_after`: a worker may be given tasks before its first heartbeat."""
    watchdog_after: Seconds = 2.0
    reconnect_grace: Seconds = 1.0
    heartbeat_rate_max: Annotated[float, Meta(gt=0, le=1_000_000)] = 2000.0
    """Heartbeats a second, over all workers: a larger farm beats more slowly, and everything that counts silence waits
    longer by the same factor."""

    # How silence is judged
    detector: DetectorName = "phi"
    phi_suspect: Phi = 8.0
    phi_failed: Phi = 12.0
    phi_deviation_min: Annotated[float, Meta(gt=0, le=10)] = 0.1
    """In heartbeat intervals: however regular a worker has been, its beats are taken to scatter by that much."""
    phi_pause: Annotated[float, Meta(ge=0, le=100)] = 1.0
    """In heartbeat intervals: a pause that is nothing unusual for anybody."""
    phi_patience_max: Annotated[float, Meta(ge=1, le=100)] = 2.0
    """However irregular a worker has been, it is failed after this many times `failed_after`."""
    overrides: Annotated[tuple[Override, ...], Meta(max_length=100)] = ()
    """The first that fits a worker counts."""

    # Workers that beat and are of no use, and tasks that do not end
    assignment_start_deadline: Seconds = 10.0
    """For a worker with a free slot to start what it was given."""
    revocation_grace: Seconds = 5.0
    """For a worker to answer an order to stop a task or to hand it back."""
    task_hang_grace: Seconds = 5.0
    """Beyond a task's own time limit, which its worker enforces."""
    task_hang_cap: Seconds = 21_600.0
    """For a task without a time limit. Six hours, after which GitHub Actions ends a job."""
    fail_fast_tasks: Annotated[int, Meta(ge=2, le=1000)] = 5
    """So many in a row that fail at once on one worker, and nowhere else, speak against the worker."""
    fail_fast_within: Seconds = 1.0
    """What failing at once means."""
    fail_fast_judgement: Seconds = 60.0
    """For other workers to show that such work passes elsewhere: one that nobody speaks against gets work again."""

    # What is foreseen of workers
    forecast_horizon: Seconds = 180.0
    """A worker that will have run out of something by then is about to fail."""
    forecast_samples: Annotated[int, Meta(ge=6, le=20)] = 12
    """Of five heartbeats each: for so long a trend must have gone on, without a break."""
    forecast_change_min: Share = 0.1
    """Of what was left, so much at least must have gone while it was watched."""
    forecast_cooldown: Seconds = 600.0
    """For so long after a prediction the same is not said of that worker again."""
    forecast_precision_min: Annotated[float, Meta(ge=0, le=1)] = 0.5
    """The share of right predictions below which those of a kind are not acted on any more."""
    forecast_judged_min: Annotated[int, Meta(ge=1, le=1000)] = 5
    """Predictions of a kind that must have been judged before that share counts."""

    # Recovery of workers
    max_recovery_attempts: Annotated[int, Meta(ge=1, le=1000)] = 5
    recovery_attempts_window: Seconds = 600.0
    recovery_interval: Seconds = 60.0
    recovery_backoff: Seconds = 1.0
    recovery_attempt_timeout: Seconds = 30.0
    attempts_reset_after: Seconds = 600.0
    ladders: dict[FailureReason, Ladder] = {}
    """What is tried against a failure for that reason, one rung an attempt; the last one again until the attempts are
    used up. A reason that is not named keeps `events.failures.LADDERS`."""
    strategy_order: StrategyOrder = "ladder"
    """Whether the rungs are climbed as they stand, or the one with the best record first (`recovery.record`)."""
    launcher: LauncherName = ""
    """What starts another process for a worker, under the strategy `replace`."""

    # How much is repaired at once, and when no more is tried
    repairs_share: Share = 0.1
    """Of the expected workers, and one at least: so many may be under repair at once."""
    breaker_share: Share = 0.4
    """Of the workers that were to be brought back within `breaker_window`: if the last attempt failed at so many, and
    at `breaker_failures` at least, no attempt begins for a while."""
    breaker_failures: Annotated[int, Meta(ge=1, le=1_000_000)] = 3
    breaker_window: Seconds = 60.0
    breaker_open: Seconds = 30.0
    """Before a single attempt may show whether things are better; twice as long after each that fails."""
    breaker_open_max: Seconds = 600.0

    # Workers that fail and come back again and again
    flap_failures: Annotated[int, Meta(ge=2, le=1000)] = 3
    """So many failures within `flap_window`, each with a good recovery, and the worker is cordoned."""
    flap_window: Seconds = 600.0
    flap_cordon: Seconds = 300.0
    """The first time; each further one lasts twice as long."""
    flap_cordon_max: Seconds = 3600.0
    """The longest. A worker that has gone as long without another one begins with the first again."""

    # Recovery of tasks
    infrastructure_retries: Count = 3
    verdict_retries: Count = 0
    poison_deaths: Annotated[int, Meta(ge=1, le=1000)] = 2
    """So many workers, or processes of theirs, may die under a task before it has to run alone."""
    quarantine_ttl: Seconds = 604_800.0
    """For so long the same work is not run again that has been quarantined. A week."""
    stranded_after: Seconds = 10.0
    """Without a worker, there or expected, that has the labels which a waiting task requires, the log says so."""
    priority_ageing: Seconds = 300.0
    """Of waiting weigh as much as one step of priority, so that nothing waits for ever."""
    requeue_rate: Annotated[float, Meta(gt=0, le=100_000)] = 50.0
    """Tasks of failed workers a second, once `requeue_burst` of them have been put back."""
    requeue_burst: Annotated[int, Meta(ge=1, le=1_000_000)] = 500
    """At once. More than one worker holds, so that the death of one is not slowed."""

    # Handing out work ahead of its time: as many tasks a slot as fill `ahead`, never more than `tasks_ahead_max`
    ahead: Seconds = 0.25
    tasks_ahead_max: Annotated[int, Meta(ge=0, le=100)] = 32

    # System status, shares of the expected workers
    degraded_below: Share = 0.8
    critical_below: Share = 0.5
    queue_stalled_after: Seconds = 60.0
    """Work has waited for so long while nothing moved, though workers are expected that could do it."""
    mass_loss_within: Seconds = 10.0
    """Workers that were lost within this time of each other, and left the system critical, were lost in one go: what
    that costs is charged to no budget."""

    def __post_init__(self) -> None:
        for where, suspect_after, self_fence_after, failed_after, first_heartbeat_timeout in self._thresholds():
            beats = self.heartbeat_interval * 3
            if beats > suspect_after * (1 + 1e-9):
                # Two lost beats in a row are an ordinary day of a network.
                raise ValueError(
                    f"{where}heartbeat_interval {self.heartbeat_interval:g} s is too long for suspect_after "
                    f"{suspect_after:g} s: three beats must fit; set suspect_after to at least {beats:g}"
                )
            if not suspect_after < self_fence_after < failed_after:
                # A worker must have stopped its own tasks before they may start elsewhere.
                raise ValueError(
                    f"{where}suspect_after {suspect_after:g} s < self_fence_after {self_fence_after:g} s < "
                    f"failed_after {failed_after:g} s does not hold: a silent worker must stop its own tasks "
                    f"before they are given away"
                )
            if first_heartbeat_timeout < self.heartbeat_interval:
                raise ValueError(
                    f"{where}first_heartbeat_timeout {first_heartbeat_timeout:g} s is shorter than heartbeat_interval "
                    f"{self.heartbeat_interval:g} s: no worker could ever join"
                )
        for number, override in enumerate(self.overrides, 1):
            if all(getattr(override, name) is None for name in THRESHOLDS):
                raise ValueError(f"overrides: table {number} changes nothing; it takes {', '.join(THRESHOLDS)}")
        if self.phi_suspect > self.phi_failed:
            raise ValueError(
                f"phi_suspect {self.phi_suspect:g} is above phi_failed {self.phi_failed:g}: a worker is suspected "
                f"before it is failed"
            )
        if self.critical_below > self.degraded_below:
            raise ValueError(
                f"critical_below {self.critical_below:g} is above degraded_below {self.degraded_below:g}: "
                f"a system is degraded before it is critical"
            )
        if self.breaker_open > self.breaker_open_max:
            raise ValueError(
                f"breaker_open {self.breaker_open:g} s is longer than the longest, breaker_open_max "
                f"{self.breaker_open_max:g} s"
            )
        if self.flap_cordon > self.flap_cordon_max:
            raise ValueError(
                f"flap_cordon {self.flap_cordon:g} s is longer than the longest, flap_cordon_max "
                f"{self.flap_cordon_max:g} s"
            )
        if self.recovery_backoff > self.recovery_interval:
            raise ValueError(
                f"recovery_backoff {self.recovery_backoff:g} s is longer than its cap, recovery_interval "
                f"{self.recovery_interval:g} s"
            )

        for reason, rungs in self.ladders.items():
            if ESCALATE in rungs:
                raise ValueError(
                    f"ladders: {reason} names {ESCALATE}, which is what follows when max_recovery_attempts "
                    f"{self.max_recovery_attempts} are used up: leave it out"
                )

    def ladder(self, reason: FailureReason) -> tuple[StrategyName, ...]:
        """The rungs against a failure, first to last."""
        return self.ladders.get(reason) or LADDERS[reason]

    def silences(self, one: Override | None = None) -> tuple[float, float, float, float]:
        """`suspect_after`, `self_fence_after`, `failed_after` and `first_heartbeat_timeout`, each as the override says
        or, where it does not, as for everybody."""
        if one is None:
            return self.suspect_after, self.self_fence_after, self.failed_after, self.first_heartbeat_timeout
        return (
            self.suspect_after if one.suspect_after is None else one.suspect_after,
            self.self_fence_after if one.self_fence_after is None else one.self_fence_after,
            self.failed_after if one.failed_after is None else one.failed_after,
            self.first_heartbeat_timeout if one.first_heartbeat_timeout is None else one.first_heartbeat_timeout,
        )

    def _thresholds(self) -> Iterator[tuple[str, float, float, float, float]]:
        """All sets of thresholds, each with the words that say whose they are."""
        yield "", *self.silences()
        for number, one in enumerate(self.overrides, 1):
            yield f"overrides: with table {number}, ", *self.silences(one)


def policy_hash(policy: Policy) -> str:
    """The first 16 hex digits of SHA-256 over the policy's JSON with fields in order of definition."""
    return hashlib.sha256(msgspec.json.encode(policy)).hexdigest()[:16]
