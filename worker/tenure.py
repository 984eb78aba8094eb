"""One incarnation's work: what it was assigned, where that runs, and what it reports.

A tenure ends when its incarnation is condemned; what its slots still say then concerns nobody and is dropped.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from events.envelope import Draft, Recorded
from events.task import TaskAssigned
from events.work import CommandWork
from events.worker import Progress
from events.writer import Writer
from worker.backlog import Assignment, Backlog, key_of
from worker.jobs import CommandJob, Job, Outcome, PytestJob, SlotEvent, SlotFinished, SlotStarted, Suite
from worker.outbox import Outbox
from worker.ports import Vitals
from worker.reports import Reports
from worker.slots import Slot

WINDOW = 3
"""Tests with a warm pytest process, the running one included: it must never wait for us, and always know which
fixtures the next test needs. More would only have to be taken back when something urgent comes."""

STOPPED = (Outcome.cancelled, Outcome.fenced)
"""Ends that were made. Any other came by itself, a moment before it would have been made: it counts as it is."""

End = Literal["fenced", "returned"]


@dataclass(slots=True)
class Held:
    """An assignment that a slot has."""

    assignment: Assignment
    slot: Slot
    started: bool = False
    started_at: float = 0.0
    """By the loop's clock."""
    ends_as: End | None = None
    """How it is reported if it ends because it was stopped."""


