"""A history made anew on request, beside a projector that goes on, and its taking over.

Whoever asks for it makes the new file, from the log, in a process of its own. Then the projector that has the old one
open is asked over NATS to go on with the new one; where there is no such projector, nobody is in the way.
"""

import asyncio
import contextlib
import socket
from pathlib import Path

import msgspec

from events.bus import Bus, Message, Subscription
from events.errors import LogError, NobodyListens, Unacknowledged
from events.log import EventLog
from events.streams import Streams
from events.system import ProjectionRebuilt
from events.writer import Writer
from projections.database import Database
from projections.errors import Held, ProjectionError, Refused, Unreadable, WriteFailed
from projections.files import beside, remove
from projections.projector import WRITE_PATIENCE_S, Projector
from projections.rebuild import Rebuild
from projections.samples import HeartbeatStream

SERVICE = "history"
SUFFIX = ".anew"
ANSWER_S_MAX = 60.0


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """To the projector on `host` that has `path` open; all others stay silent."""

    host: str
    path: str
    made: str
    reason: str


class Reply(msgspec.Struct, frozen=True):
    through: int = 0
    error: str | None = None


_request = msgspec.json.Decoder(Request)
_reply = msgspec.json.Decoder(Reply)
_encoder = msgspec.json.Encoder()


class AdoptionService:
    """Answers on `streams.service_subject("history")` from `start` to `close`."""

    def __init__(self, bus: Bus, streams: Streams, projector: Projector) -> None:
        self._bus = bus
        self._subject = streams.service_subject(SERVICE)
        self._projector = projector
        self._subscription: Subscription | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._subscription = await self._bus.subscribe(self._subject, self._take)

    async def close(self) -> None:
        if self._subscription is not None:
            await self._bus.unsubscribe(self._subscription)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _take(self, message: Message) -> None:
        try:
            request = _request.decode(message.data)
        except msgspec.DecodeError:
            return
        if (request.host, request.path) == (socket.gethostname(), str(self._projector.path.absolute())):
            task = asyncio.create_task(self._serve(message.reply, request))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _serve(self, reply: str, request: Request) -> None:
        try:
            answer = Reply(through=await self._projector.adopt(Path(request.made), request.reason))
        except (ProjectionError, LogError) as error:
            answer = Reply(error=str(error))
        await self._bus.publish(reply, _encoder.encode(answer))


async def make_anew(path: Path, log: EventLog, writer: Writer, bus: Bus, streams: Streams, reason: str) -> int:
    """Makes the history at `path` anew and puts it in its place; how far it goes.

    Raises:
        Refused: the file is not ours, or whoever has it open does not answer; or it is being made anew already.
        WriteFailed: it could not be stored. Nothing is changed then.
        LogError: the log cannot be read.
    """
    made = await asyncio.to_thread(_place_for, path)
    old, keep = await asyncio.to_thread(_opened_if_free, path)
    try:
        projector = Projector(made, log, None, bus, HeartbeatStream(bus, streams))
        await projector.run(once=True)
        if keep == HELD:
            return await _hand_over(bus, streams, _request_for(path, made, reason))
        work = Rebuild(path, reason, old, projector.position.sequence, keep, made)
        await asyncio.to_thread(lambda: work.swap(Database.open(made)))
    except BaseException:
        await asyncio.to_thread(remove, made)
        raise
    finally:
        if old is not None:
            await asyncio.to_thread(old.close)
    event = ProjectionRebuilt(path=str(path), reason=reason, through=work.target, started_at=work.started_at)
    await writer.write(event, patience_s=WRITE_PATIENCE_S)
    return work.target


def _place_for(path: Path) -> Path:
    """Where the new file is made, without what an earlier try has left there, unless that is still under way."""
    if not path.is_file():
        raise Refused(path, "there is no such file; a projector makes it")
    made = beside(path, SUFFIX)
    if made.exists():
        with contextlib.suppress(Unreadable):
            Database.open(made).close()
        remove(made)
    return made


def _request_for(path: Path, made: Path, reason: str) -> Request:
    return Request(socket.gethostname(), str(path.absolute()), str(made.absolute()), reason)


HELD = "held"


def _opened_if_free(path: Path) -> tuple[Database | None, str | None]:
    """The file, held from now on, or what is to become of the one that cannot be had."""
    try:
        return Database.open(path), None
    except Held:
        return None, HELD
    except Unreadable:
        return None, "unreadable"


async def _hand_over(bus: Bus, streams: Streams, request: Request) -> int:
    try:
        answer = await bus.request(streams.service_subject(SERVICE), _encoder.encode(request), timeout_s=ANSWER_S_MAX)
    except (Unacknowledged, NobodyListens) as error:
        why = "somebody has it open, and no projector of this system answers for it"
        raise Refused(Path(request.path), why) from error
    reply = _reply.decode(answer)
    if reply.error is not None:
        raise WriteFailed(reply.error)
    return reply.through
