"""A state as bytes, and back: what a snapshot of the fold holds.

The fields of `State`, and of all that hangs on it, are taken by their own types: whoever adds one need not think of
this. What is not taken is what the rest determines, and is made from it again: each worker's detector, and the
references from one part of the state to another; lines of tasks are written as their ids.

The same state gives the same bytes, in every process.
"""

from collections import Counter, OrderedDict, deque
from dataclasses import fields
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from events.policy import Policy
from events.thresholds import all_thresholds
from recovery.detectors import Arrivals, Deadline, Detector, Heard
from recovery.entities import Worker
from recovery.forecasts.trend import Known, Trend
from recovery.queue import ByPriority, WaitingTasks
from recovery.rules import Chapters, RuleBook
from recovery.state import State
from recovery.timers import Timers

Kind = tuple[str, ...]
MarkKey = tuple[Kind, bool]

AVAILABLE = "available"
"""The one field that holds workers which are held elsewhere."""

NOBODY = Deadline(all_thresholds(Policy(), 1.0)[0], Policy())
"""Stands in for a detector until the rules are there."""


class Unreadable(Exception):
    """The bytes are no state, or not one of this code."""


def freeze(state: State) -> bytes:
    """All of the state. Deterministic; costs as much as there is of it."""
    facts = {name: getattr(state, name) for name in _NAMES}
    facts[AVAILABLE] = {level: list(workers) for level, workers in state.available.items()}
    return _encoder.encode(_Facts(**facts, detached=_detached(state)))


def thaw(data: bytes) -> State:
    """The state that was frozen.

    Raises:
        Unreadable: it cannot be made out of these bytes.
    """
    try:
        facts = _decoder.decode(data)
        state = State()
        for name in _NAMES:
            if name != AVAILABLE and name not in _LINES:
                setattr(state, name, getattr(facts, name))
        _relink(state, facts)
    except (msgspec.MsgspecError, KeyError, ValueError) as error:
        raise Unreadable(f"not a state of this version: {type(error).__name__}: {error}") from error
    return state


def _relink(state: State, facts: Any) -> None:
    detached = set(facts.detached)
    for worker in state.workers.values():
        worker.detector = state.rules.detector(worker.worker_id, worker.labels)
        _share_ends(state, worker, detached)
    state.available = {
        level: OrderedDict((worker_id, state.workers[worker_id]) for worker_id in workers)
        for level, workers in facts.available.items()
    }
    for name, kind in _LINES.items():
        setattr(state, name, kind.of(state.tasks[task_id] for task_id in getattr(facts, name)))


def _detached(state: State) -> list[tuple[str, MarkKey]]:
    """The marks that compare with counts which have been dropped since, for others of their kind have come."""
    return [
        (worker_id, key)
        for worker_id, worker in state.workers.items()
        if worker.row is not None
        for key, mark in worker.row.marks.items()
        if mark.ends is not state.ends.get(key[0])
    ]


def _share_ends(state: State, worker: Worker, detached: set[tuple[str, MarkKey]]) -> None:
    """A mark goes on being compared with the counts of all workers, and not with a copy of its own."""
    if worker.row is not None:
        for key, mark in worker.row.marks.items():
            if (worker.worker_id, key) not in detached:
                mark.ends = state.ends[key[0]]


def _written(value: object) -> object:
    """What stands for an object of ours that is no plain record."""
    if isinstance(value, Detector):
        return None
    if isinstance(value, Arrivals):
        return value.heard()
    if isinstance(value, Trend):
        return value.known()
    if isinstance(value, Timers):
        return value.times()
    if isinstance(value, deque):
        return list(value)
    if isinstance(value, ByPriority | WaitingTasks):
        return value.ids()
    if isinstance(value, RuleBook):
        return value.chapters()
    raise TypeError(f"recovery.frozen does not know how to write a {type(value).__name__}")


def _read(kind: Any, raw: Any) -> object:
    """The other way."""
    origin = get_origin(kind)
    if origin is Counter:
        return Counter(_converted(raw, dict[get_args(kind)[0], int]))  # type: ignore[misc]
    if origin is OrderedDict:
        key, value = get_args(kind)
        return OrderedDict(_converted(raw, dict[key, value]))  # type: ignore[valid-type]
    if origin is deque:
        return deque(_converted(raw, list[get_args(kind)[0]]))  # type: ignore[misc]
    if kind is Detector:
        return NOBODY
    if kind is Arrivals:
        return Arrivals.of(_converted(raw, Heard))
    if kind is Trend:
        return Trend.of(_converted(raw, Known))
    if kind is Timers:
        return Timers.of(_converted(raw, dict[str, float]))
    if kind is RuleBook:
        return RuleBook.of(_converted(raw, Chapters))
    raise TypeError(f"recovery.frozen does not know how to read a {kind}")


def _converted(raw: Any, kind: Any) -> Any:
    return msgspec.convert(raw, kind, dec_hook=_read)


_TYPES = get_type_hints(State)
_NAMES = tuple(field.name for field in fields(State))
_LINES: dict[str, type[ByPriority] | type[WaitingTasks]] = {
    name: kind for name, kind in _TYPES.items() if kind in (ByPriority, WaitingTasks)
}
"""Fields that hold tasks in some order: they are written as ids."""
_WIRE = _TYPES | {AVAILABLE: dict[int, list[str]]} | dict.fromkeys(_LINES, list[str])
_Facts = msgspec.defstruct(
    "_Facts",
    [*((name, _WIRE[name]) for name in _NAMES), ("detached", list[tuple[str, MarkKey]])],
    namespace={"__doc__": "The fields of a state, as they are written."},
    frozen=True,
    kw_only=True,
)
_encoder = msgspec.msgpack.Encoder(enc_hook=_written)
_decoder = msgspec.msgpack.Decoder(_Facts, dec_hook=_read)
