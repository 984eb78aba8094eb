"""Tasks under which workers die: what the log says of them, and what may be decided for it."""

from events.envelope import Recorded
from events.system import QuarantineReleased
from events.task import TaskAssigned, TaskCompleted, TaskIsolated
from events.work import fingerprint
from events.worker import Death, WorkerExited, WorkerVanished
from replay.invariants.case import Case
from replay.invariants.world import LIVE, Task, Worker, World

PROVEN = "quarantine-proven"
ALONE = "alone"


def note_death(world: World, recorded: Recorded, event: WorkerExited | WorkerVanished, one: Worker) -> None:
    """Before what it held is nobody's. What its supervisor knows it to have begun has begun."""
    if one.status not in LIVE:
        return
    for begun in () if isinstance(event, WorkerVanished) else event.begun or ():
        held = world.tasks.get(begun.task_id) if begun.task_id in one.tasks else None
        if held is not None and (held.status, held.attempt) == ("assigned", begun.attempt):
            world.move(held, "running")
            held.began, held.replaced = True, None
    by_order = isinstance(event, WorkerExited) and event.stalled
    if recorded.synthetic is None and one.made_up is None and not by_order:
        world.deaths[recorded.sequence] = one.worker_id, frozenset(one.tasks)


def fold_isolated(world: World, _: Recorded, event: TaskIsolated) -> None:
    one, worker = world.tasks.get(event.task_id), world.workers.get(event.worker_id)
    if one is None or worker is None or one.status not in ("queued", "isolated"):
        return
    present = worker.status == "alive" and worker.attempt is None and not worker.cordons
    if present and worker.incarnation == event.incarnation and not worker.apart:
        world.move(one, "isolated")
        one.apart, worker.apart = worker.worker_id, event.task_id


def fold_released(world: World, _: Recorded, event: QuarantineReleased) -> None:
    world.quarantine.pop(event.key, None)


def note_verdict(world: World, one: Task, event: TaskCompleted) -> None:
    if event.verdict == "quarantined" and event.deaths:
        world.quarantine[fingerprint(one.submitted.work)] = world.time


def judge_isolated(case: Case, event: TaskIsolated) -> None:
    world = case.world
    one, worker = world.tasks.get(event.task_id), world.workers.get(event.worker_id)
    if one is None or one.status not in ("queued", "isolated"):
        case.blame(ALONE, "a worker is set apart for what does not wait")
        return
    if worker is None or worker.status != "alive" or worker.incarnation != event.incarnation:
        case.blame("assigned-to-alive", f"{event.worker_id} is set apart, and does not live as {event.incarnation}")
    elif worker.apart:
        case.blame(ALONE, f"{event.worker_id} is set apart for {worker.apart} already")
    deaths, needed = len(event.deaths), world.policy.poison_deaths
    if one.status == "queued" and deaths < needed:
        # One that has been set apart stays so, even if it was pardoned since.
        case.blame(PROVEN, f"it is suspected after {deaths} deaths: {needed} are needed")
    _judge_deaths(case, event.task_id, event.deaths)


def judge_alone(case: Case, event: TaskAssigned, to: Worker) -> None:
    """Of an order: whether it is alone there, or disturbs who is."""
    if event.isolated:
        case.require(to.held + to.given == 1, ALONE, f"it is to run alone, and {to.worker_id} has other tasks")
        case.require(to.apart == event.task_id, ALONE, f"{to.worker_id} was not set apart for it")
    elif to.apart:
        case.blame(ALONE, f"{to.worker_id} is set apart for {to.apart}")


def judge_quarantined(case: Case, event: TaskCompleted, one: Task) -> None:
    world = case.world
    if not event.deaths:
        since = world.quarantine.get(fingerprint(one.submitted.work))
        known = since is not None and case.now < since + world.policy.quarantine_ttl
        case.require(known, PROVEN, "nothing of the kind is known of its work")
        case.require(one.status == "queued", PROVEN, "its work is known, and it was run all the same")
        return
    case.require(one.isolated, PROVEN, "its last attempt was not alone on its worker")
    case.require(event.deaths[-1].sequence > one.assigned_at, PROVEN, "nothing has died under its last attempt")
    _judge_deaths(case, event.task_id, event.deaths)


def _judge_deaths(case: Case, task_id: str, deaths: tuple[Death, ...]) -> None:
    for death in deaths:
        worker_id, tasks = case.world.deaths.get(death.sequence, ("", frozenset()))
        if worker_id != death.worker_id or task_id not in tasks:
            case.blame(PROVEN, f"event {death.sequence} is no death of {death.worker_id} under it")
