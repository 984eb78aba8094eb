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
    WorkerRetired,
    WorkerStopped,
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
