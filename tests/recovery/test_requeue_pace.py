"""How fast the tasks of failed workers are put back."""

from collections import Counter
from typing import Any

from events.policy import Policy
from events.system import DetectorDegraded
from events.task import TaskCancelRequested, TaskCompleted, TaskRequeued
from recovery.core import next_due
from recovery.decide_tasks import requeues_due
from tests.recovery.story import Story, policy_changed, submitted
from tests.recovery.test_task_scenarios import kill

SLOW = Policy(requeue_rate=2.0, requeue_burst=3, infrastructure_retries=1)


def bereft(policy: Policy, tasks: int = 8, **fields: Any) -> Story:
    """All tasks ran on w1, which has died."""
    story = Story(policy)
    story.join("w1", slots=tasks)
    story.tell(*(submitted(f"t{number}", **fields) for number in range(tasks)))
    story.start(*(f"t{number}" for number in range(tasks)))
    kill(story, "w1")
    return story


def requeued_at(story: Story) -> list[float]:
    return [round(at, 6) for at, _ in story.timed(TaskRequeued)]


def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    story = bereft(SLOW)
    assert requeued_at(story) == [0.0] * 3
    story.wait(10.0)
    assert requeued_at(story) == [0.0, 0.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5]


def test_the_death_of_one_worker_is_not_slowed() -> None:
    assert requeued_at(bereft(Policy(), tasks=200)) == [0.0] * 200


def test_tokens_come_back_with_time() -> None:
    story = bereft(SLOW, tasks=2)
    story.join("w2", slots=9)
    story.tell(*(submitted(f"u{number}") for number in range(7)))
    story.start(*(task_id for task_id, task in story.state.tasks.items() if task.worker_id == "w2"))
    story.wait(1.0, "w2")
    kill(story, "w2")
    assert Counter(requeued_at(story))[1.0] == 3
    story.wait(10.0)
    assert not story.state.orphaned
    assert next_due(story.state) > story.now


def test_the_urgent_ones_go_first() -> None:
    story = Story(SLOW)
    story.join("w1", slots=6)
    story.tell(*(submitted(f"t{number}", priority=number) for number in range(6)))
    story.start(*(f"t{number}" for number in range(6)))
    kill(story, "w1")
    story.wait(5.0)
    assert [event.task_id for event in story.told(TaskRequeued)] == ["t5", "t4", "t3", "t2", "t1", "t0"]


def test_a_verdict_needs_no_token_and_waits_its_turn() -> None:
    story = bereft(SLOW, infrastructure_retries=0)
    assert [event.verdict for event in story.told(TaskCompleted)] == ["crashed"] * 8
    story = bereft(SLOW)
    story.tell(TaskCancelRequested(task_id="t7", actor="alice"))
    assert story.task("t7").verdict == "cancelled"


def test_another_policy_counts_at_once() -> None:
    story = bereft(Policy(requeue_rate=0.001, requeue_burst=1))
    assert len(requeued_at(story)) == 1
    assert requeues_due(story.state) == story.now + 1000.0
    story.tell(policy_changed(Policy()))
    story.wait(0.2)
    assert len(requeued_at(story)) == 8


def test_nothing_falls_due_while_recovery_is_off() -> None:
    story = bereft(SLOW)
    story.tell(policy_changed(Policy(requeue_rate=2.0, requeue_burst=3, auto_recovery=False)))
    story.wait(10.0)
    assert len(requeued_at(story)) == 3
    story.tell(policy_changed(SLOW))
    assert len(requeued_at(story)) == 6


def test_a_clock_that_is_set_back_does_not_stop_it() -> None:
    story = bereft(SLOW)
    story.now -= 1_000.0
    story.tell(
        DetectorDegraded(reason="clock_step", extent_s=-1000.0, heartbeats_sequence=story.state.heartbeats_sequence)
    )
    before = len(requeued_at(story))
    story.wait(5.0)
    assert before < 6
    assert len(requeued_at(story)) == 8
