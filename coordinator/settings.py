"""What can be set about the service, with a sentence on each setting; the policy's fields are described too."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from events.identity import Id
from events.policy import Policy

Port = Annotated[int, Meta(ge=0, le=65_535)]
Replicas = Annotated[int, Meta(ge=1, le=5)]
"""Five is JetStream's limit."""


class ServiceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table [coordinator] of a configuration file."""

    db_path: str = "./benchmark_db.duckdb"
    host: str = "127.0.0.1"
    port: Port = 8080
    nats_url: str | None = None
    replicas: Replicas | None = None
    namespace: Id = "resurgam"
    state_dir: str = ".resurgam"
    coordinator_id: Id | None = None
    broker_sync: Literal["always", "default"] = "always"
    snapshot_events: Annotated[int, Meta(ge=0)] = 20_000


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a coordinator is started with."""

    service: ServiceSettings = ServiceSettings()
    policy: Policy = Policy()
    http: bool = True
    """False inside `resurgam run`, which has nobody to answer."""

    @property
    def state_dir(self) -> Path:
        return Path(self.service.state_dir)


SERVICE_HELP = {
    "db_path": "The DuckDB file that holds the history tables.",
    "host": "The address that HTTP listens on.",
    "port": "The port that HTTP listens on; 0 takes any free one.",
    "nats_url": "A broker that runs already, or all nodes of a cluster; without it the coordinator starts its own.",
    "replicas": "On how many nodes of a cluster each stream is kept; without it new streams are kept on one.",
    "namespace": "The first token of every subject: two systems share a broker under two namespaces.",
    "state_dir": "The folder of the embedded broker's store and of endpoint.json.",
    "coordinator_id": "The name of this coordinator; made from the host name when not given.",
    "broker_sync": "Whether the embedded broker syncs each append to disk: always, or default (every 2 minutes).",
    "snapshot_events": "After how many events the leader writes down what it has folded; 0: never.",
}

POLICY_HELP = {
    "auto_recovery": "Off: failures are detected and recorded, and no action is taken.",
    "enable_proactive_recovery": "Whether a worker that is about to fail is drained and started anew; off: only said.",
    "heartbeat_interval": "How often a worker beats.",
    "suspect_after": "Silence after which a worker gets no new work; three beats must fit.",
    "self_fence_after": "Time without an acknowledged beat after which a worker stops its own tasks.",
    "failed_after": "Silence after which a worker counts as failed and its tasks go elsewhere.",
    "first_heartbeat_timeout": "How long after its registration a worker's first beat may take.",
    "watchdog_after": "How long an agent may leave its supervisor unanswered before it is killed.",
    "reconnect_grace": "How long a worker may be without a connection before it is suspect.",
    "heartbeat_rate_max": "Heartbeats a second, over all workers; beyond it all beat, and are judged, more slowly.",
    "detector": "What judges silence: deadline (fixed), phi (patient with workers that beat irregularly), or a plugin.",
    "phi_suspect": "phi: how unlikely the silence of a live worker must be for a suspicion: 10 to the minus this.",
    "phi_failed": "phi: the same for a failure, which never comes before failed_after.",
    "phi_deviation_min": "phi: the least scatter that is assumed of heartbeats, in intervals.",
    "phi_pause": "phi: a pause that is forgiven to everybody, in intervals.",
    "phi_patience_max": "phi: nobody is failed later than after this many times failed_after.",
    "overrides": "Other thresholds for workers by id (a pattern with * and ?) and labels; the first that fits counts.",
    "assignment_start_deadline": "For a worker with a free slot to start what it was given; else it is taken back.",
    "revocation_grace": "For a worker to answer an order to stop a task or to hand it back; else it is stalled.",
    "task_hang_grace": "How far beyond its own time limit a task may run before it counts as hung.",
    "task_hang_cap": "How long a task without a time limit may run before it counts as hung.",
    "fail_fast_tasks": "So many tasks in a row that fail at once on one worker and nowhere else speak against it.",
    "fail_fast_within": "What failing at once means.",
    "fail_fast_judgement": "How long such a worker waits for others to show whether it is at fault or the work.",
    "forecast_horizon": "How far ahead a failure is foreseen.",
    "forecast_samples": "For how many samples, of five heartbeats each, a trend must have gone on.",
    "forecast_change_min": "The share of what was left that must have gone meanwhile.",
    "forecast_cooldown": "For how long the same is not said of a worker again, and none is started anew for it again.",
    "forecast_precision_min": "The share of right predictions below which those of a kind are only said, not acted on.",
    "forecast_judged_min": "How many predictions of a kind must have been judged before that share counts.",
    "max_recovery_attempts": "Attempts to bring one worker back within recovery_attempts_window.",
    "recovery_attempts_window": "The sliding window in which attempts are counted.",
    "recovery_interval": "The longest pause between two attempts.",
    "recovery_backoff": "The pause before the second attempt; it doubles, with jitter, up to recovery_interval.",
    "recovery_attempt_timeout": "How long one attempt may take.",
    "attempts_reset_after": "A worker that has been up this long starts with a fresh count of attempts.",
    "ladders": "What is tried against which failure, one strategy an attempt, instead of the built-in order.",
    "strategy_order": "Whether strategies are tried as they stand (ladder), or the one with the best record first.",
    "launcher": "What starts another process under the strategy 'replace': 'local', a plugin, or nothing.",
    "repairs_share": "The share of the expected workers that may be under repair at once; one at least.",
    "breaker_share": "So large a share of workers that could not be brought back lately opens the breaker ...",
    "breaker_failures": "... if it is so many workers at least: then no attempt begins for a while.",
    "breaker_window": "What lately means.",
    "breaker_open": "How long the breaker stays open before one attempt is let through; doubles if that fails.",
    "breaker_open_max": "The longest that it stays open before the next attempt is let through.",
    "flap_failures": "So many failures within flap_window, each with a good recovery, and a worker is cordoned.",
    "flap_window": "The sliding window in which such failures are counted.",
    "flap_cordon": "How long a flapping worker gets no new work, the first time; then twice as long each time.",
    "flap_cordon_max": "The longest such time; a worker that goes as long without begins anew.",
    "infrastructure_retries": "How often a task is run again because its worker died.",
    "verdict_retries": "How often a task is run again because it failed.",
    "poison_deaths": "Workers that may die under a task; then it runs alone, and if one more dies it is quarantined.",
    "quarantine_ttl": "How long work that was quarantined is not run again.",
    "stranded_after": "How long nobody may have the labels that a waiting task requires before the log says so.",
    "priority_ageing": "Seconds of waiting that weigh as much as one step of priority.",
    "requeue_rate": "Tasks of failed workers that are put back a second, beyond a burst.",
    "requeue_burst": "Tasks of failed workers that are put back at once, before the rate counts.",
    "ahead": "Work handed out ahead of its time: as many tasks a slot as fill this long.",
    "tasks_ahead_max": "The most tasks that are handed out ahead of their time for each slot.",
    "degraded_below": "The share of live workers below which the system is degraded.",
    "critical_below": "The share of live workers below which the system is critical and an incident opens.",
    "queue_stalled_after": "Work waits, workers are expected, and nothing has moved for so long: an incident opens.",
    "mass_loss_within": "Workers lost so close together, and leaving it critical, cost no task and no worker a retry.",
}
