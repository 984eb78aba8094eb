"""The simulated network: hosts, TCP connections between them, and what goes wrong on the way.

A connection keeps the order of what is written into it; between connections there is no order. While a direction is
cut, bytes wait in the sender's kernel, as they do in a real one: after a short cut they arrive late and in order, and
only the end of the connection loses them. All delays are drawn from one random generator, in the order of the events.
"""

import asyncio
import contextvars
import random
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

Direction = Literal["out", "in", "both"]
Receiver = Callable[[list[Any]], None]

EOF = None
"""What the other end of a connection reads last."""

LOCAL_SHARE = 0.1
"""How long a message takes between two processes of one host, as a share of the way between two hosts."""
RETRANSMISSION_S_MAX = 2.0
"""TCP doubles its pauses, so the longer a cut has lasted the later it is noticed that it is over."""


class Site:
    """One host, as the network sees it."""

    __slots__ = ("cut_since", "deaf", "jitter_s", "mute", "name", "powered")

    def __init__(self, name: str) -> None:
        self.name = name
        self.mute = False
        self.deaf = False
        self.cut_since = 0.0
        self.jitter_s = 0.0
        """What each message takes longer, at most."""
        self.powered = True


class Pipe:
    """One direction of one TCP connection."""

    __slots__ = (
        "_armed",
        "_context",
        "_local",
        "_network",
        "_queue",
        "_receive",
        "_sent_at",
        "_tail_at",
        "closed",
        "held",
        "source",
        "target",
        "void",
    )

    def __init__(
        self, network: "Network", source: Site, target: Site, receive: Receiver, context: contextvars.Context
    ) -> None:
        self._network = network
        self._receive = receive
        self._context = context
        self._queue: deque[tuple[float, Any]] = deque()
        self._tail_at = 0.0
        self._sent_at = -1.0
        self._armed = False
        self._local = source is target
        self.source = source
        self.target = target
        self.closed = False
        """Takes nothing more; what is in it still arrives."""
        self.held = False
        """The reader's process does not read: its kernel takes what fits."""
        self.void: Callable[[], None] | None = None
        """Called for what is sent to a machine that has forgotten the connection."""

    @property
    def cut(self) -> bool:
        return not self._local and (self.source.mute or self.target.deaf)

    def waiting_since(self) -> float | None:
        """When the oldest of what has not been read should have arrived; None if all has been read."""
        return self._queue[0][0] if self._queue else None

    def __len__(self) -> int:
        return len(self._queue)

    def send(self, item: Any) -> None:
        if self.closed:
            if self.void is not None:
                self.void()
            return
        network = self._network
        now = network.time()
        if now == self._sent_at:
            at = self._tail_at  # written in one turn, under way in one packet
        else:
            self._sent_at = now
            at = max(self._tail_at, now + self._delay_s())
            self._tail_at = at
        self._queue.append((at, item))
        if not self._armed:
            self._arm(at)

    def _delay_s(self) -> float:
        network = self._network
        delay = network.low_s + network.random() * network.spread_s
        if self._local:
            return delay * LOCAL_SHARE
        jitter = self.source.jitter_s + self.target.jitter_s
        return delay + network.random() * jitter if jitter else delay

    def _arm(self, at: float) -> None:
        self._armed = True
        self._network.loop.call_at(at, self._pump, context=self._context)

    def _pump(self) -> None:
        self._armed = False
        queue = self._queue
        if not queue or self.held or self.cut:
            return
        # The loop may be early by the resolution of its clock.
        now = self._network.time() + 1e-6
        items = []
        while queue and queue[0][0] <= now:
            items.append(queue.popleft()[1])
        if queue:
            self._arm(queue[0][0])
        if items:
            self._receive(items)

    def resume(self, within_s: float) -> None:
        """Whatever held it up is over; what waits goes on within `within_s` seconds."""
        if not self._queue:
            return
        network = self._network
        at = network.time() + self._delay_s() + network.random() * within_s
        late = deque((max(at, due), item) for due, item in self._queue)
        self._queue = late
        self._tail_at = max(self._tail_at, at)
        self._arm(late[0][0])

    def finish(self) -> None:
        """The sender closes: what it has written arrives, then the end of it."""
        if self.closed:
            return
        if self.cut and self._network.random() < 0.5:
            # The kernel goes on sending for a process that has closed, for some time only.
            self._queue.clear()
        self.send(EOF)
        self.closed = True

    def break_off(self) -> None:
        """Some of what is under way arrives, the rest is lost, and the receiver learns that it has ended."""
        if self.closed:
            return
        kept = self._network.rng.randint(0, len(self._queue))
        while len(self._queue) > kept:
            self._queue.pop()
        self.send(EOF)
        self.closed = True

    def discard(self) -> None:
        """The reader is gone: nothing arrives any more."""
        self._queue.clear()
        self.closed = True


