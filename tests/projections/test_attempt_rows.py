"""Given these events about tasks, `task_attempts` and the tasks' side of `failures` hold these rows."""

import pytest

from events.base import Event
from events.task import TaskAssigned, TaskAttemptFinished, TaskCompleted, TaskRequeued, TaskStarted, TaskSubmitted
from events.work import CommandWork
from events.worker import WorkerRegistered
from projections.attempt_rows import MESSAGE_CHARACTERS_MAX
from projections.rows import AttemptRow, FailureRow
from tests.projections.histories import at, changes

WORK = CommandWork(argv=("true",), cwd="/srv")
SUBMITTED = TaskSubmitted(task_id="t1", run_id="r1", work=WORK)


def assigned(attempt: int = 1, worker_id: str = "w1") -> TaskAssigned:
    return TaskAssigned(task_id="t1", worker_id=worker_id, incarnation=1, attempt=attempt, work=WORK)


def begun(attempt: int = 1, worker_id: str = "w1", incarnation: int = 1) -> TaskStarted:
    return TaskStarted(task_id="t1", worker_id=worker_id, incarnation=incarnation, attempt=attempt)


def passed(attempt: int = 1, worker_id: str = "w1", incarnation: int = 1) -> TaskAttemptFinished:
    return TaskAttemptFinished(
        task_id="t1", worker_id=worker_id, incarnation=incarnation, attempt=attempt, outcome="passed", duration_s=0.5
    )


def crashed(message: str = "segfault") -> TaskAttemptFinished:
    return TaskAttemptFinished(
        task_id="t1", worker_id="w1", incarnation=1, attempt=1, outcome="crashed", signal=11, message=message
    )


def requeued(attempt: int = 1, worker_id: str = "w1") -> TaskRequeued:
    return TaskRequeued(
        task_id="t1", attempt=attempt, worker_id=worker_id, reason="worker_failed", budget="infrastructure"
    )


def completed(attempt: int = 1, worker_id: str | None = "w1") -> TaskCompleted:
    return TaskCompleted(
        task_id="t1", run_id="r1", verdict="passed", outcome="passed", attempt=attempt, worker_id=worker_id
    )


def attempts(*events: Event) -> list[AttemptRow]:
    return list(changes(*events).attempts.values())


def test_an_attempt_that_decides() -> None:
    (row,) = attempts(SUBMITTED, assigned(), begun(), passed(), completed())
    assert row == AttemptRow(
        id=2,
        task_id="t1",
        run_id="r1",
        attempt=1,
        worker_id="w1",
        incarnation=1,
        status="ended",
        assigned_at=at(2),
        started_at=at(3),
        ended_at=at(4),
        outcome="passed",
        duration_s=0.5,
        decisive=True,
    )


@pytest.mark.parametrize(
    ("story", "status"),
    [
        ([], "assigned"),
        ([begun()], "running"),
        ([begun(incarnation=2)], "assigned"),
        ([begun(attempt=2)], "assigned"),
        ([begun(), passed()], "reported"),
        ([passed()], "reported"),
        ([passed(), begun()], "reported"),
        ([begun(), passed(incarnation=2)], "running"),
        ([begun(), passed(worker_id="w2")], "running"),
        ([begun(), requeued(worker_id="w2")], "running"),
        ([begun(), requeued()], "ended"),
        ([completed()], "ended"),
    ],
)
def test_status_of_an_attempt(story: list[Event], status: str) -> None:
    (row,) = attempts(SUBMITTED, assigned(), *story)
    assert row.status == status


def test_an_attempt_whose_worker_is_given_up() -> None:
    first, second = attempts(
        SUBMITTED,
        assigned(),
        begun(),
        requeued(),
        assigned(2, "w2"),
        begun(2, "w2"),
        passed(2, "w2"),
        completed(2, "w2"),
    )
    assert (first.ended_at, first.duration_s, first.outcome, first.decisive) == (at(4), 1.0, None, False)
    assert (first.requeue_reason, first.budget) == ("worker_failed", "infrastructure")
    assert (second.outcome, second.decisive, second.requeue_reason) == ("passed", True, None)


def test_a_late_result_is_entered_and_may_decide() -> None:
    (row,) = attempts(SUBMITTED, assigned(), begun(), requeued(), passed(), completed())
    assert (row.status, row.ended_at, row.outcome, row.duration_s, row.decisive) == (
        "ended",
        at(4),
        "passed",
        0.5,
        True,
    )


def test_nothing_changes_behind_the_verdict() -> None:
    story = [SUBMITTED, assigned(), begun(), completed(attempt=0, worker_id=None)]
    before = attempts(*story)
    assert [(row.decisive, row.outcome, row.duration_s) for row in before] == [(False, None, 1.0)]
    assert attempts(*story, passed(), requeued(), assigned(2), completed()) == before


def test_an_assignment_ends_the_one_before() -> None:
    first, second = attempts(SUBMITTED, assigned(), assigned(2))
    assert (first.status, first.duration_s, second.status) == ("ended", None, "assigned")


def test_what_the_log_does_not_hold_the_beginning_of() -> None:
    assert attempts(begun(), passed(), requeued(), completed()) == []


def test_an_attempt_that_fails_by_itself_is_a_failure() -> None:
    found = changes(
        WorkerRegistered(worker_id="w1", host="h", pid=7, slots=1), SUBMITTED, assigned(), crashed("x" * 5000)
    )
    (row,) = found.failures.values()
    assert row == FailureRow(
        id=4,
        failed_at=at(4),
        scope="task",
        worker_id="w1",
        host="h",
        incarnation=1,
        task_id="t1",
        run_id="r1",
        attempt=1,
        reason="crashed",
        category="task_crash",
        message="x" * MESSAGE_CHARACTERS_MAX,
    )
    assert not changes(SUBMITTED, assigned(), passed()).failures


def test_a_made_up_attempt_says_so() -> None:
    found = changes(SUBMITTED, assigned(), crashed(), synthetic="drill")
    assert [row.synthetic for row in found.attempts.values()] == ["drill"]
    assert [row.synthetic for row in found.failures.values()] == ["drill"]
