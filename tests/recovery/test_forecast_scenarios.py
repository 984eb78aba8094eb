"""What is said of workers that are about to fail, and what becomes of that. Nothing is done about it here."""

from itertools import pairwise

import pytest

from events.forecast import PredictorTrustChanged, WorkerFailurePredicted, WorkerPredictionJudged
from events.policy import Policy
from events.system import DetectorDegraded
from events.task import Outcome
from events.worker import WorkerExited, WorkerFailed, WorkerStopped
from recovery.core import decide
from recovery.foresight import margin_s
from tests.recovery.forecasts import FORESEEN_S, GIB, MIB, Farm, Gauges, leaking, steady
from tests.recovery.story import BEGIN, Story, folded, policy_changed, registered, submitted

ADVICE = Policy(enable_proactive_recovery=False)
LEAK = leaking(4 * GIB / 300)
"""Nothing is left after five minutes."""


def farm(policy: Policy = ADVICE, *worker_ids: str) -> Farm:
    names = worker_ids or ("w1", "w2", "w3")
    story = Story(policy)
    story.join(*names)
    return Farm(story, *names)


def predictions(story: Story) -> list[WorkerFailurePredicted]:
    return story.told(WorkerFailurePredicted)


def judgements(story: Story) -> list[tuple[bool | None, str]]:
    return [(event.right, event.why) for event in story.told(WorkerPredictionJudged)]


def test_memory_that_runs_out_is_foreseen_with_its_evidence() -> None:
    one = farm()
    one.live(60.0)
    assert not predictions(one.story)
    began = one.story.now
    one.follow("w2", LEAK)
    one.live(300.0)
    (said,) = predictions(one.story)
    ((at, _),) = one.story.timed(WorkerFailurePredicted)
    lead_s = began + 300.0 - BEGIN - at
    assert 60.0 < lead_s < ADVICE.forecast_horizon
    assert (said.worker_id, said.resource, said.limit, said.remedy, said.own_share) == (
        "w2",
        "memory",
        0.0,
        "restart",
        1.0,
    )
    assert said.slope_per_s == pytest.approx(-4 * GIB / 300, rel=0.01)
    assert said.expected_at.timestamp() == pytest.approx(began + 300.0, abs=10.0)
    first, last = one.story.beats[said.heartbeat_first - 1], one.story.beats[said.heartbeat_last - 1]
    assert first.time == said.since.timestamp()
    assert {first.heartbeat.worker_id, last.heartbeat.worker_id} == {"w2"}  # type: ignore[union-attr]
    assert last.heartbeat is not None
    assert last.heartbeat.memory_available_bytes == said.value
    assert not one.story.told(WorkerFailed)


def test_an_end_that_came_was_foreseen() -> None:
    one = farm()
    one.follow("w2", LEAK)
    one.live(200.0)
    assert len(predictions(one.story)) == 1
    one.story.tell(WorkerExited(worker_id="w2", incarnation=one.story.worker("w2").incarnation, signal=9))
    assert judgements(one.story) == [(True, "it failed: worker_exit")]
    assert one.story.state.track_records["memory"].right == 1.0
    assert one.story.worker("w2").foresight.predictions == {}


def test_nothing_left_is_an_end_as_well() -> None:
    one = farm()
    one.follow("w2", LEAK)
    one.live(310.0)
    assert judgements(one.story) == [(True, "it had no more than 5% left of what it had then")]


def test_a_leak_that_stops_makes_the_word_untrue() -> None:
    one = farm()
    one.follow("w2", LEAK)
    one.live(200.0)
    (said,) = predictions(one.story)
    one.follow("w2", steady(left=GIB, own=3 * GIB))
    due = said.expected_at.timestamp() + margin_s(ADVICE)
    one.live(due - one.story.now - 4.0)
    assert judgements(one.story) == []
    one.live(8.0)
    assert judgements(one.story) == [(False, "its time is over, and the worker has not failed")]
    one.live(ADVICE.forecast_cooldown)
    assert len(predictions(one.story)) == 1


def test_the_same_is_not_said_twice_within_a_while() -> None:
    """Wrong, and foreseen again at once: it has to wait."""
    one = farm()
    for _ in range(6):
        one.follow("w2", leaking(GIB / 50, left=4 * GIB))
        one.live(180.0)
        one.follow("w2", steady())
        one.live(180.0)
    times = [at for at, _ in one.story.timed(WorkerFailurePredicted)]
    assert len(times) >= 2
    assert all(later - earlier >= ADVICE.forecast_cooldown for earlier, later in pairwise(times))


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ("stop", "it ended in order before that"),
        ("register", "it ended in order before that"),
        ("drill", "somebody made up a failure of it"),
    ],
)
def test_what_comes_between_leaves_it_open(end: str, why: str) -> None:
    one = farm()
    one.follow("w2", LEAK)
    one.live(200.0)
    incarnation = one.story.worker("w2").incarnation
    if end == "stop":
        one.story.tell(WorkerStopped(worker_id="w2", incarnation=incarnation))
    elif end == "register":
        one.story.tell(registered("w2"))
    else:
        one.story.tell(WorkerFailed(worker_id="w2", reason="synthetic"), synthetic="drill")
    assert judgements(one.story) == [(None, why)]
    assert "memory" not in one.story.state.track_records


