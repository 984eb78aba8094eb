"""Simulated connections: what cuts, delays, and the ends of hosts and processes do to them."""

import asyncio
from collections.abc import Callable

import pytest

from events.bus import Message
from events.errors import Unreachable
from events.jetstream import JetStreamLog
from events.writer import append_until_stored
from tests.events.examples import cancelled
from tests.simulation.rig import SERVICE, STREAMS, SUBJECT, Rig, live, refused, virtual

# Connections


@virtual
async def test_a_short_cut_delays_and_loses_nothing(rig: Rig) -> None:
    bus = await rig.connect("w")
    rig.network.cut("w")
    waiting = asyncio.create_task(bus.request(SUBJECT, b"a", timeout_s=30.0))
    await asyncio.sleep(4.0)
    assert rig.stored == []
    await bus.publish(SUBJECT, b"b")
    rig.network.heal("w")
    await waiting
    await rig.since(lambda: rig.stored == [b"a", b"b"], 5.0)
    assert (bus.reconnections, bus.connected) == (0, True)


@virtual
async def test_a_silent_cut_is_noticed_by_unanswered_pings(rig: Rig) -> None:
    bus = await rig.connect("w")
    await asyncio.sleep(7.3)
    rig.network.cut("w")
    noticed = await rig.since(lambda: not bus.connected, 30.0)
    assert 4.0 <= noticed <= 6.1
    await asyncio.sleep(60.0)
    assert not bus.connected
    rig.network.heal("w")
    await rig.since(lambda: bus.connected and bus.reconnections == 1, 5.0)


@virtual
async def test_what_is_not_heard_is_not_stored(rig: Rig) -> None:
    bus = await rig.connect("w")
    rig.network.cut("w", "out")
    await refused(bus.request(SUBJECT, b"a"))
    assert rig.stored == []


@virtual
async def test_an_answer_that_is_not_heard_belongs_to_something_stored(rig: Rig) -> None:
    log = JetStreamLog(bus := await rig.connect("w"), STREAMS)
    one, batch = cancelled(), [cancelled(), cancelled(), cancelled()]
    rig.network.cut("w", "in")
    await refused(log.append([one]))
    assert len(rig.stored) == 1
    await refused(log.append(batch))
    assert len(rig.stored) == 1, "the answer to its opening was lost, so it was never committed"
    await rig.since(lambda: not bus.connected, 20.0)
    rig.network.heal("w")
    assert (await append_until_stored(log, [one])).duplicate
    assert (await append_until_stored(log, batch)).last == 4


@virtual
async def test_a_reset_is_noticed_at_once_and_costs_what_is_under_way(rig: Rig) -> None:
    bus = await rig.connect("w")
    other = await rig.connect("v")
    calls: list[float] = []
    bus.on_reconnect(lambda: calls.append(rig.loop.time()))
    rig.network.reset("w")
    assert await rig.since(lambda: bool(calls), 5.0) < 1.0
    assert (bus.connected, bus.reconnections, other.reconnections) == (True, 1, 0)


def under_way(fault: Callable[[Rig], None], seed: int) -> tuple[bool, bool]:
    """Of a request that the fault meets: whether it was stored, and whether it was answered."""

    async def story(rig: Rig) -> tuple[bool, bool]:
        bus = await rig.connect("w")
        await asyncio.sleep(1.0)
        waiting = asyncio.create_task(bus.request(SUBJECT, b"a", timeout_s=1.0))
        await asyncio.sleep(rig.network.random() * 0.003)
        fault(rig)
        await asyncio.wait({waiting})
        return rig.stored == [b"a"], waiting.exception() is None

    return live(story, seed)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda rig: rig.network.reset("w"), id="reset"),
        pytest.param(lambda rig: rig.broker.crash(), id="crash"),
        pytest.param(lambda rig: rig.broker.power_loss(), id="power loss"),
        pytest.param(lambda rig: rig.network.cut("w"), id="cut"),
    ],
)
def test_whatever_is_under_way_may_be_lost_on_either_side_of_the_store(fault: Callable[[Rig], None]) -> None:
    found = {under_way(fault, seed) for seed in range(60)}
    assert found == {(False, False), (True, False), (True, True)}


async def late(rig: Rig) -> tuple[bytes, ...]:
    """What is stored after a cut that outlasts the connection."""
    bus = await rig.connect("w")
    rig.network.cut("w", "out")
    await refused(bus.request(SUBJECT, b"old"))
    await rig.since(lambda: not bus.connected, 20.0)
    rig.network.heal("w")
    await rig.since(lambda: bus.connected, 10.0)
    assert bus.reconnections == 1
    await bus.request(SUBJECT, b"new")
    await asyncio.sleep(10.0)
    return tuple(rig.stored)


def test_what_an_ended_connection_still_held_is_lost_or_comes_late() -> None:
    """A kernel goes on sending for a process that has closed its socket."""
    found = {live(late, seed) for seed in range(60)}
    assert found == {(b"new",), (b"old", b"new"), (b"new", b"old")}


