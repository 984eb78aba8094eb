"""What simulated processes run in tests, and what the world sees of it.

Each program here is killed somewhere. Whatever it sends from then on would be an effect after its death.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import anyio

from tests.simulation.loop import VirtualLoop
from tests.simulation.process import SimProcess


class Diary:
    """What happened when, in the order in which it happened."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.entries: list[tuple[float, str]] = []

    def __call__(self, entry: str) -> None:
        self.entries.append((self.loop.time(), entry))


class Wire:
    """What the world gets to see of a process, until it is cut."""

    def __init__(self, process: SimProcess) -> None:
        self.loop = process.loop
        self.seen: list[tuple[float, str]] = []
        self.after_death: list[str] = []
        self._open = True
        process.on_death(self._cut)

    def send(self, what: str) -> None:
        if self._open:
            self.seen.append((self.loop.time(), what))
        else:
            self.after_death.append(what)

    def _cut(self) -> None:
        self._open = False


def until(loop: VirtualLoop, moment: float) -> None:
    """Lets the time pass, in the world."""

    async def pass_time() -> None:
        await asyncio.sleep(moment - loop.time())

    loop.run_until_complete(pass_time())


def nothing_is_left(loop: VirtualLoop) -> bool:
    return not (loop.domains or loop._tasks or loop._ready or len(loop._timers))


async def sleeps(wire: Wire) -> None:
    while True:
        await asyncio.sleep(1)
        wire.send("tick")


async def times_out(wire: Wire) -> None:
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.Event().wait()
        wire.send("tick")


async def in_a_group(wire: Wire) -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(sleeps(wire))
        await sleeps(wire)


async def in_a_gather(wire: Wire) -> None:
    await asyncio.gather(sleeps(wire), asyncio.shield(sleeps(wire)), times_out(wire))


async def waits_for_tasks(wire: Wire) -> None:
    tasks = {asyncio.create_task(sleeps(wire)), asyncio.create_task(times_out(wire))}
    try:
        while True:
            await asyncio.wait(tasks, timeout=0.7)
            wire.send("looked")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def holds_a_lock(wire: Wire) -> None:
    lock = asyncio.Lock()

    async def wants_it() -> None:
        async with lock:
            wire.send("got it")
            await asyncio.sleep(4)

    await asyncio.gather(*(wants_it() for _ in range(3)))


async def uses_executors(wire: Wire) -> None:
    while True:
        await asyncio.gather(asyncio.to_thread(wire.send, "thread"), asyncio.sleep(0.5))


async def cleans_up(wire: Wire) -> None:
    try:
        await sleeps(wire)
    finally:
        loop = asyncio.get_running_loop()
        loop.call_soon(wire.send, "callback")
        loop.call_later(1, wire.send, "timer")
        task = asyncio.create_task(sleeps(wire))
        executed = loop.run_in_executor(None, wire.send, "executor")
        async with asyncio.timeout(1):
            await task
        await executed
        raise RuntimeError("the end of cleaning up")


async def cleans_up_in_steps(wire: Wire) -> None:
    try:
        try:
            await sleeps(wire)
        finally:
            await asyncio.sleep(0)
            wire.send("went on")
    finally:
        cancelled = asyncio.get_running_loop().create_future()
        cancelled.cancel()
        await cancelled


async def takes_everything(wire: Wire) -> None:
    for _ in range(5):
        with contextlib.suppress(BaseException):
            await sleeps(wire)


@contextlib.asynccontextmanager
async def resource(wire: Wire) -> AsyncIterator[None]:
    task = asyncio.create_task(sleeps(wire))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        wire.send("released")


async def has_a_resource(wire: Wire) -> None:
    async with resource(wire), resource(wire):
        await sleeps(wire)


async def numbers(wire: Wire) -> AsyncIterator[int]:
    try:
        for number in range(10):
            await asyncio.sleep(0.4)
            yield number
    finally:
        await asyncio.sleep(0.1)
        wire.send("generator ended")


async def reads_a_generator(wire: Wire) -> None:
    async for number in numbers(wire):
        wire.send(f"{number}")


async def leaves_a_generator(wire: Wire) -> None:
    generator = numbers(wire)
    await anext(generator)
    await sleeps(wire)


async def uses_anyio(wire: Wire) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(sleeps, wire)
        while True:
            with anyio.move_on_after(1), anyio.CancelScope(shield=True):
                await anyio.sleep(1.5)
            wire.send("tick")


PROGRAMS = [
    sleeps,
    times_out,
    in_a_group,
    in_a_gather,
    waits_for_tasks,
    holds_a_lock,
    uses_executors,
    cleans_up,
    cleans_up_in_steps,
    takes_everything,
    has_a_resource,
    reads_a_generator,
    leaves_a_generator,
    uses_anyio,
]
