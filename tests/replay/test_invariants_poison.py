"""Each promise about tasks under which workers die, broken by one decision, is named at that decision."""

from typing import Any

import pytest

from events.base import Event
from events.policy import Policy
from events.task import TaskCompleted, TaskIsolated
from events.worker import Death, WorkerExited, WorkerStopped
from tests.recovery.story import Story, policy_changed, registered
from tests.replay.test_invariants_tasks import (
    Given,
    Wrong,
    assign,
    both,
    complete,
    exits,
    free,
    led,
    nothing,
    requeue,
    told,
)
from tests.replay.wrong import checked, decided, farm


def poisonous(story: Story) -> None:
    """w1 has died under t1, which is one death too many: w2 is set apart for it, and has t2 still."""
    story.tell(policy_changed(Policy(poison_deaths=1)))
    exits(story)
    led(story)
    assert (story.task("t1").status, story.task("t1").apart_at) == ("isolated", "w2")


def found_out(story: Story) -> None:
    """w2 has died under it as well, when t1 ran alone there."""
    poisonous(story)
    story.finish("t2")
    led(story)
    story.start("t1")
    story.tell(WorkerExited(worker_id="w2", incarnation=story.worker("w2").incarnation, signal=9))


def quarantined_before(story: Story) -> None:
    found_out(story)
    led(story)
    assert story.task("t1").verdict == "quarantined"
    story.tell(registered("w2"))


def isolate(task_id: str = "t3", worker_id: str = "w1", *deaths: Death) -> Wrong:
    return lambda story: TaskIsolated(
        task_id=task_id, worker_id=worker_id, incarnation=story.worker(worker_id).incarnation, deaths=deaths
    )


def quarantine(**changes: Any) -> Wrong:
    """For all that is held against t1."""
    return lambda story: complete(verdict="quarantined", deaths=story.task("t1").deaths, **changes)(story)


def late_but_alone(story: Story) -> None:
    """t1 runs alone on w2, and the log has lost w2 for another reason."""
    poisonous(story)
    story.finish("t2")
    led(story)
    story.start("t1")
    story.tell(WorkerStopped(worker_id="w2", incarnation=story.worker("w2").incarnation))


def settled(story: Story) -> None:
    """What w2 had is judged; nothing more is decided."""
    result = story.task("t2").result
    assert result is not None
    said = {"outcome": result.outcome, "result_sequence": result.sequence}
    decided(story, TaskCompleted(task_id="t2", run_id="r1", verdict="passed", attempt=1, worker_id="w2", **said))  # type: ignore[arg-type]


def back_in_line(story: Story) -> None:
    decided(story, requeue()(story))


def suspected_of_death(story: Story) -> Event:
    return isolate("t1", "w2", *story.task("t1").deaths)(story)


UNKNOWN: dict[str, Any] = {"task_id": "t3", "verdict": "quarantined", "attempt": 0, "worker_id": None}
MADE_UP = Death(sequence=3, worker_id="w1", reason="none")
TWICE = (MADE_UP, MADE_UP)


TABLE: list[tuple[str, Given, Wrong, str]] = [
    ("given beside who is to be alone", poisonous, assign("t3", "w2"), "alone"),
    ("alone, it is said", poisonous, assign("t1", "w2", attempt=2, isolated=True), "alone"),
    ("alone where nobody is set apart", free, assign("t3", isolated=True), "alone one-live-attempt"),
    ("set apart for what runs", nothing, isolate("t1", "w2", *TWICE), "alone"),
    ("set apart for two", poisonous, isolate("t3", "w2", MADE_UP), "alone quarantine-proven"),
    ("one is set apart that is gone", exits, isolate("t3", "w1"), "assigned-to-alive quarantine-proven"),
    ("suspected of nothing", free, isolate(), "quarantine-proven"),
    ("suspected on made-up evidence", free, isolate("t3", "w1", *TWICE), "quarantine-proven"),
    ("quarantined beside others", exits, quarantine(), "quarantine-proven"),
    ("quarantined for nothing that is known", free, complete(**UNKNOWN), "quarantine-proven"),
    ("quarantined for former deaths", late_but_alone, quarantine(attempt=2, worker_id="w2"), "quarantine-proven"),
]


@pytest.mark.parametrize(("given", "wrong", "names"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_a_wrong_decision_is_named(given: Given, wrong: Wrong, names: str) -> None:
    story = farm()
    given(story)
    assert checked(story) == [], "the story itself is true"
    sequence = decided(story, wrong(story))
    found = checked(story)
    assert {violation.invariant for violation in found} == set(names.split()), found
    assert {violation.sequence for violation in found} == {sequence}


RIGHT: list[tuple[str, Given, Wrong]] = [
    ("set apart", both(told(policy_changed(Policy(poison_deaths=1))), exits, back_in_line), suspected_of_death),
    ("alone", both(poisonous, lambda story: story.finish("t2"), settled), assign("t1", "w2", attempt=2, isolated=True)),
    ("quarantined", found_out, quarantine(attempt=2, worker_id="w2")),
    ("quarantined before", quarantined_before, complete(**UNKNOWN)),
]


@pytest.mark.parametrize(("given", "right"), [row[1:] for row in RIGHT], ids=[row[0] for row in RIGHT])
def test_a_right_decision_is_not(given: Given, right: Wrong) -> None:
    story = farm()
    given(story)
    decided(story, right(story))
    assert checked(story) == []
