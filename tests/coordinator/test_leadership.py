"""Leadership over a real broker: who leads, and whose policy is in force."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from coordinator.broker import EmbeddedBroker
from coordinator.leadership import Leadership
from events.bus import Bus
from events.connection import Connection
from events.errors import BrokerRefused, LogFull, PositionLost
from events.heartbeats import send_heartbeat
from events.jetstream import JetStreamLog
from events.lease import Lease
from events.policy import Policy, policy_hash
from events.streams import Streams, ensure_streams
from events.system import DetectorDegraded, LeaderElected, PolicyChanged
from events.worker import Heartbeat
from events.writer import Writer
from tests.events.examples import MOMENT
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


async def test_18_terms_increase_and_the_configured_policy_comes_into_force(
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


def lose(leadership: Leadership) -> None:
    """As the reader does when the log does not hold any more what it has delivered."""
    consumer = leadership._consumer
    assert consumer is not None
    consumer._events._raw._fail(PositionLost("gone"))  # type: ignore[attr-defined] # the port says nothing of how


async def test_a_log_that_has_lost_its_tail_is_folded_anew(log: JetStreamLog, bus: Bus, streams: Streams) -> None:
    """And of the heartbeats before that nobody shall know: they may speak of registrations that are gone."""
    async with leading(log, bus, streams, "c1", Policy()) as leadership:
        await event_in(log, is_kind(PolicyChanged))
        sent = await send_heartbeat(bus, streams, Heartbeat(worker_id="w1", incarnation=99, beat=1, sent_at=MOMENT))
        first = leadership._consumer
        with structlog.testing.capture_logs() as logs:
            lose(leadership)
            await until(lambda: leadership._consumer is not first, what="another fold")
            await until(lambda: leadership.status().leading, what="the second term")
        assert next(entry["event"] for entry in logs if entry["log_level"] == "warning") == "log_tail_lost"
        assert leadership.status().term == 2
        told = await event_in(log, is_kind(DetectorDegraded, reason="heartbeats_lost"))
        assert isinstance(told.event, DetectorDegraded)
        assert told.event.heartbeats_sequence == sent
        assert leadership._consumer is not None
        assert leadership._consumer.state.beats == {}


async def test_whoever_listens_has_taken_in_what_is_gone(log: JetStreamLog, bus: Bus, streams: Streams) -> None:
    """A run shows its user what was folded, and cannot take it back: it ends and says why."""
    leadership = Leadership(log, bus, streams, "c1", Policy())
    running = asyncio.create_task(leadership.run())
    await until(lambda: leadership.status().leading, what="c1 to lead")
    leadership.listen(lambda batch: None)
    lose(leadership)
    with pytest.raises(PositionLost, match="gone"):
        await running


# A broker that is away, or refuses


async def test_who_starts_while_the_broker_is_away_waits_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = EmbeddedBroker(tmp_path, sync="default")
    await broker.start()
    bus, streams = await Connection.connect(broker.url, name="test"), Streams(namespace="test")
    await ensure_streams(bus, streams)
    # What was asked before the end of the broker is not answered; it need not take so long to find that out.
    monkeypatch.setattr(bus, "api", functools.partial(Bus.api, bus, timeout_s=0.1))
    await broker.stop()
    await until(lambda: not bus.connected, what="the disconnection")
    leadership = Leadership(JetStreamLog(bus, streams), bus, streams, "c1", Policy())
    with structlog.testing.capture_logs() as logs:
        running = asyncio.create_task(leadership.run())
        try:
            await until(lambda: waiting(logs), what="it to say that it waits")
            assert not running.done()
            assert leadership.status() == (False, 0, 0, 1)
            await broker.start()
            await until(lambda: leadership.status().leading, what="c1 to lead")
            assert len(waiting(logs)) == 1, "once is enough"
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await bus.close()
            await broker.stop()


def waiting(logs: list[Any]) -> list[Any]:
    return [entry for entry in logs if entry["event"] == "waiting_for_log"]


async def test_nothing_is_left_of_a_start_that_was_given_up(
    bus: Bus, streams: Streams, log: JetStreamLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log can be read, and the heartbeats cannot yet."""
    original = bus.api

    async def no_heartbeats(verb: str, body: Any = None, **options: Any) -> bytes:
        if verb == f"CONSUMER.CREATE.{streams.heartbeats}":
            raise BrokerRefused(verb, "JetStream system temporarily unavailable", 10008)
        return await original(verb, body, **options)

    monkeypatch.setattr(bus, "api", no_heartbeats)
    tasks = asyncio.all_tasks()
    leadership = Leadership(log, bus, streams, "c1", Policy())
    with structlog.testing.capture_logs() as logs:
        running = asyncio.create_task(leadership.run())
        await until(lambda: waiting(logs), what="it to say that it waits")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert asyncio.all_tasks() == tasks


async def test_a_stream_that_is_not_there_is_not_waited_for(bus: Bus) -> None:
    """Nobody makes it but a coordinator that starts."""
    streams = Streams(namespace="nowhere")
    leadership = Leadership(JetStreamLog(bus, streams), bus, streams, "c1", Policy())
    with pytest.raises(BrokerRefused, match="stream not found"):
        await leadership.run()


async def test_whoever_cannot_be_elected_stands_by(
    log: JetStreamLog, bus: Bus, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a lease that is refused nor a log that is full ends a coordinator."""
    tried: list[str] = []
    acquire, append = Lease.acquire_or_renew, JetStreamLog.append

    async def refused_at_first(lease: Lease) -> bool:
        tried.append("lease")
        if len(tried) <= 2:
            raise BrokerRefused("lease", "insufficient storage resources available", 10047)
        return await acquire(lease)

    async def full_at_first(*args: Any, **named: Any) -> Any:
        tried.append("log")
        if tried.count("log") == 1:
            raise LogFull("append", "maximum bytes exceeded", 10077)
        return await append(*args, **named)

    monkeypatch.setattr(Lease, "acquire_or_renew", refused_at_first)
    monkeypatch.setattr(JetStreamLog, "append", full_at_first)
    with structlog.testing.capture_logs() as logs:
        async with leading(log, bus, streams, "c1", Policy()) as leadership:
            assert leadership.status().term == 1
    assert tried[:4] == ["lease", "lease", "lease", "log"]
    assert [entry["event"] for entry in logs][:3] == ["lease_refused", "lease_refused", "not_elected"]