def test_somebody_elses_leak_is_not_cured_by_a_restart() -> None:
    one = farm()
    one.follow("w2", leaking(4 * GIB / 300, own_share=0.2))
    one.live(250.0)
    (said,) = predictions(one.story)
    assert said.remedy == "none"
    assert said.own_share == pytest.approx(0.2, abs=0.01)


def test_whoever_nobody_would_start_anew_is_not_to_be_restarted() -> None:
    story = Story(ADVICE)
    story.tell(registered("w1", supervised=False))
    one = Farm(story)
    one.follow("w1", LEAK)
    one.live(250.0)
    (said,) = predictions(story)
    assert said.remedy == "none"


def disk(at: float) -> dict[str, int]:
    return {"disk_free_bytes": max(0, int(10 * GIB - 10 * GIB / 300 * at))}


def lag(at: float) -> dict[str, float]:
    return {"loop_lag_s": 0.007 * at}


@pytest.mark.parametrize(("gauges", "resource", "remedy"), [(disk, "disk", "cordon"), (lag, "loop_lag", "restart")])
def test_other_things_that_run_out(gauges: Gauges, resource: str, remedy: str) -> None:
    one = farm()
    one.follow("w2", gauges)
    one.live(320.0)
    (said,) = predictions(one.story)
    assert (said.worker_id, said.resource, said.remedy) == ("w2", resource, remedy)
    assert judgements(one.story)[0][0] is True


def test_two_things_at_once_are_told_apart() -> None:
    one = farm()
    one.follow("w2", lambda at: disk(at) | LEAK(at))
    one.live(320.0)
    assert {said.resource for said in predictions(one.story)} == {"memory", "disk"}
    assert [right for right, _ in judgements(one.story)] == [True, True]


# Failures of tasks


def run_tasks(one: Farm, outcomes: dict[str, list[Outcome]]) -> None:
    """Each worker ends its tasks like that, in turn."""
    story = one.story
    number = len(story.state.tasks)
    for turn in range(max(map(len, outcomes.values()))):
        names = [f"t{number + index}" for index in range(len(outcomes))]
        story.tell(*(submitted(name) for name in names))
        number += len(names)
        for name in names:
            task = story.task(name)
            assert task.worker_id is not None
            row = outcomes[task.worker_id]
            story.start(name)
            story.finish(name, row[turn] if turn < len(row) else "passed", duration_s=2.0)
        one.live(2.0)


