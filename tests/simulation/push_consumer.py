"""An ordered push consumer of the simulated broker: no acknowledgements, flow control, idle heartbeats.

As `server/consumer.go` of nats-server 2.15 does it, for the configuration that `events.reader` asks for.
"""

from collections.abc import Callable
from typing import Any, Protocol

from events.subjects import matches
from tests.simulation.protocol import Message
from tests.simulation.storage import Stored
from tests.simulation.stream import Stream

WINDOW_BYTES_MAX = 32 * 1024 * 1024
WINDOW_BYTES_FIRST = WINDOW_BYTES_MAX // 16
MESSAGE_BYTES = 64
"""About what the answer subject adds to a message."""


class Courier(Protocol):
    """What a consumer takes from the broker."""

    def now(self) -> float: ...
    def later(self, delay_s: float, callback: Callable[[], None]) -> None: ...
    def has_interest(self, subject: str) -> bool: ...
    def deliver(self, subject: str, message: Message) -> None: ...
    def drop_consumer(self, consumer: "PushConsumer") -> None: ...


class PushConsumer:
    def __init__(self, stream: Stream, courier: Courier, name: str, configuration: dict[str, Any]) -> None:
        self.name = name
        self.stream = stream
        self.subject: str = configuration["deliver_subject"]
        self._courier = courier
        filters = configuration.get("filter_subjects") or configuration.get("filter_subject") or []
        self._filters: list[str] = [filters] if isinstance(filters, str) else filters
        self._wanted: dict[str, bool] = {}
        self._next = max(configuration.get("opt_start_seq", 1), stream.first_sequence)
        self._delivered = 0
        self.pending = sum(self._wants(record.subject) for record in stream.existing(self._next - 1))
        self._idle_s = configuration.get("idle_heartbeat", 0) / 1e9
        self._inactive_s = configuration.get("inactive_threshold", 0) / 1e9
        self._last_sent = 0.0
        self._beating = False
        self._controlled = bool(configuration.get("flow_control"))
        self._window = WINDOW_BYTES_FIRST
        self._outstanding = 0
        self._question = ""
        self._question_bytes = 0
        self._questions = 0
        self._reply_prefix = f"$JS.ACK.{stream.name}.{name}.1."
        self.active = False
        self._deaf_since = 0.0
        self._closed = False

    def start(self) -> None:
        if not self._closed:
            self.check_interest()
            if not self.active:
                self._deaf()

    def close(self) -> None:
        self._closed = True
        self.active = False

    def _wants(self, subject: str) -> bool:
        if not self._filters:
            return True
        wanted = self._wanted.get(subject)
        if wanted is None:
            wanted = self._wanted[subject] = any(matches(each, subject) for each in self._filters)
        return wanted

    def stored(self, record: Stored) -> None:
        """A message has been stored; `advance` will deliver it."""
        if record.sequence >= self._next and self._wants(record.subject):
            self.pending += 1

    def advance(self) -> None:
        """Delivers all that there is, as far as flow control lets it."""
        stream = self.stream
        while self.active and self._next <= stream.last_sequence:
            if self._controlled and self._outstanding > self._window:
                return
            record = stream.get(self._next)
            self._next += 1
            if record is not None and self._wants(record.subject):
                self._deliver(record)
        if self._next > stream.last_sequence:
            self.pending = 0

    def _deliver(self, record: Stored) -> None:
        self._delivered += 1
        self.pending = max(0, self.pending - 1)
        reply = f"{self._reply_prefix}{record.sequence}.{self._delivered}.{record.time_ns}.{self.pending}"
        courier = self._courier
        courier.deliver(self.subject, Message(record.subject, reply, record.data, record.headers))
        self._last_sent = courier.now()
        if self._controlled:
            self._outstanding += len(record.data) + len(record.subject) + MESSAGE_BYTES
            if not self._question and self._outstanding > self._window // 2:
                self._ask()

    def _ask(self) -> None:
        """Whether all before this has been taken in."""
        self._questions += 1
        self._question = f"$JS.FC.{self.stream.name}.{self.name}.{self._questions}"
        self._question_bytes = self._outstanding
        headers = {"Status": "100", "Description": "FlowControl Request"}
        self._courier.deliver(self.subject, Message(self.subject, self._question, b"", headers))

    def answered(self, question: str) -> None:
        if question != self._question:
            return
        self._question = ""
        self._window = min(2 * self._window, WINDOW_BYTES_MAX)
        self._outstanding = max(0, self._outstanding - self._question_bytes)
        self.advance()

    # Interest

    def check_interest(self) -> None:
        """Somebody began or ceased to listen to some subject."""
        active = self._courier.has_interest(self.subject)
        if active == self.active:
            return
        self.active = active
        if active:
            self._last_sent = self._courier.now()
            self._beat_later(self._idle_s)
            self.advance()
        else:
            self._deaf()

    def _deaf(self) -> None:
        self._deaf_since = self._courier.now()
        if self._inactive_s:
            self._courier.later(self._inactive_s, self._drop_if_deaf)

    def _drop_if_deaf(self) -> None:
        waited = self._courier.now() - self._deaf_since
        if not self._closed and not self.active and waited >= self._inactive_s - 1e-6:
            self._courier.drop_consumer(self)

    # Idle heartbeats

    def _beat_later(self, delay_s: float) -> None:
        if self._idle_s and not self._beating:
            self._beating = True
            self._courier.later(delay_s, self._beat)

    def _beat(self) -> None:
        self._beating = False
        if not self.active:
            return
        courier = self._courier
        idle = courier.now() - self._last_sent
        if idle < self._idle_s - 1e-6:
            # A message came meanwhile: it counts as one, and the next is due a whole interval behind it.
            self._beat_later(self._idle_s - idle)
            return
        headers = {
            "Status": "100",
            "Description": "Idle Heartbeat",
            "Nats-Last-Consumer": str(self._delivered),
            "Nats-Last-Stream": str(self._next - 1),
        }
        if self._question:
            headers["Nats-Consumer-Stalled"] = self._question
        courier.deliver(self.subject, Message(self.subject, "", b"", headers))
        self._last_sent = courier.now()
        self._beat_later(self._idle_s)
