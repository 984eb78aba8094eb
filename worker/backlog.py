"""What a worker was assigned and has not given to a slot yet, in the order in which it is to start."""

import heapq
from collections.abc import Iterator

import msgspec

from events.task import TaskAssigned


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """An order of the leader, with what its answers must carry."""

    key: str
    task: TaskAssigned
    arrival: int
    event_id: str
    correlation_id: str | None

    @property
    def urgent(self) -> bool:
        """It was begun before and lost its worker: it starts as soon as any slot is free."""
        return self.task.attempt > 1

    @property
    def rank(self) -> tuple[bool, int, int]:
        return (not self.urgent, -self.task.priority, self.arrival)


def key_of(incarnation: int, task_id: str, attempt: int) -> str:
    """Unique for ever: ids hold no dots, and no incarnation gives an attempt twice."""
    return f"{incarnation}.{task_id}.{attempt}"


class Backlog:
    """Again attempted before new, high priority before low, first come first served."""

    def __init__(self) -> None:
        self._heap: list[tuple[tuple[bool, int, int], str]] = []
        self._waiting: dict[str, Assignment] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, key: str) -> bool:
        return key in self._waiting

    def __iter__(self) -> Iterator[Assignment]:
        return iter(sorted(self._waiting.values(), key=lambda assignment: assignment.rank))

    def push(self, assignment: Assignment) -> None:
        self._waiting[assignment.key] = assignment
        heapq.heappush(self._heap, (assignment.rank, assignment.key))

    def first(self) -> Assignment | None:
        while self._heap:
            assignment = self._waiting.get(self._heap[0][1])
            if assignment is not None:
                return assignment
            heapq.heappop(self._heap)  # it was removed
        return None

    def pop(self) -> Assignment | None:
        assignment = self.first()
        if assignment is not None:
            heapq.heappop(self._heap)
            del self._waiting[assignment.key]
        return assignment

    def remove(self, key: str) -> Assignment | None:
        return self._waiting.pop(key, None)

    def clear(self) -> list[Assignment]:
        everything = list(self)
        self._waiting.clear()
        self._heap.clear()
        return everything
