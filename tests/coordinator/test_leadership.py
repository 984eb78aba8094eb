"""Leadership over a real broker: who leads, and whose policy is in force."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog

from coordinator.leadership import Leadership
from events.bus import Bus
from events.jetstream import JetStreamLog
from events.policy import Policy, policy_hash
from events.streams import Streams
from events.system import LeaderElected, PolicyChanged
from events.writer import Writer
from tests.waiting import event_in, is_kind, until


@contextlib.asynccontextmanager
async def leading(
    log: JetStreamLog, bus: Bus, streams: Streams, name: str, policy: Policy
) -> AsyncIterator[Leadership]:
    leadership = Leadership(log, bus, streams, name, policy)
    task = asyncio.create_task(leadership.run())
    try:
        await until(lambda: leadership.status().leading, what=f"{name} to lead")
        yield leadership
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def policies(log: JetStreamLog) -> list[str]:
    """Who changed the policy, in order."""
    actors: list[str] = []
    async with await log.reader() as reader:
        while not reader.caught_up:
            actors += [one.event.actor for one in await reader.next(1.0) if isinstance(one.event, PolicyChanged)]
    return actors


async def test_terms_increase_and_the_configured_policy_comes_into_force(
    log: JetStreamLog, bus: Bus, streams: Streams
) -> None:
    async with leading(log, bus, streams, "c1", Policy()):
        await event_in(log, is_kind(PolicyChanged))
    async with leading(log, bus, streams, "c2", Policy(infrastructure_retries=7)) as second:
        await event_in(log, is_kind(PolicyChanged, actor="coordinator/c2"))
        assert second.status().term == 2
    last = await log.last_on("system.leader")
    assert last is not None
    assert last.event == LeaderElected(coordinator_id="c2", term=2)


async def test_what_an_operator_switched_off_stays_off_after_a_failover(
    log: JetStreamLog, bus: Bus, streams: Streams
) -> None:
    off = Policy(auto_recovery=False)
    async with leading(log, bus, streams, "c1", Policy()):
        await event_in(log, is_kind(PolicyChanged))
        await Writer(log, "cli/alice").write(
            PolicyChanged(policy=off, policy_hash=policy_hash(off), actor="alice"), patience_s=10
        )
    with structlog.testing.capture_logs() as logs:
        async with leading(log, bus, streams, "c2", Policy()):
            await until(
                lambda: any(entry["event"] == "configured_policy_not_applied" for entry in logs),
                what="the leader to say that it leaves the operator's policy alone",
            )
    assert await policies(log) == ["coordinator/c1", "alice"]


async def test_two_candidates_and_one_leader(log: JetStreamLog, bus: Bus, streams: Streams) -> None:
    async with leading(log, bus, streams, "c1", Policy()) as first:
        standby = Leadership(log, bus, streams, "c2", Policy())
        task = asyncio.create_task(standby.run())
        try:
            await until(lambda: standby.status().term == 1, what="the standby to follow")
            assert first.status().leading
            assert not standby.status().leading
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
