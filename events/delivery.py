"""A message as it came over the wire. Its headers are taken apart for whoever looks into them, and hardly anybody does:
a reader of a stream is told nothing there that it wants to know, but of one message in many."""

from collections.abc import Iterator, Mapping

from msgspec import Struct

VERSION = b"NATS/1.0"
PLAIN = VERSION + b"\r\n"
"""Begins headers in which the server says nothing itself."""


def fields_of(lines: bytes) -> dict[str, str]:
    """What nats-py's own would return for lines of headers: names are ASCII and hold no space, values are UTF-8 more or
    less."""
    fields = {}
    for line in lines.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        name = name.strip()
        if colon and name.isascii() and len(name.split()) == 1:
            fields[name.decode()] = value.strip().decode("utf-8", "replace")
    return fields


class Headers(Mapping[str, str]):
    """Of one message. What the server says itself stands in the first line, and goes by the names Status and
    Description, as with nats-py."""

    __slots__ = ("_block", "_fields")

    def __init__(self, block: bytes) -> None:
        self._block = block
        self._fields: dict[str, str] | None = None

    def _all(self) -> dict[str, str]:
        if self._fields is None:
            first, _, lines = self._block.partition(b"\r\n")
            self._fields = fields_of(lines)
            status, _, description = first.removeprefix(VERSION).strip().partition(b" ")
            if status.isdigit():
                self._fields["Status"] = status.decode()
                if description:
                    self._fields["Description"] = description.decode("utf-8", "replace")
        return self._fields

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        """Without taking apart headers that do not have that name."""
        if self._fields is None and self._block.startswith(PLAIN) and name.encode() not in self._block:
            return default
        return self._all().get(name, default)

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


class Delivery(Struct, frozen=True, gc=False):
    """Keeps `events.bus.Message`. `block` is its headers as they came, if there are any."""

    subject: str
    reply: str
    data: bytes
    block: bytes

    @property
    def headers(self) -> Headers | None:
        return Headers(self.block) if self.block else None
