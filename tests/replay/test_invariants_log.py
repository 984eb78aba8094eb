"""What is promised of the log as a whole: its leaders, its batches, its order, and its end."""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from events.base import Event
from events.clock import utc
from events.envelope import Provenance, Recorded
from events.system import (
    SystemStatusChanged,
)
from events.task import (
    TaskAssigned,
    TaskAttemptFinished,
    TaskCancelRequested,
    TaskCompleted,
    TaskRequeued,
    TaskSubmitted,
)
from events.worker import WorkerExited, WorkerRecoverySucceeded
from replay.invariants import INVARIANTS, Checker, Violation
from tests.recovery.nonsense import STEPS, Nonsense, Step
from tests.recovery.story import Story, registered, submitted
from tests.replay import (
    test_invariants_cordons,
    test_invariants_foresight,
    test_invariants_ladder,
    test_invariants_leaders,
    test_invariants_outages,
    test_invariants_poison,
    test_invariants_repairs,
    test_invariants_tasks,
    test_invariants_useless,
    test_invariants_workers,
)
from tests.replay.wrong import assigned, checked, decided, farm, names, put, recovered

HARMLESS = TaskCancelRequested(task_id="nobody", actor="test")


def where(story: Story, kind: type[Event], **fields: Any) -> int:
    """The sequence of the first event of a kind."""
    return next(
        recorded.sequence
        for recorded in story.records
        if isinstance(recorded.event, kind)
        and all(getattr(recorded.event, name) == value for name, value in fields.items())
    )


def again(story: Story, sequence: int) -> list[Recorded]:
    """The records with one of them doubled, at the end; a decision is a batch of its own there."""
    doubled = put(story, sequence, decision=alone(story.records[sequence - 1]))[sequence - 1]
    return [*story.records, msgspec.structs.replace(doubled, sequence=story.last + 1)]


def alone(recorded: Recorded) -> Provenance | None:
    assert recorded.envelope is not None
    decision = recorded.envelope.decision
    return None if decision is None else msgspec.structs.replace(decision, index=0, count=1)


def test_a_true_story_breaks_no_promise() -> None:
    story = recovered()
    assert {type(event) for event in story.events()} >= {TaskRequeued, TaskCompleted, WorkerRecoverySucceeded}
    assert checked(story, reproduce=True, at_rest=True) == []


# Corrupting a true story


def test_a_missing_event() -> None:
    story = recovered()
    requeued = where(story, TaskRequeued)
    records = [recorded for recorded in story.records if recorded.sequence != requeued]
    found = checked(records)
    assert found[0].invariant == "no-gap"
    assert found[0].sequence == requeued + 1
    assert found[0].sentence == f"{requeued} is missing before it"


def test_a_missing_stretch() -> None:
    story = recovered()
    found = checked([recorded for recorded in story.records if recorded.sequence not in (2, 3)])
    assert (found[0].invariant, found[0].sentence) == ("no-gap", "2 to 3 are missing before it")


def test_two_events_that_changed_places() -> None:
    records = list(recovered().records)
    records[4], records[5] = records[5], records[4]
    assert [one for one in names(checked(records)) if one[0] == "no-gap"] == [
        ("no-gap", 6),
        ("no-gap", 5),
        ("no-gap", 7),
    ]


def test_a_requeue_that_never_was() -> None:
    """Its task is handed out again while the log says that it is at its first worker's."""
    story = recovered()
    requeued = where(story, TaskRequeued)
    reassigned = where(story, TaskAssigned, task_id="t1", attempt=2)
    found = checked(put(story, requeued, HARMLESS, decision=None))
    assert ("one-live-attempt", reassigned) in names(found)


def test_a_verdict_twice() -> None:
    story = recovered()
    found = checked(again(story, where(story, TaskCompleted)))
    assert ("one-verdict", story.last + 1) in names(found)


