"""Workers that fall silent as a whole, supervisor and agent: stopped, or gone with their machine."""

import msgspec
import pytest

from events.streams import ensure_streams
from events.system import PolicyChanged
from events.task import TaskAttemptFinished, TaskRequeued
from events.worker import (
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerRecoveryFailed,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRegistered,
    WorkerSuspected,
)
from tests.chaos.conftest import NewFarm
from tests.chaos.farm import HASTY
from tests.chaos.test_agents import staying_on
from tests.endings import gone
from tests.waiting import until


@pytest.mark.parametrize("first", ["the policy", "the workers"])
async def test_3_a_stopped_worker_returns_as_a_new_incarnation(new_farm: NewFarm, first: str) -> None:
    """Whether the workers begin under the policy, or under the default one with its much longer times."""
    async with new_farm(HASTY) as farm:
        if first == "the policy":
            await farm.start()
        else:
            await ensure_streams(farm.bus, farm.streams)
            await farm.start_workers("w1", "w2", "w3")
            await farm.start_coordinator()
            await farm.seen(PolicyChanged)
        staying, *_ = await farm.submit([farm.shop.command("stay", "stays"), *farm.shop.commands(6, 0.05)])
        began, agent = await staying_on(farm, staying, "stays")
        name = began.worker_id
        task = agent.children(recursive=True)

        farm.supervisor(name).suspend()  # first, or it would take its agent for hung
        agent.suspend()
        await farm.seen(WorkerSuspected, worker_id=name)
        failed = await farm.seen(WorkerFailed, worker_id=name, reason="silence", incarnation=began.incarnation)
        # The keeper needs nobody's word: long before the task may begin elsewhere, nothing of it lives.
        assert gone(task)()
        await farm.seen(WorkerRecoveryStarted, worker_id=name, attempt=1, strategy="await")
        verdict = (await farm.verdicts())[staying]
        assert (verdict.verdict, verdict.attempt) == ("passed", 2)
        assert verdict.worker_id != name

        agent.resume()
        farm.supervisor(name).resume()
        again = await farm.registered(name, failed.sequence)
        await farm.seen(WorkerRecoverySucceeded, worker_id=name, attempt=1, strategy="await", incarnation=again)
        # What the old incarnation has still to say is written down, and changes nothing.
        await farm.say(
            TaskAttemptFinished(
                task_id=staying, worker_id=name, incarnation=began.incarnation, attempt=1, outcome="failed"
            )
        )
        await farm.submit(farm.shop.commands(6, 0.05))
        assert (await farm.verdicts())[staying] == verdict


async def test_9_a_result_of_a_stopped_worker_comes_too_late(new_farm: NewFarm) -> None:
    """The task ends well under an agent that is stopped; by the time that the agent can say so, it is another's."""
    async with new_farm(HASTY) as farm:
        await farm.start(workers=2)
        (waiting,) = await farm.submit([farm.shop.command("wait", "waits")])
        first = await farm.running(waiting)
        agent = await farm.agent(first.worker_id)
        await until(lambda: farm.shop.runs("waits"), what="the run")
        supervisor = farm.supervisor(first.worker_id)
        supervisor.suspend()
        agent.suspend()
        farm.shop.say_go("waits")
        await farm.seen(TaskRequeued, task_id=waiting, attempt=1, reason="worker_failed")
        verdict = (await farm.verdicts())[waiting]
        assert (verdict.verdict, verdict.attempt) == ("passed", 2)
        agent.resume()
        supervisor.resume()
        await farm.seen(WorkerRecoverySucceeded, worker_id=first.worker_id)
        assert len(farm.shop.runs("waits")) == 2


@pytest.mark.timeout(60)
async def test_11_13_a_worker_that_is_gone_for_good_is_given_up(new_farm: NewFarm) -> None:
    policy = msgspec.structs.replace(HASTY, max_recovery_attempts=3, recovery_attempt_timeout=1.0)
    async with new_farm(policy) as farm:
        await farm.start()
        works = [farm.shop.command("stay", "stays"), *farm.shop.commands(12, 0.1), *farm.shop.tests()]
        staying, *_ = await farm.submit(works)
        first, agent = await staying_on(farm, staying, "stays")
        name = first.worker_id
        tree = [agent, *agent.children(recursive=True)]
        farm.members[name].process.kill()
        agent.kill()
        await until(gone(tree), 2, "the end of all that the worker had started")

        failed = await farm.seen(WorkerFailed, worker_id=name, reason="disconnected")
        await farm.seen(TaskRequeued, task_id=staying, reason="worker_failed")
        verdicts = await farm.verdicts()
        assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
        assert verdicts[staying].worker_id != name
        await farm.seen(WorkerPermanentlyFailed, worker_id=name, attempts=3)
        strategies = [(1, "await"), (2, "restart"), (3, "restart")]
        for kind in (WorkerRecoveryStarted, WorkerRecoveryFailed):
            events = [one.event for one in await farm.events(kind)]
            assert [(event.attempt, event.strategy) for event in events if isinstance(event, kind)] == strategies

        # Given up is given up: a worker of that name is left out, and the leader does not begin again.
        farm.launch_worker(name)
        await farm.registered(name, failed.sequence)
        await farm.submit(farm.shop.commands(6, 0.05))
        assert name not in {verdict.worker_id for verdict in (await farm.verdicts()).values()}
        assert len(await farm.events(WorkerPermanentlyFailed)) == 1
        rows = await farm.ask(
            "SELECT attempt_number, recovery_type, success, error_message FROM worker_recovery_history ORDER BY id"
        )
        assert [row[:3] for row in rows] == [
            [1, "await", False],
            [2, "restart", False],
            [3, "restart", False],
            [3, "escalate", False],
        ]
        assert all(row[3] for row in rows)


async def test_15_most_of_the_farm_is_lost_at_once(new_farm: NewFarm) -> None:
    """Two of three workers lose their agents in one moment: one incident, and every task has its verdict."""
    async with new_farm() as farm:
        await farm.start(slots=2)
        await farm.submit([farm.shop.command("stay", f"stays-{number}") for number in range(6)])
        agents = [await farm.agent(name) for name in ("w1", "w2", "w3")]
        for number in range(6):
            await until(lambda number=number: farm.shop.runs(f"stays-{number}"), what="all of them to run")  # type: ignore[misc]
        for agent in agents[:2]:
            agent.kill()
        for name in ("w1", "w2"):
            await farm.seen(WorkerRecoverySucceeded, worker_id=name)
        agents[2].kill()
        verdicts = await farm.verdicts()
        assert {(verdict.verdict, verdict.attempt) for verdict in verdicts.values()} == {("passed", 2)}
        await farm.seen(WorkerRecoverySucceeded, worker_id="w3")
        assert len(await farm.events(WorkerRegistered)) == 6
