"""Each promise about the rungs of the ladder, broken by one decision, is named at that decision."""

from typing import Any

import pytest

from events.failures import Rung
from events.worker import (
    WorkerExited,
    WorkerPermanentlyFailed,
    WorkerProbeAnswered,
    WorkerReadmitted,
    WorkerRecoveryActed,
)
from tests.recovery.story import Story, registered
from tests.replay.test_invariants_workers import (
    SIXTEEN,
    Given,
    Wrong,
    both,
    exits,
    failed,
    gone,
    led,
    one_failed,
    policy,
    silent,
    step,
    suspect,
    under_way,
)
from tests.replay.wrong import checked, decided, farm


def acted(outcome: Any) -> Given:
    """Somebody says so of attempt 1, which has started."""

    def play(story: Story) -> None:
        attempt = story.worker("w1").attempt
        assert attempt is not None
        story.tell(
            WorkerRecoveryActed(
                worker_id="w1",
                incarnation=attempt.incarnation,
                attempt=1,
                strategy=attempt.strategy,
                outcome=outcome,
                detail="for a reason",
            )
        )

    return play


LOCAL = policy(launcher="local")
BY_RECORD = policy(strategy_order="history", ladders={"worker_exit": ("await", "restart")})
REPLACED_IN_VAIN = policy(launcher="local", ladders={"worker_exit": ("replace", "restart")})


def not_replaced(story: Story) -> None:
    """Attempt 1 could not even be tried."""
    REPLACED_IN_VAIN(story)
    under_way(story)
    acted("unavailable")(story)
    decided(story, step("attempt failed", strategy="replace")(story))


def restarted_elsewhere(story: Story) -> None:
    """w2 has exited and was restarted with success."""
    story.tell(WorkerExited(worker_id="w2", incarnation=story.worker("w2").incarnation, signal=9))
    led(story)
    story.tell(registered("w2"))
    story.beat("w2")
    led(story)
    story.tell(WorkerProbeAnswered(worker_id="w2", incarnation=story.worker("w2").incarnation, attempt=1))
    led(story)


def not_heard(story: Story) -> None:
    """w1 is failed for its silence."""
    suspect(story)
    silent(16.0, "w2")(story)
    decided(story, failed("silence", **SIXTEEN)(story))


def waited_for(story: Story) -> None:
    not_heard(story)
    led(story)


def to_be_waited_for(story: Story) -> None:
    not_heard(story)
    decided(story, step("scheduled")(story))


def exit_of_another(story: Story) -> None:
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation + 1, signal=9))


def made_up_exit(story: Story) -> None:
    incarnation = story.worker("w1").incarnation
    story.tell(WorkerExited(worker_id="w1", incarnation=incarnation, signal=9), synthetic="drill")


ONE_ATTEMPT = policy(launcher="local", max_recovery_attempts=1)
HOPELESS = policy(ladders={"worker_exit": ("replace",)})
RESTART_FIRST = policy(strategy_order="history", ladders={"worker_exit": ("restart", "await")})

WRONG: list[tuple[str, Given, Wrong, str]] = [
    ("another rung", gone, step("scheduled", strategy="await"), "ladder"),
    ("a rung without a launcher", gone, step("scheduled", strategy="replace"), "ladder"),
    ("for another reason", gone, step("scheduled", reason="silence"), "ladder"),
    ("in another order", gone, step("scheduled", order="history"), "ladder"),
    ("on other figures", gone, step("scheduled", considered=(Rung(strategy="restart", failed=1),)), "ladder"),
    ("the same rung again", both(LOCAL, one_failed), step("scheduled", attempt=2, after=0.9), "ladder"),
    ("nobody to wait for", both(not_heard, exits), step("scheduled", strategy="await", reason="worker_exit"), "ladder"),
    ("the first of too many", both(ONE_ATTEMPT, gone), step("scheduled"), "ladder"),
    ("what cannot be done", not_replaced, step("scheduled", attempt=2, strategy="replace", after=0.5), "ladder"),
    ("nothing can be done", both(HOPELESS, gone), step("scheduled", strategy="replace"), "ladder"),
    (
        "a worse record",
        both(RESTART_FIRST, restarted_elsewhere, gone),
        step("scheduled", strategy="await", order="history"),
        "ladder",
    ),
    (
        "the same again, by its record",
        both(BY_RECORD, one_failed),
        step("scheduled", attempt=2, strategy="await", order="history", after=0.5),
        "ladder",
    ),
    ("no rung at all", both(BY_RECORD, gone), step("scheduled", strategy="cycle", order="history"), "ladder"),
    (
        "called failed, and it was carried out",
        both(REPLACED_IN_VAIN, under_way, acted("done")),
        step("attempt failed", strategy="replace"),
        "attempts-end",
    ),
]


