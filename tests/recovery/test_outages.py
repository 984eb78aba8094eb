"""Losses that leave the system critical: what they cost, how repairs begin again, and what is said of them."""

from events.policy import Policy
from events.system import (
    DetectorDegraded,
    IncidentReport,
    LeaderElected,
    SystemRecoveryCompleted,
    SystemRecoveryStaged,
    SystemRecoveryStarted,
)
from events.task import TaskCompleted, TaskRequeued
from events.worker import (
    WorkerDraining,
    WorkerPermanentlyFailed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerStopped,
)
from recovery.outages import SPARED_MAX, STAGES_MAX
from tests.recovery.story import Story, policy_changed, submitted
from tests.recovery.test_repairs import alive, kill, stillborn, under_repair


def farm(count: int, policy: Policy | None = None, *, tasks: int = 0) -> Story:
    """Workers `w0` and so on, of one slot; so many tasks run on the first of them."""
    story = Story(policy, checks=count < 20)
    story.join(*(f"w{number}" for number in range(count)))
    for number in range(tasks):
        story.tell(submitted(f"t{number}"))
        story.start(f"t{number}")
    return story


def names(*numbers: int) -> list[str]:
    return [f"w{number}" for number in numbers]


def bring_back(story: Story) -> list[str]:
    """Whoever is under repair comes back, until nobody is; in order."""
    back: list[str] = []
    while under := sorted(under_repair(story)):
        for name in under:
            story.come_back(name)
        back += under
    return back


def reported(story: Story) -> IncidentReport:
    (closed,) = story.told(SystemRecoveryCompleted)
    assert closed.report is not None
    return closed.report


def test_15_four_of_six_are_lost_at_once() -> None:
    story = farm(6, tasks=6)
    kill(story, *names(0, 1, 2, 3))
    (opened,) = story.told(SystemRecoveryStarted)
    assert (opened.affected_workers, opened.affected_tasks) == (4, 4)
    requeued = story.told(TaskRequeued)
    assert [(event.reason, event.budget) for event in requeued] == [("worker_failed", "none")] * 4
    assert all(story.task(f"t{number}").infrastructure_used == 0 for number in range(6))
    assert {story.task(name).status for name in ("t4", "t5")} == {"running"}
    begun = [type(event) for event in story.since(0)]
    assert begun.index(SystemRecoveryStaged) > max(at for at, kind in enumerate(begun) if kind is TaskRequeued)
    assert begun.index(WorkerRecoveryStarted) > begun.index(SystemRecoveryStaged)
    assert bring_back(story) == names(0, 1, 2, 3), "one after the other: more than a tenth of six is one"
    report = reported(story)
    assert report.workers == tuple(names(0, 1, 2, 3))
    assert (report.workers_lost_together, report.tasks_preserved) == (4, 2)
    assert (report.tasks_requeued, report.tasks_uncharged, report.tasks_lost) == (4, 4, 0)
    assert (report.attempts_succeeded, report.attempts_failed) == (1, 0), "then it is not critical any more"
    assert [(stage.size, stage.succeeded) for stage in report.stages] == [(1, 1)]
    assert story.status == "healthy"


def test_stages_grow_while_workers_come_back_up_to_the_share() -> None:
    story = farm(50, Policy(repairs_share=0.1, critical_below=0.9, degraded_below=0.95))
    kill(story, *names(*range(30)))
    bring_back(story)
    sizes = [len(event.workers) for event in story.told(SystemRecoveryStaged)]
    assert sizes[:5] == [1, 2, 4, 5, 5]
    assert max(sizes) == 5
    assert [event.stage for event in story.told(SystemRecoveryStaged)] == list(range(1, len(sizes) + 1))


def test_a_stage_that_brings_nobody_back_is_followed_by_a_small_one() -> None:
    story = farm(40, Policy(repairs_share=0.1, breaker_failures=1000))
    kill(story, *names(*range(30)))
    for _ in range(2):
        for name in sorted(under_repair(story)):
            story.come_back(name)
    assert len(under_repair(story)) == 4
    for name in sorted(under_repair(story)):
        stillborn(story, name)
    assert len(story.told(SystemRecoveryStaged)[-1].workers) == 1


def test_the_next_stage_waits_for_the_whole_of_the_one_before() -> None:
    story = farm(40)
    kill(story, *names(*range(30)))
    story.come_back(min(under_repair(story)))
    first, second = sorted(under_repair(story))
    story.come_back(first)
    assert under_repair(story) == {second}
    story.tell(WorkerStopped(worker_id=second, incarnation=story.worker(second).incarnation))
    assert len(under_repair(story)) == 3, "one that lost its object counts as settled"


def test_an_orderly_shutdown_beside_a_dead_worker_is_no_incident() -> None:
    story = farm(3)
    kill(story, "w0")
    for name in ("w1", "w2"):
        incarnation = story.worker(name).incarnation
        story.tell(WorkerDraining(worker_id=name, incarnation=incarnation))
        story.tell(WorkerStopped(worker_id=name, incarnation=incarnation))
    assert story.status == "critical"
    assert not story.told(SystemRecoveryStarted)


