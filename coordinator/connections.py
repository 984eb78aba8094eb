"""Who is connected to the broker, as its servers tell.

An account may always ask that about itself. Each server answers for its own connections.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from events.bus import Bus, Message

CONNECTIONS = "$SYS.REQ.ACCOUNT.PING.CONNZ"
PAGE = 1024
"""Connections that a server tells of at once; about 350 bytes each."""
PAGES_MAX = 100
ANSWER_S_MAX = 1.0
QUIET_S = 0.2
"""After the first answer of a server, the others' come within milliseconds."""


class Client(NamedTuple):
    server: str
    """The id of the server that it is connected to."""
    cid: int
    """Its number there."""
    name: str


class Listing(NamedTuple):
    clients: list[Client]
    as_of: datetime
    """When the last server answered, by its own clock."""


class _Connection(msgspec.Struct):
    cid: int
    name: str = ""


class _Connections(msgspec.Struct):
    now: Annotated[datetime, Meta(tz=True)]
    total: int = 0
    connections: list[_Connection] = []


class _Server(msgspec.Struct):
    id: str = ""


class _Answer(msgspec.Struct):
    server: _Server = msgspec.field(default_factory=_Server)
    data: _Connections | None = None


_decoder = msgspec.json.Decoder(_Answer)


async def connections(bus: Bus, interest: str = "") -> Listing | None:
    """Every connection of this account, or those that listen on the subject `interest`; None: no server says.

    A connection that ends while the servers are asked page by page may hide another.

    Raises:
        Unacknowledged: the own connection is closed, or its buffer is full.
    """
    only = {"filter_subject": interest} if interest else {}
    clients: list[Client] = []
    as_of: datetime | None = None
    for page in range(PAGES_MAX):
        offset, total = page * PAGE, 0
        told = False
        async for answer in _ask_all(bus, {"limit": PAGE, "offset": offset, **only}):
            if answer.data is None:
                continue
            told = True
            clients += [Client(answer.server.id, one.cid, one.name) for one in answer.data.connections]
            as_of = answer.data.now if as_of is None else max(as_of, answer.data.now)
            total = max(total, answer.data.total)
        if not told or as_of is None:
            return None
        if total <= offset + PAGE:
            return Listing(clients, as_of)
    return None  # so many that nobody can tell who is missing


async def _ask_all(bus: Bus, body: object) -> AsyncIterator[_Answer]:
    """Whatever is answered, until it has become quiet."""
    answers: asyncio.Queue[Message] = asyncio.Queue()
    inbox = bus.inbox()
    subscription = await bus.subscribe(inbox, answers.put)
    try:
        await bus.publish(CONNECTIONS, msgspec.json.encode(body), reply=inbox)
        patience = ANSWER_S_MAX
        while (message := await _next(answers, patience)) is not None:
            patience = QUIET_S
            try:
                yield _decoder.decode(message.data)
            except msgspec.DecodeError:
                continue  # "nobody is there" has no body
    finally:
        await bus.unsubscribe(subscription)


async def _next(queue: "asyncio.Queue[Message]", within_s: float) -> Message | None:
    try:
        async with asyncio.timeout(within_s):
            return await queue.get()
    except TimeoutError:
        return None
