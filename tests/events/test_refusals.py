"""What the broker refuses, in which order it looks, and with which code; the real one and the simulated one."""

import base64
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from events.bus import Bus
from events.errors import BrokerRefused
from events.reader import RawReader
from events.streams import Streams
from tests.events.asking import LAST, LAST_OF, TAIL, Headers, answer, code, last_sequence, part
from tests.events.conftest import Side

# Refusals of single messages


async def test_conditions_on_the_last_sequence(bus: Bus, streams: Streams) -> None:
    one, other = streams.event_subject("task.t1.x"), streams.event_subject("task.t2.x")
    assert await code(bus, one, {LAST: "1"}) == 10071
    assert await code(bus, one, {LAST: "0"}) == 0
    assert await code(bus, one, {LAST: "0"}) == 10071
    assert await code(bus, other, {LAST: "0", LAST_OF: one}) == 10071
    assert await code(bus, other, {LAST: "1", LAST_OF: one}) == 0
    assert await code(bus, other, {LAST: "2"}) == 0
    assert await code(bus, other, {LAST_OF: one}) == 10193
    assert await code(bus, other, {LAST: "3", LAST_OF: streams.event_subject("task.*.x")}) == 0
    assert await code(bus, one, {LAST: "1", LAST_OF: streams.event_subject("task.>")}) == 10071
    assert await code(bus, one, {"Nats-Expected-Last-Sequence": "4"}) == 0
    assert await code(bus, one, {"Nats-Expected-Last-Sequence": "4"}) == 10071
    assert await code(bus, one, {"Nats-Expected-Stream": "ANOTHER"}) == 10060
    assert await last_sequence(bus, streams.events) == 5


async def test_the_refusal_of_a_condition_names_the_last_sequence(bus: Bus, streams: Streams) -> None:
    for _ in range(3):
        await bus.request(streams.event_subject(TAIL))
    refused = await answer(bus, streams.event_subject(TAIL), headers={LAST: "2"})
    assert refused["error"] == {"code": 400, "err_code": 10071, "description": "wrong last sequence: 3"}


async def test_ids_are_looked_at_behind_the_condition(bus: Bus, streams: Streams) -> None:
    subject = streams.event_subject(TAIL)
    first = await answer(bus, subject, headers={"Nats-Msg-Id": "a", LAST: "0"})
    assert first == {"stream": streams.events, "seq": 1}
    assert await code(bus, subject, {"Nats-Msg-Id": "a", LAST: "0"}) == 10071
    again = await answer(bus, subject, headers={"Nats-Msg-Id": "a", LAST: "1"})
    assert again == {"stream": streams.events, "seq": 1, "duplicate": True}
    for headers in ({"Nats-Msg-Id": "a"}, {"Nats-Msg-Id": "a", LAST: "0"}):
        assert await code(bus, subject, headers, b"x" * 300_000) == 10054, "the size comes before both"
    assert await last_sequence(bus, streams.events) == 1


async def test_sizes_and_times_to_live(bus: Bus, streams: Streams) -> None:
    subject = streams.event_subject(TAIL)
    room = 256 * 1024
    assert await code(bus, subject, payload=b"x" * room) == 0
    assert await code(bus, subject, payload=b"x" * (room + 1)) == 10054
    # NATS/1.0\r\n, a: b\r\n, \r\n: headers count, and are 18 bytes.
    assert await code(bus, subject, {"a": "b"}, b"x" * (room - 18)) == 0
    assert await code(bus, subject, {"a": "b"}, b"x" * (room - 17)) == 10054
    assert await code(bus, subject, {"Nats-TTL": "5s"}) == 10166
    for wrong in ("500ms", "0.5s", "soon", "-1s"):
        assert await code(bus, streams.lease_subject, {"Nats-TTL": wrong}) == 10165, wrong
    for right in ("1", "1s", "1500ms", "1m"):
        assert await code(bus, streams.lease_subject, {"Nats-TTL": right}) == 0, right


# Refusals of batches


async def send_batch(bus: Bus, streams: Streams, parts: Sequence[tuple[str, Headers]]) -> int:
    """The code of the first refusal; 0: committed."""
    for tail, headers in parts:
        said = await bus.request(streams.event_subject(tail), b"{}", headers)
        if said:
            found: int = msgspec.json.decode(said).get("error", {}).get("err_code", 0)
            return found
    raise AssertionError("nothing was said about the batch")


BATCHES: list[tuple[str, int, list[tuple[str, Headers]]]] = [
    ("one of one", 0, [("task.a", part(1, commit="1"))]),
    ("two", 0, [("task.a", part(1)), ("task.b", part(2, commit="1"))]),
    ("no beginning", 10176, [("task.a", part(2))]),
    ("a gap", 10176, [("task.a", part(1)), ("task.a", part(3, commit="1"))]),
    ("one twice", 10176, [("task.a", part(1)), ("task.a", part(1))]),
    ("behind the end", 10199, [("task.a", part(1001))]),
    ("no number", 10175, [("task.a", {"Nats-Batch-Id": "b"})]),
    ("an odd commit", 10200, [("task.a", part(1)), ("task.a", part(2, commit="yes"))]),
    ("a long id", 10179, [("task.a", part(1, batch="x" * 65))]),
    (
        "an id twice",
        10201,
        [("task.a", part(1, Nats__Msg__Id="i")), ("task.a", part(2, commit="1", Nats__Msg__Id="i"))],
    ),
    ("another last id", 10177, [("task.a", part(1, commit="1", Nats__Expected__Last__Msg__Id="i"))]),
    ("a wrong condition", 10071, [("task.a", part(1)), ("task.b", part(2, commit="1") | {LAST: "7"})]),
    ("a condition on what it writes", 10164, [("task.a", part(1)), ("task.a", part(2, commit="1") | {LAST: "0"})]),
    (
        "the same condition twice",
        0,
        [("task.a", part(1) | {LAST: "0"}), ("task.b", part(2, commit="1") | {LAST: "0"})],
    ),
    ("a time to live", 10166, [("task.a", part(1)), ("task.b", part(2, commit="1", Nats__TTL="5s"))]),
]


