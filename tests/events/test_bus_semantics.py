"""Subjects, requests and connections, of the real broker and of the simulated one."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from events.bus import Bus, Message
from events.errors import BrokerRefused, Unacknowledged
from events.streams import Streams
from tests.events.asking import (
    SOON_S,
    TAIL,
    Heard,
    code,
    eventually,
    settle,
)
from tests.events.conftest import Side

# Subjects


async def test_nobody_there_is_said_at_once(bus: Bus, streams: Streams) -> None:
    loop = asyncio.get_running_loop()
    before = loop.time()
    with pytest.raises(Unacknowledged, match="nobody answers"):
        await bus.request(streams.service_subject("nobody"), timeout_s=SOON_S)
    assert loop.time() - before < SOON_S / 2


async def test_requests_are_answered_by_whoever_listens(side: Side, bus: Bus, streams: Streams) -> None:
    service = await side.connect("service")
    subject = streams.service_subject("echo")

    async def echo(message: Message) -> None:
        await service.publish(message.reply, message.data.upper(), message.headers)

    subscription = await service.subscribe(subject, echo)
    await settle(service, streams)
    answers = await asyncio.gather(*(bus.request(subject, f"q{number}".encode()) for number in range(20)))
    assert answers == [f"Q{number}".encode() for number in range(20)]
    await service.unsubscribe(subscription)

    async def nobody() -> bool:
        with pytest.raises(Unacknowledged) as caught:
            await bus.request(subject, b"q", timeout_s=0.2)
        return "nobody answers" in str(caught.value)

    await eventually(nobody, "the end of the subscription")


async def test_a_flush_comes_back_behind_what_was_sent_before_it(side: Side, bus: Bus, streams: Streams) -> None:
    listener = await side.connect("listener")
    for number in range(300):
        subject = streams.service_subject(f"flushed.{number}")
        heard = Heard()
        subscription = await listener.subscribe(subject, heard)
        await listener.flush()
        with pytest.raises(Unacknowledged, match="no answer"):  # and not: nobody listens
            await bus.request(subject, timeout_s=0.001)
        await listener.unsubscribe(subscription)


async def test_subscriptions_with_wildcards(side: Side, bus: Bus, streams: Streams) -> None:
    listener = await side.connect("listener")
    heard: dict[str, Heard] = {pattern: Heard() for pattern in ("service.*.a", "service.>", "service.x.b", "service.*")}
    for pattern, each in heard.items():
        await listener.subscribe(f"{streams.namespace}.{pattern}", each)
    await settle(listener, streams)
    for tail in ("service.x.a", "service.x.b", "service.y.a", "service.x", "service.x.a.z", "elsewhere"):
        await bus.publish(f"{streams.namespace}.{tail}", tail.encode())
    await heard["service.>"].count(5)
    assert heard["service.>"].data == [b"service.x.a", b"service.x.b", b"service.y.a", b"service.x", b"service.x.a.z"]
    assert heard["service.*.a"].data == [b"service.x.a", b"service.y.a"]
    assert heard["service.x.b"].data == [b"service.x.b"]
    assert heard["service.*"].data == [b"service.x"]


async def test_a_handler_that_raises_costs_that_message_only(side: Side, bus: Bus, streams: Streams) -> None:
    listener = await side.connect("listener")
    heard = Heard()

    async def handler(message: Message) -> None:
        if message.data == b"2":
            raise ValueError("no")
        await heard(message)

    await listener.subscribe(streams.service_subject("s"), handler)
    await settle(listener, streams)
    for number in range(1, 4):
        await bus.publish(streams.service_subject("s"), str(number).encode())
    await heard.count(2)
    assert heard.data == [b"1", b"3"]


async def test_a_taker_is_given_all_in_order_and_may_raise(side: Side, bus: Bus, streams: Streams) -> None:
    listener = await side.connect("listener")
    taken: list[tuple[bytes, str, str | None, bool]] = []

    def taker(message: Message) -> None:
        if message.data == b"2":
            raise ValueError("no")
        headers = message.headers or {}
        taken.append((message.data, message.reply, headers.get("Of"), "Other" in headers))

    subscription = await listener.take(streams.service_subject("s"), taker)
    await settle(listener, streams)
    await bus.publish(streams.service_subject("s"), b"1", reply="answer")
    for number in range(2, 1001):
        await bus.publish(streams.service_subject("s"), str(number).encode(), {"Of": "mine"})
    await eventually(lambda: len(taken) >= 999, "all of them")
    await listener.unsubscribe(subscription)
    await listener.flush()
    await bus.publish(streams.service_subject("s"), b"late")
    await settle(listener, streams)
    assert taken[0] == (b"1", "answer", None, False)
    assert taken[1:] == [(str(number).encode(), "", "mine", False) for number in range(3, 1001)]


async def test_somebody_may_listen_to_what_a_stream_stores(side: Side, bus: Bus, streams: Streams) -> None:
    listener = await side.connect("listener")
    heard = Heard()
    await listener.subscribe(streams.event_subject(">"), heard)
    await settle(listener, streams)
    assert await code(bus, streams.event_subject(TAIL)) == 0
    await heard.count(1)
    assert heard.messages[0].subject == streams.event_subject(TAIL)


async def test_too_large_for_the_broker_is_refused_before_it_is_sent(bus: Bus, streams: Streams) -> None:
    for send in (bus.request, bus.publish):
        with pytest.raises(BrokerRefused, match="more than the broker takes"):
            await send(streams.service_subject("s"), b"x" * (1_048_576 + 1))


async def test_a_closed_connection(side: Side, streams: Streams) -> None:
    bus = await side.connect("another")
    states = [(bus.connected, bus.closed.is_set())]
    await bus.close()
    states.append((bus.connected, bus.closed.is_set()))
    assert states == [(True, False), (False, True)]
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: bus.request("s"),
        lambda: bus.publish("s"),
        lambda: bus.subscribe("s", Heard()),
        lambda: bus.take("s", print),
        bus.flush,
    ]
    for attempt in attempts:
        with pytest.raises(Unacknowledged):
            await attempt()
    await bus.close()
