"""Made-up events act like real ones, and what is decided because of them carries their label; nothing else does."""

from typing import Any

import pytest

from events.base import Event
from events.policy import Policy
from events.system import RunCancelRequested, SystemRecoveryCompleted, SystemRecoveryStarted, SystemStatusChanged
from events.task import TaskAssigned, TaskCancelRequested, TaskCompleted, TaskRequeued, TaskRevoked
from events.worker import (
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerStopped,
    WorkerSuspected,
)
from tests.recovery.story import Story, registered, submitted
from tests.replay.wrong import agreed

DRILL = "drill"


def labels(story: Story, *kinds: type[Event], **fields: object) -> list[str | None]:
    """Of all recorded events of these kinds whose fields have these values."""
    return [
        recorded.synthetic
        for recorded in story.records
        if isinstance(recorded.event, kinds)
        and all(getattr(recorded.event, name) == value for name, value in fields.items())
    ]


def farm(policy: Policy | None = None, *worker_ids: str) -> Story:
    """Each worker runs a task: w1 has t1, and so on; one more waits, t9."""
    story = Story(policy)
    worker_ids = worker_ids or ("w1", "w2")
    story.join(*worker_ids)
    tasks = [f"t{worker_id[1:]}" for worker_id in worker_ids]
    story.tell(*(submitted(task_id) for task_id in tasks), submitted("t9"))
    story.start(*tasks)
    return story


def made_up_failure(story: Story) -> Event:
    del story
    return WorkerFailed(worker_id="w1", reason="synthetic")


def made_up_exit(story: Story) -> Event:
    return WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, signal=9)


@pytest.mark.parametrize("cause", [made_up_failure, made_up_exit])
def test_all_that_a_made_up_failure_leads_to_carries_its_label(cause: Any) -> None:
    story = farm()
    story.tell(cause(story), synthetic=DRILL)
    assert labels(story, WorkerFailed) == [DRILL]
    assert labels(story, TaskRequeued) == [DRILL]
    story.wait(3.0, "w2")
    story.come_back("w1")
    assert labels(story, WorkerRecoveryScheduled, WorkerRecoveryStarted, WorkerRecoverySucceeded) == [DRILL] * 3
    assert labels(story, TaskAssigned, task_id="t1", attempt=2) == [DRILL]
    story.start("t1")
    story.finish("t1")
    assert labels(story, TaskCompleted) == [None], "that is a real worker's real result"
    assert labels(story, TaskAssigned, task_id="t9") == [None], "it would have come to this anyway"
    agreed(story)


def test_a_verdict_that_a_made_up_failure_has_decided() -> None:
    story = farm(Policy(infrastructure_retries=0))
    story.tell(made_up_exit(story), synthetic=DRILL)
    assert labels(story, TaskCompleted, verdict="crashed") == [DRILL]
    agreed(story)


def test_a_real_failure_after_a_drill_is_real() -> None:
    story = farm()
    story.tell(made_up_exit(story), synthetic=DRILL)
    story.wait(3.0, "w2")
    story.come_back("w1")
    story.start("t1" if story.task("t1").status == "assigned" else "t9")
    before = story.last
    story.wait(20.0, "w2")
    assert story.worker("w1").status == "failed"
    since = [recorded for recorded in story.records[before:] if recorded.event is not None]
    assert {type(recorded.event) for recorded in since} >= {WorkerSuspected, WorkerFailed, TaskRequeued}
    assert {recorded.synthetic for recorded in since} == {None}
    agreed(story)


def test_a_task_that_has_lost_two_workers_one_after_the_other() -> None:
    """The first in a drill, the second in truth, before it had begun."""
    story = farm()
    story.tell(made_up_exit(story), synthetic=DRILL)
    story.finish("t2")
    assert story.task("t1").worker_id == "w2"
    story.tell(WorkerExited(worker_id="w2", incarnation=story.worker("w2").incarnation, signal=9))
    assert labels(story, TaskRequeued, task_id="t1") == [DRILL, None]
    assert labels(story, WorkerFailed) == [DRILL, None]
    agreed(story)


def test_a_worker_that_never_was() -> None:
    story = Story()
    story.tell(registered("w1"), synthetic=DRILL)
    story.wait(31.0)
    assert labels(story, WorkerFailed, reason="no_first_heartbeat") == [DRILL]
    assert set(labels(story, WorkerRecoveryScheduled)) == {DRILL}
    agreed(story)


