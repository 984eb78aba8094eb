"""What is done about workers that are about to fail: what, when, to how many at once, and when nothing is."""

from typing import Any

import msgspec
import pytest

from events.clock import utc
from events.forecast import PredictorTrustChanged, WorkerPredictionJudged
from events.policy import Policy
from events.system import (
    BreakerClosed,
    BreakerOpened,
    DetectorDegraded,
    LeaderElected,
    RecoveryPaused,
    RecoveryResumed,
    SystemRecoveryCompleted,
    SystemRecoveryStarted,
)
from events.task import TaskAssigned, TaskCompleted, TaskRequeued
from events.worker import (
    WorkerCordoned,
    WorkerDraining,
    WorkerDrainRequested,
    WorkerExited,
    WorkerFailed,
    WorkerRecoveryScheduled,
    WorkerUncordoned,
)
from tests.recovery.forecasts import GIB, Farm, leaking, steady
from tests.recovery.story import BEGIN, Story, policy_changed, registered, submitted
from tests.recovery.test_forecast_scenarios import LEAK, disk, judgements, lag, mostly, predictions, run_tasks

POLICY = Policy()
OFF = Policy(enable_proactive_recovery=False)


def farm(policy: Policy = POLICY, *worker_ids: str, **fields: Any) -> Farm:
    names = worker_ids or ("w1", "w2", "w3")
    story = Story(policy)
    for name in names:
        story.join(name, **fields)
    return Farm(story, *names)


def orders(one: Farm) -> list[WorkerDrainRequested]:
    return one.story.told(WorkerDrainRequested)


def begin_anew(one: Farm, worker_id: str = "w2") -> None:
    """It obeys."""
    story = one.story
    story.tell(WorkerDraining(worker_id=worker_id, incarnation=story.worker(worker_id).incarnation))
    one.live(2.0)
    story.tell(registered(worker_id))
    one.follow(worker_id, steady())
    one.live(30.0)


def test_a_worker_that_runs_out_of_memory_begins_anew_before_it_does() -> None:
    """It costs no failure, no budget, no task."""
    one = farm()
    story = one.story
    one.follow("w2", LEAK)
    story.tell(*(submitted(f"t{number}") for number in range(6)))
    running = next(name for name, task in story.state.tasks.items() if task.worker_id == "w2")
    story.start(running)
    one.live(200.0)
    (said,), (order,) = predictions(story), orders(one)
    incarnation = story.worker("w2").incarnation
    assert (order.worker_id, order.incarnation, order.restart) == ("w2", incarnation, True)
    assert order.actor == "proactive recovery"
    assert order.reason.startswith("memory heads for its limit, expected at 1970-01-12 13:5")
    assert story.worker("w2").status == "draining"
    assert list(story.state.renewing) == ["w2"]
    story.finish(running)
    begin_anew(one)
    assert story.worker("w2").incarnation > incarnation
    assert story.state.renewing == {}
    ((right, why),) = judgements(story)
    assert right
    assert why == "its new start gave back 2048 MiB, of 1638 MiB that it had taken meanwhile"
    assert story.told(WorkerPredictionJudged)[0].acted
    assert not story.told(WorkerFailed)
    assert not story.told(WorkerRecoveryScheduled)
    assert all(event.budget == "none" for event in story.told(TaskRequeued))
    assert story.told(TaskCompleted)[0].verdict == "passed"
    assert said.worker_id == "w2"


def test_a_new_start_that_gives_nothing_back_was_in_vain() -> None:
    one = farm()
    one.follow("w2", LEAK)
    one.live(200.0)
    one.story.tell(registered("w2"))
    one.follow("w2", steady(own=3.0 * GIB))
    one.live(30.0)
    ((right, why),) = judgements(one.story)
    assert right is False
    assert why.startswith("its new start gave back 0 MiB")


