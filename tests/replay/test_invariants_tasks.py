"""Each promise about tasks, broken by one decision, is named at that decision."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from events.base import Event
from events.policy import Policy
from events.system import RunCancelRequested
from events.task import (
    Outcome,
    TaskCancelRequested,
    TaskCompleted,
    TaskRequeued,
    TaskReturned,
    TaskRevoked,
    TaskStranded,
)
from events.worker import (
    Evidence,
    WorkerDraining,
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerStopped,
)
from tests.recovery.story import Story, policy_changed, registered, submitted
from tests.replay.wrong import assigned, checked, decided, farm

Given = Callable[[Story], None]
Wrong = Callable[[Story], Event]


def nothing(_: Story) -> None:
    pass


def told(*events: Event) -> Given:
    return lambda story: story.tell(*events)


def led(story: Story) -> None:
    story.leading = True
    story.settle()
    story.leading = False


def both(*steps: Given) -> Given:
    def play(story: Story) -> None:
        for step in steps:
            step(story)

    return play


def free(story: Story) -> None:
    """w1 has room, and t3 still waits."""
    story.finish("t1")


def exits(story: Story) -> None:
    """w1 is gone, and the leader has said so; t1 is nobody's."""
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, signal=9))
    decided(
        story,
        WorkerFailed(
            worker_id="w1",
            incarnation=story.worker("w1").incarnation,
            reason="worker_exit",
            evidence=Evidence(event_sequence=story.last),
        ),
    )


def of_w1(kind: Any, **fields: Any) -> Given:
    return lambda story: story.tell(kind(worker_id="w1", incarnation=story.worker("w1").incarnation, **fields))


def finished(outcome: Outcome) -> Given:
    return lambda story: story.finish("t1", outcome)


def denied(story: Story) -> None:
    """t1 has ended for want of a permission."""
    story.tell(msgspec.structs.replace(story.finished("t1", "failed"), error="security"))


def handed_back(story: Story) -> None:
    story.give_back("t1")


def requeue(**changes: Any) -> Wrong:
    event = TaskRequeued(task_id="t1", attempt=1, worker_id="w1", reason="worker_failed", budget="infrastructure")
    return lambda _: msgspec.structs.replace(event, **changes)


def complete(**changes: Any) -> Wrong:
    def make(story: Story) -> Event:
        fields: dict[str, Any] = {"task_id": "t1", "run_id": "r1", "attempt": 1, "worker_id": "w1", "verdict": "passed"}
        result = story.state.tasks["t1"].result if "task_id" not in changes else None
        if result is not None:
            fields |= {"outcome": result.outcome, "result_sequence": result.sequence}
        return TaskCompleted(**(fields | changes))

    return make


def assign(task_id: str = "t3", worker_id: str = "w1", **changes: Any) -> Wrong:
    return lambda story: assigned(task_id, story, worker_id, **changes)


def exclude(story: Story) -> None:
    exits(story)
    story.tell(WorkerPermanentlyFailed(worker_id="w1", attempts=0))


def under_repair(story: Story) -> None:
    """w1 has registered again, and has yet to prove itself."""
    exits(story)
    led(story)
    story.tell(registered("w1"))
    story.beat("w1")


def suspected(story: Story) -> None:
    """w1 has nothing to do, and has been silent for a while; t4 waits."""
    for name in ("t1", "t3"):
        story.finish(name)
        led(story)
    story.leading = True
    story.wait(7.0, "w2")
    story.leading = False
    story.tell(submitted("t4"))


def unstarted(story: Story) -> None:
    """w1 has t3, and dies before it begins."""
    story.finish("t1")
    led(story)
    exits(story)


def cut_off_unstarted(story: Story) -> None:
    story.finish("t1")
    led(story)
    story.finish("t3", "fenced")


def late(story: Story) -> None:
    """t1 was lost with w1 and given to w2, and its success comes before w2 has begun it."""
    story.leading = True
    story.finish("t2")
    story.finish("t3")
    success = story.finished("t1")
    of_w1(WorkerExited, signal=9)(story)
    assert (story.task("t1").status, story.task("t1").worker_id) == ("assigned", "w2")
    story.leading = False
    story.tell(success)


