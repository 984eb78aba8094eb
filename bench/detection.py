"""How soon a failed worker is found out, and how long its task is nobody's: from the blow to `WorkerFailed` and to the
task's second start, on another worker, each against its limit.

A coordinator and its workers as separate processes, with the default policy. Broker timestamps against the wall clock
of the blow, on one machine.
`.venv/bin/python bench/detection.py --kills 12 --stops 3 --losses 4 --offs 3 --takeovers 2`
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from _harness import folder, measuring, run, show

from events.policy import Policy
from events.system import LeaderElected
from events.task import TaskCompleted, TaskStarted
from events.work import AnyWork, PytestWork, Suite
from events.worker import WorkerFailed, WorkerRecoverySucceeded
from tests.chaos.farm import Farm
from tests.chaos.told import check_apart
from tests.chaos.wired import Victim, WiredFarm

POLICY = Policy()
SETTLE_S = 0.3
WARM_UP_S = 2.0
APART_S = 3.0
"""Between two workers that lose their power: a farm that falls silent in one moment is another matter."""
SILENCE_S_MAX = POLICY.failed_after * 3
TESTS = """
import pytest
import task

@pytest.mark.parametrize("number", range(100))
def test_waits(number):
    task.act(f"test_waits_{number}", "wait")
"""


class Limits(NamedTuple):
    """Seconds from the blow; None: none was set."""

    failed: float
    started: float | None = None


class Blow(NamedTuple):
    title: str
    limits: Limits
    strike: Callable[[Farm, str], Awaitable[None]]
    comes_back: bool


async def kill_agent(farm: Farm, name: str) -> None:
    (await farm.agent(name)).kill()


async def stop_agent(farm: Farm, name: str) -> None:
    (await farm.agent(name)).suspend()


async def kill_worker(farm: Farm, name: str) -> None:
    """Nobody is left who could report it."""
    agent = await farm.agent(name)
    farm.supervisor(name).suspend()
    agent.kill()
    farm.members[name].process.kill()


KILL = Blow("SIGKILL of the agent", Limits(0.020, 0.050), kill_agent, comes_back=True)
STOP = Blow("SIGSTOP of the agent", Limits(POLICY.watchdog_after + 0.5), stop_agent, comes_back=True)
LOSS = Blow("SIGKILL of supervisor and agent", Limits(POLICY.reconnect_grace + 0.2), kill_worker, comes_back=False)
OFF = Limits(POLICY.failed_after + 1.0)
TAKE_OVER = Limits(POLICY.failed_after + 2.0)


class Figures(NamedTuple):
    """Seconds from the blow."""

    failed: float
    started: float
    recovered: float | None = None


async def once(farm: Farm, blow: Blow, work: AnyWork, word: str) -> Figures:
    """Each blow meets another worker: one that has failed before would wait before it is brought back."""
    [task_id] = await farm.submit([work])
    first = await farm.running(task_id)
    await asyncio.sleep(SETTLE_S)
    after = await farm.log.last_sequence()
    struck_at = time.time()
    await blow.strike(farm, first.worker_id)
    failed = await farm.seen(WorkerFailed, SILENCE_S_MAX, after=after, worker_id=first.worker_id)
    second = await farm.seen(TaskStarted, SILENCE_S_MAX, after=after, task_id=task_id)
    assert isinstance(second.event, TaskStarted)
    assert second.event.worker_id != first.worker_id
    recovered = None
    if blow.comes_back:
        found = await farm.seen(WorkerRecoverySucceeded, 30, after=after, worker_id=first.worker_id)
        recovered = found.time - struck_at
    farm.shop.say_go(word)
    await farm.seen(TaskCompleted, after=after, task_id=task_id, verdict="passed")
    return Figures(failed.time - struck_at, second.time - struck_at, recovered)


def print_figures(title: str, limits: Limits, figures: list[Figures]) -> None:
    if not figures:
        return
    print(title)
    show_against("  to WorkerFailed", [one.failed for one in figures], limits.failed)
    show_against("  to the task's second start", [one.started for one in figures], limits.started)
    recovered = [one.recovered for one in figures if one.recovered is not None]
    if recovered:
        show("  to WorkerRecoverySucceeded", recovered)


def show_against(name: str, values: list[float], limit: float | None) -> None:
    note = "" if limit is None else f"{statistics.median(values) / limit:.2f} of the limit, {limit:g} s"
    show(name, values, note=note)


async def measure_reported(kills: int, stops: int, losses: int) -> None:
    """On one machine, where something is always left that can tell."""
    with folder() as place:
        async with Farm(place, POLICY) as farm:
            (farm.shop.folder / "test_waits.py").write_text(TESTS)
            suite = Suite(
                python=sys.executable, cwd=str(farm.shop.folder), args=("-p", "no:cacheprovider", "test_waits.py")
            )
            await farm.start_coordinator()
            warm = json.dumps({"python": suite.python, "cwd": suite.cwd, "args": suite.args})
            names = [f"w{number}" for number in range(1, kills + stops + losses + 2)]
            for name in names:
                farm.launch_worker(name, "--warm-suite", warm)
            for name in names:
                await farm.registered(name, 0, 30)
            await asyncio.sleep(WARM_UP_S)
            number = 0
            for blow, count, pytest_too in ((KILL, kills, True), (STOP, stops, False), (LOSS, losses, False)):
                commands, tests = [], []
                for turn in range(count):
                    number += 1
                    if pytest_too and turn % 2:
                        work = PytestWork(suite=suite, node_id=f"test_waits.py::test_waits[{number}]")
                        tests.append(await once(farm, blow, work, f"test_waits_{number}"))
                    else:
                        word = f"command-{number}"
                        commands.append(await once(farm, blow, farm.shop.command("wait", word), word))
                print_figures(f"{blow.title}; a command runs", blow.limits, commands)
                print_figures(f"{blow.title}; a warm pytest runs a test", blow.limits, tests)
            if farm.shop.overlaps():
                print(f"two attempts ran at one time: {farm.shop.overlaps()}")
            await farm.stop()


async def lose(farm: WiredFarm, victim: Victim, *, dead: bool) -> tuple[Figures, float]:
    """Cuts a worker off, without a FIN; a dead one is killed as well, as if its machine had lost power. For how many
    seconds nobody ran its task, by the task's own stamps, is the second figure."""
    struck_at = time.time()
    farm.cables[victim.worker_id].cut()
    if dead:
        victim.kill()
    failed = await farm.seen(WorkerFailed, SILENCE_S_MAX, after=victim.since, worker_id=victim.worker_id)
    second = await farm.seen(TaskStarted, SILENCE_S_MAX, after=failed.sequence, task_id=victim.task_id)
    await farm.passes(victim, runs=2)
    farm.cables[victim.worker_id].mend()
    gap = check_apart(farm.shop.folder, victim.word, runs=2)
    return Figures(failed.time - struck_at, second.time - struck_at), gap