@pytest.mark.parametrize(("expected", "parts"), [pytest.param(code, parts, id=name) for name, code, parts in BATCHES])
async def test_batches(bus: Bus, streams: Streams, expected: int, parts: list[tuple[str, Headers]]) -> None:
    assert await send_batch(bus, streams, parts) == expected
    assert await last_sequence(bus, streams.events) == (len(parts) if expected == 0 else 0)
    # Whatever became of it, its id is free again.
    assert await send_batch(bus, streams, [("task.z", part(1)), ("task.z", part(2, commit="1"))]) == 0


async def test_of_a_batch_the_ids_are_looked_at_before_the_condition(bus: Bus, streams: Streams) -> None:
    await bus.request(streams.event_subject("task.a"), headers={"Nats-Msg-Id": "i"})
    parts = [("task.b", part(1, Nats__Msg__Id="i") | {LAST: "9"}), ("task.b", part(2, commit="1"))]
    assert await send_batch(bus, streams, parts) == 10201
    assert await last_sequence(bus, streams.events) == 1


async def test_a_committed_batch_is_answered_with_its_size(bus: Bus, streams: Streams) -> None:
    subject = streams.event_subject("task.a")
    assert await bus.request(subject, b"{}", part(1)) == b""
    found = await answer(bus, subject, headers=part(2, commit="1"))
    assert found == {"stream": streams.events, "seq": 2, "batch": "b", "count": 2}


async def test_an_open_batch_is_seen_by_nobody(side: Side, bus: Bus, streams: Streams) -> None:
    subject = streams.event_subject("task.a")
    await bus.request(subject, b"{}", part(1))
    assert await code(bus, subject, {LAST: "0"}) == 0
    assert await code(bus, subject, part(2, commit="1") | {LAST: "0"}) in (10164, 10071)
    assert await last_sequence(bus, streams.events) == 1


async def test_only_the_log_takes_batches(bus: Bus, streams: Streams) -> None:
    assert await code(bus, streams.heartbeat_subject("w1"), part(1)) == 10174
    assert await code(bus, streams.lease_subject, part(1)) == 10174


async def test_a_message_that_is_too_large_leaves_the_batch_open(bus: Bus, streams: Streams) -> None:
    subject = streams.event_subject("task.a")
    assert await bus.request(subject, b"{}", part(1)) == b""
    assert await code(bus, subject, part(2, commit="1"), b"x" * 300_000) == 10054
    assert await code(bus, subject, part(2, commit="1")) == 0


# The API


async def test_refusals_of_the_api(bus: Bus, streams: Streams) -> None:
    async def refused(verb: str, body: Any = None) -> int:
        with pytest.raises(BrokerRefused) as caught:
            await bus.api(verb, body)
        return caught.value.code

    await bus.request(streams.event_subject(TAIL))
    events, configuration = streams.events, streams.configurations()[0]
    assert await refused("STREAM.INFO.NOWHERE") == 10059
    assert await refused("STREAM.MSG.GET.NOWHERE", {"seq": 1}) == 10059
    assert await refused(f"STREAM.MSG.GET.{events}", {"seq": 2}) == 10037
    assert await refused(f"STREAM.MSG.GET.{events}", {"last_by_subj": streams.event_subject("none")}) == 10037
    assert await refused(f"STREAM.CREATE.{events}", configuration | {"max_age": 10**12}) == 10058
    await bus.api(f"STREAM.CREATE.{events}", configuration)
    name = f"{streams.namespace}-ANOTHER"
    assert await refused(f"STREAM.CREATE.{name}", configuration | {"name": name}) == 10065
    assert await refused(f"STREAM.MSG.DELETE.{events}", {"seq": 1}) == 10057
    assert await refused(f"STREAM.PURGE.{events}") == 10110


async def test_one_message_looked_at_and_delivered_is_the_same(bus: Bus, streams: Streams) -> None:
    headers = {"Nats-Msg-Id": "i", "Resurgam-Synthetic": "a drill: Ærø"}
    await bus.request(streams.event_subject(TAIL), b"first")
    await bus.request(streams.event_subject(TAIL), b"second", headers)
    reader = await RawReader(bus, streams.events, after=1).start()
    [(sequence, time, message)] = await reader.next(5.0)
    await reader.close()
    for which in ({"seq": 2}, {"last_by_subj": streams.event_subject(TAIL)}):
        stored = msgspec.json.decode(await bus.api(f"STREAM.MSG.GET.{streams.events}", which))["message"]
        assert (stored["seq"], stored["subject"]) == (sequence, message.subject)
        assert base64.b64decode(stored["data"]) == message.data == b"second"
        lines = base64.b64decode(stored["hdrs"]).decode().split("\r\n")
        assert lines == ["NATS/1.0", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        assert message.headers == headers
        fraction = stored["time"].rstrip("Z").partition(".")[2]
        assert int(fraction.ljust(9, "0")) / 1e9 == pytest.approx(time % 1.0, abs=1e-6)
