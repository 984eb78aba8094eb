"""Who listens to what: the connections of the simulated broker and their subscriptions."""

from collections.abc import Callable
from typing import Any

from events.subjects import matches
from tests.simulation.network import Wire
from tests.simulation.stream import Stream

ROUTES_MAX = 50_000


class Connection:
    """A client, as the server sees it."""

    __slots__ = ("cid", "heard_at", "mux", "name", "pings_outstanding", "send", "subscriptions", "wire")

    def __init__(self, name: str, cid: int) -> None:
        self.name = name
        self.cid = cid
        self.wire: Wire
        self.send: Callable[[Any], None]
        self.mux = ""
        """What the subjects of the answers to its requests begin with."""
        self.subscriptions: dict[int, str] = {}
        self.heard_at = 0.0
        self.pings_outstanding = 0

    def use(self, wire: Wire) -> None:
        self.wire = wire
        self.send = wire.down.send


Interest = tuple[Connection, int]
"""A connection, and its number of the subscription."""
Route = tuple[Stream | None, list[Interest]]


class Interests:
    """`streams` is looked at whenever a subject is seen for the first time; `forget_routes` when it has changed."""

    def __init__(self, streams: dict[str, Stream]) -> None:
        self._streams = streams
        self._exact: dict[str, list[Interest]] = {}
        self._patterns: list[tuple[str, Interest]] = []
        self._routes: dict[str, Route] = {}

    def add(self, connection: Connection, subject: str, number: int) -> None:
        self._routes.clear()
        if "*" in subject or ">" in subject:
            self._patterns.append((subject, (connection, number)))
        else:
            self._exact.setdefault(subject, []).append((connection, number))

    def remove(self, connection: Connection, subject: str, number: int) -> None:
        self._routes.clear()
        gone = (connection, number)
        remaining = [interest for interest in self._exact.get(subject, ()) if interest != gone]
        if remaining:
            self._exact[subject] = remaining
        else:
            self._exact.pop(subject, None)
        self._patterns = [each for each in self._patterns if each != (subject, gone)]

    def clear(self) -> None:
        self._exact.clear()
        self._patterns.clear()
        self._routes.clear()

    def forget_routes(self) -> None:
        self._routes.clear()

    def has(self, inbox: str) -> bool:
        return inbox in self._exact

    def of_inbox(self, subject: str) -> list[Interest]:
        """Those of a subscription to the inbox, or of the client that awaits one answer under it."""
        found = self._exact.get(subject)
        if found is None:
            found = self._exact.get(subject[: subject.rfind(".") + 1])
        return found or []

    def route(self, subject: str) -> Route:
        """The stream that takes the subject, and who else listens to it."""
        route = self._routes.get(subject)
        if route is None:
            if len(self._routes) >= ROUTES_MAX:
                self._routes.clear()
            route = self._routes[subject] = (self._stream(subject), self._listeners(subject))
        return route

    def _stream(self, subject: str) -> Stream | None:
        for stream in self._streams.values():
            if any(matches(pattern, subject) for pattern in stream.subjects):
                return stream
        return None

    def _listeners(self, subject: str) -> list[Interest]:
        return [
            *self._exact.get(subject, ()),
            *(interest for pattern, interest in self._patterns if matches(pattern, subject)),
        ]
