"""What is kept of gauges and of predictions: plain records, for `replay.invariants.foresight`."""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from events.worker import Heartbeat, RecordedHeartbeat

EVERY = 5
"""Heartbeats of a worker: one in so many is kept."""
KEPT_MAX = 40


class Reading(NamedTuple):
    sequence: int
    time: float
    left: dict[str, float]
    """By what runs out."""


@dataclass(slots=True)
class Gauges:
    """Of the newest incarnation heard of."""

    incarnation: int
    kept: deque[Reading] = field(default_factory=lambda: deque(maxlen=KEPT_MAX))
    last: Reading | None = None


@dataclass(slots=True)
class Open:
    """A prediction of which nobody knows yet whether it was right."""

    sequence: int
    incarnation: int
    value: float
    limit: float
    expected_at: float
    due_at: float
    remedy: str
    over: bool = False
    acted: bool = False
    failed: bool = False


@dataclass(slots=True)
class Trust:
    right: float = 0.0
    wrong: float = 0.0
    judged: int = 0
    acts: bool = True


def note_gauges(known: dict[str, Gauges], recorded: RecordedHeartbeat, heartbeat: Heartbeat) -> None:
    own = known.get(heartbeat.worker_id)
    if own is None or own.incarnation < heartbeat.incarnation:
        own = known[heartbeat.worker_id] = Gauges(heartbeat.incarnation)
    if own.incarnation == heartbeat.incarnation:
        own.last = Reading(recorded.sequence, recorded.time, _left(heartbeat))
        if heartbeat.beat % EVERY == 0:
            own.kept.append(own.last)


def _left(heartbeat: Heartbeat) -> dict[str, float]:
    found = {"memory": heartbeat.memory_available_bytes, "disk": heartbeat.disk_free_bytes}
    left = {name: float(value) for name, value in found.items() if value is not None}
    # How patient its supervisor is depends on the policy.
    return left | {"loop_lag": -heartbeat.loop_lag_s}


def copied(known: dict[str, Gauges]) -> dict[str, Gauges]:
    return {
        worker_id: Gauges(gauges.incarnation, gauges.kept.copy(), gauges.last) for worker_id, gauges in known.items()
    }
