"""Half an hour of deaths: every ten seconds a worker is killed, stopped or cut off, while thousands of tasks run; then
the history is asked, by the definitions of docs/metrics.md.

A coordinator, its broker and six workers as separate processes, each worker on a cable of its own to the broker, with
the default policy but for one rule: workers that are hit every minute are not cordoned for flapping. A worker whose
supervisor was killed is started again after three seconds, as a service manager would do it.
`.venv/bin/python bench/campaign.py --minutes 30 --tasks 5000`
"""

import argparse
import asyncio
import random
import time
from collections import Counter

import psutil
from _harness import folder, measuring, run

from events.policy import Policy
from events.work import CommandWork
from tests.chaos.wired import WiredFarm

POLICY = Policy(flap_failures=1_000)
WORKERS = 6
SLOTS = 2
EVERY_S = 10.0
RESTART_S = 3.0
HANG_S = (3.0, 25.0)
CUT_S = (2.0, 25.0)
"""Some are over before anybody is given up for it."""
SETTLE_S = 20.0
BASELINE_S = 60.0
BATCH = 500
DRAIN_S_MAX = 300.0
BLOWS = ("agent_killed", "agent_stopped", "all_killed", "all_stopped", "cut_off")
FIGURES = "SELECT title, value, unit, target, met, numerator, denominator, median FROM metrics()"
RESTARTED = """
    SELECT median(epoch(next.started_at) - epoch(failures.failed_at)) AS from_failure,
           median(epoch(next.started_at) - epoch(failures.down_at)) AS from_death,
           quantile_cont(epoch(next.started_at) - epoch(failures.failed_at), 0.99) AS p99, count(*) AS n
    FROM task_attempts AS lost
    JOIN task_attempts AS next ON next.task_id = lost.task_id AND next.attempt = lost.attempt + 1
    JOIN failures ON failures.scope = 'worker' AND failures.worker_id = lost.worker_id
        AND failures.incarnation = lost.incarnation
    WHERE lost.requeue_reason = 'worker_failed' AND lost.started_at IS NOT NULL AND next.started_at IS NOT NULL
        AND failures.reason = 'worker_exit'
"""


