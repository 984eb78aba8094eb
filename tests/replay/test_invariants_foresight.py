"""Each promise about what is foreseen, broken by one decision, is named at that decision."""

from collections.abc import Callable
from typing import Any

import pytest

from events.base import Event
from events.clock import utc
from events.forecast import PredictorTrustChanged, Resource, WorkerFailurePredicted, WorkerPredictionJudged
from events.policy import Policy
from events.system import DetectorDegraded, RecoveryPaused, SystemRecoveryStarted
from events.worker import WorkerCordoned, WorkerDrainRequested, WorkerExited
from tests.recovery import test_forecast_actions, test_forecast_scenarios
from tests.recovery.forecasts import GIB, Farm, leaking, steady
from tests.recovery.story import Story, policy_changed
from tests.replay.wrong import checked, decided

FORESEEN = "foreseen-on-evidence"
ADVICE = Policy(enable_proactive_recovery=False)
STORIES = [
    test
    for module in (test_forecast_actions, test_forecast_scenarios)
    for name, test in vars(module).items()
    if name.startswith("test_") and not getattr(test, "pytestmark", ())
]


@pytest.mark.parametrize("tell", STORIES, ids=lambda tell: tell.__name__)
def test_the_stories_of_the_core_break_no_promise(tell: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Story] = []
    original = Story.__init__

    def remember(self: Story, *arguments: Any, **options: Any) -> None:
        told.append(self)
        original(self, *arguments, **options | {"checks": False})

    monkeypatch.setattr(Story, "__init__", remember)
    tell()
    for story in told:
        if story.leading:
            assert checked(story, reproduce=True) == []


def farm(*, leaks: bool = True, until: float = 150.0) -> Farm:
    """w1 leaks, w2 does not; nothing of it has been said: nobody leads."""
    story = Story(ADVICE, checks=False)
    story.join("w1", "w2")
    story.leading = False
    one = Farm(story, "w2")
    one.follow("w1", leaking(4 * GIB / 300) if leaks else steady())
    one.live(until)
    return one


def predicted(story: Story, worker_id: str = "w1", resource: Resource = "memory", **fields: Any) -> Event:
    given: dict[str, Any] = {
        "incarnation": story.worker(worker_id).incarnation,
        "value": 2.0 * GIB,
        "limit": 0.0,
        "slope_per_s": -GIB / 75,
        "expected_at": utc(story.now + 150.0),
        "since": utc(story.now - 120.0),
        "samples": 12,
        "heartbeat_first": 20,
        "heartbeat_last": len(story.beats),
        "remedy": "none",
    }
    return WorkerFailurePredicted(worker_id=worker_id, resource=resource, **(given | fields))


def judged(story: Story, *, right: bool | None, acted: bool = False, prediction: int | None = None) -> Event:
    open_one = next((at.sequence for at in story.records if isinstance(at.event, WorkerFailurePredicted)), 0)
    return WorkerPredictionJudged(
        worker_id="w1",
        incarnation=story.worker("w1").incarnation,
        resource="memory",
        prediction_sequence=open_one if prediction is None else prediction,
        right=right,
        acted=acted,
        why="",
    )


def broken(one: Farm, *events: Event) -> list[tuple[str, int]]:
    first = decided(one.story, *events)
    assert first > 0
    return [(violation.invariant, violation.sequence - first) for violation in checked(one.story)]


def test_a_true_word_breaks_nothing() -> None:
    one = farm()
    assert broken(one, predicted(one.story)) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"samples": 11},
        {"slope_per_s": 1.0},
        {"expected_at": utc(2_000_000.0)},
        {"incarnation": 1},
    ],
    ids=["few samples", "it rises", "far away", "an old incarnation"],
)
def test_a_word_that_does_not_hold_together(fields: dict[str, Any]) -> None:
    one = farm()
    assert broken(one, predicted(one.story, **fields)) == [(FORESEEN, 0)]


def test_a_word_that_the_heartbeats_do_not_bear_out() -> None:
    one = farm(leaks=False)
    assert broken(one, predicted(one.story)) == [(FORESEEN, 0)]


def test_a_word_about_somebody_who_is_not_at_work() -> None:
    one = farm()
    word = predicted(one.story)
    one.story.tell(WorkerExited(worker_id="w1", incarnation=one.story.worker("w1").incarnation, signal=9))
    assert broken(one, word) == [(FORESEEN, 0)]


def test_the_same_word_twice() -> None:
    one = farm()
    decided(one.story, predicted(one.story))
    assert broken(one, predicted(one.story)) == [("decided-once", 0), (FORESEEN, 0)]


def test_the_same_word_too_soon() -> None:
    one = farm(until=250.0)
    decided(one.story, predicted(one.story, expected_at=utc(one.story.now + 40.0)))
    one.live(60.0)
    decided(one.story, judged(one.story, right=True))
    assert broken(one, predicted(one.story)) == [(FORESEEN, 0)]