class Tenure:
    """`may_start` says whether the fence allows to begin anything at this moment."""

    def __init__(
        self,
        worker_id: str,
        incarnation: int,
        slots: Sequence[Slot],
        outbox: Outbox,
        writer: Writer,
        *,
        may_start: Callable[[], bool],
    ) -> None:
        self.worker_id = worker_id
        self.incarnation = incarnation
        self.draining = False
        self.idle = asyncio.Event()
        self.idle.set()
        self._slots = slots
        self._outbox = outbox
        self._reports = Reports(writer, worker_id, incarnation)
        self._may_start = may_start
        self._backlog = Backlog()
        self._held: dict[str, Held] = {}
        self._suites: dict[int, Suite] = {}
        self._disowned: set[str] = set()
        """Keys of what it has said that it does not have: should the order come after all, it is not obeyed."""
        self._arrivals = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def vitals(self) -> Vitals:
        running = [held for held in self._held.values() if held.started]
        return Vitals(
            running=tuple(held.assignment.task.task_id for held in running),
            progress=tuple(map(_progress, running)),
            queued=len(self._backlog) + len(self._held) - len(running),
            free=sum(slot.free for slot in self._slots),
            unreported=len(self._outbox),
        )

    # What the log says

    def assign(self, recorded: Recorded, task: TaskAssigned) -> None:
        key = key_of(task.incarnation, task.task_id, task.attempt)
        if key in self._backlog or key in self._held or key in self._disowned:
            return
        self._arrivals += 1
        envelope = recorded.envelope
        assignment = Assignment(
            key=key,
            task=task,
            arrival=self._arrivals,
            event_id=recorded.id,
            correlation_id=None if envelope is None else envelope.correlation_id,
        )
        if self.draining:
            self._outbox.put([self._reports.returned(assignment)])
        else:
            self._backlog.push(assignment)

    def revoke(self, task_id: str, attempt: int, event_id: str) -> None:
        """What has not begun never will and is handed back; what runs is stopped and says so when it is gone. Of what
        is not here that is said: it has ended and been reported before, or the order for it was never heard."""
        key = key_of(self.incarnation, task_id, attempt)
        waiting = self._backlog.remove(key) or self._take_back(key)
        if waiting is not None:
            self._outbox.put([self._reports.returned(waiting)])
        elif key in self._held:
            self._soon(self._held[key].slot.cancel(key))
        else:
            self._disowned.add(key)
            self._outbox.put([self._reports.unknown(task_id, attempt, event_id)])

    # What the slots say

    def take(self, events: Iterable[SlotEvent]) -> None:
        drafts: list[Draft] = []
        for event in events:
            held = self._held.get(event.key)
            if held is None:
                continue
            if isinstance(event, SlotStarted):
                held.started, held.started_at = True, asyncio.get_running_loop().time()
                drafts.append(self._reports.started(held.assignment))
            else:
                del self._held[event.key]
                drafts.append(self._ended(held, event))
        self._outbox.put(drafts)
        self.refill()
        self._note_idle()

    # Handing out

    def refill(self) -> None:
        """Gives the slots what they should have now. Safe to call at any time."""
        if self.draining or self._outbox.full or not self._may_start():
            return
        while (assignment := self._backlog.first()) is not None:
            slot = self._slot_for(assignment)
            if slot is None:
                if assignment.urgent:
                    self._make_way()
                return
            self._backlog.pop()
            self._feed(slot, assignment)
        self._balance()

    def _slot_for(self, assignment: Assignment) -> Slot | None:
        suite = _suite(assignment)
        free = [slot for slot in self._slots if not slot.busy]
        if free:
            return next((slot for slot in free if suite is not None and self._suites.get(slot.index) == suite), free[0])
        if assignment.urgent or suite is None:
            return None
        ahead = [slot for slot in self._slots if self._suites.get(slot.index) == suite and _load(slot) < WINDOW]
        return min(ahead, key=_load, default=None)

    def _feed(self, slot: Slot, assignment: Assignment) -> None:
        self._held[assignment.key] = Held(assignment, slot)
        self.idle.clear()
        suite = _suite(assignment)
        if suite is not None:
            self._suites[slot.index] = suite
        else:
            self._suites.pop(slot.index, None)
        slot.feed(_job(assignment))

    def _make_way(self) -> None:
        """Something urgent waits: what stands ready behind running tests goes back, so that the first slot to be free
        is free indeed."""
        for slot in self._slots:
            for job in reversed(_behind(slot)):
                assignment = self._take_back(job.key)
                if assignment is not None:
                    self._backlog.push(assignment)

    def _balance(self) -> None:
        """Nothing waits any more: a slot without work takes over what stands behind a running test elsewhere."""
        for slot in self._slots:
            if slot.busy:
                continue
            behind = _behind(max(self._slots, key=lambda other: len(_behind(other))))
            assignment = self._take_back(behind[-1].key) if behind else None
            if assignment is None:
                return
            self._feed(slot, assignment)

    def _take_back(self, key: str) -> Assignment | None:
        held = self._held.get(key)
        if held is None or held.started or not held.slot.withdraw(key):
            return None
        del self._held[key]
        return held.assignment

    # Endings

    def hand_back(self) -> None:
        """From here on nothing begins; what has not begun goes back to the leader."""
        self.draining = True
        self._outbox.put([self._reports.returned(assignment) for assignment in self._unstarted()])
        self._note_idle()

    def fence(self) -> None:
        """Stops everything and reports it as fenced."""
        self._outbox.put([self._reports.fenced(assignment) for assignment in self._unstarted()])
        self._soon(self._stop("fenced"))

    async def return_running(self) -> None:
        """Kills what runs and hands it back: its time to finish is over."""
        await self._stop("returned")

    async def discard(self) -> None:
        """The incarnation is condemned: everything stops, and nothing of it is reported."""
        self.draining = True
        self._unstarted()
        held, self._held = self._held, {}
        await asyncio.gather(*(one.slot.cancel(key) for key, one in held.items()))

    async def _stop(self, ends_as: End) -> None:
        for held in self._held.values():
            held.ends_as = ends_as
        await asyncio.gather(*(held.slot.cancel(key) for key, held in list(self._held.items())))

    def _unstarted(self) -> list[Assignment]:
        """Takes away all that has not begun. From the back, as what is taken back in front lets the next one begin."""
        taken = [self._take_back(key) for key in reversed(list(self._held))]
        return [*(assignment for assignment in reversed(taken) if assignment is not None), *self._backlog.clear()]

    def _ended(self, held: Held, end: SlotFinished) -> Draft:
        if held.ends_as is not None and end.outcome in STOPPED:
            if held.ends_as == "fenced":
                return self._reports.fenced(held.assignment, end)
            return self._reports.returned(held.assignment)
        return self._reports.finished(held.assignment, end)

    def _note_idle(self) -> None:
        if not self._held:
            self.idle.set()

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _progress(held: Held) -> Progress:
    seconds = asyncio.get_running_loop().time() - held.started_at
    return Progress(held.assignment.task.attempt, round(seconds, 3), held.slot.output_bytes)


def _suite(assignment: Assignment) -> Suite | None:
    work = assignment.task.work
    return None if isinstance(work, CommandWork) else Suite(work.suite.python, work.suite.cwd, work.suite.args)


def _job(assignment: Assignment) -> Job:
    work, timeout_s = assignment.task.work, assignment.task.timeout_s
    if isinstance(work, CommandWork):
        return CommandJob(assignment.key, work.argv, work.cwd, tuple(work.environment.items()), timeout_s, work.kind)
    suite = Suite(work.suite.python, work.suite.cwd, work.suite.args)
    return PytestJob(assignment.key, work.node_id, suite, work.occurrence, timeout_s)


def _load(slot: Slot) -> int:
    return len(slot.queued) + (slot.running is not None)


def _behind(slot: Slot) -> tuple[Job, ...]:
    """What stands ready in a slot; not what it is about to start."""
    return slot.queued if slot.running is not None else slot.queued[1:]
