"""HTTP: `/healthz` for whoever supervises us, `/api/health` for whoever looks after the farm, and what others add.

It is given functions that report, and knows nothing else.
"""

import contextlib
import socket
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Literal

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from coordinator.faults import UsageFault
from coordinator.fleet.document import FleetHealth
from coordinator.health import HealthReport

BACKLOG = 128
STOP_S_MAX = 2
WORKERS_LISTED = 100
"""By `/api/health`, unless it is asked for more or fewer."""

Fleet = Callable[[int | None], Awaitable[FleetHealth | None]]
"""How the farm is, with so many of its workers, or with all; None: that is not known yet."""


class _Healthz(HealthReport, frozen=True, kw_only=True):
    status: Literal["ok", "failing"]


def listen(host: str, port: int) -> socket.socket:
    """Takes the port now, so that a taken one is known before anything else has been started.

    Raises:
        UsageFault: it is taken, or `host` is no address of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except (socket.gaierror, UnicodeError) as error:
        raise UsageFault(f"--host {host!r} is no address ({error}); use 127.0.0.1, or 0.0.0.0 for all") from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise UsageFault(
            f"HTTP cannot listen on {host}:{port} ({error.strerror}): stop what listens there, or give another --port "
            f"(0 takes any free one)"
        ) from error
    listener.setblocking(False)
    return listener


def application(status: Callable[[], HealthReport], fleet: Fleet, others: Sequence[Route] = ()) -> Starlette:
    async def healthz(_: Request) -> Response:
        report = status()
        answer = _Healthz(status="ok" if report.healthy else "failing", **msgspec.structs.asdict(report))
        return _json(answer, 200 if report.healthy else 503)

    async def health(request: Request) -> Response:
        given = request.query_params.get("limit", str(WORKERS_LISTED))
        if given != "all" and not (given.isascii() and given.isdigit()):
            return _json({"error": f"limit={given}: it takes a number of workers, or 'all'"}, 400)
        found = await fleet(None if given == "all" else int(given))
        return _json({"error": "the log is not being read yet"}, 503) if found is None else _json(found, 200)

    async def index(_: Request) -> Response:
        return _json({"name": "resurgam", "paths": [route.path for route in routes]}, 200)

    routes = [Route("/healthz", healthz), Route("/api/health", health), *others]
    return Starlette(routes=[*routes, Route("/", index)])


def _json(content: object, status: int) -> Response:
    return Response(msgspec.json.encode(content), status, {"cache-control": "no-store"}, media_type="application/json")


class HttpServer(uvicorn.Server):
    """uvicorn inside somebody else's event loop: signals are not its business."""

    def __init__(
        self,
        status: Callable[[], HealthReport],
        fleet: Fleet,
        listener: socket.socket,
        others: Sequence[Route] = (),
    ) -> None:
        super().__init__(
            uvicorn.Config(
                application(status, fleet, others),
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=STOP_S_MAX,
            )
        )
        self._listener = listener

    @property
    def address(self) -> str:
        host, port = self._listener.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def run_until_stopped(self) -> None:
        """Serves until `stop`; closes the listener behind it."""
        try:
            await self.serve(sockets=[self._listener])
        finally:
            self._listener.close()

    def stop(self) -> None:
        self.should_exit = True

    def close(self) -> None:
        """Gives the port back, whether it was ever served or not."""
        self._listener.close()
