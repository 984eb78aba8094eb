"""The system as a whole: its status, its incidents, its leaders, and what it cannot read."""

from events.policy import Policy
from events.system import (
    CoordinatorStopped,
    EventParked,
    LeaderElected,
    SystemRecoveryCompleted,
    SystemRecoveryStarted,
    SystemStatusChanged,
)
from events.worker import (
    WorkerDraining,
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerReadmitted,
    WorkerRecoveryFailed,
    WorkerRecoveryScheduled,
)
from recovery.decisions import DECISIONS_MAX
from tests.recovery.story import Story, registered, submitted

NAMES = [f"w{number}" for number in range(1, 6)]


def kill(story: Story, *worker_ids: str) -> None:
    story.tell(
        *(WorkerExited(worker_id=name, incarnation=story.worker(name).incarnation, signal=9) for name in worker_ids)
    )


def test_15_one_incident_with_a_start_and_an_end() -> None:
    story = Story()
    story.join(*NAMES)
    story.tell(*(submitted(f"t{number}") for number in range(5)))
    story.start(*(f"t{number}" for number in range(5)))
    kill(story, "w1", "w2")
    assert story.status == "degraded"
    assert not story.told(SystemRecoveryStarted)
    story.wait(5.0, "w3", "w4", "w5")
    kill(story, "w3")
    (opened,) = story.told(SystemRecoveryStarted)
    assert (opened.incident_kind, opened.affected_workers) == ("mass_worker_loss", 3)
    assert {story.task(task_id).status for task_id in story.worker("w4").held} == {"running"}
    begun = story.last
    story.wait(30.0, "w4", "w5")
    kill(story, "w4")
    repeated = [event for event in story.since(begun) if isinstance(event, SystemRecoveryStarted | SystemStatusChanged)]
    assert not repeated, "staying critical repeats nothing"
    for name in ("w1", "w2"):
        story.come_back(name)
    (closed,) = story.told(SystemRecoveryCompleted)
    assert (closed.incident_id, closed.success, closed.status) == (opened.incident_id, True, "degraded")
    assert closed.duration_s == 30.0
    assert closed.affected_workers == 4
    for name in ("w3", "w4"):
        story.come_back(name)
    assert [event.status for event in story.told(SystemStatusChanged)] == [
        "healthy",
        "degraded",
        "critical",
        "degraded",
        "healthy",
    ]
    assert len(story.told(SystemRecoveryStarted)) == 1
    assert len(story.told(SystemRecoveryCompleted)) == 1


def test_2_all_are_gone_one_incident_and_no_task_is_lost() -> None:
    story = Story()
    story.join(*NAMES)
    story.tell(*(submitted(f"t{number}") for number in range(5)))
    story.start(*(f"t{number}" for number in range(5)))
    story.wait(16.0)
    assert len(story.told(WorkerFailed)) == 5
    assert len(story.told(WorkerRecoveryScheduled)) == 5
    assert len(story.told(SystemRecoveryStarted)) == 1
    assert {task.status for task in story.state.tasks.values()} == {"queued"}
    for name in NAMES:
        story.come_back(name)
    for number in range(5):
        story.start(f"t{number}")
        story.finish(f"t{number}")
    assert {task.verdict for task in story.state.tasks.values()} == {"passed"}
    assert len(story.told(SystemRecoveryCompleted)) == 1


def test_the_incident_of_a_farm_that_is_given_up_ends_without_success() -> None:
    story = Story()
    story.join("w1")
    kill(story, "w1")
    story.wait(1000.0)
    (permanent,) = story.told(WorkerPermanentlyFailed)
    assert permanent.worker_id == "w1"
    (closed,) = story.told(SystemRecoveryCompleted)
    assert (closed.success, closed.status) == (False, "idle")
    assert closed.message == "no worker is expected any more"


def test_thresholds_are_shares_of_the_expected() -> None:
    story = Story(Policy(degraded_below=0.8, critical_below=0.5))
    story.join(*NAMES)
    kill(story, "w1")
    assert story.status == "healthy", "4 of 5 is not below 0.8"
    story.tell(WorkerDraining(worker_id="w2", incarnation=story.worker("w2").incarnation))
    assert story.status == "degraded", "3 of 4: a drained one is not expected"
    story.wait(4.0, "w3", "w4", "w5")
    kill(story, "w3", "w4")
    assert story.status == "critical"


