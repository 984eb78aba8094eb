"""`POST /api/sql`: the history in SQL, for whatever speaks HTTP.

The body is JSON, `{"sql": "SELECT ...", "format": "records", "timeout_s": 10, "rows_max": 1000, "at_least": 0}`, of
which only `sql` has to be there; so is the answer, `{"columns", "types", "rows", "truncated", "through_sequence"}` or
`{"error"}`. It takes no other content type: one that a page of another site may send without being asked would do.
"""

from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from projections.errors import NobodyAnswers, QueryError
from projections.sql import Reply, Request

PATH = "/api/sql"
BODY_BYTES_MAX = 1024 * 1024

Ask = Callable[[Request], Awaitable[Reply]]
"""Raises `QueryError` where a statement has no result."""

_request = msgspec.json.Decoder(Request)


def sql_route(ask: Ask) -> Route:
    async def sql(request: HttpRequest) -> Response:
        status, reply = await _answer(request, ask)
        return Response(
            msgspec.json.encode(reply), status, {"cache-control": "no-store"}, media_type="application/json"
        )

    return Route(PATH, sql, methods=["POST"])


async def _answer(request: HttpRequest, ask: Ask) -> tuple[int, Reply]:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return 415, Reply(error='send JSON, with "content-type: application/json": {"sql": "SELECT ..."}')
    try:
        body = await _body(request)
        if body is None:
            return 413, Reply(error=f"the body has more than {BODY_BYTES_MAX} bytes")
        asked = _request.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return 400, Reply(error=f"the request is not understood: {error}")
    if asked.sql is None:
        return 400, Reply(error='the request is not understood: it has no "sql"')
    try:
        return 200, await ask(asked)
    except NobodyAnswers as error:
        return 503, Reply(error=str(error))
    except QueryError as error:
        return 400, Reply(error=str(error))


async def _body(request: HttpRequest) -> bytes | None:
    """None: it is too long."""
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > BODY_BYTES_MAX:
                return None
    except ClientDisconnect:
        return None
    return bytes(body)
