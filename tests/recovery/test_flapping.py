"""Workers that fail and come back again and again, and cordons, whoever has ordered them."""

import pytest

from events import codec
from events.clock import utc
from events.policy import Policy
from events.system import DetectorDegraded, LeaderElected
from events.task import TaskAssigned
from events.worker import (
    WorkerCordoned,
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerReadmitted,
    WorkerRecoverySuperseded,
    WorkerStopped,
    WorkerUncordoned,
)
from tests.recovery.story import BEGIN, Story, policy_changed, registered, submitted


def drop(story: Story, worker_id: str = "w1", *, synthetic: str | None = None) -> None:
    """It exits, and comes back well."""
    incarnation = story.worker(worker_id).incarnation
    story.tell(WorkerExited(worker_id=worker_id, incarnation=incarnation, signal=9), synthetic=synthetic)
    story.come_back(worker_id)


def farm(policy: Policy | None = None, **labels: dict[str, str]) -> Story:
    """Three workers of two slots; labels by worker."""
    story = Story(policy)
    for name in ("w1", "w2", "w3"):
        story.join(name, slots=2, labels=labels.get(name))
    return story


def flapping(policy: Policy | None = None) -> Story:
    story = farm(policy)
    for _ in range(3):
        drop(story)
    return story


def durations(story: Story) -> list[float]:
    return [
        event.until.timestamp() - BEGIN - at
        for at, event in story.timed(WorkerCordoned, cause="flapping")
        if event.until is not None
    ]


def test_12_six_drops_with_good_recoveries_cordon_for_a_growing_time() -> None:
    story = farm()
    for _ in range(3):
        drop(story)
        story.wait(20.0, "w1", "w2", "w3")
    (first,) = story.told(WorkerCordoned)
    assert (first.worker_id, first.cause, first.failures, first.times) == ("w1", "flapping", 3, 1)
    assert "3 failures within 600 s" in first.reason
    story.wait(300.0, "w1", "w2", "w3")
    assert [event.cause for event in story.told(WorkerUncordoned)] == ["flapping"]
    for _ in range(3):
        drop(story)
        story.wait(20.0, "w1", "w2", "w3")
    assert durations(story) == [300.0, 600.0]
    assert story.told(WorkerCordoned)[1].times == 2
    assert not story.told(WorkerPermanentlyFailed)
    story.wait(600.0, "w1", "w2", "w3")
    assert not story.worker("w1").cordons


def test_a_worker_that_is_about_to_be_cordoned_gets_no_work_in_that_moment() -> None:
    story = farm()
    story.tell(*(submitted(f"t{number}") for number in range(20)))
    for _ in range(3):
        drop(story)
    assert story.worker("w1").cordons
    assert not story.worker("w1").held


def test_a_cordoned_worker_keeps_what_it_has_and_gets_nothing_new() -> None:
    story = farm()
    story.tell(*(submitted(f"t{number}") for number in range(6)))
    story.tell(WorkerCordoned(worker_id="w1", cause="operator", actor="alice"))
    held = set(story.worker("w1").held)
    assert len(held) == 2
    before = story.last
    story.tell(*(submitted(f"u{number}") for number in range(6)))
    story.start(*held)
    for task_id in held:
        story.finish(task_id)
    assert {event.worker_id for event in story.since(before) if isinstance(event, TaskAssigned)} <= {"w2", "w3"}
    assert not story.worker("w1").held
    assert (story.state.workers_live, story.state.workers_expected, story.status) == (3, 3, "healthy")
    story.wait(100.0, "w1", "w2", "w3")
    assert story.worker("w1").status == "alive"
    story.tell(WorkerUncordoned(worker_id="w1", actor="alice"))
    assert len(story.worker("w1").held) == 2


