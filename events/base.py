"""What all events share."""

from datetime import datetime
from functools import cache
from typing import Annotated

from msgspec import Meta, Struct

from events.identity import Id

Text = Annotated[str, Meta(max_length=32_768)]
"""Prose and captured output inside an event. Whatever may be longer is cut by its writer, with a marker."""

Moment = Annotated[datetime, Meta(tz=True)]
"""With its timezone: one without could be compared with nothing."""

INTEGER_MAX = 2**53
"""The largest that every reader of JSON can hold."""

Integer = Annotated[int, Meta(ge=-INTEGER_MAX, le=INTEGER_MAX)]
Number = Annotated[int, Meta(ge=1, le=INTEGER_MAX)]
Sequence = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]


class Event(Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=True, gc=False):
    """A fact that was recorded. Its tag is `family.past_tense`; the family's first field names its entity."""

    def tail(self) -> str:
        """The subject behind `<namespace>.event.`; each event knows its own, nobody builds one elsewhere."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """The second half of the tag: `failed` of `worker.failed`."""
        return _name_of(type(self))


@cache
def _name_of(kind: type[Event]) -> str:
    tag = kind.__struct_config__.tag
    assert isinstance(tag, str)
    return tag.partition(".")[2]


class WorkerEvent(Event, frozen=True, kw_only=True):
    """A fact about a worker. All of them reach the worker itself, which reads `worker.<its id>.*`.

    An incarnation is the stream sequence of the `WorkerRegistered` that began it: it only grows, needs nobody to hand
    it out, and 0 means that the process died before it had registered.
    """

    worker_id: Id

    def tail(self) -> str:
        return f"worker.{self.worker_id}.{self.name}"


class TaskEvent(Event, frozen=True, kw_only=True):
    task_id: Id

    def tail(self) -> str:
        return f"task.{self.task_id}.{self.name}"


class AddressedTaskEvent(TaskEvent, frozen=True, kw_only=True):
    """A fact about a task that a worker must hear: its subject ends in that worker's id."""

    worker_id: Id

    def tail(self) -> str:
        return f"task.{self.task_id}.{self.name}.{self.worker_id}"


class SystemEvent(Event, frozen=True, kw_only=True):
    def tail(self) -> str:
        return f"system.{self.name}"