Wrong = Callable[[Farm], Event]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda one: judged(one.story, right=True),
        lambda one: judged(one.story, right=False),
        lambda one: judged(one.story, right=None, acted=True),
        lambda one: judged(one.story, right=None, prediction=2),
    ],
    ids=["right, and it is well", "wrong, and it is not over", "nothing was done", "another one"],
)
def test_a_judgement_that_does_not_hold(wrong: Wrong) -> None:
    one = farm()
    decided(one.story, predicted(one.story))
    assert broken(one, wrong(one)) == [(FORESEEN, 0)]


def test_a_judgement_after_its_failure() -> None:
    one = farm()
    decided(one.story, predicted(one.story))
    one.story.leading = True
    one.story.tell(WorkerExited(worker_id="w1", incarnation=one.story.worker("w1").incarnation, signal=9))
    assert len(one.story.told(WorkerPredictionJudged, right=True)) == 1
    assert checked(one.story) == []


def test_a_judgement_counts_from_a_doubt() -> None:
    one = farm()
    decided(one.story, predicted(one.story))
    one.story.now -= 5000.0
    one.story.tell(
        DetectorDegraded(
            reason="clock_step", extent_s=-5e3, heartbeats_sequence=len(one.story.beats), coordinator_id="c1"
        )
    )
    one.story.now += ADVICE.forecast_horizon * 1.5 + 1.0
    assert broken(one, judged(one.story, right=False)) == []


def trust(**fields: Any) -> Event:
    given: dict[str, Any] = {"acts": False, "right": 0.0, "wrong": 0.0, "precision_needed": 0.5}
    return PredictorTrustChanged(resource="memory", **(given | fields))


@pytest.mark.parametrize(
    ("word", "names"),
    [
        (trust(wrong=1.0), [FORESEEN, FORESEEN]),
        (trust(), [FORESEEN]),
        (trust(acts=True), ["decided-once"]),
    ],
    ids=["miscounted", "too soon", "as before"],
)
def test_trust_that_is_not_earned(word: Event, names: list[str]) -> None:
    assert [name for name, _ in broken(farm(), word)] == names


# What is done


def certain(one: Farm) -> Farm:
    """w1 leaks, that is said, and something may be done about it."""
    decided(one.story, predicted(one.story, remedy="restart"))
    one.story.tell(policy_changed(Policy()))
    return one


def order(one: Farm, worker_id: str = "w1", **fields: Any) -> Event:
    given: dict[str, Any] = {"restart": True, "incarnation": one.story.worker(worker_id).incarnation}
    return WorkerDrainRequested(worker_id=worker_id, actor="proactive recovery", **(given | fields))


def cordon(one: Farm, lasts: float = Policy().forecast_cooldown) -> Event:
    return WorkerCordoned(worker_id="w1", cause="forecast", until=utc(one.story.now + lasts))


def test_a_true_order_breaks_nothing() -> None:
    one = certain(farm())
    assert broken(one, order(one)) == []


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        (lambda one: order(one, restart=False), [FORESEEN]),
        (lambda one: order(one, incarnation=2), [FORESEEN]),
        (lambda one: order(one, "w2"), [FORESEEN]),
        (cordon, [FORESEEN]),
        (lambda one: cordon(one, 1.0), [FORESEEN, FORESEEN]),
    ],
    ids=["to end", "an old incarnation", "nothing is foreseen", "the wrong remedy", "too short as well"],
)
def test_an_order_for_nothing(wrong: Wrong, names: list[str]) -> None:
    one = certain(farm())
    assert [name for name, _ in broken(one, wrong(one))] == names


Given = Callable[[Farm], None]


def die(one: Farm) -> None:
    one.story.tell(WorkerExited(worker_id="w2", incarnation=one.story.worker("w2").incarnation, signal=9))


def doubt(one: Farm) -> None:
    one.story.tell(
        DetectorDegraded(
            reason="own_pause", extent_s=2.0, heartbeats_sequence=len(one.story.beats), coordinator_id="c1"
        )
    )


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (lambda one: one.story.tell(policy_changed(ADVICE)), ["operator-obeyed"]),
        (lambda one: one.story.tell(RecoveryPaused(actor="alice")), ["operator-obeyed"]),
        (lambda one: one.story.tell(trust()), [FORESEEN]),
        (die, [FORESEEN, FORESEEN]),
        (doubt, [FORESEEN]),
        (
            lambda one: one.story.tell(
                SystemRecoveryStarted(incident_id="i1", incident_kind="mass_worker_loss", status="critical")
            ),
            [FORESEEN],
        ),
        (lambda one: one.story.tell(order(one)), [FORESEEN]),
    ],
    ids=["off", "paused", "not trusted", "the last one", "a doubt", "an incident", "done already"],
)
def test_an_order_that_must_not_be(given: Given, names: list[str]) -> None:
    one = certain(farm())
    given(one)
    assert [name for name, _ in broken(one, order(one))] == names