class Campaign:
    def __init__(self, farm: WiredFarm, seed: int) -> None:
        self._farm = farm
        self._random = random.Random(seed)
        self._struck: set[str] = set()
        """Whoever has yet to be let go."""
        self._recoveries: set[asyncio.Task[None]] = set()
        self.blows: Counter[str] = Counter()

    async def run(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0.0:
            await asyncio.sleep(min(EVERY_S, left))
            names = [name for name in self._farm.cables if name not in self._struck]
            if names:
                blow, name = self._random.choice(BLOWS), self._random.choice(names)
                self._struck.add(name)
                task = asyncio.create_task(self._strike(blow, name))
                self._recoveries.add(task)
        await asyncio.gather(*self._recoveries)

    async def _strike(self, blow: str, name: str) -> None:
        farm = self._farm
        try:
            agent, supervisor = await farm.agent(name), farm.supervisor(name)
            if blow == "agent_killed":
                agent.kill()
            elif blow == "agent_stopped":
                agent.suspend()
            elif blow == "all_killed":
                supervisor.suspend()
                agent.kill()
                farm.members[name].process.kill()
                await farm.members[name].ended()
                await asyncio.sleep(RESTART_S)
                farm.launch_worker(name, slots=SLOTS)
            elif blow == "all_stopped":
                supervisor.suspend()
                agent.suspend()
                await asyncio.sleep(self._random.uniform(*HANG_S))
                agent.resume()
                supervisor.resume()
            else:
                farm.cables[name].cut()
                await asyncio.sleep(self._random.uniform(*CUT_S))
                farm.cables[name].mend()
            self.blows[blow] += 1
        except psutil.NoSuchProcess:
            self.blows["missed: it was on its way back"] += 1
        finally:
            await asyncio.sleep(EVERY_S)
            self._struck.discard(name)


class Load:
    """Processor time and memory of our own processes (not of the tasks): the coordinator with its children, and the
    workers' supervisors and agents."""

    def __init__(self, farm: WiredFarm) -> None:
        self._farm = farm
        self._seen: dict[tuple[int, float], float] = {}
        self.cpu_s = 0.0
        self.memory: list[int] = []

    async def run(self) -> None:
        while True:
            self.sample()
            await asyncio.sleep(1.0)

    def sample(self) -> None:
        memory = 0
        for process in self._ours():
            try:
                times, key = process.cpu_times(), (process.pid, process.create_time())
                used = times.user + times.system
                memory += process.memory_info().rss
            except psutil.Error:
                continue
            self.cpu_s += used - self._seen.get(key, 0.0)
            self._seen[key] = used
        self.memory.append(memory)

    def _ours(self) -> list[psutil.Process]:
        found = []
        for name, member in self._farm.members.items():
            try:
                process = psutil.Process(member.pid)
                children = process.children(recursive=not name.startswith("w"))
                found += [process, *(one for one in children if "sleep" not in one.name())]
            except psutil.Error:
                continue
        return found


async def measure(minutes: float, tasks: int, seed: int) -> None:
    with folder() as place:
        async with WiredFarm(place, POLICY, alone=False) as farm:
            await farm.start_coordinator()
            await farm.start_workers(*(f"w{number}" for number in range(1, WORKERS + 1)), slots=SLOTS)
            seconds = minutes * 60.0
            # So long that the work lasts through all of the blows, at four fifths of what the slots could do.
            mean_s = 0.8 * WORKERS * SLOTS * (seconds + SETTLE_S + BASELINE_S) / tasks
            durations = random.Random(seed)
            works = [
                CommandWork(argv=("sleep", f"{durations.uniform(0.2, 1.8) * mean_s:.3f}"), cwd=str(place))
                for _ in range(tasks)
            ]
            for first in range(0, tasks, BATCH):
                await farm.submit(works[first : first + BATCH])
            load = Load(farm)
            sampling = asyncio.create_task(load.run())
            await asyncio.sleep(SETTLE_S)
            settled = load.cpu_s
            load.memory.clear()
            await asyncio.sleep(BASELINE_S)
            baseline = (load.cpu_s - settled) / BASELINE_S, max(load.memory)
            before, began = load.cpu_s, time.monotonic()
            load.memory.clear()
            campaign = Campaign(farm, seed)
            await campaign.run(seconds)
            under_fire = (load.cpu_s - before) / (time.monotonic() - began), max(load.memory)
            await farm.verdicts(within_s=DRAIN_S_MAX + seconds)
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)
            await farm.stop()
            report(farm, campaign, baseline, under_fire)


def report(farm: WiredFarm, campaign: Campaign, baseline: tuple[float, int], under_fire: tuple[float, int]) -> None:
    print("blows:", ", ".join(f"{count} {blow}" for blow, count in campaign.blows.items()))
    verdicts = farm.rows("SELECT coalesce(verdict, 'without a verdict'), count(*) FROM tasks GROUP BY ALL")
    print("tasks:", ", ".join(f"{count} {verdict}" for verdict, count in verdicts))
    (cpu, memory), (cpu_before, memory_before) = under_fire, baseline
    print(f"our processes: {cpu:.3f} of a core, {cpu_before:.3f} before the blows: {cpu / cpu_before - 1.0:+.0%}")
    print(f"  memory {memory / 2**20:.0f} MiB, {memory_before / 2**20:.0f} before: {memory / memory_before - 1.0:+.0%}")
    for title, value, unit, target, met, numerator, denominator, median in farm.rows(FIGURES):
        told = "n/a" if value is None else f"{value:.4g} {unit}"
        aim = "" if target is None or met is None else f", target {target:g}: {'met' if met else 'MISSED'}"
        spread = "" if median is None else f", median {median:.3g}"
        basis = "" if numerator is None else f" ({numerator:g} / {denominator}{spread})"
        print(f"{title}: {told}{basis}{aim}")
    ((from_failure, from_death, p99, count),) = farm.rows(RESTARTED)
    if count:
        print(f"a task whose worker's end was reported, to its next start (n {count}):")
        print(f"  from WorkerFailed median {from_failure:.3f} s, 99th percentile {p99:.3f} s")
        print(f"  from the death itself median {from_death:.3f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--tasks", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with measuring(f"{arguments.minutes:g} minutes of blows every {EVERY_S:g} s"):
        run(measure(arguments.minutes, arguments.tasks, arguments.seed))
