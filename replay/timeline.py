"""Events as lines for people, and as JSON for programs."""

from collections.abc import Mapping
from typing import Any

import msgspec
from rich.text import Text

from events.base import Event
from events.clock import utc
from events.envelope import Recorded
from events.kinds import tag_of
from events.work import CommandWork, PytestWork

VALUE_LENGTH_MAX = 100
ENTITY_FIELDS = ("worker_id", "task_id", "run_id", "coordinator_id", "incident_id")
STYLES = (
    ("failed", "bold red"),
    ("exited", "red"),
    ("suspected", "yellow"),
    ("recovery", "magenta"),
    ("requeued", "yellow"),
    ("completed", "green"),
    ("registered", "cyan"),
)


def line(recorded: Recorded, sequences: Mapping[str, int] | None = None, previous: float | None = None) -> Text:
    """`sequence  time  +since the previous  kind  entity  fields  <- sequence of its cause`."""
    text = Text()
    text.append(f"{recorded.sequence:>8}  ", "dim")
    text.append(f"{utc(recorded.time):%Y-%m-%d %H:%M:%S.%f}"[:-3] + "  ")
    if previous is not None:
        text.append(f"{'+' + _duration(recorded.time - previous):>9}  ", "dim")
    event = recorded.event
    if event is None:
        text.append(f"{recorded.subject}  not understood: {recorded.problem}", "red")
        return text
    kind = tag_of(type(event))
    text.append(f"{kind:<28}", next((style for word, style in STYLES if word in kind), ""))
    text.append(f"  {entity_of(event)}", "bold")
    text.append(f"  {fields_of(event)}")
    assert recorded.envelope is not None
    cause = recorded.envelope.causation_id
    if cause is not None:
        text.append(f"  <- {(sequences or {}).get(cause, cause)}", "dim")
    if recorded.synthetic is not None:
        text.append(f"  [synthetic {recorded.synthetic}]", "blue")
    return text


def entity_of(event: Event) -> str:
    """The ids in an event: the task first and then its worker."""
    order = ("task_id", "worker_id", "run_id", "coordinator_id", "incident_id")
    return " ".join(str(value) for name in order if (value := getattr(event, name, None)))


def fields_of(event: Event) -> str:
    """The rest of an event, defaults left out, cut to a length that fits a line."""
    parts = []
    for field in msgspec.structs.fields(event):
        value = getattr(event, field.name)
        if field.name in ENTITY_FIELDS or value in (None, "", {}, (), field.default):
            continue
        parts.append(f"{field.name}={_short(value)}")
    return " ".join(parts)


def _short(value: Any) -> str:
    if isinstance(value, PytestWork):
        return value.node_id
    if isinstance(value, CommandWork):
        return _cut(" ".join(value.argv))
    if isinstance(value, msgspec.Struct):
        return _cut(msgspec.json.encode(value).decode())
    if isinstance(value, str):
        return _cut(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return _cut(msgspec.json.encode(value).decode().strip('"'))


def _cut(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= VALUE_LENGTH_MAX else one_line[: VALUE_LENGTH_MAX - 1] + "…"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{max(seconds, 0.0):.3f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"


def as_json(recorded: Recorded) -> str:
    """One line: where and when, then the envelope as it stands in the log."""
    head: dict[str, Any] = {
        "sequence": recorded.sequence,
        "time": utc(recorded.time),
        "subject": recorded.subject,
    }
    if recorded.synthetic is not None:
        head["synthetic"] = recorded.synthetic
    if recorded.envelope is None:
        head["problem"] = recorded.problem
        head["raw"] = recorded.raw.decode("utf-8", "replace")
    else:
        head["envelope"] = recorded.envelope
    return msgspec.json.encode(head).decode()
