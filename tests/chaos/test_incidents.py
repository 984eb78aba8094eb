"""What befalls the system as a whole, on one farm of six: most of it is killed in one moment, then the broker stops."""

import os
import signal
import time
from itertools import pairwise

import msgspec
import pytest

from events.system import (
    BrokerReturned,
    IncidentReport,
    SystemRecoveryCompleted,
    SystemRecoveryStaged,
)
from events.task import TaskAttemptFinished
from events.worker import WorkerExited, WorkerRecoverySucceeded
from tests.chaos.conftest import NewFarm
from tests.chaos.farm import CALM, Farm
from tests.recovery.story import folded
from tests.waiting import until

POLICY = msgspec.structs.replace(CALM, critical_below=0.7, degraded_below=0.9)
"""Four of six are too few: of four that are lost three have to come back until that is over."""
KILLED = ("w1", "w2", "w3", "w4")
OUTAGE_S = 7.0


async def report(farm: Farm, kind: str, within_s: float = 40.0) -> tuple[str, IncidentReport]:
    closed = (await farm.seen(SystemRecoveryCompleted, within_s, incident_kind=kind, success=True)).event
    assert isinstance(closed, SystemRecoveryCompleted)
    assert closed.report is not None
    return closed.incident_id, closed.report


@pytest.mark.timeout(120)
async def test_15_four_of_six_are_killed_at_once_and_17_the_broker_is_away(new_farm: NewFarm) -> None:
    async with new_farm(POLICY) as farm:
        await farm.start(workers=6)
        await farm.submit(farm.shop.commands(60, 0.4, 0.8))
        await farm.verdicts(6)
        await kill_in_one_moment(farm)
        incident_id, told = await report(farm, "mass_worker_loss")
        assert set(told.workers) == set(KILLED)
        assert (told.workers_lost_together, told.tasks_lost) == (4, 0)
        await check_stages(farm, incident_id)

        staying = await farm.submit(farm.shop.commands(6, 6.0, 6.1), priority=9)
        for task_id in staying[:4]:
            await farm.running(task_id)
        await stop_the_broker(farm)
        await farm.seen(BrokerReturned)
        _, told = await report(farm, "broker_outage")
        assert told.broker_away_s is not None
        assert told.broker_away_s >= 5.0
        assert told.tasks_uncharged == told.tasks_requeued > 0

        verdicts = await farm.verdicts()
        assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
        state = folded(await farm.records(), [])
        assert {task.infrastructure_used for task in state.tasks.values()} == {0}
        assert {len(worker.attempts_failed) for worker in state.workers.values()} == {0}
        fenced = [recorded.event for recorded in await farm.events(TaskAttemptFinished)]
        assert any(event.outcome == "fenced" for event in fenced if isinstance(event, TaskAttemptFinished))
        lost = "report->'report'->>'tasks_lost'"
        # That a leader follows itself behind an outage is told as well.
        others = "kind <> 'coordinator_failover'"
        rows = await farm.ask(f"SELECT kind, success, {lost} FROM incidents WHERE {others} ORDER BY id")
        assert rows == [["mass_worker_loss", True, "0"], ["broker_outage", True, "0"]]


async def kill_in_one_moment(farm: Farm) -> None:
    """However busy the machine is: the leader sees all four ends at once."""
    agents = [await farm.agent(name) for name in KILLED]
    before = await farm.log.last_sequence()
    farm.supervisor("c1").suspend()
    for agent in agents:
        agent.kill()
    for name in KILLED:
        await farm.seen(WorkerExited, after=before, worker_id=name)
    farm.supervisor("c1").resume()


async def check_stages(farm: Farm, incident_id: str) -> None:
    """One worker after another, each proven before the next is begun."""
    events = [recorded.event for recorded in await farm.events(SystemRecoveryStaged, WorkerRecoverySucceeded)]
    staged = [event for event in events if isinstance(event, SystemRecoveryStaged)]
    assert [(event.incident_id, event.stage) for event in staged] == [(incident_id, 1 + n) for n in range(len(staged))]
    assert len(staged) >= 3
    assert all(len(event.workers) == 1 for event in staged)
    for one, following in pairwise(staged):
        between = events[events.index(one) : events.index(following)]
        back = [event.worker_id for event in between if isinstance(event, WorkerRecoverySucceeded)]
        assert one.workers[0] in back


async def stop_the_broker(farm: Farm) -> None:
    """For so long that who cannot write fences itself; it is no shorter for that, and loses nothing."""
    pid = farm.broker.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    await until(lambda: time.monotonic() >= begun + OUTAGE_S, OUTAGE_S + 5, "the outage to last")
    os.kill(pid, signal.SIGCONT)
