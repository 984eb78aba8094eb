"""The tasks that wait, in the order in which they are to go: priority, then requeued before new, then first come."""

from collections import OrderedDict
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from heapq import merge

from recovery.entities import Task

Requirement = tuple[tuple[str, str], ...]
"""Labels that a worker must have, sorted; () fits every worker."""

Lane = tuple[int, int]
"""Negated priority, then 0 for requeued tasks and 1 for new ones: lanes go in ascending order."""


class WaitingTasks:
    """Adding, removing and looking at the next are O(1) in the number of tasks."""

    def __init__(self) -> None:
        self._lanes: dict[Lane, dict[Requirement, OrderedDict[str, Task]]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, task: Task) -> None:
        groups = self._lanes.setdefault(lane_of(task), {})
        group = groups.setdefault(task.requires, OrderedDict())
        if task.task_id not in group:
            group[task.task_id] = task
            self._size += 1

    def remove(self, task: Task) -> None:
        lane = lane_of(task)
        groups = self._lanes.get(lane)
        group = None if groups is None else groups.get(task.requires)
        if groups is None or group is None or group.pop(task.task_id, None) is None:
            return
        self._size -= 1
        if not group:
            del groups[task.requires]
            if not groups:
                del self._lanes[lane]

    def in_order(self, blocked: AbstractSet[Requirement] = frozenset()) -> Iterator[Task]:
        """The waiting tasks, the next one first. Nothing is copied: look at as few as needed, and do not add or
        remove while looking. Whoever looks may put a requirement into `blocked`: its tasks are passed over from there
        on, at once."""
        for lane in sorted(self._lanes):
            groups = list(self._lanes[lane].values())
            lines = [_until_blocked(group, blocked) for group in groups]
            yield from merge(*lines, key=_arrival) if len(lines) > 1 else lines[0]


def _until_blocked(group: OrderedDict[str, Task], blocked: AbstractSet[Requirement]) -> Iterator[Task]:
    for task in group.values():
        if task.requires in blocked:
            return
        yield task


def _arrival(task: Task) -> int:
    return task.queued_sequence


def lane_of(task: Task) -> Lane:
    return (-task.priority, 1 if task.attempt == 0 else 0)
