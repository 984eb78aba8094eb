"""Workers that die while somebody else is hurt: the broker, the coordinator, or somebody's clock.

The broker's clock is the only one that counts, and a real one cannot be stepped without the machine's: that is done in
tests/simulation/test_clock_faults.py. Here the clocks of everybody else step.
"""

import os
import signal
from pathlib import Path

import msgspec
import pytest

from events.clock import seconds
from events.heartbeats import HeartbeatReader
from events.system import DetectorDegraded, LeaderElected
from events.task import TaskCompleted, TaskRequeued, TaskStarted
from events.worker import (
    WorkerExited,
    WorkerFailed,
    WorkerRecoverySucceeded,
    WorkerVanished,
)
from tests.chaos.checks import check_everything
from tests.chaos.puppet import AHEAD, BACK, STEP_S
from tests.chaos.told import check_apart, fact, in_order, never
from tests.chaos.wired import REPORTED, SILENT, WiredFarm

BRISK = msgspec.structs.replace(
    SILENT, heartbeat_interval=0.2, suspect_after=0.8, self_fence_after=2.0, failed_after=3.0
)
BLOCKED_S = BRISK.failed_after * 20 / 15
"""With the default policy these would be 20 seconds."""
WITHIN_S = 30.0


async def beats_at(farm: WiredFarm, worker_id: str, time: float, ahead_s: float = 0.0) -> None:
    """Waits until the broker has stored a heartbeat of that worker at that time or later, which it sent, by its own
    clock, so many seconds later than that."""
    beats = await HeartbeatReader.start(farm.bus, farm.streams)
    try:
        while True:
            read = await beats.next(WITHIN_S)
            assert read, f"{worker_id} does not beat"
            for _, stored_at, beat in read:
                if beat is not None and beat.worker_id == worker_id and stored_at >= time:
                    off = seconds(beat.sent_at) - stored_at - ahead_s
                    if abs(off) < STEP_S / 10:
                        return
    finally:
        await beats.close()


async def test_workers_that_die_while_the_broker_does(tmp_path: Path) -> None:
    """It hears nothing any more, and does not live to tell of connections that end."""
    async with WiredFarm(tmp_path, REPORTED, alone=False) as farm:
        await farm.start(slots=3)
        agentless, dead, well = [await farm.victim(word) for word in ("agentless", "dead", "well")]
        assert len({agentless.worker_id, dead.worker_id, well.worker_id}) == 3
        assert farm.broker.pid is not None
        os.kill(farm.broker.pid, signal.SIGSTOP)
        agentless.agent.kill()
        dead.kill()
        await farm.kill_broker()
        for victim in (agentless, dead):
            await farm.passes(victim, runs=2)
        await farm.passes(well, runs=1)
        await farm.seen(WorkerRecoverySucceeded, worker_id=agentless.worker_id)

        records = await check_everything(farm)
        in_order(
            records,
            fact(WorkerExited, worker_id=agentless.worker_id, signal=signal.SIGKILL),
            fact(WorkerFailed, worker_id=agentless.worker_id, reason="worker_exit"),
            fact(TaskRequeued, task_id=agentless.task_id, attempt=1, reason="worker_failed"),
            fact(TaskStarted, task_id=agentless.task_id),
            fact(TaskCompleted, task_id=agentless.task_id, verdict="passed"),
        )
        # A witness may find that nothing is left of it before anybody has waited long enough to suspect it.
        in_order(
            records,
            fact(WorkerVanished, worker_id=dead.worker_id),
            fact(WorkerFailed, worker_id=dead.worker_id, reason="disconnected"),
            fact(TaskRequeued, task_id=dead.task_id, attempt=1, reason="worker_failed"),
            fact(TaskStarted, task_id=dead.task_id),
            fact(TaskCompleted, task_id=dead.task_id, verdict="passed"),
        )
        never(records, fact(WorkerFailed, worker_id=well.worker_id))
        for victim, runs in ((agentless, 2), (dead, 2), (well, 1)):
            check_apart(farm.shop.folder, victim.word, runs)


