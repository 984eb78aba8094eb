"""The part of the JetStream API that this system asks: streams, single messages, ordered push consumers."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from events.subjects import matches
from tests.simulation.aging import SECOND
from tests.simulation.batches import Refused
from tests.simulation.push_consumer import Courier, PushConsumer
from tests.simulation.storage import Stored
from tests.simulation.stream import Stream

PREFIX = "$JS.API."


class Server(Courier, Protocol):
    """What the API takes from the broker."""

    streams: dict[str, Stream]

    def wall_ns(self) -> int: ...
    def consumer_name(self) -> str: ...
    def add_stream(self, configuration: dict[str, Any]) -> Stream: ...
    def remove_stream(self, name: str) -> None: ...
    def add_consumer(self, consumer: PushConsumer) -> None: ...


def answer(server: Server, subject: str, payload: bytes) -> bytes:
    """The answer to a request on `$JS.API.<verb>.<stream>`."""
    verb, _, name = subject.removeprefix(PREFIX).rpartition(".")
    handler = _HANDLERS.get(verb)
    if handler is None:
        raise NotImplementedError(f"the simulated broker does not know {verb}")
    kind = f"io.nats.jetstream.api.v1.{verb.lower().replace('.', '_')}_response"
    try:
        body = msgspec.json.decode(payload) if payload else {}
        return msgspec.json.encode({"type": kind, **handler(server, name, body)})
    except Refused as refused:
        return msgspec.json.encode({"type": kind, "error": refused.error})


def _stream(server: Server, name: str) -> Stream:
    stream = server.streams.get(name)
    if stream is None:
        raise Refused(404, 10059, "stream not found")
    return stream


def _create_stream(server: Server, name: str, body: dict[str, Any]) -> dict[str, Any]:
    existing = server.streams.get(name)
    if existing is not None:
        if existing.configuration != body:
            raise Refused(400, 10058, "stream name already in use with a different configuration")
        return _described(existing)
    for other in server.streams.values():
        if any(_overlap(mine, theirs) for mine in body["subjects"] for theirs in other.subjects):
            raise Refused(400, 10065, "subjects overlap with an existing stream")
    return _described(server.add_stream(body))


def _update_stream(server: Server, name: str, body: dict[str, Any]) -> dict[str, Any]:
    stream = _stream(server, name)
    stream.configure(body)
    return _described(stream)


def _delete_stream(server: Server, name: str, _: dict[str, Any]) -> dict[str, Any]:
    _stream(server, name)
    server.remove_stream(name)
    return {"success": True}


def _describe_stream(server: Server, name: str, body: dict[str, Any]) -> dict[str, Any]:
    stream = _stream(server, name)
    described = _described(stream)
    if "subjects_filter" in body:
        described["state"]["subjects"] = stream.subjects_matching(body["subjects_filter"])
    return described


def _purge_stream(server: Server, name: str, body: dict[str, Any]) -> dict[str, Any]:
    stream = _stream(server, name)
    if stream.configuration.get("deny_purge"):
        raise Refused(500, 10110, "stream purge not permitted")
    which = body.get("filter", ">")
    purged = [stream.remove(record.sequence) for record in list(stream.existing()) if matches(which, record.subject)]
    return {"success": True, "purged": len(purged)}


def _get_message(server: Server, name: str, body: dict[str, Any]) -> dict[str, Any]:
    stream = _stream(server, name)
    sequence = body.get("seq") or stream.last_on(body.get("last_by_subj", ""))
    record = stream.get(sequence)
    if record is None:
        raise Refused(404, 10037, "no message found")
    return {"message": _told(record)}


def _delete_message(server: Server, name: str, body: dict[str, Any]) -> dict[str, Any]:
    stream = _stream(server, name)
    if stream.configuration.get("deny_delete"):
        raise Refused(500, 10057, "message delete not permitted")
    if not stream.remove(body["seq"]):
        raise Refused(404, 10043, f"sequence {body['seq']} not found")
    return {"success": True}


def _create_consumer(server: Server, name: str, body: dict[str, Any]) -> dict[str, Any]:
    stream = _stream(server, name)
    configuration = body["config"]
    if not configuration.get("deliver_subject"):
        raise NotImplementedError("the simulated broker pushes only")
    consumer = PushConsumer(stream, server, server.consumer_name(), configuration)
    pending = consumer.pending
    server.add_consumer(consumer)
    return {"stream_name": name, "name": consumer.name, "config": configuration, "num_pending": pending}


_HANDLERS: dict[str, Callable[[Server, str, dict[str, Any]], dict[str, Any]]] = {
    "STREAM.CREATE": _create_stream,
    "STREAM.UPDATE": _update_stream,
    "STREAM.DELETE": _delete_stream,
    "STREAM.INFO": _describe_stream,
    "STREAM.PURGE": _purge_stream,
    "STREAM.MSG.GET": _get_message,
    "STREAM.MSG.DELETE": _delete_message,
    "CONSUMER.CREATE": _create_consumer,
}


def _described(stream: Stream) -> dict[str, Any]:
    first = stream.first_sequence
    return {
        "config": stream.configuration,
        "created": _rfc3339(stream.created_ns),
        "state": {
            "messages": stream.messages,
            "bytes": stream.bytes,
            "first_seq": first if stream.last_sequence else 0,
            "last_seq": stream.last_sequence,
            "consumer_count": len(stream.consumers),
        },
    }


def _told(record: Stored) -> dict[str, Any]:
    told = {
        "subject": record.subject,
        "seq": record.sequence,
        "data": base64.b64encode(record.data).decode(),
        "time": _rfc3339(record.time_ns),
    }
    if record.headers is not None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in record.headers.items())
        told["hdrs"] = base64.b64encode(f"NATS/1.0\r\n{lines}\r\n".encode()).decode()
    return told


def _rfc3339(time_ns: int) -> str:
    """As Go writes it: to the nanosecond, without the zeros at the end."""
    seconds, nanoseconds = divmod(time_ns, SECOND)
    whole = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{nanoseconds:09}".rstrip("0").rstrip(".")
    return f"{whole}{fraction}Z"


def _overlap(one: str, other: str) -> bool:
    return matches(one, other) or matches(other, one)
