"""A simulated client of the broker: `events.bus.Bus` with the manners of nats-py, as `events.connection` uses it.

What a caller can observe is nats-py's: requests that are under way when the connection ends are neither repeated nor
failed, they time out; what is sent while there is no connection is kept and sent after the reconnection, even for a
caller that has given up; subscriptions come back by themselves; a silent cut is noticed by unanswered pings only.
"""

import asyncio
import functools
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum, auto
from typing import Any

import structlog

from events.bus import PAYLOAD_BYTES_MAX, Bus, Handler, Subscription
from events.connection import CONNECT_TIMEOUT_S, PING_INTERVAL_S, PINGS_OUTSTANDING_MAX
from events.errors import BrokerRefused, NobodyListens, Unacknowledged, Unreachable
from tests.simulation.network import Wire
from tests.simulation.protocol import (
    CONNECT,
    MUX,
    PING,
    PONG,
    PUBLISH,
    SUBSCRIBE,
    UNSUBSCRIBE,
    Broker,
    Message,
    Process,
)

log = structlog.get_logger(__name__)

FLUSH_TIMEOUT_S = 10.0
SYN_AGAIN_AFTER_S = 1.0
PENDING_BYTES_MAX = 2 * 1024 * 1024
"""Payload that nats-py keeps while it has no connection."""


class State(Enum):
    CONNECTING = auto()
    CONNECTED = auto()
    RECONNECTING = auto()
    CLOSED = auto()


class SimSubscription:
    """Calls its handler for one message after another, in a task of its own."""

    def __init__(self, bus: "SimBus", number: int, subject: str, handler: Handler, pending_max: int) -> None:
        self.number = number
        self.subject = subject
        self._bus = bus
        self._handler = handler
        self._pending_max = pending_max
        self._pending: deque[Message] = deque()
        self._wanted: asyncio.Future[None] | None = None
        self._task = bus.loop.create_task(self._run(), name=f"subscription to {subject}")

    def offer(self, message: Message) -> None:
        if len(self._pending) >= self._pending_max:
            log.debug("slow_consumer", subject=self.subject)
            return
        self._pending.append(message)
        wanted = self._wanted
        if wanted is not None:
            self._wanted = None
            if not wanted.done():
                wanted.set_result(None)

    async def _run(self) -> None:
        pending = self._pending
        handler = self._handler
        while True:
            while pending:
                message = pending.popleft()
                try:
                    await handler(message)
                except Exception:
                    log.exception("handler_failed", subject=message.subject)
            self._wanted = self._bus.loop.create_future()
            await self._wanted

    async def unsubscribe(self, limit: int = 0) -> None:
        assert limit == 0, "nobody asks for it"
        self._bus.drop_subscription(self)

    def stop(self) -> None:
        self._task.cancel()


