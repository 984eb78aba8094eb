"""The system as a whole: folding, and judging what was decided about it."""

from collections.abc import Callable
from typing import Any

from events.base import Event
from events.envelope import Recorded
from events.system import (
    BrokerReturned,
    DetectorDegraded,
    EventParked,
    SystemRecoveryCompleted,
    SystemRecoveryStaged,
    SystemRecoveryStarted,
    SystemStatusChanged,
)
from replay.invariants import outages, standstill
from replay.invariants.case import Case
from replay.invariants.silence import common_silence_min
from replay.invariants.world import LIVE, World


def judge_parked(case: Case, event: EventParked) -> None:
    if event.sequence not in case.world.parked:
        case.blame("decided-once", f"the message at {event.sequence} was understood, or has been reported before")


def judge_doubt(case: Case, event: DetectorDegraded) -> None:
    """Of all doubts, only that about a common silence is decided; the others are facts."""
    live = [one for one in case.world.workers.values() if one.status in LIVE]
    threshold = common_silence_min(case.world)
    if event.reason != "mass_silence" or event.extent_s < threshold or len(live) < 2:
        case.blame(
            "failed-on-evidence",
            f"judgement is put off for {event.reason} of {event.extent_s:.3f} s with {len(live)} live workers",
        )
    for one in live:
        heard = case.heard(one)
        last = heard.newer or heard.beat
        if last is not None and case.now - last.time < threshold:
            silence = case.now - last.time
            case.blame("failed-on-evidence", f"{one.worker_id} was heard {silence:.3f} s before a common silence")


def judge_status(case: Case, event: SystemStatusChanged) -> None:
    world = case.world
    measured = world.measured_status()
    case.labelled(*world.status_labels())
    if event.previous != world.status or event.status == world.status:
        case.blame(
            "status-true", f"{event.previous} turns into {event.status}, and the recorded status is {world.status}"
        )
    if event.status != measured or (event.workers_live, event.workers_expected) != (world.live, world.expected):
        case.blame(
            "status-true",
            f"{event.workers_live} of {event.workers_expected} live, {event.status}; the log gives {world.live} of "
            f"{world.expected}, {measured}",
        )


def judge_incident_opened(case: Case, event: SystemRecoveryStarted) -> None:
    world = case.world
    open_one = world.incidents.get(event.incident_kind)
    if open_one is not None:
        case.blame("one-incident", f"{open_one} is open already")
    if event.incident_kind == "mass_worker_loss":
        case.labelled(*world.status_labels())
        case.require(world.measured_status() == "critical", "one-incident", f"the system is {world.measured_status()}")
        case.require(world.outage is not None, "one-incident", "no worker was lost")
        return
    if event.incident_kind == outages.BROKER:
        outages.judge_broker_opened(case)
    if event.incident_kind == standstill.QUEUE:
        standstill.judge_opened(case, event)
        return
    held = world.counts["assigned"] + world.counts["running"]
    if event.affected_tasks != held:
        case.blame("conservation", f"{event.affected_tasks} tasks are counted at workers; the log gives {held}")


def judge_incident_closed(case: Case, event: SystemRecoveryCompleted) -> None:
    world = case.world
    open_one = world.incidents.get(event.incident_kind)
    if open_one != event.incident_id:
        case.blame("one-incident", f"it is closed, and {open_one or 'none'} is open")
    else:
        case.labelled(world.incident_labels[event.incident_kind])
    if event.incident_kind == "mass_worker_loss" and world.measured_status() == "critical":
        case.blame("one-incident", "it is closed, and the system is critical still")
    if event.incident_kind == outages.BROKER:
        outages.judge_broker_closed(case)
    if event.incident_kind == standstill.QUEUE:
        standstill.judge_closed(case)


def _status_changed(world: World, _: Recorded, event: SystemStatusChanged) -> None:
    world.status = event.status


def _incident_opened(world: World, _: Recorded, event: SystemRecoveryStarted) -> None:
    if event.incident_kind not in world.incidents:
        world.incidents[event.incident_kind] = event.incident_id
        world.incident_labels[event.incident_kind] = world.synthetic
        if event.incident_kind == outages.KIND:
            outages.note_opened(world)
        if event.incident_kind == outages.BROKER:
            world.outage_unreported = False


def _incident_closed(world: World, _: Recorded, event: SystemRecoveryCompleted) -> None:
    if world.incidents.get(event.incident_kind) == event.incident_id:
        del world.incidents[event.incident_kind]
        if event.incident_kind == outages.KIND:
            world.outage = None


FOLDS: dict[type[Event], Callable[[World, Recorded, Any], None]] = {
    SystemStatusChanged: _status_changed,
    BrokerReturned: outages.fold_returned,
    SystemRecoveryStarted: _incident_opened,
    SystemRecoveryStaged: outages.fold_staged,
    SystemRecoveryCompleted: _incident_closed,
}
