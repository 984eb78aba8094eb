"""Simulated processes: their clocks and chance, how they are paused, and with what they end."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from events.host import host
from tests.simulation.loop import VirtualLoop
from tests.simulation.process import EPOCH0, SimHost, SimProcess
from tests.simulation.tasks import PROCESS
from tests.simulation.victims import Wire, nothing_is_left, sleeps, until


def test_all_code_of_a_process_has_its_host(loop: VirtualLoop, process: SimProcess) -> None:
    seen: list[bool] = []

    def look() -> None:
        seen.append(host() is process.host and PROCESS.get() is process)

    async def main() -> None:
        look()
        loop.call_soon(look)
        loop.call_later(1.0, look)
        await loop.run_in_executor(None, look)
        await asyncio.to_thread(look)
        async with asyncio.TaskGroup() as group:
            group.create_task(beside())
        await asyncio.sleep(2)

    async def beside() -> None:
        look()

    process.spawn(beside())
    process.call(look)
    until(loop, 0.5)
    loop.run_until_complete(process.start(main()))
    assert seen == [True] * 8
    assert host() is not process.host
    assert PROCESS.get(None) is None


def test_chance_comes_from_seed_and_name(loop: VirtualLoop) -> None:
    def draws(seed: int, name: str) -> tuple[float, bytes, float, float]:
        host = SimHost(loop, name, seed=seed)
        return host.uniform(2.0, 3.0), host.token(8), host.monotonic(), host.boottime()

    assert draws(1, "a") == draws(1, "a")
    assert draws(1, "a") != draws(1, "b")
    assert draws(1, "a") != draws(2, "a")
    uniform, token, monotonic, boottime = draws(1, "a")
    assert 2.0 <= uniform <= 3.0
    assert len(token) == 8
    assert monotonic < boottime
    # The same in every process, whatever the seed of its hashes.
    assert SimHost(loop, "a", seed=1).token(4).hex() == "252b4dfd"


def test_clocks(loop: VirtualLoop) -> None:
    plain = SimHost(loop, "plain", seed=1)
    ahead = SimHost(loop, "ahead", seed=1, skew_s=5.0)
    fast = SimHost(loop, "fast", seed=1, drift=0.5)
    up, booted = plain.monotonic(), plain.boottime()
    assert (plain.wall(), ahead.wall(), fast.wall()) == (EPOCH0, EPOCH0 + 5, EPOCH0)
    until(loop, 10.0)
    assert (plain.wall(), ahead.wall(), fast.wall()) == (EPOCH0 + 10, EPOCH0 + 15, EPOCH0 + 15)
    plain.step_clock(-100.0)
    fast.drift_clock(0.0)
    assert (plain.wall(), fast.wall()) == (EPOCH0 - 90, EPOCH0 + 15)
    until(loop, 20.0)
    assert (plain.wall(), fast.wall()) == (EPOCH0 - 80, EPOCH0 + 25)
    assert plain.monotonic() - up == pytest.approx(20)
    assert plain.boottime() - booted == pytest.approx(20)


def test_what_comes_up_during_a_pause_waits_in_order(loop: VirtualLoop, process: SimProcess) -> None:
    wire = Wire(process)
    message: asyncio.Future[str] = loop.create_future()

    async def reader() -> None:
        wire.send(await message)

    async def ticker() -> None:
        for number in range(1, 5):
            await asyncio.sleep(1)
            wire.send(f"tick {number}")

    process.spawn(reader())
    process.spawn(ticker())
    process.loop.call_at(3.0, wire.send, "timer 3", context=process.context)
    process.loop.call_at(2.5, wire.send, "timer 2.5", context=process.context)
    loop.call_at(1.5, process.pause)
    loop.call_at(2.7, message.set_result, "message")
    loop.call_at(2.8, process.call, wire.send, "call")
    loop.call_at(4.5, wire.send, "the world")
    loop.call_at(5.0, process.resume)
    until(loop, 10.0)
    assert wire.seen == [
        (1.0, "tick 1"),
        (4.5, "the world"),
        (5.0, "timer 2.5"),
        (5.0, "message"),
        (5.0, "call"),
        (5.0, "timer 3"),
        (5.0, "tick 2"),  # due before all of them, but a sleep takes a second turn
        (6.0, "tick 3"),
        (7.0, "tick 4"),
    ]


def test_a_pause_within_a_turn_keeps_the_order(loop: VirtualLoop, process: SimProcess) -> None:
    wire = Wire(process)
    process.pause()
    process.call(wire.send, "a")
    loop.call_soon(process.resume)
    process.call(wire.send, "b")
    until(loop, 1.0)
    assert wire.seen == [(0.0, "a"), (0.0, "b")]


def test_a_process_that_pauses_itself_finishes_its_callback(loop: VirtualLoop, process: SimProcess) -> None:
    wire = Wire(process)

    async def main() -> None:
        process.pause()
        process.pause()
        wire.send("still running")
        await asyncio.sleep(0)
        wire.send("resumed")

    process.start(main())
    loop.call_at(3.0, process.resume)
    loop.call_at(3.0, process.resume)
    until(loop, 5.0)
    assert wire.seen == [(0.0, "still running"), (3.0, "resumed")]


def test_a_cancelled_timer_stays_cancelled_when_it_was_parked(loop: VirtualLoop, process: SimProcess) -> None:
    wire = Wire(process)
    timer = loop.call_at(1.0, wire.send, "timer", context=process.context)
    process.pause()
    until(loop, 2.0)
    timer.cancel()
    process.resume()
    until(loop, 3.0)
    assert wire.seen == []


def test_a_timeout_that_ran_out_during_a_pause(loop: VirtualLoop, process: SimProcess) -> None:
    """What came in time but after the timeout's moment had passed loses, as on a real loop."""
    wire = Wire(process)

    async def main() -> None:
        try:
            async with asyncio.timeout(1.0):
                await asyncio.sleep(1.5)
        except TimeoutError:
            wire.send("timed out")

    process.start(main())
    process.loop.call_at(0.5, process.pause)
    process.loop.call_at(4.0, process.resume)
    until(loop, 5.0)
    assert wire.seen == [(4.0, "timed out")]


