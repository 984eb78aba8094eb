"""Workers whose connections end: because nothing is left of them, or because something in between has closed them."""

import asyncio
import contextlib
import os
import signal
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlparse

import msgspec
import psutil
import pytest

from events.policy import Policy
from events.task import TaskAttemptFinished, TaskRequeued, TaskStarted
from events.worker import (
    WorkerDisconnected,
    WorkerFailed,
    WorkerRegistered,
    WorkerSuspected,
    WorkerSuspicionRefuted,
    WorkerVanished,
)
from tests.chaos.conftest import NewFarm
from tests.chaos.farm import CALM, Farm
from tests.chaos.test_agents import staying_on
from tests.chaos.wired import WiredFarm
from tests.endings import gone
from tests.waiting import until
from tests.worker.processes import bystanders, marked

PATIENT = msgspec.structs.replace(CALM, suspect_after=15.0, self_fence_after=18.0, failed_after=22.0)
"""For what is to be found long before a silence would tell."""

RESET = struct.pack("ii", 1, 0)
"""For SO_LINGER: closing sends a reset."""


class Relay:
    """Between a worker and the broker, on the same machine: to both it looks as if the other were there itself."""

    def __init__(self, url: str) -> None:
        parsed = urlparse(url)
        self._broker = (parsed.hostname, parsed.port)
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._port = 0

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self._port}"

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Ends every connection on both sides by a reset; those who come back are let in."""
        for end in self._ends:
            end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            end.transport.abort()

    def close(self) -> None:
        """The same, and refuses everybody from then on."""
        if self._server is not None:
            self._server.close()
        self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection(*self._broker)
        self._ends |= {writer, here}
        with contextlib.suppress(OSError):
            await asyncio.gather(self._copy(reader, here), self._copy(there, writer))
        self._ends -= {writer, here}

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        finally:
            target.close()


@contextlib.asynccontextmanager
async def relayed(farm: Farm, name: str) -> AsyncIterator[Relay]:
    """A worker that knows the broker by a relay's address. It ends in order before the relay does."""
    relay = Relay(farm.broker.url)
    await relay.open()
    farm.launch_worker(name, slots=2, url=relay.url)
    await farm.registered(name, 0)
    try:
        yield relay
        await farm.stop(name)
    finally:
        relay.close()


async def kill_both(farm: Farm, name: str) -> list[psutil.Process]:
    """SIGKILL to supervisor and agent, so that nobody is left to report it; all that there was of the worker."""
    agent = await farm.agent(name)
    tree = [agent, *agent.children(recursive=True)]
    farm.supervisor(name).suspend()
    agent.kill()
    farm.members[name].process.kill()
    return tree


async def test_a_worker_killed_with_its_supervisor_is_found_at_once(new_farm: NewFarm) -> None:
    async with new_farm() as farm:
        await farm.start()
        staying, *_ = await farm.submit([farm.shop.command("stay", "stays"), *farm.shop.commands(6, 0.05)])
        first, _ = await staying_on(farm, staying, "stays")
        tree = await kill_both(farm, first.worker_id)
        vanished = await farm.seen(WorkerVanished, worker_id=first.worker_id, incarnation=first.incarnation)
        assert gone(tree)(), "a witness saw nothing while something of the worker was alive"
        failed = await farm.seen(WorkerFailed, worker_id=first.worker_id, reason="disconnected")
        assert isinstance(vanished.event, WorkerVanished)
        assert isinstance(failed.event, WorkerFailed)
        assert failed.event.evidence is not None
        assert failed.event.evidence.event_sequence == vanished.sequence
        assert vanished.event.closed_at is not None
        # Its heartbeats would have been missed only after that; a quiet machine needs a fiftieth of it.
        assert failed.time - vanished.event.closed_at.timestamp() < CALM.suspect_after
        await farm.seen(TaskRequeued, task_id=staying, reason="worker_failed", budget="infrastructure")
        verdict = (await farm.verdicts())[staying]
        assert (verdict.verdict, verdict.attempt) == ("passed", 2)
        assert verdict.worker_id != first.worker_id


