"""Events, figures and times in words."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from projections.figures import Figure, amount
from projections.report.content import Outage

VALUE_CHARACTERS_MAX = 120
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?Z")
SAID_ELSEWHERE = ("kind", "worker_id", "task_id", "run_id", "incident_id", "coordinator_id", "incarnation", "policy")
TO_SECONDS = len("2026-01-31 18:00:00")
NO_FACTS = ("id", "report", "sequences")
ENDINGS = {
    "recovered": "brought back",
    "returned": "came back by itself",
    "retired": "was to end",
    "permanent": "given up",
    "failed_again": "failed again",
    "open": "still out",
}
"""In the order in which pictures show them."""


def fields_of(payload: Mapping[str, Any]) -> str:
    """An event's own fields in one line, as far as they are short."""
    parts = []
    for name, value in payload.items():
        if name in SAID_ELSEWHERE or value in (None, "", [], {}):
            continue
        if isinstance(value, Mapping | list):
            continue
        text = f"{value:.6g}" if isinstance(value, float) else " ".join(str(value).split())
        text = _MOMENT.sub(r"\1 \2", text)
        cut = text if len(text) <= VALUE_CHARACTERS_MAX else text[: VALUE_CHARACTERS_MAX - 1] + "…"
        parts.append(f"{name}={cut}")
    return " ".join(parts)


def seconds(length: float) -> str:
    if length < 1:
        return f"{length * 1000:.0f} ms"
    if length < 100:
        return f"{length:.1f} s"
    if length < 2 * 3600:
        return f"{length / 60:.0f} min"
    return f"{length / 3600:.1f} h" if length < 48 * 3600 else f"{length / 86_400:.1f} d"


def later(length: float) -> str:
    """How long after the beginning of a story: `0.102 s`, `3:25`, `1:00:07`."""
    if length < 100:
        return f"{length:.3f} s"
    minutes, rest = divmod(round(length), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def value(figure: Figure) -> str:
    return "n/a" if figure.value is None else amount(figure.value, figure.unit)


def target(figure: Figure) -> str:
    if figure.target is None:
        return ""
    return f"{'>' if figure.above else '<'} {amount(figure.target, figure.unit)}"


def standing(figure: Figure) -> str:
    if figure.met is None:
        return "" if figure.target is None else "nothing to measure"
    return "met" if figure.met else "missed"


def moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def ending(outage: Outage) -> str:
    return ENDINGS.get(outage.ending or "open", outage.ending or "")


def facts(incident: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A row of `incidents` in words, its report included."""
    everything = {**incident.get("report", {}), **incident}
    told = []
    for name, found in everything.items():
        if name in NO_FACTS or (found in (None, "", [], {}) and name != "ended_at"):
            continue
        if found is None:
            text = "it is open"
        elif isinstance(found, list):
            text = "; ".join(fields_of(one) if isinstance(one, Mapping) else str(one) for one in found)
        else:
            text = fields_of(found) if isinstance(found, Mapping) else str(found)
        if name.endswith("_at") and found is not None:
            text = text.replace("T", " ")[:TO_SECONDS]
        told.append((name.replace("_", " "), text))
    return told