def test_what_its_processes_take_then_may_be_unknown() -> None:
    one = farm()
    one.follow("w2", LEAK)
    one.live(200.0)
    one.story.tell(registered("w2"))
    one.follow("w2", lambda _: {"memory_available_bytes": GIB})
    one.live(30.0)
    assert judgements(one.story) == [(None, "what its processes take is not known")]


def test_one_that_fails_before_it_could_begin_anew_was_rightly_foretold() -> None:
    one = farm()
    one.follow("w2", LEAK)
    one.live(200.0)
    assert len(orders(one)) == 1
    one.story.tell(WorkerExited(worker_id="w2", incarnation=one.story.worker("w2").incarnation, signal=9))
    assert judgements(one.story) == [(True, "it failed: worker_exit")]
    assert one.story.state.renewing == {}


def test_one_that_never_obeys_leaves_it_open() -> None:
    one = farm()
    one.follow("w2", leaking(GIB / 50))
    one.live(150.0)
    assert len(orders(one)) == 1
    one.follow("w2", steady(left=GIB))
    one.live(POLICY.forecast_cooldown + 10.0)
    assert judgements(one.story) == [(None, "it was to begin anew, and has shown nothing since")]


def test_a_loop_that_was_late_and_is_not_any_more() -> None:
    one = farm()
    one.follow("w2", lag)
    one.live(220.0)
    assert len(orders(one)) == 1
    one.story.tell(registered("w2"))
    one.follow("w2", lambda _: {"loop_lag_s": 0.01})
    one.live(30.0)
    ((right, why),) = judgements(one.story)
    assert right
    assert why.startswith("the new agent's loop is 0.010 s late; it was 0.9")


def test_failures_that_end_with_a_new_start() -> None:
    one = farm()
    run_tasks(one, {"w1": mostly(1), "w2": mostly(1), "w3": mostly(1)})
    run_tasks(one, {"w1": mostly(1), "w2": mostly(12), "w3": mostly(1)})
    assert [order.worker_id for order in orders(one)] == ["w2"]
    one.story.tell(registered("w2"))
    run_tasks(one, {"w1": mostly(1), "w2": mostly(1), "w3": mostly(1)})
    assert judgements(one.story) == [(True, "of 24 attempts of the new incarnation, 1 failed")]


def test_a_disk_that_fills_gets_no_more_work_for_a_while() -> None:
    """No start empties it."""
    one = farm()
    one.follow("w2", lambda at: disk(at) if at < 240.0 else disk(240.0))
    one.live(240.0)
    (cordon,) = one.story.told(WorkerCordoned)
    ((at, _),) = one.story.timed(WorkerCordoned)
    assert (cordon.worker_id, cordon.cause) == ("w2", "forecast")
    assert cordon.until is not None
    assert cordon.until.timestamp() == pytest.approx(BEGIN + at + POLICY.forecast_cooldown)
    assert not orders(one)
    one.story.tell(*(submitted(f"t{number}") for number in range(6)))
    assert "w2" not in {event.worker_id for event in one.story.told(TaskAssigned)}
    one.live(POLICY.forecast_cooldown)
    assert [event.cause for event in one.story.told(WorkerUncordoned)] == ["forecast"]
    assert judgements(one.story) == [(None, "it got no more work: nobody knows what more of it would have done")]


def test_a_disk_that_is_full_all_the_same_was_rightly_foretold() -> None:
    one = farm()
    one.follow("w2", disk)
    one.live(320.0)
    assert len(one.story.told(WorkerCordoned)) == 1
    assert judgements(one.story) == [(True, "it had no more than 5% left of what it had then")]


# When nothing is done


def test_never_the_last_one() -> None:
    one = farm(POLICY, "w1")
    one.follow("w1", LEAK)
    one.live(250.0)
    assert len(predictions(one.story)) == 1
    assert not orders(one)
    one.story.join("w2")
    one.follow("w2", steady())
    one.live(2.0)
    assert [order.worker_id for order in orders(one)] == ["w1"], "as soon as there is another one"


