"""The connection to a real broker. The only file that touches nats-py, whose traps it closes:

* callbacks that raise kill its read loop, so none of ours can;
* it gives up after 60 reconnections, so it is told never to; then it never gives up its first connection either, nor
  tells why, so that has a time;
* reconnections of a whole farm come at once, so each client waits its own time;
* a request whose permission is denied only times out, so violations are kept for the error message;
* before Python 3.12 its requests lose a cancellation that comes together with their answer, so that is looked for;
* its flush says that the server has taken what was written, and not what was to be written before;
* it asks every letter of every header whether it is a space, a quarter of what a message costs, so headers are ours;
* told to encrypt, it does not where the server offers no encryption, and hands its password over all the same, so
  nothing is said before that is settled;
* each message waits in a queue for a task that calls a coroutine, another third, so what streams deliver does not; and
  before that its parser takes a third, so that is cut into messages in `events.framing`;
* before it leaves a dead connection, or closes one, it waits until all that was written has been taken, which on a
  connection that is full and deaf is never, so we let go of it ourselves.
"""

import asyncio
import contextlib
import functools
import random
import ssl
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

import nats
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.protocol.parser import AWAITING_MSG_PAYLOAD

from events.addresses import Address, addresses
from events.bus import PENDING_MAX, Bus, Handler, Message, Subscription, Taker
from events.credentials import VARIABLE, Credentials, credentials
from events.delivery import fields_of
from events.ending import ended
from events.errors import BrokerRefused, NobodyListens, Unacknowledged, Unreachable, Unwelcome
from events.framing import Framing, give

log = structlog.get_logger(__name__)

PING_INTERVAL_S = 2
PINGS_OUTSTANDING_MAX = 2
"""A connection on which nothing has been answered is given up at the ping that follows: within three intervals. A
process that stands still loses none by that: it reads what has come before it counts what has not."""
CONNECT_TIMEOUT_S = 2
CLOSE_S_MAX = 2.0


REFUSALS = ("authorization violation", "authentication expired", "authentication revoked", "authentication timeout")


class _Unprotected(nats.errors.Error):
    """The broker does not do what the credentials demand of it."""


async def _hand_over(taker: Taker, message: Message) -> None:
    taker(message)


class _AtOnce(functools.partial[Coroutine[Any, Any, None]]):
    """A callback that nats-py takes for any other: `_hand_over` with its taker, whom our client calls itself."""


class _Client(Client):
    demands_encryption = False
    demands_admission = False

    def __init__(self) -> None:
        super().__init__()
        self._ps = Framing(self._ps, AWAITING_MSG_PAYLOAD, self._taker_of)  # type: ignore[assignment]

    def _connect_command(self) -> bytes:
        """The first words to the server, in which the secret is: what is demanded of it comes before."""
        writer = self._stream()
        if self.demands_encryption and (writer is None or writer.get_extra_info("ssl_object") is None):
            raise _Unprotected(
                "it offers no encryption, and there are certificates or a tls:// address that ask for it"
            )
        if self.demands_admission and not self._server_info.get("auth_required"):
            raise _Unprotected("it lets in everybody, and the credentials are for one that does not")
        return super()._connect_command()

    @staticmethod
    def _parse_header_lines(raw: bytes) -> dict[str, str]:
        return fields_of(raw)

    def _taker_of(self, sid: int) -> Taker | None:
        subscription = self._subs.get(sid)
        if subscription is None or type(subscription._cb) is not _AtOnce:
            return None
        taker: Taker = subscription._cb.args[0]
        return taker

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        taker = self._taker_of(sid)
        if taker is None:
            await super()._process_msg(sid, subject, reply, data, headers)
        else:
            give(taker, subject, reply, data, headers)

    async def _attempt_reconnect(self) -> None:
        self.abandon()
        if (writer := self._stream()) is not None:
            # Its end is one future for all that wait for it: a `close` that cancels us would cancel that, and itself.
            with contextlib.suppress(OSError):
                await asyncio.shield(writer.wait_closed())
        await super()._attempt_reconnect()

    def abandon(self) -> None:
        """Lets go of the present connection, with all that waits to be written to it."""
        if (writer := self._stream()) is not None:
            writer.transport.abort()

    def _stream(self) -> asyncio.StreamWriter | None:
        return getattr(self._transport, "_io_writer", None)