def test_a_loss_behind_an_orderly_shutdown_is_one() -> None:
    story = farm(5)
    kill(story, "w0")
    for name in ("w1", "w2", "w3"):
        story.tell(WorkerStopped(worker_id=name, incarnation=story.worker(name).incarnation))
    assert not story.told(SystemRecoveryStarted)
    kill(story, "w4")
    assert len(story.told(SystemRecoveryStarted)) == 1


def test_a_loss_that_is_made_good_before_anybody_looks_is_none() -> None:
    story = farm(2)
    story.leading = False
    kill(story, "w0", "w1")
    story.join("w0", "w1")
    story.leading = True
    story.settle()
    assert not story.told(SystemRecoveryStarted)
    assert story.state.outage is None


def test_a_single_worker_is_no_mass() -> None:
    story = farm(1, tasks=1)
    kill(story, "w0")
    assert [event.budget for event in story.told(TaskRequeued)] == ["infrastructure"]
    story.wait(1000.0)
    assert story.told(WorkerPermanentlyFailed)[0].attempts == 5


def test_losses_that_lie_apart_are_charged() -> None:
    story = farm(4, tasks=4)
    kill(story, "w0")
    story.wait(11.0, "w1", "w2", "w3")
    kill(story, "w1")
    story.wait(11.0, "w2", "w3")
    kill(story, "w2")
    assert len(story.told(SystemRecoveryStarted)) == 1
    assert [event.budget for event in story.told(TaskRequeued)] == ["infrastructure"] * 3


def test_attempts_in_an_incident_are_counted_apart_and_no_less_bounded() -> None:
    story = farm(2)
    kill(story, "w0", "w1")
    story.wait(1000.0)
    assert [event.attempts for event in story.told(WorkerPermanentlyFailed)] == [5, 5]
    for name in ("w0", "w1"):
        numbers = [event.attempt for event in story.told(WorkerRecoveryScheduled, worker_id=name)]
        assert numbers == [1, 2, 3, 4, 5]
    (closed,) = story.told(SystemRecoveryCompleted)
    assert (closed.success, closed.status) == (False, "idle")


def test_attempts_in_an_incident_cost_no_worker_its_budget() -> None:
    story = farm(3)
    kill(story, *names(0, 1, 2))
    for _ in range(3):
        stillborn(story, "w0")
        story.wait(61.0)
    assert story.worker("w0").attempts_failed == ()
    story.come_back("w1")
    story.come_back("w2")
    assert story.told(SystemRecoveryCompleted)
    story.wait(130.0, "w1", "w2")
    assert story.worker("w0").attempts_failed


def test_what_the_first_of_many_was_charged_for_is_given_back() -> None:
    """Their ends are told one by one, and each is answered at once."""
    story = farm(6, tasks=6)
    for name in names(0, 1, 2, 3):
        kill(story, name)
    budgets = [event.budget for event in story.told(TaskRequeued)]
    assert budgets == ["infrastructure"] * 3 + ["none"]
    assert [story.task(f"t{number}").infrastructure_used for number in range(6)] == [0] * 6
    bring_back(story)
    report = reported(story)
    assert (report.tasks_requeued, report.tasks_uncharged) == (4, 4)


def test_a_verdict_behind_a_loss_before_it_is_a_mass_stands() -> None:
    """Whoever grants no retry has the answer at once, and it is never taken back; behind a later loss he is spared."""
    story = farm(4, Policy(infrastructure_retries=0), tasks=4)
    for name in names(0, 1, 2):
        kill(story, name)
        story.wait(1.0, "w3")
    assert [event.task_id for event in story.told(TaskCompleted, verdict="crashed")] == ["t0", "t1"]
    assert story.told(TaskRequeued, task_id="t2", budget="none")


def test_a_task_that_is_given_up_in_a_mass_loss_is_told_as_lost() -> None:
    story = farm(3, Policy(infrastructure_retries=1), tasks=3)
    kill(story, "w0")
    story.finish("t1")
    story.start("t0")
    kill(story, "w1")
    assert len(story.told(SystemRecoveryStarted)) == 1
    assert story.task("t0").verdict == "crashed"
    bring_back(story)
    assert reported(story).tasks_lost == 1


def test_what_was_charged_before_the_clock_was_set_back_is_given_back() -> None:
    story = farm(3, tasks=3)
    kill(story, "w0")
    story.leading = False
    story.now -= 1_000.0
    story.tell(DetectorDegraded(reason="clock_step", extent_s=-1000.0, heartbeats_sequence=len(story.beats)))
    kill(story, "w1")
    assert [story.task(name).infrastructure_used for name in ("t0", "t1")] == [0, 0]