def test_never_the_last_one_with_its_label() -> None:
    story = Story()
    story.join("w1", labels={"gpu": "yes"})
    story.join("w2", "w3")
    one = Farm(story, "w2", "w3")
    one.follow("w1", LEAK)
    one.live(250.0)
    assert len(predictions(story)) == 1
    assert not orders(one)


@pytest.mark.parametrize("count", [4, 30])
def test_no_more_at_once_than_may_be_under_repair(count: int) -> None:
    names = [f"w{number}" for number in range(1, count + 1)]
    story = Story(checks=False)
    story.join(*names)
    one = Farm(story, *names[5:])
    for name in names[:5]:
        one.follow(name, LEAK)
    one.live(200.0)
    assert len(predictions(story)) == min(count, 5)
    at_once = max(1, count // 10)
    assert len(orders(one)) == at_once
    begin_anew(one, orders(one)[0].worker_id)
    assert len(orders(one)) == at_once + 1


def test_not_while_others_are_missing() -> None:
    one = farm(POLICY, "w1", "w2", "w3", "w4")
    one.follow("w2", LEAK)
    one.live(148.0)
    one.story.tell(WorkerExited(worker_id="w4", incarnation=one.story.worker("w4").incarnation, signal=9))
    one.live(24.0)
    assert len(predictions(one.story)) == 1
    assert not orders(one)
    one.story.come_back("w4")
    assert len(orders(one)) == 1


def test_not_while_the_system_has_an_incident() -> None:
    one = farm(OFF)
    one.follow("w2", LEAK)
    one.live(200.0)
    assert len(predictions(one.story)) == 1
    one.story.leading = False
    incident = SystemRecoveryStarted(incident_id="i1", incident_kind="mass_worker_loss", status="critical")
    one.story.tell(policy_changed(POLICY), incident)
    assert [type(decision.event) for decision in one.story.lead()] == [SystemRecoveryCompleted]
    assert [type(decision.event) for decision in one.story.lead()] == [WorkerDrainRequested]


def test_not_while_workers_cannot_be_brought_back() -> None:
    one = farm(OFF)
    one.follow("w2", LEAK)
    one.live(200.0)
    one.story.leading = False
    opened = BreakerOpened(workers_failed=3, workers_tried=4, until=utc(one.story.now), times=1)
    one.story.tell(policy_changed(POLICY), opened)
    assert [type(decision.event) for decision in one.story.lead()] == [BreakerClosed], "nobody waits for anything"
    assert [type(decision.event) for decision in one.story.lead()] == [WorkerDrainRequested]


def test_not_while_recovery_is_paused_or_off() -> None:
    one = farm()
    one.story.tell(RecoveryPaused(actor="alice"))
    one.follow("w2", LEAK)
    one.live(200.0)
    assert len(predictions(one.story)) == 1
    one.story.tell(RecoveryResumed(actor="alice"), policy_changed(Policy(auto_recovery=False)))
    assert not orders(one)
    one.story.tell(policy_changed(OFF))
    assert not orders(one)
    one.story.tell(policy_changed(POLICY))
    assert len(orders(one)) == 1


@pytest.mark.parametrize("what", ["doubt", "election"])
def test_not_while_it_is_uncertain_what_is_seen(what: str) -> None:
    one = farm(OFF)
    one.follow("w2", LEAK)
    one.live(200.0)
    doubt = DetectorDegraded(
        reason="own_pause", extent_s=3.0, heartbeats_sequence=len(one.story.beats), coordinator_id="c1"
    )
    one.story.tell(doubt if what == "doubt" else LeaderElected(coordinator_id="c2", term=2), policy_changed(POLICY))
    uncertain_s = one.story.state.rules.failed_after_max
    one.live(uncertain_s - 2.0)
    assert not orders(one)
    one.live(4.0)
    assert len(orders(one)) == 1


def test_not_twice_within_a_while() -> None:
    one = farm()
    one.follow("w2", LEAK)
    one.live(200.0)
    begin_anew(one)
    one.follow("w2", lag)
    one.live(250.0)
    assert [said.remedy for said in predictions(one.story)] == ["restart", "none"]
    assert len(orders(one)) == 1


def test_not_on_the_word_of_what_was_often_wrong() -> None:
    one = farm(msgspec.structs.replace(POLICY, forecast_judged_min=1))
    one.follow("w2", LEAK)
    one.live(200.0)
    one.story.tell(registered("w2"))
    one.follow("w2", steady(own=3.0 * GIB))
    one.live(40.0)
    assert [event.acts for event in one.story.told(PredictorTrustChanged)] == [False]
    one.follow("w3", LEAK)
    one.live(200.0)
    assert [said.worker_id for said in predictions(one.story)] == ["w2", "w3"]
    assert len(orders(one)) == 1


def test_somebody_elses_order_is_an_order_as_well() -> None:
    one = farm(OFF)
    one.follow("w2", LEAK)
    one.live(200.0)
    one.story.tell(WorkerDrainRequested(worker_id="w2", actor="alice", restart=True))
    begin_anew(one)
    assert one.story.told(WorkerPredictionJudged)[0].acted
    assert [right for right, _ in judgements(one.story)] == [True]


def test_an_order_to_end_leaves_nothing_to_foresee() -> None:
    one = farm(OFF)
    one.follow("w2", LEAK)
    one.live(200.0)
    one.story.tell(WorkerDrainRequested(worker_id="w2", actor="alice"))
    assert judgements(one.story) == [(None, "it ended in order before that")]


def test_a_cordon_for_what_is_foreseen_ends_in_time_whatever_the_clock_does() -> None:
    one = farm()
    one.follow("w2", disk)
    one.live(200.0)
    assert "forecast" in one.story.worker("w2").cordons
    one.story.now -= 10_000.0
    one.story.tell(
        DetectorDegraded(
            reason="clock_step", extent_s=-1e4, heartbeats_sequence=len(one.story.beats), coordinator_id="c1"
        )
    )
    assert one.story.worker("w2").cordons["forecast"].until <= one.story.now + POLICY.forecast_cooldown
    renewed_at = one.story.worker("w2").foresight.renewed_at
    assert renewed_at is not None
    assert renewed_at <= one.story.now


def test_a_cordon_without_an_end_is_judged_at_once() -> None:
    one = farm(OFF)
    one.follow("w2", disk)
    one.live(200.0)
    one.story.tell(WorkerCordoned(worker_id="w2", cause="forecast", actor="somebody"))
    assert [right for right, _ in judgements(one.story)] == [None]


def test_each_remedy_is_for_what_it_helps_against() -> None:
    """A new start does not empty a disk: that prediction stays open, and is left so when the worker begins anew."""
    one = farm()
    one.follow("w2", lambda at: disk(at) | LEAK(at))
    one.live(170.0)
    assert {said.remedy for said in predictions(one.story)} == {"restart", "cordon"}
    assert len(orders(one)) == 1
    assert not one.story.told(WorkerCordoned)
    begin_anew(one)
    told = one.story.told(WorkerPredictionJudged)
    assert {(event.resource, event.acted, event.right) for event in told} == {
        ("memory", True, True),
        ("disk", False, None),
    }


def test_a_new_incarnation_that_fails_says_nothing_of_the_old_one() -> None:
    one = farm()
    one.follow("w2", LEAK)
    one.live(200.0)
    one.story.tell(registered("w2"))
    one.story.tell(WorkerExited(worker_id="w2", incarnation=one.story.worker("w2").incarnation, signal=9))
    assert judgements(one.story) == []
    one.story.come_back("w2")
    one.follow("w2", steady())
    one.live(30.0)
    assert [right for right, _ in judgements(one.story)] == [True]