@pytest.mark.parametrize("standby", [False, True], ids=["alone", "with a standby"])
async def test_workers_that_die_while_the_leader_is_blocked(tmp_path: Path, *, standby: bool) -> None:
    """What is told is read afterwards, by whoever leads then; what is silent is found out; who beats is left alone."""
    async with WiredFarm(tmp_path, BRISK, alone=True) as farm:
        await farm.start(slots=3)
        if standby:
            await farm.start_coordinator("c2")
        agentless, dead, well = [await farm.victim(word) for word in ("agentless", "dead", "well")]
        assert len({agentless.worker_id, dead.worker_id, well.worker_id}) == 3
        leader = farm.supervisor("c1")
        leader.suspend()
        agentless.agent.kill()
        farm.cables[dead.worker_id].cut()
        dead.kill()
        exited = await farm.seen(WorkerExited, worker_id=agentless.worker_id)
        await beats_at(farm, well.worker_id, exited.time + BLOCKED_S)
        leader.resume()
        for victim in (agentless, dead):
            await farm.passes(victim, runs=2)
        await farm.passes(well, runs=1)
        await farm.seen(WorkerRecoverySucceeded, worker_id=agentless.worker_id)

        records = await check_everything(farm)
        elected = in_order(
            records, fact(LeaderElected, term=2, coordinator_id="c2" if standby else "c1"), after=exited.sequence
        )[0]
        in_order(
            records,
            fact(WorkerFailed, worker_id=agentless.worker_id, reason="worker_exit"),
            fact(TaskRequeued, task_id=agentless.task_id, attempt=1, reason="worker_failed"),
            fact(TaskStarted, task_id=agentless.task_id),
            fact(TaskCompleted, task_id=agentless.task_id, verdict="passed"),
            after=elected.sequence,
        )
        failed, *_ = in_order(
            records,
            fact(WorkerFailed, worker_id=dead.worker_id, reason="silence"),
            fact(TaskRequeued, task_id=dead.task_id, attempt=1, reason="worker_failed"),
            fact(TaskStarted, task_id=dead.task_id),
            fact(TaskCompleted, task_id=dead.task_id, verdict="passed"),
            after=elected.sequence,
        )
        assert isinstance(failed.event, WorkerFailed)
        evidence = failed.event.evidence
        assert evidence is not None
        assert evidence.last_seen is not None
        assert failed.time - seconds(evidence.last_seen) >= farm.policy.failed_after
        never(records, fact(WorkerFailed, worker_id=well.worker_id), fact(LeaderElected, term=3))
        for victim, runs in ((agentless, 2), (dead, 2), (well, 1)):
            check_apart(farm.shop.folder, victim.word, runs)


async def test_workers_that_die_by_clocks_that_are_an_hour_wrong(tmp_path: Path) -> None:
    """Nobody is judged by them, and who dies by them is found and brought back as ever."""
    async with WiredFarm(tmp_path, BRISK, alone=False) as farm:
        await farm.start(slots=3)
        fast, slow, well = [await farm.victim(word) for word in ("fast", "slow", "well")]
        assert len({fast.worker_id, slow.worker_id, well.worker_id}) == 3
        farm.supervisor("c1").send_signal(AHEAD)
        for victim, step in ((fast, AHEAD), (slow, BACK)):
            victim.supervisor.send_signal(step)
            victim.agent.send_signal(step)
        await beats_at(farm, fast.worker_id, 0.0, ahead_s=STEP_S)
        await beats_at(farm, slow.worker_id, 0.0, ahead_s=-STEP_S)
        # Long enough for whoever believes them to condemn somebody.
        last = (await farm.records())[-1]
        await beats_at(farm, well.worker_id, last.time + BRISK.failed_after)
        assert (await farm.records())[-1].sequence == last.sequence
        fast.agent.kill()
        slow.agent.kill()
        for victim in (fast, slow):
            await farm.passes(victim, runs=2)
            await farm.seen(WorkerRecoverySucceeded, worker_id=victim.worker_id)
        await farm.passes(well, runs=1)

        records = await check_everything(farm)
        for victim, ahead_s in ((fast, STEP_S), (slow, -STEP_S)):
            who = {"worker_id": victim.worker_id}
            exited, *_ = in_order(
                records,
                fact(WorkerExited, **who, signal=signal.SIGKILL),
                fact(WorkerFailed, **who, reason="worker_exit"),
                fact(WorkerRecoverySucceeded, **who, attempt=1, strategy="restart"),
            )
            assert exited.envelope is not None
            assert abs(seconds(exited.envelope.time) - exited.time - ahead_s) < STEP_S / 10
            check_apart(farm.shop.folder, victim.word, runs=2)
        never(records, fact(DetectorDegraded), fact(WorkerFailed, worker_id=well.worker_id))
