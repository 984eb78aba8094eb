"""The story of an entity: every event that concerns a worker, a task, a run, a coordinator or an incident; or of an
event: what led to it, and what it led to."""

import re
from typing import NamedTuple

import msgspec

from events.base import Event, TaskEvent
from events.envelope import Recorded
from events.identity import is_id
from events.log import EventLog
from events.system import RunSubmitted
from events.task import TaskSubmitted
from replay.reading import Progress, stretch

ENTITY_FIELDS = ("worker_id", "task_id", "run_id", "coordinator_id", "incident_id")
_EVENT_ID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$")


class Story(NamedTuple):
    """`events` in the order of the log. `sequences` says where each known event id stands, for showing causes."""

    events: list[Recorded]
    sequences: dict[str, int]


def concerns(event: Event, entity: str) -> bool:
    return any(getattr(event, field, None) == entity for field in ENTITY_FIELDS)


async def story_of(log: EventLog, name: str, *, progress: Progress | None = None) -> Story:
    """Everything about whatever is called `name`. Empty when nothing in the log is.

    A task is asked for by its subjects; everything else takes one pass over the log.
    """
    if is_id(name) and not _EVENT_ID.match(name):
        tails = [f"task.{name}.>"]
        own = [recorded async for batch in stretch(log, tails=tails, progress=progress) for recorded in batch]
        if own:
            return _told(own)
    return await _by_scan(log, name, progress)


async def chain_of(log: EventLog, sequence: int, *, progress: Progress | None = None) -> Story:
    """The causal chain through the event at `sequence`. Empty when there is none."""
    recorded = await log.read_one(sequence)
    return Story([], {}) if recorded is None or not recorded.id else await _by_scan(log, recorded.id, progress)


class _Causes(msgspec.Struct):
    """Where each event stands and which one caused it, for walking back from a chosen event."""

    sequences: dict[str, int] = {}
    causes: dict[str, str] = {}

    def note(self, recorded: Recorded) -> None:
        if recorded.envelope is not None:
            self.sequences.setdefault(recorded.id, recorded.sequence)
            if recorded.envelope.causation_id is not None:
                self.causes[recorded.id] = recorded.envelope.causation_id

    def before(self, event_id: str) -> list[int]:
        """Sequences of what led to an event, the first cause first."""
        found: list[int] = []
        cause = self.causes.get(event_id)
        while cause is not None and cause in self.sequences and self.sequences[cause] not in found:
            found.append(self.sequences[cause])
            cause = self.causes.get(cause)
        return found[::-1]


async def _by_scan(log: EventLog, name: str, progress: Progress | None) -> Story:
    """One pass that looks for an entity and for an event id at the same time."""
    known = _Causes()
    told: list[Recorded] = []
    chain: set[str] = set()
    tasks: set[str] = set()
    earlier: list[int] = []
    async for batch in stretch(log, progress=progress):
        for recorded in batch:
            known.note(recorded)
            envelope = recorded.envelope
            if envelope is None:
                if name in recorded.subject.split("."):
                    told.append(recorded)
                continue
            event = envelope.event
            if isinstance(event, TaskSubmitted) and event.run_id == name:
                tasks.add(event.task_id)
            if envelope.id == name:
                earlier = known.before(name)
            if envelope.id == name or envelope.causation_id in chain:
                chain.add(envelope.id)
            if (
                envelope.id in chain
                or concerns(event, name)
                or (isinstance(event, TaskEvent) and event.task_id in tasks)
            ):
                told.append(recorded)
    for sequence in reversed(earlier):
        recorded = await _read(log, sequence)
        told.insert(0, recorded)
    return Story(told, known.sequences)


async def _read(log: EventLog, sequence: int) -> Recorded:
    recorded = await log.read_one(sequence)
    assert recorded is not None, f"sequence {sequence} was there a moment ago"
    return recorded


def _told(events: list[Recorded]) -> Story:
    return Story(events, {recorded.id: recorded.sequence for recorded in events if recorded.id})


def title_of(story: Story, name: str) -> str:
    """What kind of thing `name` is, as far as its events tell."""
    for recorded in story.events:
        event = recorded.event
        if recorded.id == name:
            return f"event {name}"
        if isinstance(event, RunSubmitted) and event.run_id == name:
            return f"run {name}: {event.title}"
        for field in ENTITY_FIELDS:
            if event is not None and getattr(event, field, None) == name:
                return f"{field.removesuffix('_id')} {name}"
    return name
