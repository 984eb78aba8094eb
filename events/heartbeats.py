"""Heartbeats: their own stream, apart from the log, because they are many and each is soon worthless."""

import base64

import msgspec

from events.acks import decode_ack
from events.bus import Bus, Message
from events.errors import BrokerRefused
from events.reader import RawReader
from events.stored import stored_message
from events.streams import Streams
from events.worker import Heartbeat, RecordedHeartbeat

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Heartbeat)


async def send_heartbeat(bus: Bus, streams: Streams, heartbeat: Heartbeat, *, timeout_s: float = 2.0) -> int:
    """Stores one heartbeat and returns its sequence; only an acknowledged one counts for self-fencing.

    Raises:
        Unacknowledged: no answer in time.
        BrokerRefused: the stream does not take it.
    """
    subject = streams.heartbeat_subject(heartbeat.worker_id)
    answer = decode_ack(await bus.request(subject, _encoder.encode(heartbeat), timeout_s=timeout_s))
    if answer.error is not None:
        raise BrokerRefused("heartbeat", answer.error.description, answer.error.err_code)
    return answer.seq


async def last_heartbeat(bus: Bus, streams: Streams, worker_id: str) -> RecordedHeartbeat | None:
    """The last one on a worker's subject; None if the stream holds none.

    Raises:
        BrokerRefused: there is no such stream.
        Unacknowledged: no answer.
    """
    stored = await stored_message(bus, streams.heartbeats, {"last_by_subj": streams.heartbeat_subject(worker_id)})
    if stored is None:
        return None
    return _decoded(stored.seq, stored.time_ns / 1e9, stored.subject, base64.b64decode(stored.data))


class HeartbeatReader:
    """Follows HEARTBEATS in order from behind `after`."""

    def __init__(self, raw: RawReader) -> None:
        self._raw = raw

    @classmethod
    async def start(
        cls, bus: Bus, streams: Streams, *, after: int = 0, after_ns: int | None = None
    ) -> "HeartbeatReader":
        """`after_ns`: as for `RawReader`."""
        # The stream forgets after a day: with a filter, missing sequences are no damage.
        filters = [streams.heartbeat_subject("*")]
        raw = RawReader(bus, streams.heartbeats, after=after, after_ns=after_ns, filters=filters, volatile=True)
        return cls(await raw.start())

    @property
    def sequence(self) -> int:
        return self._raw.sequence

    @property
    def caught_up(self) -> bool:
        return self._raw.caught_up

    async def next(self, wait_s: float | None = None) -> list[RecordedHeartbeat]:
        """As `RawReader.next`; `lost` is to be asked before what comes is used."""
        return [decode_heartbeat(*message) for message in await self._raw.next(wait_s)]

    def lost(self) -> int | None:
        """None: whatever was delivered is in the stream. Else nobody can read all of it again: the broker has lost the
        last heartbeats that it had acknowledged, and reading has gone on behind the sequence returned."""
        return self._raw.lost()

    async def close(self) -> None:
        await self._raw.close()


def decode_heartbeat(sequence: int, time: float, message: Message) -> RecordedHeartbeat:
    """A worker speaks for itself only: a beat on another worker's subject counts as not understood."""
    return _decoded(sequence, time, message.subject, message.data)


def _decoded(sequence: int, time: float, subject: str, data: bytes) -> RecordedHeartbeat:
    try:
        heartbeat = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return RecordedHeartbeat(sequence, time, None)
    if subject.rpartition(".")[2] != heartbeat.worker_id:
        return RecordedHeartbeat(sequence, time, None)
    return RecordedHeartbeat(sequence, time, heartbeat)
