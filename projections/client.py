"""Asking the history: over NATS while the projector runs, or from its file when nobody has it open."""

from pathlib import Path

import msgspec

from events.bus import Bus
from events.errors import Unacknowledged
from events.streams import Streams
from projections.child import ROWS_MAX, TIMEOUT_S, Result, Statement
from projections.errors import NobodyAnswers, QueryError
from projections.snapshots import snapshot_path
from projections.sql import Reply, Request

__all__ = ["QueryError", "Result", "query", "query_file"]

FILE_BYTES_MAX = 64 * 1024 * 1024

_reply = msgspec.json.Decoder(Reply)


async def query(
    bus: Bus,
    streams: Streams,
    sql: str,
    *,
    timeout_s: float = TIMEOUT_S,
    rows_max: int = ROWS_MAX,
    at_least: int = 0,
) -> Result:
    """Asks the running projector; with `at_least` it waits until the history holds that event.

    Raises:
        QueryError: no projector answers, or the statement has no result.
    """
    reply = await ask(bus, streams, Request(sql=sql, timeout_s=timeout_s, rows_max=rows_max, at_least=at_least))
    return Result(reply.columns, reply.types, reply.rows, reply.truncated, reply.through_sequence)


async def ask(bus: Bus, streams: Streams, request: Request) -> Reply:
    """The running projector's answer to a request as it stands.

    Raises:
        NobodyAnswers: there is none. QueryError: it has no result.
    """
    subject = streams.service_subject("sql")
    try:
        # Twice the time, for it counts apart for waiting and for running; and a moment for the way.
        answer = await bus.request(subject, msgspec.json.encode(request), timeout_s=2 * request.timeout_s + 5)
    except Unacknowledged as error:
        raise NobodyAnswers(
            "no projector answers: start one with 'python -m projections', or query its file"
        ) from error
    reply = _reply.decode(answer)
    if reply.error is not None:
        raise QueryError(reply.error)
    return reply


async def wait_until(bus: Bus, streams: Streams, sequence: int, *, timeout_s: float = TIMEOUT_S) -> None:
    """Returns when the running projector's history holds the event at `sequence`.

    Raises:
        QueryError: no projector answers, or it is not as far in time.
    """
    await ask(bus, streams, Request(timeout_s=timeout_s, at_least=sequence))


def query_file(path: Path, sql: str, *, timeout_s: float = TIMEOUT_S, rows_max: int = ROWS_MAX) -> Result:
    """Asks a history file that no projector has open, in the same sandbox. Blocks.

    Raises:
        QueryError: there is no such file, it is in use, or the statement has no result.
    """
    if not path.is_file():
        raise QueryError(f"{path}: there is no such file")
    try:
        return Statement(path, sql, timeout_s=timeout_s, rows_max=rows_max, bytes_max=FILE_BYTES_MAX).run()
    except QueryError as error:
        if "Conflicting lock" not in str(error):
            raise
        raise QueryError(
            f"{path}: a projector has it open; ask that one over NATS, or read {snapshot_path(path)}"
        ) from error
