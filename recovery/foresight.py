"""What is foreseen of a worker, and what has become of that: read from the state, for the index and for decisions.

Whether a prediction was right is known when its worker fails, when nothing is left of what was to run out, or when its
time is over. Where something was done about it, nobody knows what would have come without. Then it counts as right if
the remedy shows that there was something to remedy: the new incarnation has back what the old one had taken.
"""

from collections.abc import Iterator
from math import isnan
from typing import NamedTuple

from events.policy import Policy
from recovery.entities import Worker
from recovery.forecasts import BLOCK, PREDICTORS, Outlook, Worse
from recovery.predictions import Prediction
from recovery.state import State
from recovery.timers import AT_ONCE, NEVER

USED_UP = 0.05
"""The share of what was left when it was predicted below which nothing is."""
GIVEN_BACK = 0.5
"""The share of what had been taken that a restart must give back."""


class Judgement(NamedTuple):
    right: bool | None
    why: str


def margin_s(policy: Policy) -> float:
    """How much later than expected it may come and was foreseen all the same."""
    return policy.forecast_horizon / 2


def look(state: State, worker_id: str) -> None:
    """Notes what the last samples of a worker foresee under the present policy. To be called when a sample is complete,
    and when that policy changes or samples are forgotten."""
    found = tuple(foreseen_by_gauges(state, worker_id))
    if found:
        state.outlooks[worker_id] = found
    else:
        state.outlooks.pop(worker_id, None)


def foreseen_by_gauges(state: State, worker_id: str) -> Iterator[Outlook]:
    trend, through = state.trends.get(worker_id), state.loss.through
    ends = None if trend is None else trend.ends(through)
    if trend is None or ends is None:
        return
    for predictor in PREDICTORS.values():
        if predictor.near(*ends, state.policy):
            outlook = predictor.outlook(trend.samples(through), state.policy)
            if outlook is not None:
                yield outlook


def outlooks(state: State, worker: Worker) -> Iterator[Outlook]:
    """What there is to say of the present incarnation, of one that can be drained."""
    if worker.status != "alive" or worker.attempt is not None:
        return
    found = state.outlooks.get(worker.worker_id)
    if found is not None and state.trends[worker.worker_id].incarnation == worker.incarnation:
        yield from found
    worse = worker.foresight.attempts.worse
    if worse is not None:
        yield _of_errors(worse, state.policy)


def _of_errors(worse: Worse, policy: Policy) -> Outlook:
    return Outlook(
        resource="errors",
        value=round(worse.bad / BLOCK, 6),
        limit=1.0,
        slope=0.0,
        expected_at=worse.until + policy.forecast_horizon,
        since=worse.since,
        first=0,
        last=0,
        samples=BLOCK,
        remedy="restart",
        usual=round(worse.usual, 6),
    )


def foreseen_at(state: State, worker: Worker) -> float:
    """From when on there is something to say about what is foreseen of it, or about what was; an index of that."""
    at = NEVER
    foresight = worker.foresight
    for prediction in foresight.predictions.values():
        at = min(at, prediction.judge_at if judgement(state, worker, prediction) is None else AT_ONCE)
    for outlook in outlooks(state, worker):
        at = min(at, may_say_at(state, worker, outlook))
    return at


def may_say_at(state: State, worker: Worker, outlook: Outlook) -> float:
    foresight = worker.foresight
    if outlook.resource in foresight.predictions:
        return NEVER
    said_at = foresight.predicted_at.get(outlook.resource)
    return AT_ONCE if said_at is None else said_at + state.policy.forecast_cooldown


def forestalled_at(state: State, worker: Worker) -> float:
    """From when on something may be done about what is foreseen of it; an index of that.

    Not while it is uncertain what is seen: for as long behind an election or a doubt as no silence proves anything.
    """
    if worker.status != "alive" or worker.attempt is not None or not any(remediable(state, worker)):
        return NEVER
    return state.interrupted_at + state.rules.failed_after_max


def remediable(state: State, worker: Worker) -> Iterator[Prediction]:
    """What is foreseen of it that something can be done about, and nothing has been."""
    for prediction in worker.foresight.predictions.values():
        if prediction.remedy != "none" and not prediction.acted and judgement(state, worker, prediction) is None:
            yield prediction


def judgement(state: State, worker: Worker, prediction: Prediction) -> Judgement | None:
    """What is known of an open prediction, whatever the time is; None: nothing as yet."""
    if prediction.failed:
        return Judgement(True, f"it failed: {prediction.failed}")
    if prediction.over:
        return Judgement(None, prediction.over)
    if worker.incarnation != prediction.incarnation:
        return _by_new_incarnation(state, worker, prediction)
    if _used_up(state, worker, prediction):
        return Judgement(True, f"it had no more than {USED_UP:.0%} left of what it had then")
    if prediction.acted or prediction.resource != "errors":
        return None
    return _by_next_block(worker, prediction)


def last_judgement(prediction: Prediction) -> Judgement:
    """When its time is over."""
    if not prediction.acted:
        return Judgement(False, "its time is over, and the worker has not failed")
    if prediction.remedy == "cordon":
        return Judgement(None, "it got no more work: nobody knows what more of it would have done")
    return Judgement(None, "it was to begin anew, and has shown nothing since")


def _used_up(state: State, worker: Worker, prediction: Prediction) -> bool:
    trend = state.trends.get(worker.worker_id)
    if prediction.resource == "errors" or trend is None or trend.incarnation != worker.incarnation:
        return False
    ends = trend.ends(state.loss.through)
    if ends is None:
        return False
    predictor = PREDICTORS[prediction.resource]
    then = abs(prediction.value - prediction.limit)
    return predictor.left(ends[1], state.policy) <= USED_UP * then


def _by_new_incarnation(state: State, worker: Worker, prediction: Prediction) -> Judgement | None:
    """The one of which it was predicted has ended in order, as it was told to."""
    if prediction.resource == "errors":
        return _by_next_block(worker, prediction)
    trend = state.trends.get(worker.worker_id)
    ends = None if trend is None or trend.incarnation != worker.incarnation else trend.ends(state.loss.through)
    if ends is None:
        return None
    last = ends[1]
    if prediction.resource == "loop_lag":
        left = PREDICTORS["loop_lag"].left(last, state.policy)
        lag, before = prediction.limit - left, prediction.value
        return Judgement(lag <= GIVEN_BACK * before, f"the new agent's loop is {lag:.3f} s late; it was {before:.3f} s")
    if prediction.own_bytes is None or isnan(last.own_bytes):
        return Judgement(None, "what its processes take is not known")
    freed = prediction.own_bytes - last.own_bytes
    right = freed >= GIVEN_BACK * prediction.grown_bytes
    taken = f"{prediction.grown_bytes / 2**20:.0f} MiB that it had taken meanwhile"
    return Judgement(right, f"its new start gave back {max(freed, 0.0) / 2**20:.0f} MiB, of {taken}")


def _by_next_block(worker: Worker, prediction: Prediction) -> Judgement | None:
    """By the first block of attempts that has come since: of the same incarnation it has to go on, of a new one to be
    over, halfway to what is usual being the watershed."""
    last = worker.foresight.attempts.last
    renewed = worker.incarnation != prediction.incarnation
    if last is None or prediction.usual is None or last.since <= prediction.at:
        return None
    bad = last.bad / BLOCK
    watershed = (prediction.value + prediction.usual) / 2
    where = "of the new incarnation" if renewed else "behind it"
    return Judgement((bad < watershed) is renewed, f"of {BLOCK} attempts {where}, {last.bad} failed")
