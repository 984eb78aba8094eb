"""Closing the connection of a worker's agent at the server, for an agent that is there and does not get through.

Who is connected, an account may always ask about itself. Closing a connection is a request to the system account; the
account must import it (`coordinator.broker_configuration.KICK`), and a broker of somebody else's may not let it.
"""

from typing import Literal, NamedTuple

import msgspec
import structlog

from coordinator.connections import connections
from events.bus import Bus
from events.errors import NobodyListens, Unacknowledged
from events.streams import Streams
from worker.witness import presence

log = structlog.get_logger(__name__)

ANSWER_S_MAX = 1.0

Outcome = Literal["closed", "not_connected", "not_permitted", "unanswered"]


class Kick(NamedTuple):
    """What became of a try.

    `closed`: at least one connection was closed. `not_connected`: no server knows the agent. `not_permitted`: this
    account may not close connections. `unanswered`: nobody knows.
    """

    outcome: Outcome
    detail: str = ""


class _Error(msgspec.Struct):
    description: str = ""


class _Answer(msgspec.Struct):
    error: _Error | None = None


_decoder = msgspec.json.Decoder(_Answer)


class ConnectionCloser:
    """Closes connections of agents, and says once if it may not."""

    def __init__(self, bus: Bus, streams: Streams) -> None:
        self._bus = bus
        self._streams = streams
        self._said = False

    async def close_agent(self, worker_id: str) -> Kick:
        """Closes every connection of the worker's agent: one that is half open, too. A healthy agent is back within a
        quarter of a second."""
        try:
            kick = await self._close(f"agent/{worker_id}", presence(self._streams, worker_id))
        except NobodyListens:
            kick = Kick("not_permitted", "the account does not import the request that closes a connection")
        except Unacknowledged as error:
            kick = Kick("unanswered", str(error))
        if kick.outcome == "not_permitted" and not self._said:
            self._said = True
            log.warning(
                "connections_cannot_be_closed",
                url=self._bus.url,
                consequence="a worker that does not get through is restarted instead",
                remedy="let the account import the service $SYS.REQ.SERVER.*.KICK from the system account",
            )
        return kick

    async def _close(self, name: str, interest: str) -> Kick:
        """`interest`: a subject that the agent listens on, so that the servers need not list everybody."""
        listing = await connections(self._bus, interest)
        if listing is None:
            return Kick("unanswered", "no server says who is connected")
        found = [(client.server, client.cid) for client in listing.clients if client.name == name]
        closed = [await self._kick(server, cid) for server, cid in found]
        # One that has gone by itself in the meantime was not closed by us.
        return Kick("closed" if any(closed) else "not_connected")

    async def _kick(self, server: str, cid: int) -> bool:
        body = msgspec.json.encode({"cid": cid})
        answer = await self._bus.request(f"$SYS.REQ.SERVER.{server}.KICK", body, timeout_s=ANSWER_S_MAX)
        return _decoder.decode(answer).error is None
