"""What asyncio and anyio build on a loop works on the virtual one, in virtual time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import anyio
import pytest

from tests.simulation.loop import VirtualLoop
from tests.simulation.victims import Diary

COLOUR: ContextVar[str] = ContextVar("colour", default="none")


async def timed_out(_: VirtualLoop) -> None:
    async with asyncio.timeout(5):
        await asyncio.sleep(8)


async def in_time(_: VirtualLoop) -> None:
    async with asyncio.timeout(8):
        await asyncio.sleep(5)


async def both_at_once(_: VirtualLoop) -> None:
    async with asyncio.timeout(5):  # made first, so that it is first
        await asyncio.sleep(5)


async def moved(_: VirtualLoop) -> None:
    async with asyncio.timeout(5) as timeout:
        timeout.reschedule(7)
        await asyncio.sleep(8)


async def nested(_: VirtualLoop) -> None:
    try:
        async with asyncio.timeout(4), asyncio.timeout(2):
            await asyncio.sleep(8)
    finally:
        await asyncio.sleep(1)


async def waited_for(_: VirtualLoop) -> None:
    await asyncio.wait_for(asyncio.Event().wait(), 6)


async def in_anyio(_: VirtualLoop) -> None:
    with anyio.fail_after(3):
        await anyio.sleep_forever()


@pytest.mark.parametrize(
    ("program", "ends_at", "times_out"),
    [
        (timed_out, 5.0, True),
        (in_time, 5.0, False),
        (both_at_once, 5.0, True),
        (moved, 7.0, True),
        (nested, 3.0, True),
        (waited_for, 6.0, True),
        (in_anyio, 3.0, True),
    ],
)
def test_timeouts(
    loop: VirtualLoop, program: Callable[[VirtualLoop], Coroutine[Any, Any, None]], ends_at: float, times_out: bool
) -> None:
    async def main() -> bool:
        try:
            await program(loop)
        except TimeoutError:
            return True
        return False

    assert loop.run_until_complete(main()) is times_out
    assert loop.time() == ends_at


def test_a_failure_in_a_task_group_ends_the_group(loop: VirtualLoop) -> None:
    diary = Diary(loop)

    async def fails() -> None:
        await asyncio.sleep(1)
        raise ValueError("on purpose")

    async def works() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            diary("cancelled")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(works())
            group.create_task(fails())

    with pytest.raises(ExceptionGroup) as caught:
        loop.run_until_complete(main())
    assert [type(error) for error in caught.value.exceptions] == [ValueError]
    assert diary.entries == [(1.0, "cancelled")]


def test_an_executor_is_a_later_turn_in_the_callers_context(loop: VirtualLoop) -> None:
    diary = Diary(loop)

    def work(what: str) -> str:
        diary(f"{what} {COLOUR.get()}")
        return what.upper()

    def fails() -> None:
        raise ValueError("on purpose")

    async def main() -> None:
        COLOUR.set("red")
        with ThreadPoolExecutor(1) as executor:
            result = loop.run_in_executor(executor, work, "queued")
            diary("went on")
            assert await result == "QUEUED"
        assert await asyncio.to_thread(work, "thread") == "THREAD"
        with pytest.raises(ValueError, match="on purpose"):
            await asyncio.to_thread(fails)
        given_up = loop.run_in_executor(None, work, "nobody wants it")
        given_up.cancel()
        await asyncio.sleep(1)

    loop.run_until_complete(main())
    assert diary.entries == [(0.0, "went on"), (0.0, "queued red"), (0.0, "thread red")]


def test_an_abandoned_generator_cleans_up_as_a_task(loop: VirtualLoop) -> None:
    diary = Diary(loop)

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(1)
            diary("cleaned up")

    async def main() -> None:
        async for number in numbers():
            assert number == 1
            break
        await asyncio.sleep(3)

    loop.run_until_complete(main())
    assert diary.entries == [(1.0, "cleaned up")]


def test_anyio_works_on_it(loop: VirtualLoop) -> None:
    diary = Diary(loop)

    async def consumer(name: str, receive: anyio.abc.ObjectReceiveStream[int], limiter: anyio.CapacityLimiter) -> None:
        async with receive:
            async for item in receive:
                async with limiter:
                    await anyio.sleep(1)
                    diary(f"{name} {item}")

    async def main() -> None:
        send, receive = anyio.create_memory_object_stream[int]()
        limiter = anyio.CapacityLimiter(2)
        async with anyio.create_task_group() as group, send:
            for name in ("a", "b", "c"):
                group.start_soon(consumer, name, receive.clone(), limiter)
            receive.close()
            for item in range(4):
                await send.send(item)
        with anyio.move_on_after(2) as scope:
            await anyio.Event().wait()
        assert scope.cancelled_caught

    loop.run_until_complete(main())
    assert diary.entries == [(1.0, "a 0"), (1.0, "b 1"), (2.0, "c 2"), (2.0, "a 3")]
    assert loop.time() == 4.0


def test_a_runner_takes_it() -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(asyncio.sleep(3600, "rested")) == "rested"
