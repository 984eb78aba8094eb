"""An agent that is told to stop while it is being given up. It runs in the test's own process, on a real broker."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from events.base import WorkerEvent
from events.bus import Bus
from events.streams import Streams
from events.task import TaskStarted
from events.worker import WorkerDraining, WorkerFailed, WorkerRegistered, WorkerStopped
from tests.waiting import is_kind
from tests.worker.farm import SLEEPS, Farm, Worker, command
from worker.agent import STOPPED, Agent
from worker.options import Options
from worker.ports import Gauges, Surroundings
from worker.slots import Slot


class Wire:
    """Keeps `worker.ports.Link`: the test is the supervisor."""

    def __init__(self) -> None:
        self.closed = False
        self.words: list[str] = []
        self.on_word: Callable[[str], None] = lambda _: None

    def send(self, word: str, argument: str | int = "") -> bool:
        self.words.append(word)
        self.on_word(word)
        return True

    def receive(self) -> list[tuple[str, str]]:
        return []

    def close(self) -> None:
        self.closed = True


class Life:
    """An agent of one slot, its wire, and the log that it lives by."""

    def __init__(self, farm: Farm) -> None:
        self.farm = farm
        self.wire = Wire()
        self.incarnation = 0
        options = Options(nats_url=farm.bus.url, worker_id="w1", namespace=farm.streams.namespace)
        surroundings = Surroundings(hostname="here", pid=1, gauges=lambda _: Gauges(0.0, 0, 0.0), slot=Slot)
        self.agent = Agent(options, self.wire, farm.bus, surroundings)
        self.run = asyncio.ensure_future(self.agent.run())

    async def begin(self) -> None:
        recorded = await self.farm.seen(is_kind(WorkerRegistered, worker_id="w1"), what="the registration")
        self.incarnation = recorded.sequence

    async def give_up(self) -> None:
        await self.farm.say(WorkerFailed(worker_id="w1", reason="silence", incarnation=self.incarnation))

    async def end(self) -> int:
        async with asyncio.timeout(10):
            return await self.run

    async def story(self) -> list[tuple[type, int | None]]:
        """What the log says of the worker; each with the incarnation that it is about."""
        return [
            (type(recorded.event), getattr(recorded.event, "incarnation", recorded.sequence))
            for recorded in await self.farm.events(WorkerEvent)
        ]


@pytest.fixture
async def life(bus: Bus, streams: Streams) -> AsyncIterator[Life]:
    farm = Farm(bus, streams)
    await farm.rule()
    made = Life(farm)
    await made.begin()
    yield made
    made.run.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await made.run


async def test_a_drain_that_meets_a_renewal_waits_for_the_new_incarnation(life: Life) -> None:
    """The old one can say nothing any more; the new one takes its leave in order."""
    life.wire.on_word = lambda word: life.agent.terminate() if word == "registering" else None
    await life.give_up()
    assert await life.end() == STOPPED
    story = await life.story()
    assert [kind for kind, _ in story] == [
        WorkerRegistered,
        WorkerFailed,
        WorkerRegistered,
        WorkerDraining,
        WorkerStopped,
    ]
    second = story[2][1]
    assert [incarnation for _, incarnation in story] == [life.incarnation, life.incarnation, second, second, second]
    assert life.wire.words == ["registering", "registered", "registering", "registered", "stopped"]


async def test_an_agent_given_up_while_it_drains_stops_and_does_not_begin_anew(life: Life) -> None:
    worker = Worker("w1", None, "")  # type: ignore[arg-type]  # it has no process of its own
    worker.incarnation = life.incarnation
    await life.farm.assign(worker, command(*SLEEPS))
    await life.farm.seen(is_kind(TaskStarted, task_id="t1"))
    life.agent.terminate()
    await life.farm.seen(is_kind(WorkerDraining, incarnation=life.incarnation))
    await life.give_up()
    assert await life.end() == STOPPED
    assert [kind for kind, _ in await life.story()] == [WorkerRegistered, WorkerDraining, WorkerFailed]
    assert await life.farm.story("t1") == ["assigned", "started"]