def late_and_handed_back(story: Story) -> None:
    late(story)
    story.give_back("t1")


def fast(story: Story) -> None:
    """The rate allows one at a time, and t1 has just been put back."""
    story.tell(policy_changed(Policy(requeue_rate=1.0, requeue_burst=1)))
    exits(story)
    decided(story, requeue()(story))
    story.tell(WorkerExited(worker_id="w2", incarnation=story.worker("w2").incarnation, signal=9))


def complete_late(**changes: Any) -> Wrong:
    def make(story: Story) -> Event:
        said = story.task("t1").late
        assert said is not None
        fields: dict[str, Any] = {"outcome": "passed", "result_sequence": said.result.sequence}
        return complete(**(fields | changes))(story)

    return make


def strand(task_id: str, requires: dict[str, str]) -> Wrong:
    return lambda _: TaskStranded(task_id=task_id, requires=requires)


def revoked(**changes: Any) -> Wrong:
    def make(story: Story) -> Event:
        incarnation = story.worker("w1").incarnation
        event = TaskRevoked(task_id="t1", worker_id="w1", incarnation=incarnation, attempt=1)
        return msgspec.structs.replace(event, **changes)

    return make


def revoked_from(worker_id: str) -> Wrong:
    return lambda story: revoked(
        worker_id=worker_id, attempt=story.task("t1").attempt, incarnation=story.worker(worker_id).incarnation
    )(story)


OFF = told(policy_changed(Policy(auto_recovery=False)))
OFF_AND_POOR = told(policy_changed(Policy(auto_recovery=False, infrastructure_retries=0)))
CANCEL = told(TaskCancelRequested(task_id="t1", actor="alice"))
CANCEL_THIRD = told(TaskCancelRequested(task_id="t3", actor="alice"))
CANCEL_RUN = told(RunCancelRequested(run_id="r1", actor="alice"))
RETRIES = told(policy_changed(Policy(verdict_retries=1)))
POOR = told(policy_changed(Policy(infrastructure_retries=0)))
NOTHING_AHEAD = told(policy_changed(Policy(tasks_ahead_max=0)))

