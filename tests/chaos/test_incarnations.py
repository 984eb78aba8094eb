"""Workers that are not whom they were: two processes of one name, and incarnations of which nobody has heard yet."""

import asyncio
from pathlib import Path

import msgspec

from events.clock import utc
from events.heartbeats import send_heartbeat
from events.task import TaskAttemptFinished, TaskRequeued, TaskStarted
from events.worker import (
    Heartbeat,
    WorkerClaimed,
    WorkerExited,
    WorkerFailed,
    WorkerRegistered,
    WorkerStopped,
    WorkerSuspected,
)
from tests.chaos.checks import check_everything
from tests.chaos.conftest import NewFarm
from tests.chaos.farm import HASTY, Farm, Member
from tests.chaos.proxy import Proxy
from tests.chaos.told import check_apart, fact, in_order, never
from tests.chaos.wired import SILENT, Victim, WiredFarm
from worker.agent import SUPERSEDED


def launch_another(farm: WiredFarm, name: str) -> Member:
    """A second worker of that name, on another machine, with a connection of its own."""
    command = ("tests.chaos.puppet", "elsewhere", "worker", "--worker-id", name, "--slots", "2")
    return Farm.launch(farm, name, *command, url=farm.broker.url)


async def two_tasks_of(farm: WiredFarm) -> tuple[Member, list[Victim]]:
    """The only worker so far, which has a task in each slot."""
    await farm.start(workers=1, slots=2)
    return farm.members["w1"], [await farm.victim(word) for word in ("one", "two")]


async def leaves_for_good(farm: WiredFarm, older: Member) -> None:
    assert await older.ended() == SUPERSEDED
    assert "two workers cannot share an id" in older.said()
    last = await farm.log.last_on("worker.w1.registered")
    assert last is not None
    assert isinstance(last.event, WorkerRegistered)
    assert last.event.machine == "elsewhere"


async def test_two_workers_of_one_name_never_run_a_task_at_one_time(tmp_path: Path) -> None:
    async with WiredFarm(tmp_path, SILENT, alone=True) as farm:
        older, victims = await two_tasks_of(farm)
        first = victims[0].incarnation
        launch_another(farm, "w1")
        again = await farm.registered("w1", after=first)
        await leaves_for_good(farm, older)
        # What the old incarnation might still say is recorded, and changes nothing.
        beat = Heartbeat(worker_id="w1", incarnation=first, beat=99, sent_at=utc(0.0), running=(victims[0].task_id,))
        await send_heartbeat(farm.bus, farm.streams, beat)
        late = victims[0].task_id
        await farm.say(
            TaskStarted(task_id=late, worker_id="w1", incarnation=first, attempt=1),
            TaskAttemptFinished(task_id=late, worker_id="w1", incarnation=first, attempt=1, outcome="failed"),
        )
        for victim in victims:
            await farm.passes(victim, runs=2)

        records = await check_everything(farm)
        in_order(
            records,
            fact(WorkerClaimed, worker_id="w1", incarnation=first),
            fact(WorkerStopped, worker_id="w1", incarnation=first),
            fact(WorkerRegistered, worker_id="w1", machine="elsewhere"),
        )
        never(records, fact(WorkerFailed), fact(WorkerSuspected), fact(WorkerExited))
        assert [one.sequence for one in records if isinstance(one.event, WorkerRegistered)] == [first, again]
        for victim in victims:
            check_apart(farm.shop.folder, victim.word, runs=2)


async def test_a_worker_that_is_cut_off_while_another_of_its_name_takes_over(tmp_path: Path) -> None:
    """It cannot be told. So the newer one waits until it must have fenced itself, which it has."""
    async with WiredFarm(tmp_path, SILENT, alone=True) as farm:
        older, victims = await two_tasks_of(farm)
        first = victims[0].incarnation
        farm.cables["w1"].cut()
        launch_another(farm, "w1")
        await farm.registered("w1", after=first)
        for victim in victims:
            await farm.seen(TaskStarted, after=victim.since, task_id=victim.task_id, attempt=2)
        farm.cables["w1"].mend()
        await leaves_for_good(farm, older)
        for victim in victims:
            await farm.passes(victim, runs=2)

        records = await check_everything(farm)
        in_order(
            records,
            fact(WorkerClaimed, worker_id="w1", incarnation=first),
            fact(WorkerFailed, worker_id="w1", incarnation=first, reason="silence"),
            fact(WorkerRegistered, worker_id="w1", machine="elsewhere"),
        )
        for victim in victims:
            check_apart(farm.shop.folder, victim.word, runs=2)


class Tripwire(Proxy):
    """Keeps back the first heartbeat of whoever is behind it, and everything after it, and calls somebody."""

    def __init__(self, farm: Farm, name: str) -> None:
        super().__init__(farm.broker.url)
        self._farm = farm
        self._name = name
        self._word = farm.streams.heartbeat_subject(name).encode()
        self.tripped = asyncio.Event()

    async def _copy(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        passing: asyncio.Event,
        jammed: asyncio.Event,
    ) -> None:
        data = b"-"
        while data:
            data = await source.read(65536)
            if self._word in data and not self.tripped.is_set():
                supervisor = self._farm.supervisor(self._name)
                # First, or it would take its agent for hung.
                supervisor.suspend()
                for process in supervisor.children(recursive=True):
                    process.suspend()
                self.cut("to_broker")
                self.tripped.set()
            await passing.wait()
            if data:
                target.write(data)
                await target.drain()
        target.close()


async def test_a_worker_that_stops_before_its_first_heartbeat(new_farm: NewFarm) -> None:
    policy = msgspec.structs.replace(HASTY, first_heartbeat_timeout=2.0)
    async with new_farm(policy) as farm:
        await farm.start(workers=0)
        (task,) = await farm.submit(farm.shop.commands(1, 0.05))
        cable = Tripwire(farm, "w1")
        await cable.open()
        try:
            farm.launch_worker("w1", url=cable.url)
            first = await farm.registered("w1", after=0)
            async with asyncio.timeout(10):
                await cable.tripped.wait()
            failed = await farm.seen(WorkerFailed, worker_id="w1", incarnation=first)
            assert isinstance(failed.event, WorkerFailed)
            assert failed.event.reason == "no_first_heartbeat"
            assert failed.event.evidence is not None
            assert failed.event.evidence.heartbeat_sequence == 0
            # It could not begin before it was heard.
            await farm.seen(TaskRequeued, task_id=task, attempt=1, budget="none")
            await farm.start_workers("w2")
            assert (await farm.verdicts())[task].worker_id == "w2"

            # Its first heartbeat comes, long after the end of that incarnation.
            cable.mend()
            supervisor = farm.supervisor("w1")
            for process in supervisor.children(recursive=True):
                process.resume()
            supervisor.resume()
            await farm.registered("w1", after=failed.sequence)
            await farm.stop("w1")
        finally:
            await cable.close()
        assert not await farm.events(WorkerSuspected)
