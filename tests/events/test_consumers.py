"""Push consumers, leases, and streams that forget; of the real broker and of the simulated one."""

import asyncio
from typing import Any

import msgspec

from events.bus import Bus, Message
from events.heartbeats import HeartbeatReader
from events.reader import RawReader
from events.streams import MIB, Streams, ensure_streams
from tests.events.asking import (
    LAST,
    SOON_S,
    TAIL,
    Heard,
    code,
    eventually,
    last_sequence,
)
from tests.events.conftest import Side, own_streams
from tests.waiting import until

# Consumers


async def consumer(bus: Bus, streams: Streams, subject: str, **more: Any) -> dict[str, Any]:
    configuration = {
        "deliver_subject": subject,
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": 1,
        "ack_policy": "none",
        "replay_policy": "instant",
        "max_deliver": 1,
        "flow_control": True,
        "idle_heartbeat": 200_000_000,
        "inactive_threshold": 30_000_000_000,
        "mem_storage": True,
        "num_replicas": 1,
    }
    body = {"stream_name": streams.events, "config": configuration | more}
    found: dict[str, Any] = msgspec.json.decode(await bus.api(f"CONSUMER.CREATE.{streams.events}", body))
    return found


async def listen(bus: Bus, streams: Streams, **more: Any) -> tuple[Heard, dict[str, Any]]:
    heard = Heard()
    inbox = bus.inbox()
    await bus.subscribe(inbox, heard)
    return heard, await consumer(bus, streams, inbox, **more)


def told(message: Message) -> tuple[int, int, int]:
    """Stream sequence, consumer sequence, how many are pending."""
    fields = message.reply.split(".")
    assert fields[:2] == ["$JS", "ACK"]
    return int(fields[-4]), int(fields[-3]), int(fields[-1])


async def test_deliveries_say_where_they_stand(bus: Bus, streams: Streams) -> None:
    for number in range(1, 8):
        await bus.request(streams.event_subject(f"task.t{number % 2}.x"), str(number).encode())
    heard, info = await listen(bus, streams, opt_start_seq=3)
    await heard.count(5)
    assert [told(message) for message in heard.messages[:5]] == [
        (number + 2, number, 5 - number) for number in range(1, 6)
    ]
    assert info["stream_name"] == streams.events
    assert heard.messages[0].reply.split(".")[2:4] == [streams.events, info["name"]]
    filtered, _ = await listen(bus, streams, filter_subjects=[streams.event_subject("task.t1.x")])
    await filtered.count(4)
    assert [told(message) for message in filtered.messages[:4]] == [(1, 1, 3), (3, 2, 2), (5, 3, 1), (7, 4, 0)]
    await bus.request(streams.event_subject("task.t0.x"))
    await bus.request(streams.event_subject("task.t1.x"))
    await until(lambda: [m for m in filtered.messages if m.data == b""][-1:], SOON_S, "the last")
    last = [message for message in filtered.messages if message.reply][-1]
    assert told(last) == (9, 5, 0)


async def test_pending_is_known_from_the_start(bus: Bus, streams: Streams) -> None:
    for number in range(6):
        await bus.request(streams.event_subject(f"task.t{number % 2}.x"))
    nobody = bus.inbox()
    assert (await consumer(bus, streams, nobody))["num_pending"] == 6
    assert (await consumer(bus, streams, nobody, opt_start_seq=5))["num_pending"] == 2
    assert (await consumer(bus, streams, nobody, opt_start_seq=50))["num_pending"] == 0
    only = [streams.event_subject("task.t0.*")]
    assert (await consumer(bus, streams, nobody, filter_subjects=only))["num_pending"] == 3


async def test_an_idle_consumer_says_how_far_it_is(bus: Bus, streams: Streams) -> None:
    await bus.request(streams.event_subject("task.t1.x"))
    await bus.request(streams.event_subject("task.t2.x"))
    heard, _ = await listen(bus, streams, filter_subjects=[streams.event_subject("task.t1.x")])
    await heard.count(3)
    beat = heard.messages[-1]
    assert (beat.data, beat.reply) == (b"", "")
    assert beat.headers == {
        "Status": "100",
        "Description": "Idle Heartbeat",
        "Nats-Last-Consumer": "1",
        "Nats-Last-Stream": "2",
    }


