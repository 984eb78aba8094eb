"""What `--nats-url` takes: one address, or those of several nodes."""

import pytest

from events.addresses import Address, addresses
from events.connection import Connection
from events.errors import Unreachable


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nats://a", [Address("nats://a", "a", 4222)]),
        ("a:4333", [Address("nats://a:4333", "a", 4333)]),
        ("tls://[::1]:4333", [Address("tls://[::1]:4333", "::1", 4333)]),
        ("nats://a:1, b", [Address("nats://a:1", "a", 1), Address("nats://b", "b", 4222)]),
    ],
)
def test_addresses(text: str, found: list[Address]) -> None:
    assert addresses(text) == found


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "'' is not an address of the form nats://HOST:PORT"),
        ("nats://a,", "'' is not an address"),
        ("http://a", "'http://a' is not an address"),
        ("nats://a:1,nats://:2", "'nats://:2' is not an address"),
        ("nats://a:1,nats://b:port", "'nats://b:port' is not a URL"),
    ],
)
async def test_what_is_none(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        addresses(text)
    with pytest.raises(Unreachable, match=complaint):
        await Connection.connect(text, name="test")