@pytest.mark.parametrize(("given", "wrong", "name"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_rung_is_named(given: Given, wrong: Wrong, name: str) -> None:
    story = farm()
    given(story)
    sequence = decided(story, wrong(story))
    assert [(one.invariant, one.sequence) for one in checked(story)] == [(name, sequence)]


RIGHT: list[tuple[str, Given, Wrong]] = [
    ("the next rung", both(LOCAL, one_failed), step("scheduled", attempt=2, strategy="replace", after=0.9)),
    ("past what cannot be done", not_replaced, step("scheduled", attempt=2, after=0.5)),
    ("a restart at last", both(not_heard, exits), step("scheduled", reason="worker_exit", strategy="restart")),
    ("it waited for nobody", both(waited_for, exits), step("attempt failed", strategy="await")),
    ("it would wait for nobody", both(to_be_waited_for, exits), step("superseded", strategy="await")),
    ("the only attempt", both(ONE_ATTEMPT, gone), step("scheduled", strategy="replace")),
    ("nothing else", both(HOPELESS, gone), step("scheduled", strategy="await")),
    (
        "by the record",
        both(BY_RECORD, one_failed),
        step("scheduled", attempt=2, strategy="restart", order="history", after=0.5),
    ),
    (
        "the better record",
        both(RESTART_FIRST, restarted_elsewhere, gone),
        step("scheduled", strategy="restart", order="history"),
    ),
    (
        "failed at once",
        both(REPLACED_IN_VAIN, under_way, acted("failed")),
        step("attempt failed", strategy="replace"),
    ),
]


@pytest.mark.parametrize(("given", "right"), [row[1:] for row in RIGHT], ids=[row[0] for row in RIGHT])
def test_a_right_rung_is_not(given: Given, right: Wrong) -> None:
    story = farm()
    given(story)
    decided(story, right(story))
    assert checked(story) == []


def test_a_word_about_another_act_says_nothing() -> None:
    story = farm()
    both(REPLACED_IN_VAIN, under_way)(story)
    acted("done")(story)
    acted("failed")(story)
    sequence = decided(story, step("attempt failed", strategy="replace")(story))
    assert [(one.invariant, one.sequence) for one in checked(story)] == [("attempts-end", sequence)]


LATE: list[tuple[str, Given, Wrong]] = [
    ("another one has ended", both(waited_for, exit_of_another), step("attempt failed", strategy="await")),
    ("it is made up that it has ended", both(waited_for, made_up_exit), step("attempt failed", strategy="await")),
    ("its end was known before", both(under_way, exits), step("attempt failed")),
    ("nobody has ended", to_be_waited_for, step("superseded", strategy="await")),
    ("it begins to wait for nobody", both(to_be_waited_for, exits), step("started", after=30.0, strategy="await")),
]


@pytest.mark.parametrize(("given", "wrong"), [row[1:] for row in LATE], ids=[row[0] for row in LATE])
def test_a_late_report_ends_what_waits_for_that_process_and_nothing_else(given: Given, wrong: Wrong) -> None:
    story = farm()
    given(story)
    assert checked(story) == []
    sequence = decided(story, wrong(story))
    assert [(one.invariant, one.sequence) for one in checked(story)] == [("attempts-end", sequence)]


def test_one_that_ends_while_it_is_excluded_is_known_to_have_ended() -> None:
    story = farm()
    not_heard(story)
    story.tell(WorkerPermanentlyFailed(worker_id="w1", attempts=0))
    exits(story)
    story.tell(WorkerReadmitted(worker_id="w1", actor="alice"))
    decided(story, step("scheduled", reason="worker_exit", strategy="restart")(story))
    assert checked(story) == []
