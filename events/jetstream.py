"""The event log on NATS JetStream."""

import base64
from collections.abc import Sequence

from events import codec
from events.acks import STREAM_FULL, Refusal, decode_ack
from events.bus import Bus, headers_of
from events.ending import Closing
from events.envelope import SYNTHETIC_HEADER, TRACE_HEADER, Draft, Recorded
from events.errors import BrokerRefused, Conflict, Fenced, LogFull, Unacknowledged
from events.identity import new_id
from events.log import BATCH_MAX, Appended, Fence, check_append
from events.reader import RawReader
from events.stored import stored_message, stream_extent
from events.streams import Streams

WRONG_LAST_SEQUENCE = 10071
TRY_AGAIN = (10158, 10163, 10164, 10167, 10176, 10210, 10211)
"""The next try may succeed, or tell what has become of this one. In a cluster: the same event, or another append on the
fence's subject, is on its way to the other nodes; the fence cannot be looked up at the moment. Anywhere: the server has
more to do than it takes; a part of the batch was lost on the way, or took too long; too many batches are in flight."""
DUPLICATE_IN_BATCH = 10201


class JetStreamReader(Closing):
    """Keeps `events.log.Reader`."""

    def __init__(self, raw: RawReader) -> None:
        self._raw = raw

    @property
    def sequence(self) -> int:
        return self._raw.sequence

    @property
    def caught_up(self) -> bool:
        return self._raw.caught_up

    @property
    def steady(self) -> bool:
        return self._raw.steady

    async def next(self, wait_s: float | None = None) -> list[Recorded]:
        decode = codec.decode
        return [
            decode(sequence, time, message.subject, message.data, message.headers)
            for sequence, time, message in await self._raw.next(wait_s)
        ]

    def damage(self) -> list[tuple[int, int]]:
        return self._raw.damage()

    async def close(self) -> None:
        await self._raw.close()


class JetStreamLog:
    """Keeps `events.log.EventLog` over the stream EVENTS."""

    def __init__(self, bus: Bus, streams: Streams) -> None:
        self._bus = bus
        self._streams = streams

    async def append(self, drafts: Sequence[Draft], *, fence: Fence | None = None, timeout_s: float = 2.0) -> Appended:
        if not 1 <= len(drafts) <= BATCH_MAX:
            raise ValueError(f"{len(drafts)} events in one append: 1 to {BATCH_MAX} fit")
        messages = [self._message(draft) for draft in drafts]
        check_append(drafts, [payload for _, payload, _ in messages], fence)
        condition: dict[str, str] = {}
        if fence is not None:
            condition = {
                "Nats-Expected-Last-Subject-Sequence": str(fence.sequence),
                "Nats-Expected-Last-Subject-Sequence-Subject": self._streams.event_subject(fence.tail),
            }
        if len(drafts) == 1:
            subject, payload, headers = messages[0]
            answer = await self._bus.request(subject, payload, headers | condition, timeout_s=timeout_s)
        else:
            answer = await self._append_batch(messages, condition, timeout_s)
        ack = decode_ack(answer)
        if ack.error is None:
            return Appended(ack.seq, ack.duplicate)
        if ack.error.err_code == DUPLICATE_IN_BATCH:
            return Appended(0, duplicate=True)
        raise _refusal(ack.error, fenced=fence is not None)

    async def _append_batch(
        self, messages: Sequence[tuple[str, bytes, dict[str, str]]], condition: dict[str, str], timeout_s: float
    ) -> bytes:
        """An atomic batch (ADR-50): the first message opens it, the last commits it and is answered for all."""
        batch_id = new_id()
        last = len(messages)
        for number, (subject, payload, headers) in enumerate(messages, start=1):
            headers["Nats-Batch-Id"] = batch_id
            headers["Nats-Batch-Sequence"] = str(number)
            if number == 1:
                opened = await self._bus.request(subject, payload, headers | condition, timeout_s=timeout_s)
                if opened:
                    return opened  # refused at once; an accepted opening is answered with nothing
            elif number < last:
                await self._bus.publish(subject, payload, headers)
        headers["Nats-Batch-Commit"] = "1"
        return await self._bus.request(subject, payload, headers, timeout_s=timeout_s)

    def _message(self, draft: Draft) -> tuple[str, bytes, dict[str, str]]:
        envelope = draft.envelope
        headers = headers_of(
            (
                ("Nats-Msg-Id", envelope.id),
                (SYNTHETIC_HEADER, draft.synthetic),
                (TRACE_HEADER, draft.traceparent),
            )
        )
        return self._streams.event_subject(envelope.event.tail()), codec.encode(envelope), headers

    async def reader(self, after: int = 0, tails: Sequence[str] = ()) -> JetStreamReader:
        filters = [self._streams.event_subject(tail) for tail in tails]
        raw = RawReader(self._bus, self._streams.events, after=after, filters=filters)
        return JetStreamReader(await raw.start())

    async def last_sequence(self) -> int:
        return (await stream_extent(self._bus, self._streams.events)).last_seq

    async def read_one(self, sequence: int) -> Recorded | None:
        if sequence < 1:
            return None
        return await self._get({"seq": sequence})

    async def last_on(self, tail: str) -> Recorded | None:
        return await self._get({"last_by_subj": self._streams.event_subject(tail)})

    async def _get(self, which: dict[str, int | str]) -> Recorded | None:
        stored = await stored_message(self._bus, self._streams.events, which)
        if stored is None:
            return None
        return codec.decode(
            stored.seq,
            # As in the subjects that deliveries are answered on: one message, one time, to the bit.
            stored.time_ns / 1e9,
            stored.subject,
            base64.b64decode(stored.data),
            _headers(base64.b64decode(stored.hdrs)),
        )


def _headers(block: bytes) -> dict[str, str]:
    lines = block.decode("utf-8", "replace").split("\r\n")[1:]
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines if ":" in line)}


def _refusal(error: Refusal, *, fenced: bool) -> Exception:
    what = "append"
    if error.err_code == WRONG_LAST_SEQUENCE:
        kind = Fenced if fenced else Conflict
        return kind(what, error.description, error.err_code)
    if error.err_code in TRY_AGAIN:
        return Unacknowledged(f"{what}: {error.description}")
    if error.err_code in STREAM_FULL:
        return LogFull(what, error.description, error.err_code)
    return BrokerRefused(what, error.description, error.err_code)
