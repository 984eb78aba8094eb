"""Which worker gets the next task: whoever holds least, in turn, as long as there is room."""

from collections import deque
from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from recovery.entities import Task, Worker
from recovery.flapping import owes_pause
from recovery.state import State

LOOK_MAX = 64
"""How many workers are looked at for one task before it has to wait, unless the index of labels says that the search
is worth its while: keeps the cost of a cycle bounded."""


def rounds_ahead(state: State) -> int:
    """How many tasks beyond a running one each slot may hold.

    As many as fill `ahead` seconds, so that a suite of short tests need not wait for the log between two of them; and
    never more than half of an even share of what waits, so that the end of a run stays balanced (the idea of guided
    self-scheduling, Polychronopoulos and Kuck 1987).
    """
    if state.seconds_per_task <= 0.0 or state.slots == 0:
        return 0
    # Capped before it is an integer: the shortest of run times would make it infinite.
    wanted = min(state.policy.ahead / state.seconds_per_task, state.policy.tasks_ahead_max)
    share = len(state.waiting) // (2 * state.slots)
    return min(int(wanted), share)


class Placement:
    """Hands out the room of one cycle. Remembers what it gave; the state is only looked at."""

    def __init__(self, state: State, now: float, taken: AbstractSet[str] = frozenset()) -> None:
        """`taken`: workers that get nothing in this cycle."""
        self._state = state
        self._taken = taken
        self._heard_after = now - state.rules.suspect_after_min
        self._level = -1
        self._last_level = rounds_ahead(state)
        self._fresh: Iterator[Worker] = iter(())
        self._again: deque[Worker] = deque()
        """Workers of the present level that have had some and have room for more."""
        self._filled: deque[Worker] = deque()
        """Workers filled up to the present level in this cycle: they are on the next one."""
        self._load: dict[str, int] = {}
        self.exhausted = False
        self._next_level()

    def _next_level(self) -> None:
        self._level += 1
        self.exhausted = self._level > self._last_level
        self._fresh = iter(self._state.available.get(self._level, {}).values())
        self._again = self._filled
        self._filled = deque()

    def _candidates(self) -> Iterator[Worker]:
        """Each worker of the present level once: first those that had nothing yet."""
        yield from self._fresh
        for _ in range(len(self._again)):
            yield self._again.popleft()

    def take(self, task: Task) -> Worker | None:
        """A worker for the task, another than its last if there is one on the same level; None: nobody fits."""
        while not self.exhausted:
            passed_over: deque[Worker] = deque()
            chosen: Worker | None = None
            second: Worker | None = None
            looked_at = 0
            for worker in self._candidates():
                if worker.worker_id in self._taken or not trusted(self._state, worker, self._heard_after):
                    continue
                looked_at += 1
                if not fits(task, worker):
                    passed_over.append(worker)
                elif task.attempt > 0 and worker.worker_id == task.worker_id and second is None:
                    second = worker
                else:
                    chosen = worker
                    break
                if looked_at >= LOOK_MAX and (second is not None or not self._promising(task)):
                    break
            if chosen is None:
                chosen, second = second, None
            if second is not None:
                self._again.appendleft(second)
            self._again.extendleft(reversed(passed_over))
            if chosen is not None:
                self._charge(chosen)
                return chosen
            if passed_over:
                # Somebody has room, only not for this task: the level stays open for others.
                return None
            self._next_level()
        return None

    def _promising(self, task: Task) -> bool:
        """Whether each label that the task requires is somewhere on this level."""
        labels = self._state.available_labels.get(self._level)
        return labels is not None and all(label in labels for label in task.requires)

    def _charge(self, worker: Worker) -> None:
        load = self._load.get(worker.worker_id, len(worker.held)) + 1
        self._load[worker.worker_id] = load
        if load < worker.slots * (self._level + 1):
            self._again.append(worker)
        else:
            self._filled.append(worker)


def trusted(state: State, worker: Worker, after: float) -> bool:
    """Whether it was heard lately. Judgement of the silent may be withheld, after a take-over, say; new work is another
    matter. So is one that is about to be cordoned."""
    if owes_pause(state, worker):
        return False
    beat = state.last_beat(worker)
    return (worker.registered_at if beat is None else beat.time) >= after


def fits(task: Task, worker: Worker) -> bool:
    return all(worker.labels.get(name) == value for name, value in task.requires)
