"""What a connection delivers, cut into messages: whatever the reads are, as nats-py's own parser cuts it."""

import asyncio
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import connection
from events.bus import Message, Taker
from events.framing import Framing, Parser
from events.jetstream import JetStreamLog
from tests.conftest import BrokerProcess
from tests.events.asking import SOON_S
from tests.events.conftest import Side
from tests.events.examples import cancelled
from tests.events.reading import everything

(nats_py,) = connection._Client.__bases__
of_nats_py = type(nats_py()._ps)
in_payload = vars(connection)["AWAITING_MSG_PAYLOAD"]
protocol_error = vars(connection)["nats"].errors.ProtocolError

TAKEN, HANDLED = 1, 22
"""Subscriptions: one whose messages are taken at once, and one of another kind."""

Word = tuple[object, ...]

ACK = b"$JS.ACK.EVENTS.qK3x.1.7.7.1790000000123456789.0"
BLOCK = b"NATS/1.0\r\nNats-Msg-Id: 0199\r\n\r\n"
STATUS = b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 7\r\n\r\n"


def message(sid: int, data: bytes, *, headers: bytes = b"", reply: bytes = ACK, subject: bytes = b"a.b") -> bytes:
    what = [b"HMSG" if headers else b"MSG", subject, b"%d" % sid]
    what += [reply] if reply else []
    what += [b"%d" % len(headers)] if headers else []
    return b" ".join([*what, b"%d" % (len(headers) + len(data))]) + b"\r\n" + headers + data + b"\r\n"


SAID = {
    "taken": message(TAKEN, b'{"id":1}', headers=BLOCK),
    "taken, without headers": message(TAKEN, b"beat"),
    "taken, nothing in it": message(TAKEN, b"", headers=BLOCK),
    "taken, nothing at all": message(TAKEN, b""),
    "taken, looks like others": message(TAKEN, b"\r\nMSG a 1 b 2\r\nPING\r\n-ERR 'x'\r\n", headers=BLOCK),
    "a heartbeat": message(TAKEN, b"", headers=STATUS, reply=b""),
    "a question": message(TAKEN, b"", headers=b"NATS/1.0 100 FlowControl Request\r\n\r\n", reply=b"$JS.FC.E.q.1"),
    "reply that is a number": message(TAKEN, b"12345", reply=b"12"),
    "no reply": message(TAKEN, b"12345", reply=b""),
    "handled": message(HANDLED, b"answer", reply=b""),
    "handled, with headers": message(HANDLED, b"answer", headers=BLOCK),
    "tabs": b"MSG\ta.b  1 \t reply  2\r\n{}\r\n",
    "ping": b"PING\r\n",
    "pong": b"PONG\r\n",
    "ok": b"+OK\r\n",
    "an error": b"-ERR 'Permissions Violation for Subscription to \"x\"'\r\n",
    "info": b'INFO {"server_id":"N","max_payload":1048576}\r\n',
}
STRANGE = {
    "another protocol": b"HTTP/1.1 200 OK\r\n\r\n",
    "no size": b"MSG a.b 1 reply\r\n{}\r\n",
    "a size that is no number": b"HMSG a.b 1 reply 12 1x\r\n{}\r\n",
    "a negative size": b"MSG a.b 1 reply -2\r\n{}\r\n",
    "a subscription that is no number": b"MSG a.b one reply 2\r\n{}\r\n",
    "a subscription beyond all numbers": b"MSG a.b " + b"9" * 4400 + b" reply 2\r\n{}\r\n",
    "a size beyond all numbers": b"MSG a.b 1 reply " + b"9" * 4400 + b"\r\n{}\r\n",
    "a line in two": b"MSG a.b\r\n1 reply 2\r\n{}\r\n",
    "an endless line": b"MSG " + b"a" * 5000,
}


class Ear:
    """Whom the parsers tell; notes what it hears, in order."""

    def __init__(self) -> None:
        self.heard: list[Word] = []
        self.parsed: list[int] = []
        """The subscriptions of the messages that nats-py's parser has cut."""

    def take(self, found: Message) -> None:
        headers = getattr(found, "block", b"")
        self.heard.append((TAKEN, found.subject.encode(), found.reply.encode(), found.data, headers))

    def taker_of(self, sid: int) -> Taker | None:
        return self.take if sid == TAKEN else None

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self.parsed.append(sid)
        self.heard.append((sid, subject, reply, data, headers or b""))

    async def _process_err(self, text: str) -> None:
        self.heard.append(("error", text))

    async def _process_ping(self) -> None:
        self.heard.append(("ping",))

    async def _process_pong(self) -> None:
        self.heard.append(("pong",))

    async def _process_info(self, info: dict[str, object]) -> None:
        self.heard.append(("info", repr(info)))