async def test_a_consumer_that_starts_behind_the_end_waits_for_its_sequence(bus: Bus, streams: Streams) -> None:
    """After a lost tail, a reader that was further hears nothing of the sequences that are used a second time."""
    heard, _ = await listen(bus, streams, opt_start_seq=4)
    for number in range(1, 6):
        await bus.request(streams.event_subject(TAIL), str(number).encode())
    await until(lambda: [m for m in heard.messages if m.reply][1:], SOON_S, "two messages")
    assert [message.data for message in heard.messages if message.reply] == [b"4", b"5"]


async def test_whoever_does_not_answer_flow_control_gets_no_more(bus: Bus, streams: Streams) -> None:
    payload = b"x" * 200_000
    for _ in range(15):
        await bus.request(streams.event_subject(TAIL), payload)
    heard, _ = await listen(bus, streams)

    def questions() -> list[Message]:
        return [message for message in heard.messages if message.reply.startswith("$JS.FC.")]

    def delivered() -> int:
        return sum(len(message.data) == len(payload) for message in heard.messages)

    def stalled() -> list[str]:
        return [
            m.headers["Nats-Consumer-Stalled"]
            for m in heard.messages
            if m.headers and "Nats-Consumer-Stalled" in m.headers
        ]

    await until(stalled, SOON_S, "a stalled consumer")
    assert 10 <= delivered() < 15
    assert len(questions()) == 1
    assert questions()[0].reply == stalled()[0]
    assert questions()[0].headers == {"Status": "100", "Description": "FlowControl Request"}
    await bus.publish(stalled()[0])
    await until(lambda: delivered() == 15, SOON_S, "the rest")


async def test_a_reader_takes_more_than_flow_control_lets_through_at_once(bus: Bus, streams: Streams) -> None:
    payload = b"x" * 200_000
    for _ in range(30):
        await bus.request(streams.event_subject(TAIL), payload)
    reader = await RawReader(bus, streams.events, after=0).start()
    found: list[int] = []
    while len(found) < 30:
        batch = await reader.next(SOON_S)
        assert batch
        found += [sequence for sequence, _, _ in batch]
    await reader.close()
    assert found == list(range(1, 31))


# Leases, and streams that forget


async def test_a_lease_is_there_for_its_time_and_then_gone(bus: Bus, streams: Streams) -> None:
    loop = asyncio.get_running_loop()
    subject = streams.lease_subject
    which = msgspec.json.encode({"last_by_subj": subject})
    assert await code(bus, subject, {LAST: "0", "Nats-TTL": "1s"}) == 0
    assert await code(bus, subject, {LAST: "0", "Nats-TTL": "1s"}) == 10071
    assert await code(bus, subject, {LAST: "1", "Nats-TTL": "2s"}) == 0
    renewed = loop.time()
    found = msgspec.json.decode(await bus.api(f"STREAM.INFO.{streams.leases}"))["state"]
    assert (found["messages"], found["last_seq"]) == (1, 2), "the old one is replaced"

    async def gone() -> bool:
        return await code(bus, f"$JS.API.STREAM.MSG.GET.{streams.leases}", payload=which) == 10037

    await eventually(gone, "the end of the lease")
    assert loop.time() - renewed >= 1.9
    assert await code(bus, subject, {LAST: "2"}) == 10071
    assert await code(bus, subject, {LAST: "0", "Nats-TTL": "1s"}) == 0
    assert await last_sequence(bus, streams.leases) == 3


async def test_heartbeats_make_room_for_newer_ones(side: Side) -> None:
    bus = side.bus
    streams = Streams(
        namespace=own_streams().namespace, events_bytes_max=MIB, heartbeats_bytes_max=64 * 1024, snapshots_bytes_max=MIB
    )
    await ensure_streams(bus, streams)
    subject = streams.heartbeat_subject("w1")
    for _ in range(100):
        assert await code(bus, subject, payload=b"x" * 1000) == 0
    state = msgspec.json.decode(await bus.api(f"STREAM.INFO.{streams.heartbeats}"))["state"]
    assert state["last_seq"] == 100
    assert state["bytes"] <= 64 * 1024
    # 22 bytes before the subject, 8 behind the payload: what a record takes in the file.
    assert state["bytes"] == state["messages"] * (30 + len(subject) + 1000)
    assert state["first_seq"] == 101 - state["messages"]
    reader = await HeartbeatReader.start(bus, streams)
    assert (await reader.next(5.0))[0].sequence == state["first_seq"]
    await reader.close()
    for configuration in streams.configurations():
        await bus.api(f"STREAM.DELETE.{configuration['name']}")