class Wire:
    """A TCP connection of a client with the broker."""

    def __init__(
        self,
        network: "Network",
        client: Site,
        server: Site,
        to_client: Receiver,
        to_server: Receiver,
        client_context: contextvars.Context,
    ) -> None:
        self._network = network
        self.client = client
        self.server = server
        self.up = Pipe(network, client, server, to_server, network.context)
        # A process that stands still does not read; so its own context decides when it does.
        self.down = Pipe(network, server, client, to_client, client_context)
        self._to_client = to_client
        self._to_server = to_server
        self._client_context = client_context

    @property
    def over(self) -> bool:
        return self.up.closed and self.down.closed and not len(self.up) and not len(self.down)

    @property
    def passable(self) -> bool:
        """Whether a question would be answered now, as far as the network is concerned."""
        return not (self.up.closed or self.down.closed or self.up.cut or self.down.cut or self.up.held)

    def end_client(self) -> None:
        self.down.discard()
        self.up.finish()

    def end_server(self) -> None:
        self.up.discard()
        self.down.finish()

    def kill_server(self) -> None:
        """As `end_server`, by SIGKILL: what the server has read no more is lost, and some of what it has written."""
        self.up.discard()
        self.down.break_off()

    def reset(self) -> None:
        self.up.break_off()
        self.down.break_off()

    def lose_server(self) -> None:
        """The server's machine is gone without a word. The client learns it from its pings, or from the machine when it
        is back and does not know the connection."""
        self._lose()
        self.up.void = lambda: self._refuse(self.server, self._client_context, self._to_client)

    def lose_client(self) -> None:
        self._lose()
        self.down.void = lambda: self._refuse(self.client, self._network.context, self._to_server)

    def _lose(self) -> None:
        self.up.discard()
        self.down.discard()

    def _refuse(self, answering: Site, context: contextvars.Context, tell: Receiver) -> None:
        if answering.powered and not (self.up.cut or self.down.cut):
            self.up.void = self.down.void = None
            way_s = 2 * self._network.low_s
            self._network.loop.call_later(way_s, tell, [EOF], context=context)


class Network:
    """All hosts and connections.

    What happens in it and in the broker runs in `context`, the world's: what is under way does not stand still with any
    process. `delay_s` bounds the way of a message between two hosts.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, rng: random.Random, *, delay_s: tuple[float, float] = (0.0002, 0.0012)
    ) -> None:
        self.loop = loop
        self.rng = rng
        self.random = rng.random
        self.time = loop.time
        self.context = contextvars.Context()
        self.low_s = delay_s[0]
        self.spread_s = delay_s[1] - delay_s[0]
        self._sites: dict[str, Site] = {}
        self._wires: list[Wire] = []

    def site(self, host: str) -> Site:
        site = self._sites.get(host)
        if site is None:
            site = self._sites[host] = Site(host)
        return site

    def join(self, wire: Wire) -> None:
        """A closed connection stays known for as long as something is under way in it."""
        self._wires = [known for known in self._wires if not known.over]
        self._wires.append(wire)

    def wires_of(self, host: str) -> list[Wire]:
        site = self.site(host)
        return [wire for wire in self._wires if site in (wire.client, wire.server)]

    def round_trip_s(self) -> float:
        return 2 * (self.low_s + self.random() * self.spread_s)

    def reaches(self, one: str, other: str) -> bool:
        """Whether a new connection could be made between the two hosts."""
        a, b = self.site(one), self.site(other)
        return b.powered and (a is b or not (a.mute or a.deaf or b.mute or b.deaf))

    # Faults

    def cut(self, host: str, direction: Direction = "both") -> None:
        """From now on nothing leaves the host (`out`), or nothing reaches it (`in`); nobody is told."""
        site = self.site(host)
        if not (site.mute or site.deaf):
            site.cut_since = self.time()
        site.mute = site.mute or direction in ("out", "both")
        site.deaf = site.deaf or direction in ("in", "both")

    def heal(self, host: str) -> None:
        site = self.site(host)
        if not (site.mute or site.deaf):
            return
        site.mute = site.deaf = False
        within_s = min(self.time() - site.cut_since, RETRANSMISSION_S_MAX)
        self._resume(host, within_s)

    def _resume(self, host: str, within_s: float) -> None:
        for wire in self.wires_of(host):
            for pipe in (wire.up, wire.down):
                if not pipe.cut and not pipe.held:
                    pipe.resume(within_s)

    def slow(self, host: str, jitter_s: float) -> None:
        """Every message from or to the host takes up to `jitter_s` longer; 0 ends it."""
        self.site(host).jitter_s = jitter_s

    def reset(self, host: str) -> None:
        """All connections of the host end now; of what is under way in either direction, the rest from some point on is
        lost."""
        for wire in self.wires_of(host):
            wire.reset()

    def power_off(self, host: str) -> None:
        """The machine is gone, and no connection is closed in order: the others hear nothing at all. Kill its processes
        after this."""
        site = self.site(host)
        site.powered = False
        for wire in self.wires_of(host):
            if wire.client is site:
                wire.lose_client()
            else:
                wire.lose_server()

    def power_on(self, host: str) -> None:
        """It is back, and refuses what it does not know."""
        self.site(host).powered = True
