"""Each promise about workers, broken by one decision, is named at that decision."""

from collections.abc import Callable
from typing import Any

import pytest

from events.base import Event
from events.clock import utc
from events.failures import FailureReason
from events.policy import Policy
from events.system import LeaderElected
from events.worker import (
    Evidence,
    WorkerDisconnected,
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerProbeAnswered,
    WorkerReadmitted,
    WorkerRecoveryFailed,
    WorkerRecoveryProbed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRecoverySuperseded,
    WorkerStopped,
    WorkerSuspected,
    WorkerSuspicionRefuted,
    WorkerVanished,
)
from tests.recovery.story import Story, policy_changed, registered
from tests.replay.wrong import checked, decided, farm

Given = Callable[[Story], None]
Wrong = Callable[[Story], Event]
KIND: dict[str, Any] = {
    "scheduled": WorkerRecoveryScheduled,
    "started": WorkerRecoveryStarted,
    "probed": WorkerRecoveryProbed,
    "succeeded": WorkerRecoverySucceeded,
    "attempt failed": WorkerRecoveryFailed,
    "superseded": WorkerRecoverySuperseded,
}


def nothing(_: Story) -> None:
    pass


def both(*steps: Given) -> Given:
    def play(story: Story) -> None:
        for step in steps:
            step(story)

    return play


def silent(seconds: float, *beating: str) -> Given:
    """Time passes, and no leader looks."""

    def play(story: Story) -> None:
        story.wait(seconds, *beating)

    return play


def led(story: Story) -> None:
    story.leading = True
    story.settle()
    story.leading = False


def exits(story: Story) -> None:
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, signal=9))


def vanishes(story: Story) -> None:
    incarnation = story.worker("w1").incarnation
    story.tell(WorkerVanished(worker_id="w1", incarnation=incarnation, machine="m1", lifeline="l1"))


def cut_off(story: Story) -> None:
    """w1 has lost its connection, and the leader has not looked yet."""
    incarnation = story.worker("w1").incarnation
    story.tell(WorkerDisconnected(worker_id="w1", incarnation=incarnation, heartbeat_sequence=LAST_OF_W1))


def suspected_as_cut_off(story: Story) -> Event:
    return judged(WorkerSuspected, heartbeat_sequence=LAST_OF_W1, event_sequence=story.last)(story)


def gone(story: Story) -> None:
    """w1 has exited, and the leader has said so and no more."""
    exits(story)
    decided(story, failed("worker_exit", event_sequence=story.last)(story))


def stopped(story: Story) -> None:
    story.tell(WorkerStopped(worker_id="w1", incarnation=story.worker("w1").incarnation))


def given_up(story: Story) -> None:
    gone(story)
    story.tell(WorkerPermanentlyFailed(worker_id="w1", attempts=0))


def readmitted(story: Story) -> None:
    given_up(story)
    story.tell(WorkerReadmitted(worker_id="w1", actor="alice"))


def drilled(story: Story) -> None:
    story.tell(WorkerFailed(worker_id="w1", reason="synthetic"), synthetic="drill")


def suspect(story: Story) -> None:
    silent(6.5)(story)
    led(story)


def back(story: Story) -> None:
    story.tell(registered("w1"))


def beats(story: Story) -> None:
    story.beat("w1")


def answers(story: Story) -> None:
    incarnation = story.worker("w1").incarnation
    story.tell(WorkerProbeAnswered(worker_id="w1", incarnation=incarnation, attempt=1))


def under_way(story: Story) -> None:
    """Attempt 1 to bring w1 back has been started."""
    gone(story)
    led(story)


def asked(story: Story) -> None:
    under_way(story)
    back(story)
    beats(story)
    led(story)


def one_failed(story: Story) -> None:
    """Attempt 1 has failed just now."""
    under_way(story)
    silent(30.0, "w2")(story)
    decided(story, step("attempt failed")(story))


def policy(**changes: Any) -> Given:
    return lambda story: story.tell(policy_changed(Policy(**changes)))


def elected(story: Story) -> None:
    story.tell(LeaderElected(coordinator_id="c2", term=2))


