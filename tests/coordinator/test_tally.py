"""The tally, and the tables that say the same: two programs that share nothing but the definitions."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from coordinator.fleet.notes import Notes
from coordinator.fleet.tally import OTHER, SECONDS, STRATEGIES_MAX, Tally
from events.envelope import Recorded
from events.policy import Policy
from events.system import PolicyChanged, RecoveryPaused, RecoveryResumed
from events.task import TaskCompleted, TaskRequeued, TaskSubmitted
from events.worker import WorkerFailed
from projections.database import Database
from projections.metric_views import LOSSES
from tests.projections.farm import Farm
from tests.projections.histories import EPOCH, recorded_from
from tests.projections.telling import Telling, asked, metrics
from tests.simulation.schedule import scenario_of
from tests.simulation.world import simulate

SEEDS = (3, 11, 26)
"""Of the simulator."""


def folded(log: Sequence[Recorded]) -> Tally:
    notes = Notes()
    notes.take(log)
    return notes.tally


def stored(log: list[Recorded], path: Path) -> Path:
    database = Database.open(path)
    database.apply(log)
    database.close()
    return path


def counted(tally: Tally, name: str) -> dict[str, int]:
    return {",".join(labels): count for labels, count in sorted(tally.counts.get(name, {}).items())}


def grouped(path: Path, sql: str) -> dict[str, int]:
    return {row["name"]: row["count"] for row in asked(path, sql)}


def preserved(log: Sequence[Recorded]) -> tuple[int, int]:
    """Of tasks that a failure touched, without any that was made up: how many have a verdict of their own, and how many
    a verdict at all that speaks for or against the system."""
    failed: dict[str, bool] = {}
    affected: set[str] = set()
    made_up: set[str] = set()
    verdicts: dict[str, TaskCompleted] = {}
    for one in log:
        event = one.event
        if isinstance(event, WorkerFailed):
            failed[event.worker_id] = one.synthetic is not None
        elif isinstance(event, TaskSubmitted) and one.synthetic:
            made_up.add(event.task_id)
        elif isinstance(event, TaskRequeued) and event.reason in LOSSES:
            affected.add(event.task_id)
            if one.synthetic or (event.reason == "worker_failed" and failed.get(event.worker_id)):
                made_up.add(event.task_id)
        elif isinstance(event, TaskCompleted):
            verdicts.setdefault(event.task_id, event)
            if one.synthetic:
                made_up.add(event.task_id)
            if lost(event):
                affected.add(event.task_id)
                if failed.get(event.worker_id or ""):
                    made_up.add(event.task_id)
    told = [
        verdicts[task_id]
        for task_id in affected - made_up
        if task_id in verdicts and verdicts[task_id].verdict not in ("cancelled", "quarantined")
    ]
    return sum(not lost(event) for event in told), len(told)


def lost(event: TaskCompleted) -> bool:
    return event.verdict == "crashed" and event.outcome in (None, "fenced")


def check(log: list[Recorded], folder: Path) -> None:
    path = stored(log, folder / "history.duckdb")
    tally, found = folded(log), metrics(path)
    endings = "SELECT ending AS name, count(*) AS count FROM outages WHERE ending IS NOT NULL AND synthetic IS NULL "
    assert counted(tally, "worker_outages") == grouped(
        path, f"{endings} AND operator IS NULL GROUP BY ending ORDER BY 1"
    )
    failures = "SELECT reason AS name, count(*) AS count FROM failures WHERE scope = 'worker' AND synthetic IS NULL "
    assert counted(tally, "worker_failures") == grouped(path, f"{failures} GROUP BY reason ORDER BY 1")
    for spread, name in (("worker_recovery", "recovery_time"), ("worker_detection", "detection_time")):
        row = found[name]
        times = tally.spreads.get(spread)
        assert (0 if times is None else times.count) == row["denominator"], name
        assert (0.0 if times is None else times.total) == pytest.approx(row["numerator"], abs=1e-4), name
    attempts = Counter[str]()
    for (_, outcome), count in tally.counts.get("worker_recoveries", {}).items():
        attempts[outcome] += count
    row = found["attempt_success"]
    assert (attempts["succeeded"], attempts["succeeded"] + attempts["failed"]) == (row["numerator"], row["denominator"])
    for row in found.values():
        if row["unit"] == "share":
            assert 0 <= row["numerator"] <= row["denominator"]
            assert row["value"] is None or row["value"] == pytest.approx(row["numerator"] / row["denominator"])
        assert (row["value"] is None) == (row["denominator"] == 0) or row["metric"] == "backlog"
    assert (found["task_preservation"]["numerator"], found["task_preservation"]["denominator"]) == preserved(log)


@pytest.mark.parametrize("seed", range(8))
def test_it_agrees_with_the_tables_over_made_up_farms(tmp_path: Path, seed: int) -> None:
    log = recorded_from(Farm(seed, failure_share=0.1).drafts(), 3000)
    # That farm scatters its labels over single events: there is no telling what such an event would have led to.
    check([msgspec.structs.replace(one, synthetic=None) for one in log], tmp_path)


@pytest.mark.parametrize("seed", SEEDS)
def test_it_agrees_with_the_tables_over_simulated_farms(tmp_path: Path, seed: int) -> None:
    outcome = simulate(scenario_of(seed), keep_records=True)
    assert any(recorded.event is not None for recorded in outcome.records)
    check(list(outcome.records), tmp_path)


def test_what_is_made_up_is_not_counted() -> None:
    story = Telling()
    story.register(0)
    story.fail(10, reason="synthetic", seen=4, synthetic="drill")
    story.start(11)
    story.register(12)
    story.succeed(13)
    story.submit(14, synthetic="drill")
    tally = folded(story.log)
    assert set(tally.counts) == {"worker_registrations"}
    assert tally.spreads == {}


def test_what_an_operator_held_up_is_no_outage() -> None:
    for event in (
        RecoveryPaused(actor="a"),
        PolicyChanged(policy=Policy(auto_recovery=False), policy_hash="", actor="a"),
    ):
        story = Telling()
        story.register(0)
        story.die(10)
        story.say(11, event)
        story.say(20, RecoveryResumed(actor="a"))
        story.say(20, PolicyChanged(policy=Policy(), policy_hash="", actor="a"))
        story.recover(21)
        story.die(30)
        story.recover(31)
        tally = folded(story.log)
        assert counted(tally, "worker_outages") == {"recovered": 1}
        assert counted(tally, "worker_failures") == {"worker_exit": 2}


def test_strategies_of_plugins_do_not_make_labels_without_end() -> None:
    tally = Tally()
    for number in range(STRATEGIES_MAX + 5):
        tally.strategy(f"s{number}")
    assert tally.strategy("s3") == "s3"
    assert tally.strategy("another") == OTHER


def test_observations_fall_into_the_bucket_whose_bound_they_do_not_exceed() -> None:
    story = Telling()
    story.register(0)
    for second, lasts in ((100, 0.05), (200, 30.0), (300, 30.001), (4000, 3000.0)):
        story.fail(second, seen=second)
        story.recover(second + lasts)
    spread = folded(story.log).spreads["worker_recovery"]
    found = {bound: count for bound, count in zip((*SECONDS, None), spread.counts, strict=True) if count}
    assert found == {0.05: 1, 30.0: 1, 60.0: 1, None: 1}
    assert spread.count == 4
    assert spread.total == pytest.approx(3060.051)


def test_since_when_tasks_wait_again() -> None:
    story = Telling()
    story.register(0)
    for number in (1, 2, 3):
        story.submit(number, f"t{number}")
        story.requeue(10 + number, task_id=f"t{number}")
    story.assign(20, "t1")
    story.conclude(21, "cancelled", task_id="t2")
    assert folded(story.log).requeued == {"t3": EPOCH + 13}


def test_it_goes_on_from_what_was_written_down() -> None:
    log = recorded_from(Farm(5, failure_share=0.1).drafts(), 2000)
    for cut in (0, 1, 700, 1500, 1999):
        notes = Notes()
        notes.take(log[:cut])
        notes = Notes.thaw(notes.freeze())
        notes.take(log[cut:])
        assert notes.tally == folded(log)
