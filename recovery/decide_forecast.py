"""What is owed about failures that are foreseen: to say so, to see to it before they come, and to say whether it was
true.

Nothing is done by guesswork alone that could do harm: never to the last worker with room, not while the observer doubts
itself, the system has an incident or workers cannot be brought back, not to more workers at once than may be under
repair, not to one that was renewed a short while ago, and not on the word of what has often been wrong.
"""

from collections.abc import Iterator
from itertools import islice

from events.base import Event
from events.clock import utc
from events.forecast import PROACTIVE, PredictorTrustChanged, WorkerFailurePredicted, WorkerPredictionJudged
from events.worker import WorkerCordoned, WorkerDrainRequested
from recovery.decisions import Decision
from recovery.entities import Worker
from recovery.flapping import dispensable
from recovery.forecasts import Outlook
from recovery.foresight import Judgement, judgement, last_judgement, may_say_at, outlooks, remediable
from recovery.predictions import Prediction, TrackRecord
from recovery.repairs import repairs_max
from recovery.state import State

LOOK_MAX = 64
"""Workers that are looked at in one cycle for one about which something may be done."""
REGAINED = 0.1
"""By how much more than needed what only advises must have been right before it acts again."""


def owed_to_forecasts(state: State, now: float) -> Iterator[Decision]:
    yield from _owed_trust(state)
    for worker_id in state.omens.in_turn(now):
        worker = state.workers[worker_id]
        yield from _judged(state, worker, now)
        yield from _predicted(state, worker, now)
    yield from _forestalled(state, now)


def _forestalled(state: State, now: float) -> Iterator[Decision]:
    """One at a time, since each time there must be others left, and room for one more repair."""
    policy = state.policy
    due = state.foretold.in_turn(now)  # also where nothing may be done: whoever does not look is woken at once
    if not policy.enable_proactive_recovery or not state.may_repair or not _room(state):
        return
    if state.incidents or state.breaker.status != "closed":
        return
    for worker_id in islice(due, LOOK_MAX):
        worker = state.workers[worker_id]
        for prediction in remediable(state, worker):
            record = state.track_records.get(prediction.resource)
            if (record is None or record.acts) and dispensable(state, worker):
                yield _remedy(state, worker, prediction, now)
                return


def _room(state: State) -> bool:
    """Whether one more may be away: those that are missing, and those that are told to begin anew, count alike."""
    renewing = len(state.renewing)
    away = state.workers_expected + renewing - state.workers_live
    return away < repairs_max(state, renewing=renewing)


def _remedy(state: State, worker: Worker, prediction: Prediction, now: float) -> Decision:
    expected = utc(prediction.expected_at).isoformat(sep=" ", timespec="seconds")
    reason = f"{prediction.resource} heads for its limit, expected at {expected} (event {prediction.sequence})"
    event: Event
    if prediction.remedy == "restart":
        rule = "worker that is about to fail begins anew before it does"
        event = WorkerDrainRequested(
            worker_id=worker.worker_id, incarnation=worker.incarnation, actor=PROACTIVE, reason=reason, restart=True
        )
    else:
        rule = "worker that is about to fail gets no more work"
        event = WorkerCordoned(
            worker_id=worker.worker_id, cause="forecast", until=utc(now + state.policy.forecast_cooldown), reason=reason
        )
    return Decision(event, rule, prediction.event_id, prediction.event_id, worker.made_up)


def _judged(state: State, worker: Worker, now: float) -> Iterator[Decision]:
    for prediction in worker.foresight.predictions.values():
        found, overdue = judgement(state, worker, prediction), False
        if found is None and now >= prediction.judge_at:
            found, overdue = last_judgement(prediction), True
        if found is not None:
            yield _judgement(worker, prediction, found)._replace(overdue=overdue)


def _judgement(worker: Worker, prediction: Prediction, found: Judgement) -> Decision:
    event = WorkerPredictionJudged(
        worker_id=worker.worker_id,
        incarnation=prediction.incarnation,
        resource=prediction.resource,
        prediction_sequence=prediction.sequence,
        right=found.right,
        acted=prediction.acted,
        why=found.why,
    )
    return Decision(event, "what became of a prediction", prediction.event_id, prediction.event_id, worker.made_up)


def _predicted(state: State, worker: Worker, now: float) -> Iterator[Decision]:
    for outlook in outlooks(state, worker):
        if may_say_at(state, worker, outlook) <= now:
            yield _prediction(state, worker, outlook, now)


def _prediction(state: State, worker: Worker, outlook: Outlook, now: float) -> Decision:
    renewed_at = worker.foresight.renewed_at
    lately = renewed_at is not None and now < renewed_at + state.policy.forecast_cooldown
    helpless = lately or (outlook.remedy == "restart" and worker.unsupervised)
    event = WorkerFailurePredicted(
        worker_id=worker.worker_id,
        incarnation=worker.incarnation,
        resource=outlook.resource,
        value=outlook.value,
        limit=outlook.limit,
        slope_per_s=outlook.slope,
        expected_at=utc(outlook.expected_at),
        since=utc(outlook.since),
        samples=outlook.samples,
        heartbeat_first=outlook.first,
        heartbeat_last=outlook.last,
        own_share=outlook.own_share,
        own_bytes=outlook.own_bytes,
        usual=outlook.usual,
        remedy="none" if helpless else outlook.remedy,
    )
    return Decision(event, f"{outlook.resource} heads for its limit", worker.event_id, synthetic=worker.made_up)


def _owed_trust(state: State) -> Iterator[Decision]:
    policy = state.policy
    for resource, record in state.track_records.items():
        acts = _earns_trust(record, policy.forecast_precision_min, policy.forecast_judged_min)
        if acts is not record.acts:
            event = PredictorTrustChanged(
                resource=resource,
                acts=acts,
                right=record.right,
                wrong=record.wrong,
                precision_needed=policy.forecast_precision_min,
            )
            yield Decision(event, "share of predictions that were right against forecast_precision_min")


def _earns_trust(record: TrackRecord, needed: float, judged_min: int) -> bool:
    if record.judged < judged_min:
        return True
    if record.acts:
        return record.precision >= needed
    return record.precision >= min(1.0, needed + REGAINED)
