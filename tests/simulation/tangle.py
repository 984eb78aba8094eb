"""A program full of what could differ between two runs of it. `test_loop.py` runs it in several processes.

Tasks and futures lie in sets, processes are paused and killed at random, and every step is printed with its moment.
"""

import asyncio
import random
import sys
from collections.abc import Callable

from events.host import host
from tests.simulation.loop import VirtualLoop
from tests.simulation.process import SimHost, SimProcess

WORKERS = 5
END_S = 60.0

Print = Callable[[str], None]


async def doze(say: Print, name: str) -> str:
    try:
        async with asyncio.timeout(host().uniform(0.0, 1.5)):
            await asyncio.sleep(host().uniform(0.0, 2.0))
    except TimeoutError:
        say(f"{name} timed out")
    except asyncio.CancelledError:
        say(f"{name} was cancelled")
        raise
    return name


async def fail(after_s: float) -> None:
    await asyncio.sleep(after_s)
    raise ValueError(after_s)


def settle(future: asyncio.Future[int], result: int) -> None:
    if not future.done():
        future.set_result(result)


async def sets(say: Print) -> None:
    """Whatever is done to a set of tasks is done in the order of the set."""
    loop = asyncio.get_running_loop()
    tasks = {asyncio.create_task(doze(say, f"set {number}")) for number in range(7)}
    futures = {loop.create_future() for _ in range(7)}
    for number, future in enumerate(futures):
        loop.call_later(0.1 * number, settle, future, number)
    done, pending = await asyncio.wait(tasks | futures, timeout=0.5)
    for each in done:
        say(f"done {each.result()}")
    for each in pending:
        each.cancel()
    await asyncio.gather(*pending, return_exceptions=True)


async def group(say: Print) -> None:
    try:
        async with asyncio.TaskGroup() as tasks:
            for number in range(5):
                tasks.create_task(doze(say, f"group {number}"))
            tasks.create_task(fail(host().uniform(0.0, 2.0)))
    except* ValueError as errors:
        say(f"group failed: {errors.exceptions}")


async def race(say: Print) -> None:
    tasks = [asyncio.create_task(doze(say, f"race {number}")) for number in range(5)]
    for first in asyncio.as_completed(tasks):
        say(f"next is {await first}")
    say(await asyncio.to_thread(lambda: f"{asyncio.current_task()!r:.20} {host().token(4).hex()}"))


async def live(say: Print) -> int:
    """The main coroutine of a process."""
    for number in range(100):
        await asyncio.gather(sets(say), group(say), race(say))
        say(f"round {number} of {host().wall():.6f} {host().monotonic():.6f} {host().boottime():.6f}")
        if host().uniform(0.0, 1.0) < 0.1:
            return number
    return 0


async def torment(loop: VirtualLoop, hosts: list[SimHost], say: Callable[[str], Print]) -> None:
    rng = random.Random(7)
    processes = [SimProcess(loop, each, each.name) for each in hosts]
    for process in processes:
        process.start(live(say(process.name)))
    while loop.time() < END_S:
        await asyncio.sleep(rng.uniform(0.0, 1.0))
        at = rng.randrange(len(processes))
        process = processes[at]
        if not process.alive:
            say("world")(f"{process.name} ended with {process.code}")
            processes[at] = process = SimProcess(loop, process.host, process.name)
            process.start(live(say(process.name)))
        elif process.paused:
            process.resume()
        elif rng.random() < 0.5:
            process.pause()
        else:
            process.kill()


def main() -> None:
    ballast = [object() for _ in range(int(sys.argv[1]))]
    loop = VirtualLoop(collect_every=5_000)
    hosts = [SimHost(loop, f"host-{number}", seed=1) for number in range(WORKERS)]

    def say(name: str) -> Print:
        return lambda text: print(f"{loop.time():.9f} {name}: {text}")

    loop.run_until_complete(torment(loop, hosts, say))
    loop.close()
    print(loop.callbacks, loop.unhandled, loop.number())
    del ballast


if __name__ == "__main__":
    main()
