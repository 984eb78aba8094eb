"""The streams, with every setting written out."""

from typing import Any, NamedTuple

import msgspec

from events.bus import Bus
from events.errors import BrokerRefused
from events.identity import Id
from events.log import MESSAGE_BYTES_MAX
from events.objects import settings_of

STREAM_NOT_FOUND = 10059
NANOSECONDS = 1_000_000_000
MIB = 1024 * 1024
LEASES_BYTES_MAX = 16 * MIB


class Streams(msgspec.Struct, frozen=True, kw_only=True):
    """Names and sizes of one system's streams. Two systems share a broker under two namespaces."""

    namespace: Id = "resurgam"
    replicas: int = 1
    """On how many nodes of a cluster each message is kept; for streams that are yet to be made."""
    events_bytes_max: int = 4096 * MIB
    heartbeats_bytes_max: int = 512 * MIB
    snapshots_bytes_max: int = 512 * MIB

    @property
    def bytes_max(self) -> int:
        """Of all streams whose size may be set."""
        return self.events_bytes_max + self.heartbeats_bytes_max + self.snapshots_bytes_max

    @property
    def _prefix(self) -> str:
        return "" if self.namespace == "resurgam" else f"{self.namespace}-"

    @property
    def events(self) -> str:
        return f"{self._prefix}EVENTS"

    @property
    def heartbeats(self) -> str:
        return f"{self._prefix}HEARTBEATS"

    @property
    def leases(self) -> str:
        return f"{self._prefix}LEASES"

    @property
    def snapshots(self) -> str:
        """The object store that holds what leaders have folded. Its stream is called `OBJ_` and this."""
        return f"{self.namespace}-snapshots"

    def event_subject(self, tail: str) -> str:
        return f"{self.namespace}.event.{tail}"

    def heartbeat_subject(self, worker_id: str) -> str:
        return f"{self.namespace}.heartbeat.{worker_id}"

    @property
    def lease_subject(self) -> str:
        return f"{self.namespace}.lease.leader"

    @property
    def leader_subject(self) -> str:
        """The subject whose last sequence is the fencing token."""
        return self.event_subject("system.leader")

    def service_subject(self, service: str) -> str:
        """Where a service answers requests; no stream listens there."""
        return f"{self.namespace}.service.{service}"

    def configurations(self) -> list[dict[str, Any]]:
        common: dict[str, Any] = {
            "retention": "limits",
            "storage": "file",
            "num_replicas": self.replicas,
            "max_consumers": -1,
            "max_msgs": -1,
            "compression": "none",
            "allow_direct": True,
        }
        return [
            common
            | {
                "name": self.events,
                "description": "Every fact and decision, for ever",
                "subjects": [f"{self.namespace}.event.>"],
                "max_age": 0,
                "max_bytes": self.events_bytes_max,
                "max_msg_size": MESSAGE_BYTES_MAX,
                "max_msgs_per_subject": -1,
                # An explicit refusal instead of a silent loss, and instead of a full disk that freezes the stream.
                "discard": "new",
                "duplicate_window": 600 * NANOSECONDS,
                "deny_delete": True,
                "deny_purge": True,
                "allow_atomic": True,
            },
            common
            | {
                "name": self.heartbeats,
                "description": "Raw heartbeats, for a day",
                "subjects": [f"{self.namespace}.heartbeat.*"],
                "max_age": 24 * 3600 * NANOSECONDS,
                "max_bytes": self.heartbeats_bytes_max,
                "max_msg_size": MESSAGE_BYTES_MAX,
                "max_msgs_per_subject": -1,
                "discard": "old",
                "duplicate_window": 1 * NANOSECONDS,
                # A lost heartbeat is an ordinary thing; replicas and asynchronous writing exclude each other.
                **({"persist_mode": "async"} if self.replicas == 1 else {}),
            },
            common
            | {
                "name": self.leases,
                "description": "Who leads, for as long as it says so",
                "subjects": [self.lease_subject],
                "max_age": 0,
                "max_bytes": LEASES_BYTES_MAX,
                "max_msg_size": 4096,
                # With any other value the server raises the lease's TTL in silence.
                "max_msgs_per_subject": 1,
                "discard": "old",
                "duplicate_window": 1 * NANOSECONDS,
                "allow_msg_ttl": True,
                "deny_delete": True,
                "deny_purge": True,
            },
            common
            | {
                "description": "What leaders have folded of the log, to begin from",
                "max_age": 0,
                "max_bytes": self.snapshots_bytes_max,
                "max_msgs_per_subject": -1,
                "duplicate_window": 1 * NANOSECONDS,
                # One that is lost costs time: another one, or the whole log, is read instead.
                **({"persist_mode": "async"} if self.replicas == 1 else {}),
            }
            | settings_of(self.snapshots),
        ]


class Kept(NamedTuple):
    """How the broker keeps a stream."""

    stream: str
    replicas: int
    cluster: str
    """Its name; empty: the broker is a single server."""


class _Configuration(msgspec.Struct):
    num_replicas: int = 1


class _Cluster(msgspec.Struct):
    name: str = ""


class _Info(msgspec.Struct):
    config: _Configuration = msgspec.field(default_factory=_Configuration)
    cluster: _Cluster = msgspec.field(default_factory=_Cluster)


async def ensure_streams(bus: Bus, streams: Streams) -> list[Kept]:
    """Creates what is missing; leaves alone what exists, whose limits an operator may have changed.

    Raises:
        BrokerRefused: the server has no JetStream, no room for the limits, or too few nodes for the replicas.
        Unacknowledged: no answer, or the cluster has no leader at present.
    """
    kept = []
    for configuration in streams.configurations():
        name = configuration["name"]
        try:
            answer = await bus.api(f"STREAM.INFO.{name}")
        except BrokerRefused as refused:
            if refused.code != STREAM_NOT_FOUND:
                raise
            answer = await bus.api(f"STREAM.CREATE.{name}", configuration)
        info = msgspec.json.decode(answer, type=_Info)
        kept.append(Kept(name, info.config.num_replicas, info.cluster.name))
    return kept
