"""The port to the broker: requests, messages, subscriptions, and what becomes of the connection.

`events.connection` keeps it over nats-py; the simulator keeps it over a broker of its own.
"""

import abc
import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from events.errors import BrokerRefused, NotReady

Handler = Callable[["Message"], Awaitable[None]]
Taker = Callable[["Message"], None]

PENDING_MAX = 512 * 1024
"""Messages that wait for a taker, where it cannot be called at once."""


class Message(Protocol):
    """What a handler is given: nats-py's own message, by the parts that may be leaned on, or a leaner one."""

    @property
    def subject(self) -> str: ...

    @property
    def reply(self) -> str: ...

    @property
    def data(self) -> bytes: ...

    @property
    def headers(self) -> Mapping[str, str] | None: ...


class Subscription(Protocol):
    async def unsubscribe(self, limit: int = 0) -> None: ...


class _ApiError(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = "no reason given"


class _ApiAnswer(msgspec.Struct):
    error: _ApiError | None = None


_answer = msgspec.json.Decoder(_ApiAnswer)

PAYLOAD_BYTES_MAX = 1_048_576

TEMPORARILY_UNAVAILABLE = 10008
"""JetStream's error code while its cluster has no leader."""


class Bus(abc.ABC):
    """One connection of one process, ended by `close`. It comes back by itself for as long as it is not closed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.reconnections = 0
        self.closed = asyncio.Event()
        """Set when the connection has ended for good, whoever ended it."""

    @property
    @abc.abstractmethod
    def connected(self) -> bool: ...

    @abc.abstractmethod
    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """`callback` must not raise and returns at once."""

    @abc.abstractmethod
    def forget_reconnect(self, callback: Callable[[], None]) -> None: ...

    @abc.abstractmethod
    def inbox(self) -> str:
        """A subject that nobody else uses."""

    @abc.abstractmethod
    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float = 2.0,
    ) -> bytes:
        """Sends a request and returns the answer's payload.

        Raises:
            Unacknowledged: no answer within `timeout_s`, or nobody listens on `subject`.
            BrokerRefused: the payload is larger than the broker takes.
        """

    @abc.abstractmethod
    async def publish(
        self, subject: str, payload: bytes = b"", headers: Mapping[str, str] | None = None, reply: str = ""
    ) -> None:
        """Sends without waiting; while disconnected it is kept and sent after the reconnection.

        Raises:
            Unacknowledged: the connection is closed, or its buffer is full.
            BrokerRefused: the payload is larger than the broker takes.
        """

    @abc.abstractmethod
    async def subscribe(self, subject: str, handler: Handler, *, pending_max: int = 65_536) -> Subscription:
        """Calls `handler` for each message, one after another. What it raises is logged and costs that message only.

        Raises:
            Unacknowledged: the connection is closed.
        """

    async def take(self, subject: str, taker: Taker) -> Subscription:
        """As `subscribe`, for whoever takes in a flood: `taker` may be called while the connection is being read, costs
        no task its turn, and returns at once. It has to ask for a pause itself where it is given too much.

        Raises:
            Unacknowledged: the connection is closed.
        """

        async def handler(message: Message) -> None:
            taker(message)

        return await self.subscribe(subject, handler, pending_max=PENDING_MAX)

    @abc.abstractmethod
    async def unsubscribe(self, subscription: Subscription) -> None: ...

    @abc.abstractmethod
    async def flush(self, timeout_s: int = 2) -> None:
        """Returns when the broker has taken all that was sent.

        Raises:
            Unacknowledged: it did not say so in time.
        """

    @abc.abstractmethod
    async def close(self) -> None:
        """Ends the connection, at once. Whatever was not acknowledged may be lost; what was, is not."""

    async def api(self, verb: str, body: Any = None, *, timeout_s: float = 5.0) -> bytes:
        """One request to the JetStream API: `STREAM.CREATE.EVENTS` and its JSON body.

        Raises:
            BrokerRefused: the server said no, with its error code.
            NotReady: its cluster has no leader at present.
            Unacknowledged: no answer.
        """
        payload = b"" if body is None else msgspec.json.encode(body)
        answer = await self.request(f"$JS.API.{verb}", payload, timeout_s=timeout_s)
        refused = _answer.decode(answer).error
        if refused is not None and refused.err_code == TEMPORARILY_UNAVAILABLE:
            raise NotReady(f"{verb}: {refused.description}: the cluster of {self.url} has no leader at present")
        if refused is not None:
            raise BrokerRefused(verb, refused.description, refused.err_code)
        return answer


def headers_of(pairs: Sequence[tuple[str, str | None]]) -> dict[str, str]:
    return {name: value for name, value in pairs if value is not None}
