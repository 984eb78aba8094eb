"""Workers that the leader brings back itself: a connection that is closed at the server, a process that is started."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from events.clock import seconds
from events.system import LeaderElected
from events.worker import (
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerRecoveryActed,
    WorkerRecoveryFailed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRegistered,
)
from tests.chaos.conftest import NewFarm
from tests.chaos.farm import CALM, HASTY, Farm
from tests.chaos.test_agents import staying_on
from tests.chaos.told import lives
from tests.chaos.wired import WiredFarm
from tests.endings import gone
from tests.waiting import until
from tests.worker.processes import marked

LOCAL = msgspec.structs.replace(CALM, launcher="local")


@contextlib.contextmanager
def launched(farm: Farm, name: str) -> Iterator[None]:
    """Ends what was launched for a worker in the end: nobody else does, least of all the coordinator that did it."""
    try:
        yield
    finally:
        for pid in marked(farm.mark):
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                if name in process.cmdline() and pid != farm.members[name].pid:
                    process.terminate()
        farm.members[name].process.kill()


def kill_all_of(farm: Farm, name: str, agent: psutil.Process) -> list[psutil.Process]:
    """Supervisor and agent: nobody is left to report it, or to start anything anew."""
    supervisor = farm.supervisor(name)
    supervisor.suspend()
    tree = [agent, *agent.children(recursive=True)]
    agent.kill()
    supervisor.kill()
    return tree


def processes_of(farm: Farm, name: str) -> list[psutil.Process]:
    """Of all that was started for that worker and lives."""
    found = []
    for pid in marked(farm.mark):
        with contextlib.suppress(psutil.Error):
            if name in (process := psutil.Process(pid)).cmdline():
                found.append(process)
    return found


def supervisors_of(farm: Farm, name: str) -> list[psutil.Process]:
    found = processes_of(farm, name)
    pids = [one.pid for one in found]
    return [one for one in found if one.ppid() not in pids]


@pytest.mark.timeout(90)
async def test_a_worker_that_is_gone_is_replaced(new_farm: NewFarm) -> None:
    async with new_farm(LOCAL) as farm:
        await farm.start()
        staying, *_ = await farm.submit([farm.shop.command("stay", "stays"), *farm.shop.commands(6, 0.05)])
        first, agent = await staying_on(farm, staying, "stays")
        name = first.worker_id
        with launched(farm, name):
            tree = kill_all_of(farm, name, agent)
            failed = await farm.seen(WorkerFailed, worker_id=name, reason="disconnected")
            await until(gone(tree), what="the end of all that the worker had started")
            acted = await farm.seen(WorkerRecoveryActed, worker_id=name, attempt=1, strategy="replace", outcome="done")
            assert isinstance(acted.event, WorkerRecoveryActed)
            log = farm.members["c1"].folder / "state" / "workers" / f"{name}.log"
            assert str(log) in acted.event.detail
            assert log.exists()
            again = await farm.registered(name, failed.sequence)
            await farm.seen(WorkerRecoverySucceeded, worker_id=name, strategy="replace", incarnation=again)
            await farm.submit(farm.shop.commands(12, 0.1))
            verdicts = await farm.verdicts()
            assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
            assert name in {verdict.worker_id for verdict in verdicts.values()}
            rows = await farm.ask(
                "SELECT attempt_number, recovery_type, success FROM worker_recovery_history ORDER BY id"
            )
            assert rows == [[1, "replace", True]]
            # It is not the coordinator's: whoever launched it may end.
            launched_processes = processes_of(farm, name)
            farm.members["c1"].process.kill()
            await farm.members["c1"].ended()
            assert not gone(launched_processes)()
            await farm.start_coordinator("c2")
            await farm.submit(farm.shop.commands(6, 0.05))
            await farm.verdicts()


@pytest.mark.timeout(90)
async def test_16_the_leader_dies_while_it_replaces_a_worker(new_farm: NewFarm) -> None:
    """Whether or not a process was started: the next leader sees an attempt that nobody has said anything of."""
    async with new_farm(LOCAL) as farm:
        await farm.start()
        await farm.start_coordinator("c2")
        staying, *_ = await farm.submit([farm.shop.command("stay", "stays"), *farm.shop.commands(6, 0.05)])
        first, agent = await staying_on(farm, staying, "stays")
        name = first.worker_id
        with launched(farm, name):
            kill_all_of(farm, name, agent)
            await farm.seen(WorkerRecoveryStarted, worker_id=name, attempt=1, strategy="replace")
            farm.members["c1"].process.kill()
            await farm.seen(WorkerRecoverySucceeded, worker_id=name, attempt=1, strategy="replace")
            await farm.submit(farm.shop.commands(12, 0.1))
            verdicts = await farm.verdicts()
            assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
            for kind in (WorkerRecoveryScheduled, WorkerRecoveryStarted, WorkerRecoverySucceeded):
                assert len(await farm.events(kind)) == 1
            # However often it was started, one process is the worker.
            await until(lambda: len(supervisors_of(farm, name)) == 1, what="a single worker")


@pytest.mark.timeout(90)
async def test_16_attempts_outlive_their_leaders_and_begin_once_at_their_time(new_farm: NewFarm) -> None:
    """Each leader dies as soon as it has scheduled the next one."""
    policy = msgspec.structs.replace(
        CALM,
        ladders={"disconnected": ("await",)},
        max_recovery_attempts=3,
        recovery_attempt_timeout=0.5,
        recovery_backoff=2.0,
        recovery_interval=4.0,
    )
    async with new_farm(policy) as farm:
        await farm.start(workers=2)
        for name in ("c2", "c3"):
            await farm.start_coordinator(name)
        agent = await farm.agent("w1")
        kill_all_of(farm, "w1", agent)
        for attempt in (2, 3):
            await farm.seen(WorkerRecoveryScheduled, worker_id="w1", attempt=attempt)
            leader = (await farm.events(LeaderElected))[-1].event
            assert isinstance(leader, LeaderElected)
            farm.members[leader.coordinator_id].process.kill()
        await farm.seen(WorkerPermanentlyFailed, 30.0, worker_id="w1", attempts=3)
        due = {}
        for recorded in await farm.events(WorkerRecoveryScheduled):
            assert isinstance(recorded.event, WorkerRecoveryScheduled)
            due[recorded.event.attempt] = seconds(recorded.event.not_before)
        begun = [(one.event.attempt, one.time) for one in await farm.events(WorkerRecoveryStarted)]  # type: ignore[union-attr]
        assert [attempt for attempt, _ in begun] == sorted(due) == [1, 2, 3]
        assert all(at >= due[attempt] for attempt, at in begun)
        assert len(await farm.events(LeaderElected)) == 3
        await farm.submit(farm.shop.commands(3, 0.05))
        await farm.verdicts()


@pytest.mark.timeout(90)
async def test_21_nobody_can_launch_it(new_farm: NewFarm) -> None:
    """One record per rung, then escalation, and automation stops for that worker; the plugin is not there."""
    policy = msgspec.structs.replace(
        HASTY,
        launcher="teleporter",
        max_recovery_attempts=3,
        recovery_attempt_timeout=1.0,
        ladders={"disconnected": ("replace", "cast-a-spell", "await")},
    )
    async with new_farm(policy) as farm:
        await farm.start(workers=2)
        (staying,) = await farm.submit([farm.shop.command("stay", "stays")])
        first, agent = await staying_on(farm, staying, "stays")
        name = first.worker_id
        kill_all_of(farm, name, agent)
        await farm.seen(WorkerPermanentlyFailed, worker_id=name, attempts=3)
        errors = [one.event.error for one in await farm.events(WorkerRecoveryFailed)]  # type: ignore[union-attr]
        assert "this coordinator has no launcher 'teleporter'" in errors[0]
        assert "this coordinator has no strategy 'cast-a-spell'" in errors[1]
        assert errors[2] == "it did not register again (await)"
        assert len(await farm.events(WorkerRecoveryActed)) == 2
        await farm.verdicts()


@pytest.mark.timeout(90)
async def test_a_connection_that_is_stuck_is_closed_at_the_server(tmp_path: Path) -> None:
    """A firewall has forgotten it: nothing passes, and neither end knows."""
    policy = msgspec.structs.replace(HASTY, ladders={"silence": ("reconnect", "restart")}, detector="deadline")
    async with WiredFarm(tmp_path, policy, alone=True) as farm:
        await farm.start(workers=2)
        victim = await farm.victim("steady")
        name = victim.worker_id
        farm.cables[name].jam()
        failed = await farm.seen(WorkerFailed, worker_id=name, reason="silence", incarnation=victim.incarnation)
        started = await farm.seen(WorkerRecoveryStarted, worker_id=name, attempt=1, strategy="reconnect")
        await farm.seen(WorkerRecoveryActed, worker_id=name, attempt=1, strategy="reconnect", outcome="done")
        again = await farm.seen(WorkerRegistered, after=failed.sequence, worker_id=name)
        assert isinstance(again.event, WorkerRegistered)
        assert started.sequence < again.sequence, "it has found the way back by itself"
        assert again.event.pid == victim.agent.pid
        await farm.seen(
            WorkerRecoverySucceeded, worker_id=name, attempt=1, strategy="reconnect", incarnation=again.sequence
        )
        await farm.passes(victim, runs=2)
        assert len(lives(farm.shop.folder, victim.word)) == 2
        await farm.stop()
