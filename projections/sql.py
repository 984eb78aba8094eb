"""SQL for everybody else, by request and reply over NATS: the projector owns the file, and DuckDB lets nobody else in.

Request: {sql, format?, timeout_s?, rows_max?, at_least?}. Reply: {columns, types, rows, truncated, through_sequence,
error}. With the format `records` each row is an object, otherwise a list. `at_least` waits for an event of the log:
whoever has just appended one asks for its sequence and sees it. Without `sql` that is all there is to wait for.
"""

import asyncio
from typing import Annotated, Any, Literal

import msgspec
import structlog
from msgspec import Meta

from events.bus import Bus, Message
from events.errors import LogError
from events.streams import Streams
from projections.child import ROWS_MAX, SQL_CHARACTERS_MAX, TIMEOUT_S, TIMEOUT_S_MAX, Reserve, Result, Statement
from projections.errors import QueryError
from projections.snapshots import Snapshots

log = structlog.get_logger(__name__)

REPLY_BYTES_MAX = 900_000
"""NATS carries 1 MiB at most."""

ROWS_LIMIT = 100_000
RUNNING_MAX = 2
WAITING_MAX = 32


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sql: Annotated[str, Meta(min_length=1, max_length=SQL_CHARACTERS_MAX)] | None = None
    format: Literal["rows", "records"] = "rows"
    timeout_s: Annotated[float, Meta(gt=0, le=TIMEOUT_S_MAX)] = TIMEOUT_S
    rows_max: Annotated[int, Meta(ge=1, le=ROWS_LIMIT)] = ROWS_MAX
    at_least: Annotated[int, Meta(ge=0)] = 0


class Reply(msgspec.Struct, frozen=True):
    columns: list[str] = []
    types: list[str] = []
    rows: list[Any] = []
    truncated: bool = False
    through_sequence: int | None = None
    error: str | None = None


_request = msgspec.json.Decoder(Request)
_encoder = msgspec.json.Encoder()


class SqlService:
    """Answers on `streams.service_subject("sql")` from `start` to `close`."""

    def __init__(self, bus: Bus, streams: Streams, snapshots: Snapshots) -> None:
        self._bus = bus
        self._subject = streams.service_subject("sql")
        self._snapshots = snapshots
        self._running = asyncio.Semaphore(RUNNING_MAX)
        self._reserve = Reserve()
        self._asked: set[asyncio.Task[None]] = set()
        self._subscription: Any = None

    async def start(self) -> None:
        self._subscription = await self._bus.subscribe(self._subject, self._take)
        await asyncio.to_thread(self._reserve.fill)

    async def close(self) -> None:
        if self._subscription is not None:
            await self._bus.unsubscribe(self._subscription)
        for task in self._asked:
            task.cancel()
        await asyncio.gather(*self._asked, return_exceptions=True)
        self._reserve.close()

    async def _take(self, message: Message) -> None:
        if len(self._asked) >= RUNNING_MAX + WAITING_MAX:
            await self._reply(message.reply, Reply(error="too many statements wait already; try again later"))
            return
        task = asyncio.create_task(self._serve(message.reply, message.data))
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def _serve(self, reply: str, payload: bytes) -> None:
        try:
            answer = await self.answer(_request.decode(payload))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            answer = Reply(error=f"the request is not understood: {error}")
        except Exception as error:
            log.exception("sql_failed")
            answer = Reply(error=f"the statement could not be run: {error}")
        await self._reply(reply, answer)

    async def answer(self, request: Request) -> Reply:
        """The same without NATS between."""
        try:
            if request.sql is None:
                return Reply(through_sequence=await self._snapshots.reached(request.at_least, request.timeout_s))
            async with self._running:
                path = await self._snapshots.fresh(request.at_least, request.timeout_s)
                statement = Statement(
                    path,
                    request.sql,
                    timeout_s=request.timeout_s,
                    rows_max=request.rows_max,
                    bytes_max=REPLY_BYTES_MAX,
                    take=self._reserve.take,
                )
                try:
                    result = await asyncio.to_thread(statement.run)
                finally:
                    # The thread would go on where this task is cancelled, and the program's end would wait for it.
                    statement.kill()
                    asyncio.get_running_loop().run_in_executor(None, self._reserve.fill)
        except QueryError as error:
            return Reply(error=str(error))
        return _shaped(result, request.format)

    async def _reply(self, subject: str, answer: Reply) -> None:
        if not subject:
            return  # asked without waiting for an answer
        try:
            await self._bus.publish(subject, _within_limit(answer))
        except LogError as error:
            log.info("sql_reply_not_sent", reason=str(error))


def _shaped(result: Result, form: str) -> Reply:
    rows: list[Any] = result.records() if form == "records" else result.rows
    return Reply(result.columns, result.types, rows, result.truncated, result.through_sequence)


def _within_limit(answer: Reply) -> bytes:
    """Records repeat the column names, so they may outgrow the limit that their rows kept."""
    encoded = _encoder.encode(answer)
    while len(encoded) > REPLY_BYTES_MAX and answer.rows:
        rows = answer.rows[: len(answer.rows) * REPLY_BYTES_MAX // len(encoded) - 1]
        answer = msgspec.structs.replace(answer, rows=rows, truncated=True)
        encoded = _encoder.encode(answer)
    if len(encoded) > REPLY_BYTES_MAX:
        return _encoder.encode(Reply(error="the result's column names alone are too large"))
    return encoded
