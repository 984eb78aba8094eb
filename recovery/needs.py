"""What waiting tasks require of workers, and whether anybody has it who is there or is expected back.

Kept by requirement, so that it costs what changes: a worker that comes or goes is held against the requirements that
something waits with, and only if it is the first or the last with its labels.
"""

from collections.abc import Iterable, Mapping

from recovery.entities import Need, Task
from recovery.queue import Requirement
from recovery.state import State
from recovery.timers import NEVER


def note_waiting(state: State, task: Task, now: float) -> None:
    if not task.requires:
        return
    need = state.needs.get(task.requires)
    if need is None:
        need = state.needs[task.requires] = Need(unmet_since=None if _met(state, task.requires) else now)
    need.tasks[task.task_id] = None
    if not task.stranded:
        need.unsaid[task.task_id] = None
    _index(state, task.requires, need)


def note_left(state: State, task: Task) -> None:
    """It does not wait any more."""
    need = state.needs.get(task.requires)
    if need is None:
        return
    need.tasks.pop(task.task_id, None)
    need.unsaid.pop(task.task_id, None)
    _index(state, task.requires, need)
    if not need.tasks:
        del state.needs[task.requires]


def note_said(state: State, task: Task) -> None:
    task.stranded = True
    need = state.needs.get(task.requires)
    if need is not None:
        need.unsaid.pop(task.task_id, None)
        _index(state, task.requires, need)


def count_labels(state: State, labels: Mapping[str, str], by: int, now: float) -> None:
    """So many more, or fewer, of the expected workers have just these labels."""
    if not labels:
        return
    own: Requirement = tuple(sorted(labels.items()))
    before = state.expected_labels[own]
    state.expected_labels[own] = before + by
    if before + by == 0:
        del state.expected_labels[own]
    elif before > 0:
        return
    for requirement, need in state.needs.items():
        if own_has(own, requirement):
            need.unmet_since = None if _met(state, requirement) else now
            _index(state, requirement, need)


def own_has(labels: Iterable[tuple[str, str]], requirement: Requirement) -> bool:
    return set(requirement) <= set(labels)


def date(state: State, now: float) -> None:
    """The clock may have been set back."""
    for need in state.needs.values():
        if need.unmet_since is not None:
            need.unmet_since = min(need.unmet_since, now)


def stranded_at(state: State, requirement: Requirement) -> float:
    """When something that waits with it has to be called stranded."""
    since = state.needs[requirement].unmet_since
    return NEVER if since is None else since + state.policy.stranded_after


def stranding_due(state: State) -> float:
    return min((stranded_at(state, requirement) for requirement in state.unmet), default=NEVER)


def _met(state: State, requirement: Requirement) -> bool:
    return any(own_has(labels, requirement) for labels in state.expected_labels)


def _index(state: State, requirement: Requirement, need: Need) -> None:
    if need.unsaid and need.unmet_since is not None:
        state.unmet[requirement] = None
    else:
        state.unmet.pop(requirement, None)
