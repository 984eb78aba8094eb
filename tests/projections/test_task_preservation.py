"""The preservation of tasks in logs whose truth is known because the test told them."""

from pathlib import Path

import pytest

from tests.projections.telling import Telling, asked, metrics

TASKS: list[tuple[str, str, str | None, tuple[float | None, float, int, int, int]]] = [
    # why it was queued again, verdict, outcome, what becomes of the preservation
    ("worker_failed", "passed", "passed", (1.0, 1, 1, 0, 0)),
    ("worker_failed", "failed", "failed", (1.0, 1, 1, 0, 0)),
    ("worker_failed", "crashed", "crashed", (1.0, 1, 1, 0, 0)),
    ("worker_failed", "timed_out", None, (1.0, 1, 1, 0, 0)),
    ("worker_failed", "crashed", None, (0.0, 0, 1, 0, 0)),
    ("worker_failed", "crashed", "fenced", (0.0, 0, 1, 0, 0)),
    ("worker_failed", "cancelled", None, (None, 0, 0, 0, 1)),
    ("worker_failed", "quarantined", None, (None, 0, 0, 0, 1)),
    ("worker_failed", "", None, (None, 0, 0, 1, 0)),
    ("fenced", "passed", "passed", (1.0, 1, 1, 0, 0)),
    ("lost", "passed", "passed", (1.0, 1, 1, 0, 0)),
    ("worker_unfit", "passed", "passed", (1.0, 1, 1, 0, 0)),
    ("worker_draining", "passed", "passed", (None, 0, 0, 0, 0)),
    ("verdict_retry", "failed", "failed", (None, 0, 0, 0, 0)),
    ("crash_retry", "crashed", "crashed", (None, 0, 0, 0, 0)),
    ("", "crashed", None, (0.0, 0, 1, 0, 0)),
    ("", "crashed", "fenced", (0.0, 0, 1, 0, 0)),
    ("", "crashed", "crashed", (None, 0, 0, 0, 0)),
    ("", "quarantined", None, (None, 0, 0, 0, 0)),
]


@pytest.mark.parametrize(("reason", "verdict", "outcome", "expected"), TASKS)
def test_task_preservation(
    tmp_path: Path,
    reason: str,
    verdict: str,
    outcome: str | None,
    expected: tuple[float | None, float, int, int, int],
) -> None:
    story = Telling()
    story.register(0)
    story.submit(1)
    story.assign(2)
    if reason:
        story.requeue(3, reason)
    if verdict:
        story.conclude(4, verdict, outcome)
    path = story.write(tmp_path / "history.duckdb")
    row = metrics(path)["task_preservation"]
    assert (row["value"], row["numerator"], row["denominator"], row["open"], row["excluded"]) == expected


def test_a_task_counts_once_for_where_it_was_lost_first(tmp_path: Path) -> None:
    story = Telling()
    story.register(0, "w1")
    story.register(0, "w2")
    story.submit(1)
    story.assign(2)
    story.die(3, "w1")
    story.requeue(4)
    story.fail(5, "w2", "silence", seen=1)
    story.requeue(6, worker_id="w2")
    story.conclude(7, "passed", "passed", worker_id="w2")
    path = story.write(tmp_path / "history.duckdb")
    assert metrics(path)["task_preservation"]["denominator"] == 1
    rows = asked(path, "FROM metrics_by_reason() WHERE metric = 'task_preservation'")
    assert [(row["reason"], row["denominator"]) for row in rows] == [("worker_exit", 1)]
    rows = asked(path, "FROM metrics_by_worker() WHERE metric = 'task_preservation'")
    assert [(row["worker_id"], row["value"], row["met"]) for row in rows] == [("w1", 1.0, True)]


def test_a_task_that_ends_with_its_worker_has_the_reason_of_that(tmp_path: Path) -> None:
    story = Telling()
    story.register(0)
    story.submit(1)
    story.assign(2)
    story.fail(20, reason="silence", seen=5)
    story.conclude(21, "crashed")
    story.submit(22, "t2", synthetic="drill")
    story.assign(22, "t2")
    story.requeue(23, task_id="t2")
    story.conclude(24, "passed", "passed", task_id="t2")
    path = story.write(tmp_path / "history.duckdb")
    rows = asked(path, "FROM metric_observations WHERE metric = 'task_preservation' ORDER BY subject")
    assert [(row["subject"], row["reason"], row["hit"], row["synthetic"]) for row in rows] == [
        ("t1", "silence", False, None),
        ("t2", "silence", True, "drill"),
    ]
