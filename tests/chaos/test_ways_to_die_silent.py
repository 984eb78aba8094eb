"""Ways to fall silent, for ever and for a while, where nobody can testify: each worker is alone on its machine.

One farm for all of them. The blows fall one after the other, each when the one before is suspected: a farm that falls
silent in one moment is a matter of its own.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from events.envelope import Recorded
from events.task import TaskAssigned, TaskCompleted, TaskRequeued, TaskStarted
from events.worker import (
    Evidence,
    WorkerExited,
    WorkerFailed,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRegistered,
    WorkerSuspected,
    WorkerSuspicionRefuted,
    WorkerVanished,
)
from tests.chaos.checks import check_everything
from tests.chaos.told import check_apart, fact, in_order, never
from tests.chaos.wired import SILENT, Victim, WiredFarm

REFUGE = "w9"
"""Takes over what the others lose."""
WITHIN_S = SILENT.failed_after * 4


class Way(NamedTuple):
    title: str
    strike: Callable[[WiredFarm, Victim], None]
    undo: Callable[[WiredFarm, Victim], None] | None
    """None: it is for good."""

    @property
    def word(self) -> str:
        return self.title.replace(" ", "-")


def cut(farm: WiredFarm, victim: Victim) -> None:
    farm.cables[victim.worker_id].cut()


def cut_towards_broker(farm: WiredFarm, victim: Victim) -> None:
    farm.cables[victim.worker_id].cut("to_broker")


def mend(farm: WiredFarm, victim: Victim) -> None:
    farm.cables[victim.worker_id].mend()


def stop(farm: WiredFarm, victim: Victim) -> None:
    victim.stop()


def stop_supervisor(farm: WiredFarm, victim: Victim) -> None:
    victim.supervisor.suspend()


def resume(farm: WiredFarm, victim: Victim) -> None:
    victim.resume()


def power_off(farm: WiredFarm, victim: Victim) -> None:
    """Not even the kernel can say goodbye."""
    cut(farm, victim)
    victim.kill()


UNNOTICED = Way("SIGSTOP of the supervisor", stop_supervisor, resume)
FOR_A_WHILE = (
    Way("a short cut both ways", cut, mend),
    Way("a short SIGSTOP of both", stop, resume),
)
FOR_EVER = (
    Way("a cut both ways", cut, mend),
    Way("a cut towards the broker", cut_towards_broker, mend),
    Way("SIGSTOP of both", stop, resume),
    Way("power off", power_off, None),
)


@pytest.mark.timeout(90)
async def test_ends_that_only_silence_tells_of(tmp_path: Path) -> None:
    async with WiredFarm(tmp_path, SILENT, alone=True) as farm:
        ways = (UNNOTICED, *FOR_A_WHILE, *FOR_EVER)
        await farm.start(workers=len(ways))
        victims = {way: await farm.victim(way.word) for way in ways}
        await farm.start_workers(REFUGE, slots=len(FOR_EVER))

        UNNOTICED.strike(farm, victims[UNNOTICED])
        for way in FOR_A_WHILE:
            name = victims[way].worker_id
            way.strike(farm, victims[way])
            suspected = await farm.seen(WorkerSuspected, WITHIN_S, worker_id=name)
            assert way.undo is not None
            way.undo(farm, victims[way])
            await farm.seen(WorkerSuspicionRefuted, WITHIN_S, after=suspected.sequence, worker_id=name)
        for way in FOR_EVER:
            way.strike(farm, victims[way])
            await farm.seen(WorkerSuspected, WITHIN_S, worker_id=victims[way].worker_id)
        for way in FOR_EVER:
            await farm.passes(victims[way], runs=2, within_s=WITHIN_S)
        for way in (*FOR_EVER, UNNOTICED):
            if way.undo is not None:
                way.undo(farm, victims[way])
        for way in FOR_EVER[:-1]:
            await farm.seen(WorkerRecoverySucceeded, WITHIN_S, worker_id=victims[way].worker_id)
        for way in (UNNOTICED, *FOR_A_WHILE):
            await farm.passes(victims[way], runs=1)

        records = await check_everything(farm)
        for way in FOR_EVER:
            check_end(farm, records, victims[way], comes_back=way.undo is not None)
        for way in (UNNOTICED, *FOR_A_WHILE):
            never(records, fact(WorkerFailed, worker_id=victims[way].worker_id))
            check_apart(farm.shop.folder, way.word, runs=1)
        # Nobody could testify, and no supervisor that was stopped for a while took its agent for hung.
        never(records, fact(WorkerVanished), fact(WorkerExited))


def check_end(farm: WiredFarm, records: Sequence[Recorded], victim: Victim, *, comes_back: bool) -> None:
    policy, task_id = farm.policy, victim.task_id
    who = {"worker_id": victim.worker_id}
    suspected, failed, *_ = in_order(
        records,
        fact(WorkerSuspected, **who, incarnation=victim.incarnation),
        fact(WorkerFailed, **who, incarnation=victim.incarnation, reason="silence"),
        fact(TaskRequeued, task_id=task_id, attempt=1, reason="worker_failed", budget="infrastructure"),
        fact(TaskAssigned, task_id=task_id, attempt=2, worker_id=REFUGE),
        fact(TaskStarted, task_id=task_id, attempt=2),
        fact(TaskCompleted, task_id=task_id, attempt=2, verdict="passed"),
        after=victim.since,
    )
    assert isinstance(suspected.event, WorkerSuspected)
    assert isinstance(failed.event, WorkerFailed)
    check_silence(suspected, suspected.event.evidence, policy.suspect_after)
    check_silence(failed, failed.event.evidence, policy.failed_after)
    check_apart(farm.shop.folder, victim.word, runs=2)
    story = [fact(WorkerRecoveryStarted, **who, attempt=1, strategy="await")]
    if comes_back:
        story += [fact(WorkerRegistered, **who), fact(WorkerRecoverySucceeded, **who, attempt=1, strategy="await")]
    in_order(records, *story, after=failed.sequence)


def check_silence(judged: Recorded, evidence: Evidence | None, threshold_s: float) -> None:
    """Never before its time."""
    assert evidence is not None
    assert evidence.last_seen is not None
    assert evidence.silence_s is not None
    assert evidence.threshold_s is not None
    assert evidence.silence_s >= evidence.threshold_s >= threshold_s
    assert judged.time - evidence.last_seen.timestamp() >= threshold_s
