"""Events in a few words, for lines that must fit a narrow terminal."""

from collections.abc import Mapping

from rich.text import Text

from events.base import Event, TaskEvent
from events.kinds import tag_of
from events.system import (
    CoordinatorStarted,
    CoordinatorStopped,
    LeaderElected,
    PolicyChanged,
    RunSubmitted,
    SystemRecoveryCompleted,
    SystemRecoveryStarted,
    SystemStatusChanged,
)
from events.task import TaskAssigned, TaskAttemptFinished, TaskCompleted, TaskRequeued, TaskStarted
from events.worker import (
    WorkerExited,
    WorkerFailed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRegistered,
    WorkerStopped,
)
from replay.timeline import STYLES

KIND_WIDTH = 26


def short(node_id: str) -> str:
    """`test_cart.py::test_empty`: the folder is the same for all."""
    return node_id.removeprefix("tests/")


def ms(duration_s: float) -> str:
    return f"{duration_s * 1000:.0f} ms" if duration_s < 10 else f"{duration_s:.1f} s"


def whom_width(console_width: int) -> int:
    """How much of a line may go to names."""
    return max(16, console_width // 2 - 20)


def several(count: int, noun: str) -> str:
    """`1 test`, `2 tests`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def at(*recorded: object) -> str:
    """Where to find it: `(event 12)`."""
    sequences = [str(getattr(one, "sequence", "?")) for one in recorded]
    return f"(event{'s' if len(sequences) > 1 else ''} {', '.join(sequences)})"


def style_of(event: Event) -> str:
    kind = tag_of(type(event))
    return next((style for word, style in STYLES if word in kind), "")


def line(event: Event, names: Mapping[str, str], *, whom_max: int = 80) -> Text:
    """`kind  whom it is about  what of it`. A long name of a test is cut rather than what comes behind it."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{tag_of(type(event)):<{KIND_WIDTH}}  ", style_of(event))
    whom = whom_of(event, names)
    if len(whom) > whom_max:
        whom = f"{whom[: whom_max - 1]}…"
    text.append(whom, "bold")
    said = detail(event)
    text.append(f"{'  ' if whom and said else ''}{said}")
    return text


def whom_of(event: Event, names: Mapping[str, str]) -> str:
    if isinstance(event, TaskEvent):
        name = short(names.get(event.task_id, event.task_id))
        return name.partition("::")[2] or name
    for field in ("worker_id", "coordinator_id", "run_id"):
        value = getattr(event, field, None)
        if isinstance(value, str):
            return value
    return ""


def detail(event: Event) -> str:
    match event:
        case WorkerRegistered() | CoordinatorStarted():
            return f"process {event.pid}"
        case WorkerExited():
            return f"signal {event.signal}" if event.signal else f"exit code {event.exit_code}"
        case WorkerFailed():
            return event.message or event.reason
        case WorkerRecoveryScheduled() | WorkerRecoveryStarted():
            return f"attempt {event.attempt}, {event.strategy}"
        case WorkerRecoverySucceeded():
            return f"{ms(event.duration_s)} after the failure"
        case WorkerStopped() | CoordinatorStopped():
            return event.reason
        case TaskRequeued():
            return f"taken from {event.worker_id}: {event.reason}"
        case TaskAssigned() | TaskStarted():
            return f"attempt {event.attempt} on {event.worker_id}"
        case TaskAttemptFinished():
            return f"attempt {event.attempt} on {event.worker_id}: {event.outcome}"
        case TaskCompleted():
            return event.verdict
        case LeaderElected():
            return f"term {event.term}"
        case PolicyChanged():
            return f"auto_recovery {'on' if event.policy.auto_recovery else 'off'}, by {event.actor}"
        case SystemStatusChanged():
            return f"{event.previous} to {event.status}, {event.workers_live} of {event.workers_expected} live"
        case SystemRecoveryStarted():
            return event.incident_kind
        case SystemRecoveryCompleted():
            return f"{event.incident_kind}: {'success' if event.success else 'no success'}"
        case RunSubmitted():
            return several(event.tasks, "test")
    return ""
