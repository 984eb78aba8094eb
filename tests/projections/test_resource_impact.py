"""What recovering has cost, as a row and as shares."""

from pathlib import Path

import pytest

from events.clock import utc
from events.system import Course, RecoveryMeasured, Use
from tests.projections.histories import EPOCH
from tests.projections.telling import Telling, asked, metrics


def course(*uses: tuple[float, int, int | None]) -> Course:
    """Before, during and after: processors, memory, and what is available of it."""
    before, during, after = (
        Use(cpu_percent=cpu, memory_bytes=memory, memory_available_bytes=available) for cpu, memory, available in uses
    )
    return Course(before=before, during=during, after=after)


IDLE = course((5.0, 100, 1000), (5.0, 100, 1000), (5.0, 100, 1000))


def measured(coordinator: Course = IDLE, workers: Course | None = None, began_s: float = 10.0) -> RecoveryMeasured:
    return RecoveryMeasured(
        began_at=utc(EPOCH + began_s),
        ended_at=utc(EPOCH + began_s + 5),
        outages=2,
        before_s=60.0,
        after_s=30.0,
        coordinator=coordinator,
        hosts=0 if workers is None else 3,
        workers=workers,
        coordinator_id="c1",
    )


IMPACTS: list[tuple[RecoveryMeasured, tuple[float, float | None, float | None, float | None], float]] = [
    # the leader's processors and memory, the workers' processors and memory, and the impact
    (measured(), (0.0, 0.0, None, None), 0.0),
    (measured(course((5.0, 100, 1000), (35.0, 100, 1000), (15.0, 100, 1000))), (0.25, 0.0, None, None), 0.25),
    (measured(course((5.0, 100, 1000), (5.0, 200, 900), (5.0, 100, 1000))), (0.0, 0.1, None, None), 0.1),
    (measured(workers=course((10.0, 1, 1000), (60.0, 1, 1000), (10.0, 1, 1000))), (0.0, 0.0, 0.5, 0.0), 0.5),
    (measured(workers=course((10.0, 1, 1000), (10.0, 1, 600), (10.0, 1, 600))), (0.0, 0.0, 0.0, 0.25), 0.25),
    # What is used less, since somebody is missing, is no cost.
    (measured(workers=course((90.0, 9, 500), (10.0, 1, 900), (90.0, 9, 500))), (0.0, 0.0, 0.0, 0.0), 0.0),
    (measured(course((5.0, 100, None), (25.0, 900, None), (5.0, 100, None))), (0.2, None, None, None), 0.2),
    (measured(workers=course((0.0, 1, None), (40.0, 1, None), (0.0, 1, None))), (0.0, 0.0, 0.4, None), 0.4),
]


@pytest.mark.parametrize(("event", "shares", "impact"), IMPACTS)
def test_impact(
    tmp_path: Path,
    event: RecoveryMeasured,
    shares: tuple[float, float | None, float | None, float | None],
    impact: float,
) -> None:
    story = Telling()
    story.say(50, event)
    path = story.write(tmp_path / "history.duckdb")
    [row] = asked(path, "FROM recovery_impact")
    columns = ("coordinator_cpu", "coordinator_memory", "workers_cpu", "workers_memory")
    assert [row[column] for column in columns] == pytest.approx(list(shares))
    assert row["impact"] == pytest.approx(impact)


def test_the_metric_is_their_mean_over_a_window(tmp_path: Path) -> None:
    story = Telling()
    for second, used in ((10.0, 45.0), (1000.0, 65.0)):
        story.say(second + 60, measured(course((5.0, 1, 9), (used, 1, 9), (5.0, 1, 9)), began_s=second))
    story.say(1100, measured(course((0.0, 1, 9), (100.0, 1, 9), (0.0, 1, 9))), synthetic="drill")
    path = story.write(tmp_path / "history.duckdb")
    row = metrics(path)["resource_impact"]
    assert (row["value"], row["denominator"], row["excluded"]) == (pytest.approx(0.5), 2, 1)
    assert (row["met"], row["maximum"]) == (False, pytest.approx(0.6))
    assert metrics(path, "since := make_timestamp(1790000500000000)")["resource_impact"]["value"] == pytest.approx(0.6)
    [first, *_] = asked(
        path, "SELECT began_at, outages, hosts, coordinator_id, workers_memory_bytes_after FROM recovery_use"
    )
    assert list(first.values()) == ["2026-09-21T14:13:30", 2, 0, "c1", None]
