"""The end of a simulated process: nothing of it is left, and it has no effect any more."""

import asyncio
import contextlib
import gc
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from events.host import host
from tests.simulation.loop import VirtualLoop
from tests.simulation.process import SimHost, SimProcess
from tests.simulation.tasks import close
from tests.simulation.victims import PROGRAMS, Wire, holds_a_lock, nothing_is_left, sleeps, until, uses_anyio

RESTARTS = 5_000

programs = pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)


@programs
@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
def test_a_killed_process_has_no_effect_any_more(
    loop: VirtualLoop, process: SimProcess, program: Callable[[Wire], Coroutine[Any, Any, None]], paused: bool
) -> None:
    wire = Wire(process)
    process.start(program(wire))
    if paused:
        until(loop, 2.2)
        process.pause()
    until(loop, 2.5)
    assert wire.seen
    wire.seen.clear()
    process.kill()
    at_once = len(wire.after_death)
    assert not process.alive
    assert process.code == -signal.SIGKILL
    assert [handle for handle in loop._ready if handle.domain is process] == []
    gc.collect()
    until(loop, 20.0)
    assert wire.seen == []
    assert len(wire.after_death) == at_once
    assert nothing_is_left(loop)
    assert asyncio.all_tasks(loop) == set()


@programs
@pytest.mark.parametrize("moment", [0.0, 0.5, 1.0, 2.0])
def test_a_process_may_be_killed_in_the_middle_of_a_turn(
    loop: VirtualLoop, process: SimProcess, program: Callable[[Wire], Coroutine[Any, Any, None]], moment: float
) -> None:
    """With callbacks of its own before and behind, and with what its timers set off not yet done."""
    wire = Wire(process)
    loop.call_at(moment, loop.call_soon, process.kill)
    process.start(program(wire))
    until(loop, 20.0)
    assert all(at <= moment for at, _ in wire.seen)
    assert nothing_is_left(loop)


def test_a_process_killed_before_its_first_step(loop: VirtualLoop, process: SimProcess) -> None:
    wire = Wire(process)
    process.start(sleeps(wire))
    process.kill()
    until(loop, 5.0)
    assert wire.seen == []
    assert nothing_is_left(loop)


