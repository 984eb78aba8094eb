"""Names of things: what an identifier may look like, and how new ones are made."""

import re
from typing import Annotated

import msgspec

from events.host import host

ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$(?!\n)"
"""One token of a subject: no dots, no wildcards, no spaces; and no newline behind it, which `$` alone would let pass
into the broker's protocol."""

Id = Annotated[str, msgspec.Meta(pattern=ID_PATTERN)]

_ID = re.compile(ID_PATTERN)
_OTHER = re.compile(r"[^A-Za-z0-9_-]+")


def is_id(text: str) -> bool:
    return _ID.match(text) is not None


def as_id(text: str) -> str:
    """The nearest valid identifier to any text (a host name, a user's label), at most 64 characters."""
    return _OTHER.sub("-", text)[:64].strip("-") or "unnamed"


def new_id() -> str:
    """A UUIDv7 (RFC 9562): 48 bits of milliseconds, then 74 random bits, so ids sort by birth and cannot be guessed.

    Unguessable matters: the broker swallows a second message under a known id and acknowledges it.
    """
    milliseconds = int(host().wall() * 1000)
    random = int.from_bytes(host().token(10), "big")
    value = (milliseconds & 0xFFFFFFFFFFFF) << 80 | random
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
