"""What is said of failures that are foreseen."""

import re
from typing import Any

import pytest

from coordinator.fleet.board import explanations
from events.clock import utc
from events.forecast import PredictorTrustChanged, WorkerFailurePredicted, WorkerPredictionJudged
from tests.coordinator.test_fleet import drawn, examined, healthy_story, one
from tests.recovery.forecasts import GIB, Farm, Gauges, leaking

FORESEEN: dict[str, Any] = {
    "worker_id": "w1",
    "incarnation": 3,
    "resource": "errors",
    "value": 0.5,
    "limit": 1.0,
    "expected_at": utc(900_000.0),
    "since": utc(800_000.0),
    "samples": 24,
    "remedy": "none",
}


def test_a_failure_that_is_foreseen_has_its_evidence() -> None:
    story = healthy_story("w1", "w2")
    farm = Farm(story, "w1")
    farm.follow("w2", leaking(4 * GIB / 300))
    farm.live(200.0)
    worker = one(story, "w2")
    (forecast,) = worker.forecasts
    (said,) = story.told(WorkerFailurePredicted)
    assert (forecast.resource, forecast.remedy, forecast.acted) == ("memory", "restart", True)
    assert forecast.heartbeats == (said.heartbeat_first, said.heartbeat_last)
    (first, *_) = (line for line in explanations(worker, examined(story)) if line.startswith("memory"))
    amounts = f"{said.value / 2**20:.1f} MiB, falling by 13.7 MiB/s"
    assert first.startswith(f"memory heads for its limit (event {forecast.sequence}): {amounts} from heartbeat ")
    assert first.endswith("; a failure is expected in 1 m 40 s; it is drained, to begin anew")
    assert examined(story).workers[0].worker_id == "w2", "it stands before those that are well"


@pytest.mark.parametrize(
    ("gauges", "said"),
    [
        (
            lambda at: {"loop_lag_s": 0.007 * at},
            r"loop lag heads .*: 9\d\d\.\d ms, rising by 7\.0 ms/s from heartbeat ",
        ),
        (
            lambda at: {"disk_free_bytes": max(0, int(10 * GIB - 10 * GIB / 300 * at))},
            r"disk heads .*; it gets no more work",
        ),
    ],
)
def test_other_things_that_run_out(gauges: Gauges, said: str) -> None:
    story = healthy_story("w1", "w2", "w3")
    farm = Farm(story, "w1", "w3")
    farm.follow("w2", gauges)
    farm.live(170.0)
    assert any(re.match(said, line) for line in explanations(one(story, "w2"), examined(story)))


def test_what_is_not_acted_on_any_more_is_said() -> None:
    story = healthy_story("w1")
    story.tell(WorkerFailurePredicted(**FORESEEN))
    (line,) = [line for line in explanations(one(story, "w1"), examined(story)) if "failing" in line]
    assert "50% of the last ones failed; a failure was expected" in line
    story.leading = False
    story.tell(
        WorkerPredictionJudged(
            worker_id="w1",
            incarnation=story.worker("w1").incarnation,
            resource="errors",
            prediction_sequence=one(story, "w1").forecasts[0].sequence,
            right=False,
            acted=False,
            why="",
        ),
        PredictorTrustChanged(resource="errors", acts=False, right=0.0, wrong=1.0, precision_needed=0.5),
    )
    (mistrust,) = examined(story).mistrusted
    assert (mistrust.resource, mistrust.wrong) == ("errors", 1.0)
    told = drawn(examined(story), width=200)
    assert "what is foreseen of failing tasks is not acted on: of the last predictions 0% were right" in told
