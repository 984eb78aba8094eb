"""What leaders may not do, and what they may not say of the system as a whole."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from events.base import Event
from events.system import (
    CoordinatorStopped,
    EventParked,
    InvariantViolated,
    LeaderElected,
    SystemRecoveryCompleted,
    SystemRecoveryStarted,
    SystemStatusChanged,
)
from events.worker import WorkerExited
from tests.recovery.story import Story, submitted
from tests.replay.wrong import assigned, checked, decided, farm, names, put, written


def elect(story: Story, coordinator_id: str, term: int) -> int:
    event = LeaderElected(coordinator_id=coordinator_id, term=term)
    return written(story, event, source=f"coordinator/{coordinator_id}")


def test_a_term_that_does_not_grow() -> None:
    story = farm()
    elect(story, "c1", 7)
    assert checked(story) == []
    sequence = elect(story, "c2", 7)
    assert names(checked(story)) == [("one-leader", sequence)]


def test_a_strangers_election_is_not_held_against_anybody() -> None:
    story = farm()
    story.tell(LeaderElected(coordinator_id="c9", term=1))
    assert checked(story) == []


def test_a_decision_of_a_leader_that_is_over() -> None:
    story = farm()
    story.finish("t1")
    order = assigned("t3", story)
    before = story.last
    elect(story, "c2", 2)
    sequence = decided(story, order, as_of_events=before)
    found = checked(story)
    assert names(found) == [("one-leader", sequence)]
    assert (
        found[0].sentence
        == f"test decides on the log up to {before}; the leader is coordinator/c2, elected at {before + 1}"
    )


def test_a_decision_behind_garbage_on_the_leaders_subject() -> None:
    story = farm()
    story.finish("t1")
    before = story.last
    story.garbage(b"I am", "resurgam.event.system.leader")
    sequence = decided(story, assigned("t3", story), as_of_events=before)
    assert names(checked(story)) == [("one-leader", sequence)]


def test_two_processes_in_one_term() -> None:
    story = farm()
    story.finish("t1")
    story.tell(submitted("t4"))
    decided(story, assigned("t3", story))
    records = put(story, story.last, id=f"d-{'a' * 16}-9-0")
    assert checked(records) == []
    sequence = decided(story, assigned("t4", story))
    records = [*records, put(story, sequence, id=f"d-{'b' * 16}-10-0")[-1]]
    assert names(checked(records)) == [("one-leader", sequence)]


def test_a_decision_on_what_is_not_written_yet() -> None:
    story = farm()
    story.finish("t1")
    sequence = decided(story, assigned("t3", story), as_of_events=story.last + 1)
    assert names(checked(story)) == [("decided-once", sequence)]


def test_what_no_leader_decides() -> None:
    story = farm()
    sequence = decided(story, CoordinatorStopped(coordinator_id="c1"))
    assert names(checked(story)) == [("decided-once", sequence)]


def test_a_batch_of_two_minds() -> None:
    story = farm()
    story.finish("t1")
    story.tell(submitted("t4"))
    first = decided(story, assigned("t3", story), assigned("t4", story))
    decision = story.records[-1].envelope.decision  # type: ignore[union-attr]
    records = put(story, story.last, decision=msgspec.structs.replace(decision, as_of_events=1))  # type: ignore[type-var]
    assert names(checked(records)) == [("whole-batches", first + 1)]


Wrong = Callable[[Story], Event]


def opened(incident_id: str, kind: Any, **fields: Any) -> Wrong:
    return lambda _: SystemRecoveryStarted(incident_id=incident_id, incident_kind=kind, status="critical", **fields)


def closed(incident_id: str) -> Wrong:
    return lambda _: SystemRecoveryCompleted(
        incident_id=incident_id, incident_kind="mass_worker_loss", status="healthy", success=True, duration_s=0.0
    )


def status(now: Any, previous: Any, live: int, expected: int) -> Wrong:
    return lambda _: SystemStatusChanged(status=now, previous=previous, workers_live=live, workers_expected=expected)


def parked(sequence: int) -> Wrong:
    return lambda _: EventParked(sequence=sequence, subject="s", reason="r")


def lost(story: Story) -> None:
    """Both workers are gone, and the leader has opened an incident."""
    for name in ("w1", "w2"):
        story.tell(WorkerExited(worker_id=name, incarnation=story.worker(name).incarnation, signal=9))
    story.leading = True
    story.settle()
    story.leading = False


def nothing(_: Story) -> None:
    pass


SYSTEM: list[tuple[str, Callable[[Story], None], Wrong, str]] = [
    ("an incident in health", nothing, opened("loss-1", "mass_worker_loss"), "one-incident"),
    ("a second incident", lost, opened("loss-1", "mass_worker_loss"), "one-incident"),
    ("another incident is closed", lost, closed("loss-1"), "one-incident"),
    ("no incident is closed", nothing, closed("loss-1"), "one-incident"),
    ("tasks that are not there", nothing, opened("f", "coordinator_failover", affected_tasks=3), "conservation"),
    ("a status out of nowhere", nothing, status("critical", "healthy", 1, 2), "status-true"),
    ("a status from another", nothing, status("healthy", "critical", 2, 2), "status-true"),
    ("parked, and understood", nothing, parked(3), "decided-once"),
]


@pytest.mark.parametrize(("given_", "wrong", "name"), [row[1:] for row in SYSTEM], ids=[row[0] for row in SYSTEM])
def test_a_wrong_decision_about_the_system_is_named(given_: Callable[[Story], None], wrong: Wrong, name: str) -> None:
    story = farm()
    given_(story)
    assert checked(story) == []
    sequence = decided(story, wrong(story))
    assert set(names(checked(story))) == {(name, sequence)}


def test_what_the_system_has_found_itself() -> None:
    story = farm()
    event = InvariantViolated(invariant="conservation", sequence=7, detail="one is missing")
    sequence = written(story, event)
    found = checked(story)
    assert names(found) == [("reported", sequence)]
    assert found[0].sentence == "conservation behind 7: one is missing"
