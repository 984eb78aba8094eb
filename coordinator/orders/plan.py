"""What an order comes to: an event for each target, and by what anybody can tell that it has been obeyed."""

from collections import Counter
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

from coordinator.commands.common import did_you_mean
from coordinator.faults import UsageFault
from coordinator.orders.order import Order
from events.base import Event
from events.clock import utc
from events.system import RecoveryPaused, RecoveryResumed, RunCancelRequested
from events.task import TaskCancelRequested
from events.worker import WorkerCordoned, WorkerDrainRequested, WorkerReadmitted, WorkerUncordoned
from recovery.entities import Worker
from recovery.lifecycle import LIVE
from recovery.state import State

WILD = frozenset("*?[")
NAMED_MAX = 20
"""Names that a sentence holds about one that is not known."""


class Step(NamedTuple):
    """One event to be recorded for one target."""

    target: str
    event: Event
    done: Callable[[State], str]
    """A sentence once its effect is there; until then empty."""
    pending: Callable[[State], str]
    """What it still waits for."""


class Answer(NamedTuple):
    """Nothing is to be recorded for this target."""

    target: str
    outcome: Literal["unchanged", "refused"]
    sentence: str


Plan = list[Step | Answer]


def plan_of(order: Order, state: State) -> Plan:
    """What is to be recorded for whom, given how things stand.

    Raises:
        UsageFault: a target is not known, or there are too many or too few.
    """
    if order.restart and order.order != "drain":
        raise UsageFault(f"restart belongs to drain, not to {order.order}")
    if order.order in ("pause", "resume"):
        if order.targets:
            raise UsageFault(f"{order.order} takes no names: it concerns the whole system")
        return [_pause(order, state) if order.order == "pause" else _resume(order, state)]
    if not order.targets:
        what = "a run or a task" if order.order == "cancel" else "a worker"
        raise UsageFault(f"{order.order} needs the name of {what}, or a pattern such as 'w*'")
    if order.order == "cancel":
        return [_cancel(order, state, name) for name in _to_cancel(order, state)]
    for_worker = WORKERS[order.order]
    workers = chosen(order.targets, state.workers, "worker")
    return [for_worker(order, state.workers[name]) for name in workers]


def chosen(targets: Iterable[str], known: Iterable[str], what: str) -> list[str]:
    """The names that are meant, each once, in the order in which they are known.

    Raises:
        UsageFault: one of the targets means nobody.
    """
    names = dict.fromkeys(known)
    found: dict[str, None] = {}
    for target in targets:
        if target in names:
            found[target] = None
            continue
        fitting = [name for name in names if WILD & set(target) and fnmatchcase(name, target)]
        if not fitting:
            raise UsageFault(_unknown(target, names, what))
        found |= dict.fromkeys(fitting)
    return [name for name in names if name in found]


def _unknown(target: str, names: dict[str, None], what: str) -> str:
    if WILD & set(target):
        return f"no {what} fits {target!r}: there are {len(names)}"
    if not names:
        return f"there is no {what} {target!r}: there is none at all"
    hint = did_you_mean(target, names)
    if len(names) > NAMED_MAX and not hint.startswith("did you"):
        hint = f"there are {len(names)}, and none is called much like that"
    return f"there is no {what} {target!r}; {hint}"


# The system


def _pause(order: Order, state: State) -> Step | Answer:
    pause = state.pause
    if pause is not None:
        why = f": {pause.reason}" if pause.reason else ""
        since = f"{utc(pause.since):%Y-%m-%d %H:%M:%S} UTC"
        return Answer("", "unchanged", f"recovery is paused already, since {since} by {pause.actor}{why}")
    open_attempts = sum(worker.attempt is not None for worker in state.workers.values())
    stopped = f"; {open_attempts} attempts to bring a worker back are given up" if open_attempts else ""
    return Step(
        "",
        RecoveryPaused(actor=order.actor, reason=order.reason),
        lambda now: f"recovery is paused{stopped}; work goes on, failures are recorded" if now.pause else "",
        lambda _: "it has not been folded yet",
    )


def _resume(order: Order, state: State) -> Step | Answer:
    off = (
        ""
        if state.policy.auto_recovery
        else "; the policy has it switched off as well: 'resurgam policy set auto_recovery=true'"
    )
    if state.pause is None:
        return Answer("", "unchanged", f"recovery is not paused{off}")
    failed = sum(worker.status == "failed" for worker in state.workers.values())
    owed = f": {failed} workers wait for it, and {len(state.orphaned)} tasks" if failed or state.orphaned else ""
    return Step(
        "",
        RecoveryResumed(actor=order.actor, reason=order.reason),
        lambda now: "" if now.pause else f"recovery is resumed{off or owed}",
        lambda _: "it has not been folded yet",
    )


# Workers


