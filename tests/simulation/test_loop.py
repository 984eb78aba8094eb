"""The virtual loop: order, time, what asyncio makes of it, and that it is the same in every run."""

import asyncio
import gc
import os
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.simulation import tangle
from tests.simulation.handles import Handle, Timer, Timers
from tests.simulation.loop import Deadlocked, Livelocked, VirtualLoop
from tests.simulation.victims import Diary

ROOT = Path(__file__).parent.parent.parent


def test_callbacks_run_in_the_order_in_which_they_were_scheduled(loop: VirtualLoop) -> None:
    diary = Diary(loop)

    def first() -> None:
        diary("a")
        loop.call_soon(diary, "d")

    loop.call_soon(first)
    loop.call_soon_threadsafe(diary, "b")
    loop.call_at(-1.0, diary, "c, whose moment has passed")
    loop.call_soon(loop.call_soon, loop.stop)
    loop.run_forever()
    assert diary.entries == [(0.0, "a"), (0.0, "b"), (0.0, "c, whose moment has passed"), (0.0, "d")]


def test_timers_run_by_moment_and_then_by_age(loop: VirtualLoop) -> None:
    diary = Diary(loop)
    for moment in (3.0, 1.0, 2.0, 1.0, 3.0, 1.0):
        loop.call_at(moment, diary, f"timer {loop.number()}")
    loop.call_later(86_400.0, loop.stop)
    loop.run_forever()
    assert diary.entries == [
        (1.0, "timer 2"),
        (1.0, "timer 4"),
        (1.0, "timer 6"),
        (2.0, "timer 3"),
        (3.0, "timer 1"),
        (3.0, "timer 5"),
    ]
    assert loop.time() == 86_400.0


def test_what_was_cancelled_does_not_run_and_does_not_move_the_clock(loop: VirtualLoop) -> None:
    diary = Diary(loop)
    handle, timer = loop.call_soon(diary, "handle"), loop.call_later(5.0, diary, "timer")
    loop.call_later(1.0, loop.stop)
    assert timer.when() == 5.0
    handle.cancel()
    timer.cancel()
    timer.cancel()
    assert handle.cancelled()
    assert timer.cancelled()
    loop.run_forever()
    assert (diary.entries, loop.time()) == ([], 1.0)


def test_cancelled_timers_are_thrown_out(loop: VirtualLoop) -> None:
    async def main() -> None:
        for _ in range(10_000):
            async with asyncio.timeout(3600):
                await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert len(loop._timers) < 200


def test_timers_keep_their_order_when_others_are_thrown_out(loop: VirtualLoop) -> None:
    diary = Diary(loop)
    for number in range(1000):
        timer = loop.call_at(1.0 + number % 7, diary, f"{1 + number % 7} {number:03}")
        if number % 10:
            timer.cancel()
    loop.call_at(9.0, loop.stop)
    loop.run_forever()
    assert len(diary.entries) == 100
    assert [entry for _, entry in diary.entries] == sorted(entry for _, entry in diary.entries)


def test_the_number_of_cancelled_timers_is_right_at_all_times(loop: VirtualLoop) -> None:
    timers = Timers()
    ready: deque[Handle | Timer] = deque()
    all_of_them = [loop._timer(1.0 + number, print, (), None) for number in range(200)]
    for timer in all_of_them:
        timers.add(timer)
    for timer in all_of_them[::5]:
        timer.cancel()
    timers.discard(lambda timer: timer.when() % 2 == 0)
    assert (len(timers), timers._cancelled) == (100, 20)
    for timer in all_of_them[::3]:
        timer.cancel()
    while timers.due(ready) is not None:
        pass
    assert (len(timers), timers._cancelled) == (0, 0)
    assert len(ready) == sum(not timer.cancelled() and timer.when() % 2 == 1 for timer in all_of_them)


def test_a_deadlock_is_an_error_that_says_who_waits(loop: VirtualLoop) -> None:
    async def waits_for_ever() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.gather(asyncio.sleep(2), waits_for_ever())

    with pytest.raises(Deadlocked, match=r"at 2\.000000 s.*world: Task-\d+ in .*waits_for_ever"):
        loop.run_until_complete(main())


def test_a_livelock_is_an_error_that_says_who_is_busy() -> None:
    loop = VirtualLoop(callbacks_at_once_max=10_000)

    async def hangs() -> None:
        await asyncio.sleep(1)
        while True:  # noqa: ASYNC110  that is what is to be noticed
            await asyncio.sleep(0)

    with pytest.raises(Livelocked, match=r"10000 callbacks at 1\.000000 s; of 1000 of them: the spinner in .*hangs"):
        loop.run_until_complete(loop.create_task(hangs(), name="the spinner"))
    loop.close()


