"""What a cycle of the leader costs in a large farm and in a small one: it must follow change, not size.

No broker: the core alone, folded from a made-up story. `.venv/bin/python bench/decide.py --workers 100000`
"""

import argparse
import gc
import random
import time
from collections.abc import Callable
from typing import NamedTuple

from _harness import Usage, measuring, ratio, show
from _story import Story

from recovery.core import next_due

SMALL_WORKERS, SMALL_TASKS = 3, 3000
DEAD_MAX = 20_000
LONG_S = (100.0, 900.0)


class Case(NamedTuple):
    name: str
    happen: Callable[[Story, str], None]
    """What is said by or about one worker; what is owed then is decided until nothing is."""
    repetitions: int
    smallest: int = SMALL_WORKERS
    """Workers of the small farm."""


def grow(workers: int, tasks: int) -> Story:
    """All workers busy; a third of the tasks has its verdict, the rest waits."""
    story = Story(workers, task_s=LONG_S)
    story.submit(tasks)
    story.lead_on()
    wanted = tasks // 3
    while (missing := wanted - story.state.tasks_by_status["final"]) > 0:
        for worker_id in story.worker_ids[:missing]:
            _end_one(story, worker_id)
        story.lead_on()
    return story


def _end_one(story: Story, worker_id: str) -> None:
    assigned = story.running_on(worker_id)
    if assigned is not None:
        story.end(assigned)


CASES = (
    Case("a heartbeat, nothing owed", Story.beat, 300),
    Case("a task ends: verdict, next assignment", _end_one, 300),
    # One of three would change the system's status, too, and one that dies again waits before it is brought back.
    Case("a worker dies, and comes back", Story.kill, 100, smallest=1000),
)


def cost(story: Story, case: Case) -> tuple[list[float], list[float], int]:
    """Microseconds in `decide` and in the fold for each time that it happens, all cycles together; and the number of
    decisions of the last one."""
    deciding, folding, decisions = [], [], 0
    often_enough = -(-case.repetitions // len(story.worker_ids))
    chosen = random.Random(3).sample(story.worker_ids * often_enough, case.repetitions)
    for worker_id in chosen:
        story.now += 0.0001
        decided, folded, decisions = story.deciding_s, story.folding_s, 0
        case.happen(story, worker_id)
        while found := story.lead():
            decisions += found
        next_due(story.state)
        deciding.append((story.deciding_s - decided) * 1e6)
        folding.append((story.folding_s - folded) * 1e6)
    return deciding, folding, decisions


def grown(workers: int, tasks: int) -> Story:
    before, began = Usage.own(), time.perf_counter()
    story = grow(workers, tasks)
    took = time.perf_counter() - began
    waiting = len(story.state.waiting)
    print(
        f"{workers:,} workers, {tasks:,} tasks ({waiting:,} wait): {story.events:,} events told in {took:.1f} s, "
        f"{story.folding_s:.1f} s of it in the fold, {story.deciding_s:.1f} s in decide; "
        f"memory {Usage.own().memory_mb - before.memory_mb:,.0f} MB"
    )
    return story


def measure(workers: int, tasks: int) -> None:
    gc.disable()
    small = {number: grown(number, SMALL_TASKS) for number in sorted({case.smallest for case in CASES})}
    large = grown(workers, tasks)
    # The collector looks through what is young, and seldom through everything: that is a cost of size, shown apart.
    began = time.perf_counter()
    gc.collect()
    show("garbage collection of everything", [time.perf_counter() - began], "s", 2)
    for case in CASES:
        little, little_folding, little_count = cost(small[case.smallest], case)
        much, much_folding, much_count = cost(large, case)
        print(f"{case.name} ({little_count} decisions with {case.smallest:,} workers, {much_count} with {workers:,})")
        show(f"  decide, {case.smallest:,} workers", little, "us", 1)
        show(f"  decide, {workers:,} workers", much, "us", 1, note=f"ratio {ratio(much, little):.2f}")
        show(f"  fold, {case.smallest:,} workers", little_folding, "us", 1)
        show(
            f"  fold, {workers:,} workers",
            much_folding,
            "us",
            1,
            note=f"ratio {ratio(much_folding, little_folding):.2f}",
        )
    print("Half of the workers die at once, and all are brought back: microseconds a decision")
    few, many = mass_death(small[max(small)]), mass_death(large, DEAD_MAX)
    show(f"  {few.dead:,} die: decide", [few.deciding_us], "us", 1, note=f"{few.decisions:,} decisions")
    note = f"{many.decisions:,} decisions, ratio {many.deciding_us / few.deciding_us:.2f}"
    show(f"  {many.dead:,} die: decide", [many.deciding_us], "us", 1, note=note)


class MassDeath(NamedTuple):
    dead: int
    decisions: int
    deciding_us: float
    """A decision."""


def mass_death(story: Story, dead_max: int | None = None) -> MassDeath:
    victims = story.worker_ids[::2][:dead_max]
    for worker_id in victims:
        story.kill(worker_id)
    before, decisions = story.deciding_s, 0
    while found := story.lead():
        decisions += found
    return MassDeath(len(victims), decisions, (story.deciding_s - before) / decisions * 1e6)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=100_000)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with measuring("A cycle of the leader; target: the same cost at any size"):
        measure(arguments.workers, arguments.tasks)