def _drain(order: Order, worker: Worker) -> Step | Answer:
    name, status, before = worker.worker_id, worker.status, worker.incarnation
    if status == "stopped":
        return Answer(name, "unchanged", "it has stopped already")
    if status == "permanent":
        return Answer(name, "refused", "it was given up, and nobody waits for it; 'resurgam readmit' takes it back")
    if order.restart and status not in LIVE:
        return Answer(name, "refused", f"it is {status}: its recovery starts it anew")
    event = WorkerDrainRequested(worker_id=name, actor=order.actor, reason=order.reason, restart=order.restart)

    def done(state: State) -> str:
        now = state.workers[name]
        if order.restart:
            return f"it has begun anew, as incarnation {now.incarnation}" if now.incarnation > before else ""
        return "it has drained and stopped" if now.status == "stopped" else ""

    def pending(state: State) -> str:
        now = state.workers[name]
        runs = len(now.running)
        return f"it is {now.status}" + (f", and {_several(runs, 'task')} still run there" if runs else "")

    return Step(name, event, done, pending)


def _readmit(order: Order, worker: Worker) -> Step | Answer:
    name = worker.worker_id
    if worker.status != "permanent":
        return Answer(name, "unchanged", f"it is {worker.status}: nobody has given it up")

    def done(state: State) -> str:
        status = state.workers[name].status
        if status == "permanent":
            return ""
        return "it is back at work" if status in LIVE else f"it is {status}, and is being brought back"

    event = WorkerReadmitted(worker_id=name, actor=order.actor, reason=order.reason)
    return Step(name, event, done, lambda _: "it is permanent still")


def _cordon(order: Order, worker: Worker) -> Step | Answer:
    name = worker.worker_id
    if "operator" in worker.cordons:
        return Answer(name, "unchanged", "an operator has cordoned it already")
    event = WorkerCordoned(worker_id=name, cause="operator", actor=order.actor, reason=order.reason)
    said = "it gets nothing new, and keeps what it has"
    return Step(
        name,
        event,
        lambda now: said if "operator" in now.workers[name].cordons else "",
        lambda _: "it is not cordoned yet",
    )


def _uncordon(order: Order, worker: Worker) -> Step | Answer:
    name = worker.worker_id
    if not worker.cordons:
        return Answer(name, "unchanged", "it is not cordoned")
    event = WorkerUncordoned(worker_id=name, actor=order.actor, reason=order.reason)

    def done(state: State) -> str:
        now = state.workers[name]
        return "" if now.cordons else f"it is {now.status}" + (", and gets work again" if now.status == "alive" else "")

    return Step(name, event, done, lambda _: "it is cordoned still")


WORKERS: dict[str, Callable[[Order, Worker], Step | Answer]] = {
    "drain": _drain,
    "cordon": _cordon,
    "uncordon": _uncordon,
    "readmit": _readmit,
}


# Work


def _cancellable(state: State) -> list[str]:
    return [*dict.fromkeys(task.run_id for task in state.tasks.values()), *state.tasks]


def _to_cancel(order: Order, state: State) -> list[str]:
    """What is meant; without the tasks of runs that are meant as well."""
    names = chosen(order.targets, _cancellable(state), "run or task")
    return [name for name in names if name not in state.tasks or state.tasks[name].run_id not in names]


def _cancel(order: Order, state: State, name: str) -> Step | Answer:
    return _cancel_task(order, state, name) if name in state.tasks else _cancel_run(order, state, name)


def _cancel_task(order: Order, state: State, name: str) -> Step | Answer:
    verdict = state.tasks[name].verdict
    if verdict is not None:
        return Answer(name, "unchanged", f"it has its verdict: {verdict}")

    def pending(now: State) -> str:
        task = now.tasks[name]
        return f"it is {task.status}" + (f" at {task.worker_id}" if task.status in ("assigned", "running") else "")

    return Step(
        name,
        TaskCancelRequested(task_id=name, actor=order.actor, reason=order.reason),
        lambda now: f"its verdict: {now.tasks[name].verdict}" if now.tasks[name].verdict else "",
        pending,
    )


def _cancel_run(order: Order, state: State, name: str) -> Step | Answer:
    if name not in state.runs:
        return Answer(name, "unchanged", f"all its tasks have their verdicts: {_verdicts(state, name)}")
    return Step(
        name,
        RunCancelRequested(run_id=name, actor=order.actor, reason=order.reason),
        lambda now: "" if name in now.runs else f"all its tasks have their verdicts: {_verdicts(now, name)}",
        lambda now: f"{_several(len(now.runs[name]), 'task')} without a verdict still",
    )


def _verdicts(state: State, run_id: str) -> str:
    counted = Counter(task.verdict for task in state.tasks.values() if task.run_id == run_id)
    return ", ".join(f"{count} {verdict}" for verdict, count in counted.most_common())


def _several(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
