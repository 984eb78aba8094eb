"""Scenario 25: priorities and labels, and tasks that nobody can run."""

from typing import Any

import pytest

from events.policy import Policy
from events.system import DetectorDegraded
from events.task import TaskAssigned, TaskCancelRequested, TaskStranded
from events.worker import WorkerDraining, WorkerExited, WorkerStopped
from recovery.core import next_due
from tests.recovery.story import Story, policy_changed, registered, submitted
from tests.recovery.test_quarantine import quarantined

GPU = {"gpu": "yes"}


def stranded(story: Story) -> list[str]:
    return [event.task_id for event in story.told(TaskStranded)]


def of(story: Story, worker_id: str, kind: Any, **fields: Any) -> None:
    story.tell(kind(worker_id=worker_id, incarnation=story.worker(worker_id).incarnation, **fields))


def test_25_thirty_tasks_with_priorities_and_labels() -> None:
    """Each goes where its labels are, the urgent first, then first come; one that nobody can run says so."""
    story = Story(Policy(ahead=0.001))
    story.join("plain-1", "plain-2")
    story.join("gpu-1", labels=GPU)
    story.join("big-1", labels={"gpu": "yes", "memory": "big"})
    requirements: list[dict[str, str]] = [{}, GPU, {"gpu": "yes", "memory": "big"}]
    story.leading = False
    for number in range(30):
        story.tell(submitted(f"t{number:02}", priority=number % 5, requires=requirements[number % 3]))
    story.tell(submitted("nobody", priority=9, requires={"gpu": "no"}))
    story.leading = True
    story.settle()
    begun: list[str] = []
    while True:
        assigned = [task_id for task_id, task in story.state.tasks.items() if task.status == "assigned"]
        if not assigned:
            break
        for task_id in assigned:
            begun.append(task_id)
            story.start(task_id)
            story.finish(task_id)
    for event in story.told(TaskAssigned):
        labels = story.worker(event.worker_id).labels
        assert set(story.task(event.task_id).requires) <= set(labels.items())
    assert len(set(begun)) == 30
    for requires in requirements:
        own = [
            event.task_id for event in story.told(TaskAssigned) if dict(story.task(event.task_id).requires) == requires
        ]
        assert own == sorted(own, key=lambda task_id: (-story.task(task_id).priority, task_id)), requires
    story.wait(11.0, "plain-1", "plain-2", "gpu-1", "big-1")
    (said,) = story.told(TaskStranded)
    assert (said.task_id, said.requires, said.workers_expected) == ("nobody", {"gpu": "no"}, 4)


def test_25_it_is_said_once_and_after_a_while() -> None:
    story = Story(Policy(stranded_after=10.0))
    story.join("w1")
    story.tell(submitted("t1", requires=GPU), submitted("t2"))
    story.wait(9.0, "w1")
    assert stranded(story) == []
    story.wait(2.0, "w1")
    assert stranded(story) == ["t1"]
    # The next one with the same is known to be so at once.
    story.tell(submitted("t3", requires=GPU))
    assert stranded(story) == ["t1", "t3"]
    story.wait(100.0, "w1")
    assert stranded(story) == ["t1", "t3"]
    story.join("w2", labels=GPU)
    assert story.task("t1").worker_id == "w2"
    assert not story.task("t1").stranded
    assert story.task("t3").stranded


def test_25_whoever_is_expected_back_counts() -> None:
    story = Story(Policy(stranded_after=5.0, recovery_attempt_timeout=100.0))
    story.join("w1", labels=GPU)
    story.join("w2", labels=GPU)
    story.join("w3", slots=9)
    of(story, "w1", WorkerExited, signal=9)
    of(story, "w2", WorkerDraining)
    story.tell(submitted("t1", requires=GPU))
    story.wait(20.0, "w2", "w3")
    assert stranded(story) == []
    of(story, "w1", WorkerStopped)
    story.wait(4.0, "w2", "w3")
    assert stranded(story) == []
    story.wait(2.0, "w2", "w3")
    assert stranded(story) == ["t1"]


def test_25_another_registration_may_bring_other_labels() -> None:
    story = Story(Policy(stranded_after=5.0))
    story.join("w1", labels=GPU)
    story.tell(submitted("t1"), submitted("t2", requires=GPU))
    story.tell(registered("w1", labels={"gpu": "no"}))
    story.wait(6.0, "w1")
    assert stranded(story) == ["t2"]
    story.tell(registered("w1", labels={"gpu": "yes", "more": "1"}))
    assert stranded(story) == ["t2"]
    assert all(need.unmet_since is None for need in story.state.needs.values())


def test_25_said_again_if_it_was_given_to_somebody_meanwhile() -> None:
    story = Story(Policy(stranded_after=5.0))
    story.tell(submitted("t1", requires=GPU))
    story.wait(6.0)
    story.join("w1", labels=GPU)
    of(story, "w1", WorkerStopped)
    story.wait(6.0)
    assert stranded(story) == ["t1", "t1"]


def test_a_cancelled_one_is_not_called_stranded_and_nothing_stays_due() -> None:
    story = Story(Policy(stranded_after=5.0))
    story.tell(submitted("t1", requires=GPU))
    assert next_due(story.state) == story.now + 5.0
    story.tell(TaskCancelRequested(task_id="t1", actor="alice"))
    story.wait(10.0)
    assert stranded(story) == []
    assert story.state.needs == {}


def test_a_quarantined_one_has_its_verdict_instead() -> None:
    story, _ = quarantined()
    story.tell(policy_changed(Policy(stranded_after=0.001)), submitted("t9", requires={"gpu": "no"}))
    story.wait(1.0, *story.state.workers)
    assert story.task("t9").verdict == "quarantined"
    assert stranded(story) == []
    story.leading = False
    story.tell(submitted("t8", requires={"gpu": "no"}))
    story.wait(1.0, *story.state.workers)
    story.leading = True
    story.settle()
    assert story.task("t8").verdict == "quarantined"
    assert stranded(story) == []


@pytest.mark.parametrize("back", [1_000.0, 0.0])
def test_a_clock_that_is_set_back_does_not_put_it_off(back: float) -> None:
    story = Story(Policy(stranded_after=5.0))
    story.tell(submitted("t1", requires=GPU))
    story.now -= back
    story.tell(DetectorDegraded(reason="clock_step", extent_s=-back, heartbeats_sequence=0))
    story.wait(6.0)
    assert stranded(story) == ["t1"]


def test_who_is_not_known_or_has_a_worker_is_not_stranded() -> None:
    story = Story()
    story.join("w1", labels=GPU)
    story.tell(submitted("t1", requires=GPU), submitted("t2", requires=GPU))
    ignored = story.state.ignored.total()
    story.leading = False
    for task_id in ("t1", "t9"):
        story.tell(TaskStranded(task_id=task_id, requires=GPU))
    assert story.state.ignored.total() == ignored + 2
    for _ in range(2):
        story.tell(TaskStranded(task_id="t2", requires=GPU))
    assert story.state.ignored.total() == ignored + 3


def test_one_without_requirements_cannot_be_stranded_whoever_says_so() -> None:
    story = Story(lead=False)
    story.tell(submitted("t1"), submitted("t2", requires=GPU), registered("w1", labels=GPU))
    story.tell(TaskStranded(task_id="t1", requires=GPU))
    story.tell(DetectorDegraded(reason="clock_step", extent_s=-1.0, heartbeats_sequence=0))
    assert story.state.unmet == {}
