"""What the core decides because of made-up events bears their label, so that no metric counts it."""

import pytest

from events.worker import WorkerExited
from projections import mapping
from projections.rows import SystemRecovery, TaskRecovery, WorkerRecovery
from projections.working_set import Changes, WorkingSet
from tests.recovery.story import Story, submitted


def history(label: str | None) -> Changes:
    """Two of three workers die under their tasks, and are brought back."""
    story = Story()
    story.join("w1", "w2", "w3")
    story.tell(*(submitted(f"t{number}") for number in (1, 2, 3)))
    story.start("t1", "t2", "t3")
    exits = [
        WorkerExited(worker_id=worker_id, incarnation=story.worker(worker_id).incarnation, signal=9)
        for worker_id in ("w1", "w2")
    ]
    story.tell(*exits, synthetic=label)
    story.wait(3.0, "w3")
    story.come_back("w1")
    story.come_back("w2")
    rows = WorkingSet()
    mapping.apply(rows, story.records)
    return rows.take_changes()


@pytest.mark.parametrize("label", ["drill", None])
def test_every_row_that_a_drill_has_made_says_so(label: str | None) -> None:
    found = history(label)
    recoveries: list[WorkerRecovery | TaskRecovery | SystemRecovery] = [
        *found.worker_recoveries.values(),
        *found.task_recoveries.values(),
        *found.system_recoveries.values(),
    ]
    kinds = [type(row).__name__ for row in recoveries]
    assert sorted(kinds) == ["SystemRecovery", "TaskRecovery", "TaskRecovery", "WorkerRecovery", "WorkerRecovery"]
    assert {row.details.get("synthetic") for row in recoveries} == {label}
    assert {row.failures for row in found.workers.values()} == ({0} if label else {0, 1})