@virtual
async def test_delays_keep_the_order_of_a_connection(rig: Rig) -> None:
    bus = await rig.connect("w")
    rig.network.slow("w", 2.0)
    for number in range(20):
        await bus.publish(SUBJECT, str(number).encode())
        await asyncio.sleep(0.05)
    await rig.since(lambda: len(rig.stored) == 20, 5.0)
    assert rig.stored == [str(number).encode() for number in range(20)]
    began = rig.loop.time()
    await bus.request(SUBJECT, timeout_s=10.0)
    assert rig.loop.time() - began < 4.1
    rig.network.slow("w", 0.0)


@virtual
async def test_between_connections_there_is_no_order(rig: Rig) -> None:
    buses = [await rig.connect(f"w{number}") for number in range(8)]
    orders = set()
    for _ in range(10):
        before = len(rig.stored)
        for number, bus in enumerate(buses):
            await bus.publish(SUBJECT, str(number).encode())
        await rig.since(lambda before=before: len(rig.stored) == before + 8, 5.0)  # type: ignore[misc]
        orders.add(tuple(rig.stored[before:]))
    assert len(orders) > 5


@virtual
async def test_nobody_listens(rig: Rig) -> None:
    rig.broker.stop()
    client = rig.process("w")
    attempt = client.spawn(rig.broker.connect(client, "w", wait_s=1.0))
    with pytest.raises(Unreachable, match="no NATS server answers"):
        await attempt
    attempt = client.spawn(rig.broker.connect(client, "w", wait_s=5.0))
    await asyncio.sleep(2.0)
    rig.broker.start()
    assert (await attempt).connected
    rig.broker.pause()
    attempt = client.spawn(rig.broker.connect(client, "w", wait_s=0.0))
    await asyncio.sleep(20.0)
    rig.broker.resume()
    assert (await attempt).connected, "the machine took the connection, so it waits for the broker"


# Processes


@virtual
async def test_the_end_of_a_process_is_noticed_at_once(rig: Rig) -> None:
    bus = await rig.connect("c")
    for name in ("kill", "exit"):
        worker = rig.process(name)
        asked = await rig.serve(worker)
        assert await bus.request(SERVICE, b"a") == b"a"
        if name == "kill":
            worker.kill()
        else:
            worker.exit(0)
        await asyncio.sleep(0.1)
        assert "nobody answers" in await refused(bus.request(SERVICE, b"b"))
        assert asked == [b"a"]


@virtual
async def test_what_a_process_wrote_before_it_was_killed_arrives(rig: Rig) -> None:
    worker = rig.process("w")
    bus = await rig.connect(worker)
    await bus.publish(SUBJECT, b"a")
    worker.kill()
    await asyncio.sleep(0.1)
    assert rig.stored == [b"a"]


@virtual
async def test_to_a_paused_process_messages_wait(rig: Rig) -> None:
    bus = await rig.connect("c")
    worker = rig.process("w")
    asked = await rig.serve(worker)
    worker.pause()
    assert "no answer" in await refused(bus.request(SERVICE, b"a"))
    waiting = asyncio.create_task(bus.request(SERVICE, b"b", timeout_s=60.0))
    await asyncio.sleep(30.0)
    assert asked == []
    worker.resume()
    assert await waiting == b"b"
    assert asked == [b"a", b"b"]


@virtual
async def test_who_does_not_read_for_long_is_thrown_out(rig: Rig) -> None:
    bus = await rig.connect("c")
    worker = rig.process("w")
    listening = await rig.connect(worker)
    heard: list[bytes] = []

    async def handler(message: Message) -> None:
        heard.append(message.data)

    await worker.spawn(listening.subscribe(SERVICE, handler))
    await listening.flush()
    worker.pause()
    for number in range(12_000):
        await bus.publish(SERVICE, str(number).encode())
        await asyncio.sleep(0.002)
    assert "nobody answers" in await refused(bus.request(SERVICE))
    worker.resume()
    await rig.since(lambda: listening.reconnections == 1 and len(heard) >= 10_000, 10.0)
    assert heard == [str(number).encode() for number in range(len(heard))]
    assert len(heard) < 12_000


@virtual
async def test_the_broker_gives_up_a_client_that_is_cut_off_after_minutes(rig: Rig) -> None:
    bus = await rig.connect("c")
    asked = await rig.serve(rig.process("w"))
    rig.network.cut("w")
    await asyncio.sleep(100.0)
    assert "no answer" in await refused(bus.request(SERVICE, b"a"))
    await asyncio.sleep(500.0)
    assert "nobody answers" in await refused(bus.request(SERVICE, b"b"))
    rig.network.heal("w")
    await asyncio.sleep(5.0)
    assert await bus.request(SERVICE, b"c") == b"c"
    assert asked == [b"c"]


@virtual
async def test_a_machine_without_power_says_nothing_until_it_is_back(rig: Rig) -> None:
    bus = await rig.connect("c")
    worker = rig.process("w")
    await rig.serve(worker)
    rig.network.power_off("w")
    worker.kill()
    assert "no answer" in await refused(bus.request(SERVICE))
    rig.network.power_on("w")
    assert "no answer" in await refused(bus.request(SERVICE)), "the first packet meets a machine that does not know it"
    assert "nobody answers" in await refused(bus.request(SERVICE))
