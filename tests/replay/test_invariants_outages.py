"""Each promise about mass losses, broken by one decision, is named there; true stories break none."""

from collections.abc import Callable

import pytest

from events.base import Event
from events.clock import utc
from events.policy import Policy
from events.system import DetectorDegraded, SystemRecoveryCompleted, SystemRecoveryStaged, SystemRecoveryStarted
from events.task import TaskCompleted, TaskRequeued
from events.worker import WorkerExited, WorkerRecoveryStarted, WorkerStopped
from tests.recovery.story import Story, policy_changed
from tests.recovery.test_broker_outages import after_the_outage, fenced, returned
from tests.recovery.test_outages import bring_back, farm, names
from tests.recovery.test_repairs import kill, stillborn, under_repair
from tests.replay.wrong import agreed, checked, decided
from tests.replay.wrong import names as named

Given = Callable[[], Story]
Wrong = Callable[[Story], Event]


def unled(story: Story) -> Story:
    story.leading = False
    return story


def lost() -> Story:
    """Four of six are lost, and the leader has not looked."""
    story = unled(farm(6, tasks=6))
    kill(story, *names(0, 1, 2, 3))
    return story


def opened() -> Story:
    """The incident is open, w0 is the first stage."""
    story = farm(6, tasks=6)
    kill(story, *names(0, 1, 2, 3))
    return unled(story)


def back() -> Story:
    """Half of them are there again, and the leader has not looked."""
    story = opened()
    story.come_back("w0")
    story.come_back("w1")
    return story


def orphans_left() -> Story:
    """The incident is open, and tasks of those that are lost have not been put back."""
    story = unled(farm(6, Policy(requeue_burst=1, requeue_rate=0.01), tasks=6))
    kill(story, *names(0, 1, 2, 3))
    story.leading = True
    story.settle()
    return unled(story)


def poor() -> Story:
    """The same, and there are no retries."""
    story = unled(farm(6, Policy(infrastructure_retries=0), tasks=6))
    kill(story, *names(0, 1, 2, 3))
    return story


def one_died() -> Story:
    story = unled(farm(6, tasks=6))
    kill(story, "w0")
    return story


def left_in_order() -> Story:
    """One is dead, all others have ended in order, and the status says so."""
    story = farm(3)
    kill(story, "w0")
    for name in ("w1", "w2"):
        story.tell(WorkerStopped(worker_id=name, incarnation=story.worker(name).incarnation))
    return unled(story)


def switched_off() -> Story:
    story = opened()
    story.tell(policy_changed(Policy(auto_recovery=False)))
    return story


def incident(story: Story) -> str:
    return story.told(SystemRecoveryStarted)[0].incident_id


def stage(number: int, *workers: str) -> Wrong:
    return lambda story: SystemRecoveryStaged(incident_id=incident(story), stage=number, workers=workers)


def requeued(budget: str) -> Wrong:
    return lambda story: TaskRequeued(
        task_id="t0",
        attempt=1,
        worker_id="w0",
        reason="worker_failed",
        budget=budget,  # type: ignore[arg-type]
    )


def given_up(_: Story) -> Event:
    return TaskCompleted(task_id="t0", run_id="r1", verdict="crashed", attempt=1, worker_id="w0")


def begins(story: Story) -> Event:
    worker = story.worker("w1")
    return WorkerRecoveryStarted(
        worker_id="w1",
        incarnation=worker.failed_incarnation,
        attempt=1,
        strategy="restart",
        deadline=utc(story.now + 30.0),
    )


def opens(_: Story) -> Event:
    return SystemRecoveryStarted(incident_id="loss-1", incident_kind="mass_worker_loss", status="critical")


def of_another(_: Story) -> Event:
    return SystemRecoveryStaged(incident_id="another", stage=2, workers=("w1",))


