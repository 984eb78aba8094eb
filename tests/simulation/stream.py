"""A stream of the simulated broker, as nats-server 2.15 keeps one that has a single replica.

The order of the checks is the server's (`server/stream.go`, `server/jetstream_batching.go`): the size first; then of a
single message the condition before the id, of an atomic batch the ids before the condition.
"""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from tests.simulation.aging import SECOND, Clock, Expiries, KnownIds
from tests.simulation.batches import OpenBatches, Refused
from tests.simulation.storage import Headers, Published, Storage, Stored


class Listener(Protocol):
    """A consumer of the stream."""

    def stored(self, record: Stored) -> None: ...
    def advance(self) -> None: ...
    def close(self) -> None: ...


class Stream(Storage):
    def __init__(self, configuration: dict[str, Any], clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.frozen = False
        """As after a failed fsync: what would be stored is not, and nobody is told."""
        self.full = False
        """As if `max_bytes` were reached."""
        self.consumers: list[Listener] = []
        self.observers: list[Callable[[Stored], None]] = []
        """Told of each message as it is stored; they outlive the server."""
        self.created_ns = clock.wall_ns()
        self._ids = KnownIds(clock)
        self._batches = OpenBatches(clock)
        self._expiries = Expiries(clock, self.remove)
        self.configure(configuration)

    def configure(self, configuration: dict[str, Any]) -> None:
        self.configuration = configuration
        get = configuration.get
        self.name: str = configuration["name"]
        self.subjects: list[str] = get("subjects", [])
        self.asynchronous = get("persist_mode") == "async"
        self._size_max: int = get("max_msg_size", -1)
        self._bytes_max: int = get("max_bytes", -1)
        self._age_max_ns: int = get("max_age", 0)
        self._per_subject_max: int = get("max_msgs_per_subject", -1)
        self._refuses_when_full = get("discard", "old") == "new"
        self._takes_ttl: bool = get("allow_msg_ttl", False)
        self._takes_batches: bool = get("allow_atomic", False)
        self._ids.window_ns = get("duplicate_window", 120 * SECOND)
        self._ack = f'{{"stream":"{self.name}","seq":'

    # Publishing

    def publish(self, message: Published) -> bytes | None:
        """The answer, as JSON; None where the server says nothing."""
        headers = message.headers
        try:
            self._check_size(message)
            if headers is not None:
                if "Nats-Batch-Id" in headers:
                    return self._publish_in_batch(message, headers)
                self._check_condition(message.subject, headers)
                known = self._ids.get(headers.get("Nats-Msg-Id", ""))
                if known is not None:
                    return f'{self._ack}{known},"duplicate": true}}'.encode()
            if self._refuses_when_full:
                self._check_room(message.stored_bytes)
        except Refused as refused:
            return msgspec.json.encode({"error": refused.error, "stream": self.name, "seq": 0})
        if self.frozen:
            return None
        self._store(message)
        return f"{self._ack}{self.last_sequence}}}".encode()

    def _publish_in_batch(self, message: Published, headers: Headers) -> bytes | None:
        if not self._takes_batches:
            raise Refused(400, 10174, "atomic publish is disabled")
        batch = self._batches.add(message)
        if batch is None:
            return b""
        self._check_batch(batch)
        if self.frozen:
            return None
        for each in batch:
            self._store(each)
        batch_id = headers["Nats-Batch-Id"]
        return f'{self._ack}{self.last_sequence},"batch":"{batch_id}","count":{len(batch)}}}'.encode()

    def _check_batch(self, batch: list[Published]) -> None:
        ids: set[str] = set()
        written: set[str] = set()
        size = 0
        for message in batch:
            headers = message.headers
            assert headers is not None
            if "Nats-Expected-Last-Msg-Id" in headers:
                raise Refused(400, 10177, "atomic publish unsupported header used: Nats-Expected-Last-Msg-Id")
            event_id = headers.get("Nats-Msg-Id")
            if event_id is not None:
                if event_id in ids or event_id in self._ids:
                    raise Refused(400, 10201, "atomic publish batch contains duplicate message id")
                ids.add(event_id)
            if "Nats-Expected-Last-Subject-Sequence" in headers:
                conditional = headers.get("Nats-Expected-Last-Subject-Sequence-Subject", message.subject)
                if conditional in written:
                    raise Refused(400, 10164, "wrong last sequence")
            self._check_condition(message.subject, headers)
            written.add(message.subject)
            size += message.stored_bytes
            if self._refuses_when_full:
                self._check_room(size)

    def _check_condition(self, subject: str, headers: Headers) -> None:
        if "Nats-Rollup" in headers and not self.configuration.get("allow_rollup_hdrs"):
            raise Refused(400, 10111, "rollup not permitted")
        stream = headers.get("Nats-Expected-Stream")
        if stream is not None and stream != self.name:
            raise Refused(400, 10060, "expected stream does not match")
        ttl = headers.get("Nats-TTL")
        if ttl is not None:
            if not self._takes_ttl:
                raise Refused(400, 10166, "per-message TTL is disabled")
            _ttl_s(ttl)
        expected = headers.get("Nats-Expected-Last-Subject-Sequence")
        if expected is not None:
            last = self.last_on(headers.get("Nats-Expected-Last-Subject-Sequence-Subject", subject))
            if last != int(expected):
                raise _wrong_last(last)
        elif "Nats-Expected-Last-Subject-Sequence-Subject" in headers:
            raise Refused(400, 10193, "missing sequence for expected last sequence per subject")
        expected = headers.get("Nats-Expected-Last-Sequence")
        if expected is not None and int(expected) != self.last_sequence:
            raise _wrong_last(self.last_sequence)

    def _check_size(self, message: Published) -> None:
        if 0 <= self._size_max < len(message.data) + message.header_bytes:
            raise Refused(400, 10054, "message size exceeds maximum allowed")

    def _check_room(self, size: int) -> None:
        if self.full or 0 <= self._bytes_max < self.bytes + size:
            raise Refused(503, 10077, "maximum bytes exceeded")

    # Storing and removing

    def _store(self, message: Published) -> None:
        time_ns = self._clock.wall_ns()
        before = self._last_by_subject.get(message.subject, 0)
        record = self.append(message, time_ns, self._clock.now())
        if record.headers is not None:
            self._note(record, record.headers)
        if self._per_subject_max == 1 and before:
            self.remove(before)
        if message.headers is not None and message.headers.get("Nats-Rollup") == "sub":
            for earlier in [one.sequence for one in self.existing() if one.subject == message.subject][:-1]:
                self.remove(earlier)
        while 0 <= self._bytes_max < self.bytes:
            self.remove(self.first_sequence)
        if self._age_max_ns:
            self.remove_older(time_ns - self._age_max_ns)
        for consumer in self.consumers:
            consumer.stored(record)
        for observer in self.observers:
            observer(record)

    def _note(self, record: Stored, headers: Headers) -> None:
        event_id = headers.get("Nats-Msg-Id")
        if event_id is not None and record.time_ns > self._clock.wall_ns() - self._ids.window_ns:
            self._ids.remember(event_id, record.sequence, record.time_ns)
        if self._takes_ttl and "Nats-TTL" in headers:
            self._expiries.add(record.sequence, record.time_ns + _ttl_s(headers["Nats-TTL"]) * SECOND)

    def remove(self, sequence: int) -> bool:
        self._expiries.forget(sequence)
        return super().remove(sequence)

    # The server's ends and beginnings

    def stop(self) -> None:
        """The server has ended: what was in its memory is gone."""
        for consumer in self.consumers:
            consumer.close()
        self.consumers.clear()
        self._batches.clear()
        self._ids.clear()
        self._expiries.clear()

    def start(self) -> None:
        """The server reads what is stored."""
        self.frozen = False
        self.recount()
        for record in self.existing():
            if record.headers is not None:
                self._note(record, record.headers)


def _ttl_s(text: str) -> int:
    """Whole seconds of `2`, `2s`, `1500ms`.

    Raises:
        Refused: it is no duration, or shorter than a second.
    """
    number = text.rstrip("msh")
    factor = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}.get(text[len(number) :], 0.0)
    try:
        seconds = float(number) * factor
    except ValueError:
        seconds = 0.0
    if seconds < 1.0:
        raise Refused(400, 10165, "invalid per-message TTL")
    return int(seconds)


def _wrong_last(last: int) -> Refused:
    return Refused(400, 10071, f"wrong last sequence: {last}")