async def test_a_worker_with_a_supervisor_that_lives_is_left_to_its_report(new_farm: NewFarm) -> None:
    async with new_farm() as farm:
        await farm.start()
        (staying,) = await farm.submit([farm.shop.command("stay", "stays")])
        first, _ = await staying_on(farm, staying, "stays")
        await farm.kill_agent(first.worker_id)
        await farm.seen(WorkerFailed, worker_id=first.worker_id, reason="worker_exit")
        await farm.verdicts()
        assert not await farm.events(WorkerVanished, WorkerDisconnected)


async def test_connections_that_are_reset_hurt_nobody(new_farm: NewFarm) -> None:
    async with new_farm() as farm:
        await farm.start_coordinator()
        async with relayed(farm, "w1") as relay:
            (waiting,) = await farm.submit([farm.shop.command("wait", "waits")])
            first = await farm.running(waiting)
            for _ in range(3):
                relay.cut()
                # It is back when it hears what it is to do.
                (next_one,) = await farm.submit(farm.shop.commands(1, 0.05))
                await farm.seen(TaskStarted, task_id=next_one)
            farm.shop.say_go("waits")
            verdicts = await farm.verdicts()
            assert verdicts[waiting].attempt == first.attempt == 1
        assert not await farm.events(WorkerVanished, WorkerFailed)
        assert len(await farm.events(WorkerRegistered)) == 1


async def test_a_worker_that_is_cut_off_is_suspected_and_keeps_its_task(new_farm: NewFarm) -> None:
    """To the broker its end and this look the same. A witness sees that it lives, and so its task runs once."""
    async with new_farm() as farm:
        await farm.start_coordinator()
        async with relayed(farm, "w1") as relay:
            (waiting,) = await farm.submit([farm.shop.command("wait", "waits")])
            first = await farm.running(waiting)
            await until(lambda: farm.shop.runs("waits"), what="the run")
            relay.close()
            lost = await farm.seen(WorkerDisconnected, worker_id="w1", incarnation=first.incarnation)
            suspected = await farm.seen(WorkerSuspected, worker_id="w1")
            assert isinstance(suspected.event, WorkerSuspected)
            assert suspected.event.evidence.event_sequence == lost.sequence
            await relay.open()
            await farm.seen(WorkerSuspicionRefuted, worker_id="w1", incarnation=first.incarnation)
            farm.shop.say_go("waits")
            verdict = (await farm.verdicts())[waiting]
            assert (verdict.verdict, verdict.attempt) == ("passed", 1)
        assert len(farm.shop.runs("waits")) == 1
        assert not await farm.events(WorkerVanished, WorkerFailed)


async def test_22_what_ended_without_a_connection_is_reported_once_and_in_order_when_it_is_back(
    new_farm: NewFarm,
) -> None:
    async with new_farm() as farm:
        await farm.start_coordinator()
        async with relayed(farm, "w1") as relay:
            (waiting,) = await farm.submit([farm.shop.command("wait", "waits")])
            first = await farm.running(waiting)
            await until(lambda: farm.shop.runs("waits"), what="the run")
            (pid,) = farm.shop.runs("waits")
            relay.close()
            farm.shop.say_go("waits")
            await until(lambda: not psutil.pid_exists(pid), what="the end of the run")
            assert not await farm.events(TaskAttemptFinished)
            (later,) = await farm.submit(farm.shop.commands(1, 0.05))
            await relay.open()
            verdicts = await farm.verdicts()
            assert (verdicts[waiting].verdict, verdicts[waiting].attempt) == ("passed", 1)
        said = [one.event for one in await farm.events(TaskAttemptFinished)]
        assert [(one.task_id, one.incarnation) for one in said if isinstance(one, TaskAttemptFinished)] == [
            (waiting, first.incarnation),
            (later, first.incarnation),
        ]
        assert len(farm.shop.runs("waits")) == 1


async def test_a_worker_that_is_killed_while_it_is_cut_off_is_found_by_a_witness(new_farm: NewFarm) -> None:
    async with new_farm() as farm:
        await farm.start_coordinator()
        async with relayed(farm, "w1") as relay:
            (staying,) = await farm.submit([farm.shop.command("stay", "stays")])
            await staying_on(farm, staying, "stays")
            await farm.start_workers("w2")
            relay.close()
            await farm.seen(WorkerDisconnected, worker_id="w1")
            tree = await kill_both(farm, "w1")
            await farm.seen(WorkerVanished, worker_id="w1")
            assert gone(tree)()
            await farm.seen(WorkerFailed, worker_id="w1", reason="disconnected")
            verdict = (await farm.verdicts())[staying]
            assert (verdict.verdict, verdict.attempt, verdict.worker_id) == ("passed", 2, "w2")


