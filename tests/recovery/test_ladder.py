"""Which rung an attempt climbs, on what figures, and what becomes of a strategy's act."""

from typing import Any, get_args

import msgspec
import pytest

from events.failures import LADDERS, FailureReason, Rung
from events.policy import Policy
from events.system import LeaderElected
from events.worker import (
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerReadmitted,
    WorkerRecoveryActed,
    WorkerRecoveryFailed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerVanished,
)
from recovery.ladder import choose
from recovery.record import ATTEMPTS_MAX, RECORDS_MAX, Record, Records, note
from tests.recovery.story import Story, policy_changed, registered

QUICK = Policy(recovery_attempt_timeout=5.0)
LOCAL = msgspec.structs.replace(QUICK, launcher="local")


def with_policy(**settings: Any) -> Policy:
    return msgspec.structs.replace(QUICK, **settings)


def exit_of(story: Story, worker_id: str = "w1") -> None:
    story.tell(WorkerExited(worker_id=worker_id, incarnation=story.worker(worker_id).incarnation, signal=9))


def vanish(story: Story, worker_id: str = "w1") -> None:
    incarnation = story.worker(worker_id).incarnation
    story.tell(WorkerVanished(worker_id=worker_id, incarnation=incarnation, machine="m1", lifeline="l1"))


def act(story: Story, outcome: Any, detail: str = "", worker_id: str = "w1") -> WorkerRecoveryStarted:
    """What its leader says of the attempt that has started last."""
    started = story.told(WorkerRecoveryStarted, worker_id=worker_id)[-1]
    story.tell(
        WorkerRecoveryActed(
            worker_id=worker_id,
            incarnation=started.incarnation,
            attempt=started.attempt,
            strategy=started.strategy,
            outcome=outcome,
            detail=detail,
        )
    )
    return started


def tried(story: Story) -> list[str]:
    return [event.strategy for event in story.told(WorkerRecoveryStarted)]


# The order


@pytest.mark.parametrize("reason", get_args(FailureReason))
def test_every_failure_has_a_ladder(reason: FailureReason) -> None:
    assert Policy().ladder(reason) == LADDERS[reason]
    assert set(LADDERS) == set(get_args(FailureReason))


CLIMBS = (
    # policy, how it fails, what is tried
    (QUICK, "silence", ["await", "reconnect", "restart", "restart", "restart"]),
    (LOCAL, "silence", ["await", "reconnect", "restart", "replace", "replace"]),
    (QUICK, "worker_exit", ["restart"] * 5),
    (LOCAL, "worker_exit", ["restart", *["replace"] * 4]),
    (QUICK, "disconnected", ["await", *["restart"] * 4]),
    (LOCAL, "disconnected", ["replace", "await", "restart", "replace", "replace"]),
    # The fewer attempts there are, the less is left out at the end.
    (msgspec.structs.replace(QUICK, max_recovery_attempts=1), "silence", ["restart"]),
    (msgspec.structs.replace(LOCAL, max_recovery_attempts=1), "silence", ["replace"]),
    (msgspec.structs.replace(LOCAL, max_recovery_attempts=1), "disconnected", ["replace"]),
    (msgspec.structs.replace(LOCAL, max_recovery_attempts=2), "silence", ["restart", "replace"]),
    (msgspec.structs.replace(LOCAL, max_recovery_attempts=3), "silence", ["reconnect", "restart", "replace"]),
    # The policy's own.
    (with_policy(ladders={"silence": ("power-cycle", "await")}), "silence", ["power-cycle", *["await"] * 4]),
    (with_policy(ladders={"silence": ("restart",)}), "worker_exit", ["restart"] * 5),
    (with_policy(ladders={"silence": ("replace",)}), "silence", ["await"] * 5),
)


@pytest.mark.parametrize(("policy", "reason", "strategies"), CLIMBS)
def test_11_21_one_rung_an_attempt(policy: Policy, reason: str, strategies: list[str]) -> None:
    """Nobody comes back: every rung is tried, then it is given up, and nothing is done any more."""
    story = Story(policy)
    story.join("w1")
    ways = {"worker_exit": exit_of, "disconnected": vanish, "silence": lambda story: story.wait(16.0)}
    ways[reason](story)
    story.wait(400.0)
    assert tried(story) == strategies
    assert {event.reason for event in story.told(WorkerRecoveryScheduled)} == {reason}
    assert [event.strategy for event in story.told(WorkerRecoveryFailed)] == strategies
    assert len(story.told(WorkerPermanentlyFailed)) == 1
    last = story.last
    story.wait(2_000.0)
    assert story.last == last


def test_a_drill_starts_no_processes() -> None:
    story = Story(LOCAL)
    story.join("w1")
    story.tell(WorkerFailed(worker_id="w1", reason="synthetic"), synthetic="drill")
    story.wait(400.0)
    assert tried(story) == ["await", *["restart"] * 4]
    assert not story.state.records