TABLE: list[tuple[str, Given, Wrong, str]] = [
    ("a second verdict", both(finished("passed"), led), complete(verdict="failed"), "one-verdict"),
    ("handed out after its verdict", both(finished("passed"), led), assign("t1", "w2"), "one-verdict"),
    ("put back after its verdict", both(finished("passed"), led), requeue(), "one-verdict"),
    ("a verdict in another run", finished("passed"), complete(run_id="r2"), "one-verdict"),
    ("a verdict for nobody's task", nothing, complete(task_id="t9"), "one-verdict"),
    ("given to two workers", nothing, assign("t1", "w2"), "one-live-attempt"),
    ("taken from a live worker", nothing, requeue(), "one-live-attempt"),
    ("given up under a live worker", CANCEL, complete(verdict="cancelled"), "one-live-attempt"),
    ("attempts out of order", free, assign(attempt=3), "one-live-attempt"),
    ("the wrong attempt is revoked", CANCEL, revoked(attempt=2), "one-live-attempt"),
    ("to one that has never been", free, assign(worker_id="w9"), "assigned-to-alive"),
    ("to one that drains", both(free, of_w1(WorkerDraining)), assign(), "assigned-to-alive"),
    ("to one that has stopped", both(free, of_w1(WorkerStopped)), assign(), "assigned-to-alive"),
    ("to one that has exited", both(free, of_w1(WorkerExited)), assign(), "assigned-to-alive"),
    ("to one that has failed", exits, assign(), "assigned-to-alive"),
    ("to one that was given up", exclude, assign(), "assigned-to-alive"),
    ("to one that is not verified yet", under_repair, assign(), "assigned-to-alive"),
    ("to a suspect", suspected, assign("t4"), "assigned-to-alive"),
    ("to an incarnation that is over", free, assign(incarnation=1), "assigned-to-alive"),
    ("to one that has been silent", both(free, lambda story: story.wait(6.5)), assign(), "assigned-to-alive"),
    ("without its labels", both(free, told(submitted("t4", requires={"gpu": "yes"}))), assign("t4"), "placement"),
    ("another order than submitted", free, assign(priority=3), "placement"),
    ("a task that nobody submitted", free, assign("t9"), "placement"),
    ("more than fits", NOTHING_AHEAD, assign(), "placement"),
    ("stranded beside one that can", nothing, strand("t3", {}), "placement decided-once"),
    ("stranded while it runs", nothing, strand("t1", {"gpu": "yes"}), "decided-once placement"),
    ("stranded, and nobody knows it", nothing, strand("t9", {"gpu": "yes"}), "placement"),
    ("passed without a result", exits, complete(), "current-result"),
    ("a result of another attempt", finished("passed"), complete(result_sequence=3), "current-result"),
    ("a verdict that nobody reported", finished("failed"), complete(verdict="passed"), "current-result"),
    ("an outcome that nobody reported", finished("failed"), complete(outcome="passed"), "current-result"),
    ("a verdict of another attempt", finished("passed"), complete(attempt=2), "current-result"),
    ("a result out of nowhere", exits, complete(verdict="crashed", result_sequence=9), "current-result"),
    ("put back twice", both(exits, led), requeue(), "requeued-once"),
    ("put back for another attempt", exits, requeue(attempt=2), "requeued-once"),
    ("put back, and never there", exits, requeue(task_id="t9"), "requeued-once"),
    ("its worker had spoken", finished("fenced"), requeue(), "requeued-once"),
    ("fenced, it is said", finished("failed"), requeue(reason="fenced"), "requeued-once"),
    ("failed, it is said", handed_back, requeue(reason="verdict_retry", budget="none"), "requeued-once budgets"),
    ("handed out though cancelled", both(free, CANCEL_THIRD), assign(), "cancel-honoured"),
    ("handed out though its run is cancelled", both(free, CANCEL_RUN), assign(), "cancel-honoured"),
    ("put back though cancelled", both(CANCEL, exits), requeue(), "cancel-honoured"),
    ("cancelled by nobody", finished("cancelled"), complete(verdict="cancelled"), "cancel-honoured"),
    ("revoked for nobody", nothing, revoked(), "cancel-honoured"),
    ("revoked, and nobody knows it", nothing, revoked(task_id="t9"), "cancel-honoured"),
    ("revoked twice", both(CANCEL, led), revoked(), "decided-once"),
    ("no infrastructure retry left", both(POOR, exits), requeue(), "budgets"),
    ("no verdict retry left", finished("failed"), requeue(reason="verdict_retry", budget="verdict"), "budgets"),
    ("a verdict retry for a dead worker", both(RETRIES, exits), requeue(budget="verdict"), "budgets"),
    ("nobody pays", exits, requeue(budget="none"), "budgets"),
    ("it pays for what it had not begun", unstarted, requeue(task_id="t3"), "budgets"),
    ("it pays for being cut off unstarted", cut_off_unstarted, requeue(task_id="t3", reason="fenced"), "budgets"),
    ("given up too early", exits, complete(verdict="crashed"), "budgets"),
    ("blamed for what it had not begun", both(POOR, unstarted), complete(task_id="t3", verdict="crashed"), "budgets"),
    ("fenced, and given up too early", finished("fenced"), complete(verdict="crashed"), "budgets"),
    ("failed before its retries", both(RETRIES, finished("failed")), complete(verdict="failed"), "budgets"),
    (
        "infrastructure pays for a verdict",
        finished("crashed"),
        requeue(reason="crash_retry", budget="infrastructure"),
        "budgets",
    ),
    (
        "put back though it has passed",
        late_and_handed_back,
        requeue(attempt=2, worker_id="w2", reason="worker_draining", budget="none"),
        "current-result",
    ),
    ("decided under whoever has it", late, complete_late(), "one-live-attempt"),
    ("its late success is left out", late_and_handed_back, complete_late(verdict="failed"), "current-result"),
    ("another attempt is said to have passed", late_and_handed_back, complete_late(attempt=2), "current-result"),
    ("faster than the rate", fast, requeue(task_id="t2", worker_id="w2", budget="none"), "paced"),
    ("put back though recovery is off", both(OFF, exits), requeue(), "operator-obeyed"),
    ("given up though recovery is off", both(OFF_AND_POOR, exits), complete(verdict="crashed"), "operator-obeyed"),
    (
        "tried again without a permission",
        both(RETRIES, denied),
        requeue(reason="verdict_retry", budget="verdict"),
        "budgets",
    ),
]


