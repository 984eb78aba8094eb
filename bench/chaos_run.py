"""What deaths cost a run: 200 tests of 100 ms on three workers, an agent killed every two seconds, against none killed.

A coordinator and its workers as separate processes, with the default policy, and their pytest processes warm. The time
is that from the submission to the last verdict. `.venv/bin/python bench/chaos_run.py --tests 200 --rounds 2`
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from itertools import count
from typing import NamedTuple

from _harness import folder, measuring, ratio, run, show

from events.policy import Policy
from events.task import TaskCompleted, TaskRequeued
from events.work import AnyWork, PytestWork, Suite
from events.worker import WorkerFailed, WorkerRecoverySucceeded
from tests.chaos.farm import Farm

WORKERS = 3
TEST_S = 0.1
KILL_EVERY_S = 2.0
WARM_UP_S = 1.5
RUN_S_MAX = 60.0
TESTS = """
import time
import pytest

@pytest.mark.parametrize("number", range({tests}))
def test_lasts(number):
    time.sleep({seconds})
"""


class Run(NamedTuple):
    took: float
    deaths: int
    recoveries: int
    requeued: int
    verdicts: Counter[str]
    """Of all that was recorded: a verdict too many would show."""


async def kill_in_turn(farm: Farm) -> None:
    for number in count():
        await asyncio.sleep(KILL_EVERY_S)
        await farm.kill_agent(f"w{number % WORKERS + 1}")


async def one_run(tests: int, *, killing: bool) -> Run:
    with folder() as place:
        async with Farm(place, Policy()) as farm:
            (farm.shop.folder / "test_lasts.py").write_text(TESTS.format(tests=tests, seconds=TEST_S))
            suite = Suite(
                python=sys.executable, cwd=str(farm.shop.folder), args=("-p", "no:cacheprovider", "test_lasts.py")
            )
            await farm.start_coordinator()
            warm = json.dumps({"python": suite.python, "cwd": suite.cwd, "args": suite.args})
            for number in range(1, WORKERS + 1):
                farm.launch_worker(f"w{number}", "--warm-suite", warm)
            for number in range(1, WORKERS + 1):
                await farm.registered(f"w{number}", 0)
            await asyncio.sleep(WARM_UP_S)
            works: list[AnyWork] = [
                PytestWork(suite=suite, node_id=f"test_lasts.py::test_lasts[{number}]") for number in range(tests)
            ]
            began = time.perf_counter()
            await farm.submit(works)
            blows = asyncio.create_task(kill_in_turn(farm)) if killing else None
            await farm.verdicts(within_s=RUN_S_MAX)
            took = time.perf_counter() - began
            if blows is not None:
                blows.cancel()
                await asyncio.gather(blows, return_exceptions=True)
            await farm.stop()
            kinds = Counter(type(one.event) for one in await farm.records())
            completed = [one.event for one in await farm.events(TaskCompleted)]
            return Run(
                took=took,
                deaths=kinds[WorkerFailed],
                recoveries=kinds[WorkerRecoverySucceeded],
                requeued=kinds[TaskRequeued],
                verdicts=Counter(event.verdict for event in completed if isinstance(event, TaskCompleted)),
            )


def told(one: Run) -> str:
    verdicts = ", ".join(f"{number} {verdict}" for verdict, number in one.verdicts.items())
    return f"{verdicts}; {one.deaths} deaths, {one.recoveries} recoveries, {one.requeued} requeued"


async def measure(tests: int, rounds: int) -> None:
    calm, hurt = [], []
    for _ in range(rounds):
        for runs, killing in ((calm, False), (hurt, True)):
            runs.append(await one_run(tests, killing=killing))
            print(f"{'with' if killing else 'without'} deaths: {runs[-1].took:.2f} s; {told(runs[-1])}", flush=True)
    show("no work but the tests' own", [tests * TEST_S / WORKERS])
    show("without deaths", [one.took for one in calm])
    show(f"an agent killed every {KILL_EVERY_S:g} s", [one.took for one in hurt])
    print(f"with deaths / without: {ratio([one.took for one in hurt], [one.took for one in calm]):.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tests", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    with measuring("A run under fire; target: under 10 s, every test with one verdict"):
        run(measure(arguments.tests, arguments.rounds))
