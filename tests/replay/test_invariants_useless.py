"""Each promise about workers of no use and tasks that do not end, broken by one decision, is named at that decision."""

from collections.abc import Callable
from typing import Any

import pytest

from events.base import Event
from events.policy import Policy
from events.task import Outcome, TaskAttemptFinished, TaskCompleted, TaskHung, TaskRequeued, TaskReturned, TaskRevoked
from events.worker import WorkerExited, WorkerFailed, WorkerStalled, WorkerStallRefuted
from tests.recovery import test_useless_assignments, test_useless_fast, test_useless_tasks
from tests.recovery.story import Story, policy_changed, submitted
from tests.replay.wrong import checked, decided

Given = Callable[[Story], None]
Wrong = Callable[[Story], Event]

STORIES = [
    test
    for module in (test_useless_assignments, test_useless_fast, test_useless_tasks)
    for name, test in vars(module).items()
    if name.startswith("test_") and not getattr(test, "pytestmark", ())
]


@pytest.mark.parametrize("tell", STORIES, ids=lambda tell: tell.__name__)
def test_the_stories_of_the_core_break_no_promise(tell: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Story] = []
    original = Story.__init__

    def remember(self: Story, *arguments: Any, **options: Any) -> None:
        told.append(self)
        original(self, *arguments, **options)

    monkeypatch.setattr(Story, "__init__", remember)
    tell()
    for story in told:
        assert checked(story, reproduce=True) == []


def test_what_came_last_is_taken_back_with_what_came_first() -> None:
    story = Story(checks=False)
    story.join("w1", slots=2)
    story.tell(submitted("t1"))
    story.wait(9.0, "w1", free=2)
    story.tell(submitted("t2"))
    story.wait(2.0, "w1", free=2)
    assert [event.task_id for event in story.told(TaskRevoked)] == ["t1", "t2"]
    assert checked(story, reproduce=True) == []


def farm() -> Story:
    """w1 has one slot and t1, which it has not begun; w2 has two slots and runs t2; t3 waits for nobody's label."""
    story = Story(Policy(task_hang_cap=60.0), checks=False)
    story.join("w1")
    story.tell(submitted("t1"))
    story.join("w2", slots=2)
    story.tell(submitted("t2", timeout_s=20.0))
    story.start("t2")
    story.leading = False
    return story


def nothing(_: Story) -> None:
    pass


def later(seconds: float, *, free: int = 1, unreported: int = 0) -> Given:
    def play(story: Story) -> None:
        story.wait(seconds, "w1", "w2", free=free, unreported=unreported)

    return play


def both(*steps: Given) -> Given:
    def play(story: Story) -> None:
        for step in steps:
            step(story)

    return play


def of(task_id: str, kind: type[Event], **fields: Any) -> Wrong:
    def make(story: Story) -> Event:
        task = story.task(task_id)
        named = {"worker_id": task.worker_id, "incarnation": task.incarnation, "attempt": task.attempt}
        if kind is TaskRequeued:
            del named["incarnation"]
        return kind(task_id=task_id, **named, **fields)

    return make


def hung(task_id: str = "t2") -> Wrong:
    return of(task_id, TaskHung, started_sequence=1, ran_s=1.0, limit_s=1.0)


def revoked(task_id: str = "t1") -> Wrong:
    return of(task_id, TaskRevoked)


def stalled(cause: str = "not_obeyed", *tasks: str, worker_id: str = "w1", **fields: Any) -> Wrong:
    def make(story: Story) -> Event:
        worker = story.state.workers.get(worker_id)
        incarnation = 1 if worker is None else worker.incarnation
        return WorkerStalled(
            worker_id=worker_id,
            incarnation=incarnation,
            cause=cause,  # type: ignore[arg-type]
            tasks=tasks or ("t1",),
            **fields,
        )

    return make


def refuted(worker_id: str = "w1") -> Wrong:
    def make(story: Story) -> Event:
        worker = story.state.workers.get(worker_id)
        return WorkerStallRefuted(
            worker_id=worker_id, incarnation=1 if worker is None else worker.incarnation, reason="test"
        )

    return make


def done(wrong: Wrong) -> Given:
    """The same as a fact of the log."""
    return lambda story: story.tell(wrong(story))


def without_recovery(story: Story) -> None:
    story.tell(policy_changed(Policy(auto_recovery=False)))


def returns(*, unknown: bool = False) -> Given:
    return done(of("t1", TaskReturned, unknown=unknown))


def fails(outcome: Outcome = "failed", *, unstartable: bool = False) -> Given:
    return done(of("t1", TaskAttemptFinished, outcome=outcome, unstartable=unstartable))


def exits(story: Story) -> None:
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, signal=9, stalled=True))


def requeued(reason: str, budget: str = "none", task_id: str = "t1") -> Wrong:
    return of(task_id, TaskRequeued, reason=reason, budget=budget)


def timed_out(story: Story) -> Event:
    task = story.task("t2")
    assert task.result is not None
    return TaskCompleted(
        task_id="t2",
        run_id="r1",
        verdict="timed_out",
        attempt=1,
        worker_id=task.worker_id,
        outcome="cancelled",
        result_sequence=task.result.sequence,
    )