def test_what_lies_further_back_is_not_given_back() -> None:
    story = farm(6, tasks=6)
    kill(story, "w0")
    story.wait(5.0, *names(1, 2, 3, 4, 5))
    kill(story, "w1")
    story.wait(6.0, *names(2, 3, 4, 5))
    kill(story, "w2", "w3")
    used = {name: story.task(name).infrastructure_used for name in ("t0", "t1", "t2")}
    assert used == {"t0": 1, "t1": 0, "t2": 0}


def test_10_what_was_given_behind_the_first_loss_is_charged() -> None:
    """It may be what goes from worker to worker and kills them."""
    story = farm(3, tasks=3)
    kill(story, "w0")
    story.finish("t1")
    story.start("t0")
    assert story.task("t0").worker_id == "w1"
    kill(story, "w1")
    assert len(story.told(SystemRecoveryStarted)) == 1
    assert [event.budget for event in story.told(TaskRequeued, task_id="t0")] == ["infrastructure"] * 2


def test_a_task_is_spared_so_often_and_no_more() -> None:
    story = farm(2, tasks=2)
    for _ in range(SPARED_MAX + 1):
        kill(story, "w0", "w1")
        for name in ("w0", "w1"):
            story.come_back(name)
        story.wait(61.0, "w0", "w1")
        for task_id in ("t0", "t1"):
            if story.task(task_id).status == "assigned":
                story.start(task_id)
    assert [event.budget for event in story.told(TaskRequeued, task_id="t0")][:3] == ["none"] * SPARED_MAX
    assert story.task("t0").spared == SPARED_MAX


def test_26_an_incident_while_recovery_is_off_opens_and_closes() -> None:
    story = farm(4, Policy(auto_recovery=False), tasks=4)
    kill(story, *names(0, 1, 2))
    assert len(story.told(SystemRecoveryStarted)) == 1
    assert not story.told(SystemRecoveryStaged)
    story.join("w0", "w1")
    (closed,) = story.told(SystemRecoveryCompleted)
    assert closed.success
    assert not story.told(TaskRequeued)


def test_an_incident_in_which_recovery_is_switched_off_closes_all_the_same() -> None:
    story = farm(4)
    kill(story, *names(0, 1, 2))
    assert under_repair(story)
    story.tell(policy_changed(Policy(auto_recovery=False)))
    assert not under_repair(story)
    story.join("w0", "w1")
    assert len(story.told(SystemRecoveryCompleted)) == 1


def test_16_a_new_leader_goes_on_with_the_stages() -> None:
    story = farm(6)
    kill(story, *names(0, 1, 2, 3))
    under = under_repair(story)
    story.tell(LeaderElected(coordinator_id="c2", term=2))
    assert under_repair(story) == under
    bring_back(story)
    assert len(story.told(SystemRecoveryStarted, incident_kind="mass_worker_loss")) == 1


def test_what_a_stranger_says_of_stages_changes_nothing() -> None:
    story = farm(6)
    forged = SystemRecoveryStaged(incident_id="forged", stage=1, workers=("w0",))
    ignored = story.state.ignored.total()
    story.tell(forged)
    kill(story, *names(0, 1, 2, 3))
    incident_id = story.told(SystemRecoveryStarted)[0].incident_id
    story.tell(forged, SystemRecoveryStaged(incident_id=incident_id, stage=7, workers=("w1",)))
    story.tell(SystemRecoveryStaged(incident_id=incident_id, stage=2, workers=("w1",)))
    assert story.state.ignored.total() == ignored + 4
    bring_back(story)
    assert story.status == "healthy"


def test_an_incident_that_a_stranger_opens_has_a_report_too() -> None:
    story = farm(3)
    story.tell(SystemRecoveryStarted(incident_id="forged", incident_kind="mass_worker_loss", status="critical"))
    assert reported(story).workers == ()


def test_stages_in_a_report_are_bounded() -> None:
    story = farm(3, Policy(max_recovery_attempts=1000, recovery_interval=1.0, breaker_failures=1000), tasks=0)
    story.checks = False
    kill(story, *names(0, 1, 2))
    for _ in range(STAGES_MAX + 5):
        for name in sorted(under_repair(story)):
            stillborn(story, name)
        story.wait(1.0)
    bring_back(story)
    report = reported(story)
    assert len(report.stages) == STAGES_MAX
    assert report.repairing_after_s is None


def test_a_clock_that_was_set_back_makes_no_span_negative() -> None:
    story = farm(6, tasks=6)
    kill(story, *names(0, 1, 2, 3))
    story.leading = False
    story.now -= 1_000.0
    story.tell(DetectorDegraded(reason="clock_step", extent_s=-1000.0, heartbeats_sequence=len(story.beats)))
    story.leading = True
    bring_back(story)
    report = reported(story)
    assert report.requeued_after_s is not None
    assert report.requeued_after_s >= 0.0
    assert alive(story)
