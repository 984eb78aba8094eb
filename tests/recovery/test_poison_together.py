"""Several tasks under which workers die, on one worker at one time."""

import pytest

from events.policy import Policy
from events.task import TaskAssigned, TaskIsolated, TaskRequeued, TaskReturned, TaskStranded, TaskSubmitted
from events.work import CommandWork
from events.worker import Begun, WorkerExited, WorkerStopped
from recovery import poison
from tests.recovery.story import WORK, Story, policy_changed, submitted
from tests.recovery.test_poison import farm, kill_again

TASKS = ("t0", "t1", "t2")


def gather(story: Story, worker_id: str) -> None:
    """Whoever has one of the three hands it back, and it is given to this worker."""
    for task_id in TASKS:
        task = story.task(task_id)
        if task.worker_id == worker_id and task.status == "assigned":
            continue
        holder = task.worker_id or ""
        attempt = {"task_id": task_id, "attempt": task.attempt}
        returned = TaskReturned(task_id=task_id, worker_id=holder, incarnation=task.incarnation, attempt=task.attempt)
        story.tell(
            returned,
            TaskRequeued(**attempt, worker_id=holder, reason="worker_draining", budget="none"),  # type: ignore[arg-type]
            TaskAssigned(
                task_id=task_id,
                worker_id=worker_id,
                incarnation=story.worker(worker_id).incarnation,
                attempt=task.attempt + 1,
                work=task.work or WORK,
            ),
        )


def test_the_verdict_on_the_guilty_acquits_who_was_beside_it() -> None:
    """And whoever was last to begin is the first to run alone."""
    story = farm(slots=3)
    for task_id in TASKS:
        story.tell(TaskSubmitted(task_id=task_id, run_id="r1", work=CommandWork(argv=(task_id,), cwd="/")))
    for _ in range(2):
        victim = story.task("t2").worker_id or ""
        story.leading = False
        gather(story, victim)
        story.leading = True
        begun = tuple(Begun(task_id, story.task(task_id).attempt, 2 - place) for place, task_id in enumerate(TASKS))
        story.tell(WorkerExited(worker_id=victim, incarnation=story.worker(victim).incarnation, signal=9, begun=begun))
        story.come_back(victim)
    assert [event.task_id for event in story.told(TaskIsolated)] == ["t2"]
    assert [death.after for death in story.task("t2").deaths] == [0, 0]
    kill_again(story, "t2")
    assert story.task("t2").verdict == "quarantined"
    assert [event.task_id for event in story.told(TaskIsolated)] == ["t2"]
    for task_id in ("t0", "t1"):
        assert story.task(task_id).deaths == ()
        assert story.task(task_id).status == "assigned"


def test_one_that_nobody_can_take_does_not_keep_the_others_waiting() -> None:
    story = farm(Policy(poison_deaths=1))
    story.join("w7", labels={"gpu": "yes"})
    story.tell(submitted("t1", requires={"gpu": "yes"}, priority=9), submitted("t2"))
    story.leading = False
    for task_id in ("t1", "t2"):
        worker_id = story.task(task_id).worker_id or ""
        begun = (Begun(task_id, 1),)
        story.tell(WorkerExited(worker_id=worker_id, incarnation=story.worker(worker_id).incarnation, begun=begun))
    story.leading = True
    story.settle()
    assert [event.task_id for event in story.told(TaskIsolated)] == ["t2"]
    story.wait(11.0, *(one for one in story.state.workers if story.worker(one).status == "alive"))
    story.tell(WorkerStopped(worker_id="w7", incarnation=story.worker("w7").incarnation))
    story.wait(11.0, *(one for one in story.state.workers if story.worker(one).status == "alive"))
    assert story.task("t1").stranded
    # In line or set apart, it is as stranded as before.
    story.tell(policy_changed(Policy(poison_deaths=5)))
    assert [event.task_id for event in story.told(TaskStranded)] == ["t1"]


def test_no_worker_is_set_apart_that_is_another_by_now() -> None:
    story = farm(workers=2)
    story.tell(submitted("t1", requires={"gpu": "yes"}))
    ignored = story.state.ignored.total()
    for worker_id, incarnation in (("w1", 99), ("w9", 1)):
        story.tell(TaskIsolated(task_id="t1", worker_id=worker_id, incarnation=incarnation))
    assert story.state.ignored.total() == ignored + 2


def test_what_is_remembered_to_be_pardoned_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poison, "ACCUSATIONS_MAX", 1)
    story = farm()
    story.tell(submitted("t1"))
    kill_again(story, "t1", times=2)
    assert len(story.state.accusations) == 1
