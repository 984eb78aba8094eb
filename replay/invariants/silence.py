"""What the log says of those who watch: since when, by which rules, and how much silence these allow to whom."""

from collections.abc import Callable
from typing import Any

from events import system
from events.base import Event
from events.clock import seconds
from events.envelope import Recorded
from events.thresholds import Thresholds, all_thresholds, most_patient, thresholds_for
from replay.invariants.case import Case, Heard
from replay.invariants.world import LIVE, Rules, Worker, World

ROUNDING_S = 2e-6
"""Times travel as whole microseconds."""


def _elected(world: World, recorded: Recorded, _: system.LeaderElected) -> None:
    # Nobody watched: silence counts from here on.
    world.watched_since = world.taken_over = world.interrupted_at = recorded.time
    world.watched_beat = 0


def _policy_changed(world: World, recorded: Recorded, event: system.PolicyChanged) -> None:
    world.policy = event.policy
    for one in world.workers.values():
        one.unavailable.clear()
    world.rules.append(Rules(recorded.sequence, event.policy, world.rules[-1].stretch))
    world.date_requeues(recorded.time)


def _pace_changed(world: World, recorded: Recorded, event: system.PaceChanged) -> None:
    world.rules.append(Rules(recorded.sequence, world.policy, event.stretch))


def _continued(world: World, _: Recorded, event: system.WatchContinued) -> None:
    if world.taken_over is not None:
        world.watched_since = min(world.taken_over, max(seconds(event.since), world.doubted_at))
        world.taken_over = None


FOLDS: dict[type[Event], Callable[[World, Recorded, Any], None]] = {
    system.LeaderElected: _elected,
    system.PolicyChanged: _policy_changed,
    system.PaceChanged: _pace_changed,
    system.WatchContinued: _continued,
}


def patience(case: Case, one: Worker, heard: Heard) -> Thresholds:
    """The longest of each threshold among all rules that the worker may live by.

    Each heartbeat names the last rules that its worker had applied; and what was in force at its registration it has
    applied before it runs anything. Where heartbeats are not known, it may have applied all.
    """
    rules = case.world.rules
    last = heard.newer or heard.beat
    known = one.incarnation
    if not heard.known:
        known = rules[-1].sequence
    elif last is not None and last.heartbeat is not None:
        known = max(known, last.heartbeat.rules)
    oldest = max((index for index, each in enumerate(rules) if each.sequence <= known), default=0)
    return most_patient(thresholds_for(each.policy, one.worker_id, one.labels, each.stretch) for each in rules[oldest:])


def common_silence_min(world: World) -> float:
    """Seconds after which the first worker might be suspected."""
    current = world.rules[-1]
    return min(one.suspect_after for one in all_thresholds(current.policy, current.stretch))


def judge_continued(case: Case, event: system.WatchContinued) -> None:
    world = case.world
    one = world.workers.get(event.witness)
    if one is None or one.status not in LIVE:
        case.blame("failed-on-evidence", f"{event.witness} is no worker that can bear witness")
        return
    if world.taken_over is None or seconds(event.since) >= world.taken_over:
        case.blame("failed-on-evidence", "silence does not count from a take-over")
        return
    heard = case.heard(one)
    if heard.known and (heard.beat is None or heard.beat.sequence != event.heartbeat_sequence):
        case.blame("failed-on-evidence", f"heartbeat {event.heartbeat_sequence} is not the last one of {event.witness}")
    elif heard.beat is not None and heard.beat.time <= world.taken_over:
        case.blame("failed-on-evidence", f"{event.witness} has not been heard since the take-over")
    if seconds(event.since) < world.doubted_at - ROUNDING_S:
        case.blame("failed-on-evidence", "a doubt is passed over")


def judge_pace(case: Case, event: system.PaceChanged) -> None:
    """Stretched when it must be, by enough and not by more than twice that; not every time that a worker comes."""
    policy, stretch = case.world.policy, case.world.rules[-1].stretch
    rate = event.workers_live / (policy.heartbeat_interval * event.stretch)
    case.require(
        event.workers_live == case.world.live,
        "status-true",
        f"{event.workers_live} live workers are counted; the log gives {case.world.live}",
    )
    case.require(
        event.stretch != stretch and rate <= policy.heartbeat_rate_max * (1 + 1e-9),
        "status-true",
        f"at {event.stretch:g} times the interval there are {rate:g} heartbeats a second, as before or too many",
    )
