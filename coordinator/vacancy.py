"""A leader whose connection the broker has closed: its lease need not run out before somebody else leads.

The broker's advisory is no more than a reason to ask. Each coordinator can be called under its name for as long as it
is connected, and if nobody listens there, the lease is free to be replaced. That is a short cut and no more: a leader
that was only cut off finds its lease gone when it comes back, and whatever it still decides is refused by the fence.
"""

import asyncio
import contextlib

import msgspec
import structlog

from coordinator.disconnections import SUBJECT, Advisory
from events.bus import Bus, Message, Subscription
from events.clock import seconds
from events.errors import LogError, NobodyListens, Unacknowledged
from events.lease import Held, held_lease
from events.streams import Streams

log = structlog.get_logger(__name__)

ROLE = "coordinator"
ANSWER_S_MAX = 0.25


def connection_name(coordinator_id: str) -> str:
    """Under which a coordinator connects, so that the broker tells who has gone."""
    return f"{ROLE}/{coordinator_id}"


def call_subject(streams: Streams, coordinator_id: str) -> str:
    return streams.service_subject(f"{ROLE}.{coordinator_id}")


_decoder = msgspec.json.Decoder(Advisory)


class VacancyWatch:
    """`start`, then `stop`, once each. Answers when it is called itself."""

    def __init__(self, bus: Bus, streams: Streams, coordinator_id: str) -> None:
        self._bus = bus
        self._streams = streams
        self._coordinator_id = coordinator_id
        self._subscriptions: list[Subscription] = []
        self._closed: dict[str, float] = {}
        """Coordinators whose connections were closed since the last look, and when, by the broker's clock."""
        self._told = asyncio.Event()
        self._listened_from_the_start = False
        """False: whoever went before it began to listen was told of to nobody that it knows."""

    async def start(self) -> None:
        """Listens, and answers, from now on.

        Raises:
            Unacknowledged: the connection is closed.
        """
        own = call_subject(self._streams, self._coordinator_id)
        for subject, handler in ((SUBJECT, self._hear), (own, self._answer)):
            self._subscriptions.append(await self._bus.subscribe(subject, handler))
        with contextlib.suppress(Unacknowledged):
            # Nobody shall hold the lease, and be called, before it can answer. Without a broker nobody does.
            await self._bus.flush()

    async def stop(self) -> None:
        for subscription in self._subscriptions:
            await self._bus.unsubscribe(subscription)

    async def _answer(self, message: Message) -> None:
        await self._bus.publish(message.reply, self._coordinator_id.encode())

    async def _hear(self, message: Message) -> None:
        try:
            advisory = _decoder.decode(message.data)
        except msgspec.DecodeError:
            return  # anybody of the account could have sent it
        role, _, coordinator_id = advisory.client.name.partition("/")
        if role == ROLE and coordinator_id != self._coordinator_id:
            closed_at = advisory.client.stop
            self._closed[coordinator_id] = 0.0 if closed_at is None else seconds(closed_at)
            self._told.set()

    async def within(self, patience_s: float) -> Held | None:
        """The lease of a leader that has gone, as soon as that is known; None: nothing of the kind has come to light
        within that time. The first time whoever has it is asked."""
        closed: dict[str, float] | None = None
        if self._listened_from_the_start:
            try:
                async with asyncio.timeout(patience_s):
                    await self._told.wait()
            except TimeoutError:
                return None
            self._told.clear()
            closed, self._closed = self._closed, {}
        self._listened_from_the_start = True
        try:
            return await self._left(closed)
        except LogError as error:
            log.info("vacancy_unknown", error=str(error))
            return None

    async def _left(self, closed: dict[str, float] | None) -> Held | None:
        """`closed` None: it may be anybody."""
        held = await held_lease(self._bus, self._streams)
        if held is None or held.holder.coordinator_id == self._coordinator_id:
            return None
        leader = held.holder.coordinator_id
        if closed is not None and (leader not in closed or held.renewed_at > closed[leader] > 0.0):
            return None  # another one's connection, or it has been heard since
        try:
            await self._bus.request(call_subject(self._streams, leader), timeout_s=ANSWER_S_MAX)
        except NobodyListens:
            log.info("leader_gone", coordinator_id=leader)
            return held
        return None
