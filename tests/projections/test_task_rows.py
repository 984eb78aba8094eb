"""Given these events about tasks, their tables hold these rows."""

import pytest

from events.base import Event
from events.task import (
    Outcome,
    RequeueReason,
    TaskAssigned,
    TaskAttemptFinished,
    TaskCompleted,
    TaskRequeued,
    TaskStarted,
    TaskSubmitted,
    Verdict,
)
from events.work import CommandWork, PytestWork, Suite
from events.worker import WorkerFailed, WorkerRegistered
from projections.rows import TaskRecovery, TaskRow
from tests.projections.histories import at, changes

WORK = CommandWork(argv=("make", "check"), cwd="/srv")
SUITE = Suite(python="/usr/bin/python3", cwd="/srv")
REGISTERED = WorkerRegistered(worker_id="w1", host="h", pid=7, slots=2)
FAILED = WorkerFailed(worker_id="w1", reason="worker_exit")


def task_history(*events: Event) -> list[TaskRecovery]:
    return list(changes(*events).task_recoveries.values())


SUBMITTED = TaskSubmitted(task_id="t1", run_id="r1", work=WORK, priority=3)


def assigned(attempt: int = 1) -> TaskAssigned:
    return TaskAssigned(task_id="t1", worker_id="w1", incarnation=1, attempt=attempt, work=WORK)


def begun(attempt: int = 1) -> TaskStarted:
    return TaskStarted(task_id="t1", worker_id="w1", incarnation=1, attempt=attempt)


def requeued(attempt: int = 1, reason: RequeueReason = "worker_failed") -> TaskRequeued:
    return TaskRequeued(task_id="t1", attempt=attempt, worker_id="w1", reason=reason, budget="infrastructure")


def completed(
    verdict: Verdict = "passed", outcome: Outcome | None = "passed", attempt: int = 2, message: str = ""
) -> TaskCompleted:
    return TaskCompleted(
        task_id="t1",
        run_id="r1",
        verdict=verdict,
        outcome=outcome,
        attempt=attempt,
        worker_id="w2",
        duration_s=1.5,
        message=message,
    )


REQUEUES: list[tuple[list[Event], list[tuple[int, str, bool | None, str | None]]]] = [
    ([requeued()], [(1, "worker_failed", None, None)]),
    ([requeued(), completed()], [(1, "worker_failed", True, None)]),
    ([requeued(), completed("failed", "failed")], [(1, "worker_failed", True, None)]),
    ([requeued(), completed("skipped", "skipped")], [(1, "worker_failed", True, None)]),
    # The test's own time limit is a result; running into a cap of the farm's is none.
    ([requeued(), completed("timed_out", "timed_out")], [(1, "worker_failed", True, None)]),
    ([requeued(), completed("timed_out", None)], [(1, "worker_failed", False, "ended as timed_out")]),
    ([requeued(), completed("crashed", "crashed")], [(1, "worker_failed", False, "ended as crashed")]),
    (
        [requeued(), completed("quarantined", None, message="2 deaths")],
        [(1, "worker_failed", False, "ended as quarantined: 2 deaths")],
    ),
    ([requeued(), completed("cancelled", None)], [(1, "worker_failed", False, "ended as cancelled")]),
    (
        [requeued(), requeued(2, "lost"), completed(attempt=3)],
        [
            (1, "worker_failed", False, "attempt 2 ended without a result: lost"),
            (2, "lost", True, None),
        ],
    ),
    # The second attempt had a result of its own: the test failed, and is allowed another try.
    (
        [requeued(), requeued(2, "verdict_retry")],
        [(1, "worker_failed", True, None), (2, "verdict_retry", None, None)],
    ),
    # The lost attempt's result came after all.
    ([requeued(), completed(attempt=1)], [(1, "worker_failed", True, None)]),
    ([completed(attempt=1)], []),
]


@pytest.mark.parametrize(("story", "expected"), REQUEUES)
def test_ends_of_requeues(story: list[Event], expected: list[tuple[int, str, bool | None, str | None]]) -> None:
    rows = task_history(SUBMITTED, assigned(), begun(), *story)
    assert [(row.attempt_number, row.recovery_type, row.success, row.error_message) for row in rows] == expected
    assert [row.id for row in rows] == list(range(1, len(rows) + 1))
    assert {(row.task_id, row.worker_id) for row in rows} <= {("t1", "w1")}


def test_a_requeue_names_the_failure_of_its_worker() -> None:
    (row,) = task_history(REGISTERED, SUBMITTED, assigned(), FAILED, requeued())
    assert row.recovery_time == at(5)
    assert row.details == {
        "sequences": [4, 5],
        "budget": "infrastructure",
        "failure_reason": "worker_exit",
        "category": "worker_exit",
    }


def test_row_of_a_task() -> None:
    finished = TaskAttemptFinished(task_id="t1", worker_id="w1", incarnation=1, attempt=1, outcome="passed")
    story = [SUBMITTED, assigned(), begun(), finished, completed(attempt=1)]
    assert changes(*story).tasks["t1"] == TaskRow(
        task_id="t1",
        run_id="r1",
        status="completed",
        verdict="passed",
        outcome="passed",
        runner="command",
        command="make check",
        priority=3,
        attempts=1,
        worker_id="w2",
        submitted_at=at(1),
        queued_at=at(1),
        started_at=at(3),
        completed_at=at(5),
        duration_s=1.5,
        last_event_sequence=5,
    )


TASK_STATUSES: list[tuple[list[Event], tuple[str, str | None, int]]] = [
    ([], ("queued", None, 0)),
    ([assigned()], ("assigned", "w1", 1)),
    ([assigned(), begun()], ("running", "w1", 1)),
    ([assigned(2), begun(1)], ("assigned", "w1", 2)),  # a stale start
    ([assigned(), begun(), requeued()], ("queued", None, 1)),
    ([completed(attempt=1), assigned(2)], ("completed", "w2", 1)),
    ([completed(attempt=1), completed("failed", "failed")], ("completed", "w2", 1)),  # the first verdict stands
    ([TaskSubmitted(task_id="t1", run_id="r2", work=WORK)], ("queued", None, 0)),
]


@pytest.mark.parametrize(("story", "expected"), TASK_STATUSES)
def test_status_of_a_task(story: list[Event], expected: tuple[str, str | None, int]) -> None:
    row = changes(SUBMITTED, *story).tasks["t1"]
    assert (row.status, row.worker_id, row.attempts) == expected
    assert row.run_id == "r1"


def test_a_pytest_task_shows_its_node_id() -> None:
    work = PytestWork(suite=SUITE, node_id="tests/test_a.py::test_b")
    row = changes(TaskSubmitted(task_id="t1", run_id="r1", work=work)).tasks["t1"]
    assert (row.runner, row.command) == ("pytest", "tests/test_a.py::test_b")


def test_what_a_worker_says_of_an_unknown_task_makes_no_row() -> None:
    assert changes(begun()).tasks == {}
    assert changes(completed()).tasks["t1"].status == "completed"