def test_a_death_is_announced_in_order_and_in_the_world(loop: VirtualLoop, process: SimProcess) -> None:
    heard: list[object] = []

    async def main() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            heard.append("cleaned up")

    for name in ("bus", "link"):
        process.on_death(lambda name=name: heard.append((name, PROCESS.get(None), process.alive, process.code)))  # type: ignore[misc]
    process.start(main())
    killer = SimProcess(loop, process.host, "killer")
    killer.call(process.kill)
    until(loop, 1.0)
    killer.kill()
    assert heard == [("bus", None, False, -9), ("link", None, False, -9), "cleaned up"]
    process.on_death(lambda: heard.append("late"))
    assert heard[-1] == "late"


async def returns(result: object) -> object:
    await asyncio.sleep(1)
    return result


async def raises(exception: BaseException) -> None:
    await asyncio.sleep(1)
    raise exception


@pytest.mark.parametrize(
    ("main", "code", "reported"),
    [
        (lambda: returns(3), 3, None),
        (lambda: returns(None), 0, None),
        (lambda: returns("text"), 0, None),
        (lambda: raises(SystemExit(4)), 4, None),
        (lambda: raises(SystemExit()), 0, None),
        (lambda: raises(SystemExit("usage")), 1, None),
        (lambda: raises(ValueError("on purpose")), 1, ValueError),
        (lambda: raises(asyncio.CancelledError()), 1, asyncio.CancelledError),
    ],
)
def test_a_process_ends_with_its_main_coroutine(
    main: Callable[[], Coroutine[Any, Any, object]], code: int, reported: type[BaseException] | None
) -> None:
    loop = VirtualLoop()
    process = SimProcess(loop, SimHost(loop, "machine", seed=1), "process")
    process.start(main())
    deaths: list[float] = []
    process.on_death(lambda: deaths.append(loop.time()))

    async def outside() -> int:
        return await process.wait()

    assert loop.run_until_complete(outside()) == process.code == code
    assert not process.alive
    assert deaths == [1.0]
    until(loop, 5.0)
    assert nothing_is_left(loop)
    loop.close()
    assert [type(error.exception) for error in loop.unhandled] == ([reported] if reported else [])
    assert [error.process for error in loop.unhandled] == (["process"] if reported else [])


def test_what_is_left_at_the_end_is_cancelled_and_waited_for(loop: VirtualLoop, process: SimProcess) -> None:
    wire = Wire(process)

    async def beside() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(2)
            wire.send("cleaned up")

    async def main() -> int:
        asyncio.create_task(beside())  # noqa: RUF006  its end is the loop's business
        return await asyncio.sleep(1, 5)

    process.start(main())

    async def outside() -> int:
        return await process.wait()

    assert loop.run_until_complete(outside()) == 5
    assert wire.seen == [(3.0, "cleaned up")]
    assert wire.after_death == []


def test_a_failure_at_the_end_is_reported() -> None:
    loop = VirtualLoop()
    process = SimProcess(loop, SimHost(loop, "machine", seed=1), "process")

    async def beside() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            raise ValueError("on purpose")

    async def main() -> None:
        asyncio.create_task(beside())  # noqa: RUF006
        await asyncio.sleep(1)

    process.start(main())
    until(loop, 2.0)
    loop.close()
    assert [(error.process, str(error.exception)) for error in loop.unhandled] == [("process", "on purpose")]


def test_a_process_has_one_main_coroutine(process: SimProcess) -> None:
    process.start(returns(0))
    second = returns(0)
    with pytest.raises(RuntimeError, match="started already"):
        process.start(second)
    second.close()


def test_any_number_may_wait_for_an_end(loop: VirtualLoop, process: SimProcess) -> None:
    async def patient() -> int:
        return await process.wait()

    async def impatient() -> int:
        try:
            async with asyncio.timeout(1):
                return await process.wait()
        except TimeoutError:
            return 0

    async def outside() -> list[int]:
        return list(await asyncio.gather(patient(), impatient(), patient()))

    process.start(sleeps(Wire(process)))
    loop.call_at(3.5, process.kill)
    assert loop.run_until_complete(outside()) == [-9, 0, -9]
    assert loop.run_until_complete(patient()) == -9


def test_who_gave_up_waiting_is_forgotten(process: SimProcess) -> None:
    for _ in range(100):
        process.wait().cancel()
    assert len(process._waiters) == 1