async def test_a_worker_that_dies_with_the_broker_is_found_when_that_is_back(new_farm: NewFarm) -> None:
    """The broker tells nobody of connections that end with it, and the survivors' are all there again in time."""
    async with new_farm(PATIENT) as farm:
        await farm.start()
        (staying,) = await farm.submit([farm.shop.command("stay", "stays")])
        first, agent = await staying_on(farm, staying, "stays")
        supervisor = farm.supervisor(first.worker_id)
        assert farm.broker.pid is not None
        os.kill(farm.broker.pid, signal.SIGSTOP)  # it closes no connection any more, and tells of none
        supervisor.suspend()
        agent.kill()
        supervisor.kill()
        await farm.kill_broker()
        vanished = await farm.seen(WorkerVanished, worker_id=first.worker_id, incarnation=first.incarnation)
        failed = await farm.seen(WorkerFailed, worker_id=first.worker_id, reason="disconnected")
        assert isinstance(vanished.event, WorkerVanished)
        assert (vanished.event.reason, vanished.event.closed_at) == ("", None)
        verdict = (await farm.verdicts())[staying]
        assert (verdict.verdict, verdict.attempt) == ("passed", 2)
        assert verdict.worker_id != first.worker_id
        # It was found before its silence was long enough, and of the others nobody was missed.
        assert not [one for one in await farm.events(WorkerSuspected) if one.sequence < failed.sequence]
        assert len(await farm.events(WorkerFailed)) == 1
        assert not await farm.events(WorkerDisconnected)


async def test_a_worker_that_dies_with_the_broker_where_nobody_can_testify_is_suspected(tmp_path: Path) -> None:
    """As when its whole machine is gone."""
    async with WiredFarm(tmp_path, PATIENT, alone=True) as farm:
        await farm.start()
        victim = await farm.victim("gone")
        assert farm.broker.pid is not None
        os.kill(farm.broker.pid, signal.SIGSTOP)
        victim.kill()
        for pid in bystanders(farm.mark):
            psutil.Process(pid).kill()
        await farm.kill_broker()
        lost = await farm.seen(WorkerDisconnected, worker_id=victim.worker_id, incarnation=victim.incarnation)
        suspected = await farm.seen(WorkerSuspected, worker_id=victim.worker_id)
        assert isinstance(suspected.event, WorkerSuspected)
        assert suspected.event.evidence.event_sequence == lost.sequence
        assert len(await farm.events(WorkerDisconnected)) == len(await farm.events(WorkerSuspected)) == 1
        assert not await farm.events(WorkerFailed, WorkerVanished)
        await farm.stop()
        await until(lambda: not marked(farm.mark), what="the end of every process")


@pytest.mark.parametrize(
    "policy", [PATIENT, msgspec.structs.replace(CALM, reconnect_grace=20.0)], ids=["absent", "suspected"]
)
async def test_a_worker_that_dies_while_nobody_listens_is_found(new_farm: NewFarm, policy: Policy) -> None:
    """Nobody has heard of its disconnection: the only coordinator was killed before it. The next one looks for the
    absent when `reconnect_grace` is over, and for the silent when they are suspected."""
    async with new_farm(policy) as farm:
        await farm.start(workers=2)
        (staying,) = await farm.submit([farm.shop.command("stay", "stays")])
        first, _ = await staying_on(farm, staying, "stays")
        farm.members["c1"].process.kill()
        tree = await kill_both(farm, first.worker_id)
        await until(gone(tree), 5, "the end of all that the worker had started")
        await farm.start_coordinator("c1")
        failed = await farm.seen(WorkerFailed, worker_id=first.worker_id, reason="disconnected")
        suspicions = [one for one in await farm.events(WorkerSuspected) if one.sequence < failed.sequence]
        if policy is PATIENT:
            assert not suspicions
        else:
            (suspected,) = suspicions
            assert failed.time - suspected.time < CALM.failed_after - CALM.suspect_after
        assert (await farm.verdicts())[staying].attempt == 2
