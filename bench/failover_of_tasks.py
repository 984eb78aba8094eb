"""How long a task is nobody's after its worker has failed: from the blow to its second start, on another worker.

A coordinator and its workers as separate processes, with the default policy. Broker timestamps against the wall clock
of the blow, on one machine. `.venv/bin/python bench/failover_of_tasks.py --kills 8 --stops 2 --losses 4 --silences 1`
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from _harness import folder, measuring, run, show

from events.policy import Policy
from events.task import TaskCompleted, TaskStarted
from events.work import AnyWork, PytestWork, Suite
from events.worker import WorkerFailed, WorkerRecoverySucceeded
from tests.chaos.farm import Farm

POLICY = Policy()
SETTLE_S = 0.3
TESTS = """
import pytest
import task

@pytest.mark.parametrize("number", range(100))
def test_waits(number):
    task.act(f"test_waits_{number}", "wait")
"""


class Blow(NamedTuple):
    title: str
    target: str
    strike: Callable[[Farm, str], Awaitable[None]]
    within_s: float
    comes_back: bool


async def kill_agent(farm: Farm, name: str) -> None:
    (await farm.agent(name)).kill()


async def stop_agent(farm: Farm, name: str) -> None:
    (await farm.agent(name)).suspend()


async def stop_worker(farm: Farm, name: str) -> None:
    agent = await farm.agent(name)
    farm.supervisor(name).suspend()
    agent.suspend()


async def kill_worker(farm: Farm, name: str) -> None:
    """Nobody is left who could report it."""
    agent = await farm.agent(name)
    farm.supervisor(name).suspend()
    agent.kill()
    farm.members[name].process.kill()


KILL = Blow("SIGKILL of the agent", "median under 0.1 s", kill_agent, 10, comes_back=True)
STOP = Blow("SIGSTOP of the agent", "under 3 s", stop_agent, 10, comes_back=True)
SILENCE = Blow(
    "SIGSTOP of agent and supervisor",
    f"within {POLICY.failed_after + 1:g} s",
    stop_worker,
    POLICY.failed_after + 15,
    comes_back=False,
)


LOSS = Blow(
    "SIGKILL of supervisor and agent",
    f"within {POLICY.reconnect_grace + 0.2:g} s",
    kill_worker,
    POLICY.failed_after + 15,
    comes_back=False,
)


class Figures(NamedTuple):
    """Seconds from the blow."""

    failed: float
    started: float
    recovered: float | None


async def once(farm: Farm, blow: Blow, work: AnyWork, word: str) -> Figures:
    """Each blow meets another worker: one that has failed before would wait before it is brought back."""
    [task_id] = await farm.submit([work])
    first = await farm.running(task_id)
    await asyncio.sleep(SETTLE_S)
    after = await farm.log.last_sequence()
    struck_at = time.time()
    await blow.strike(farm, first.worker_id)
    failed = await farm.seen(WorkerFailed, blow.within_s, after=after, worker_id=first.worker_id)
    second = await farm.seen(TaskStarted, blow.within_s, after=after, task_id=task_id)
    assert isinstance(second.event, TaskStarted)
    assert second.event.worker_id != first.worker_id
    recovered = None
    if blow.comes_back:
        found = await farm.seen(WorkerRecoverySucceeded, 30, after=after, worker_id=first.worker_id)
        recovered = found.time - struck_at
    farm.shop.say_go(word)
    await farm.seen(TaskCompleted, after=after, task_id=task_id, verdict="passed")
    if blow is LOSS:
        farm.launch_worker(first.worker_id)
        await farm.registered(first.worker_id, second.sequence)
    elif not blow.comes_back:
        # It wakes up, sees that it was given up, and begins anew.
        farm.supervisor(first.worker_id).resume()
        (await farm.agent(first.worker_id)).resume()
        await farm.registered(first.worker_id, second.sequence)
    return Figures(failed.time - struck_at, second.time - struck_at, recovered)


def print_figures(blow: Blow, what: str, figures: list[Figures]) -> None:
    print(f"{blow.title}, {what}; target: {blow.target}")
    show("  to WorkerFailed", [one.failed for one in figures])
    show("  to the task's second start", [one.started for one in figures])
    if blow.comes_back:
        show("  to WorkerRecoverySucceeded", [one.recovered for one in figures if one.recovered is not None])


async def measure(kills: int, stops: int, losses: int, silences: int) -> None:
    blows = kills + stops + losses + silences
    with folder() as place:
        async with Farm(place, POLICY) as farm:
            (farm.shop.folder / "test_waits.py").write_text(TESTS)
            suite = Suite(
                python=sys.executable, cwd=str(farm.shop.folder), args=("-p", "no:cacheprovider", "test_waits.py")
            )
            await farm.start_coordinator()
            warm = json.dumps({"python": suite.python, "cwd": suite.cwd, "args": suite.args})
            names = [f"w{number}" for number in range(1, blows + 2)]
            for name in names:
                farm.launch_worker(name, "--warm-suite", warm)
            for name in names:
                await farm.registered(name, 0, 30)
            await asyncio.sleep(2)  # until all of them have their suite
            number = 0
            plan = ((KILL, kills, True), (STOP, stops, False), (LOSS, losses, False), (SILENCE, silences, False))
            for blow, count, pytest_too in plan:
                commands, tests = [], []
                for turn in range(count):
                    number += 1
                    if pytest_too and turn % 2:
                        work = PytestWork(suite=suite, node_id=f"test_waits.py::test_waits[{number}]")
                        tests.append(await once(farm, blow, work, f"test_waits_{number}"))
                    else:
                        word = f"command-{number}"
                        commands.append(await once(farm, blow, farm.shop.command("wait", word), word))
                for what, figures in (("a command runs", commands), ("a warm pytest runs a test", tests)):
                    if figures:
                        print_figures(blow, what, figures)
            if farm.shop.overlaps():
                print(f"two attempts ran at one time: {farm.shop.overlaps()}")
            await farm.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--stops", type=int, default=2)
    parser.add_argument("--losses", type=int, default=4)
    parser.add_argument("--silences", type=int, default=1)
    arguments = parser.parse_args()
    with measuring("From a worker's failure to the second start of its task"):
        run(measure(arguments.kills, arguments.stops, arguments.losses, arguments.silences))