class Connection(Bus):
    """Keeps `events.bus.Bus`. Made by `connect`."""

    def __init__(self, client: _Client, url: str) -> None:
        super().__init__(url)
        self._client = client
        self._last_violation = ""
        self._opened = False
        self._refusal = ""
        self.refused = asyncio.Event()
        """The last try to connect ended because broker and credentials do not fit."""
        self._on_reconnect: list[Callable[[], None]] = []

    @classmethod
    async def connect(cls, url: str, *, name: str, wait_s: float = 5.0) -> "Connection":
        """Connects to one of the addresses in `url` (see `events.addresses`), trying again for up to `wait_s` seconds,
        or for as long as one try takes.

        Raises:
            Unreachable: nobody answered, or what answered is no NATS server.
            Unwelcome: it refused our credentials (`events.credentials`), or is not protected as they demand.
            CredentialsUnusable: they cannot be read.
        """
        own = credentials()
        encrypts = own.encrypts or "tls://" in url
        tls = own.context() if encrypts else None
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        servers = await _await_listener(url, wait_s)
        client = _Client()
        client.demands_admission, client.demands_encryption = own.admits, encrypts
        bus = cls(client, url)
        opening = asyncio.create_task(bus._open(servers, name, own, tls), name=f"connection to {url}")
        try:
            refused = asyncio.create_task(bus.refused.wait())
            patience = max(deadline - loop.time(), CONNECT_TIMEOUT_S)
            await asyncio.wait({opening, refused}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if opening.done() and opening.exception() is None:
                bus._opened = True
                return bus
        finally:
            await ended(refused)
            if not opening.done() or opening.exception() is not None:
                await ended(opening)
                await bus.close()
        error = client.last_error if opening.cancelled() else opening.exception()
        if why := bus._refusal or ("" if error is None else _refusal(error)):
            raise Unwelcome(url, why) from error
        raise Unreachable(url, _why_not(error)) from error

    async def _open(self, servers: list[str], name: str, own: Credentials, tls: ssl.SSLContext | None) -> None:
        """Tries for ever; what nats-py does not expect, it raises."""
        await self._client.connect(
            servers=servers,
            dont_randomize=True,  # they come in a random order, but for the first, which is known to be there
            name=name,
            user=own.user,
            password=own.password,
            token=own.token,
            tls=tls,
            error_cb=self._error,
            disconnected_cb=self._disconnected,
            reconnected_cb=self._reconnected,
            closed_cb=self._closed,
            allow_reconnect=True,
            max_reconnect_attempts=-1,
            reconnect_time_wait=random.uniform(0.05, 0.25),  # type: ignore[arg-type] # noqa: S311
            connect_timeout=CONNECT_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            max_outstanding_pings=PINGS_OUTSTANDING_MAX,
        )

    # Callbacks run inside nats-py's read loop and must not raise.

    async def _error(self, error: Exception) -> None:
        text = str(error)
        if "permissions violation" in text.lower():
            self._last_violation = text
            log.error("broker_permission_denied", detail=text)
        elif why := _refusal(error):
            if self._opened and not self.refused.is_set():
                log.error("broker_refuses_credentials", url=self.url, detail=why)
            self._refusal = why
            self.refused.set()
        else:
            log.debug("broker_connection_error", error=text or type(error).__name__)

    async def _disconnected(self) -> None:
        log.info("broker_disconnected", url=self.url)

    async def _reconnected(self) -> None:
        self.reconnections += 1
        self.refused.clear()
        log.info("broker_reconnected", url=self.url, reconnections=self.reconnections)
        for callback in list(self._on_reconnect):
            callback()

    async def _closed(self) -> None:
        self.closed.set()

    @property
    def connected(self) -> bool:
        return bool(self._client.is_connected)

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        self._on_reconnect.append(callback)

    def forget_reconnect(self, callback: Callable[[], None]) -> None:
        self._on_reconnect.remove(callback)

    def inbox(self) -> str:
        return str(self._client.new_inbox())

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float = 2.0,
    ) -> bytes:
        try:
            with _cancellable():
                answer = await self._client.request(
                    subject, payload, timeout=timeout_s, headers=None if headers is None else dict(headers)
                )
        except nats.errors.MaxPayloadError as error:
            raise _too_large(subject, payload) from error
        except nats.errors.NoRespondersError as error:
            raise NobodyListens(f"nobody answers on {subject}: is JetStream enabled?") from error
        except (nats.errors.Error, OSError, TimeoutError) as error:
            violation = f" ({self._last_violation})" if self._last_violation else ""
            raise Unacknowledged(f"no answer on {subject} within {timeout_s:g} s{violation}") from error
        return answer.data

    async def publish(
        self, subject: str, payload: bytes = b"", headers: Mapping[str, str] | None = None, reply: str = ""
    ) -> None:
        try:
            await self._client.publish(
                subject, payload, reply=reply, headers=None if headers is None else dict(headers)
            )
        except nats.errors.MaxPayloadError as error:
            raise _too_large(subject, payload) from error
        except (nats.errors.Error, OSError) as error:
            raise Unacknowledged(f"could not send on {subject}: {_said(error)}") from error

    async def subscribe(self, subject: str, handler: Handler, *, pending_max: int = 65_536) -> Subscription:
        async def guarded(message: Msg) -> None:
            try:
                await handler(message)
            except Exception:
                log.exception("handler_failed", subject=message.subject)

        return await self._subscribe(subject, guarded, pending_max)

    async def _subscribe(
        self, subject: str, callback: Callable[[Msg], Coroutine[Any, Any, None]], pending_max: int
    ) -> Subscription:
        try:
            return await self._client.subscribe(
                subject, cb=callback, pending_msgs_limit=pending_max, pending_bytes_limit=256 * 1024 * 1024
            )
        except (nats.errors.Error, OSError) as error:
            raise Unacknowledged(f"could not subscribe to {subject}: {_said(error)}") from error

    async def take(self, subject: str, taker: Taker) -> Subscription:
        return await self._subscribe(subject, _AtOnce(_hand_over, taker), PENDING_MAX)

    async def unsubscribe(self, subscription: Subscription) -> None:
        try:
            await subscription.unsubscribe()
        except (nats.errors.Error, OSError) as error:
            # A connection that is gone has no subscriptions left to end.
            log.debug("unsubscribe_failed", error=str(error))

    async def flush(self, timeout_s: int = 2) -> None:
        try:
            with _cancellable():
                # Its ping overtakes what waits to be written, unless that is written first.
                await self._client._flush_pending(force_flush=True)
                await self._client.flush(timeout_s)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise Unacknowledged(f"flush: {_said(error)}") from error

    async def close(self) -> None:
        impatience = asyncio.get_running_loop().call_later(CLOSE_S_MAX, self._client.abandon)
        try:
            await self._client.close()
        except (nats.errors.Error, OSError) as error:
            log.debug("close_failed", error=str(error))
        finally:
            impatience.cancel()
        self.closed.set()


