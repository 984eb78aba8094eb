"""Scenario 28: a task that runs beyond its time limit, with a tree of processes that nothing but SIGKILL ends."""

from events.task import TaskAttemptFinished, TaskRequeued, TaskStarted
from tests.chaos.conftest import NewFarm
from tests.chaos.test_agents import staying_on
from tests.endings import gone


async def test_28_its_process_tree_is_gone_before_the_next_attempt_starts(new_farm: NewFarm) -> None:
    """Each run holds a lock for as long as anything of it lives: a second one beside it would fail."""
    async with new_farm() as farm:
        await farm.start()
        (staying,) = await farm.submit([farm.shop.command("stay", "stays")], timeout_s=6.0, verdict_retries=1)
        _, agent = await staying_on(farm, staying, "stays")
        tree = agent.children(recursive=True)
        ended = await farm.seen(TaskAttemptFinished, task_id=staying, outcome="timed_out", attempt=1)
        assert gone(tree)(), "the end was reported while something of the task was alive"
        requeued = await farm.seen(TaskRequeued, task_id=staying, reason="verdict_retry", budget="verdict")
        again = await farm.seen(TaskStarted, task_id=staying, attempt=2)
        assert ended.sequence < requeued.sequence < again.sequence
        verdict = (await farm.verdicts())[staying]
        assert (verdict.verdict, verdict.attempt) == ("passed", 2)
