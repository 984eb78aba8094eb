"""What a worker does about being of no use: says what it does not have and what it has room for, and obeys."""

from pathlib import Path

import pytest

from events.base import Event
from events.policy import Policy
from events.task import TaskReturned, TaskRevoked, TaskStarted
from events.work import CommandWork
from events.worker import (
    StallCause,
    WorkerDraining,
    WorkerExited,
    WorkerFailed,
    WorkerStalled,
    WorkerStallRefuted,
    WorkerStopped,
)
from tests.recovery.story import policy_changed
from tests.waiting import is_kind
from tests.worker.conftest import Lane
from tests.worker.farm import SHORT, SLEEPS, Farm, Worker, command, suite_in, work_of
from tests.worker.orders import SuiteOf, pytest_jobs
from worker.stalls import Stalls


def stalled(
    worker: Worker, cause: StallCause = "not_started", *, incarnation: int | None = None, restart: bool = True
) -> WorkerStalled:
    own = worker.incarnation if incarnation is None else incarnation
    return WorkerStalled(worker_id="w1", incarnation=own, cause=cause, restart=restart)


def refuted(worker: Worker) -> WorkerStallRefuted:
    return WorkerStallRefuted(worker_id="w1", incarnation=worker.incarnation, reason="test")


async def running(farm: Farm) -> Worker:
    worker = await farm.start()
    await farm.assign(worker, command(*SLEEPS))
    await farm.seen(is_kind(TaskStarted, task_id="t1"))
    return worker


# The supervisor


async def test_a_stalled_agent_is_killed_with_all_it_left(farm: Farm) -> None:
    worker = await running(farm)
    pids = await worker.beneath(2)
    await farm.say(stalled(worker))
    exited = await farm.exit_of(worker)
    assert (exited.stalled, exited.hung, exited.signal, exited.detail) == (True, False, 9, "not_started")
    assert not set(pids) & set(worker.alive())
    await farm.order_restart(worker)


async def test_what_is_no_order_to_kill_it_kills_nobody(farm: Farm) -> None:
    worker = await running(farm)
    await farm.say(
        stalled(worker, incarnation=worker.incarnation - 1),
        stalled(worker, "failing_fast", restart=False),
    )
    await farm.say(TaskRevoked(task_id="t1", worker_id="w1", incarnation=worker.incarnation, attempt=1))
    assert (await farm.ending("t1")).outcome == "cancelled"
    assert not await farm.events(WorkerExited)


async def test_without_automatic_recovery_it_waits_for_the_switch(farm: Farm) -> None:
    worker = await running(farm)
    await farm.rule(Policy(auto_recovery=False))
    await farm.say(
        stalled(worker), TaskRevoked(task_id="t1", worker_id="w1", incarnation=worker.incarnation, attempt=1)
    )
    assert (await farm.ending("t1")).outcome == "cancelled"
    assert not await farm.events(WorkerExited)
    await farm.say(policy_changed(Policy()))
    assert (await farm.exit_of(worker)).stalled


async def test_one_that_is_of_use_again_is_left_alone(farm: Farm) -> None:
    worker = await running(farm)
    await farm.rule(Policy(auto_recovery=False))
    await farm.say(stalled(worker), refuted(worker))
    await farm.say(policy_changed(SHORT))
    await farm.say(TaskRevoked(task_id="t1", worker_id="w1", incarnation=worker.incarnation, attempt=1))
    assert (await farm.ending("t1")).outcome == "cancelled"
    assert not await farm.events(WorkerExited)


async def test_one_that_is_being_stopped_ends_in_order(farm: Farm) -> None:
    worker = await farm.start()
    worker.process.terminate()
    await farm.seen(is_kind(WorkerDraining))
    await farm.say(stalled(worker))
    await farm.seen(is_kind(WorkerStopped))
    assert not await farm.events(WorkerExited)


ORDER = WorkerStalled(worker_id="w1", incarnation=5, cause="not_obeyed")


@pytest.mark.parametrize(
    ("told", "standing"),
    [
        ([ORDER], ORDER),
        ([ORDER, None], ORDER),
        ([ORDER, WorkerStallRefuted(worker_id="w1", incarnation=5, reason="it has answered")], None),
        ([ORDER, WorkerFailed(worker_id="w1", incarnation=5, reason="silence")], None),
        ([WorkerStalled(worker_id="w1", incarnation=5, cause="failing_fast", restart=False)], None),
    ],
)
def test_which_finding_stands(told: list[Event | None], standing: WorkerStalled | None) -> None:
    stalls = Stalls()
    for event in told:
        stalls.note(event)
    assert stalls.standing == standing


# The agent


async def test_an_order_that_comes_after_it_was_called_unknown_is_not_obeyed(farm: Farm) -> None:
    worker = await farm.start()
    await farm.say(TaskRevoked(task_id="t1", worker_id="w1", incarnation=worker.incarnation, attempt=1))
    await farm.seen(is_kind(TaskReturned, task_id="t1", attempt=1, unknown=True))
    await farm.assign(worker, command("true"), command("true"))
    await farm.ending("t2")
    assert await farm.story("t1") == ["revoked", "returned", "assigned"]


async def test_a_worker_says_what_room_it_has(farm: Farm) -> None:
    worker = await farm.start(slots=2)
    await farm.beat(worker, lambda recorded: recorded.heartbeat is not None and recorded.heartbeat.free == 2)
    await farm.assign(worker, command(*SLEEPS))
    beat = await farm.beat(worker, lambda recorded: recorded.heartbeat is not None and recorded.heartbeat.free == 1)
    assert beat.heartbeat is not None
    assert (beat.heartbeat.running, beat.heartbeat.unreported) == (("t1",), 0)


async def test_what_cannot_be_started_is_said_to_be_so(farm: Farm, tmp_path: Path) -> None:
    worker = await farm.start()
    suite = suite_in(tmp_path, "def test_it(): pass\n")
    nowhere = type(suite)(python=suite.python, cwd=str(tmp_path / "nowhere"), args=suite.args)
    await farm.assign(
        worker,
        command("/no/such/command"),
        CommandWork(argv=("true",), cwd=str(tmp_path / "nowhere")),
        *work_of(nowhere, "test_it"),
        command("false"),
        *work_of(suite, "test_it", "test_that_is_not_there"),
    )
    said: dict[str, tuple[str, bool]] = {}
    for number in range(1, 7):
        ending = await farm.ending(f"t{number}")
        said[ending.task_id] = ending.outcome, ending.unstartable
    assert said == {
        "t1": ("error", True),
        "t2": ("error", True),
        "t3": ("error", True),
        "t4": ("failed", False),
        "t5": ("passed", False),
        "t6": ("error", False),
    }


async def test_a_slot_that_gets_ready_is_not_free(lane: Lane, suite_of: SuiteOf) -> None:
    slot = lane.slot()
    seen = [slot.free]
    (first,) = pytest_jobs(suite_of(test_it="def test_one(): pass\n"), "one")
    slot.feed(first)
    seen.append(slot.free)  # it starts an interpreter
    await lane.end_of("one")
    seen.append(slot.free)
    assert seen == [True, False, True]
