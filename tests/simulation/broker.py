"""A simulated nats-server with JetStream: one process on one host, and what can happen to it.

It runs on any asyncio loop. Clients are made by `SimBroker.connect`; a checker reads `SimBroker.streams`.

What survives what is as measured on nats-server 2.15: SIGKILL costs nothing that was acknowledged, but for a stream
that is written asynchronously (HEARTBEATS), whose last moments are lost; a power loss costs what was not synced, which
with `sync_interval: always` is nothing, and else what came since the last sync, from some point on. Sequences of a lost
tail are handed out again.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import msgspec

from coordinator.broker_configuration import DISCONNECTIONS, KICK
from coordinator.connections import CONNECTIONS
from events.clock import utc
from events.subjects import matches
from tests.simulation import jetstream_api
from tests.simulation.bus import SimBus
from tests.simulation.interests import Connection, Interests
from tests.simulation.network import Network, Wire
from tests.simulation.protocol import (
    CONNECT,
    MUX,
    PING,
    PONG,
    PUBLISH,
    SUBSCRIBE,
    UNSUBSCRIBE,
    Machine,
    Message,
    Process,
)
from tests.simulation.push_consumer import PushConsumer
from tests.simulation.storage import Published
from tests.simulation.stream import Stream

SYNC_INTERVAL_S = 120.0
UNFLUSHED_S_MAX = 0.3
"""How much of an asynchronous stream a SIGKILL can cost."""
PING_INTERVAL_S = 120.0
PINGS_OUTSTANDING_MAX = 2
UNREAD_MAX = 10_000
"""Messages that a socket holds for a client that does not read; for a while the server then waits for it."""
WRITE_DEADLINE_S = 10.0


class SimBroker:
    def __init__(self, network: Network, host: Machine) -> None:
        self.network = network
        self.host = host
        self.streams: dict[str, Stream] = {}
        self.listening = False
        self.paused = False
        self._life = 0
        """Counts its starts; what an earlier one had planned does not happen."""
        self._held: list[Callable[[], None]] = []
        self._started_at = 0.0
        self._connections: list[Connection] = []
        self._clients = itertools.count(1)
        self._cids = itertools.count(1)
        self._consumer_names = itertools.count(1)
        self._consumers: dict[str, PushConsumer] = {}
        self._interests = Interests(self.streams)

    async def connect(self, process: Process, name: str, *, wait_s: float = 5.0) -> SimBus:
        """As `events.connection.Connection.connect`, for code of `process`.

        Raises:
            Unreachable: nobody answered within `wait_s` seconds.
        """
        bus = SimBus(self, process, name, next(self._clients))
        await bus.open(wait_s)
        return bus

    # What happens to it

    def start(self) -> None:
        if self.listening:
            return
        self.network.power_on(self.host.name)
        self._life += 1
        self._started_at = self.now()
        self.listening = True
        for stream in self.streams.values():
            stream.start()

    def stop(self) -> None:
        """It ends in order: everything is on disk, and every connection closed behind its last message."""
        for connection in self._end():
            connection.wire.end_server()

    def crash(self) -> None:
        """SIGKILL."""
        if not self.listening:
            return
        unflushed_from = self.now() - self.network.random() * UNFLUSHED_S_MAX
        for connection in self._end():
            connection.wire.kill_server()
        for stream in self.streams.values():
            if stream.asynchronous:
                stream.lose_since(unflushed_from)

    def power_loss(self, *, sync_always: bool = True, written_until: float | None = None) -> None:
        """Its machine loses power, and every connection ends without a word. `start` when it is back. `written_until`:
        what came later is lost, by the loop's clock; None: what nobody had synced is, from a moment that is drawn."""
        self._end()
        self.network.power_off(self.host.name)
        age = self.now() - self._started_at
        last_sync = self._started_at + age // SYNC_INTERVAL_S * SYNC_INTERVAL_S
        if written_until is None:
            # The kernel writes pages back when it likes, so some of what was not synced may be there.
            written_until = last_sync + self.network.random() * (self.now() - last_sync)
        for stream in self.streams.values():
            if stream.asynchronous or not sync_always:
                stream.lose_since(written_until)

    def _end(self) -> list[Connection]:
        self.listening = False
        self._life += 1
        self.paused = False
        self._held.clear()
        connections, self._connections = self._connections, []
        self._interests.clear()
        self._consumers.clear()
        for stream in self.streams.values():
            stream.stop()
        return connections

    def pause(self) -> None:
        """SIGSTOP: what is sent to it waits in its machine's kernel."""
        self.paused = True
        for connection in self._connections:
            connection.wire.up.held = True

    def resume(self) -> None:
        if not self.paused:
            return
        self.paused = False
        for connection in list(self._connections):
            connection.wire.up.held = False
            if not connection.wire.up.cut:
                connection.wire.up.resume(0.0)
        held, self._held = self._held, []
        for callback in held:
            callback()

    def stop_accepting(self) -> None:
        """As after a failed fsync: nothing is stored any more and publishers hear nothing, until `accept` or a restart.
        Reading goes on."""
        for stream in self.streams.values():
            stream.frozen = True

    def accept_again(self) -> None:
        for stream in self.streams.values():
            stream.frozen = False

    def fill(self, stream: str, *, full: bool = True) -> None:
        """`max_bytes` is reached, or there is room again."""
        self.streams[stream].full = full

    def damage(self, stream: str, sequence: int) -> bool:
        """A flipped bit on disk: one message is gone, in silence. Whether there was one."""
        return self.streams[stream].remove(sequence)

    # Its clocks

    def now(self) -> float:
        return self.network.time()

    def wall_ns(self) -> int:
        return round(self.host.wall() * 1e9)

    def later(self, delay_s: float, callback: Callable[[], None]) -> None:
        self.network.loop.call_later(delay_s, self._fire, self._life, callback, context=self.network.context)

    def _fire(self, life: int, callback: Callable[[], None]) -> None:
        if life != self._life:
            return
        if self.paused:
            self._held.append(functools.partial(self._fire, life, callback))
        else:
            callback()

    # Connections

    def accept(self, process: Process, name: str, receive: Callable[[list[Any]], None]) -> Wire:
        connection = Connection(name, next(self._cids))
        network = self.network
        wire = Wire(
            network,
            network.site(process.host.name),
            network.site(self.host.name),
            receive,
            functools.partial(self._receive, connection),
            process.context,
        )
        connection.use(wire)
        connection.heard_at = self.now()
        wire.up.held = self.paused
        network.join(wire)
        self._connections.append(connection)
        self._ping_later(connection)
        return wire

    def heard(self, wire: Wire) -> bool:
        if not self.listening or self.paused or not wire.passable:
            return False
        for connection in self._connections:
            if connection.wire is wire:
                connection.heard_at = self.now()
                return True
        return False

    def _ping_later(self, connection: Connection) -> None:
        self.later(PING_INTERVAL_S, functools.partial(self._ping, connection))

    def _ping(self, connection: Connection) -> None:
        """Clients send pings of their own, so whoever has been silent for so long does not answer either."""
        if connection not in self._connections:
            return
        if self.now() - connection.heard_at < PING_INTERVAL_S:
            connection.pings_outstanding = 0
        else:
            connection.pings_outstanding += 1
            if connection.pings_outstanding > PINGS_OUTSTANDING_MAX:
                self._drop(connection, "Stale Connection")
                return
        self._ping_later(connection)

    def _drop(self, connection: Connection, reason: str) -> None:
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        connection.wire.end_server()
        self._forget_interest(connection, connection.mux, MUX)
        for number, subject in connection.subscriptions.items():
            self._forget_interest(connection, subject, number)
        if connection.mux:
            self._advise(connection, reason)

    def _advise(self, connection: Connection, reason: str) -> None:
        """What the system account lets the clients' account know."""
        client = {"name": connection.name, "stop": utc(self.host.wall())}
        advisory = msgspec.json.encode({"client": client, "reason": reason})
        self._publish(DISCONNECTIONS, "", advisory, None)

    def _list_connections(self, request: bytes) -> bytes:
        """Who is connected, in the order in which they came; as a server tells those of the account that asks."""
        body = msgspec.json.decode(request)
        known = [connection for connection in self._connections if connection.mux]
        offset = body["offset"]
        page = known[offset : offset + body["limit"]]
        found = [{"cid": connection.cid, "name": connection.name} for connection in page]
        data = {"now": utc(self.host.wall()), "total": len(known), "connections": found}
        return msgspec.json.encode({"server": {"id": self.host.name}, "data": data})

    def _kick(self, request: bytes) -> bytes:
        """The system account's request to close a connection."""
        cid = msgspec.json.decode(request)["cid"]
        for connection in self._connections:
            if connection.cid == cid:
                self._drop(connection, "Kicked")
                return b"{}"
        return msgspec.json.encode({"error": {"code": 404, "description": "no such client or server"}})

    def _receive(self, connection: Connection, items: list[Any]) -> None:
        connection.heard_at = self.network.time()
        for item in items:
            if item is None:
                self._drop(connection, "Client Closed")
                return
            operation = item[0]
            if operation == PUBLISH:
                self._publish(item[1], item[2], item[3], item[4])
            elif operation == SUBSCRIBE:
                self._subscribe(connection, item[1], item[2])
            elif operation == UNSUBSCRIBE:
                subject = connection.subscriptions.pop(item[1], None)
                if subject is not None:
                    self._forget_interest(connection, subject, item[1])
            elif operation == PING:
                connection.send((PONG, None))
            else:
                assert operation == CONNECT
                connection.mux = item[1]
                self._add_interest(connection, item[1], MUX)

    # Subjects

    def _subscribe(self, connection: Connection, number: int, subject: str) -> None:
        if number not in connection.subscriptions:
            connection.subscriptions[number] = subject
            self._add_interest(connection, subject, number)

    def _add_interest(self, connection: Connection, subject: str, number: int) -> None:
        self._interests.add(connection, subject, number)
        self._interest_changed(subject)

    def _forget_interest(self, connection: Connection, subject: str, number: int) -> None:
        self._interests.remove(connection, subject, number)
        self._interest_changed(subject)

    def _interest_changed(self, subject: str) -> None:
        for consumer in list(self._consumers.values()):
            if consumer.subject == subject:
                consumer.check_interest()

    def has_interest(self, subject: str) -> bool:
        return self._interests.has(subject)

    def _publish(self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None) -> None:
        if subject.startswith(("_INBOX.", "$JS.")):
            self._publish_internal(subject, reply, data, headers)
            return
        if subject == CONNECTIONS:
            self.deliver(reply, Message(reply, "", self._list_connections(data), None))
            return
        if matches(KICK, subject):
            self.deliver(reply, Message(reply, "", self._kick(data), None))
            return
        stream, interests = self._interests.route(subject)
        for connection, number in interests:
            self._send(connection, number, Message(subject, reply, data, headers))
        if stream is None:
            if reply and not interests:
                self._refuse(reply)
            return
        last = stream.last_sequence
        answer = stream.publish(Published(subject, data, headers))
        if answer is not None and reply:
            self.deliver(reply, Message(reply, "", answer, None))
        if stream.last_sequence != last:
            for consumer in stream.consumers:
                consumer.advance()

    def _publish_internal(self, subject: str, reply: str, data: bytes, headers: dict[str, str] | None) -> None:
        if subject.startswith("_INBOX."):
            self.deliver(subject, Message(subject, reply, data, headers))
        elif subject.startswith("$JS.FC."):
            consumer = self._consumers.get(subject.split(".")[3])
            if consumer is not None:
                consumer.answered(subject)
        else:
            self.deliver(reply, Message(reply, "", jetstream_api.answer(self, subject, data), None))

    def _refuse(self, reply: str) -> None:
        """Nobody listens on the subject of a request: its sender is told at once."""
        self.deliver(reply, Message(reply, "", b"", {"Status": "503"}))

    def deliver(self, subject: str, message: Message) -> None:
        """To an inbox: of a subscription, or of one request among all those of a client."""
        for connection, number in self._interests.of_inbox(subject):
            self._send(connection, number, message)

    def _send(self, connection: Connection, number: int, message: Message) -> None:
        if len(connection.wire.down) >= UNREAD_MAX:
            waiting_since = connection.wire.down.waiting_since()
            if waiting_since is not None and self.now() - waiting_since > WRITE_DEADLINE_S:
                self.later(0.0, functools.partial(self._drop, connection, "Slow Consumer (Write Deadline)"))
                return
        connection.send((number, message))

    # For the JetStream API

    def add_stream(self, configuration: dict[str, Any]) -> Stream:
        stream = Stream(configuration, self)
        self.streams[stream.name] = stream
        self._interests.forget_routes()
        return stream

    def remove_stream(self, name: str) -> None:
        stream = self.streams.pop(name)
        self._consumers = {each.name: each for each in self._consumers.values() if each.stream is not stream}
        stream.stop()
        self._interests.forget_routes()

    def consumer_name(self) -> str:
        return f"c{next(self._consumer_names)}"

    def add_consumer(self, consumer: PushConsumer) -> None:
        self._consumers[consumer.name] = consumer
        consumer.stream.consumers.append(consumer)
        # The first deliveries may overtake the answer to whoever asked for the consumer.
        if self.network.random() < 0.5:
            consumer.start()
        else:
            self.later(0.0, consumer.start)

    def drop_consumer(self, consumer: PushConsumer) -> None:
        consumer.close()
        if self._consumers.pop(consumer.name, None) is not None:
            consumer.stream.consumers.remove(consumer)
