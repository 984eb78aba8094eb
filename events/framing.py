"""What a connection delivers, cut into messages: those of takers here, all else by nats-py's own parser, which tries
up to seven patterns on each, copies its payload twice and makes a coroutine of it, a third of what a message costs.

Protocol: https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

import re
from collections.abc import Callable
from typing import Protocol

import structlog

from events.bus import Taker
from events.delivery import Delivery

log = structlog.get_logger(__name__)

_WITH_HEADERS = re.compile(rb"HMSG (\S+) (\d{1,18}) (\S+) (\d{1,18}) (\d{1,18})\r\n").match
_WITHOUT = re.compile(rb"MSG (\S+) (\d{1,18}) (\S+) ()(\d{1,18})\r\n").match
"""Subject, subscription, reply, length of the headers and of the whole: as a server writes what a stream delivers. A
pattern looks for no more than that; what it does not know, nats-py's parser does."""

_END = len(b"\r\n")


class Parser(Protocol):
    """nats-py's, by the parts that are leaned on."""

    buf: bytearray
    """The beginning of what is not complete yet."""
    state: int
    needed: int
    """Bytes of the payload whose first line was read, where that is the state."""

    async def parse(self, data: bytes = b"") -> None: ...

    def reset(self) -> None: ...


class Framing:
    """Stands in for `parser`. `in_payload` is its state between the first line of a message and its end; `taker_of`
    knows who takes the messages of a subscription at once, None: nobody.

    What a read ends with is mostly half a message, whoever's it is: it is left to the parser, and so are all limits.
    """

    def __init__(self, parser: Parser, in_payload: int, taker_of: Callable[[int], Taker | None]) -> None:
        self._parser = parser
        self._in_payload = in_payload
        self._taker_of = taker_of

    def reset(self) -> None:
        self._parser.reset()

    async def parse(self, data: bytes = b"") -> None:
        """Takes in what was read.

        Raises:
            nats.errors.ProtocolError: it is not what a server says.
        """
        parser = self._parser
        if parser.state == self._in_payload:
            missing = parser.needed + _END - len(parser.buf)
            await parser.parse(data[:missing])
            data = data[missing:]
        elif parser.buf:
            data = bytes(parser.buf) + data
            parser.buf.clear()
        rest = self._hand_over(data)
        if rest:
            await parser.parse(rest)

    def _hand_over(self, data: bytes) -> bytes:
        """Gives the messages that `data` begins with to their takers, and returns it from the first that has none, or
        is no message, or not whole."""
        at, length = 0, len(data)
        last, taker = b"", None
        while found := _WITH_HEADERS(data, at) or _WITHOUT(data, at):
            subject, subscription, reply, headers, size = found.groups()
            if subscription != last:
                last, taker = subscription, self._taker_of(int(subscription))
            begin = found.end()
            end = begin + int(size)
            if taker is None or end + _END > length:
                break
            body = begin + int(headers or 0)
            give(taker, subject, reply, data[body:end], data[begin:body])
            at = end + _END
        return data[at:]


def give(taker: Taker, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
    """One message, whatever it does to its taker: an exception would end the connection's reading."""
    try:
        taker(Delivery(subject.decode("utf-8", "replace"), reply.decode(), data, headers))
    except Exception:
        log.exception("handler_failed", subject=subject.decode("utf-8", "replace"))
