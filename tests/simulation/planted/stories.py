"""What each planted bug of the core does to a short story, which bears its name."""

from collections.abc import Callable

from events.policy import Policy
from events.system import LeaderElected
from events.task import TaskAssigned, TaskCancelRequested, TaskCompleted, TaskRequeued
from events.worker import (
    WorkerDraining,
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerStopped,
    WorkerSuspected,
)
from tests.recovery.story import Story, policy_changed, registered, submitted

FARM = tuple(f"w{number}" for number in range(1, 7))


def stale_result_taken(story: Story) -> object:
    story.join("w1", "w2")
    story.tell(submitted("t1"))
    story.start("t1")
    late = story.finished("t1", "failed")
    kill(story, story.task("t1").worker_id or "")
    story.start("t1")
    story.tell(late)
    return story.task("t1").status


def old_incarnation_judged(story: Story) -> object:
    story.join("w1")
    before = story.worker("w1").incarnation
    story.join("w1")
    story.tell(WorkerStopped(worker_id="w1", incarnation=before))
    return story.worker("w1").status


def renewal_keeps_tasks(story: Story) -> object:
    story.join("w1")
    story.tell(submitted("t1"))
    story.start("t1")
    story.join("w1")
    return story.task("t1").attempt


def suspicion_never_refuted(story: Story) -> object:
    story.join("w1")
    story.wait(6.0)
    assert story.worker("w1").status == "suspect"
    story.wait(1.0)
    story.beat("w1")
    return story.worker("w1").status


def retries_not_counted(story: Story) -> object:
    story.tell(submitted("t1", infrastructure_retries=1))
    for worker_id in ("w1", "w2"):
        story.join(worker_id)
        story.start("t1")
        kill(story, worker_id)
    return [event.verdict for event in story.told(TaskCompleted)]


def label_forgotten(story: Story) -> object:
    story.join("w1")
    story.tell(WorkerFailed(worker_id="w1", incarnation=None, reason="synthetic"), synthetic="drill")
    return [one.synthetic for one in story.records if isinstance(one.event, WorkerRecoveryScheduled)]


def take_over(story: Story, after_s: float) -> None:
    story.leading = False
    story.wait(after_s)
    story.leading = True
    story.tell(LeaderElected(coordinator_id="c2", term=2))


def no_failover_grace(story: Story) -> object:
    story.join("w1")
    take_over(story, 300.0)
    return len(story.told(WorkerSuspected))


def requeue_dropped(story: Story) -> object:
    story.join("w1")
    story.tell(submitted("t1"))
    kill(story, "w1")
    return story.task("t1").status


def rate_not_kept(story: Story) -> object:
    story.tell(policy_changed(Policy(requeue_rate=2.0, requeue_burst=3)))
    story.join("w1", slots=8)
    story.tell(*(submitted(f"t{number}") for number in range(8)))
    kill(story, "w1")
    return len(story.told(TaskRequeued))


def suspect_not_alone(story: Story) -> object:
    story.join(*FARM)
    story.tell(*(submitted(f"t{number}") for number in range(20)))
    kill_under(story, "t0", times=2)
    return story.task("t0").status


def apart_gets_work(story: Story) -> object:
    story.join(*FARM, slots=2)
    story.tell(submitted("t0"))
    kill_under(story, "t0", times=2)
    story.tell(*(submitted(f"t{number}") for number in range(1, 20)))
    return len(story.worker(story.task("t0").worker_id or "").held)


def slot_given_twice(story: Story) -> object:
    story.join("w1", slots=2)
    story.tell(*(submitted(f"t{number}") for number in range(5)))
    return len(story.told(TaskAssigned))


def draining_gets_work(story: Story) -> object:
    story.join("w1")
    story.tell(WorkerDraining(worker_id="w1", incarnation=story.worker("w1").incarnation))
    story.tell(submitted("t1"))
    return story.task("t1").status


def silent_gets_work(story: Story) -> object:
    story.join("w1")
    take_over(story, 300.0)
    story.tell(submitted("t1"))
    return story.task("t1").status