def failed(reason: FailureReason, *, incarnation: int | None = None, **evidence: Any) -> Wrong:
    return lambda story: WorkerFailed(
        worker_id="w1",
        incarnation=story.worker("w1").incarnation if incarnation is None else incarnation,
        reason=reason,
        evidence=Evidence(**evidence) if evidence else None,
    )


def judged(kind: type[WorkerSuspected | WorkerSuspicionRefuted], **evidence: Any) -> Wrong:
    return lambda story: kind(worker_id="w1", incarnation=story.worker("w1").incarnation, evidence=Evidence(**evidence))


def step(
    name: str, *, attempt: int = 1, incarnation: int | None = None, after: float = 0.0, strategy: str = "", **more: Any
) -> Wrong:
    """A step of an attempt, as the leader would write it now; `after` seconds from now is its time."""

    def make(story: Story) -> Event:
        worker = story.worker("w1")
        present = worker.incarnation if name in ("probed", "succeeded") else worker.failed_incarnation
        fields: dict[str, Any] = {
            "worker_id": "w1",
            "attempt": attempt,
            "incarnation": present if incarnation is None else incarnation,
        }
        if name != "probed":
            fields["strategy"] = strategy or ("restart" if worker.failure_reason == "worker_exit" else "await")
        moment = utc(story.now + after)
        own: dict[str, dict[str, Any]] = {
            "scheduled": {"not_before": moment, "reason": worker.failure_reason},
            "started": {"deadline": moment},
            "succeeded": {"duration_s": 0.0},
            "attempt failed": {"error": ""},
            "superseded": {"reason": ""},
        }
        event: Event = KIND[name](**fields, **own.get(name, {}) | more)
        return event

    return make


def permanent(attempts: int) -> Wrong:
    return lambda _: WorkerPermanentlyFailed(worker_id="w1", attempts=attempts)


def scheduled_only(story: Story) -> None:
    gone(story)
    decided(story, step("scheduled")(story))


LAST_OF_W1 = 1
"""The sequence of its only heartbeat."""
SEVEN: dict[str, Any] = {"heartbeat_sequence": LAST_OF_W1, "silence_s": 7.0}
SIXTEEN: dict[str, Any] = {"heartbeat_sequence": LAST_OF_W1, "silence_s": 16.0}
OFF = policy(auto_recovery=False)
ONE_ATTEMPT = policy(max_recovery_attempts=1)