def test_a_choice_says_what_it_rejected_and_why() -> None:
    story = Story(QUICK)
    story.join("w1")
    story.wait(21.0)
    first, second = story.told(WorkerRecoveryScheduled)
    assert first.order == "ladder"
    assert first.considered == (
        Rung(strategy="await"),
        Rung(strategy="reconnect"),
        Rung(strategy="restart"),
        Rung(strategy="replace", rejected="no launcher is configured"),
    )
    assert second.considered[0] == Rung(strategy="await", failed=1, rejected="it has failed lately")
    rules = [batch.decisions[0].rule for batch in story.batches if batch.decisions[0].event in (first, second)]
    assert rules == ["failed worker: next rung"] * 2


def test_what_has_failed_is_tried_again_when_all_has_failed() -> None:
    story = Story(with_policy(ladders={"worker_exit": ("restart", "await")}))
    story.join("w1")
    exit_of(story)
    story.wait(400.0)
    assert tried(story) == ["restart", "await", "await", "await", "await"]
    last = story.told(WorkerRecoveryScheduled)[-1]
    assert [rung.rejected for rung in last.considered] == ["it has failed lately", ""]


def test_rungs_that_failed_long_ago_are_climbed_again() -> None:
    story = Story(with_policy(recovery_attempts_window=60.0, recovery_interval=1.0))
    story.join("w1")
    story.wait(21.0)
    assert tried(story) == ["await", "reconnect"]
    story.come_back("w1")
    story.wait(100.0, "w1")
    begun = len(tried(story))
    story.wait(16.0)
    assert tried(story)[begun:] == ["await"]


def test_rungs_are_forgotten_after_the_stable_time_and_by_an_operator() -> None:
    story = Story(with_policy(attempts_reset_after=100.0, max_recovery_attempts=4))
    story.join("w1")
    story.wait(21.0)
    story.come_back("w1")
    story.wait(101.0, "w1")
    story.wait(16.0)
    assert tried(story) == ["await", "reconnect", "await"]
    story.wait(400.0)
    assert story.worker("w1").status == "permanent"
    story.tell(WorkerReadmitted(worker_id="w1", actor="alice"))
    assert tried(story)[-1] == "await"


# What a leader does itself


def test_an_attempt_waits_for_its_act_and_then_for_the_worker() -> None:
    story = Story(LOCAL)
    story.join("w1")
    vanish(story)
    assert list(story.state.effects) == ["w1"]
    act(story, "done", "process 12")
    assert not story.state.effects
    assert not story.told(WorkerRecoveryFailed)
    story.come_back("w1")
    (succeeded,) = story.told(WorkerRecoverySucceeded)
    assert succeeded.strategy == "replace"
    assert story.state.records["disconnected", "replace"] == Record(succeeded=1)


def test_an_act_that_failed_ends_the_attempt_at_once() -> None:
    story = Story(LOCAL)
    story.join("w1")
    vanish(story)
    act(story, "failed", "no route to host")
    (failed,) = story.told(WorkerRecoveryFailed)
    assert failed.error == "replace could not be carried out: no route to host"
    assert story.now - story.worker("w1").failed_at == 0.0
    assert story.state.records["disconnected", "replace"] == Record(failed=1)
    story.wait(1.0)
    assert tried(story) == ["replace", "await"]


def test_an_act_that_says_nothing_of_itself() -> None:
    story = Story(LOCAL)
    story.join("w1")
    vanish(story)
    act(story, "failed")
    assert story.told(WorkerRecoveryFailed)[0].error == "replace could not be carried out: nobody says why"


def test_what_cannot_be_done_is_not_tried_again() -> None:
    story = Story(LOCAL)
    story.join("w1")
    vanish(story)
    act(story, "unavailable", "another machine")
    story.wait(400.0)
    assert tried(story) == ["replace", "await", *["restart"] * 3]
    second = story.told(WorkerRecoveryScheduled)[1]
    assert second.considered[0] == Rung(strategy="replace", rejected="another machine")
    assert ("disconnected", "replace") not in story.state.records


def test_what_could_not_be_done_is_tried_again_under_another_policy() -> None:
    story = Story(LOCAL)
    story.join("w1")
    vanish(story)
    act(story, "unavailable", "another machine")
    story.wait(1.0)
    assert tried(story) == ["replace", "await"]
    story.tell(policy_changed(msgspec.structs.replace(LOCAL, launcher="remote")))
    story.wait(400.0)
    assert tried(story) == ["replace", "await", "restart", "replace", "replace"]


def test_what_could_not_be_done_is_forgotten_when_the_worker_is_back() -> None:
    story = Story(with_policy(ladders={"worker_exit": ("power-cycle", "restart")}))
    story.join("w1")
    exit_of(story)
    act(story, "unavailable", "no such strategy")
    assert story.worker("w1").unavailable == {"power-cycle": "no such strategy"}
    story.wait(2.0)
    story.come_back("w1")
    assert tried(story) == ["power-cycle", "restart"]
    assert story.worker("w1").unavailable == {}


def test_a_worker_that_is_back_does_not_lose_its_attempt_to_a_late_word() -> None:
    story = Story(LOCAL)
    story.join("w1")
    vanish(story)
    story.tell(registered("w1"))
    assert not story.state.effects
    act(story, "failed", "it was slow")
    story.beat("w1")
    story.come_back("w1")
    assert len(story.told(WorkerRecoverySucceeded)) == 1
    assert not story.told(WorkerRecoveryFailed)


