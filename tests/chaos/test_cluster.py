"""Nodes of a replicated broker are killed under a farm that works."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from types import TracebackType

import msgspec
import psutil
import pytest

from coordinator.cluster import LocalCluster
from coordinator.kick import ConnectionCloser
from events.errors import BrokerRefused, LogError, Unacknowledged
from events.policy import Policy
from events.streams import Streams
from events.system import RunSubmitted
from events.task import TaskAttemptFinished, TaskCompleted
from events.worker import WorkerFailed
from tests.chaos.checks import check_everything
from tests.chaos.farm import Farm, Member, until_true
from tests.waiting import until

PATIENT = Policy(heartbeat_interval=1.0, suspect_after=8.0, self_fence_after=14.0, failed_after=18.0)
"""A cluster takes four to ten seconds to find a new leader for its streams, and readers as long to find theirs."""

REPLICATED = ("--replicas", "3")


class ClusterFarm(Farm):
    """Over three nodes instead of one broker."""

    def __init__(self, folder: Path, policy: Policy = PATIENT) -> None:
        super().__init__(folder, policy)
        self.cluster = LocalCluster(folder / "cluster", sync="default")
        self.streams = Streams(replicas=3)

    async def start_broker(self) -> str:
        await self.cluster.__aenter__()
        return self.cluster.url

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await super().__aexit__(kind, error, trace)
        finally:
            await self.cluster.stop()

    def launch(self, name: str, *command: str, url: str = "") -> Member:
        return super().launch(name, *command, url=url or self.cluster.url)

    async def verdicts(self, number: int | None = None, within_s: float = 40.0) -> dict[str, TaskCompleted]:
        """A reader cannot begin while nobody leads."""
        async with asyncio.timeout(within_s):
            while True:
                with contextlib.suppress(Unacknowledged):
                    return await super().verdicts(number, within_s)

    async def stream_leader(self) -> str:
        info = msgspec.json.decode(await self.bus.api(f"STREAM.INFO.{self.streams.events}"))
        return str(info["cluster"]["leader"])

    async def kill_node(self, name: str) -> None:
        node = self.cluster.nodes[name]
        before, pid = node.restarts, node.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: node.restarts > before, 15, f"the return of {name}")


async def test_nodes_die_under_a_run(tmp_path: Path) -> None:
    async with ClusterFarm(tmp_path) as farm:
        farm.launch_coordinator("c2", *REPLICATED)  # whoever is first makes the streams
        await farm.start(*REPLICATED, workers=2, slots=2)
        await farm.submit([*farm.shop.commands(40, 0.05, 0.2), *farm.shop.tests()])
        talking = asyncio.create_task(talk(farm))
        await farm.verdicts(8)
        assert (await ConnectionCloser(farm.bus, farm.streams).close_agent("w1")).outcome == "closed"
        await farm.verdicts(16)
        leader = await farm.stream_leader()
        await farm.kill_node(leader)
        await farm.verdicts(30)
        states = await farm.cluster.states()
        await farm.kill_node(next(state.name for state in states if state.leads or state.name != leader))
        verdicts = await farm.verdicts()
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
        assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
        assert await farm.events(WorkerFailed) == []
        await check_everything(farm)


FENCES = Policy(heartbeat_interval=0.5, suspect_after=2.0, self_fence_after=4.0, failed_after=30.0, detector="deadline")
"""Workers fence themselves soon, and nobody is given up before the cluster is back."""


async def test_17_without_a_majority_nothing_is_acknowledged_and_workers_fence_themselves(tmp_path: Path) -> None:
    async with ClusterFarm(tmp_path, FENCES) as farm:
        await farm.start(*REPLICATED, workers=1)
        (staying,) = await farm.submit([farm.shop.command("stay", "stays")])
        first = await farm.running(staying)
        await until(lambda: farm.shop.runs("stays"), what="the run")
        (pid,) = farm.shop.runs("stays")
        leader = await farm.stream_leader()
        others = [node for name, node in farm.cluster.nodes.items() if name != leader]
        await asyncio.gather(*(node.stop() for node in others))
        lost = farm.writer.draft(RunSubmitted(run_id="lost", title="nobody takes it", tasks=0))
        with pytest.raises((Unacknowledged, BrokerRefused)):
            await farm.log.append([lost], timeout_s=2.0)
        await until(lambda: not psutil.pid_exists(pid), 15, "the worker to stop its task")

        await asyncio.gather(*(node.start() for node in others))

        async def readable() -> bool:
            try:
                async with await farm.log.reader():
                    return True
            except LogError:
                return False

        await until_true(readable, 40, "the cluster to have leaders again")
        ended = await farm.seen(TaskAttemptFinished, 40, task_id=staying, attempt=1)
        assert isinstance(ended.event, TaskAttemptFinished)
        assert (ended.event.outcome, ended.event.incarnation) == ("fenced", first.incarnation)
        verdicts = await farm.verdicts()
        assert (verdicts[staying].verdict, verdicts[staying].attempt) == ("passed", 2)
        assert await farm.events(WorkerFailed) == []
        await check_everything(farm)


async def talk(farm: Farm) -> None:
    """Appends one fact after another; the farm's ledger keeps what was acknowledged."""
    number = 0
    while True:
        number += 1
        await farm.say(RunSubmitted(run_id=f"talk-{number}", title="a fact", tasks=0))
