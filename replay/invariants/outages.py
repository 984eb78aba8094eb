"""Losses that leave the system critical: what is spared because of them, and how repairs begin again."""

from events.base import Event
from events.clock import seconds
from events.envelope import Recorded
from events.system import BrokerReturned, SystemRecoveryStaged
from events.task import TaskRequeued
from events.worker import WorkerRecoveryFailed
from replay.invariants.case import Case
from replay.invariants.repair_world import Attempt, Outage, Returned, repairs_max
from replay.invariants.silence import ROUNDING_S
from replay.invariants.world import Task, Worker, World

KIND = "mass_worker_loss"
BROKER = "broker_outage"
SPARED_MAX = 3
STAGED = "staged-repairs"


def note_opened(world: World) -> None:
    if world.outage is None:
        world.outage = Outage(set())


def fold_staged(world: World, _: Recorded, event: SystemRecoveryStaged) -> None:
    outage = world.outage
    if outage is None or world.incidents.get(KIND) != event.incident_id:
        return
    workers = {name for name in event.workers if name in world.workers and world.workers[name].attempt is not None}
    if event.stage == outage.stage + 1 and not outage.stage_open and workers:
        outage.stage, outage.stage_open, outage.stage_size, outage.brought_back = event.stage, workers, len(workers), 0


def fold_returned(world: World, recorded: Recorded, event: BrokerReturned) -> None:
    if world.returned is None or seconds(event.since) > world.returned.at:
        world.returned = Returned(recorded.time, recorded.sequence, recorded.synthetic)
        world.outage_unreported = BROKER not in world.incidents


def judge_broker_opened(case: Case) -> None:
    returned = case.world.returned
    if case.require(case.world.outage_unreported and returned is not None, "one-incident", "the broker was not away"):
        case.labelled(None if returned is None else returned.label)


def judge_broker_closed(case: Case) -> None:
    """Whoever had lived through it has been heard, or has failed for its silence."""
    world, newest = case.world, case.world.rules[-1]
    case.require(world.measured_status() != "critical", "one-incident", "it is closed, and the system is critical")
    if world.returned is not None:
        after = case.now - world.returned.at
        enough = after >= newest.policy.failed_after * newest.stretch - ROUNDING_S
        case.require(enough, "one-incident", f"it is closed {after:.1f} s after the broker has returned")


def note_attempt(world: World, one: Worker, event: Event) -> None:
    """An attempt to bring it back has ended."""
    outage = world.outage
    if outage is None:
        return
    failed = isinstance(event, WorkerRecoveryFailed)
    if one.worker_id in outage.stage_open:
        outage.stage_open.discard(one.worker_id)
        outage.brought_back += not failed
    if failed:
        outage.failures[one.worker_id] = outage.failures.get(one.worker_id, 0) + 1


def note_doubt(world: World) -> None:
    world.charged_lately = {key: (min(one[0], world.time), *one[1:]) for key, one in world.charged_lately.items()}
    if world.returned is not None:
        world.returned = world.returned._replace(at=min(world.returned.at, world.time))
    world.lost_lately = {key: (min(at, world.time), sequence) for key, (at, sequence) in world.lost_lately.items()}


def is_spared(world: World, one: Task) -> bool:
    """Whether it pays nothing for the loss of its worker: others were lost in one go, and it was given before that."""
    outage = world.outage
    if outage is None or not world.lost_together(one.worker_id):
        return False
    return one.spared < SPARED_MAX and one.assigned_at < outage.first


def is_spared_fenced(world: World, one: Task) -> bool:
    """Whether it pays nothing for being cut off: the broker was away from all, and it was given before the end of
    that."""
    returned = world.returned
    return returned is not None and one.spared < SPARED_MAX and one.assigned_at < returned.sequence


def judge_spared(case: Case, event: TaskRequeued, one: Task) -> None:
    """What ran and has lost its worker, or was fenced, pays for that, unless that befell many in one go."""
    if event.reason not in ("worker_failed", "fenced") or not one.began:
        return
    spared = (is_spared if event.reason == "worker_failed" else is_spared_fenced)(case.world, one)
    paid = event.budget != "none"
    what = "is" if spared else "is not"
    case.require(paid != spared, "budgets", f"{event.budget} pays for it, and it {what} to be spared")


def judge_beginning(case: Case, one: Worker, attempt: Attempt) -> None:
    outage = case.world.outage
    if case.world.in_outage and outage is not None and attempt.acts:
        case.require(one.worker_id in outage.stage_open, STAGED, "its attempt begins, and it is in no open stage")


def judge_staged(case: Case, event: SystemRecoveryStaged) -> None:
    world, outage = case.world, case.world.outage
    case.require(world.may_repair, "operator-obeyed", "recovery is off, and repairs begin")
    if outage is None or world.incidents.get(KIND) != event.incident_id:
        case.blame(STAGED, "a stage of an incident that is not open")
        return
    case.labelled(world.incident_labels[KIND])
    status = world.measured_status()
    case.require(status == "critical", STAGED, f"a stage begins, and the system is {status}")
    case.require(world.repairs.breaker == "closed", "breaker", f"a stage begins, and it is {world.repairs.breaker}")
    if outage.stage_open or event.stage != outage.stage + 1:
        left = len(outage.stage_open)
        case.blame(STAGED, f"stage {event.stage} begins, and of stage {outage.stage} {left} attempts have not ended")
    most = 2 * outage.stage_size if outage.brought_back else 1
    share = repairs_max(world.policy.repairs_share, world.expected) - len(world.repairs.under_way)
    size = len(event.workers)
    case.require(size <= min(most, share), STAGED, f"{size} workers at once: {min(most, share)} are the most")
    for name in event.workers:
        one = world.workers.get(name)
        attempt = None if one is None else one.attempt
        due = attempt is not None and attempt.status == "scheduled" and attempt.acts
        due = due and attempt is not None and case.now >= attempt.not_before - ROUNDING_S
        case.require(due, STAGED, f"no attempt to bring {name} back is due")
    lost = [key for key, task in world.tasks.items() if world.is_orphaned(task) and not world.is_cancelled(task)]
    case.require(not lost, STAGED, f"repairs begin, and {len(lost)} tasks of lost workers have not been put back")
