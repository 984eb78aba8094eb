"""An operator at work: orders from the command line to a farm that runs, over a restart of its coordinator."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import msgspec

from events.system import LeaderElected, RecoveryPaused, RecoveryResumed, RunCancelRequested
from events.task import TaskCompleted, TaskRequeued
from events.worker import (
    WorkerCordoned,
    WorkerDrainRequested,
    WorkerExited,
    WorkerFailed,
    WorkerRecoveryScheduled,
    WorkerRecoverySucceeded,
    WorkerRegistered,
    WorkerStopped,
    WorkerUncordoned,
)
from tests.chaos.conftest import NewFarm
from tests.chaos.farm import Farm
from tests.chaos.test_agents import staying_on

ROOT = Path(__file__).parents[2]


async def ordered(farm: Farm, *arguments: str, code: int = 0) -> Any:
    """What `resurgam ARGUMENTS --json` says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "resurgam.py"),
        *arguments,
        "--json",
        "--nats-url",
        farm.broker.url,
        cwd=farm.folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == code, (arguments, out, err)
    return msgspec.json.decode(out)


async def told(farm: Farm, word: str, *targets: str, reason: str, **options: str) -> Any:
    extra = [part for name, value in options.items() for part in (f"--{name}", value)]
    return await ordered(farm, word, *targets, "--actor", "alice@desk", "--reason", reason, *extra)


async def test_31_an_operator_pauses_drains_cancels_restarts_and_resumes(new_farm: NewFarm) -> None:
    async with new_farm() as farm:
        await farm.start(workers=3)
        staying, *_ = await farm.submit([farm.shop.command("stay", "stays")])
        first, _ = await staying_on(farm, staying, "stays")
        idle = [name for name in ("w1", "w2", "w3") if name != first.worker_id]
        lost, drained = idle

        await told(farm, "pause", reason="the switch is being replaced")
        await farm.kill_agent(lost)
        failed = await farm.seen(WorkerFailed, worker_id=lost)
        report = await told(farm, "drain", drained, reason="new kernel", wait="30")
        assert [effect["outcome"] for effect in report["effects"]] == ["done"]
        assert await farm.members[drained].ended() == 0
        run_id = staying.rpartition("-")[0]
        report = await told(farm, "cancel", run_id, reason="wrong branch", wait="30")
        assert report["effects"][0]["outcome"] == "done"
        assert {verdict.verdict for verdict in (await farm.verdicts()).values()} == {"cancelled"}
        # Work goes on at who is well.
        await farm.submit(farm.shop.commands(6, 0.05))
        await farm.verdicts()

        await farm.stop("c1")
        await farm.start_coordinator("c1")
        elected = await farm.seen(LeaderElected, term=2)
        more = await farm.submit(farm.shop.commands(3, 0.05))
        await farm.verdicts()
        health = await ordered(farm, "health", code=1)  # degraded: one of two is lost
        assert (health["pause"]["actor"], health["pause"]["reason"]) == ("alice@desk", "the switch is being replaced")
        assert await farm.events(WorkerRecoveryScheduled) == []

        resumed = await told(farm, "resume", reason="the switch is back")
        sequence = resumed["effects"][0]["sequence"]
        assert elected.sequence < sequence
        await farm.seen(WorkerRecoverySucceeded, after=sequence, worker_id=lost, attempt=1)
        await farm.submit(farm.shop.commands(6, 0.05))
        verdicts = await farm.verdicts()
        assert {verdicts[task_id].verdict for task_id in more} == {"passed"}

        orders = await farm.events(RecoveryPaused, WorkerDrainRequested, RunCancelRequested, RecoveryResumed)
        assert [(type(one.event), one.event.actor, one.event.reason) for one in orders] == [  # type: ignore[union-attr]
            (RecoveryPaused, "alice@desk", "the switch is being replaced"),
            (WorkerDrainRequested, "alice@desk", "new kernel"),
            (RunCancelRequested, "alice@desk", "wrong branch"),
            (RecoveryResumed, "alice@desk", "the switch is back"),
        ]
        assert orders[0].sequence < failed.sequence < orders[1].sequence
        assert await farm.events(TaskRequeued) == []
        stopped = await farm.seen(WorkerStopped, worker_id=drained)
        later = [one for one in await farm.events(WorkerRegistered) if one.sequence > stopped.sequence]
        assert [one.event.worker_id for one in later] == [lost], "nobody else is brought back"  # type: ignore[union-attr]
        cancelled = await farm.seen(TaskCompleted, task_id=staying)
        assert cancelled.sequence < elected.sequence


async def test_a_rolling_restart_by_order_costs_nothing(new_farm: NewFarm) -> None:
    """One worker after the other begins anew under load: no failure, no budget, no task."""
    async with new_farm() as farm:
        await farm.start(workers=3, slots=2)
        await farm.submit(farm.shop.commands(60, 0.05, 0.2))
        for name in ("w1", "w2", "w3"):
            report = await told(farm, "drain", name, "--restart", reason="rolling", wait="30")
            assert [effect["outcome"] for effect in report["effects"]] == ["done"]
        verdicts = await farm.verdicts()
        assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
        assert await farm.events(WorkerFailed, WorkerExited, WorkerRecoveryScheduled) == []
        requeued = await farm.events(TaskRequeued)
        assert {one.event.budget for one in requeued} <= {"none"}  # type: ignore[union-attr]
        assert len(await farm.events(WorkerRegistered)) == 6


async def test_a_cordoned_worker_gets_nothing_until_it_is_uncordoned(new_farm: NewFarm) -> None:
    async with new_farm() as farm:
        await farm.start(workers=2)
        await told(farm, "cordon", "w1", reason="it smells")
        first = await farm.submit(farm.shop.commands(6, 0.02))
        verdicts = await farm.verdicts()
        assert {verdicts[task_id].worker_id for task_id in first} == {"w2"}
        await told(farm, "cordon", "w2", reason="it smells as well")
        await told(farm, "uncordon", "w1", reason="aired")
        second = await farm.submit(farm.shop.commands(4, 0.02))
        verdicts = await farm.verdicts()
        assert {verdicts[task_id].worker_id for task_id in second} == {"w1"}
        assert len(await farm.events(WorkerCordoned, WorkerUncordoned)) == 3