TABLE: list[tuple[str, Given, Wrong, str]] = [
    ("suspected too early", silent(5.0), judged(WorkerSuspected, silence_s=5.0), "failed-on-evidence"),
    ("suspected, and beats", silent(7.0, "w1"), judged(WorkerSuspected, **SEVEN), "failed-on-evidence"),
    ("a silence that was none", silent(1.0), judged(WorkerSuspected, **SEVEN), "failed-on-evidence"),
    (
        "a silence that nobody watched",
        both(silent(5.0), elected, silent(2.0)),
        judged(WorkerSuspected, **SEVEN),
        "failed-on-evidence",
    ),
    ("suspected, and dead", gone, judged(WorkerSuspected, **SEVEN), "failed-on-evidence"),
    ("refuted by nothing", suspect, judged(WorkerSuspicionRefuted, heartbeat_sequence=1), "failed-on-evidence"),
    ("refuted, and no suspect", nothing, judged(WorkerSuspicionRefuted, heartbeat_sequence=9), "failed-on-evidence"),
    ("failed without evidence", suspect, failed("silence"), "failed-on-evidence"),
    ("failed too early", both(suspect, silent(3.0)), failed("silence", **SEVEN), "failed-on-evidence"),
    ("failed early, and it lies", both(suspect, silent(3.0)), failed("silence", **SIXTEEN), "failed-on-evidence"),
    ("failed unsuspected", silent(16.0, "w2"), failed("silence", **SIXTEEN), "failed-on-evidence"),
    (
        "failed, and was heard",
        both(suspect, beats, silent(16.0)),
        failed("silence", heartbeat_sequence=3, silence_s=16.0),
        "failed-on-evidence",
    ),
    (
        "failed by another's beat",
        both(suspect, silent(16.0)),
        failed("silence", heartbeat_sequence=2, silence_s=16.0),
        "failed-on-evidence",
    ),
    ("an exit that nobody reported", nothing, failed("worker_exit", event_sequence=3), "failed-on-evidence"),
    ("another report", exits, failed("worker_exit", event_sequence=3), "failed-on-evidence"),
    ("vanished, and nobody says so", nothing, failed("disconnected", event_sequence=3), "failed-on-evidence"),
    (
        "disconnected is no proof",
        cut_off,
        lambda s: failed("disconnected", event_sequence=s.last)(s),
        "failed-on-evidence",
    ),
    ("cut off, and no word of it", nothing, suspected_as_cut_off, "failed-on-evidence"),
    ("cut off, and heard since", both(beats, cut_off), suspected_as_cut_off, "failed-on-evidence"),
    ("hung, and no word of it", nothing, failed("worker_hung"), "failed-on-evidence"),
    ("no first beat, too early", back, failed("no_first_heartbeat"), "failed-on-evidence"),
    ("no first beat, and it beat", silent(31.0), failed("no_first_heartbeat"), "failed-on-evidence"),
    ("no answer, and nobody asked", nothing, failed("unanswered"), "failed-on-evidence"),
    ("no answer, and there is time", asked, failed("unanswered"), "failed-on-evidence"),
    ("no answer, and it answered", both(asked, answers, silent(31.0)), failed("unanswered"), "failed-on-evidence"),
    ("a decided drill", nothing, failed("synthetic"), "failed-on-evidence"),
    ("failed twice", gone, failed("worker_exit", event_sequence=3), "failed-on-evidence"),
    ("an incarnation that is over", exits, failed("worker_exit", incarnation=1), "failed-on-evidence"),
    ("given up at once", gone, permanent(0), "budgets"),
    ("given up alive", nothing, permanent(5), "attempts-end budgets"),
    ("given up with attempts left", one_failed, permanent(1), "budgets"),
    (
        "one more than allowed",
        both(policy(max_recovery_attempts=1), one_failed),
        step("scheduled", attempt=2),
        "budgets",
    ),
    ("a number left out", gone, step("scheduled", attempt=2), "budgets"),
    ("the first one waits", gone, step("scheduled", after=0.5), "backoff"),
    ("a long wait", one_failed, step("scheduled", attempt=2, after=1.5), "backoff"),
    ("before its own time", gone, step("scheduled", after=-1.0), "backoff"),
    ("begun too early", both(one_failed, led), step("started", attempt=2, after=30.0), "backoff"),
    ("scheduled for the living", nothing, step("scheduled"), "attempts-end"),
    ("scheduled twice", under_way, step("scheduled"), "attempts-end"),
    ("scheduled for another", gone, step("scheduled", incarnation=99), "attempts-end"),
    ("started unscheduled", gone, step("started", after=30.0), "attempts-end"),
    ("started twice", under_way, step("started", after=30.0), "attempts-end"),
    ("failed before its deadline", both(under_way, silent(3.0, "w2")), step("attempt failed"), "attempts-end"),
    ("failed, and none is open", gone, step("attempt failed"), "attempts-end"),
    ("failed, and it lives", asked, step("attempt failed"), "attempts-end"),
    ("superseded by nothing", under_way, step("superseded"), "attempts-end"),
    ("superseded, and none is open", gone, step("superseded"), "attempts-end"),
    ("no time at all", scheduled_only, step("started", after=-1.0), "attempts-end"),
    ("success without an answer", asked, step("succeeded"), "success-proven"),
    ("success unasked", both(under_way, back, beats), step("succeeded"), "attempts-end"),
    ("success of the dead", both(asked, answers, exits), step("succeeded"), "success-proven"),
    ("asked before it beats", both(under_way, back), step("probed"), "success-proven"),
    ("asked before it is back", under_way, step("probed"), "success-proven"),
    ("success of another", both(asked, answers), step("succeeded", incarnation=3), "success-proven"),
    ("scheduled, and recovery is off", both(OFF, gone), step("scheduled"), "operator-obeyed"),
    ("succeeded, and recovery is off", both(asked, OFF, answers), step("succeeded"), "operator-obeyed"),
    (
        "given up, and recovery is off",
        both(one_failed, policy(auto_recovery=False, max_recovery_attempts=1)),
        permanent(1),
        "operator-obeyed",
    ),
    ("scheduled for one given up", given_up, step("scheduled"), "operator-obeyed"),
    ("a drill, unmarked", drilled, step("scheduled"), "synthetic-marked"),
]