def test_a_flood_of_failures_is_answered_in_bounded_batches() -> None:
    story = Story(checks=False)
    count = 2 * DECISIONS_MAX + 7
    story.tell(*(registered(f"w{number}") for number in range(count)))
    story.wait(30.0)
    assert len(story.told(WorkerFailed)) == count
    assert max(len(batch.decisions) for batch in story.batches) == DECISIONS_MAX
    assert len(story.told(SystemRecoveryStarted)) == 1


def test_30_what_cannot_be_read_is_parked_once() -> None:
    story = Story()
    story.join("w1")
    for payload in (b"", b"\xff\xfe\x00", b'{"event": {"kind": "worker.exploded"}}', b"[" * 5000, b"x" * 100_000):
        story.garbage(payload)
    parked = story.told(EventParked)
    assert len(parked) == 5
    assert [story.records[event.sequence - 1].raw[:2] for event in parked] == [b"", b"\xff\xfe", b'{"', b"[[", b"xx"]
    assert "unknown kind 'worker.exploded'" in parked[2].reason
    assert not story.state.parked
    quiet = story.last
    story.wait(3.0)
    assert story.last == quiet
    assert story.worker("w1").status == "alive"


def test_a_leader_that_followed_another_reports_the_failover() -> None:
    story = Story()
    story.join("w1")
    story.tell(submitted("t1"))
    assert not story.told(SystemRecoveryStarted)
    story.tell(LeaderElected(coordinator_id="c2", term=2))
    (opened,) = story.told(SystemRecoveryStarted)
    (closed,) = story.told(SystemRecoveryCompleted)
    assert opened.incident_kind == closed.incident_kind == "coordinator_failover"
    assert opened.incident_id == closed.incident_id == f"failover-{story.state.fencing_token}"
    assert opened.affected_tasks == 1
    assert closed.success


def test_a_leader_that_followed_one_which_stepped_down_reports_nothing() -> None:
    story = Story()
    story.tell(CoordinatorStopped(coordinator_id="somebody-else"))
    story.tell(CoordinatorStopped(coordinator_id="c1"))
    story.tell(LeaderElected(coordinator_id="c2", term=2))
    assert not story.told(SystemRecoveryStarted)


def test_two_failovers_before_a_leader_decides_are_two_incidents_at_most() -> None:
    story = Story()
    story.tell(LeaderElected(coordinator_id="c2", term=2), LeaderElected(coordinator_id="c3", term=3))
    assert len(story.told(SystemRecoveryStarted)) == 1
    story.tell(LeaderElected(coordinator_id="c1", term=4))
    assert len(story.told(SystemRecoveryStarted)) == len(story.told(SystemRecoveryCompleted)) == 2


def test_only_its_own_end_closes_an_incident() -> None:
    story = Story()
    story.join("w1")
    kill(story, "w1")
    incident = story.state.incidents["mass_worker_loss"]
    story.tell(
        SystemRecoveryCompleted(
            incident_id="another",
            incident_kind="mass_worker_loss",
            status="healthy",
            success=True,
            duration_s=0.0,
        )
    )
    assert story.state.incidents["mass_worker_loss"] is incident


def test_causes_lead_back_to_the_failure() -> None:
    story = Story()
    story.join("w1")
    kill(story, "w1")
    story.wait(40.0)
    story.come_back("w1")
    by_id = {recorded.id: recorded for recorded in story.records}
    failure = next(recorded for recorded in story.records if isinstance(recorded.event, WorkerFailed))
    for recorded in story.records:
        envelope = recorded.envelope
        assert envelope is not None
        if envelope.decision is None or not envelope.event.tail().startswith("worker.w1.recovery"):
            continue
        assert envelope.correlation_id == failure.id
        assert envelope.causation_id in by_id
        assert by_id[envelope.causation_id].sequence < recorded.sequence
    exited = by_id[failure.envelope.causation_id or ""] if failure.envelope is not None else None
    assert exited is not None
    assert isinstance(exited.event, WorkerExited)
    assert story.told(WorkerRecoveryFailed)


def test_readmission_of_a_worker_that_is_not_excluded_is_ignored() -> None:
    story = Story()
    story.join("w1")
    ignored = story.state.ignored.total()
    story.tell(WorkerReadmitted(worker_id="w1", actor="alice"), WorkerReadmitted(worker_id="w9", actor="alice"))
    assert story.state.ignored.total() == ignored + 2