TABLE: list[tuple[str, Given, Wrong, str]] = [
    ("charged, and many were lost", lost, requeued("infrastructure"), "budgets"),
    ("spared, and one was lost", one_died, requeued("none"), "budgets"),
    ("given up, and many were lost", poor, given_up, "budgets"),
    ("nobody was lost", left_in_order, opens, "one-incident"),
    ("begun outside of a stage", opened, begins, "staged-repairs"),
    ("the next stage too early", opened, stage(2, "w1"), "staged-repairs"),
    ("a stage of another incident", opened, of_another, "staged-repairs"),
    ("a stage before the tasks are back", orphans_left, stage(1, "w1"), "staged-repairs"),
    ("a stage when it is over", back, stage(2, "w1"), "staged-repairs"),
    ("too large a stage", opened, stage(2, "w1", "w2"), "staged-repairs"),
    ("a stage of those who live", opened, stage(2, "w5"), "staged-repairs"),
    ("a stage while recovery is off", switched_off, stage(2, "w1"), "operator-obeyed"),
]


def cut_off() -> Story:
    """The broker was away, and its worker has stopped t0."""
    story = fenced()
    story.tell(returned(story))
    return story


def cut_off_and_poor() -> Story:
    story = farm(3, Policy(infrastructure_retries=0), tasks=3)
    unled(story).tell(story.finished("t0", "fenced"), returned(story))
    return story


def given_up_as_fenced(story: Story) -> Event:
    return TaskCompleted(
        task_id="t0",
        run_id="r1",
        verdict="crashed",
        attempt=1,
        worker_id="w0",
        outcome="fenced",
        duration_s=1.0,
        result_sequence=story.last - 1,
    )


def put_back_as_fenced(budget: str) -> Wrong:
    return lambda _: TaskRequeued(
        task_id="t0",
        attempt=1,
        worker_id="w0",
        reason="fenced",
        budget=budget,  # type: ignore[arg-type]
    )


def opens_for_the_broker(_: Story) -> Event:
    return SystemRecoveryStarted(
        incident_id="broker-1", incident_kind="broker_outage", status="healthy", affected_tasks=2
    )


def just_opened() -> Story:
    story = fenced()
    after_the_outage(story, returned(story))
    return unled(story)


def open_and_critical() -> Story:
    story = just_opened()
    kill(story, "w1", "w2")
    story.now += 20.0
    return story


def closes(story: Story) -> Event:
    incident = story.state.incidents["broker_outage"]
    return SystemRecoveryCompleted(
        incident_id=incident.incident_id,
        incident_kind="broker_outage",
        status="healthy",
        success=True,
        duration_s=1.0,
    )


TABLE += [
    ("charged for what all were cut off from", cut_off, put_back_as_fenced("infrastructure"), "budgets"),
    ("given up for what all were cut off from", cut_off_and_poor, given_up_as_fenced, "budgets"),
    ("spared, and it was cut off alone", fenced, put_back_as_fenced("none"), "budgets"),
    ("the broker was not away", fenced, opens_for_the_broker, "one-incident"),
    ("closed before all were heard", just_opened, closes, "one-incident"),
    ("closed while most are missing", open_and_critical, closes, "one-incident"),
]


@pytest.mark.parametrize(("given", "wrong", "invariant"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_what_no_leader_may_decide(given: Given, wrong: Wrong, invariant: str) -> None:
    story = given()
    sequence = decided(story, wrong(story))
    assert (invariant, sequence) in named(checked(story))


def test_a_leader_that_keeps_to_it_breaks_nothing() -> None:
    story = farm(19, tasks=19)
    kill(story, *names(*range(12)))
    for name in sorted(under_repair(story)):
        stillborn(story, name)
    story.wait(2.0, *names(*range(12, 19)))
    story.tell(DetectorDegraded(reason="own_pause", extent_s=9.0, heartbeats_sequence=len(story.beats)))
    bring_back(story)
    story.wait(61.0, *names(*range(12, 19)))
    bring_back(story)
    incarnation = story.worker("w0").incarnation
    story.tell(WorkerExited(worker_id="w0", incarnation=incarnation, signal=9))
    story.come_back("w0")
    agreed(story)


def test_attempts_of_an_incident_are_counted_apart() -> None:
    story = farm(2)
    kill(story, "w0", "w1")
    story.wait(1000.0)
    agreed(story)


def test_an_outage_of_the_broker_that_all_live_through() -> None:
    story = fenced()
    story.tell(returned(story), returned(story))
    story.leading = True
    story.settle()
    story.tell(DetectorDegraded(reason="own_pause", extent_s=9.0, heartbeats_sequence=len(story.beats)))
    story.wait(20.0, *names(0, 1, 2))
    assert story.told(SystemRecoveryCompleted, incident_kind="broker_outage")
    agreed(story)
