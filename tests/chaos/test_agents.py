"""Agents that die or hang in the middle of their work."""

import itertools
import signal

import psutil
import pytest

from events.task import TaskCompleted, TaskRequeued, TaskStarted
from events.worker import WorkerExited, WorkerFailed, WorkerRecoveryScheduled, WorkerRecoverySucceeded
from tests.chaos.conftest import NewFarm
from tests.chaos.farm import Farm
from tests.chaos.work import TREE
from tests.endings import alive, gone
from tests.waiting import until


async def staying_on(farm: Farm, task_id: str, name: str) -> tuple[TaskStarted, psutil.Process]:
    """Waits until a task that stays runs with its whole tree; where, and the agent above it."""
    first = await farm.running(task_id)
    agent = await farm.agent(first.worker_id)
    await until(lambda: farm.shop.runs(name), what="the run")
    # Above the tree the task itself, and its keeper.
    await until(lambda: len(agent.children(recursive=True)) >= TREE + 2, what="the tree of the task")
    return first, agent


async def test_5_a_killed_agent_is_replaced_and_its_task_goes_elsewhere(new_farm: NewFarm) -> None:
    async with new_farm() as farm:
        await farm.start()
        (staying,) = await farm.submit(farm.shop.tests(["test_stays"]))
        first, _ = await staying_on(farm, staying, "test_stays")
        tree = await farm.kill_agent(first.worker_id)
        exited = await farm.seen(WorkerExited, worker_id=first.worker_id, incarnation=first.incarnation)
        assert gone(tree)(), "the supervisor reported while something of the worker was alive"
        assert isinstance(exited.event, WorkerExited)
        assert exited.event.signal == signal.SIGKILL
        await farm.seen(WorkerFailed, worker_id=first.worker_id, reason="worker_exit")
        await farm.seen(TaskRequeued, task_id=staying, reason="worker_failed", budget="infrastructure")
        verdict = (await farm.verdicts())[staying]
        assert (verdict.verdict, verdict.attempt) == ("passed", 2)
        assert verdict.worker_id != first.worker_id
        await farm.seen(WorkerRecoverySucceeded, worker_id=first.worker_id, attempt=1, strategy="restart")


async def test_an_agent_killed_under_load(new_farm: NewFarm) -> None:
    async with new_farm() as farm:
        await farm.start(slots=2)
        works = [*farm.shop.commands(6, 0.05, 0.15), *farm.shop.tests(), *farm.shop.commands(6, 0.1)]
        staying, *_ = await farm.submit([farm.shop.command("stay", "stays"), *works])
        first, _ = await staying_on(farm, staying, "stays")
        tree = await farm.kill_agent(first.worker_id)
        verdicts = await farm.verdicts()
        assert gone(tree)()
        assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
        assert verdicts[staying].attempt == 2
        await farm.seen(WorkerRecoverySucceeded, worker_id=first.worker_id, attempt=1, strategy="restart")


async def test_a_stopped_agent_is_found_by_its_watchdog(new_farm: NewFarm) -> None:
    async with new_farm() as farm:
        await farm.start()
        works = [farm.shop.command("stay", "stays"), *farm.shop.commands(6, 0.05), *farm.shop.tests()]
        staying, *_ = await farm.submit(works)
        first, agent = await staying_on(farm, staying, "stays")
        tree = [agent, *agent.children(recursive=True)]
        agent.suspend()
        exited = await farm.seen(WorkerExited, worker_id=first.worker_id, incarnation=first.incarnation)
        assert gone(tree)()
        assert isinstance(exited.event, WorkerExited)
        assert exited.event.hung
        assert (exited.event.unanswered_s or 0.0) >= farm.policy.watchdog_after
        await farm.seen(WorkerFailed, worker_id=first.worker_id, reason="worker_hung")
        verdicts = await farm.verdicts()
        assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
        assert verdicts[staying].attempt == 2
        await farm.seen(WorkerRecoverySucceeded, worker_id=first.worker_id, attempt=1, strategy="restart")


@pytest.mark.timeout(60)
async def test_8_agents_killed_again_and_again(new_farm: NewFarm) -> None:
    """Sixty tasks on three workers, of which one loses its agent about every second."""
    async with new_farm() as farm:
        await farm.start()
        await farm.submit(farm.shop.commands(60, 0.1))
        victims = itertools.cycle(["w1", "w2", "w3"])
        for done in range(8, 60, 12):
            await farm.verdicts(done)
            victim = await farm.agent(next(victims))
            if alive(victim):
                victim.kill()
        verdicts = await farm.verdicts()
        assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
        exits = await farm.events(WorkerExited)
        assert len(exits) >= 4
        for exited in exits:
            assert isinstance(exited.event, WorkerExited)
            await farm.seen(WorkerRecoveryScheduled, after=exited.sequence, worker_id=exited.event.worker_id)
            await farm.seen(WorkerRecoverySucceeded, after=exited.sequence, worker_id=exited.event.worker_id)


async def test_27_an_agent_killed_between_assignment_and_start_costs_nobody_anything(new_farm: NewFarm) -> None:
    """The agent is stopped first, so that the order reaches it and is never begun."""
    async with new_farm() as farm:
        await farm.start(workers=1)
        agent = await farm.agent("w1")
        agent.suspend()
        (task_id,) = await farm.submit(farm.shop.commands(1, 0.05))
        await farm.seen(WorkerFailed, worker_id="w1", reason="worker_hung")
        await farm.seen(TaskRequeued, task_id=task_id, budget="none")
        await farm.seen(TaskCompleted, task_id=task_id, verdict="passed", attempt=2)
        await farm.seen(WorkerRecoverySucceeded, worker_id="w1")


async def test_7_two_of_six_die_together_with_fifteen_tasks_running(new_farm: NewFarm) -> None:
    """Each with its supervisor, so that nobody brings them back: all tasks end on the other four."""
    async with new_farm() as farm:
        await farm.start(workers=6, slots=3)
        tasks = await farm.submit([farm.shop.command("wait", f"waits-{number}") for number in range(15)])
        for task_id in tasks:
            await farm.running(task_id)
        held = [(await farm.running(task_id)).worker_id for task_id in tasks]
        dying = sorted(set(held))[:2]
        agents = [await farm.agent(name) for name in dying]
        for name, agent in zip(dying, agents, strict=True):
            farm.supervisor(name).kill()
            agent.kill()
        for number in range(15):
            farm.shop.say_go(f"waits-{number}")
        verdicts = await farm.verdicts()
        assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
        lost = [task_id for task_id, name in zip(tasks, held, strict=True) if name in dying]
        requeued = [one.event for one in await farm.events(TaskRequeued) if isinstance(one.event, TaskRequeued)]
        assert sorted(one.task_id for one in requeued if one.attempt == 1) == sorted(lost)
        # Between the two deaths the second worker may be given what the first one had. That costs nothing.
        assert {one.budget for one in requeued if one.attempt > 1} <= {"none"}
        assert not {verdicts[task_id].worker_id for task_id in lost} & set(dying)