@pytest.mark.parametrize("label", [DRILL, None])
@pytest.mark.parametrize("end", ["exited", "registered"])
def test_an_order_that_crosses_the_end_of_its_worker(end: str, label: str | None) -> None:
    """The batch was decided before the end was read, and is stored behind it: it is the end that takes the task away,
    whatever made the leader give it."""
    story = farm()
    story.leading = False
    story.tell(submitted("t3", priority=1), synthetic=None if label else DRILL)
    story.finish("t1")
    (over,) = exits(story, "w1") if end == "exited" else [registered("w1")]
    story.lead(over, synthetic=label)
    assert story.told(TaskAssigned, task_id="t3", worker_id="w1")
    assert not story.worker("w1").held, "no load of the one that is over, nor of the one that follows it"
    story.leading = True
    story.settle()
    assert labels(story, TaskRequeued, task_id="t3") == [label]
    assert [event.budget for event in story.told(TaskRequeued, task_id="t3")] == ["none"]
    agreed(story)


@pytest.mark.parametrize("cause", ["stopped", "registered", "permanent"])
def test_other_ways_to_take_a_worker_away(cause: str) -> None:
    story = farm()
    if cause == "stopped":
        story.tell(WorkerStopped(worker_id="w1", incarnation=story.worker("w1").incarnation), synthetic=DRILL)
    elif cause == "registered":
        story.tell(registered("w1"), synthetic=DRILL)
    else:
        failed = WorkerFailed(worker_id="w1", reason="synthetic")
        story.tell(failed, WorkerPermanentlyFailed(worker_id="w1", attempts=0), synthetic=DRILL)
    assert labels(story, TaskRequeued) == [DRILL]
    agreed(story)


def test_made_up_tasks_and_cancellations() -> None:
    story = farm()
    story.tell(submitted("t7", run_id="r2"), synthetic=DRILL)
    story.tell(TaskCancelRequested(task_id="t1", actor="alice"), synthetic=DRILL)
    story.tell(RunCancelRequested(run_id="r2", actor="alice"))
    story.finish("t2")
    assert labels(story, TaskRevoked) == [DRILL]
    assert labels(story, TaskCompleted, task_id="t7") == [None], "it was a real order"
    story.tell(submitted("t8"), synthetic=DRILL)
    story.finish("t9")
    story.finish("t1", "cancelled")
    assert labels(story, TaskAssigned, task_id="t8") == [DRILL]
    agreed(story)


# The system


def exits(story: Story, *worker_ids: str) -> list[Event]:
    return [
        WorkerExited(worker_id=worker_id, incarnation=story.worker(worker_id).incarnation, signal=9)
        for worker_id in worker_ids
    ]


def test_an_incident_that_a_drill_has_brought_about() -> None:
    story = farm(None, "w1", "w2", "w3", "w4")
    story.tell(*exits(story, "w1", "w2", "w3"), synthetic=DRILL)
    assert labels(story, SystemStatusChanged, status="critical") == [DRILL]
    assert labels(story, SystemRecoveryStarted) == [DRILL]
    story.wait(3.0, "w4")
    for worker_id in ("w1", "w2", "w3"):
        story.come_back(worker_id)
    assert labels(story, SystemRecoveryCompleted) == [DRILL]
    assert labels(story, SystemStatusChanged, status="healthy", previous="degraded") == [None]
    agreed(story)


def test_an_incident_that_would_have_come_without_the_drill() -> None:
    story = farm(None, "w1", "w2", "w3", "w4")
    story.tell(*exits(story, "w1"), synthetic=DRILL)
    assert labels(story, SystemStatusChanged, status="degraded") == [DRILL]
    story.tell(*exits(story, "w2", "w3", "w4"))
    assert labels(story, SystemStatusChanged, status="critical") == [None]
    assert labels(story, SystemRecoveryStarted) == [None]
    story.wait(3.0)
    for worker_id in ("w1", "w2", "w3", "w4"):
        story.come_back(worker_id)
    assert labels(story, SystemRecoveryCompleted) == [None]
    agreed(story)


def test_a_real_loss_that_is_critical_only_because_of_a_drill() -> None:
    story = farm(None, "w1", "w2", "w3", "w4")
    story.tell(*exits(story, "w1"), synthetic=DRILL)
    story.tell(*exits(story, "w2", "w3"))
    assert labels(story, SystemRecoveryStarted) == [DRILL]
    agreed(story)