async def lose_later(farm: WiredFarm, victim: Victim, turn: int, *, dead: bool) -> tuple[Figures, float]:
    await asyncio.sleep(APART_S * turn)
    return await lose(farm, victim, dead=dead)


async def measure_silent(offs: int) -> None:
    """Each worker alone on its machine, so that only its silence tells."""
    with folder() as place:
        async with WiredFarm(place, POLICY, alone=True) as farm:
            await farm.start(workers=2 * offs)
            victims = [await farm.victim(f"silent-{number}") for number in range(2 * offs)]
            await farm.start_workers("wide", slots=2 * offs)
            await asyncio.sleep(WARM_UP_S)
            for title, dead in (("Power off, without a FIN", True), ("Cut off, and alive", False)):
                chosen = [victims.pop() for _ in range(offs)]
                lost = [lose_later(farm, victim, turn, dead=dead) for turn, victim in enumerate(chosen)]
                found = await asyncio.gather(*lost)
                print_figures(title, OFF, [figures for figures, _ in found])
                show("  nobody ran the task for", [gap for _, gap in found])
            await farm.stop()


async def measure_take_over() -> tuple[float, float]:
    """Seconds from a worker's death, while nobody leads, to `WorkerFailed`; and from the election to there."""
    with folder() as place:
        async with WiredFarm(place, POLICY, alone=True) as farm:
            await farm.start(workers=2)
            victim = await farm.victim("orphan")
            await asyncio.sleep(WARM_UP_S)
            leader = farm.members["c1"]
            leader.process.kill()
            await leader.ended()
            after = await farm.log.last_sequence()
            struck_at = time.time()
            farm.cables[victim.worker_id].cut()
            victim.kill()
            await farm.start_coordinator("c1")
            elected = await farm.seen(LeaderElected, after=after)
            failed = await farm.seen(WorkerFailed, SILENCE_S_MAX, after=after, worker_id=victim.worker_id)
            await farm.passes(victim, runs=2)
            await farm.stop()
            return failed.time - struck_at, failed.time - elected.time


async def measure(kills: int, stops: int, losses: int, offs: int, takeovers: int) -> None:
    if kills + stops + losses:
        await measure_reported(kills, stops, losses)
    if offs:
        await measure_silent(offs)
    if takeovers:
        found = [await measure_take_over() for _ in range(takeovers)]
        print("Power off while nobody leads; the next leader is the one that was killed, started again")
        show_against("  from the worker's death to WorkerFailed", [dead for dead, _ in found], TAKE_OVER.failed)
        show("  from the election to WorkerFailed", [elected for _, elected in found])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--stops", type=int, default=3)
    parser.add_argument("--losses", type=int, default=4)
    parser.add_argument("--offs", type=int, default=3, help="of each: power off, and cut off")
    parser.add_argument("--takeovers", type=int, default=2)
    arguments = parser.parse_args()
    with measuring("From a worker's failure to WorkerFailed, and to the second start of its task"):
        run(measure(**vars(arguments)))
