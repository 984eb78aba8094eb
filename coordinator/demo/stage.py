"""What the steps of a demo share: the plan, the farm, the log, and how something is expected of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from coordinator.demo.chronicle import Chronicle, NotSeen
from coordinator.demo.farm import Farm
from coordinator.demo.findings import Found, Unfinished
from coordinator.demo.plan import Plan
from coordinator.demo.show import Show
from coordinator.faults import Fault
from events.bus import Bus
from events.connection import Connection
from events.streams import Streams
from events.system import LeaderElected
from events.work import PytestWork
from events.worker import WorkerRecoverySucceeded

T = TypeVar("T")

NAMESPACE = "resurgam"


class StepFailed(Fault):
    """A step of the demo did not happen. The text says which, and what was seen instead."""

    exit_code = 1


class Step(NamedTuple):
    title: str
    why: str
    play: Callable[["Stage"], Awaitable[None]]


@dataclass(slots=True)
class Killing:
    """An agent that was killed under a test."""

    worker_id: str
    incarnation: int
    task_id: str
    at: float
    """When the signal was sent, seconds since the epoch."""
    sequence: int
    """The last event read before."""
    processes: int
    """How many there were: the agent and what ran beneath it."""
    gone_s: float = 0.0
    """How long the last of them lived."""
    tasks: list[Unfinished] = field(default_factory=list)
    """What it had been given and did not bring to an end."""
    recovered: Found[WorkerRecoverySucceeded] | None = None
    """None where it was brought back by hand."""
    back_at: float = 0.0


@dataclass(slots=True)
class Failover:
    at: float
    sequence: int
    elected: Found[LeaderElected] | None = None


class Stage:
    def __init__(self, plan: Plan, farm: Farm, show: Show, stack: AsyncExitStack) -> None:
        self.plan = plan
        self.farm = farm
        self.show = show
        self.stack = stack
        """Ends what the demo itself holds open: the broker, the connection."""
        self.began = time.monotonic()
        self.works: tuple[PytestWork, ...] = ()
        """The part of the suite that is run."""
        self.killings: list[Killing] = []
        self.failover: Failover | None = None
        self.leader = "coordinator-1"
        self._chronicle: Chronicle | None = None
        self._bus: Bus | None = None
        self._following: asyncio.Task[None] | None = None
        self._step = ""

    @property
    def chronicle(self) -> Chronicle:
        assert self._chronicle is not None, "the log has not been opened"
        return self._chronicle

    @property
    def bus(self) -> Bus:
        assert self._bus is not None, "the log has not been opened"
        return self._bus

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.began

    async def open_log(self) -> None:
        """Starts the broker, makes the streams, and follows the log from its first event on."""
        from coordinator.storage import streams_fitting
        from events.jetstream import JetStreamLog
        from events.streams import ensure_streams

        broker = await self.stack.enter_async_context(self.farm.broker)
        self._bus = await Connection.connect(broker.url, name="demo")
        self.stack.push_async_callback(self._bus.close)
        streams: Streams = streams_fitting(NAMESPACE, broker.room)
        await ensure_streams(self._bus, streams)
        self._chronicle = Chronicle(JetStreamLog(self._bus, streams))
        self.show.chronicle = self._chronicle
        self._following = asyncio.create_task(self._chronicle.follow(self.show.event), name="chronicle")
        self.stack.push_async_callback(self._stop_following)

    async def _stop_following(self) -> None:
        assert self._following is not None
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)

    async def play(self, number: int, count: int, step: Step) -> None:
        self._step = f"step {number} of {count}, {step.title!r}"
        self.show.step(number, count, step.title, step.why)
        await step.play(self)
        if self.plan.reading_s:
            await asyncio.sleep(self.plan.reading_s)

    async def expect(
        self, look: Callable[[], T | None], what: str, within_s: float, about: str = "", poll_s: float = 1.0
    ) -> T:
        """Waits for something in the log.

        Raises:
            StepFailed: it did not come in time, or a process that it depends on has ended.
        """

        def watched() -> T | None:
            if self._following is not None and self._following.done():
                self._following.result()
            trouble = self.farm.ended()
            if trouble is not None:
                raise self.failed(trouble)
            return look()

        try:
            return await self.chronicle.until(watched, what=what, within_s=within_s, about=about, poll_s=poll_s)
        except NotSeen as error:
            raise self.failed(str(error)) from error

    def ensure(self, holds: bool, otherwise: str) -> None:  # noqa: FBT001 - it reads as an assertion does
        """Raises:
        StepFailed: it does not hold.
        """
        if not holds:
            raise self.failed(otherwise)

    def failed(self, sentence: str) -> StepFailed:
        return StepFailed(f"{self._step} did not happen: {sentence}")

    def out_of_time(self) -> StepFailed:
        seen = self.chronicle.last_seen() if self._chronicle is not None else "an empty log"
        return StepFailed(
            f"{self._step} was under way when the run time of {self.plan.run_time_s:g} s was over; seen last: {seen}"
        )
