"""The metrics of logs whose truth is known because the test told them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from events.clock import utc
from events.policy import Policy
from events.system import (
    PolicyChanged,
    ProjectionRebuilt,
    RecoveryPaused,
    RecoveryResumed,
    SystemRecoveryCompleted,
    SystemRecoveryStarted,
)
from events.worker import (
    Evidence,
    WorkerDisconnected,
    WorkerRetired,
    WorkerStalled,
    WorkerStallRefuted,
    WorkerStopped,
    WorkerSuspected,
    WorkerSuspicionRefuted,
    WorkerVanished,
)
from projections.database import Database
from projections.metric_views import MACROS
from projections.metrics import METRICS
from tests.projections.histories import EPOCH
from tests.projections.telling import Telling, asked, metrics

Figures = dict[str, tuple[float | None, float, int, int, int]]
"""value, numerator, denominator, open, excluded; metrics that are not named have nothing to divide."""

RETIRED = WorkerRetired(worker_id="w1", incarnation=1)


def recovered(story: Telling) -> None:
    """Out from 10 s to 16 s: the second attempt brings it back."""
    story.die(10)
    story.start(10.2)
    story.miss(12)
    story.start(13, attempt=2)
    story.register(15)
    story.succeed(16, attempt=2)


def given_up(story: Telling) -> None:
    story.die(10)
    story.start(11)
    story.miss(12)
    story.give_up(13)


def returned(story: Telling) -> None:
    """Cut off at 10 s, failed at 25 s; the same process registers at 40 s, before the attempt that was planned."""
    story.fail(25, reason="silence", seen=10)
    story.schedule(26)
    story.register(40, pid=101)
    story.supersede(40)


def failed_again(story: Telling) -> None:
    """One outage from 10 s to 20 s, with two failures."""
    story.die(10)
    story.start(11)
    story.register(12)
    story.die(13)
    story.miss(14)
    story.start(15, attempt=2)
    story.register(19)
    story.succeed(20, attempt=2)


def under_way(story: Telling) -> None:
    story.die(10)
    story.start(11)


def retired(story: Telling) -> None:
    story.fail(25, reason="silence", seen=10)
    story.say(26, RETIRED)


def stopped(story: Telling) -> None:
    story.fail(25, reason="silence", seen=10)
    story.say(26, WorkerStopped(worker_id="w1", incarnation=1))


def drill(story: Telling) -> None:
    story.fail(10, reason="synthetic", synthetic="drill")
    story.recover(12)


def drill_meets_failure(story: Telling) -> None:
    """A real failure whose recovery somebody disturbs."""
    story.die(10)
    story.start(11)
    story.register(12)
    story.fail(13, synthetic="drill")
    story.miss(13)
    story.start(14, attempt=2)
    story.register(15)
    story.succeed(16, attempt=2)


def paused(story: Telling) -> None:
    """It takes a minute because an operator wanted it."""
    story.die(10)
    story.say(11, RecoveryPaused(actor="alice"))
    story.say(70, RecoveryResumed(actor="alice"))
    story.recover(72)


def switched_off(story: Telling) -> None:
    story.say(5, PolicyChanged(policy=Policy(auto_recovery=False), policy_hash="off", actor="alice"))
    story.die(10)
    story.register(70)


def switched_off_meanwhile(story: Telling) -> None:
    story.die(10)
    story.say(11, PolicyChanged(policy=Policy(auto_recovery=False), policy_hash="off", actor="alice"))
    story.register(70)


def after_the_pause(story: Telling) -> None:
    story.say(5, RecoveryPaused(actor="alice"))
    story.say(6, RecoveryResumed(actor="alice"))
    recovered(story)


def incident(story: Telling) -> None:
    for number, success in enumerate((True, False, None)):
        ids: dict[str, Any] = {"incident_id": f"i{number}", "incident_kind": "mass_worker_loss", "status": "critical"}
        story.say(10, SystemRecoveryStarted(**ids))
        if success is not None:
            story.say(11, SystemRecoveryCompleted(**ids, success=success, duration_s=1.0))
    story.say(12, ProjectionRebuilt(path="x", reason="damage", through=1, started_at=utc(EPOCH)))


WORKERS: list[tuple[Callable[[Telling], None], str, Figures]] = [
    (
        recovered,
        "",
        {
            "recovery_success": (1.0, 1, 1, 0, 0),
            "recovery_time": (6.0, 6.0, 1, 0, 0),
            "detection_time": (0.1, 0.1, 1, 0, 0),
            "false_failures": (0.0, 0, 1, 0, 0),
            "attempt_success": (0.5, 1, 2, 0, 0),
        },
    ),
    (
        given_up,
        "",
        {
            "recovery_success": (0.0, 0, 1, 0, 0),
            "recovery_time": (None, 0.0, 0, 0, 1),
            "detection_time": (0.1, 0.1, 1, 0, 0),
            "false_failures": (0.0, 0, 1, 0, 0),
            "attempt_success": (0.0, 0, 1, 0, 0),
        },
    ),
    (
        returned,
        "",
        {
            "recovery_success": (None, 0, 0, 0, 1),
            "recovery_time": (30.0, 30.0, 1, 0, 0),
            "worker_reconnection": (1.0, 1, 1, 0, 0),
            "detection_time": (15.0, 15.0, 1, 0, 0),
            "false_failures": (1.0, 1, 1, 0, 0),
            "attempt_success": (None, 0, 0, 0, 1),
        },
    ),
    (
        failed_again,
        "",
        {
            "recovery_success": (1.0, 1, 1, 0, 0),
            "recovery_time": (10.0, 10.0, 1, 0, 0),
            "detection_time": (0.1, 0.2, 2, 0, 0),
            "false_failures": (0.0, 0, 2, 0, 0),
            "attempt_success": (0.5, 1, 2, 0, 0),
        },
    ),
    (
        under_way,
        "",
        {
            "recovery_success": (None, 0, 0, 1, 0),
            "recovery_time": (None, 0.0, 0, 1, 0),
            "detection_time": (0.1, 0.1, 1, 0, 0),
            "false_failures": (None, 0, 0, 1, 0),
            "attempt_success": (None, 0, 0, 1, 0),
        },
    ),
    *[
        (
            story,
            "operator_too := true",
            {
                "recovery_success": (None, 0, 0, 0, 1),
                "recovery_time": (None, 0.0, 0, 0, 1),
                "worker_reconnection": (None, 0, 0, 0, 1),
                "detection_time": (15.0, 15.0, 1, 0, 0),
                "false_failures": (None, 0, 0, 0, 1),
            },
        )
        for story in (retired, stopped)
    ],
    (
        drill,
        "",
        dict.fromkeys(
            ("recovery_success", "recovery_time", "detection_time", "false_failures", "attempt_success"),
            (None, 0.0, 0, 0, 1),
        ),
    ),
    (
        drill,
        "synthetic_too := true",
        {
            "recovery_success": (1.0, 1, 1, 0, 0),
            "recovery_time": (2.0, 2.0, 1, 0, 0),
            "detection_time": (None, 0.0, 0, 0, 1),
            "false_failures": (0.0, 0, 1, 0, 0),
            "attempt_success": (1.0, 1, 1, 0, 0),
        },
    ),
    (
        drill_meets_failure,
        "",
        {
            "recovery_success": (None, 0, 0, 0, 1),
            "recovery_time": (None, 0.0, 0, 0, 1),
            "detection_time": (0.1, 0.1, 1, 0, 1),
            "false_failures": (0.0, 0, 1, 0, 1),
            "attempt_success": (0.0, 0, 1, 0, 1),
        },
    ),
    (
        paused,
        "",
        {
            "recovery_success": (None, 0, 0, 0, 1),
            "recovery_time": (None, 0.0, 0, 0, 1),
            "detection_time": (0.1, 0.1, 1, 0, 0),
            "false_failures": (0.0, 0, 1, 0, 0),
            "attempt_success": (1.0, 1, 1, 0, 0),
        },
    ),
    *[
        (
            story,
            "operator_too := true",
            {
                "recovery_success": (None, 0, 0, 0, 1),
                "recovery_time": (60.0, 60.0, 1, 0, 0),
                "detection_time": (0.1, 0.1, 1, 0, 0),
                "false_failures": (0.0, 0, 1, 0, 0),
            },
        )
        for story in (switched_off, switched_off_meanwhile)
    ],
    *[
        (
            story,
            "",
            {
                "recovery_success": (None, 0, 0, 0, 1),
                "recovery_time": (None, 0.0, 0, 0, 1),
                "detection_time": (0.1, 0.1, 1, 0, 0),
                "false_failures": (0.0, 0, 1, 0, 0),
            },
        )
        for story in (switched_off, switched_off_meanwhile)
    ],
    (
        after_the_pause,
        "",
        {
            "recovery_success": (1.0, 1, 1, 0, 0),
            "recovery_time": (6.0, 6.0, 1, 0, 0),
            "detection_time": (0.1, 0.1, 1, 0, 0),
            "false_failures": (0.0, 0, 1, 0, 0),
            "attempt_success": (0.5, 1, 2, 0, 0),
        },
    ),
    (incident, "", {"incident_success": (0.5, 1, 2, 1, 0)}),
]


def check(path: Path, arguments: str, expected: Figures) -> None:
    found = metrics(path, arguments)
    assert list(found) == [metric.name for metric in METRICS]
    for name, row in found.items():
        if name in ("backlog", "backlog_age"):
            continue
        figures = tuple(row[column] for column in ("value", "numerator", "denominator", "open", "excluded"))
        assert figures == pytest.approx(expected.get(name, (None, 0, 0, 0, 0))), name


@pytest.mark.parametrize(
    ("story", "arguments", "expected"), WORKERS, ids=lambda given: getattr(given, "__name__", None) or str(given)[:20]
)
def test_workers(tmp_path: Path, story: Callable[[Telling], None], arguments: str, expected: Figures) -> None:
    telling = Telling()
    telling.register(0)
    story(telling)
    check(telling.write(tmp_path / "history.duckdb"), arguments, expected)


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


DOWN: list[tuple[Callable[[Telling], None], float | None]] = []


def moment(since: float | None) -> Callable[[Callable[[Telling], None]], Callable[[Telling], None]]:
    def add(story: Callable[[Telling], None]) -> Callable[[Telling], None]:
        DOWN.append((story, since))
        return story

    return add


@moment(10)
def _reaped(story: Telling) -> None:
    story.die(10)


@moment(7.5)
def _hung(story: Telling) -> None:
    story.fail(10.1, reason="worker_hung", proof=story.exit(10, unanswered_s=2.5))


@moment(None)
def _nothing_tells(story: Telling) -> None:
    story.fail(10, reason="unknown")


@moment(4)
def _silent(story: Telling) -> None:
    story.say(10, WorkerSuspected(worker_id="w1", incarnation=1, evidence=Evidence(last_seen=utc(EPOCH + 4))))
    story.fail(19, reason="silence", seen=4)


@moment(15)
def _heard_again(story: Telling) -> None:
    evidence = Evidence(last_seen=utc(EPOCH + 4))
    story.say(10, WorkerSuspected(worker_id="w1", incarnation=1, evidence=evidence))
    story.say(11, WorkerSuspicionRefuted(worker_id="w1", incarnation=1, evidence=evidence))
    story.die(15)


@moment(8)
def _vanished(story: Telling) -> None:
    event = WorkerVanished(worker_id="w1", incarnation=1, machine="m", lifeline="l", closed_at=utc(EPOCH + 8))
    story.fail(9, reason="disconnected", proof=story.say(8.5, event))


@moment(8.5)
def _vanished_nobody_knows_when(story: Telling) -> None:
    event = WorkerVanished(worker_id="w1", incarnation=1, machine="m", lifeline="l")
    story.fail(9, reason="disconnected", proof=story.say(8.5, event))


@moment(6)
def _cut_off_after_its_last_heartbeat(story: Telling) -> None:
    story.say(8.5, WorkerDisconnected(worker_id="w1", incarnation=1, closed_at=utc(EPOCH + 7)))
    story.fail(22, reason="silence", seen=6)


@moment(4)
def _stalled(story: Telling) -> None:
    story.say(14, WorkerStalled(worker_id="w1", incarnation=1, cause="not_started", waited_s=10.0))
    story.fail(16.1, reason="stalled", proof=story.exit(16))


@moment(16)
def _not_stalled_after_all(story: Telling) -> None:
    story.say(14, WorkerStalled(worker_id="w1", incarnation=1, cause="not_started", waited_s=10.0))
    story.say(15, WorkerStallRefuted(worker_id="w1", incarnation=1, reason="it began"))
    story.fail(16.1, proof=story.exit(16))


@moment(9)
def _what_is_said_of_another_incarnation(story: Telling) -> None:
    story.register(5)
    evidence = Evidence(last_seen=utc(EPOCH + 1))
    story.say(6, WorkerSuspected(worker_id="w1", incarnation=1, evidence=evidence))
    story.die(9)


@moment(10)
def _never_later_than_it_was_recorded(story: Telling) -> None:
    story.fail(10, reason="silence", seen=11)


@pytest.mark.parametrize(("story", "since"), DOWN, ids=[story.__name__ for story, _ in DOWN])
def test_since_when_a_worker_is_down(tmp_path: Path, story: Callable[[Telling], None], since: float | None) -> None:
    telling = Telling()
    telling.register(0)
    story(telling)
    path = telling.write(tmp_path / "history.duckdb")
    (row,) = asked(path, "SELECT epoch(down_at) AS down, detection_s, epoch(failed_at) AS failed FROM failures")
    assert row["down"] == (None if since is None else pytest.approx(EPOCH + since))
    assert row["detection_s"] == (None if since is None else pytest.approx(row["failed"] - EPOCH - since))


@pytest.fixture(scope="module")
def two_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """w1 is out at second 10 for 6 s, w2 at second 1010 for 40 s; three tasks wait at the end, one of them made up."""
    story = Telling()
    story.register(0, "w1")
    story.register(0, "w2")
    recovered(story)
    story.fail(1010, "w2", "silence", seen=1000)
    story.recover(1040, "w2")
    for number, second in enumerate((2000.0, 2010.0)):
        story.submit(second, f"t{number}")
    story.submit(2020, "t2", synthetic="drill")
    story.submit(2020, "t3")
    story.assign(2030, "t3")
    return story.write(tmp_path_factory.mktemp("metrics") / "history.duckdb")


@pytest.mark.parametrize(
    ("arguments", "seconds", "met"),
    [
        ("", [6.0, 40.0], True),
        ("until := make_timestamp(1790000010100000)", [], None),
        ("until := make_timestamp(1790000010100001)", [6.0], True),
        ("since := make_timestamp(1790000010100000)", [6.0, 40.0], True),
        ("since := make_timestamp(1790000010100001)", [40.0], False),
        ("since := (SELECT known_until FROM history_clock) - INTERVAL 1030 SECOND", [40.0], False),
        ("since := TIMESTAMP '2100-01-01'", [], None),
    ],
)
def test_windows(two_days: Path, arguments: str, seconds: list[float], met: bool | None) -> None:
    row = metrics(two_days, arguments)["recovery_time"]
    assert (row["numerator"], row["denominator"], row["met"]) == (sum(seconds), len(seconds), met)
    assert row["maximum"] == max(seconds, default=None)


def test_backlog(two_days: Path) -> None:
    for arguments in ("", "since := TIMESTAMP '2100-01-01'"):
        found = metrics(two_days, arguments)
        row = found["backlog"]
        assert (row["value"], row["unit"], row["numerator"], row["denominator"]) == (2.0, "tasks", 2.0, 3)
        assert (found["backlog_age"]["value"], found["backlog_age"]["denominator"]) == (30.0, 2)
    assert metrics(two_days, "synthetic_too := true")["backlog"]["value"] == 3.0


def test_groups_add_up_to_the_whole(two_days: Path) -> None:
    whole = metrics(two_days)
    for macro in ("metrics_by_reason", "metrics_by_worker"):
        rows = asked(two_days, f"FROM {macro}()")
        for name in ("recovery_success", "recovery_time", "detection_time", "false_failures", "attempt_success"):
            for column in ("numerator", "denominator", "open", "excluded"):
                assert sum(row[column] for row in rows if row["metric"] == name) == pytest.approx(whole[name][column])


def test_an_empty_history_has_nothing_to_divide(tmp_path: Path) -> None:
    path = Telling().write(tmp_path / "history.duckdb")
    check(path, "", {})
    found = metrics(path)
    assert (found["backlog"]["value"], found["backlog_age"]["value"]) == (0.0, None)
    assert all(row["met"] is None for row in found.values())
    assert asked(path, "FROM metrics_by_reason()") == asked(path, "FROM metrics_by_worker()") == []
    assert asked(path, "FROM history_clock") == [{"known_until": None}]


def test_every_column_of_every_macro_is_described(tmp_path: Path) -> None:
    path = Telling().write(tmp_path / "history.duckdb")
    for name, macro in MACROS.items():
        names = [row["column_name"] for row in asked(path, f"FROM (DESCRIBE FROM {name}())")]
        assert names == list(macro.columns)
        assert all(macro.columns.values())
        assert [one.partition(" ")[0] for one in macro.signature] == list(macro.parameters)


def test_a_published_copy_has_the_metrics(tmp_path: Path) -> None:
    story = Telling()
    story.register(0)
    recovered(story)
    database = Database.open(story.write(tmp_path / "history.duckdb"))
    copy = tmp_path / "copy.duckdb"
    database.publish(copy)
    database.close()
    assert metrics(copy) == metrics(tmp_path / "history.duckdb")
