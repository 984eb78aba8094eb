"""What simulated clients and the simulated broker say to each other, and what they need to know of each other."""

import contextvars
from collections.abc import Callable
from typing import Any, Protocol

from tests.simulation.network import Network, Wire

# From a client: tuples that begin with one of these.
PUBLISH, SUBSCRIBE, UNSUBSCRIBE, PING, CONNECT = range(5)

# To a client: the number of the subscription, and the message. Numbers from MUX + 1 on are the client's own.
PONG = -1
MUX = 0
"""The subscription to the answers of all requests."""


class Message:
    """Keeps `events.bus.Message`."""

    __slots__ = ("data", "headers", "reply", "subject")

    def __init__(self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None) -> None:
        self.subject = subject
        self.reply = reply
        self.data = data
        self.headers = headers


class Machine(Protocol):
    """The part of a host that its processes' connections need, and the broker."""

    name: str
    """By which the network knows it."""

    def wall(self) -> float: ...
    def uniform(self, low: float, high: float) -> float: ...


class Process(Protocol):
    """The part of a simulated process that its connection needs."""

    @property
    def context(self) -> contextvars.Context: ...

    @property
    def host(self) -> Machine: ...

    def on_death(self, callback: Callable[[], None]) -> None:
        """`callback` is called when it is killed, before anything else ends."""
        ...


class Broker(Protocol):
    """What a client sees of the broker without asking it."""

    host: Machine
    network: Network

    @property
    def listening(self) -> bool: ...

    def accept(self, process: Process, name: str, receive: Callable[[list[Any]], None]) -> Wire: ...

    def heard(self, wire: Wire) -> bool:
        """Whether a ping on this connection would be answered now."""
        ...
