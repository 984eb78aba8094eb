"""Any part of a state as plain data, to be compared field by field: what each object says of itself, and no more."""

from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from recovery.detectors import Arrivals, Detector
from recovery.forecasts import Trend
from recovery.queue import ByPriority, WaitingTasks
from recovery.rules import RuleBook
from recovery.state import State
from recovery.timers import Timers


def facts_of(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: facts_of(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Counter):
        return dict(value)
    if isinstance(value, Mapping):
        # The order of a mapping is a part of what a fold has come to: work goes round in it.
        kind = OrderedDict if isinstance(value, OrderedDict) else type(value)
        return kind.__name__, [(key, facts_of(one)) for key, one in value.items()]
    if isinstance(value, Timers):
        return dict(value.times())
    if isinstance(value, ByPriority | WaitingTasks):
        return value.ids()
    if isinstance(value, RuleBook):
        return {name: one for name, one in vars(value).items() if name not in ("_detectors", "_patient")}
    if isinstance(value, Arrivals):
        return value.heard()
    if isinstance(value, Trend):
        return repr(value.known())  # what is not known is no number, and equals nothing
    if isinstance(value, Detector):
        return type(value), value.thresholds, value.policy
    if isinstance(value, list | tuple | deque):
        return [facts_of(one) for one in value]
    return value


def differences(one: State, other: State) -> list[str]:
    """The names of the fields in which two states differ."""
    facts, others = facts_of(one), facts_of(other)
    return [name for name in facts if facts[name] != others[name]]