def test_a_cordon_outlives_incarnations_and_leaders() -> None:
    story = farm()
    story.tell(WorkerCordoned(worker_id="w1", cause="operator", actor="alice"))
    drop(story)
    story.tell(LeaderElected(coordinator_id="c2", term=2), submitted("t1"))
    assert story.task("t1").worker_id != "w1"
    assert set(story.worker("w1").cordons) == {"operator"}


def test_an_operator_s_cordon_may_end_by_itself() -> None:
    story = farm()
    story.tell(WorkerCordoned(worker_id="w1", cause="operator", actor="alice", until=utc(story.now + 60.0)))
    story.wait(59.0, "w1", "w2", "w3")
    assert not story.told(WorkerUncordoned)
    story.wait(1.0, "w1", "w2", "w3")
    assert [at for at, _ in story.timed(WorkerUncordoned, worker_id="w1", cause="operator")] == [60.0]


def test_one_cordon_for_each_cause() -> None:
    story = flapping()
    story.tell(WorkerCordoned(worker_id="w1", cause="operator", actor="alice"))
    story.wait(300.0, "w1", "w2", "w3")
    assert set(story.worker("w1").cordons) == {"operator"}, "the rule's is over, the operator's is not"
    story.tell(WorkerUncordoned(worker_id="w1", cause="flapping", actor="alice"))
    assert set(story.worker("w1").cordons) == {"operator"}
    story.tell(WorkerUncordoned(worker_id="w1", cause="operator", actor="alice"))
    assert not story.worker("w1").cordons


def test_what_changes_nothing_is_ignored() -> None:
    story = flapping()
    ordered = WorkerCordoned(worker_id="w2", cause="operator", actor="alice")
    story.tell(ordered)
    (ignored, last) = (story.state.ignored.total(), story.last)
    story.tell(
        ordered,
        WorkerCordoned(worker_id="w9", cause="operator", actor="alice"),
        WorkerCordoned(worker_id="w1", cause="flapping", until=utc(story.now + 9000.0), times=7),
        WorkerUncordoned(worker_id="w3", actor="alice"),
        WorkerUncordoned(worker_id="w9", actor="alice"),
        WorkerUncordoned(worker_id="w2", cause="flapping", actor="alice"),
    )
    # The first was told anew: it is another event, and says from now on why.
    assert story.state.ignored.total() == ignored + 5
    assert story.last == last + 6
    assert story.worker("w1").flap_cordons == 1


def test_an_operator_who_lifts_the_cordon_forgives() -> None:
    story = flapping()
    story.tell(WorkerUncordoned(worker_id="w1", actor="alice", reason="new cable"))
    for _ in range(3):
        drop(story)
    assert durations(story) == [300.0, 300.0]


def test_a_worker_that_was_good_for_long_begins_with_the_first_cordon_again() -> None:
    story = flapping(Policy(flap_cordon=10.0, flap_cordon_max=40.0))
    for pause in (10.0, 20.0, 40.0, 40.0):
        story.wait(pause, "w1", "w2", "w3")
        for _ in range(3):
            drop(story)
    assert durations(story) == [10.0, 20.0, 40.0, 40.0, 40.0], "no longer than the longest"
    story.wait(80.0, "w1", "w2", "w3")
    for _ in range(3):
        drop(story)
    assert durations(story)[-1] == 10.0


def test_failures_that_lie_apart_are_no_flapping() -> None:
    story = farm()
    for _ in range(4):
        drop(story)
        story.wait(301.0, "w1", "w2", "w3")
    assert not story.told(WorkerCordoned)


def test_drills_are_no_flapping() -> None:
    story = farm()
    for _ in range(4):
        drop(story, synthetic="drill")
    assert not story.told(WorkerCordoned)


def test_who_comes_back_by_itself_counts_as_well() -> None:
    story = farm(Policy(flap_failures=4))
    for _ in range(3):
        drop(story)
    story.tell(WorkerFailed(worker_id="w1", reason="silence"))
    story.come_back("w1")
    superseded = len(story.told(WorkerRecoverySuperseded))
    assert len(story.told(WorkerCordoned)) == 1, superseded


