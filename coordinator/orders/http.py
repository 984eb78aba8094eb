"""Orders over HTTP: the same as from the command line, with a JSON body."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from coordinator.faults import UsageFault
from coordinator.orders.giving import Desk, give
from coordinator.orders.order import Order, Report
from coordinator.orders.policies import PolicyContended, PolicyOrder, change, history
from events.errors import LogError

BODY_BYTES_MAX = 256 * 1024
JSON = "application/json"

T = TypeVar("T")


class Refused(Exception):
    """A request that is not answered as it would like to be."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def routes(desk: Callable[[], Desk | None]) -> list[Route]:
    """`desk` gives None while the log is not folded to its end."""

    async def order(request: Request) -> Response:
        given = await body_of(request, Order)
        present = _present(desk)
        actor = given.actor or _asker(request)
        report = await give(present._replace(source=f"http/{actor}"), msgspec.structs.replace(given, actor=actor))
        return answer(report, 200 if _obeyed(report) else 202)

    async def policy(request: Request) -> Response:
        present = _present(desk)
        if request.method == "GET":
            return answer((await history(present.log))[-1], 200)
        given = await body_of(request, PolicyOrder)
        actor = given.actor or _asker(request)
        made = msgspec.structs.replace(given, actor=actor)
        return answer(await change(present.log, made, f"http/{actor}", where="set"), 200)

    return [
        Route("/api/orders", guarded(order), methods=["POST"]),
        Route("/api/policy", guarded(policy), methods=["GET", "POST"]),
    ]


def _present(desk: Callable[[], Desk | None]) -> Desk:
    present = desk()
    if present is None:
        raise Refused(503, "the log is not folded to its end yet: try again in a moment")
    return present


def _asker(request: Request) -> str:
    return f"http/{request.client.host if request.client else 'unknown'}"


def _obeyed(report: Report) -> bool:
    return all(effect.outcome != "pending" for effect in report.effects)


Handler = Callable[[Request], Awaitable[Response]]


def guarded(handler: Handler) -> Handler:
    """A user's mistake is a sentence and a status: 400 what is asked for makes no sense, 409 others were faster, 413
    and 415 the body, 502 the log does not take it, 503 not yet."""

    async def guard(request: Request) -> Response:
        try:
            return await handler(request)
        except Refused as refused:
            return answer({"error": str(refused)}, refused.status)
        except UsageFault as fault:
            return answer({"error": str(fault)}, 400)
        except PolicyContended as fault:
            return answer({"error": str(fault)}, 409)
        except LogError as error:
            return answer({"error": f"it is not known to be recorded: {error}"}, 502)

    return guard


async def body_of(request: Request, form: type[T]) -> T:
    """What was sent, if it is JSON of that form.

    Raises:
        Refused: it is no JSON of that form.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        # A page of somebody else in an operator's browser cannot send this without being asked first.
        raise Refused(415, f"orders are sent as {JSON}")
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > BODY_BYTES_MAX:
            raise Refused(413, f"the body is larger than {BODY_BYTES_MAX} bytes")
    try:
        return msgspec.json.decode(data, type=form)
    except msgspec.DecodeError as error:
        raise Refused(400, f"the body is not understood: {error}") from error


def answer(content: object, status: int) -> Response:
    return Response(msgspec.json.encode(content), status, {"cache-control": "no-store"}, media_type=JSON)