@pytest.mark.parametrize(
    "kind", [TaskAssigned, TaskRequeued, TaskCompleted, SystemStatusChanged, WorkerRecoverySucceeded]
)
def test_a_decision_twice(kind: type[Event]) -> None:
    story = recovered()
    assert ("decided-once", story.last + 1) in names(checked(again(story, where(story, kind))))


@pytest.mark.parametrize("kind", [TaskAttemptFinished, WorkerExited, TaskSubmitted, TaskCancelRequested])
def test_a_fact_twice_changes_nothing(kind: type[Event]) -> None:
    """The broker forgets an id after a while: then a worker that tries again writes it a second time."""
    story = recovered()
    story.leading = False
    story.tell(TaskCancelRequested(task_id="t1", actor="alice"))
    records = again(story, where(story, kind))
    assert checked(records, beats=story.beats, reproduce=True, at_rest=True) == []


def test_a_changed_decision() -> None:
    story = recovered()
    completed = where(story, TaskCompleted)
    event = msgspec.structs.replace(story.records[completed - 1].event, message="or so")  # type: ignore[type-var]
    assert checked(put(story, completed, event)) == []
    assert names(checked(put(story, completed, event), beats=story.beats, reproduce=True)) == [
        ("reproduced", completed)
    ]


def test_a_leader_that_knows_fewer_heartbeats_than_the_last_is_held_to_what_it_knew() -> None:
    """A standby may lag behind in one stream and not in the other."""
    story = recovered()
    story.leading = False
    story.tell(submitted("t9"))
    wrong = decided(story, assigned("t9", story), as_of_heartbeats=1)
    assert names(checked(story, reproduce=True)) == [("reproduced", wrong)]


def test_heartbeats_whose_sequences_come_twice() -> None:
    """After a power loss the broker may hand them out again; a leader that has read the lost ones reads on behind."""
    story = recovered()
    story.leading = False
    story.wait(7.0)
    lost = list(story.beats)
    for worker_id in ("w1", "w2", "w3"):
        story.beat(worker_id)
    again = [beat._replace(sequence=number) for number, beat in enumerate(story.beats[len(lost) :], len(lost) - 2)]
    beats = [*lost, *again]
    story.tell(submitted("t9"))
    decided(story, assigned("t9", story), as_of_heartbeats=len(lost), as_of_heartbeats_at=utc(lost[-1].time))
    checker = Checker(reproduce=True)
    for beat in beats:
        checker.observe(beat)
    for recorded in story.records:
        checker.feed(recorded)
    assert checker.violations == []
    assert checker.unreproduced > 0


def test_without_heartbeats_nothing_is_reproduced() -> None:
    story = recovered()
    assert checked(story.records, reproduce=True) == []


def test_half_a_batch() -> None:
    story = recovered()
    half = next(
        recorded.sequence
        for recorded in story.records
        if recorded.envelope is not None and recorded.envelope.decision is not None and recorded.envelope.decision.index
    )
    assert names(checked(put(story, half, HARMLESS, decision=None)))[0] == ("whole-batches", half)


def test_counts_of_another_fold() -> None:
    story = recovered()
    for wrong, sequence in ((0, None), (1, 9)):
        checker = Checker()
        for recorded in story.records:
            checker.feed(recorded)
            if recorded.sequence == 9:
                checker.count(9, {"queued": 4 + wrong})
        checker.at_rest()
        expected = [] if sequence is None else [("conservation", sequence)]
        assert names(checker.violations) == expected


# The end


def test_what_is_left_undone() -> None:
    story = farm()
    story.garbage(b"{")
    story.tell(WorkerExited(worker_id="w2", incarnation=story.worker("w2").incarnation, signal=9))
    found = checked(story, at_rest=True)
    assert {(one.invariant, one.entity) for one in found} == {
        ("one-verdict", "t1"),
        ("one-verdict", "t2"),
        ("one-verdict", "t3"),
        ("at-rest", ""),
        ("at-rest", "w2"),
        ("status-true", ""),
    }
    garbage = next(recorded.sequence for recorded in story.records if recorded.envelope is None)
    assert {one.sequence for one in found} == {garbage, story.last}