def wrong_budget_charged(story: Story) -> object:
    story.join("w1")
    story.tell(submitted("t1"))
    story.start("t1")
    kill(story, "w1")
    return [event.budget for event in story.told(TaskRequeued)]


def backoff_ignored(story: Story) -> object:
    story.join("w1")
    kill(story, "w1")
    story.come_back("w1")
    kill(story, "w1")
    return len(story.told(WorkerRecoveryStarted))


def one_attempt_too_many(story: Story) -> object:
    story.join("w1")
    kill(story, "w1")
    story.wait(31.0)
    return len(story.told(WorkerPermanentlyFailed))


def failed_rung_climbed_again(story: Story) -> object:
    story.join("w1")
    story.wait(200.0)
    return [event.strategy for event in story.told(WorkerRecoveryStarted)][:2]


def drills_in_the_record(story: Story) -> object:
    story.join("w1")
    story.tell(WorkerFailed(worker_id="w1", incarnation=None, reason="synthetic"), synthetic="drill")
    story.come_back("w1")
    return len(story.state.records)


def permanent_failure_does_not_bind(story: Story) -> object:
    one_attempt_too_many(story)
    story.tell(registered("w1"))
    return story.worker("w1").status


def queued_cancel_ignored(story: Story) -> object:
    story.tell(submitted("t1"), TaskCancelRequested(task_id="t1", actor="operator"))
    return story.task("t1").status


def order_of_a_set(story: Story) -> object:
    story.join("w1", slots=40)
    story.tell(*(submitted(f"t{number}") for number in range(40)))
    kill(story, "w1")
    return [event.task_id for event in story.told(TaskRequeued)] == [f"t{number}" for number in range(40)]


def timers_lost_at_failover(story: Story) -> object:
    story.join("w1")
    take_over(story, 3.0)
    story.wait(20.0)
    return len(story.told(WorkerFailed))


def put_off_timer_lost(story: Story) -> object:
    story.join("w1")
    story.wait(4.0, "w1")
    story.wait(20.0)
    return len(story.told(WorkerSuspected))


def free_slot_not_noticed(story: Story) -> object:
    story.join("w1")
    story.tell(submitted("t1"), submitted("t2"))
    story.start("t1")
    story.finish("t1")
    return story.task("t2").status


def kill(story: Story, worker_id: str) -> None:
    story.tell(WorkerExited(worker_id=worker_id, incarnation=story.worker(worker_id).incarnation, signal=9))


def kill_under(story: Story, task_id: str, *, times: int) -> None:
    """Whoever runs the task dies, and comes back."""
    for _ in range(times):
        story.start(task_id)
        victim = story.task(task_id).worker_id or ""
        kill(story, victim)
        story.come_back(victim)


STORIES: list[tuple[Callable[[Story], object], object, object]] = [
    (stale_result_taken, "running", "final"),
    (old_incarnation_judged, "alive", "stopped"),
    (renewal_keeps_tasks, 2, 1),
    (suspicion_never_refuted, "alive", "suspect"),
    (retries_not_counted, ["crashed"], []),
    (label_forgotten, ["drill"], [None]),
    (no_failover_grace, 0, 1),
    (requeue_dropped, "queued", "assigned"),
    (rate_not_kept, 3, 8),
    (suspect_not_alone, "isolated", "assigned"),
    (apart_gets_work, 1, 2),
    (slot_given_twice, 2, 5),
    (draining_gets_work, "queued", "assigned"),
    (silent_gets_work, "queued", "assigned"),
    (wrong_budget_charged, ["infrastructure"], ["verdict"]),
    (backoff_ignored, 1, 2),
    (one_attempt_too_many, 1, 0),
    (failed_rung_climbed_again, ["await", "reconnect"], ["await", "await"]),
    (drills_in_the_record, 0, 1),
    (permanent_failure_does_not_bind, "permanent", "alive"),
    (queued_cancel_ignored, "final", "queued"),
    (order_of_a_set, True, False),
    (timers_lost_at_failover, 1, 0),
    (put_off_timer_lost, 1, 0),
    (free_slot_not_noticed, "assigned", "queued"),
]
"""With what is to be seen at the end without the bug, and with it; in the order of the bugs."""