def mostly(bad: int, count: int = 24) -> list[Outcome]:
    return [
        "failed" if number % (count // bad) == 0 and number // (count // bad) < bad else "passed"
        for number in range(count)
    ]


def test_a_worker_that_fails_more_than_it_did_and_than_others_do() -> None:
    one = farm()
    run_tasks(one, {"w1": mostly(1), "w2": mostly(1), "w3": mostly(1)})
    assert not predictions(one.story)
    run_tasks(one, {"w1": mostly(1), "w2": mostly(12), "w3": mostly(1)})
    (said,) = predictions(one.story)
    assert (said.worker_id, said.resource, said.value, said.samples) == ("w2", "errors", 0.5, 24)
    assert said.usual == pytest.approx(1 / 24, abs=1e-6)
    assert (said.remedy, said.heartbeat_first) == ("restart", 0)
    run_tasks(one, {"w1": mostly(1), "w2": mostly(12), "w3": mostly(1)})
    assert judgements(one.story) == [(True, "of 24 attempts behind it, 12 failed")]


def test_a_worker_that_is_itself_again_was_wronged() -> None:
    one = farm()
    run_tasks(one, {"w1": mostly(1), "w2": mostly(1), "w3": mostly(1)})
    run_tasks(one, {"w1": mostly(1), "w2": mostly(12), "w3": mostly(1)})
    run_tasks(one, {"w1": mostly(1), "w2": mostly(1), "w3": mostly(1)})
    assert judgements(one.story) == [(False, "of 24 attempts behind it, 1 failed")]


def test_what_requires_a_label_does_not_count() -> None:
    story = Story(ADVICE)
    story.join("w1", labels={"gpu": "yes"})
    story.tell(submitted("t1", requires={"gpu": "yes"}))
    story.start("t1")
    story.finish("t1", "failed")
    assert story.worker("w1").foresight.attempts.count == 0
    story.tell(submitted("t2"), submitted("t3"))
    story.start("t2")
    story.finish("t2", "timed_out")
    story.start("t3")
    story.finish("t3", "fenced")
    attempts = story.worker("w1").foresight.attempts
    assert (attempts.bad, attempts.count) == (1, 1)


# Trust


def wrongly_foreseen(one: Farm, times: int) -> None:
    for _ in range(times):
        one.follow("w2", LEAK)
        one.live(200.0)
        one.follow("w2", steady())
        one.live(ADVICE.forecast_cooldown - 190.0)


def test_what_is_often_wrong_is_not_acted_on_any_more() -> None:
    one = farm(ADVICE, "w2")
    wrongly_foreseen(one, 4)
    assert not one.story.told(PredictorTrustChanged)
    wrongly_foreseen(one, 1)
    (changed,) = one.story.told(PredictorTrustChanged)
    assert (changed.resource, changed.acts, changed.right) == ("memory", False, 0.0)
    assert changed.wrong == pytest.approx(sum(0.9**number for number in range(5)), abs=1e-4)
    wrongly_foreseen(one, 1)
    assert len(one.story.told(PredictorTrustChanged)) == 1
    assert len(predictions(one.story)) == 6, "it goes on being said and judged"


def test_trust_is_won_back() -> None:
    one = farm(ADVICE, "w2")
    wrongly_foreseen(one, 5)
    for _ in range(8):
        one.follow("w2", LEAK)
        one.live(320.0)
        one.follow("w2", steady())
        one.live(ADVICE.forecast_cooldown - 300.0)
    changed = one.story.told(PredictorTrustChanged)
    assert [(event.acts, event.right >= 0.6 * (event.right + event.wrong)) for event in changed] == [
        (False, False),
        (True, True),
    ]


def test_a_policy_that_wants_to_see_more_trusts_until_then() -> None:
    one = farm(ADVICE, "w2")
    wrongly_foreseen(one, 5)
    one.story.tell(policy_changed(Policy(enable_proactive_recovery=False, forecast_judged_min=6)))
    assert [event.acts for event in one.story.told(PredictorTrustChanged)] == [False, True]


# Clocks, policies, readers


def test_a_policy_that_looks_further_ahead_says_it_at_once() -> None:
    policy = Policy(enable_proactive_recovery=False, forecast_horizon=20.0)
    one = farm(policy, "w1")
    one.follow("w1", LEAK)
    one.live(200.0)
    assert not predictions(one.story)
    one.story.tell(policy_changed(ADVICE))
    assert len(predictions(one.story)) == 1


def test_a_doubt_brings_times_that_lie_ahead_into_order() -> None:
    one = farm(ADVICE, "w1")
    one.follow("w1", LEAK)
    one.live(200.0)
    one.story.now -= 10_000.0
    one.story.tell(
        DetectorDegraded(
            reason="clock_step", extent_s=-1e4, heartbeats_sequence=len(one.story.beats), coordinator_id="c1"
        )
    )
    prediction = one.story.worker("w1").foresight.predictions["memory"]
    assert prediction.judge_at <= one.story.now + ADVICE.forecast_horizon * 1.5
    assert one.story.worker("w1").foresight.predicted_at["memory"] == one.story.now
    one.live(ADVICE.forecast_horizon * 1.5 + 4.0)
    assert len(judgements(one.story)) == 1


def test_forgotten_heartbeats_foresee_nothing() -> None:
    one = farm(ADVICE, "w1")
    one.follow("w1", LEAK)
    one.live(FORESEEN_S)
    assert not predictions(one.story)
    one.story.tell(
        DetectorDegraded(
            reason="heartbeats_lost", extent_s=0.0, heartbeats_sequence=len(one.story.beats), coordinator_id="c1"
        )
    )
    one.live(100.0)
    assert not predictions(one.story)
    one.live(60.0)
    assert len(predictions(one.story)) == 1


def test_whoever_folds_later_foresees_the_same() -> None:
    """All events first, then all heartbeats: the leader's own order is one of many."""
    one = farm()
    one.story.leading = False
    one.follow("w2", lambda at: disk(at) | LEAK(at))
    one.live(250.0)
    late = folded(one.story.records, one.story.beats)
    decided = decide(one.story.state, one.story.now)
    assert {type(decision.event) for decision in decided} >= {WorkerFailurePredicted}
    assert decide(late, one.story.now) == decided
    assert list(late.omens.in_turn(one.story.now)) == list(one.story.state.omens.in_turn(one.story.now)) == ["w2"]


def test_strangers_words_about_predictions_change_nothing() -> None:
    one = farm()
    one.follow("w2", LEAK)
    one.live(200.0)
    (said,) = predictions(one.story)
    ignored = one.story.state.ignored.total()
    one.story.tell(said)
    nobody = WorkerPredictionJudged(
        worker_id="w9", incarnation=2, resource="memory", prediction_sequence=3, right=True, acted=False, why=""
    )
    one.story.tell(nobody)
    other = WorkerPredictionJudged(
        worker_id="w2", incarnation=2, resource="memory", prediction_sequence=3, right=True, acted=False, why=""
    )
    one.story.tell(other)
    assert one.story.state.ignored.total() == ignored + 3
    assert "memory" in one.story.worker("w2").foresight.predictions
    assert one.story.state.track_records == {}
    assert MIB < GIB
