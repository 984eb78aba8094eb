"""A worker that is told through the log to end, or to begin anew."""

import os
import signal
from pathlib import Path

from events.system import RecoveryPaused, RecoveryResumed
from events.task import TaskReturned, TaskStarted
from events.worker import (
    WorkerDraining,
    WorkerDrainRequested,
    WorkerExited,
    WorkerFailed,
    WorkerRegistered,
    WorkerStalled,
    WorkerStopped,
)
from tests.waiting import is_kind
from tests.worker.farm import SLEEPS, Farm, Worker, command, gated, work_of


def order(worker: Worker, *, restart: bool = False, incarnation: int | None = None) -> WorkerDrainRequested:
    return WorkerDrainRequested(
        worker_id=worker.worker_id, actor="alice", reason="new kernel", restart=restart, incarnation=incarnation
    )


async def started(farm: Farm, task_id: str) -> None:
    await farm.seen(is_kind(TaskStarted, task_id=task_id), what=f"the start of {task_id}")


async def test_31_told_to_end_it_drains_and_ends_in_order(farm: Farm, tmp_path: Path) -> None:
    gate, suite = gated(tmp_path)
    worker = await farm.start()
    await farm.assign(worker, *work_of(suite, "test_waits", "test_quick"))
    await started(farm, "t1")
    ordered = (await farm.say(order(worker))).last
    draining = await farm.seen(is_kind(WorkerDraining, incarnation=worker.incarnation))
    assert isinstance(draining.event, WorkerDraining)
    assert draining.event.reason == "to end, by order of alice: new kernel"
    cause = await farm.log.read_one(ordered)
    assert cause is not None
    assert draining.envelope is not None
    assert draining.envelope.causation_id == cause.id
    await farm.seen(is_kind(TaskReturned, task_id="t2"))
    gate.touch()
    assert await worker.ended() == 0
    assert worker.stderr() == ""
    assert await farm.story("t1") == ["assigned", "started", "passed"]
    assert isinstance((await farm.events())[-1].event, WorkerStopped)
    assert worker.alive() == []


async def test_to_begin_anew_the_supervisor_starts_another_agent(farm: Farm, tmp_path: Path) -> None:
    gate, suite = gated(tmp_path)
    worker = await farm.start()
    agent, before = worker.agent_pid, worker.incarnation
    await farm.assign(worker, *work_of(suite, "test_waits", "test_quick"))
    await started(farm, "t1")
    await farm.say(order(worker, restart=True, incarnation=before))
    await farm.seen(is_kind(TaskReturned, task_id="t2"))
    gate.touch()
    await farm.registered(worker)
    assert worker.incarnation > before
    assert worker.agent_pid != agent
    assert worker.process.poll() is None
    assert await farm.story("t1") == ["assigned", "started", "passed"]
    assert not await farm.events(WorkerExited, WorkerStopped)
    await farm.assign(worker, command("true"), first=3)
    assert (await farm.ending("t3")).outcome == "passed"


async def test_an_order_that_means_another_incarnation_is_not_obeyed(farm: Farm) -> None:
    worker = await farm.start()
    wrong = worker.incarnation - 1
    await farm.say(order(worker, incarnation=wrong), order(worker, incarnation=wrong, restart=True))
    await farm.assign(worker, command("true"))
    assert (await farm.ending("t1")).outcome == "passed"
    assert not await farm.events(WorkerDraining)


async def test_told_to_end_while_it_waits_for_its_recovery(farm: Farm) -> None:
    worker = await farm.start()
    os.kill(worker.agent_pid, signal.SIGKILL)
    await farm.exit_of(worker)
    await farm.say(order(worker, restart=True))
    await farm.say(order(worker))
    assert await worker.ended() == 0
    await farm.seen(is_kind(WorkerStopped, incarnation=worker.incarnation))
    assert len(await farm.events(WorkerRegistered)) == 1


async def test_an_order_that_stands_before_a_registration_is_obeyed_behind_it(farm: Farm) -> None:
    """Given up and told to end in one breath, the agent registers first, and reads the log from there on."""
    worker = await farm.start()
    before = worker.incarnation
    await farm.say(WorkerFailed(worker_id="w1", incarnation=before, reason="silence"), order(worker))
    await farm.registered(worker)
    assert await worker.ended() == 0
    await farm.seen(is_kind(WorkerStopped, incarnation=worker.incarnation))


async def test_an_agent_that_dies_while_it_drains_is_not_started_again(farm: Farm) -> None:
    worker = await farm.start()
    await farm.assign(worker, command(*SLEEPS))
    await started(farm, "t1")
    await farm.say(order(worker))
    await farm.seen(is_kind(WorkerDraining))
    os.kill(worker.agent_pid, signal.SIGKILL)
    assert await worker.ended() == 1
    kinds = [type(recorded.event) for recorded in await farm.events(WorkerExited, WorkerStopped)]
    assert kinds == [WorkerExited, WorkerStopped]


async def test_an_agent_that_dies_while_it_drains_to_begin_anew_waits_for_its_recovery(farm: Farm) -> None:
    worker = await farm.start()
    await farm.assign(worker, command(*SLEEPS))
    await started(farm, "t1")
    await farm.say(order(worker, restart=True))
    await farm.seen(is_kind(WorkerDraining))
    os.kill(worker.agent_pid, signal.SIGKILL)
    await farm.exit_of(worker)
    await farm.order_restart(worker)
    await farm.registered(worker)
    assert worker.process.poll() is None


async def test_whoever_ends_it_overrules_who_told_it_to_begin_anew(farm: Farm, tmp_path: Path) -> None:
    gate, suite = gated(tmp_path)
    worker = await farm.start()
    await farm.assign(worker, *work_of(suite, "test_waits"))
    await started(farm, "t1")
    await farm.say(order(worker, restart=True))
    await farm.seen(is_kind(WorkerDraining))
    worker.process.send_signal(signal.SIGTERM)
    await farm.say(order(worker, restart=True))
    gate.touch()
    assert await worker.ended() == 0
    await farm.seen(is_kind(WorkerStopped, incarnation=worker.incarnation))
    assert await farm.story("t1") == ["assigned", "started", "passed"], "one SIGTERM is not two orders to stop"


async def test_while_recovery_is_paused_it_is_not_killed_for_being_of_no_use(farm: Farm) -> None:
    worker = await farm.start()
    await farm.say(RecoveryPaused(actor="alice"))
    await farm.say(WorkerStalled(worker_id="w1", incarnation=worker.incarnation, cause="not_obeyed"))
    await farm.assign(worker, command("true"))
    assert (await farm.ending("t1")).outcome == "passed"
    assert not await farm.events(WorkerExited)
    await farm.say(RecoveryResumed(actor="alice"))
    assert (await farm.exit_of(worker)).stalled
