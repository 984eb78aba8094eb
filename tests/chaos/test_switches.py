"""Automation that is switched off, and on again."""

import msgspec

from events.policy import policy_hash
from events.system import PolicyChanged
from events.task import TaskRequeued
from events.worker import WorkerFailed, WorkerRecoveryScheduled, WorkerRecoverySucceeded
from tests.chaos.conftest import NewFarm
from tests.chaos.test_agents import staying_on


async def test_26_without_automation_a_failure_is_recorded_and_no_more(new_farm: NewFarm) -> None:
    async with new_farm() as farm:
        await farm.start("--disable-auto-recovery")
        staying, *_ = await farm.submit([farm.shop.command("stay", "stays"), *farm.shop.commands(6, 0.05)])
        first, _ = await staying_on(farm, staying, "stays")
        await farm.kill_agent(first.worker_id)
        failed = await farm.seen(WorkerFailed, worker_id=first.worker_id)
        await farm.verdicts(len(farm.tasks) - 1)
        # Many more rounds of decisions, each of which would begin with what is owed to workers and to lost tasks.
        await farm.submit([*farm.shop.commands(9, 0.05), *farm.shop.tests()])
        await farm.verdicts(len(farm.tasks) - 1)
        assert await farm.events(TaskRequeued, WorkerRecoveryScheduled) == []

        policy = msgspec.structs.replace(farm.policy, auto_recovery=True)
        changed = await farm.say(PolicyChanged(policy=policy, policy_hash=policy_hash(policy), actor="test"))
        assert changed.last > failed.sequence
        await farm.seen(TaskRequeued, after=changed.last, task_id=staying)
        await farm.seen(WorkerRecoverySucceeded, after=changed.last, worker_id=first.worker_id, attempt=1)
        verdicts = await farm.verdicts()
        assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
        assert verdicts[staying].attempt == 2