async def heard(parser: Parser | Framing, ear: Ear, reads: Iterable[bytes]) -> list[Word]:
    """What comes of these reads; an error ends it, as it ends the connection."""
    try:
        for read in reads:
            await parser.parse(read)
    except protocol_error as error:
        ear.heard.append((type(error), str(error)))
    return ear.heard


async def by_nats_py(reads: Iterable[bytes]) -> list[Word]:
    ear = Ear()
    return await heard(of_nats_py(ear), ear, reads)


def framing() -> tuple[Framing, Ear]:
    ear = Ear()
    return Framing(of_nats_py(ear), in_payload, ear.taker_of), ear


async def by_us(reads: Iterable[bytes]) -> list[Word]:
    return await heard(*framing(), reads)


def cut(stream: bytes, *at: int) -> list[bytes]:
    return [stream[one:other] for one, other in pairwise([0, *sorted(at), len(stream)])]


async def test_wherever_a_read_ends() -> None:
    stream = b"".join(SAID.values()) + SAID["taken"]
    expected = await by_nats_py([stream])
    assert len(expected) == len(SAID), "all but +OK, and one twice"
    for at in range(len(stream) + 1):
        assert await by_us(cut(stream, at)) == expected, at
    assert await by_us(bytes([one]) for one in stream) == expected


@given(st.lists(st.sampled_from(list(SAID.values())), max_size=12), st.lists(st.integers(0, 1500), max_size=6))
def test_whatever_comes_and_however(said: list[bytes], at: list[int]) -> None:
    stream = b"".join(said)
    reads = cut(stream, *(min(one, len(stream)) for one in at))
    assert asyncio.run(by_us(reads)) == asyncio.run(by_nats_py([stream]))


@pytest.mark.parametrize("strange", STRANGE.values(), ids=STRANGE)
async def test_what_no_server_says_ends_as_with_nats_py(strange: bytes) -> None:
    stream = SAID["taken"] + SAID["ping"] + strange + SAID["taken"]
    before = len(SAID["taken"] + SAID["ping"])
    for at in (0, 3, before, before + 3, before + 10, len(stream) - 3):
        reads = cut(stream, at)
        assert await by_us(reads) == await by_nats_py(reads), at


async def test_nats_py_cuts_none_of_the_messages_that_are_taken() -> None:
    taken, beat = SAID["taken"], SAID["taken, without headers"]
    parser, ear = framing()
    assert len(await heard(parser, ear, [taken + beat + taken, beat])) == 4
    assert ear.parsed == []
    await heard(parser, ear, [taken + beat[:9], beat[9:] + taken + beat])
    assert ear.parsed == [], "nor where a read ended in the first line"
    await heard(parser, ear, [taken + beat[:-3], beat[-3:] + taken + beat])
    assert ear.parsed == [TAKEN], "but the one whose payload came in two reads"
    assert len(ear.heard) == 12


async def test_a_message_larger_than_many_reads() -> None:
    stream = message(TAKEN, bytes(range(256)) * 4096, headers=BLOCK) + SAID["taken"]
    reads = cut(stream, *range(0, len(stream), 32_768))
    assert await by_us(reads) == await by_nats_py([stream])


async def test_a_new_connection_begins_with_nothing_left_of_the_old() -> None:
    for left in (SAID["taken"][:9], SAID["taken"][:-3]):
        parser, ear = framing()
        await parser.parse(left)
        parser.reset()
        assert await heard(parser, ear, [SAID["taken"]]) == await by_nats_py([SAID["taken"]])


async def test_a_taker_that_fails_costs_that_message_only() -> None:
    calls: list[bytes] = []

    def take(found: Message) -> None:
        calls.append(found.data)
        if found.data == b"bad":
            raise RuntimeError("as a taker must not")

    parser = Framing(of_nats_py(Ear()), in_payload, lambda _: take)
    await parser.parse(message(1, b"good") + message(1, b"bad") + message(1, b"good"))
    assert calls == [b"good", b"bad", b"good"]


async def test_a_subject_that_is_no_text_is_set_aside_like_all_that_is_not_understood(
    real_side: Side, broker: BrokerProcess
) -> None:
    streams = real_side.streams
    log = JetStreamLog(real_side.bus, streams)
    await log.append([cancelled()])
    host, _, port = broker.url.rpartition("/")[2].partition(":")
    async with asyncio.timeout(SOON_S):
        reader, writer = await asyncio.open_connection(host, int(port))
        subject = streams.event_subject("worker.w1.stopped").encode() + b"\xff"
        writer.write(b"CONNECT {}\r\nPUB " + subject + b" 2\r\n{}\r\nPING\r\n")
        while b"PONG" not in await reader.readline():
            pass
    writer.close()
    await log.append([cancelled()])
    _, parked, after = await everything(log)
    assert parked.subject == streams.event_subject("worker.w1.stopped\N{REPLACEMENT CHARACTER}")
    assert (parked.raw, parked.envelope, after.problem) == (b"{}", None, None)
    assert await log.read_one(2) == parked
