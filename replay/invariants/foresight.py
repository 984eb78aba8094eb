"""Failures that are foreseen: what the log says of them, and what may be said and done because of them.

Judged by what must hold in any case. Of the gauges a few heartbeats are kept, thinner than those that the core goes by:
that they have fallen, and to where they head, shows in these as well. The fine print is left to `reproduced`.
"""

from collections.abc import Callable
from typing import Any

from events import forecast, worker
from events.base import Event
from events.clock import seconds
from events.envelope import Recorded
from events.policy import Policy
from replay.invariants import cordons
from replay.invariants.case import Case
from replay.invariants.foreseen import Open, Trust
from replay.invariants.repair_world import repairs_max
from replay.invariants.silence import ROUNDING_S
from replay.invariants.world import Worker, World

FORESEEN = "foreseen-on-evidence"
EXAGGERATED = 4.0
"""By how much a line through the ends may exaggerate how long the rest lasts."""
SPENT = 0.1
"""The share of what was left at which a prediction may be called right."""
FADES = 0.9
COUNTING = 1e-3
REGAINED = 0.1


# Facts


def _predicted(world: World, recorded: Recorded, event: forecast.WorkerFailurePredicted) -> None:
    one = world.workers.get(event.worker_id)
    if one is None or one.incarnation != event.incarnation or event.resource in one.foreseen:
        return
    expected_at = seconds(event.expected_at)
    one.foreseen[event.resource] = Open(
        recorded.sequence,
        event.incarnation,
        event.value,
        event.limit,
        expected_at,
        max(expected_at, recorded.time) + world.policy.forecast_horizon / 2,
        event.remedy,
    )
    one.foreseen_at[event.resource] = recorded.time


def _judged(world: World, _: Recorded, event: forecast.WorkerPredictionJudged) -> None:
    one = world.workers.get(event.worker_id)
    found = None if one is None else one.foreseen.get(event.resource)
    if one is None or found is None or found.sequence != event.prediction_sequence:
        return
    del one.foreseen[event.resource]
    if event.right is not None:
        trust = world.trust.setdefault(event.resource, Trust())
        trust.right = trust.right * FADES + event.right
        trust.wrong = trust.wrong * FADES + (not event.right)
        trust.judged += 1


def _trust_changed(world: World, _: Recorded, event: forecast.PredictorTrustChanged) -> None:
    world.trust.setdefault(event.resource, Trust()).acts = event.acts


def note_order(world: World, one: Worker, *, restart: bool) -> None:
    """It has been told to begin anew, or to end, and that changed something."""
    if restart:
        world.renewing.add(one.worker_id)
        _act(one, "restart", world.time + world.policy.forecast_cooldown)
    else:
        note_end(world, one)


def note_cordon(one: Worker, until: float) -> None:
    _act(one, "cordon", until)


def _act(one: Worker, remedy: str, due_at: float) -> None:
    for each in one.foreseen.values():
        if each.incarnation == one.incarnation and each.remedy == remedy:
            each.acted, each.due_at = True, due_at


def note_end(world: World, one: Worker) -> None:
    """Of its own accord, or to begin anew."""
    world.renewing.discard(one.worker_id)
    for each in one.foreseen.values():
        each.over |= not each.acted and not each.failed


FOLDS: dict[type[Event], Callable[[World, Recorded, Any], None]] = {
    forecast.WorkerFailurePredicted: _predicted,
    forecast.WorkerPredictionJudged: _judged,
    forecast.PredictorTrustChanged: _trust_changed,
}


def note_failure(world: World, one: Worker, *, made_up: bool) -> None:
    world.renewing.discard(one.worker_id)
    for each in one.foreseen.values():
        if each.incarnation == one.incarnation:
            each.failed, each.over = not made_up, made_up


def note_doubt(one: Worker, now: float, policy: Policy) -> None:
    one.foreseen_at = {resource: min(at, now) for resource, at in one.foreseen_at.items()}
    for each in one.foreseen.values():
        patience = policy.forecast_cooldown if each.acted else policy.forecast_horizon * 1.5
        each.due_at = min(each.due_at, now + patience)


# Judging


def judge_predicted(case: Case, event: forecast.WorkerFailurePredicted) -> None:
    one = case.world.workers.get(event.worker_id)
    if one is None or one.incarnation != event.incarnation or one.status != "alive" or one.attempt is not None:
        case.blame(FORESEEN, f"the failure of incarnation {event.incarnation} is foreseen, and it is not at work")
        return
    case.labelled(one.made_up)
    policy = case.world.policy
    if event.resource in one.foreseen:
        case.blame("decided-once", f"{event.resource} is foreseen again, and the last word is not judged yet")
    said_at = one.foreseen_at.get(event.resource)
    if said_at is not None and case.now < said_at + policy.forecast_cooldown - ROUNDING_S:
        case.blame(FORESEEN, f"{event.resource} is foreseen again {case.now - said_at:.3f} s after the last word")
    if event.resource != "errors":
        _judge_course(case, event)


