"""Workers that beat and are of no use, among others that are; and tasks that do not end."""

import os
import stat
import sys
from collections import Counter

import msgspec
import psutil
import pytest

from events.task import TaskHung, TaskRequeued, TaskReturned, TaskRevoked
from events.work import AnyWork, CommandWork
from events.worker import (
    WorkerExited,
    WorkerFailed,
    WorkerRecoverySucceeded,
    WorkerStalled,
)
from tests.chaos.conftest import NewFarm
from tests.chaos.farm import CALM, Farm
from tests.waiting import until

IMPATIENT = msgspec.structs.replace(
    CALM,
    assignment_start_deadline=1.5,
    revocation_grace=1.5,
    task_hang_cap=2.0,
    task_hang_grace=0.5,
    fail_fast_judgement=10.0,
)
BROKEN = "w1"


async def warm_pytest(farm: Farm, name: str) -> psutil.Process:
    """The process that waits for tests."""
    agent = await farm.agent(name)

    def running() -> list[psutil.Process]:
        return [one for one in agent.children(recursive=True) if any("pytest_runner" in word for word in one.cmdline())]

    return (await until(running, what=f"the warm pytest of {name}"))[-1]


async def test_a_worker_whose_tests_do_not_start_is_started_anew(new_farm: NewFarm) -> None:
    """Its pytest hangs between two tests: all that its worker sees is that it takes none."""
    async with new_farm(IMPATIENT) as farm:
        await farm.start(workers=1)
        await farm.submit(farm.shop.tests(["test_lasts[0]"]))
        await farm.verdicts()
        process = await warm_pytest(farm, BROKEN)
        process.suspend()
        stuck, *_ = await farm.submit(farm.shop.tests(["test_lasts[1]"]))
        await farm.start_workers("w2")
        revoked = await farm.seen(TaskRevoked, task_id=stuck, worker_id=BROKEN)
        assert isinstance(revoked.event, TaskRevoked)
        incarnation = revoked.event.incarnation
        await farm.seen(TaskReturned, task_id=stuck, worker_id=BROKEN, unknown=False)
        await farm.seen(WorkerStalled, worker_id=BROKEN, incarnation=incarnation, cause="not_started", restart=True)
        await farm.seen(WorkerExited, worker_id=BROKEN, incarnation=incarnation, stalled=True)
        assert not process.is_running(), "its end was reported while something of it was alive"
        await farm.seen(WorkerFailed, worker_id=BROKEN, incarnation=incarnation, reason="stalled")
        await farm.seen(WorkerRecoverySucceeded, worker_id=BROKEN, attempt=1, strategy="restart")
        verdicts = await farm.verdicts()
        assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
        assert verdicts[stuck].worker_id == "w2", "it went elsewhere before its worker was killed"
        await farm.seen(TaskRequeued, task_id=stuck, reason="worker_unfit", budget="none")


async def test_a_suite_that_takes_long_to_collect_is_no_stall(new_farm: NewFarm) -> None:
    async with new_farm(IMPATIENT) as farm:
        conftest = farm.shop.folder / "conftest.py"
        conftest.write_text(f"import time\ntime.sleep({3 * IMPATIENT.assignment_start_deadline})\n")
        await farm.start(workers=1)
        await farm.submit(farm.shop.tests(["test_lasts[0]", "test_lasts[1]"]))
        verdicts = await farm.verdicts()
        assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
        assert not await farm.events(TaskRevoked, WorkerStalled)


async def test_a_task_without_a_limit_is_stopped_at_the_cap(new_farm: NewFarm) -> None:
    async with new_farm(IMPATIENT) as farm:
        await farm.start(workers=1)
        (task_id,) = await farm.submit([farm.shop.command("wait", "never")])
        hung = await farm.seen(TaskHung, task_id=task_id, worker_id=BROKEN)
        assert isinstance(hung.event, TaskHung)
        assert hung.event.ran_s >= hung.event.limit_s == IMPATIENT.task_hang_cap
        verdict = (await farm.verdicts())[task_id]
        assert (verdict.verdict, verdict.outcome, verdict.attempt) == ("timed_out", "cancelled", 1)
        assert not await farm.events(WorkerStalled)


def picky(worker_id: str, folder: str) -> CommandWork:
    """Fails at once where the worker's disk is full, so to say."""
    code = f"import os, sys, time; os.environ['RESURGAM_WORKER_ID'] == {worker_id!r} and sys.exit(1); time.sleep(0.1)"
    return CommandWork(argv=(sys.executable, "-I", "-S", "-c", code), cwd=folder)


@pytest.mark.timeout(90)
async def test_a_worker_that_fails_everything_at_once_among_good_ones(new_farm: NewFarm) -> None:
    async with new_farm(IMPATIENT) as farm:
        await farm.start()
        await farm.submit(picky(BROKEN, str(farm.shop.folder)) for _ in range(60))
        verdicts = await farm.verdicts()
        counted = Counter(verdict.verdict for verdict in verdicts.values())
        assert counted["failed"] <= IMPATIENT.fail_fast_tasks
        assert counted["failed"] + counted["passed"] == 60
        stalls = await farm.events(WorkerStalled)
        assert {stall.event.worker_id for stall in stalls if isinstance(stall.event, WorkerStalled)} == {BROKEN}
        await farm.seen(WorkerStalled, worker_id=BROKEN, cause="failing_fast", restart=True)
        await farm.seen(WorkerFailed, worker_id=BROKEN, reason="stalled")


@pytest.mark.timeout(90)
async def test_a_worker_on_which_nothing_can_be_begun(new_farm: NewFarm, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is installed everywhere else. Such an attempt is no verdict on anything, and none is lost."""
    async with new_farm(IMPATIENT) as farm:
        await farm.start(workers=1)
        tools = farm.shop.folder / "bin"
        tools.mkdir()
        (tools / "tool").write_text(f"#!{sys.executable} -IS\nimport time\ntime.sleep(0.1)\n")
        (tools / "tool").chmod(stat.S_IRWXU)
        monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        await farm.start_workers("w2", "w3")
        works: list[AnyWork] = [CommandWork(argv=("tool",), cwd=str(farm.shop.folder))] * 40
        await farm.submit(works)
        verdicts = await farm.verdicts()
        counted = Counter(verdict.verdict for verdict in verdicts.values())
        assert counted["failed"] <= IMPATIENT.fail_fast_tasks
        assert counted["failed"] + counted["passed"] == 40
        await farm.seen(WorkerStalled, worker_id=BROKEN, cause="failing_fast")
        await farm.seen(TaskRequeued, worker_id=BROKEN, reason="worker_unfit", budget="infrastructure")


async def test_a_suite_of_failing_tests_is_nobodys_fault(new_farm: NewFarm) -> None:
    async with new_farm(IMPATIENT) as farm:
        await farm.start()
        work = CommandWork(argv=(sys.executable, "-I", "-S", "-c", "raise SystemExit(1)"), cwd=str(farm.shop.folder))
        await farm.submit([work] * 45)
        verdicts = await farm.verdicts()
        assert {verdict.verdict for verdict in verdicts.values()} == {"failed"}
        assert not await farm.events(WorkerFailed)
        stalls = [one.event for one in await farm.events(WorkerStalled)]
        assert not [event for event in stalls if isinstance(event, WorkerStalled) and event.restart]
