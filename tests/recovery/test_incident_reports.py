"""The reports of incidents in which nobody was lost."""

from collections.abc import Callable

import pytest

from events.policy import Policy
from events.system import CoordinatorStopped, IncidentReport, LeaderElected, Obstacle, SystemRecoveryCompleted
from events.task import TaskCancelRequested
from events.worker import WorkerCordoned, WorkerExited, WorkerStalled, WorkerUncordoned
from recovery.entities import Worker
from recovery.incident_reports import obstacles
from recovery.lifecycle import WorkerStatus
from recovery.state import State
from tests.recovery.story import Story, submitted


def report_of(story: Story, kind: str) -> IncidentReport:
    (completed,) = story.told(SystemRecoveryCompleted, incident_kind=kind)
    assert completed.report is not None
    return completed.report


def test_a_change_of_leaders_says_who_followed_whom_and_what_became_of_the_tasks() -> None:
    story = Story(Policy(queue_stalled_after=1000.0))
    story.join("w1")
    story.tell(submitted("t1"), *(submitted(f"t{number}") for number in range(2, 30)))
    story.start("t1")
    decided_at = story.now
    story.leading = False
    story.wait(4.5, "w1")
    story.leading = True
    story.tell(LeaderElected(coordinator_id="c2", term=2))
    report = report_of(story, "coordinator_failover")
    assert (report.leader, report.leader_before, report.term) == ("c2", "c1", 2)
    assert report.undecided_s == story.now - decided_at == 4.5
    held = len(story.worker("w1").held)
    assert (report.tasks_preserved, report.tasks_waiting) == (held, 29 - held)


def test_one_that_stepped_down_has_no_successor_to_report() -> None:
    story = Story()
    story.tell(CoordinatorStopped(coordinator_id="c1"), LeaderElected(coordinator_id="c2", term=2))
    assert story.state.predecessor is None
    assert not story.told(SystemRecoveryCompleted)


def test_a_clock_that_was_set_back_makes_no_time_negative() -> None:
    story = Story()
    story.join("w1")
    story.now -= 100.0
    story.tell(LeaderElected(coordinator_id="c2", term=2))
    assert report_of(story, "coordinator_failover").undecided_s == 0.0


def test_a_standstill_says_how_long_and_why() -> None:
    story = Story()
    story.join("w1", "w2", "w3")
    story.tell(*(WorkerCordoned(worker_id=name, cause="operator", actor="alice") for name in ("w1", "w2")))
    story.tell(WorkerStalled(worker_id="w3", incarnation=story.worker("w3").incarnation, cause="not_started"))
    story.tell(submitted("t1"), submitted("t2"))
    begun = story.now
    story.wait(70.0, "w1", "w2", "w3")
    story.tell(WorkerUncordoned(worker_id="w2", actor="alice"))
    report = report_of(story, "stalled_queue")
    assert report.obstacles == {"cordoned": 2, "stalled": 1}
    assert report.stood_still_s == story.now - begun
    assert (report.workers, report.tasks_waiting) == (("w3",), 2 - len(story.worker("w2").held))


def test_a_standstill_that_ends_with_its_work_leaves_nothing_waiting() -> None:
    story = Story()
    story.join("w1")
    story.tell(WorkerCordoned(worker_id="w1", cause="operator", actor="alice"), submitted("t1"))
    story.wait(61.0, "w1")
    story.tell(TaskCancelRequested(task_id="t1", actor="alice"))
    assert report_of(story, "stalled_queue").tasks_waiting == 0


def cordon(worker: Worker) -> None:
    story = Story()
    story.join(worker.worker_id)
    story.tell(WorkerCordoned(worker_id=worker.worker_id, cause="operator", actor="alice"))
    worker.cordons = story.worker(worker.worker_id).cordons


def repair(worker: Worker) -> None:
    story = Story()
    story.join(worker.worker_id)
    story.tell(WorkerExited(worker_id=worker.worker_id, incarnation=story.worker(worker.worker_id).incarnation))
    worker.attempt = story.worker(worker.worker_id).attempt
    assert worker.attempt is not None


def set_apart(worker: Worker) -> None:
    worker.set_apart_for = "t1"


def nothing(_: Worker) -> None:
    """It has other labels than are asked for."""


@pytest.mark.parametrize(
    ("status", "besides", "obstacle"),
    [
        ("exited", nothing, "failed"),
        ("failed", repair, "failed"),
        ("suspect", cordon, "suspect"),
        ("stalled", nothing, "stalled"),
        ("alive", cordon, "cordoned"),
        ("alive", repair, "under_repair"),
        ("alive", set_apart, "set_apart"),
        ("alive", nothing, "unfit"),
        ("stopped", nothing, None),
        ("draining", nothing, None),
        ("permanent", nothing, None),
    ],
)
def test_each_worker_is_counted_by_what_keeps_it_from_work(
    status: WorkerStatus, besides: Callable[[Worker], None], obstacle: Obstacle | None
) -> None:
    story = Story()
    story.join("w1")
    worker = story.worker("w1")
    worker.status = status
    besides(worker)
    state = State(workers={"w1": worker})
    assert obstacles(state) == (() if obstacle is None else ((obstacle, 1),))
