"""An ordered reader of one stream: a push consumer without acknowledgements that owns its position.

The server numbers what it delivers (the consumer sequence). A hole in that numbering, a reconnection or a silence
longer than two idle heartbeats means that something was lost on the way; then a new consumer is made. Deliveries of an
older consumer arrive on an older inbox and are dropped.

A broker that has lost the tail of a stream uses the same sequences again, so a new consumer begins with the last
message received, not behind it: the same sequence with the same time proves that all up to there is what it was.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Self

import msgspec
import structlog

from events.bus import Bus, Message, Subscription
from events.ending import ended
from events.errors import BrokerRefused, LogError, NobodyListens, NotReady, PositionLost, Unacknowledged
from events.stored import StoredMessage, stored_message, stream_extent
from events.subjects import matches

log = structlog.get_logger(__name__)

NANOSECONDS = 1_000_000_000
IDLE_HEARTBEAT_S = 1.0
CREATE_S_MIN = 0.75
"""How long the first try to make a consumer waits for an answer; each one after it twice as long as the last."""
CREATE_S_MAX = 3.0
"""A cluster may give a consumer to a node that has just died, which never answers: the next try draws again."""
BATCH_MAX = 1000
BUFFER_MAX = 20_000
"""Messages held for a slow reader; beyond it deliveries wait at the server (flow control)."""


class _ConsumerInfo(msgspec.Struct):
    num_pending: int = 0


_info = msgspec.json.Decoder(_ConsumerInfo)


class RawReader:
    """Delivers (sequence, broker time in seconds, message) in stream order.

    `filters` are whole subjects with wildcards; empty means all of the stream, and only then missing stream
    sequences are damage. A stream that has lost its tail cannot be read on. A `volatile` one, whose messages expire and
    which is written asynchronously, can: from its present end, as `lost` tells.
    """

    def __init__(
        self,
        bus: Bus,
        stream: str,
        *,
        after: int,
        after_ns: int | None = None,
        filters: Sequence[str] = (),
        volatile: bool = False,
    ) -> None:
        """`after_ns`: the broker's time of the message at `after`, in nanoseconds, if it is to be made sure that the
        stream still holds it, as if this reader had received it."""
        self._bus = bus
        self._stream = stream
        self._filters = list(filters)
        self._volatile = volatile
        self._received = after
        self._received_ns = after_ns
        """The broker's time of the last message received; None: that was before this reader's time."""
        self._confirmed = True
        """The present consumer has begun with the last message received."""
        self._doubtful = False
        """It has not: what it delivers counts for nothing."""
        self._steady = True
        self._lost: int | None = None
        self._consumer_sequence = 0
        self._subscription: Subscription | None = None
        self._buffer: deque[tuple[int, float, Message]] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._renew = asyncio.Event()
        self._now = asyncio.get_running_loop().time
        self._last_heard = 0.0
        self._damage: list[tuple[int, int]] = []
        self._keeper: asyncio.Task[None] | None = None
        self._answerer: asyncio.Task[None] | None = None
        self._question = ""
        self._asked = asyncio.Event()
        self._failure: LogError | None = None
        self._patience_s = CREATE_S_MIN
        self._pending = 1
        self.sequence = after
        self.caught_up = False

    async def start(self) -> Self:
        """Begins to read.

        Raises:
            BrokerRefused: there is no such stream, or the broker takes no more readers.
            Unacknowledged: no answer.
        """
        try:
            await self._begin()
        except BaseException:
            await self._drop_subscription()
            raise
        self._bus.on_reconnect(self._note_reconnection)
        self._keeper = asyncio.create_task(self._keep(), name=f"reader of {self._stream}")
        self._answerer = asyncio.create_task(self._answer(), name=f"flow control of {self._stream}")
        return self

    async def _begin(self) -> None:
        """Tries for as long as the next try waits longer than the last."""
        while True:
            tried_s = self._patience_s
            try:
                return await self._consume()
            except Unacknowledged:
                if self._patience_s == tried_s:
                    raise

    async def close(self) -> None:
        if self._keeper is not None:
            self._bus.forget_reconnect(self._note_reconnection)
            keeper, self._keeper = self._keeper, None
            await ended(keeper, self._answerer)
        await self._drop_subscription()

    @property
    def steady(self) -> bool:
        """The broker is there, and since the last reconnection it has been seen to hold what was received."""
        return self._steady and self._bus.connected

    def _note_reconnection(self) -> None:
        self._steady = False
        self._renew.set()

    async def next(self, wait_s: float | None = None) -> list[tuple[int, float, Message]]:
        """What has come; [] when nothing came for `wait_s` seconds, or when there is news of a loss.

        Raises:
            PositionLost: the stream has lost its tail, and with it what this reader has delivered.
            Unacknowledged: the connection has been closed.
        """
        if not self._buffer and not await self._wait(wait_s):
            return []
        if len(self._buffer) > BATCH_MAX:
            batch = [self._buffer.popleft() for _ in range(BATCH_MAX)]
        else:
            batch = list(self._buffer)
            self._buffer.clear()
            self._arrived.clear()
            self._room.set()
        self.sequence = batch[-1][0]
        self.caught_up = not self._buffer and self._pending == 0 and self._confirmed
        return batch

    async def _wait(self, wait_s: float | None) -> bool:
        self._arrived.clear()
        if self._failure is not None:
            raise self._failure
        if self._lost is not None:
            return False
        try:
            async with asyncio.timeout(wait_s):
                await self._arrived.wait()
        except TimeoutError:
            return False
        if self._failure is not None:
            raise self._failure
        return bool(self._buffer)

    def damage(self) -> list[tuple[int, int]]:
        found, self._damage = self._damage, []
        return found

    def lost(self) -> int | None:
        """Whether the tail of a volatile stream was found lost since the last call; to be asked before the messages of
        `next` are used. If so, the stream's last sequence at that time: what it holds up to there may be other messages
        than were delivered, and reading has gone on behind it.
        """
        lost, self._lost = self._lost, None
        return lost

    async def _consume(self) -> None:
        """Makes a new consumer."""
        await self._drop_subscription()
        if self._doubtful or (self._keeper is not None and self._received and self._received_ns is None):
            await self._examine()
            if self._failure is not None:
                return
        inbox = self._bus.inbox()
        self._consumer_sequence = 0
        self._confirmed = self._received_ns is None
        begin = self._received + 1 if self._confirmed else self._received
        self._subscription = await self._bus.take(inbox, self._deliver)
        config: dict[str, Any] = {
            "deliver_subject": inbox,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": begin,
            "ack_policy": "none",
            "replay_policy": "instant",
            "max_deliver": 1,
            "flow_control": True,
            "idle_heartbeat": int(IDLE_HEARTBEAT_S * NANOSECONDS),
            "inactive_threshold": 30 * NANOSECONDS,
            "mem_storage": True,
            "num_replicas": 1,
        }
        if self._filters:
            config["filter_subjects"] = self._filters
        answer = await self._create(config)
        if self._consumer_sequence == 0:
            # Deliveries may overtake this answer; then they know better how much is left.
            self._pending = _info.decode(answer).num_pending
            if not self._confirmed and self._pending == 0:
                self._doubt()
        self._look_where_it_stands()
        self._last_heard = self._now()

    async def _create(self, config: dict[str, Any]) -> bytes:
        body = {"stream_name": self._stream, "config": config}
        try:
            answer = await self._bus.api(f"CONSUMER.CREATE.{self._stream}", body, timeout_s=self._patience_s)
        except (NobodyListens, NotReady):
            raise  # it was answered, and at once
        except Unacknowledged:
            self._patience_s = min(2 * self._patience_s, CREATE_S_MAX)
            raise
        self._patience_s = CREATE_S_MIN
        return answer

    def _look_where_it_stands(self) -> None:
        self.caught_up = not self._buffer and self._pending == 0 and self._confirmed
        self._steady = self._confirmed and not self._renew.is_set()

    def _doubt(self) -> None:
        self._doubtful = True
        self._renew.set()

    async def _examine(self) -> None:
        """Whether the last message received is gone for good, and what that means."""
        stored = await stored_message(self._bus, self._stream, {"seq": self._received})
        if stored is not None and self._received_ns in (stored.time_ns, None):
            self._know(stored)
        else:
            extent = await stream_extent(self._bus, self._stream)
            if self._volatile and self._received < extent.first_seq <= extent.last_seq + 1:
                self._received_ns = None  # it has expired
            elif self._volatile:
                await self._go_on_behind(extent.last_seq)
            else:
                self._buffer.clear()
                self._fail(
                    PositionLost(
                        f"{self._stream} does not hold message {self._received} any more, which has been read from it: "
                        f"the broker has lost its tail, or it is another stream"
                    )
                )
        self._doubtful = False

    async def _go_on_behind(self, last: int) -> None:
        stored = await stored_message(self._bus, self._stream, {"seq": last}) if last else None
        log.warning("stream_tail_lost", stream=self._stream, received=self._received, goes_on_behind=last)
        self._buffer.clear()
        self._room.set()
        self._received = self.sequence = self._lost = last
        self._know(stored)
        self._arrived.set()

    def _know(self, stored: StoredMessage | None) -> None:
        """The message at the present position, if it is one that a consumer of ours would deliver."""
        self._received_ns = None
        if stored is not None and (not self._filters or any(matches(one, stored.subject) for one in self._filters)):
            self._received_ns = stored.time_ns

    async def _drop_subscription(self) -> None:
        if self._subscription is not None:
            subscription, self._subscription = self._subscription, None
            await self._bus.unsubscribe(subscription)

    def _deliver(self, message: Message) -> None:
        if not message.data and message.headers is not None and "Status" in message.headers:
            self._control(message)
            return
        # $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>, or with a domain and
        # an account hash in front; the end is the same.
        fields = message.reply.rsplit(".", 4)
        sequence, consumer_sequence, time_ns = int(fields[-4]), int(fields[-3]), int(fields[-2])
        self._last_heard = self._now()
        if self._doubtful:
            return
        if consumer_sequence != self._consumer_sequence + 1:
            self._renew.set()
            return
        self._consumer_sequence = consumer_sequence
        if not self._confirmed:
            self._take_again(sequence, time_ns, pending=int(fields[-1]))
            return
        if sequence <= self._received:
            return
        if not self._filters and sequence != self._received + 1:
            self._damage.append((self._received + 1, sequence - 1))
        self._received, self._received_ns = sequence, time_ns
        self._pending = int(fields[-1])
        self._buffer.append((sequence, time_ns / 1e9, message))
        held = len(self._buffer)
        if held == 1:
            self._arrived.set()
        elif held >= BUFFER_MAX:
            self._room.clear()

    def _take_again(self, sequence: int, time_ns: int, *, pending: int) -> None:
        """The first message of a new consumer is the last one of the old."""
        if (sequence, time_ns) != (self._received, self._received_ns):
            self._doubt()
            return
        self._confirmed = True
        self._pending = pending
        self._look_where_it_stands()

    def _control(self, message: Message) -> None:
        self._last_heard = self._now()
        assert message.headers is not None
        question = message.reply or message.headers.get("Nats-Consumer-Stalled")
        if question:
            self._question = question
            self._asked.set()
        if message.reply:
            return
        last = message.headers.get("Nats-Last-Consumer")
        if last is not None and int(last) != self._consumer_sequence:
            self._renew.set()

    async def _answer(self) -> None:
        """Flow control: a server goes on when it hears that what it has sent was taken in."""
        while True:
            await self._asked.wait()
            await self._room.wait()
            self._asked.clear()
            try:
                await self._bus.publish(self._question)
            except Unacknowledged as closed:
                log.debug("flow_control_not_answered", reason=str(closed))

    async def _keep(self) -> None:
        """Replaces the consumer whenever something points to a loss."""
        while True:
            try:
                async with asyncio.timeout(IDLE_HEARTBEAT_S):
                    await self._renew.wait()
            except TimeoutError:
                if self._now() - self._last_heard < 2.5 * IDLE_HEARTBEAT_S or not self._room.is_set():
                    continue
            if not self._bus.connected:
                if self._bus.closed.is_set():
                    self._fail(Unacknowledged(f"the connection to {self._bus.url} has ended"))
                    return
                # The reconnection sets the signal again.
                self._renew.clear()
                continue
            self._renew.clear()
            try:
                await self._consume()
                if self._failure is not None:
                    return
            except Unacknowledged:
                self._renew.set()
                await asyncio.sleep(0.1)  # the server is there but not ready: a bounded pace of trying
            except BrokerRefused as refused:
                log.warning("consumer_refused", stream=self._stream, error=str(refused))
                self._renew.set()
                await asyncio.sleep(0.25)

    def _fail(self, error: LogError) -> None:
        self._failure = error
        self._arrived.set()
