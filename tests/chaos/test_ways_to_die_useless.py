"""Ways to be alive and of no use: beating, and doing nothing; beating, and hearing nothing."""

import signal
from pathlib import Path

import msgspec

from events.task import (
    TaskAssigned,
    TaskAttemptFinished,
    TaskCompleted,
    TaskRequeued,
    TaskRevoked,
    TaskStarted,
)
from events.worker import (
    WorkerExited,
    WorkerFailed,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerStalled,
    WorkerSuspected,
)
from tests.chaos.checks import check_everything
from tests.chaos.puppet import STUCK
from tests.chaos.told import check_apart, fact, in_order, never
from tests.chaos.wired import REPORTED, SILENT, WiredFarm

IMPATIENT = msgspec.structs.replace(REPORTED, revocation_grace=1.0, assignment_start_deadline=1.0)


async def test_a_worker_that_beats_and_does_nothing(tmp_path: Path) -> None:
    """What it was given does not begin, and it obeys no order to hand it back. Its supervisor does."""
    async with WiredFarm(tmp_path, IMPATIENT, alone=False) as farm:
        await farm.start(workers=1)
        stuck = await farm.victim("before")
        stuck.agent.send_signal(STUCK)
        await farm.passes(stuck, runs=1)
        (ignored,) = await farm.submit(farm.shop.commands(1, 0.05))
        await farm.seen(TaskAssigned, task_id=ignored, worker_id=stuck.worker_id)
        await farm.start_workers("w2")
        await farm.verdicts()
        await farm.seen(WorkerRecoverySucceeded, worker_id=stuck.worker_id)

        records = await check_everything(farm)
        who = {"worker_id": stuck.worker_id, "incarnation": stuck.incarnation}
        assigned, revoked, stalled, exited, failed, *_ = in_order(
            records,
            fact(TaskAssigned, **who, task_id=ignored),
            fact(TaskRevoked, **who, task_id=ignored),
            fact(WorkerStalled, **who, cause="not_obeyed", restart=True),
            fact(WorkerExited, **who, signal=signal.SIGKILL, stalled=True),
            fact(WorkerFailed, **who, reason="stalled"),
            fact(TaskRequeued, task_id=ignored, attempt=1, reason="worker_failed", budget="none"),
            fact(TaskStarted, task_id=ignored),
            fact(TaskCompleted, task_id=ignored, verdict="passed"),
        )
        assert revoked.time - assigned.time >= farm.policy.assignment_start_deadline
        assert stalled.time - revoked.time >= farm.policy.revocation_grace
        assert isinstance(failed.event, WorkerFailed)
        assert failed.event.evidence is not None
        assert failed.event.evidence.event_sequence == exited.sequence
        in_order(
            records,
            fact(WorkerRecoveryStarted, worker_id=stuck.worker_id, attempt=1, strategy="restart"),
            fact(WorkerRecoverySucceeded, worker_id=stuck.worker_id, attempt=1),
            after=failed.sequence,
        )


async def test_a_worker_that_can_speak_and_not_hear(tmp_path: Path) -> None:
    """Its heartbeats arrive, and it never learns that they do: so it stops its task, and says so. Nobody suspects it,
    and as soon as it hears again it is as good as before."""
    async with WiredFarm(tmp_path, SILENT, alone=True) as farm:
        await farm.start(workers=1)
        deaf = await farm.victim("deaf")
        await farm.start_workers("w2")
        farm.cables[deaf.worker_id].cut("to_worker")
        await farm.seen(TaskStarted, task_id=deaf.task_id, worker_id="w2")
        farm.cables[deaf.worker_id].mend()
        again = await farm.victim("again")
        assert (again.worker_id, again.incarnation) == (deaf.worker_id, deaf.incarnation)
        await farm.passes(again, runs=1)
        await farm.passes(deaf, runs=2)

        records = await check_everything(farm)
        in_order(
            records,
            fact(TaskAttemptFinished, task_id=deaf.task_id, outcome="fenced", attempt=1),
            fact(TaskRequeued, task_id=deaf.task_id, reason="fenced", budget="infrastructure"),
            fact(TaskStarted, task_id=deaf.task_id, attempt=2, worker_id="w2"),
            fact(TaskCompleted, task_id=deaf.task_id, attempt=2, verdict="passed"),
        )
        never(records, fact(WorkerFailed), fact(WorkerSuspected, worker_id=deaf.worker_id))
        check_apart(farm.shop.folder, deaf.word, runs=2)