def _judge_course(case: Case, event: forecast.WorkerFailurePredicted) -> None:
    policy, since, expected_at = case.world.policy, seconds(event.since), seconds(event.expected_at)
    case.require(event.samples >= policy.forecast_samples, FORESEEN, f"it rests on {event.samples} samples and no more")
    heading = (event.limit - event.value) * event.slope_per_s
    case.require(heading > 0.0 or event.value == event.limit, FORESEEN, f"{event.resource} heads away from its limit")
    case.require(
        expected_at <= case.now + policy.forecast_horizon + ROUNDING_S,
        FORESEEN,
        f"it is expected in {expected_at - case.now:.1f} s: {policy.forecast_horizon:g} are looked ahead",
    )
    gauges = case.world.gauges.get(event.worker_id)
    if not case.beats_known or gauges is None or since < case.beats_since:
        return
    limit = policy.watchdog_after if event.resource == "loop_lag" else 0.0
    course = [
        (each.time, each.left[event.resource] + limit)
        for each in gauges.kept
        if event.heartbeat_first <= each.sequence <= event.heartbeat_last and event.resource in each.left
    ]
    if gauges.incarnation != event.incarnation:
        case.blame(FORESEEN, f"its heartbeats are of incarnation {gauges.incarnation}")
    elif len(course) > 1:
        (began, before), (ended, left) = course[0], course[-1]
        near = left * (ended - began) <= EXAGGERATED * policy.forecast_horizon * (before - left)
        case.require(left < before and near, FORESEEN, f"{event.resource} does not run out by its heartbeats")


def judge_judged(case: Case, event: forecast.WorkerPredictionJudged) -> None:
    one = case.world.workers.get(event.worker_id)
    found = None if one is None else one.foreseen.get(event.resource)
    if one is None or found is None or found.sequence != event.prediction_sequence:
        case.blame(FORESEEN, f"the prediction at {event.prediction_sequence} is judged, and is not open")
        return
    case.labelled(one.made_up)
    case.require(event.acted is found.acted, FORESEEN, "whether something was done about it is told wrongly")
    case.require(event.incarnation == found.incarnation, FORESEEN, "it was said of another incarnation")
    if found.acted or found.over or event.resource == "errors":
        return
    if event.right is False:
        late = case.now >= found.due_at - ROUNDING_S
        case.require(late, FORESEEN, f"it is called wrong {found.due_at - case.now:.3f} s before its time is over")
    elif event.right and not found.failed:
        _judge_spent(case, event, found)


def _judge_spent(case: Case, event: forecast.WorkerPredictionJudged, found: Open) -> None:
    gauges = case.world.gauges.get(event.worker_id)
    if not case.beats_known or gauges is None or gauges.last is None or gauges.incarnation != found.incarnation:
        return
    limit = case.world.policy.watchdog_after if event.resource == "loop_lag" else 0.0
    least = min((each.left.get(event.resource, 0.0) + limit for each in (*gauges.kept, gauges.last)), default=0.0)
    case.require(
        least <= SPENT * abs(found.value - found.limit), FORESEEN, "it is called right, and neither failed nor ran out"
    )


def judge_trust(case: Case, event: forecast.PredictorTrustChanged) -> None:
    trust, policy = case.world.trust.get(event.resource, Trust()), case.world.policy
    counted = abs(trust.right - event.right) <= COUNTING and abs(trust.wrong - event.wrong) <= COUNTING
    case.require(counted, FORESEEN, f"{trust.right:.3f} right and {trust.wrong:.3f} wrong are the record of it")
    case.require(event.acts is not trust.acts, "decided-once", "that is what it has been said to do before")
    precision = trust.right / max(trust.right + trust.wrong, COUNTING)
    needed = policy.forecast_precision_min
    if event.acts:
        enough = trust.judged < policy.forecast_judged_min or precision >= min(1.0, needed + REGAINED) - COUNTING
        case.require(enough, FORESEEN, f"it is trusted again, and was right in {precision:.0%}")
    else:
        proven = trust.judged >= policy.forecast_judged_min and precision < needed + COUNTING
        case.require(proven, FORESEEN, f"it is not trusted any more, and was right in {precision:.0%}")


def judge_order(case: Case, event: worker.WorkerDrainRequested) -> None:
    """No leader tells a worker to end, and only one that is about to fail to begin anew."""
    case.require(event.restart, FORESEEN, "it is told to end, and nobody has ordered that")
    _judge_remedy(case, event.worker_id, "restart")
    one = case.world.workers.get(event.worker_id)
    if one is not None:
        case.require(event.incarnation == one.incarnation, FORESEEN, f"{event.incarnation} is told to begin anew")


def judge_cordoned(case: Case, event: worker.WorkerCordoned) -> None:
    if event.cause != "forecast":
        cordons.judge_cordoned(case, event)
        return
    _judge_remedy(case, event.worker_id, "cordon")
    lasts = 0.0 if event.until is None else seconds(event.until) - case.now
    due = case.world.policy.forecast_cooldown
    case.require(abs(lasts - due) <= ROUNDING_S, FORESEEN, f"it is cordoned for {lasts:.3f} s, and not for {due:g}")


def _judge_remedy(case: Case, worker_id: str, remedy: str) -> None:
    world = case.world
    one, policy = world.workers.get(worker_id), world.policy
    if one is None or one.status != "alive" or one.attempt is not None:
        case.blame(FORESEEN, "it is to be helped before it fails, and is not at work")
        return
    case.labelled(one.made_up)
    allowed = world.may_repair and policy.enable_proactive_recovery
    case.require(allowed, "operator-obeyed", "recovery, or proactive recovery, is off")
    case.require(not world.incidents, FORESEEN, "the system has an incident")
    trusted = [
        each
        for resource, each in one.foreseen.items()
        if each.remedy == remedy and not each.acted and not each.failed and not each.over
        if each.incarnation == one.incarnation and world.trust.get(resource, Trust()).acts
    ]
    case.require(bool(trusted), FORESEEN, f"nothing is foreseen of it that a {remedy} would help, on a word to trust")
    expected = world.expected + len(world.renewing)
    away = expected - world.live
    case.require(away < repairs_max(policy.repairs_share, expected), FORESEEN, f"{away} others are away")
    case.require(cordons.others(world, one), FORESEEN, "nobody else could take its work")
    certain_at = world.doubted_at + policy.failed_after
    case.require(case.now >= certain_at - ROUNDING_S, FORESEEN, "its leader has just doubted its own eyes")
