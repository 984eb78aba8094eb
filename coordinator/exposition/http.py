"""`GET /metrics`, for Prometheus."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from coordinator.exposition.page import Observed, page

PATH = "/metrics"


def metrics_route(observe: Callable[[], Awaitable[Observed]]) -> Route:
    async def metrics(request: Request) -> Response:
        content, kind = page(await observe(), request.headers.get("accept", ""))
        # The kind as it stands: whoever speaks OpenMetrics looks at all of it.
        return Response(content, headers={"content-type": kind, "cache-control": "no-store"})

    return Route(PATH, metrics)