def test_the_last_worker_is_not_cordoned() -> None:
    story = Story()
    story.join("w1")
    for _ in range(5):
        drop(story)
    assert not story.told(WorkerCordoned)
    story.join("w2")
    assert [event.worker_id for event in story.told(WorkerCordoned)] == ["w1"], "now there is another one"


def test_of_two_that_flap_one_goes_on() -> None:
    story = Story()
    story.join("w1", "w2")
    for _ in range(4):
        drop(story, "w1")
        drop(story, "w2")
    assert len({event.worker_id for event in story.told(WorkerCordoned)}) == 1


def test_the_last_one_with_a_label_is_not_cordoned() -> None:
    story = farm(w1={"gpu": "yes"}, w2={"gpu": "no"}, w3={"gpu": "no"})
    for _ in range(3):
        drop(story, "w1")
        drop(story, "w2")
    assert [event.worker_id for event in story.told(WorkerCordoned)] == ["w2"]


def test_26_nobody_is_cordoned_while_recovery_is_off_and_a_cordon_ends_all_the_same() -> None:
    story = flapping()
    for _ in range(2):
        drop(story, "w2")
    story.tell(WorkerExited(worker_id="w2", incarnation=story.worker("w2").incarnation, signal=9))
    story.tell(policy_changed(Policy(auto_recovery=False)))
    story.come_back("w2")
    story.wait(300.0, "w1", "w2", "w3")
    assert not story.worker("w1").cordons
    assert [event.worker_id for event in story.told(WorkerCordoned)] == ["w1"]
    story.tell(policy_changed(Policy(flap_failures=2)))
    assert [event.worker_id for event in story.told(WorkerCordoned)] == ["w1", "w2"], "what is owed is done then"


def test_who_has_ended_in_order_or_was_given_up_is_not_cordoned() -> None:
    story = farm(Policy(flap_failures=4))
    for _ in range(3):
        drop(story, "w1")
        drop(story, "w2")
    story.tell(WorkerStopped(worker_id="w1", incarnation=story.worker("w1").incarnation))
    story.tell(WorkerFailed(worker_id="w2", reason="silence"), WorkerPermanentlyFailed(worker_id="w2", attempts=1))
    story.tell(policy_changed(Policy()))
    assert not story.told(WorkerCordoned)
    story.join("w1", "w4")
    assert [event.worker_id for event in story.told(WorkerCordoned)] == ["w1"]
    story.tell(WorkerReadmitted(worker_id="w2", actor="alice"))
    story.come_back("w2")
    assert len(story.told(WorkerCordoned)) == 1, "whoever is re-admitted begins anew"


@pytest.mark.parametrize("leap_s", [-100_000.0, 100_000.0])
def test_no_cordon_sticks_behind_a_clock_that_was_set(leap_s: float) -> None:
    story = flapping()
    story.leading = False
    story.now += leap_s
    story.tell(DetectorDegraded(reason="clock_step", extent_s=leap_s, heartbeats_sequence=len(story.beats)))
    story.leading = True
    story.wait(3600.0, "w1", "w2", "w3")
    assert not story.worker("w1").cordons


def test_a_cordon_goes_on_under_a_new_registration_of_fewer_slots() -> None:
    story = farm()
    story.tell(WorkerCordoned(worker_id="w2", cause="operator", actor="alice"))
    story.tell(registered("w2", slots=1))
    assert story.state.slots == 4


def test_a_cordon_that_stands_in_the_log_twice_counts_once() -> None:
    story = Story()
    story.join("w1")
    story.tell(WorkerCordoned(worker_id="w1", cause="operator", actor="alice"))
    told = story.records[-1]
    assert told.envelope is not None
    story.garbage(codec.encode(told.envelope), told.subject)
    assert story.state.ignored["worker.cordoned"] == 1
    assert list(story.worker("w1").cordons) == ["operator"]
