"""A queue that stands still, judged by the invariants."""

import pytest

from events.system import DetectorDegraded, SystemRecoveryCompleted, SystemRecoveryStarted
from events.worker import WorkerCordoned, WorkerStopped, WorkerUncordoned
from tests.recovery.story import Story, submitted
from tests.recovery.test_standstill import cordoned, stalled
from tests.replay.wrong import agreed, checked, decided, names


def opens(tasks: int = 1) -> SystemRecoveryStarted:
    return SystemRecoveryStarted(
        incident_id="queue-1", incident_kind="stalled_queue", status="healthy", affected_tasks=tasks
    )


def waiting(seconds: float) -> Story:
    story = cordoned()
    story.leading = False
    story.now += seconds
    return story


def busy() -> Story:
    story = Story()
    story.join("w1")
    story.tell(submitted("t1"), submitted("t2"), submitted("t3"))
    story.leading = False
    story.now += 100.0
    return story


def empty() -> Story:
    story = Story()
    story.join("w1")
    story.leading = False
    story.now += 100.0
    return story


def closes(story: Story) -> SystemRecoveryCompleted:
    return SystemRecoveryCompleted(
        incident_id=story.state.incidents["stalled_queue"].incident_id,
        incident_kind="stalled_queue",
        status="healthy",
        success=True,
        duration_s=1.0,
    )


@pytest.mark.parametrize(
    ("story", "tasks", "invariant"),
    [
        (waiting(59.0), 1, "one-incident"),
        (waiting(61.0), 2, "conservation"),
        (busy(), 0, "one-incident"),
        (empty(), 0, "one-incident"),
    ],
    ids=["too early", "miscounted", "somebody has a task", "nothing waits"],
)
def test_no_standstill(story: Story, tasks: int, invariant: str) -> None:
    sequence = decided(story, opens(tasks))
    assert (invariant, sequence) in names(checked(story))


def test_it_is_not_over_yet() -> None:
    story = stalled()
    story.leading = False
    sequence = decided(story, closes(story))
    assert ("one-incident", sequence) in names(checked(story))


def test_one_that_begins_and_ends_and_begins_again() -> None:
    story = stalled()
    story.tell(WorkerUncordoned(worker_id="w2", actor="alice"))
    story.tell(WorkerCordoned(worker_id="w2", cause="operator", actor="alice"))
    story.start("t1")
    story.finish("t1")
    story.tell(submitted("t2"))
    story.tell(DetectorDegraded(reason="own_pause", extent_s=9.0, heartbeats_sequence=len(story.beats)))
    story.wait(100.0, "w1", "w2")
    for name in ("w1", "w2"):
        story.tell(WorkerStopped(worker_id=name, incarnation=story.worker(name).incarnation))
    assert len(story.told(SystemRecoveryCompleted, incident_kind="stalled_queue")) == 2
    agreed(story)