def test_many_callbacks_are_no_livelock_while_time_moves() -> None:
    loop = VirtualLoop(callbacks_at_once_max=50)

    async def main() -> None:
        for _ in range(1000):
            await asyncio.sleep(1e-6)

    loop.run_until_complete(main())
    assert loop.callbacks > 2000
    loop.close()


def test_tasks_and_futures_lie_in_sets_in_the_order_of_their_making(loop: VirtualLoop) -> None:
    async def main() -> None:
        futures = [loop.create_future() for _ in range(100)]
        tasks = [asyncio.create_task(asyncio.sleep(1)) for _ in range(100)]
        assert list(set(tasks)) == tasks
        assert [hash(future) for future in futures] == sorted(hash(future) for future in futures)
        assert len({*tasks, *futures}) == 200
        done, pending = await asyncio.wait([*reversed(tasks), futures[0]], timeout=2)
        assert (list(done), pending) == (tasks, {futures[0]})

    loop.run_until_complete(main())


def test_each_loop_numbers_its_tasks_anew() -> None:
    async def main() -> list[str]:
        task = asyncio.create_task(asyncio.sleep(0))
        named = asyncio.create_task(asyncio.sleep(0), name="named")
        await asyncio.gather(task, named)
        return [task.get_name(), named.get_name()]

    names = []
    for _ in range(2):
        loop = VirtualLoop()
        names.append(loop.run_until_complete(main()))
        loop.close()
    assert names[0] == names[1]
    assert names[0][1] == "named"


def test_exceptions_that_nobody_takes_are_collected() -> None:
    loop = VirtualLoop()

    def fails() -> None:
        raise ValueError("in a callback")

    async def fails_too() -> None:
        raise ValueError("in a task")

    async def main() -> None:
        loop.call_later(1.0, fails)
        await asyncio.sleep(2)
        asyncio.create_task(fails_too())  # noqa: RUF006  that nobody holds it is the point
        await asyncio.sleep(1)

    loop.run_until_complete(main())
    loop.close()
    assert [(error.at, error.process, str(error.exception)) for error in loop.unhandled] == [
        (1.0, None, "in a callback"),
        (2.0, None, "in a task"),
    ]
    assert "fails" in loop.unhandled[0].message


def test_a_handler_of_exceptions_takes_them_all(loop: VirtualLoop) -> None:
    taken: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: taken.append(context))
    loop.call_exception_handler({"message": "one"})
    assert taken == [{"message": "one"}]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_interpreter_ends_the_loop(loop: VirtualLoop, error: type[BaseException]) -> None:
    def interrupt() -> None:
        raise error

    loop.call_later(1.0, interrupt)
    with pytest.raises(error):
        loop.run_until_complete(loop.create_task(asyncio.sleep(5)))
    assert loop.time() == 1.0


class Cycle:
    def __init__(self, diary: Diary) -> None:
        self.diary = diary
        self.me = self

    def __del__(self) -> None:
        self.diary("collected")


def test_garbage_is_collected_at_defined_moments() -> None:
    loop = VirtualLoop(collect_every=1000)
    diary = Diary(loop)

    async def main() -> None:
        Cycle(diary)
        for _ in range(600):
            assert [[] for _ in range(100)]
            await asyncio.sleep(1)

    was_enabled = gc.isenabled()
    loop.run_until_complete(main())
    loop.close()
    assert diary.entries == [(500.0, "collected")]
    assert gc.isenabled() == was_enabled


def test_a_generator_that_the_collector_finds_is_dropped() -> None:
    """Its cleaning up would run as nobody's in particular."""
    loop = VirtualLoop(collect_every=10)
    diary = Diary(loop)

    async def numbers(_: list[object]) -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            diary("cleaned up")

    async def main() -> None:
        cycle: list[object] = []
        generator = numbers(cycle)
        cycle.append(generator)
        await anext(generator)
        del cycle, generator
        for _ in range(20):
            await asyncio.sleep(1)

    loop.run_until_complete(main())
    loop.close()
    assert diary.entries == []


def test_closing_ends_what_is_left() -> None:
    loop = VirtualLoop()
    diary = Diary(loop)

    async def works() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            diary("ended")
            asyncio.create_task(works())  # noqa: RUF006  it never runs

    async def main() -> None:
        for _ in range(3):
            asyncio.create_task(works())  # noqa: RUF006
        await asyncio.sleep(1)

    loop.run_until_complete(main())
    loop.close()
    assert diary.entries == [(1.0, "ended")] * 3
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_forever()


def test_the_same_program_runs_alike_in_every_process() -> None:
    """With another seed for the hashes of strings, and with everything at other addresses."""
    traces = []
    for hash_seed, ballast in (("0", "0"), ("1", "12345"), ("2", "777")):
        ran = subprocess.run(
            [sys.executable, "-m", tangle.__name__, ballast],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        traces.append(ran.stdout)
    assert traces[0].count("\n") > 500
    assert traces[1] == traces[0]
    assert traces[2] == traces[0]