def test_an_open_attempt_and_an_open_incident() -> None:
    story = farm()
    test_invariants_leaders.lost(story)
    found = {(one.invariant, one.entity) for one in checked(story, at_rest=True)}
    assert {("attempts-end", "w1"), ("attempts-end", "w2")} <= found
    assert "one-incident" in {name for name, _ in found}


def test_half_a_batch_at_the_end() -> None:
    story = farm()
    story.finish("t1")
    story.tell(submitted("t4"))
    decided(story, assigned("t3", story), assigned("t4", story))
    assert checked(story.records[:-1]) == []
    found = checked(story.records[:-1], at_rest=True)
    assert found[0].invariant == "whole-batches"


# The checker itself


def test_strict_raises_the_first() -> None:
    story = farm()
    sequence = decided(story, assigned("t1", story, "w2"))
    checker = Checker(strict=True)
    for recorded in story.records[:-1]:
        checker.feed(recorded)
    with pytest.raises(Violation, match=rf"one-live-attempt at {sequence} \(t1\): attempt 1 is running at w1 still"):
        checker.feed(story.records[-1])


def test_what_is_too_old_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replay.invariants.checker.UNFOLDED_EVENTS_MAX", 4)
    story = farm()
    story.finish("t1")
    before = story.last
    for _ in range(10):
        story.tell(HARMLESS)
    decided(story, assigned("t1", story), as_of_events=before)
    checker = Checker()
    for recorded in story.records:
        checker.feed(recorded)
    assert checker.violations == []
    assert checker.unjudged == 1


def test_every_promise_is_broken_by_some_test() -> None:
    named = {"no-gap", "whole-batches", "one-leader", "reproduced", "reported", "at-rest"}
    named |= {name for row in test_invariants_poison.TABLE for name in row[3].split()}
    for table in (test_invariants_tasks.TABLE, test_invariants_workers.TABLE, test_invariants_leaders.SYSTEM):
        named |= {name for row in table for name in row[3].split()}
    named |= {row[3] for row in (*test_invariants_cordons.TABLE, *test_invariants_repairs.TABLE)}
    named |= {row[3] for row in test_invariants_outages.TABLE}
    named |= {name for *_, name in test_invariants_useless.WRONG if name is not None}
    named |= {row[3] for row in test_invariants_ladder.WRONG}
    named.add(test_invariants_foresight.FORESEEN)
    assert named == set(INVARIANTS)


SLOW = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@SLOW
@given(STEPS)
def test_no_nonsense_makes_the_leader_break_a_promise(steps: list[Step]) -> None:
    """Whatever strangers, operators and broken workers write, the promises hold, and nobody is wrongly accused."""
    story = Story(lead=False, checks=False)
    nonsense = Nonsense(story)
    nonsense.settle(0, 0, 0)
    for step in steps:
        nonsense.play(step)
    assert checked(story, reproduce=True) == []
    assert checked(story, beats=()) == []


@SLOW
@given(STEPS)
def test_the_world_of_the_checker_counts_as_the_core_does(steps: list[Step]) -> None:
    story = Story(lead=False, checks=False)
    nonsense = Nonsense(story)
    checker = Checker()
    fed = told = 0
    for step in steps:
        nonsense.play(step)
        for recorded in story.records[fed:]:
            checker.feed(recorded)
        fed = story.last
        checker.count(fed, story.state.tasks_by_status)
        told += 1
    assert [one for one in checker.violations if one.invariant == "conservation"] == []
    for recorded in story.records[fed:]:
        checker.feed(recorded)
    checker.at_rest()
    assert [one for one in checker.violations if one.invariant == "conservation"] == []
    assert told == len(steps)


def test_a_worker_without_a_name_in_the_story() -> None:
    story = farm()
    story.tell(registered("w3"))
    assert checked(story) == []
