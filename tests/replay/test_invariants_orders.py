"""Each promise about operators' orders, broken by one decision, is named at that decision."""

from collections.abc import Callable
from typing import Any

import pytest

from events.base import Event
from events.clock import utc
from events.policy import Policy
from events.system import RecoveryPaused, RecoveryResumed
from events.task import TaskRequeued
from events.worker import (
    Evidence,
    WorkerDraining,
    WorkerDrainRequested,
    WorkerExited,
    WorkerFailed,
    WorkerRecoveryScheduled,
    WorkerRetired,
    WorkerStopped,
)
from tests.recovery.story import Story, submitted
from tests.replay.wrong import agreed, checked, decided, farm

Given = Callable[[Story], None]
Wrong = Callable[[Story], Event]


def paused(story: Story) -> None:
    story.tell(RecoveryPaused(actor="alice"))


def gone(story: Story) -> None:
    """w1 has exited, and the leader has said so and no more."""
    incarnation = story.worker("w1").incarnation
    story.tell(WorkerExited(worker_id="w1", incarnation=incarnation, signal=9))
    evidence = Evidence(event_sequence=story.last)
    decided(story, WorkerFailed(worker_id="w1", incarnation=incarnation, reason="worker_exit", evidence=evidence))


def told_to_end(story: Story) -> None:
    story.tell(WorkerDrainRequested(worker_id="w1", actor="alice"))


def both(*steps: Given) -> Given:
    def play(story: Story) -> None:
        for step in steps:
            step(story)

    return play


def retired(worker_id: str = "w1", **changes: Any) -> Wrong:
    def make(story: Story) -> Event:
        known = story.state.workers.get(worker_id)
        fields: dict[str, Any] = {
            "worker_id": worker_id,
            "incarnation": 9 if known is None else known.incarnation,
        } | changes
        return WorkerRetired(**fields)

    return make


def scheduled(story: Story) -> Event:
    return WorkerRecoveryScheduled(
        worker_id="w1",
        incarnation=story.worker("w1").failed_incarnation,
        attempt=1,
        strategy="restart",
        not_before=utc(story.now),
        reason=story.worker("w1").failure_reason,
    )


def requeued(story: Story) -> Event:
    return TaskRequeued(task_id="t1", attempt=1, worker_id="w1", reason="worker_failed", budget="infrastructure")


TABLE: list[tuple[str, Given, Wrong, str]] = [
    ("scheduled in a pause", both(paused, gone), scheduled, "operator-obeyed"),
    ("put back in a pause", both(paused, gone), requeued, "operator-obeyed"),
    ("brought back, and was to end", both(told_to_end, gone), scheduled, "operator-obeyed"),
    ("brought back, and was to end since", both(gone, told_to_end), scheduled, "operator-obeyed"),
    ("retired, and nobody wished it", gone, retired(), "operator-obeyed"),
    ("retired alive", told_to_end, retired(), "attempts-end"),
    ("another one retired", both(told_to_end, gone), retired(incarnation=2), "attempts-end"),
    ("nobody retired", gone, retired("w9"), "operator-obeyed"),
]


@pytest.mark.parametrize(("given", "wrong", "named"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_a_wrong_decision_is_named(given: Given, wrong: Wrong, named: str) -> None:
    story = farm()
    given(story)
    sequence = decided(story, wrong(story))
    assert [(one.invariant, one.sequence) for one in checked(story)] == [(named, sequence)]


def test_one_batch_decides_once_about_a_worker() -> None:
    story = farm()
    both(told_to_end, gone)(story)
    decided(story, retired()(story), retired()(story))
    assert "decided-once" in [one.invariant for one in checked(story)]


def test_at_rest_nobody_waits_for_his_retirement() -> None:
    story = farm()
    both(paused, told_to_end, gone)(story)
    assert ("at-rest", "w1") in [(one.invariant, one.entity) for one in checked(story, at_rest=True)]


def test_orders_that_mean_nobody_bind_nobody() -> None:
    story = farm()
    story.tell(WorkerDrainRequested(worker_id="w1", actor="alice", incarnation=2))
    story.tell(WorkerDrainRequested(worker_id="w9", actor="alice"))
    gone(story)
    story.tell(WorkerDrainRequested(worker_id="w1", actor="alice", restart=True))
    decided(story, scheduled(story))
    assert checked(story) == []


def test_31_a_story_of_orders_is_in_order() -> None:
    """Paused, drained, resumed; one dies while it drains, one ends as it should, one begins anew."""
    story = Story(Policy(), checks=False)
    story.join("w1", "w2", "w3", "w4")
    story.tell(*(submitted(f"t{number}") for number in range(1, 7)))
    story.start("t1", "t2", "t3", "t4")
    paused(story)
    story.tell(WorkerExited(worker_id="w4", incarnation=story.worker("w4").incarnation, signal=9))
    for worker_id, restart in (("w1", False), ("w2", False), ("w3", True)):
        incarnation = story.worker(worker_id).incarnation
        story.tell(WorkerDrainRequested(worker_id=worker_id, actor="alice", restart=restart))
        story.tell(WorkerDraining(worker_id=worker_id, incarnation=incarnation))
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, signal=9))
    story.finish("t2")
    story.tell(WorkerStopped(worker_id="w2", incarnation=story.worker("w2").incarnation))
    story.finish("t3")
    story.join("w3")
    story.tell(RecoveryResumed(actor="alice"))
    story.come_back("w4")
    for _ in range(10):
        for worker in list(story.state.workers.values()):
            for task_id in list(worker.held):
                if story.task(task_id).status == "assigned":
                    story.start(task_id)
                story.finish(task_id)
    assert {worker.worker_id: worker.status for worker in story.state.workers.values()} == {
        **dict.fromkeys(("w1", "w2"), "stopped"),
        **dict.fromkeys(("w3", "w4"), "alive"),
    }
    agreed(story)
    assert checked(story, at_rest=True) == []
