"""The first steps: the processes, and work for them."""

import asyncio
from collections.abc import Sequence

from coordinator.commands.submitting import Order, collected_works, submit
from coordinator.demo.findings import find
from coordinator.demo.stage import Stage
from coordinator.demo.words import at, several
from coordinator.faults import UsageFault
from events.system import LeaderElected
from events.task import TaskStarted
from events.work import PytestWork
from events.worker import WorkerRegistered

READY_S_MAX = 20.0
BUSY_S_MAX = 15.0
WORK_LEFT_MIN = 8
"""Tests without a verdict for each worker: with less of them, more are submitted."""

WORK_MORE = 16
"""How many more for each worker."""


async def start_farm(stage: Stage) -> None:
    plan, farm = stage.plan, stage.farm
    collecting = asyncio.create_task(_collected(stage))
    try:
        await stage.open_log()
        await farm.start_coordinator(stage.leader)
        for worker_id in plan.worker_ids:
            await farm.start_worker(worker_id)
        chronicle = stage.chronicle
        leader = await stage.expect(
            lambda: find(chronicle.events, LeaderElected), "the election of a leader", READY_S_MAX
        )
        stage.show.passed(f"{leader.event.coordinator_id} leads, term {leader.event.term} {at(leader.recorded)}")
        await stage.expect(
            lambda: all(find(chronicle.events, WorkerRegistered, worker_id=name) for name in plan.worker_ids) or None,
            f"the registration of {plan.workers} workers",
            READY_S_MAX,
        )
        stage.show.passed(f"{_few(plan.worker_ids)} have registered, {stage.elapsed_s:.1f} s after the start")
        stage.works = await collecting
    finally:
        collecting.cancel()
        await asyncio.gather(collecting, return_exceptions=True)


async def _collected(stage: Stage) -> tuple[PytestWork, ...]:
    """The part of the suite that fits the run time."""
    suite = stage.plan.suite
    works, code, errors = await collected_works(suite.python, suite.cwd, suite.args)
    if code != 0:
        said = errors.strip().splitlines() or ["it said nothing"]
        raise UsageFault(
            f"pytest, which the example suite needs, did not collect it with {suite.python} (exit code {code}): "
            f"{said[-1]}"
        )
    tests = [work for work in works if isinstance(work, PytestWork)]
    stage.show.total = len(tests)
    return _spread(tests, round(len(tests) * stage.plan.share))


async def hand_in(stage: Stage) -> None:
    chronicle, plan = stage.chronicle, stage.plan
    run_id = await _submit(stage, stage.works)
    await chronicle.read_to_the_end()
    part = "" if plan.share == 1 else f" (of {stage.show.total}: so many fit a run time of {plan.run_time_s:g} s)"
    stage.ensure(
        chronicle.submitted == len(stage.works),
        f"{len(stage.works)} tests were submitted, and the log holds {chronicle.submitted}",
    )
    stage.show.passed(f"{chronicle.submitted} tests{part} submitted as run {run_id}")
    await stage.expect(
        lambda: all(find(chronicle.events, TaskStarted, worker_id=name) for name in plan.worker_ids) or None,
        f"a test that starts on each of {plan.workers} workers",
        BUSY_S_MAX,
    )
    stage.show.passed(f"tests run on all {plan.workers} workers")


async def keep_busy(stage: Stage) -> None:
    """Submits some of the tests once more when there is too little left to be interrupted."""
    chronicle, workers = stage.chronicle, stage.plan.workers
    if chronicle.submitted - chronicle.final < WORK_LEFT_MIN * workers:
        more = _spread(stage.works, WORK_MORE * workers)
        run_id = await _submit(stage, more)
        stage.show.tell(
            f"the suite is nearly through: {several(len(more), 'test')} submitted once more, as run {run_id}"
        )


async def _submit(stage: Stage, works: tuple[PytestWork, ...]) -> str:
    order = Order(title="the example shop", actor=stage.plan.actor, works=works)
    run_id, _ = await submit(stage.chronicle.log, order)
    return run_id


def _spread(works: Sequence[PytestWork], wanted: int) -> tuple[PytestWork, ...]:
    """So many of them, from all of the suite, in its order."""
    count = max(1, min(wanted, len(works)))
    return tuple(works[number * len(works) // count] for number in range(count))


def _few(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) <= 4 else f"{names[0]} to {names[-1]}"