ended = done(of("t2", TaskAttemptFinished, outcome="cancelled"))
WRONG: tuple[tuple[str, Given, Wrong, str | None], ...] = (
    ("not begun in time", later(10.0), revoked(), None),
    ("taken back too early", later(9.0), revoked(), "useless-on-evidence"),
    ("taken back without a free slot", later(10.0, free=0), revoked(), "useless-on-evidence"),
    ("taken back with reports on their way", later(10.0, unreported=1), revoked(), "useless-on-evidence"),
    ("taken back under way", later(10.0), revoked("t2"), "cancel-honoured"),
    ("taken back with recovery off", both(later(10.0), without_recovery), revoked(), "operator-obeyed"),
    ("taken back from one that is stalled", done(stalled()), revoked(), None),
    ("taken back because it hangs", done(hung()), revoked("t2"), None),
    ("hung beyond its own limit", later(25.0), hung(), None),
    ("hung before", later(24.0), hung(), "useless-on-evidence"),
    ("hung with its end on the way", later(25.0, unreported=1), hung(), "useless-on-evidence"),
    ("hung and not begun", later(100.0), hung("t1"), "useless-on-evidence"),
    ("hung twice", both(later(25.0), done(hung())), hung(), "decided-once"),
    ("no answer", both(later(1.0), done(revoked()), later(5.0)), stalled(), None),
    ("no answer yet", both(later(1.0), done(revoked()), later(4.0)), stalled(), "useless-on-evidence"),
    ("answered", both(done(revoked()), later(5.0), returns()), stalled(), "useless-on-evidence"),
    ("never asked", later(60.0), stalled(), "useless-on-evidence"),
    ("an answer on its way", both(done(revoked()), later(6.0, unreported=1)), stalled(), "useless-on-evidence"),
    ("stalled twice", both(done(revoked()), later(6.0), done(stalled())), stalled(), "decided-once"),
    ("a stranger", nothing, stalled(worker_id="w9"), "useless-on-evidence"),
    ("stalled with recovery off", both(done(revoked()), later(6.0), without_recovery), stalled(), "operator-obeyed"),
    ("handed back unstarted", both(done(revoked()), returns()), stalled("not_started"), None),
    ("never had it", both(done(revoked()), returns(unknown=True)), stalled("not_started"), "useless-on-evidence"),
    ("refuted", done(stalled()), refuted(), None),
    ("refuted without a stall", nothing, refuted(), "useless-on-evidence"),
    ("refuted for a stranger", nothing, refuted("w9"), "useless-on-evidence"),
    ("failing without a failure", nothing, stalled("failing_fast", restart=False), "useless-on-evidence"),
    ("failing", fails(), stalled("failing_fast", restart=False), None),
    ("failing and restarted at once", fails(), stalled("failing_fast", passed_elsewhere=1), "useless-on-evidence"),
    (
        "failing as others do",
        both(fails(), done(stalled("failing_fast", restart=False))),
        stalled("failing_fast"),
        "useless-on-evidence",
    ),
    (
        "failing what passes elsewhere",
        both(fails(), done(stalled("failing_fast", restart=False))),
        stalled("failing_fast", passed_elsewhere=5),
        None,
    ),
    ("handed back as lost", both(done(revoked()), returns(unknown=True)), requeued("lost"), None),
    ("handed back as known", both(done(revoked()), returns()), requeued("lost"), "requeued-once"),
    ("handed back on order", both(done(revoked()), returns()), requeued("worker_unfit"), None),
    ("handed back by itself", returns(), requeued("worker_unfit"), "requeued-once"),
    ("never begun, paid", fails("error", unstartable=True), requeued("worker_unfit", "infrastructure"), None),
    ("never begun, passed", fails("passed"), requeued("worker_unfit", "infrastructure"), "requeued-once"),
    ("pays though it had not begun", fails("error"), requeued("worker_unfit", "infrastructure"), "budgets"),
    ("timed out by order", both(done(hung()), ended), timed_out, None),
    ("timed out by nobody's order", ended, timed_out, "current-result"),
)


@pytest.mark.parametrize(("given", "wrong", "broken"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_one_wrong_decision_is_named(given: Given, wrong: Wrong, broken: str | None) -> None:
    story = farm()
    given(story)
    before = checked(story)
    assert before == []
    at = decided(story, wrong(story))
    found = checked(story)
    if broken is None:
        assert found == []
    else:
        assert [(violation.invariant, violation.sequence) for violation in found][:1] == [(broken, at)]


def test_its_reported_end_is_evidence() -> None:
    story = farm()
    story.tell(stalled()(story))
    exits(story)
    story.leading = True
    story.settle()
    assert story.told(WorkerFailed)[0].reason == "stalled"
    assert checked(story) == []


def test_one_batch_decides_once_about_a_worker() -> None:
    story = farm()
    story.tell(stalled()(story))
    at = decided(story, refuted()(story), refuted()(story))
    assert ("decided-once", at + 1) in [(violation.invariant, violation.sequence) for violation in checked(story)]
