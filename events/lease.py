"""The leader's lease: one message with a time to live, written by compare-and-set, removed by the server.

The lease decides who *should* lead. It is not what makes a second leader harmless: that is the fencing token on every
decision. So the lease may be as approximate as a clock.
"""

import base64
from collections.abc import Callable
from typing import Annotated, NamedTuple

import msgspec

from events.acks import decode_ack
from events.bus import Bus
from events.errors import BrokerRefused, Unacknowledged
from events.host import host
from events.jetstream import TRY_AGAIN, WRONG_LAST_SEQUENCE
from events.stored import stored_message
from events.streams import Streams

IN_VAIN_MIN = 2
"""Tries without an answer, one behind the other, from which on the broker is away."""


class LeaseHolder(msgspec.Struct, frozen=True):
    coordinator_id: str
    nonce: str
    """Tells two processes with one coordinator id apart."""


class Held(NamedTuple):
    """A lease that somebody has."""

    holder: LeaseHolder
    sequence: int
    """Of its last renewal."""
    renewed_at: float
    """By the broker's clock."""


async def held_lease(bus: Bus, streams: Streams) -> Held | None:
    """Who has it; None: nobody, or somebody of whom nothing is understood.

    Raises:
        LogError: the broker does not answer, or there is no such system.
    """
    stored = await stored_message(bus, streams.leases, {"last_by_subj": streams.lease_subject})
    if stored is None:
        return None
    try:
        holder = msgspec.json.decode(base64.b64decode(stored.data), type=LeaseHolder)
    except msgspec.DecodeError:
        return None
    return Held(holder, stored.seq, stored.time_ns / 1e9)


class Absence(NamedTuple):
    """The broker left several tries in a row without an answer, or refused them. Times by the holder's clock."""

    since: float
    """When the first of them was sent."""
    until: float
    """When the first one behind them had been stored, or declined for somebody else's sake."""


class Lease:
    """One candidate's view of the lease.

    `ttl_s` is at least 1 (the server's minimum); the server expires with a granularity of 0.25 s. A holder counts
    from the moment before it sent its last successful renewal, by its own monotonic clock, and stops a margin early.
    """

    def __init__(
        self,
        bus: Bus,
        streams: Streams,
        holder: LeaseHolder,
        *,
        ttl_s: Annotated[int, "whole seconds"] = 2,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        self._bus = bus
        self._subject = streams.lease_subject
        self._holder = holder
        self._monotonic = monotonic or host().monotonic
        self._sequence = 0
        self._valid_until = 0.0
        self._in_vain: list[float] = []
        """When the first tries of a row were sent that came to nothing; no more than it takes to call it one."""
        self.absence: Absence | None = None
        """The last one. One try alone may have been the holder's own sleep."""
        self.ttl_s = ttl_s
        self.margin_s = ttl_s * 0.2

    @property
    def held(self) -> bool:
        return self._monotonic() < self._valid_until

    async def acquire_or_renew(self) -> bool:
        """One try. False: somebody else holds it, or the broker did not answer (then a holder stays one until its
        time is over)."""
        before = self._monotonic()
        in_vain, self._in_vain = self._in_vain, [*self._in_vain, before][:IN_VAIN_MIN]
        got = await self._try(before)
        if got is None:
            return False
        self._in_vain = []
        if len(in_vain) == IN_VAIN_MIN:
            self.absence = Absence(in_vain[0], self._monotonic())
        return got

    async def _try(self, before: float) -> bool | None:
        """None: nothing was heard."""
        headers = {
            "Nats-Expected-Last-Subject-Sequence": str(self._sequence),
            "Nats-TTL": f"{self.ttl_s}s",
        }
        try:
            answer = await self._bus.request(
                self._subject, msgspec.json.encode(self._holder), headers, timeout_s=self.ttl_s / 2
            )
        except Unacknowledged:
            return None
        ack = decode_ack(answer)
        if ack.error is None:
            self._sequence = ack.seq
            self._valid_until = before + self.ttl_s - self.margin_s
            return True
        if ack.error.err_code in TRY_AGAIN:
            return False  # somebody else tries at this very moment
        if ack.error.err_code != WRONG_LAST_SEQUENCE:
            raise BrokerRefused("lease", ack.error.description, ack.error.err_code)
        # Either somebody holds it, or ours has expired and the subject is empty again.
        self._sequence = 0
        self._valid_until = 0.0
        return False

    async def take_from(self, held: Held) -> bool:
        """One try to replace somebody else's, which has not run out. He finds out when he wants to renew it."""
        self._sequence = held.sequence
        return await self.acquire_or_renew()

    async def release(self) -> None:
        """Lets a standby in at once: the lease is replaced by one that lasts the shortest time there is."""
        if not self._sequence:
            return
        headers = {"Nats-Expected-Last-Subject-Sequence": str(self._sequence), "Nats-TTL": "1s"}
        self._sequence, self._valid_until = 0, 0.0
        try:
            await self._bus.request(self._subject, msgspec.json.encode(self._holder), headers, timeout_s=1.0)
        except Unacknowledged:
            return  # it expires by itself
