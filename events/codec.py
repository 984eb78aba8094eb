"""Bytes to events and back. A message that cannot be understood becomes a parked record, never an exception."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from events.envelope import SYNTHETIC_HEADER, Envelope, Recorded
from events.kinds import KINDS, tag_of

VERSIONS: dict[str, int] = {}
"""The current version of each kind's shape; absent means 1."""

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""Takes the JSON object of an old version of an event and returns that of the next version."""

UPCASTERS: dict[tuple[str, int], Upcaster] = {}
"""By kind and the version that it reads. Every version below the current one has its own; golden files in
tests/events/golden keep one recorded message of each."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Envelope)


class _Peek(msgspec.Struct):
    class Kind(msgspec.Struct):
        kind: str = ""

    event: Kind
    version: int = 1


_peek = msgspec.json.Decoder(_Peek)


def encode(envelope: Envelope) -> bytes:
    return _encoder.encode(envelope)


def decode(sequence: int, time: float, subject: str, payload: bytes, headers: Mapping[str, str] | None) -> Recorded:
    """One message of the stream EVENTS. Never raises: what is wrong with a message is in `Recorded.problem`."""
    synthetic = None if headers is None else headers.get(SYNTHETIC_HEADER)
    try:
        try:
            envelope = _decoder.decode(payload)
            if envelope.version != 1 or VERSIONS:
                envelope = _at_current_version(envelope, payload)
        except msgspec.ValidationError:
            # An old shape need not fit the current one; its upcasters get their chance before it is parked.
            peek = _peek.decode(payload)
            if not 1 <= peek.version < VERSIONS.get(peek.event.kind, 1):
                raise
            envelope = upcast(peek.event.kind, peek.version, payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        return Recorded(sequence, time, subject, None, synthetic, _explain(payload, error), payload)
    if not _belongs(envelope.event.tail(), subject):
        problem = f"event {envelope.event.name!r} does not belong on subject {subject!r}"
        return Recorded(sequence, time, subject, None, synthetic, problem, payload)
    return Recorded(sequence, time, subject, envelope, synthetic)


def _belongs(tail: str, subject: str) -> bool:
    """Exactly: a subject that only ends like the event's own may be one where its writer is allowed to write, and the
    event one that it is not."""
    _namespace, _, rest = subject.partition(".")
    return rest == f"event.{tail}" or subject == tail


def _at_current_version(envelope: Envelope, payload: bytes) -> Envelope:
    kind = tag_of(type(envelope.event))
    current = VERSIONS.get(kind, 1)
    if envelope.version == current:
        return envelope
    if envelope.version > current:
        raise ValueError(f"it is of version {envelope.version}; this program knows up to {current}: upgrade it")
    return upcast(kind, envelope.version, payload)


def upcast(kind: str, version: int, payload: bytes) -> Envelope:
    """Takes an old message through one upcaster a version to the current shape.

    Raises:
        ValueError: the version has no upcaster, or what came out does not fit the current shape.
    """
    message = msgspec.json.decode(payload)
    for step in range(version, VERSIONS.get(kind, 1)):
        upcaster = UPCASTERS.get((kind, step))
        if upcaster is None:
            raise ValueError(f"version {step} has no upcaster")
        try:
            message["event"] = upcaster(message["event"])
        except Exception as error:
            # It was promised an old shape, and what comes over the wire may be anything.
            raise ValueError(f"it does not fit version {step}: {error!r}") from error
        message["version"] = step + 1
    return msgspec.convert(message, Envelope)


def _explain(payload: bytes, error: Exception) -> str:
    """What is wrong with a message, in the terms of the person who must mend it."""
    try:
        peek = _peek.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return f"malformed: {error}"
    if peek.event.kind not in KINDS:
        return f"unknown kind {peek.event.kind!r}: written by a newer version, or by a stranger"
    return f"malformed {peek.event.kind} of version {peek.version}: {error}"
