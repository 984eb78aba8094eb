"""Which task goes next, and to whom."""

from events.policy import Policy
from events.system import LeaderElected
from events.task import (
    TaskAssigned,
    TaskCompleted,
)
from events.worker import WorkerDraining
from recovery.placement import LOOK_MAX
from tests.recovery.story import Story, registered, submitted


def test_25_priorities_and_labels() -> None:
    story = Story()
    tasks = []
    for number in range(29):
        requires = {} if number % 3 else {"gpu": "yes"} if number % 2 else {"os": "linux", "gpu": "yes"}
        tasks.append(submitted(f"t{number:02}", priority=number % 5 - 2, requires=requires))
    tasks.append(submitted("t-nobody", priority=900, requires={"os": "plan9"}))
    story.tell(*tasks)
    story.join("w1", slots=2, labels={"gpu": "yes"})
    story.join("w2", slots=2, labels={"gpu": "yes", "os": "linux"})
    story.join("w3", slots=2)
    while running := [task for task in story.state.tasks.values() if task.status == "assigned"]:
        for task in running:
            story.start(task.task_id)
            story.finish(task.task_id)
    by_id = {task.task_id: task for task in tasks}
    for assigned in story.told(TaskAssigned):
        labels = story.worker(assigned.worker_id).labels
        assert by_id[assigned.task_id].requires.items() <= labels.items()
    # Whoever could go anywhere went by priority, then first come; so did those of each requirement.
    for requires in ({}, {"gpu": "yes"}, {"os": "linux", "gpu": "yes"}):
        order = [event.task_id for event in story.told(TaskAssigned) if by_id[event.task_id].requires == requires]
        assert order == sorted(order, key=lambda one: (-by_id[one].priority, one))
    assert len(story.told(TaskCompleted)) == 29
    assert [task.task_id for task in story.state.waiting.in_order()] == ["t-nobody"]
    story.join("w4", labels={"os": "plan9"})
    assert story.task("t-nobody").worker_id == "w4"


def test_a_rare_label_is_found_behind_any_number_of_other_idle_workers() -> None:
    story = Story(checks=False)
    for number in range(3 * LOOK_MAX):
        story.tell(registered(f"w{number}", labels={"os": "linux"}))
    story.tell(registered("rare", labels={"gpu": "yes"}))
    story.tell(submitted("t0", requires={"os": "plan9"}), submitted("t1", requires={"gpu": "yes"}), submitted("t2"))
    assert story.task("t0").status == "queued"
    assert story.task("t1").worker_id == "rare"
    assert story.task("t2").status == "assigned"


def test_requeued_tasks_go_ahead_of_new_ones_of_their_priority() -> None:
    story = Story()
    story.join("w1")
    story.tell(submitted("old"))
    story.tell(submitted("new"), submitted("urgent", priority=1), submitted("late", priority=-1))
    assert story.task("old").status == "assigned"
    story.give_back("old")
    order = [event.task_id for event in story.told(TaskAssigned)]
    assert order == ["old", "urgent"]
    story.start("urgent")
    story.finish("urgent")
    for task_id in ("old", "new", "late"):
        story.start(task_id)
        story.finish(task_id)
    assert [event.task_id for event in story.told(TaskAssigned)] == ["old", "urgent", "old", "new", "late"]


def test_a_requeued_task_prefers_another_worker() -> None:
    story = Story()
    story.join("w1")
    story.tell(submitted("t1"))
    story.join("w2")
    story.start("t1")
    story.finish("t1", "cancelled")
    assert story.task("t1").worker_id == "w2"
    story.start("t1")
    story.tell(WorkerDraining(worker_id="w1", incarnation=story.worker("w1").incarnation))
    story.finish("t1", "cancelled")
    assert story.task("t1").worker_id == "w2", "rather its last than none"


def test_work_is_spread_evenly() -> None:
    story = Story()
    story.join("w1", "w2", "w3", slots=4)
    story.tell(*(submitted(f"t{number}") for number in range(9)))
    assert [len(worker.held) for worker in story.state.workers.values()] == [3, 3, 3]


def test_short_tasks_are_handed_out_ahead() -> None:
    story = Story(Policy(ahead=1.0, tasks_ahead_max=4))
    story.join("w1", "w2")
    story.tell(*(submitted(f"t{number}") for number in range(40)))
    assert [len(worker.held) for worker in story.state.workers.values()] == [1, 1]
    first = next(iter(story.worker("w1").held))
    story.start(first)
    story.finish(first, duration_s=0.125)
    assert [len(worker.held) for worker in story.state.workers.values()] == [5, 5], "its slot, and tasks_ahead_max more"


def test_nobody_gets_work_who_has_not_been_heard_lately() -> None:
    """After a take-over judgement waits, for the leader was away; new work does not go to the silent meanwhile."""
    story = Story()
    story.join("w1", "w2")
    story.leading = False
    story.wait(60.0)
    story.leading = True
    story.tell(LeaderElected(coordinator_id="c2", term=2), submitted("t1"))
    assert story.task("t1").status == "queued"
    story.beat("w2")
    assert story.task("t1").worker_id == "w2"
