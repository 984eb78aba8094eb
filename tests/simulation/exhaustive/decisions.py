"""Decisions that are made and not yet appended, as plain tuples and back.

Only what `evolve` and the ledger read of them is kept: causes, texts and measured durations are for people.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from events.base import Event
from events.clock import seconds, utc
from events.system import (
    DetectorDegraded,
    EventParked,
    SystemRecoveryCompleted,
    SystemRecoveryStaged,
    SystemRecoveryStarted,
    SystemStatusChanged,
    WatchContinued,
)
from events.task import TaskAssigned, TaskCompleted, TaskRequeued, TaskRevoked
from events.worker import (
    Evidence,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerRecoveryFailed,
    WorkerRecoveryProbed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRecoverySuperseded,
    WorkerRetired,
    WorkerStalled,
    WorkerStallRefuted,
    WorkerSuspected,
    WorkerSuspicionRefuted,
)
from tests.simulation.exhaustive.frames import Frame
from tests.simulation.exhaustive.world import BEGIN, RUN, WORK, WORKERS


class Shape(NamedTuple):
    kind: type[Event]
    fields: tuple[str, ...]
    """The fields that matter, `incarnation` behind `worker_id`."""
    rest: dict[str, Any]
    """What stands in for the others."""


_HOW: dict[str, Any] = {"strategy": "restart"}
_WHERE: dict[str, Any] = {"incarnation": 1, "strategy": "restart"}
SHAPES = (
    Shape(WorkerSuspected, ("worker_id", "incarnation", "evidence"), {}),
    Shape(WorkerSuspicionRefuted, ("worker_id", "incarnation"), {"evidence": Evidence()}),
    Shape(WorkerStalled, ("worker_id", "incarnation", "cause", "restart"), {}),
    Shape(WorkerStallRefuted, ("worker_id", "incarnation"), {"reason": "none"}),
    Shape(WorkerFailed, ("worker_id", "incarnation", "reason"), {}),
    Shape(WorkerRetired, ("worker_id", "incarnation"), {}),
    Shape(WorkerPermanentlyFailed, ("worker_id", "attempts"), {}),
    Shape(WorkerRecoveryScheduled, ("worker_id", "incarnation", "attempt", "strategy", "not_before"), {}),
    Shape(WorkerRecoveryStarted, ("worker_id", "incarnation", "attempt", "deadline"), _HOW),
    Shape(WorkerRecoveryProbed, ("worker_id", "incarnation", "attempt"), {}),
    Shape(WorkerRecoverySucceeded, ("worker_id", "incarnation", "attempt"), {"duration_s": 0.0, **_HOW}),
    Shape(WorkerRecoveryFailed, ("worker_id", "attempt"), {"error": "it failed", **_WHERE}),
    Shape(WorkerRecoverySuperseded, ("worker_id", "attempt"), {"reason": "none", **_WHERE}),
    Shape(TaskAssigned, ("worker_id", "incarnation", "task_id", "attempt"), {"work": WORK}),
    Shape(TaskRevoked, ("worker_id", "incarnation", "task_id", "attempt"), {}),
    Shape(TaskRequeued, ("task_id", "attempt", "worker_id", "budget", "reason"), {}),
    Shape(TaskCompleted, ("task_id", "verdict", "attempt"), {"run_id": RUN}),
    Shape(SystemStatusChanged, ("status",), {"previous": "idle", "workers_live": 0, "workers_expected": 0}),
    Shape(SystemRecoveryStaged, ("incident_id", "stage", "workers"), {}),
    Shape(SystemRecoveryStarted, ("incident_kind", "incident_id"), {"status": "critical"}),
    Shape(
        SystemRecoveryCompleted,
        ("incident_kind", "incident_id"),
        {"status": "healthy", "success": True, "duration_s": 0.0},
    ),
    Shape(DetectorDegraded, ("reason", "heartbeats_sequence"), {"extent_s": 0.0}),
    Shape(WatchContinued, ("since",), {"witness": WORKERS[0], "heartbeat_sequence": 1}),
    Shape(EventParked, ("sequence",), {"subject": "s", "reason": "r"}),
)
NUMBERS = {shape.kind: number for number, shape in enumerate(SHAPES)}

Packed = tuple[Any, ...]


def pack(batch: Sequence[Event], frame: Frame) -> tuple[Packed, ...]:
    return tuple(_packed(event, frame) for event in batch)


def _packed(event: Event, frame: Frame) -> Packed:
    number = NUMBERS[type(event)]
    worker_id = getattr(event, "worker_id", "")
    values = (_plain(name, getattr(event, name), worker_id, frame) for name in SHAPES[number].fields)
    return (number, *values)


def _plain(name: str, value: Any, worker_id: str, frame: Frame) -> Any:
    match name:
        case "incarnation":
            return frame.ranks.incarnation(worker_id, value)
        case "evidence":
            return frame.known_beat(worker_id, value.heartbeat_sequence)
        case "heartbeats_sequence":
            return frame.ranks.beat_mark(value)
        case "incident_id":
            return frame.ranks.incident(value)
        case "sequence":
            return frame.ranks.parked(value)
        case "not_before" | "deadline":
            return frame.until(seconds(value))
        case "since":
            return frame.age(seconds(value))
        case "stage":
            return min(value, 2)
        case _:
            return value


def unpack(packed: Sequence[Packed]) -> list[Event]:
    return [_event(*one) for one in packed]


def _event(number: int, *values: Any) -> Event:
    shape = SHAPES[number]
    kind: Callable[..., Event] = shape.kind
    fields = {name: _full(name, value) for name, value in zip(shape.fields, values, strict=True)}
    return kind(**shape.rest, **fields)


def _full(name: str, value: Any) -> Any:
    match name:
        case "evidence":
            return Evidence(heartbeat_sequence=value)
        case "incident_id":
            return f"i{value}"
        case "workers":
            return tuple(value)
        case "not_before" | "deadline":
            return utc(BEGIN + value)
        case "since":
            return utc(BEGIN - value)
        case _:
            return value
