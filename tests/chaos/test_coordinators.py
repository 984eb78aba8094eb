"""Leaders that die, and leaders that stop and wake up again."""

import pytest

from coordinator.leadership import LEASE_TTL_S
from events.errors import Fenced
from events.log import Fence
from events.stored import stream_extent
from events.system import CoordinatorStarted, LeaderElected, SystemRecoveryCompleted, SystemRecoveryStarted
from events.task import TaskAssigned, TaskRequeued
from events.worker import WorkerFailed, WorkerSuspected
from recovery.consumer import LEADER_TAIL
from tests.chaos.conftest import NewFarm
from tests.chaos.farm import Farm, until_true
from tests.waiting import until

TAKE_OVER_S_MAX = LEASE_TTL_S * 4
"""Generous for a busy machine; a quiet one takes as long as the lease lasts."""


async def failed_over(farm: Farm, term: int, name: str) -> None:
    elected = await farm.seen(LeaderElected, TAKE_OVER_S_MAX, term=term, coordinator_id=name)
    incident = f"failover-{elected.sequence}"
    await farm.seen(SystemRecoveryStarted, incident_id=incident, incident_kind="coordinator_failover")
    await farm.seen(SystemRecoveryCompleted, incident_id=incident, success=True)


async def test_16_a_standby_takes_over_from_a_killed_leader(new_farm: NewFarm) -> None:
    async with new_farm() as farm:
        await farm.start()
        await farm.start_coordinator("c2")
        assert (await farm.health("c2"))["role"] == "standby"
        await farm.submit([*farm.shop.commands(20, 0.1, 0.3), *farm.shop.tests()])
        await farm.verdicts(4)
        farm.members["c1"].process.kill()
        await failed_over(farm, 2, "c2")
        verdicts = await farm.verdicts()
        assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
        assert await farm.events(TaskRequeued) == []
        found = await farm.ask("SELECT details->>'kind', success FROM system_recovery_history")
        assert found == [["coordinator_failover", True]]
        assert (await farm.health("c2"))["role"] == "leader"


@pytest.mark.parametrize("when", ["at once", "later"])
async def test_a_coordinator_started_again_completes_the_run(new_farm: NewFarm, when: str) -> None:
    """With the killed one's name and history file, as a service manager would start it."""
    async with new_farm() as farm:
        await farm.start()
        works = [farm.shop.command("stay", "stays"), *farm.shop.commands(20, 0.1, 0.2)]
        staying, *_ = await farm.submit(works)
        first = await farm.running(staying)
        await until(lambda: farm.shop.runs("stays"), what="the run")
        await farm.verdicts(3)
        killed = await farm.log.last_sequence()
        farm.members["c1"].process.kill()
        # Nobody is there to decide, and this worker's end is waiting for whoever comes.
        await farm.kill_agent(first.worker_id)
        if when == "later":
            await until(lambda: farm.members["c1"].process.poll() is not None, what="the end of the coordinator")
            await until_true(farm.quiet, 10, "the workers to have done all they were given")
        await farm.start_coordinator("c1")
        await farm.seen(CoordinatorStarted, after=killed)
        await failed_over(farm, 2, "c1")
        verdicts = await farm.verdicts()
        assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
        assert verdicts[staying].attempt == 2


@pytest.mark.timeout(60)
async def test_16_a_stopped_leader_wakes_up_to_a_new_term(new_farm: NewFarm) -> None:
    async with new_farm() as farm:
        await farm.start()
        await farm.start_coordinator("c2")
        await farm.submit(farm.shop.commands(30, 0.1, 0.2))
        await farm.verdicts(4)
        token = (await farm.seen(LeaderElected, term=1)).sequence
        leader = farm.supervisor("c1")
        leader.suspend()
        await failed_over(farm, 2, "c2")
        # Work for it to decide about when it wakes up, all of which somebody else decides.
        await farm.submit(farm.shop.commands(6, 0.05))
        leader.resume()

        async def stands_by() -> bool:
            health = await farm.health("c1")
            return (health["role"], health["term"]) == ("standby", 2)

        await until_true(stands_by, 10, "the old leader to stand by")
        with pytest.raises(Fenced):
            await farm.log.append(
                [farm.writer.draft(CoordinatorStarted(coordinator_id="c1", host="h", pid=1))],
                fence=Fence(LEADER_TAIL, token),
            )
        await farm.verdicts()

        # It is as good a leader as before, once it is its turn.
        await farm.submit(farm.shop.commands(6, 0.05))
        farm.members["c2"].process.kill()
        await failed_over(farm, 3, "c1")
        verdicts = await farm.verdicts()
        assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
        assert await farm.events(TaskRequeued) == []
        assert len(await farm.events(TaskAssigned)) == len(farm.tasks)


async def test_4_a_leader_that_did_not_run_for_a_while_condemns_nobody(new_farm: NewFarm) -> None:
    """Nobody else is there to lead meanwhile. All beat on, and what they sent is caught up with by its own time."""
    async with new_farm() as farm:
        await farm.start()
        leader = farm.supervisor("c1")

        async def heard() -> int:
            return (await stream_extent(farm.bus, farm.streams.heartbeats)).last_seq

        before = await heard()
        leader.suspend()
        beats = 3 * farm.policy.failed_after / farm.policy.heartbeat_interval * 1.2

        async def beaten() -> bool:
            return await heard() > before + beats

        await until_true(beaten, 30, "more beats of three workers than fit into failed_after")
        leader.resume()
        await farm.seen(LeaderElected, TAKE_OVER_S_MAX, term=2)
        await farm.submit(farm.shop.commands(6, 0.05))
        verdicts = await farm.verdicts()
        assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
        assert await farm.events(WorkerSuspected, WorkerFailed) == []
