"""The log as a demo reads it: every event, folded as the coordinator folds them, with a way to wait for one."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from events.base import Event, TaskEvent
from events.envelope import Recorded
from events.kinds import tag_of
from events.log import EventLog
from events.system import LeaderElected
from events.task import TaskCompleted, TaskRequeued, TaskStarted, TaskSubmitted
from events.work import PytestWork
from recovery.core import State, evolve
from replay.timeline import entity_of

T = TypeVar("T")

SEEN_SHOWN = 4


class NotSeen(Exception):
    """What was waited for did not come; `seen` says what came last instead."""

    def __init__(self, what: str, within_s: float, seen: str) -> None:
        super().__init__(f"{what} was not seen within {within_s:g} s; seen instead: {seen}")


class Running(NamedTuple):
    task_id: str
    worker_id: str
    incarnation: int
    since: float
    """The broker's time of its `TaskStarted`."""


class Chronicle:
    """`follow` runs beside everything else; all the rest looks at what it has read."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.events: list[Recorded] = []
        self.state = State()
        self.names: dict[str, str] = {}
        """Node ids of the tests, by task."""
        self.done: Counter[str] = Counter()
        """Verdicts by the worker that brought them."""
        self.requeued = 0
        self.leader = ""
        """Who was elected last, living or not."""
        self._starts: dict[str, Recorded] = {}
        self._news = asyncio.Event()

    async def follow(self, on_event: Callable[[Recorded], None]) -> None:
        async with await self.log.reader() as reader:
            while True:
                for recorded in await reader.next():
                    self._take(recorded)
                    on_event(recorded)
                self._news.set()
                self._news = asyncio.Event()

    def _take(self, recorded: Recorded) -> None:
        self.events.append(recorded)
        evolve(self.state, recorded)
        event = recorded.event
        if isinstance(event, TaskSubmitted) and isinstance(event.work, PytestWork):
            self.names[event.task_id] = event.work.node_id
        elif isinstance(event, TaskStarted):
            self._starts[event.task_id] = recorded
        elif isinstance(event, LeaderElected):
            self.leader = event.coordinator_id
        elif isinstance(event, TaskRequeued):
            self.requeued += 1
        elif isinstance(event, TaskCompleted) and event.worker_id is not None:
            self.done[event.worker_id] += 1

    @property
    def sequence(self) -> int:
        return self.events[-1].sequence if self.events else 0

    @property
    def submitted(self) -> int:
        return len(self.state.tasks)

    @property
    def final(self) -> int:
        return self.state.tasks_by_status["final"]

    def running(self) -> list[Running]:
        """Tests that run now, as far as the log tells, on workers that live."""
        found = []
        for worker in self.state.workers.values():
            for task_id in worker.held:
                start = self._starts.get(task_id)
                if self.state.tasks[task_id].status == "running" and start is not None:
                    found.append(Running(task_id, worker.worker_id, worker.incarnation, start.time))
        return found

    def after(self, sequence: int) -> list[Recorded]:
        """The events behind a sequence: the log has no gaps, but a damaged one could."""
        position = min(sequence, len(self.events))
        while position > 0 and self.events[position - 1].sequence > sequence:
            position -= 1
        return self.events[position:]

    async def until(
        self, look: Callable[[], T | None], *, what: str, within_s: float, about: str = "", poll_s: float = 1.0
    ) -> T:
        """Looks at each news from the log, and every `poll_s`; the first answer that is neither None nor False.

        Raises:
            NotSeen: there was none in time; it tells the last events, those `about` an entity if one is given.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while True:
            news = self._news
            found = look()
            if found is not None and found is not False:
                return found
            left = deadline - loop.time()
            if left <= 0:
                raise NotSeen(what, within_s, self.last_seen(about))
            try:
                async with asyncio.timeout(min(left, poll_s)):
                    await news.wait()
            except TimeoutError:
                continue

    async def read_to_the_end(self, within_s: float = 5.0) -> None:
        """Until everything that the log holds at this moment has been read."""
        last = await self.log.last_sequence()
        await self.until(lambda: self.sequence >= last or None, what=f"event {last}", within_s=within_s)

    def last_seen(self, about: str = "") -> str:
        """The last few events, those of a worker or a task if one is given."""
        told = [
            f"{tag_of(type(event))} of {entity_of(event) or 'the system'} (event {recorded.sequence})"
            for recorded in self.events
            if (event := recorded.event) is not None and _is_about(event, about)
        ]
        return ", ".join(told[-SEEN_SHOWN:]) or (f"nothing about {about}" if about else "an empty log")


def _is_about(event: Event, entity: str) -> bool:
    """A worker's own events are meant, not those of each task that it has had."""
    if not entity:
        return True
    field = "task_id" if isinstance(event, TaskEvent) else "worker_id"
    return getattr(event, field, None) == entity