@pytest.mark.parametrize(("given", "wrong", "names"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_a_wrong_decision_is_named(given: Given, wrong: Wrong, names: str) -> None:
    story = farm()
    given(story)
    assert checked(story) == [], "the story itself is true"
    sequence = decided(story, wrong(story))
    found = checked(story)
    assert {violation.invariant for violation in found} == set(names.split()), found
    assert {(violation.sequence, violation.entity) for violation in found} == {(sequence, "w1")}


RIGHT: list[tuple[str, Given, Wrong, str | None]] = [
    ("suspected", silent(7.0, "w2"), judged(WorkerSuspected, **SEVEN), None),
    ("refuted", both(suspect, beats), judged(WorkerSuspicionRefuted, heartbeat_sequence=2), None),
    ("failed", both(suspect, silent(16.0)), failed("silence", **SIXTEEN), None),
    ("exited", exits, lambda story: failed("worker_exit", event_sequence=story.last)(story), None),
    ("vanished", vanishes, lambda story: failed("disconnected", event_sequence=story.last)(story), None),
    ("cut off", cut_off, suspected_as_cut_off, None),
    ("never heard", both(back, silent(31.0)), failed("no_first_heartbeat"), None),
    ("no answer", both(asked, silent(45.0, "w1")), failed("unanswered"), None),
    ("scheduled", gone, step("scheduled"), None),
    ("scheduled after a failure", one_failed, step("scheduled", attempt=2, after=0.9), None),
    ("scheduled after it was re-admitted", readmitted, step("scheduled"), None),
    ("scheduled for a drill", drilled, step("scheduled"), "drill"),
    ("given up", both(ONE_ATTEMPT, one_failed), permanent(1), None),
    ("started", scheduled_only, step("started", after=30.0), None),
    ("asked", both(under_way, back, beats), step("probed"), None),
    ("succeeded", both(asked, answers), step("succeeded"), None),
    ("attempt failed in time", both(under_way, silent(30.0, "w2")), step("attempt failed"), None),
    ("superseded by recovery off", both(under_way, OFF), step("superseded"), None),
    ("superseded by an orderly end", both(under_way, stopped), step("superseded"), None),
    ("superseded by its return", both(scheduled_only, back), step("superseded"), None),
]


@pytest.mark.parametrize(("given", "right", "label"), [row[1:] for row in RIGHT], ids=[row[0] for row in RIGHT])
def test_a_right_decision_is_not(given: Given, right: Wrong, label: str | None) -> None:
    story = farm()
    given(story)
    decided(story, right(story), synthetic=label)
    assert checked(story) == []
    assert checked(story, beats=()) == []


def test_a_label_out_of_nowhere_is_named() -> None:
    story = farm()
    gone(story)
    sequence = decided(story, step("scheduled")(story), synthetic="drill")
    assert [(one.invariant, one.sequence) for one in checked(story)] == [("synthetic-marked", sequence)]


def test_one_batch_decides_once_about_a_worker() -> None:
    story = farm()
    gone(story)
    second = decided(story, step("scheduled")(story), step("started", after=30.0)(story)) + 1
    assert ("decided-once", second) in [(one.invariant, one.sequence) for one in checked(story)]


def test_without_heartbeats_the_recorded_evidence_is_judged() -> None:
    story = farm()
    silent(7.0, "w1")(story)
    decided(story, judged(WorkerSuspected, **SEVEN)(story))
    assert checked(story, beats=()) == [], "that it was heard is nowhere to be seen"
    story = farm()
    early = decided(story, judged(WorkerSuspected, silence_s=1.0)(story))
    assert [one.sequence for one in checked(story, beats=())] == [early]