@pytest.mark.parametrize("end", [SimProcess.kill, lambda process: process.exit(70)], ids=["kill", "exit"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_process_that_ends_itself_gets_no_further_than_its_next_await(
    loop: VirtualLoop, process: SimProcess, end: Callable[[SimProcess], None], nested: bool
) -> None:
    wire = Wire(process)

    async def ends_itself() -> None:
        await asyncio.sleep(1)
        end(process)
        wire.send("running on")
        await asyncio.sleep(0)
        wire.send("awaited")

    async def calls_it() -> None:
        await ends_itself()

    process.spawn(sleeps(wire))
    process.start(calls_it() if nested else ends_itself())
    until(loop, 5.0)
    assert wire.seen == [(1.0, "tick")]
    assert wire.after_death == ["running on"]
    assert process.code in {-9, 70}
    assert nothing_is_left(loop)


def test_processes_may_kill_each_other_while_they_are_cleaned_up(loop: VirtualLoop, machine: SimHost) -> None:
    first, second = SimProcess(loop, machine, "first"), SimProcess(loop, machine, "second")
    wire = Wire(second)

    async def takes_the_other_along() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            second.kill()

    first.start(takes_the_other_along())
    second.start(sleeps(wire))
    until(loop, 1.5)
    first.kill()
    until(loop, 5.0)
    assert wire.seen == [(1.0, "tick")]
    assert nothing_is_left(loop)


def test_the_dead_take_no_orders(loop: VirtualLoop, process: SimProcess) -> None:
    wire = Wire(process)
    process.kill()
    process.kill()
    process.pause()
    process.resume()
    process.call(wire.send, "call")
    process.spawn(sleeps(wire))
    loop.call_later(1.0, wire.send, "timer", context=process.context).cancel()
    until(loop, 5.0)
    assert wire.seen == []
    assert wire.after_death == []
    assert nothing_is_left(loop)


def test_what_cannot_be_closed_is_an_error() -> None:
    async def immortal() -> None:
        for _ in range(1000):
            with contextlib.suppress(BaseException):
                await asyncio.sleep(0)

    coroutine = immortal()
    coroutine.send(None)
    with pytest.raises(RuntimeError, match=r"immortal goes on waiting"):
        close(coroutine)
    with contextlib.suppress(StopIteration):
        while True:
            coroutine.send(None)


def test_what_the_dead_waited_for_is_not_cancelled(loop: VirtualLoop, process: SimProcess) -> None:
    worlds: asyncio.Future[str] = loop.create_future()

    async def waits_for_it() -> None:
        await worlds

    async def waits() -> None:
        async with asyncio.TaskGroup() as group:  # whose end cancels its tasks
            group.create_task(waits_for_it())
            await asyncio.sleep(10)

    process.start(waits())
    until(loop, 1.0)
    process.kill()
    worlds.set_result("for somebody else")
    assert loop.run_until_complete(worlds) == "for somebody else"


def test_cleaning_up_sees_its_own_task_and_host(loop: VirtualLoop, process: SimProcess) -> None:
    seen: list[object] = []

    async def main() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            seen.extend([asyncio.current_task(), host()])

    async def kill() -> asyncio.Task[None] | None:
        await asyncio.sleep(1)
        process.kill()
        return asyncio.current_task()

    started = process.start(main())
    killer: asyncio.Task[object] = loop.create_task(kill())
    assert loop.run_until_complete(killer) is killer
    assert seen == [started, process.host]


async def fails() -> None:
    await asyncio.sleep(1)
    raise ValueError("on purpose")


@pytest.mark.parametrize("turns", range(8))
def test_a_failure_that_met_a_kill_is_not_reported(loop: VirtualLoop, machine: SimHost, turns: int) -> None:
    """Whether the kill comes before it, behind it, or on its way to whoever waits for it."""

    async def main() -> None:
        kept = asyncio.create_task(fails())
        with contextlib.suppress(ValueError):
            await asyncio.gather(fails(), asyncio.sleep(5))
        await asyncio.sleep(5)
        await kept

    async def kill() -> None:
        process = SimProcess(loop, machine, "process")
        process.start(main())
        await asyncio.sleep(1)
        for _ in range(turns):
            await asyncio.sleep(0)
        process.kill()

    loop.run_until_complete(kill())
    gc.collect()


def test_a_failure_of_the_living_is_reported() -> None:
    loop = VirtualLoop()
    process = SimProcess(loop, SimHost(loop, "machine", seed=1), "process")
    process.spawn(fails())
    until(loop, 2.0)
    process.kill()
    loop.close()
    assert [(error.at, error.process) for error in loop.unhandled] == [(1.0, "process")]


def test_thousands_of_restarts_leave_nothing_behind(loop: VirtualLoop, machine: SimHost) -> None:
    """By what the collector can reach; the loop's own collections are part of what is measured."""
    counts: list[int] = []
    # anyio keeps the scopes of each task whose `finally` blocks did not come to their end.
    choice = [program for program in PROGRAMS if program is not uses_anyio]

    async def program(wire: Wire, number: int) -> None:
        loop.call_later(1e6, wire.send, "never")
        async with asyncio.TaskGroup() as group:
            group.create_task(choice[number % len(choice)](wire))
            group.create_task(holds_a_lock(wire))

    async def restarts() -> None:
        for number in range(RESTARTS):
            process = SimProcess(loop, machine, f"process {number}")
            process.start(program(Wire(process), number))
            await asyncio.sleep(machine.uniform(0.0, 3.0))
            process.kill()
            if number % 1000 == 999:
                gc.collect()
                counts.append(len(gc.get_objects()))
                assert len(loop._timers) < 100
                assert len(asyncio.all_tasks(loop)) == 1

    loop.run_until_complete(restarts())
    assert max(counts[1:]) - counts[0] < 500