@pytest.mark.parametrize("wrong", [{"strategy": "reconnect"}, {"incarnation": 1}, {"attempt": 2}])
def test_a_word_about_another_act_changes_nothing(wrong: dict[str, Any]) -> None:
    story = Story(LOCAL)
    story.join("w1")
    vanish(story)
    started = story.told(WorkerRecoveryStarted)[0]
    fields: dict[str, Any] = {
        "worker_id": "w1",
        "incarnation": started.incarnation,
        "attempt": 1,
        "strategy": "replace",
        "outcome": "failed",
    }
    story.tell(WorkerRecoveryActed(**(fields | wrong)))
    assert list(story.state.effects) == ["w1"]
    story.tell(WorkerRecoveryActed(**fields | {"outcome": "done"}), WorkerRecoveryActed(**fields))
    assert not story.told(WorkerRecoveryFailed)


def test_16_a_new_leader_finds_the_act_that_nobody_has_spoken_of() -> None:
    story = Story(LOCAL)
    story.join("w1")
    vanish(story)
    story.tell(LeaderElected(coordinator_id="c2", term=2))
    assert list(story.state.effects) == ["w1"]
    act(story, "done")
    assert not story.state.effects
    story.tell(LeaderElected(coordinator_id="c3", term=3))
    assert not story.state.effects


def test_nothing_is_done_any_more_when_recovery_is_switched_off() -> None:
    story = Story(LOCAL)
    story.join("w1")
    vanish(story)
    story.tell(policy_changed(msgspec.structs.replace(LOCAL, auto_recovery=False)))
    assert not story.state.effects


# By record


def test_the_best_record_goes_first() -> None:
    story = Story(with_policy(strategy_order="history", launcher="local"))
    records = story.state.records
    for strategy, good, bad in (("await", 1, 9), ("restart", 8, 1), ("reconnect", 0, 0)):
        for number in range(good + bad):
            note(records, "silence", strategy, success=number < good)
    story.join("w1")
    story.wait(400.0)
    # Without a record, 1/2: between what mostly helps and what mostly does not; among those, as the ladder stands.
    assert tried(story) == ["restart", "reconnect", "replace", "await", "restart"]
    first = story.told(WorkerRecoveryScheduled)[0]
    assert first.order == "history"
    assert first.considered[0] == Rung(strategy="restart", succeeded=8, failed=1, estimate=0.818182)
    assert [rung.strategy for rung in first.considered] == ["restart", "reconnect", "replace", "await"]


def test_a_rung_with_a_record_is_not_left_out_for_want_of_attempts() -> None:
    story = Story(with_policy(strategy_order="history", max_recovery_attempts=1))
    note(story.state.records, "silence", "await", success=True)
    story.join("w1")
    story.wait(100.0)
    assert tried(story) == ["await"]
    story = Story(with_policy(strategy_order="history", max_recovery_attempts=1))
    story.join("w1")
    story.wait(100.0)
    assert tried(story) == ["restart"]
    assert story.told(WorkerRecoveryScheduled)[0].considered[0].rejected == "attempts left: 1"


def test_the_record_is_kept_by_reason_and_strategy_and_fades() -> None:
    records = Records()
    for _ in range(ATTEMPTS_MAX - 1):
        note(records, "silence", "await", success=False)
    assert records["silence", "await"].estimate == pytest.approx(1 / (ATTEMPTS_MAX + 1))
    note(records, "silence", "await", success=True)
    assert records["silence", "await"] == Record(succeeded=0, failed=(ATTEMPTS_MAX - 1) // 2)
    for number in range(RECORDS_MAX):
        note(records, "worker_exit", f"s{number}", success=True)
    assert len(records) == RECORDS_MAX
    assert ("silence", "await") not in records


def test_how_an_attempt_ended_is_noted_under_the_failure_that_it_answered() -> None:
    """It came back and failed in another way: that is no merit, and none of the other reason's either."""
    story = Story(QUICK)
    story.join("w1")
    story.wait(16.0)
    story.tell(registered("w1"))
    exit_of(story)
    assert story.state.records == {("silence", "await"): Record(failed=1)}


def test_choosing_changes_nothing() -> None:
    story = Story(LOCAL)
    story.join("w1")
    vanish(story)
    worker = story.worker("w1")
    assert choose(story.state, worker, attempts_left=5, horizon=0.0) == choose(
        story.state, worker, attempts_left=5, horizon=0.0
    )


# The policy


def test_a_ladder_does_not_hold_its_own_end() -> None:
    with pytest.raises(ValueError, match=r"ladders: silence names escalate, .* max_recovery_attempts 5"):
        Policy(ladders={"silence": ("await", "escalate")})


@pytest.mark.parametrize("ladders", [{"silence": []}, {"sadness": ["await"]}, {"silence": ["Await"]}])
def test_a_ladder_has_known_reasons_and_proper_names(ladders: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"ladders": ladders}, Policy)
