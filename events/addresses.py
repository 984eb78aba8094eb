"""Where a broker can be reached: one address, or those of several nodes with commas between them."""

from typing import NamedTuple
from urllib.parse import urlsplit

from events.credentials import VARIABLE
from events.errors import without_secret

PORT = 4222
SCHEMES = ("nats", "tls")


class Address(NamedTuple):
    url: str
    host: str
    port: int


def addresses(text: str) -> list[Address]:
    """`nats://a:4222,nats://b:4222`, one by one; `nats://` may be left out.

    Raises:
        ValueError: one of them is no address; the message says which, and why.
    """
    if "@" in text:
        raise ValueError(
            f"the address of {without_secret(text)!r} holds a password or a token, which everybody on this machine "
            f"could read: put it into a file, and name that in {VARIABLE}"
        )
    return [_address(part.strip()) for part in text.split(",")]


def _address(text: str) -> Address:
    url = text if "://" in text else f"nats://{text}"
    parsed = urlsplit(url)
    if parsed.scheme not in SCHEMES or not parsed.hostname:
        raise ValueError(f"{text!r} is not an address of the form nats://HOST:PORT")
    try:
        port = parsed.port or PORT
    except ValueError as error:
        raise ValueError(f"{text!r} is not a URL: {error}") from error
    return Address(url, parsed.hostname, port)
