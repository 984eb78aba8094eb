"""The tasks that wait, in the order in which they are to go, and those that have lost their worker.

Of one priority: requeued before new, then first come. Between priorities: the one whose next task has the lower rank,
`submitted_at / ageing - priority`. Whoever compares two tasks need not know what time it is, since both have waited
longer by the same; so the order stands when a task arrives, and nothing starves: a task goes before all that are
submitted more than `ageing` seconds later for each step of priority that they are above it. (As in the multilevel
queues of Unix schedulers, where waiting raises the priority.)
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from heapq import heapify, heappop, heapreplace, merge
from math import inf

from recovery.entities import Task

Requirement = tuple[tuple[str, str], ...]
"""Labels that a worker must have, sorted; () fits every worker."""

Lane = tuple[int, int]
"""Negated priority, then 0 for requeued tasks and 1 for new ones: of one priority, lanes go in ascending order."""


class WaitingTasks:
    """Adding, removing and looking at the next are O(1) in the number of tasks; but the first look after some have come
    back that had queued before others (their accusers were wrong) sorts those that they wait with."""

    def __init__(self) -> None:
        self._lanes: dict[Lane, dict[Requirement, OrderedDict[str, Task]]] = {}
        self._size = 0
        self._unsorted: set[tuple[Lane, Requirement]] = set()

    @classmethod
    def of(cls, tasks: Iterable[Task]) -> "WaitingTasks":
        """Those that wait, in whatever order they come."""
        waiting = cls()
        for task in sorted(tasks, key=_arrival):
            waiting.add(task)
        return waiting

    def ids(self) -> list[str]:
        return [task.task_id for task in self.in_order()]

    def __len__(self) -> int:
        return self._size

    def add(self, task: Task) -> None:
        lane = lane_of(task)
        groups = self._lanes.setdefault(lane, {})
        group = groups.setdefault(task.requires, OrderedDict())
        if task.task_id not in group:
            if group and _arrival(group[next(reversed(group))]) > _arrival(task):
                self._unsorted.add((lane, task.requires))
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

    def first_come(self) -> Iterator[Task]:
        """Of each priority, requeued and new, and of each requirement, the one that has waited longest."""
        for groups in self._lanes.values():
            for group in groups.values():
                yield next(iter(group.values()))

    def in_order(self, blocked: AbstractSet[Requirement] = frozenset(), *, ageing: float = inf) -> Iterator[Task]:
        """The waiting tasks, the next one first. Nothing is copied: look at as few as needed, and do not add or
        remove while looking. Whoever looks may put a requirement into `blocked`: its tasks are passed over from there
        on, at once. `ageing`: seconds of waiting for one step of priority."""
        self._sort()
        lanes: dict[int, list[Lane]] = {}
        for lane in sorted(self._lanes):
            lanes.setdefault(lane[0], []).append(lane)
        lines = {band: self._line(of_band, blocked) for band, of_band in lanes.items()}
        if len(lines) == 1:
            yield from next(iter(lines.values()))
            return
        heads = [(_rank(task, ageing), band, task) for band, line in lines.items() if (task := next(line, None))]
        heapify(heads)
        while heads:
            _, band, task = heads[0]
            if task.requires not in blocked:
                yield task
            following = next(lines[band], None)
            if following is None:
                heappop(heads)
            else:
                heapreplace(heads, (_rank(following, ageing), band, following))

    def _sort(self) -> None:
        while self._unsorted:
            lane, requires = self._unsorted.pop()
            groups = self._lanes.get(lane, {})
            if requires in groups:
                tasks = sorted(groups[requires].values(), key=_arrival)
                groups[requires] = OrderedDict((task.task_id, task) for task in tasks)

    def _line(self, lanes: list[Lane], blocked: AbstractSet[Requirement]) -> Iterator[Task]:
        """All of one priority."""
        for lane in lanes:
            groups = [_until_blocked(group, blocked) for group in self._lanes[lane].values()]
            yield from merge(*groups, key=_arrival) if len(groups) > 1 else groups[0]


class ByPriority:
    """Ids of tasks, those of the highest priority first, and of one priority first come."""

    def __init__(self) -> None:
        self._bands: dict[int, dict[str, None]] = {}
        self._priorities: dict[str, int] = {}

    @classmethod
    def of(cls, tasks: Iterable[Task]) -> "ByPriority":
        """In the order in which they have come."""
        line = cls()
        for task in tasks:
            line.add(task)
        return line

    def ids(self) -> list[str]:
        return list(self)

    def __repr__(self) -> str:
        return f"ByPriority({list(self)})"

    def __len__(self) -> int:
        return len(self._priorities)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._priorities

    def __iter__(self) -> Iterator[str]:
        for priority in sorted(self._bands, reverse=True):
            yield from self._bands[priority]

    def add(self, task: Task) -> None:
        self._priorities[task.task_id] = task.priority
        self._bands.setdefault(task.priority, {})[task.task_id] = None

    def discard(self, task_id: str) -> None:
        priority = self._priorities.pop(task_id, None)
        if priority is None:
            return
        band = self._bands[priority]
        del band[task_id]
        if not band:
            del self._bands[priority]


def _until_blocked(group: OrderedDict[str, Task], blocked: AbstractSet[Requirement]) -> Iterator[Task]:
    for task in group.values():
        if task.requires in blocked:
            return
        yield task


def _arrival(task: Task) -> int:
    return task.queued_sequence


def _rank(task: Task, ageing: float) -> float:
    return task.submitted_at / ageing - task.priority


def lane_of(task: Task) -> Lane:
    return (-task.priority, 1 if task.attempt == 0 else 0)