@pytest.mark.parametrize(("given", "wrong", "names"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_a_wrong_decision_is_named(given: Given, wrong: Wrong, names: str) -> None:
    story = farm()
    given(story)
    assert checked(story) == [], "the story itself is true"
    event = wrong(story)
    sequence = decided(story, event)
    found = checked(story)
    assert {violation.invariant for violation in found} == set(names.split()), found
    assert {violation.sequence for violation in found} == {sequence}
    assert {violation.entity for violation in found} == {event.task_id}  # type: ignore[attr-defined]


RIGHT: list[tuple[str, Given, Wrong]] = [
    ("handed out", free, assign()),
    ("put back from the dead", exits, requeue()),
    ("put back unstarted", unstarted, requeue(task_id="t3", budget="none")),
    ("handed back", handed_back, requeue(reason="worker_draining", budget="none")),
    ("stopped by its worker", finished("cancelled"), requeue(reason="worker_draining", budget="none")),
    ("fenced", finished("fenced"), requeue(reason="fenced")),
    ("fenced unstarted", cut_off_unstarted, requeue(task_id="t3", reason="fenced", budget="none")),
    ("tried again", both(RETRIES, finished("failed")), requeue(reason="verdict_retry", budget="verdict")),
    ("given up", both(POOR, exits), complete(verdict="crashed")),
    ("fenced and given up", both(POOR, finished("fenced")), complete(verdict="crashed")),
    ("cancelled in the queue", CANCEL_THIRD, complete(task_id="t3", verdict="cancelled", attempt=0, worker_id=None)),
    ("cancelled while it ran", both(CANCEL, finished("cancelled")), complete(verdict="cancelled")),
    ("cancelled too late", both(CANCEL, finished("failed")), complete(verdict="failed")),
    ("cancelled with its worker", both(OFF, CANCEL, exits), complete(verdict="cancelled")),
    ("fenced though recovery is off", both(OFF, finished("fenced")), requeue(reason="fenced")),
    ("revoked", CANCEL, revoked()),
    ("stranded", told(submitted("t4", requires={"gpu": "yes"})), strand("t4", {"gpu": "yes"})),
    ("called off", late, revoked_from("w2")),
    ("passed late", late_and_handed_back, complete_late()),
    ("at the rate", both(fast, lambda story: story.wait(1.0)), requeue(task_id="t2", worker_id="w2", budget="none")),
    ("final for want of a permission", both(RETRIES, denied), complete(verdict="failed")),
]


@pytest.mark.parametrize(("given", "right"), [row[1:] for row in RIGHT], ids=[row[0] for row in RIGHT])
def test_a_right_decision_is_not(given: Given, right: Wrong) -> None:
    story = farm()
    given(story)
    decided(story, right(story))
    assert checked(story) == []
    assert checked(story, beats=()) == []


def test_one_batch_decides_once_about_a_task() -> None:
    story = farm()
    free(story)
    order = assigned("t3", story)
    second = decided(story, order, msgspec.structs.replace(order, worker_id="w2")) + 1
    found = checked(story)
    assert ("decided-once", second, "t3") in [(one.invariant, one.sequence, one.entity) for one in found]


def test_the_room_of_a_worker_counts_its_whole_batch() -> None:
    story = farm()
    both(free, NOTHING_AHEAD, told(submitted("t4")))(story)
    first = decided(story, assigned("t3", story), assigned("t4", story))
    assert [(one.invariant, one.sequence) for one in checked(story)] == [("placement", first + 1)]


def test_what_strangers_write_is_no_decision() -> None:
    """A forged order takes effect and is nobody's guilt; what is decided on it is judged by it."""
    story = farm()
    story.tell(assigned("t3", story), TaskReturned(task_id="t3", worker_id="w1", incarnation=3, attempt=1))
    story.tell(submitted("t1"), TaskCancelRequested(task_id="t99", actor="alice"))
    led(story)
    assert checked(story, reproduce=True) == []
