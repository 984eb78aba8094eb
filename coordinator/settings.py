"""What can be set about the service, with a sentence on each setting; the policy's fields are described too."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from events.identity import Id
from events.policy import Policy

Port = Annotated[int, Meta(ge=0, le=65_535)]


class ServiceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table [coordinator] of a configuration file."""

    db_path: str = "./benchmark_db.duckdb"
    host: str = "127.0.0.1"
    port: Port = 8080
    nats_url: str | None = None
    namespace: Id = "resurgam"
    state_dir: str = ".resurgam"
    coordinator_id: Id | None = None
    broker_sync: Literal["always", "default"] = "always"


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
    "nats_url": "A broker that runs already; without it the coordinator starts one of its own.",
    "namespace": "The first token of every subject: two systems share a broker under two namespaces.",
    "state_dir": "The folder of the embedded broker's store and of endpoint.json.",
    "coordinator_id": "The name of this coordinator; made from the host name when not given.",
    "broker_sync": "Whether the embedded broker syncs each append to disk: always, or default (every 2 minutes).",
}

POLICY_HELP = {
    "auto_recovery": "Off: failures are detected and recorded, and no action is taken.",
    "enable_proactive_recovery": "Recorded and handed on; no rule reads it yet.",
    "heartbeat_interval": "How often a worker beats.",
    "suspect_after": "Silence after which a worker gets no new work; three beats must fit.",
    "self_fence_after": "Time without an acknowledged beat after which a worker stops its own tasks.",
    "failed_after": "Silence after which a worker counts as failed and its tasks go elsewhere.",
    "first_heartbeat_timeout": "How long after its registration a worker's first beat may take.",
    "watchdog_after": "How long an agent may leave its supervisor unanswered before it is killed.",
    "reconnect_grace": "How long a worker may be without a connection before it is suspect.",
    "max_recovery_attempts": "Attempts to bring one worker back within recovery_attempts_window.",
    "recovery_attempts_window": "The sliding window in which attempts are counted.",
    "recovery_interval": "The longest pause between two attempts.",
    "recovery_backoff": "The pause before the second attempt; it doubles, with jitter, up to recovery_interval.",
    "recovery_attempt_timeout": "How long one attempt may take.",
    "attempts_reset_after": "A worker that has been up this long starts with a fresh count of attempts.",
    "infrastructure_retries": "How often a task is run again because its worker died.",
    "verdict_retries": "How often a task is run again because it failed.",
    "ahead": "Work handed out ahead of its time: as many tasks a slot as fill this long.",
    "tasks_ahead_max": "The most tasks that are handed out ahead of their time for each slot.",
    "degraded_below": "The share of live workers below which the system is degraded.",
    "critical_below": "The share of live workers below which the system is critical and an incident opens.",
}
