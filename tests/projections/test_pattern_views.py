"""The views that patterns are counted in: what is in them, and what is left out."""

from pathlib import Path
from typing import Any

import pytest

from events.kinds import KINDS
from events.system import SystemRecoveryCompleted, SystemRecoveryStarted
from events.task import TaskAttemptFinished
from events.worker import Begun, Evidence, WorkerExited, WorkerSuspected, WorkerSuspicionRefuted
from projections.pattern_views import ORDINARY
from projections.report.gather import NOTABLE
from projections.report.lanes import STATES
from tests.projections.histories import select
from tests.projections.telling import Telling

SIGNS = {
    *("worker.claimed", "worker.drain_requested", "worker.draining", "worker.stopped", "worker.readmitted"),
    *("worker.suspicion_refuted", "worker.stall_refuted", "worker.cordoned", "worker.uncordoned"),
    *("worker.failure_predicted", "task.hung", "task.attempt_finished"),
    *("system.coordinator_started", "system.coordinator_stopped", "system.leader", "system.policy_changed"),
    *("system.recovery_paused", "system.recovery_resumed", "system.run_cancel_requested", "system.log_damaged"),
    "system.fault_reported",
    *("system.invariant_violated", "system.detector_degraded", "system.broker_returned"),
}


def test_every_kind_of_event_is_a_sign_or_is_not() -> None:
    """Whoever adds a kind decides: what follows from failures, or finds them, belongs into ORDINARY."""
    assert set(KINDS) - set(ORDINARY) == SIGNS
    assert set(ORDINARY) <= set(KINDS)


def test_what_a_report_tells_of_are_kinds_of_events() -> None:
    assert set(NOTABLE) | set(STATES) <= set(KINDS)


def ask(story: Telling, folder: Path, sql: str) -> list[tuple[Any, ...]]:
    return select(story.write(folder / "history.duckdb"), sql)


def test_a_crash_loop_is_one_onset(tmp_path: Path) -> None:
    story = Telling()
    story.register(0, "w1")
    story.register(0, "w2")
    for second in (10, 40, 90, 200):
        story.die(second, "w1")
        story.recover(second + 1, "w1")
    story.die(230, "w2")
    story.fail(900, "w2", synthetic="drill")
    found = ask(story, tmp_path, "SELECT worker_id, failed_at, alone FROM failure_onsets ORDER BY id")
    # Each is within a minute of the one before, up to the one at 200; the other worker's is not alone.
    first = found[0][1]
    assert [(worker_id, round((at - first).total_seconds()), alone) for worker_id, at, alone in found] == [
        ("w1", 0, True),
        ("w1", 190, True),
        ("w2", 220, False),
    ]


def dying(story: Telling, *, begun: tuple[Begun, ...] | None = None) -> None:
    incarnation = story.incarnations["w1"]
    proof = story.say(20, WorkerExited(worker_id="w1", incarnation=incarnation, signal=9, begun=begun))
    story.fail(20.1, "w1", proof=proof)
    for task_id in ("running", "unreported", "waiting"):
        story.requeue(20.2, task_id=task_id)


def busy() -> Telling:
    """One task runs, one is done, of one nobody has heard that it began, and one waits."""
    story = Telling()
    story.register(0, "w1")
    for task_id in ("running", "done", "unreported", "waiting"):
        story.submit(1, task_id)
        story.assign(2, task_id, started=task_id in ("running", "done"))
    ids: dict[str, Any] = {"task_id": "done", "worker_id": "w1", "incarnation": story.incarnations["w1"]}
    story.say(9, TaskAttemptFinished(**ids, attempt=1, outcome="passed", duration_s=7.0))
    return story


TASKS = "SELECT task_id FROM deaths_under_tests ORDER BY task_id"


def test_under_a_death_is_what_ran(tmp_path: Path) -> None:
    story = busy()
    dying(story)
    assert ask(story, tmp_path, TASKS) == [("running",)]


def test_and_what_had_begun_before_anybody_heard_of_it(tmp_path: Path) -> None:
    story = busy()
    dying(story, begun=(Begun("unreported", 1), Begun("done", 1, 1)))
    assert ask(story, tmp_path, TASKS) == [("running",), ("unreported",)]


@pytest.mark.parametrize(("began", "ended", "left"), [(15, 30, 0), (60, 70, 0), (100, 110, 1)])
def test_a_mass_loss_is_held_against_no_test(tmp_path: Path, began: float, ended: float, left: int) -> None:
    """Nor are deaths shortly before it is seen to be one."""
    story = busy()
    incident: dict[str, Any] = {"incident_id": "i1", "incident_kind": "mass_worker_loss"}
    opened = SystemRecoveryStarted(**incident, status="critical")
    if began < 20:
        story.say(began, opened)
    dying(story)
    if began >= 20:
        story.say(began, opened)
    story.say(ended, SystemRecoveryCompleted(**incident, status="healthy", success=True, duration_s=1.0))
    assert len(ask(story, tmp_path, TASKS)) == left


def test_signs_are_counted_in_minutes_before_the_worker_was_gone(tmp_path: Path) -> None:
    story = Telling()
    story.register(0, "w1")
    story.register(0, "w2")

    def doubt(second: float, worker_id: str) -> None:
        incarnation = story.incarnations[worker_id]
        story.say(second, WorkerSuspected(worker_id=worker_id, incarnation=incarnation, evidence=Evidence()))
        story.say(second, WorkerSuspicionRefuted(worker_id=worker_id, incarnation=incarnation, evidence=Evidence()))

    doubt(30, "w1")
    doubt(200, "w1")
    doubt(210, "w2")
    doubt(290, "w1")
    story.fail(315, "w1", "silence", seen=300)
    path = story.write(tmp_path / "history.duckdb")
    found = select(path, "SELECT minute, symbol FROM signs_before_failures ORDER BY sequence")
    assert found == [(number, "worker.suspicion_refuted") for number in (4, 1, 0)]
    assert select(path, "SELECT worker_id, minutes FROM lives_to_failures") == [("w1", 5)]
