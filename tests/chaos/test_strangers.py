"""What the system has to put up with from others: messages that make no sense, and a second worker of one name."""

import msgspec

from events import codec
from events.heartbeats import HeartbeatReader
from events.policy import Policy
from events.system import CoordinatorStarted, EventParked, LeaderElected
from events.task import TaskRequeued
from events.worker import WorkerRegistered
from tests.chaos.conftest import NewFarm
from tests.chaos.farm import Farm
from tests.chaos.test_agents import staying_on
from worker.agent import SUPERSEDED

BIG = 250 * 1024


def newer(farm: Farm) -> bytes:
    event = CoordinatorStarted(coordinator_id="c9", host="h", pid=1)
    envelope = msgspec.structs.replace(farm.writer.draft(event).envelope, version=7)
    return codec.encode(envelope)


async def test_messages_that_nobody_understands_are_parked(new_farm: NewFarm) -> None:
    async with new_farm() as farm:
        await farm.start()
        await farm.submit([*farm.shop.commands(12, 0.05, 0.15), *farm.shop.tests()])
        await farm.verdicts(3)
        stranger = msgspec.json.encode({"id": "12345678", "time": "2026-01-01T00:00:00Z", "source": "x", "event": {}})
        misplaced = codec.encode(farm.writer.draft(CoordinatorStarted(coordinator_id="c9", host="h", pid=1)).envelope)
        messages = {
            "system.coordinator_started": newer(farm),
            "system.coordinator_stopped": misplaced,
            "system.from_the_future": stranger.replace(b"{}", b'{"kind":"system.from_the_future","what":1}'),
            "task.t1.completed": b"garbage",
            "task.t1.assigned.w1": b'{"event":{"kind":"task.assigned","work":{"runner":"magic"}}}',
            "worker.w2.registered": b"\xff\xfe\x00",
            "worker.w1.failed": b"",
            "worker.w3.recovery_started": b"[" * 20_000,
            "anything.at.all": b"x" * BIG,
            "system.policy_changed": b'{"event":{"kind":"system.policy_changed","policy":{"failed_after":-1}}}',
        }
        sequences = [await farm.publish(tail, payload) for tail, payload in messages.items()]
        for sequence in sequences:
            await farm.seen(EventParked, sequence=sequence)
        await farm.submit(farm.shop.commands(6, 0.05))
        verdicts = await farm.verdicts()
        assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
        assert len(await farm.events(WorkerRegistered)) == 3
        parked = await farm.ask("SELECT sequence, reason FROM parked_events ORDER BY sequence")
        assert [row[0] for row in parked] == sequences
        assert "version 7" in parked[0][1]
        assert "unknown kind" in parked[2][1]


async def test_garbage_where_the_leader_is_named(new_farm: NewFarm) -> None:
    """It takes the fence away from the leader, which has itself elected again, in a new term."""
    async with new_farm() as farm:
        await farm.start()
        await farm.submit(farm.shop.commands(12, 0.05))
        await farm.verdicts(2)
        sequence = await farm.publish("system.leader", b"I am")
        await farm.seen(LeaderElected, after=sequence, term=2, coordinator_id="c1")
        await farm.seen(EventParked, sequence=sequence)
        verdicts = await farm.verdicts()
        assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}


async def test_garbage_where_the_policy_is_named(new_farm: NewFarm) -> None:
    """A worker that begins behind it lives by the last policy that makes sense, as the leader does."""
    async with new_farm() as farm:
        await farm.start(workers=1)
        await farm.publish("system.policy_changed", b"as you like it")
        before = await farm.log.last_sequence()
        await farm.kill_agent("w1")
        incarnation = await farm.registered("w1", before)
        beats = await HeartbeatReader.start(farm.bus, farm.streams)
        times: list[float] = []
        while len(times) < 4:
            read = await beats.next(5.0)
            assert read
            times += [one.time for one in read if one.heartbeat and one.heartbeat.incarnation == incarnation]
        await beats.close()
        assert times[3] - times[1] < Policy().heartbeat_interval


async def test_of_two_workers_with_one_id_the_newer_one_stays(new_farm: NewFarm) -> None:
    async with new_farm() as farm:
        await farm.start(workers=2)
        first_of_the_name = farm.members["w1"]
        tasks = await farm.submit([farm.shop.command("stay", f"stays-{number}") for number in (1, 2)])
        began = [await staying_on(farm, task_id, f"stays-{number}") for number, task_id in enumerate(tasks, 1)]
        before = await farm.log.last_sequence()
        farm.launch_worker("w1")
        incarnation = await farm.registered("w1", before)
        assert await first_of_the_name.ended() == SUPERSEDED
        assert "two workers cannot share an id" in first_of_the_name.said()
        for task_id, (start, _) in zip(tasks, began, strict=True):
            if start.worker_id == "w1":
                await farm.seen(TaskRequeued, task_id=task_id, attempt=1)
        await farm.kill_agent("w2")
        await farm.submit(farm.shop.commands(6, 0.05))
        verdicts = await farm.verdicts()
        assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
        again = [one.event for one in await farm.events(WorkerRegistered) if one.sequence > incarnation]
        assert [event.worker_id for event in again if isinstance(event, WorkerRegistered)] == ["w2"]
