"""Half of a farm is lost in one moment: how long the leader's cycles take until every task that ran there has another
worker, and that they cost what has changed, and not what there is.

The core alone, on a farm that is made up, and that goes on working. A cycle is `decide` and the fold of what it has
decided, in time of the processor. `.venv/bin/python bench/mass_loss.py --workers 2000 --lost 1000 --tasks 20000`
"""

import argparse
import gc
import time
from collections.abc import Callable
from typing import NamedTuple

from _harness import measuring, show
from _story import Story

LIMIT_MS = 100.0
STEP_S = 0.05
BEAT_S = 2.0
CALM_S = 4.0
"""Of ordinary work before the loss."""
SECONDS_MAX = 300.0
"""Of the farm's own time, until everything is placed."""


class Loss(NamedTuple):
    """What became of it."""

    lost_tasks: int
    reading_ms: float
    """To fold the reports of all ends, before the first cycle."""
    cycles_ms: list[float]
    decisions: int
    took_s: float
    """Of the farm's own time: the policy bounds the rate at which lost tasks are put back."""

    @property
    def decision_us(self) -> float:
        return sum(self.cycles_ms) * 1000.0 / self.decisions


class Farm:
    """A story that goes on."""

    def __init__(self, workers: int, tasks: int) -> None:
        self.story = Story(workers, task_s=(2.0, 6.0), clock=time.thread_time)
        self.story.submit(tasks)
        self._step = 0
        self.cycles_ms: list[float] = []
        self.decisions = 0

    def live(self, until: Callable[[], bool]) -> float:
        """Lets it work until that is so; how long that took by its own clock."""
        story, began = self.story, self.story.now
        while not until():
            if story.now - began > SECONDS_MAX:
                raise SystemExit(f"not all is placed after {SECONDS_MAX:g} s")
            self._step += 1
            story.pass_time(STEP_S)
            turn = round(BEAT_S / STEP_S)
            for worker_id in story.worker_ids[self._step % turn :: turn]:
                if story.state.workers[worker_id].status in {"alive", "suspect"}:
                    story.beat(worker_id)
            self._lead()
        return story.now - began

    def _lead(self) -> None:
        decided = 1
        while decided:
            before = self.story.deciding_s + self.story.folding_s
            decided = self.story.lead()
            spent = self.story.deciding_s + self.story.folding_s - before
            self.cycles_ms.append(spent * 1000.0)
            self.decisions += decided

    def lose(self, count: int) -> Loss:
        """Workers end, all reports in one batch."""
        story = self.story
        victims = [one for one in story.worker_ids if story.state.workers[one].status == "alive"][::2][:count]
        lost = {task_id: story.state.tasks[task_id].attempt for one in victims for task_id in self._held(one)}
        self.cycles_ms, self.decisions = [], 0
        folding_s = story.folding_s
        for worker_id in victims:
            story.kill(worker_id)
        reading_ms = (story.folding_s - folding_s) * 1000.0
        tasks = story.state.tasks
        placed = lambda: all(tasks[one].attempt > attempt for one, attempt in lost.items())  # noqa: E731
        took_s = self.live(placed)
        return Loss(len(lost), reading_ms, self.cycles_ms, self.decisions, took_s)

    def _held(self, worker_id: str) -> list[str]:
        return list(self.story.state.workers[worker_id].held)


def lose(workers: int, lost: int, tasks: int) -> Loss:
    farm = Farm(workers, tasks)
    calm_until = farm.story.now + CALM_S
    farm.live(lambda: farm.story.now >= calm_until)
    gc.collect()
    gc.freeze()
    return farm.lose(lost)


def tell(name: str, loss: Loss) -> None:
    cycles = sorted(loss.cycles_ms)
    p99 = cycles[min(len(cycles) - 1, round(0.99 * len(cycles)))]
    print(f"{name}: {loss.lost_tasks:,} tasks lost and placed again, {loss.decisions:,} decisions")
    show("  a cycle", cycles, "ms", 2)
    show("  99th percentile", [p99], "ms", 2, note=f"limit {LIMIT_MS:g}, ratio {p99 / LIMIT_MS:.2f}")
    show("  a decision, its fold included", [loss.decision_us], "us", 1)
    show("  reports of all ends, folded", [loss.reading_ms], "ms", 1)
    show("  until the last one is placed", [loss.took_s], "s", 1, note="of the farm's own time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2000)
    parser.add_argument("--lost", type=int, default=1000)
    parser.add_argument("--tasks", type=int, default=20_000)
    arguments = parser.parse_args()
    workers, lost, tasks = arguments.workers, arguments.lost, arguments.tasks
    with measuring(f"{lost:,} of {workers:,} workers lost at once, with {tasks:,} tasks"):
        usual = lose(workers, lost, tasks)
        tell(f"{lost:,} of {workers:,}", usual)
        larger = lose(2 * workers, lost, 2 * tasks)
        tell(f"{lost:,} of {2 * workers:,}, with {2 * tasks:,} tasks", larger)
        more = lose(2 * workers, 2 * lost, 2 * tasks)
        tell(f"{2 * lost:,} of {2 * workers:,}, with {2 * tasks:,} tasks", more)
        print(
            f"a decision costs {larger.decision_us / usual.decision_us:.2f} times as much in a farm of twice the size, "
            f"and {more.decision_us / usual.decision_us:.2f} times as much when twice as many are lost there"
        )


if __name__ == "__main__":
    main()