@contextlib.contextmanager
def _cancellable() -> Iterator[None]:
    """`asyncio.wait_for`, which nats-py waits with, forgets a cancellation when what it waits for is there already."""
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    try:
        yield
    finally:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError


async def _await_listener(url: str, wait_s: float) -> list[str]:
    """nats-py's own first connection takes minutes to say that nobody is there; a plain TCP connection says it now.

    Returns the addresses, in the order in which to try them.
    """
    try:
        given = addresses(url)
    except ValueError as error:
        raise Unreachable(url, str(error)) from error
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_s
    while True:
        random.shuffle(given)
        knocks = [asyncio.create_task(_knock(address)) for address in given]
        try:
            for answer in asyncio.as_completed(knocks):
                address, why_not = await answer
                if why_not is None:
                    return [address.url, *(other.url for other in given if other != address)]
        finally:
            await ended(*knocks)
        if loop.time() >= deadline:
            raise Unreachable(url, why_not or "timed out")
        await asyncio.sleep(0.05)


async def _knock(address: Address) -> tuple[Address, str | None]:
    """None: somebody listens there; else why it cannot be told."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(address.host, address.port)
    except (OSError, TimeoutError) as error:
        return address, str(error)
    writer.close()
    return address, None


def _too_large(subject: str, payload: bytes) -> BrokerRefused:
    return BrokerRefused(f"publishing on {subject}", f"{len(payload)} bytes are more than the broker takes at once")


def _refusal(error: BaseException) -> str:
    """What is wrong between the broker and our credentials, in a sentence; empty: something else is wrong."""
    text = str(error)
    if isinstance(error, _Unprotected):
        return text
    if isinstance(error, ssl.SSLError):
        return f"they do not agree on encryption ({text}): look at 'ca' and 'certificate' in {VARIABLE}"
    if any(one in text.lower() for one in REFUSALS):
        return f"it refuses the credentials, or wants some and {VARIABLE} names none ({text.removeprefix('nats: ')})"
    return ""


def _why_not(error: BaseException | None) -> str:
    if error is None or isinstance(error, TimeoutError):
        return "it takes connections and does not answer"
    if isinstance(error, ValueError):
        return "what it says is not NATS"
    return _said(error)


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