class SimBus(Bus):
    """Keeps `events.bus.Bus`. Made by `SimBroker.connect`, in the context of its process."""

    def __init__(self, broker: Broker, process: Process, name: str, number: int) -> None:
        super().__init__(f"nats://{broker.host.name}:4222")
        self.name = name
        self.process = process
        self.loop = broker.network.loop
        self._broker = broker
        self._state = State.CONNECTING
        self._wire: Wire | None = None
        self._dials = 0
        self._dialled_at = 0.0
        self._on_reconnect: list[Callable[[], None]] = []
        self._subscriptions: dict[int, SimSubscription] = {}
        self._subscription_numbers = itertools.count(MUX + 1)
        self._inbox_prefix = f"_INBOX.{number}"
        self._inboxes = itertools.count(1)
        self._mux = f"_INBOX.mux{number}."
        self._requests = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[Message | None]] = {}
        self._pongs: deque[asyncio.Future[bool | None]] = deque()
        self._pings_outstanding = 0
        self._ping_timer: asyncio.TimerHandle | None = None
        self._kept: list[Any] = []
        self._kept_bytes = 0
        self._reconnecting: asyncio.Task[None] | None = None
        self._reconnect_wait_s = process.host.uniform(0.05, 0.25)

    # The life of the connection

    async def open(self, wait_s: float) -> None:
        """As `Connection.connect`: once somebody has been seen to listen, there is no end to trying.

        Raises:
            Unreachable: nobody listened within `wait_s` seconds.
        """
        self.process.on_death(self._killed)
        deadline = self.loop.time() + wait_s
        while not await self._somebody_listens():
            if self.loop.time() >= deadline:
                self._state = State.CLOSED
                raise Unreachable(self.url, "connection refused")
            await asyncio.sleep(0.05)
        await self._dial_until(self._greeted)

    async def _dial_until(self, ready: Callable[[], Awaitable[bool]]) -> None:
        """Tries again and again, for as long as it takes."""
        while True:
            self._state = State.CONNECTING
            if await self._dial() and await ready():
                return
            self._hang_up()
            self._state = State.RECONNECTING
            await asyncio.sleep(self._reconnect_wait_s)

    async def _somebody_listens(self) -> bool:
        """Refused at once where nobody does, and silence where nothing gets through."""
        network, broker = self._broker.network, self._broker
        await asyncio.sleep(network.round_trip_s())
        waited = 0.0
        while not network.reaches(self.process.host.name, broker.host.name):
            if waited >= CONNECT_TIMEOUT_S:
                return False
            await asyncio.sleep(SYN_AGAIN_AFTER_S)
            waited += SYN_AGAIN_AFTER_S
        return broker.listening

    async def _dial(self) -> bool:
        self._dialled_at = self.loop.time()
        if not await self._somebody_listens():
            return False
        self._dials += 1
        self._wire = self._broker.accept(self.process, self.name, functools.partial(self._receive, self._dials))
        return True

    async def _greeted(self) -> bool:
        """CONNECT and PING, answered by PONG; from then on it counts as connected."""
        self._pongs.clear()
        assert self._wire is not None
        self._wire.up.send((CONNECT, self._mux))
        if not await self._answered_ping(CONNECT_TIMEOUT_S) or self._wire is None:
            return False  # unanswered, or answered and closed in one breath
        self._state = State.CONNECTED
        self._pings_outstanding = 0
        self._ping_later()
        return True

    async def _answered_ping(self, timeout_s: float) -> bool:
        pong: asyncio.Future[bool | None] = self.loop.create_future()
        self._pongs.append(pong)
        if self._wire is not None:
            self._wire.up.send((PING,))
        timer = self.loop.call_later(timeout_s, _expire, pong)
        try:
            return bool(await pong)
        finally:
            timer.cancel()

    def _ping_later(self) -> None:
        self._stop_pinging()
        self._ping_timer = self.loop.call_later(PING_INTERVAL_S, self._ping)

    def _stop_pinging(self) -> None:
        if self._ping_timer is not None:
            self._ping_timer.cancel()
            self._ping_timer = None

    def _ping(self) -> None:
        """A ping that would be answered is not sent, only counted as answered: of thousands, the others matter."""
        self._ping_timer = None
        if self._state is not State.CONNECTED or self._wire is None:
            return
        if self._broker.heard(self._wire):
            self._pings_outstanding = 0
        else:
            self._pings_outstanding += 1
            if self._pings_outstanding > PINGS_OUTSTANDING_MAX:
                self._lost("stale")
                return
            self._pongs.append(self.loop.create_future())
            self._wire.up.send((PING,))
        self._ping_later()

    def _hang_up(self) -> None:
        self._stop_pinging()
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.end_client()

    def _lost(self, why: str) -> None:
        self._hang_up()
        if self._state is State.CONNECTED:
            log.debug("broker_disconnected", name=self.name, why=why)
            self._state = State.RECONNECTING
            if self._reconnecting is not None:
                self._reconnecting.cancel()  # it was about to prove a connection that is gone again
            self._reconnecting = self.loop.create_task(self._reconnect(), name=f"reconnection of {self.name}")
        else:
            self._fail_pongs()

    def _fail_pongs(self) -> None:
        for pong in self._pongs:
            _expire(pong)
        self._pongs.clear()

    async def _reconnect(self) -> None:
        if self.loop.time() < self._dialled_at + self._reconnect_wait_s:
            await asyncio.sleep(self._reconnect_wait_s)
        await self._dial_until(self._restored)
        self.reconnections += 1
        for callback in list(self._on_reconnect):
            callback()

    async def _restored(self) -> bool:
        if not await self._greeted():
            return False
        # Behind the greeting, in this order: subscriptions, what was kept, and a ping that proves that both arrived.
        assert self._wire is not None
        for subscription in self._subscriptions.values():
            self._wire.up.send((SUBSCRIBE, subscription.number, subscription.subject))
        kept, self._kept, self._kept_bytes = self._kept, [], 0
        for item in kept:
            self._wire.up.send(item)
        return await self._answered_ping(FLUSH_TIMEOUT_S)

    def _killed(self) -> None:
        """The process is gone; its kernel sends what was written and closes."""
        self._state = State.CLOSED
        self._hang_up()

    def _receive(self, dial: int, items: list[Any]) -> None:
        """What the broker has sent, in the context of the process."""
        if dial != self._dials or self._state is State.CLOSED:
            return
        for item in items:
            if item is None:
                self._lost("closed by the broker")
                return
            number, message = item
            if number == MUX:
                waiting = self._waiting.get(message.subject)
                if waiting is not None and not waiting.done():
                    waiting.set_result(message)
            elif number == PONG:
                if self._pongs:
                    self._pings_outstanding = 0
                    pong = self._pongs.popleft()
                    if not pong.done():
                        pong.set_result(True)
            else:
                subscription = self._subscriptions.get(number)
                if subscription is not None:
                    subscription.offer(message)

    # The port

    @property
    def connected(self) -> bool:
        return self._state is State.CONNECTED

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        self._on_reconnect.append(callback)

    def forget_reconnect(self, callback: Callable[[], None]) -> None:
        self._on_reconnect.remove(callback)

    def inbox(self) -> str:
        return f"{self._inbox_prefix}x{next(self._inboxes)}"

    def _send(self, subject: str, payload: bytes, headers: Mapping[str, str] | None, reply: str) -> None:
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise BrokerRefused(
                f"publishing on {subject}", f"{len(payload)} bytes are more than the broker takes at once"
            )
        item = (PUBLISH, subject, reply, payload, None if headers is None else dict(headers))
        if self._state is State.CONNECTED:
            assert self._wire is not None
            self._wire.up.send(item)
            return
        if self._state is State.CLOSED:
            raise Unacknowledged(f"could not send on {subject}: the connection is closed")
        if self._kept_bytes + len(payload) > PENDING_BYTES_MAX:
            raise Unacknowledged(f"could not send on {subject}: the buffer is full")
        self._kept.append(item)
        self._kept_bytes += len(payload)

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float = 2.0,
    ) -> bytes:
        reply = f"{self._mux}{next(self._requests)}"
        self._send(subject, payload, headers, reply)
        answer: asyncio.Future[Message | None] = self.loop.create_future()
        self._waiting[reply] = answer
        timer = self.loop.call_later(timeout_s, _expire, answer)
        try:
            message = await answer
        finally:
            timer.cancel()
            del self._waiting[reply]
        if message is None:
            raise Unacknowledged(f"no answer on {subject} within {timeout_s:g} s")
        if message.headers is not None and message.headers.get("Status") == "503":
            raise NobodyListens(f"nobody answers on {subject}: is JetStream enabled?")
        return message.data

    async def publish(
        self, subject: str, payload: bytes = b"", headers: Mapping[str, str] | None = None, reply: str = ""
    ) -> None:
        self._send(subject, payload, headers, reply)

    async def subscribe(self, subject: str, handler: Handler, *, pending_max: int = 65_536) -> Subscription:
        if self._state is State.CLOSED:
            raise Unacknowledged(f"could not subscribe to {subject}: the connection is closed")
        subscription = SimSubscription(self, next(self._subscription_numbers), subject, handler, pending_max)
        self._subscriptions[subscription.number] = subscription
        # Without a connection, the reconnection makes it known.
        if self._state is State.CONNECTED:
            assert self._wire is not None
            self._wire.up.send((SUBSCRIBE, subscription.number, subject))
        return subscription

    async def unsubscribe(self, subscription: Subscription) -> None:
        await subscription.unsubscribe()

    def drop_subscription(self, subscription: SimSubscription) -> None:
        subscription.stop()
        if self._subscriptions.pop(subscription.number, None) is not None and self._state is State.CONNECTED:
            assert self._wire is not None
            self._wire.up.send((UNSUBSCRIBE, subscription.number))

    async def flush(self, timeout_s: int = 2) -> None:
        if self._state is State.CLOSED:
            raise Unacknowledged("flush: the connection is closed")
        if not await self._answered_ping(timeout_s):
            raise Unacknowledged("flush: no answer in time")

    async def close(self) -> None:
        if self._state is State.CLOSED:
            return
        self._state = State.CLOSED
        if self._reconnecting is not None:
            self._reconnecting.cancel()
        for subscription in list(self._subscriptions.values()):
            subscription.stop()
        self._subscriptions.clear()
        self._hang_up()
        self.closed.set()
        await asyncio.sleep(0)


def _expire(waiting: "asyncio.Future[Any]") -> None:
    """None instead of an exception: nobody need fetch it from a future whose task has been cancelled meanwhile."""
    if not waiting.done():
        waiting.set_result(None)
