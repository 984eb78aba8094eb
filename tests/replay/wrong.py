"""Logs with one thing wrong: a true story, and then what no leader may decide."""

from collections.abc import Sequence
from typing import Any

import msgspec

from events import codec
from events.base import Event
from events.clock import utc
from events.envelope import SYNTHETIC_HEADER, Envelope, Provenance, Recorded
from events.policy import Policy
from events.task import TaskAssigned
from events.worker import RecordedHeartbeat, WorkerExited
from recovery.core import RULES_VERSION
from replay.invariants import Checker, Violation
from tests.recovery.story import WORK, Story, submitted


def farm(policy: Policy | None = None) -> Story:
    """Two workers of one slot, each with a task that runs, and a third task that waits."""
    story = Story(policy or Policy(), checks=False)
    story.join("w1", "w2")
    story.tell(submitted("t1"), submitted("t2"), submitted("t3"))
    assert [story.task(name).worker_id for name in ("t1", "t2", "t3")] == ["w1", "w2", None]
    story.start("t1", "t2")
    story.leading = False
    return story


def decided(story: Story, *events: Event, synthetic: str | None = None, **provenance: Any) -> int:
    """Records the events as one batch that the leader is made to have decided now; the sequence of the first."""
    first = story.last + 1
    as_of = story.last
    for index, event in enumerate(events):
        stated: dict[str, Any] = {
            "as_of_events": as_of,
            "as_of_heartbeats": len(story.beats),
            "decided_at": utc(story.now),
            "rules_version": RULES_VERSION,
            "rule": "none",
            "index": index,
            "count": len(events),
        }
        stated |= provenance
        written(story, event, decision=Provenance(**stated), synthetic=synthetic)
    return first


def written(
    story: Story,
    event: Event,
    *,
    source: str = "test",
    event_id: str | None = None,
    decision: Provenance | None = None,
    synthetic: str | None = None,
) -> int:
    """Records one event as it is, by whomever; its sequence."""
    sequence = story.last + 1
    envelope = Envelope(
        id=event_id or f"event-{sequence:06}",
        time=utc(story.now),
        source=source,
        event=event,  # type: ignore[arg-type]
        decision=decision,
    )
    headers = None if synthetic is None else {SYNTHETIC_HEADER: synthetic}
    story._take(codec.decode(sequence, story.now, event.tail(), codec.encode(envelope), headers))
    return sequence


def checked(
    told: Story | Sequence[Recorded],
    *,
    beats: Sequence[RecordedHeartbeat] | None = None,
    reproduce: bool = False,
    at_rest: bool = False,
) -> list[Violation]:
    """What the checker finds in a story, or in these records; the heartbeats of a story are its own unless given."""
    checker = Checker(reproduce=reproduce)
    records = told.records if isinstance(told, Story) else told
    if beats is None:
        beats = told.beats if isinstance(told, Story) else ()
    for beat in beats:
        checker.observe(beat)
    for recorded in records:
        checker.feed(recorded)
    if at_rest:
        checker.at_rest()
    return checker.violations


def agreed(story: Story) -> None:
    """Whoever reads all of it decides the same, and finds no promise broken."""
    checker = Checker(reproduce=True)
    for beat in story.beats:
        checker.observe(beat)
    for recorded in story.records:
        checker.feed(recorded)
    assert checker.violations == []
    assert checker.unreproduced == 0


def assigned(task_id: str, story: Story, worker_id: str = "w1", **changes: Any) -> TaskAssigned:
    """The order that would be right if the worker had room and the task waited."""
    worker = story.state.workers.get(worker_id)
    task = story.state.tasks.get(task_id)
    event = TaskAssigned(
        task_id=task_id,
        worker_id=worker_id,
        incarnation=99 if worker is None else worker.incarnation,
        attempt=1 if task is None else task.attempt + 1,
        work=WORK,
    )
    return msgspec.structs.replace(event, **changes)


def names(violations: list[Violation]) -> list[tuple[str, int]]:
    return [(violation.invariant, violation.sequence) for violation in violations]


def recovered() -> Story:
    """A worker dies under its task and comes back; everything ends well."""
    story = Story(checks=False)
    story.join("w1", "w2", "w3")
    story.tell(submitted("t1"), submitted("t2"), submitted("t3"), submitted("t4"))
    story.start("t1", "t2", "t3")
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, signal=9))
    story.come_back("w1")
    while any(worker.held for worker in story.state.workers.values()):
        for worker in list(story.state.workers.values()):
            for task_id in list(worker.held):
                if story.task(task_id).status == "assigned":
                    story.start(task_id)
                story.finish(task_id)
    return story


def put(story: Story, sequence: int, event: Event | None = None, **envelope: Any) -> list[Recorded]:
    """The records with one of them changed."""
    records = list(story.records)
    old = records[sequence - 1]
    assert old.envelope is not None
    changes = envelope | ({} if event is None else {"event": event})
    records[sequence - 1] = msgspec.structs.replace(old, envelope=msgspec.structs.replace(old.envelope, **changes))
    return records
