"""HTTP: what it answers, and what is said when it cannot listen."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import msgspec
import pytest

from coordinator.faults import UsageFault
from coordinator.health import HealthReport
from coordinator.http import HttpServer, listen
from coordinator.http_sql import BODY_BYTES_MAX, sql_route
from projections.errors import NobodyAnswers, QueryError
from projections.sql import Reply, Request

HEALTHY = HealthReport(
    coordinator_id="c1", broker_reachable=True, role="leader", term=3, sequence=120, lag=2, projector_alive=True
)


class Answer(NamedTuple):
    status: int
    content: Any


Ask = Callable[[str], Any]


class Reporting:
    def __init__(self) -> None:
        self.report = HEALTHY

    def __call__(self) -> HealthReport:
        return self.report


@pytest.fixture
def reporting() -> Reporting:
    return Reporting()


@pytest.fixture
async def server(reporting: Reporting) -> AsyncIterator[HttpServer]:
    made = HttpServer(reporting, unknown, listen("127.0.0.1", 0), [sql_route(answer)])
    running = asyncio.create_task(made.run_until_stopped())
    yield made
    made.stop()
    await running


async def unknown(_: int | None) -> None:
    return None


async def answer(request: Request) -> Reply:
    if request.sql == "FROM nobody":
        raise NobodyAnswers("no projector answers")
    if request.sql == "FROM nowhere":
        raise QueryError("there is no table nowhere")
    return Reply(columns=["x"], types=["BIGINT"], rows=[[request.rows_max]], through_sequence=7)


async def post(server: HttpServer, body: bytes, kind: str = "application/json") -> Answer:
    host, _, port = server.address.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /api/sql HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}"
    writer.write(f"{head}\r\nConnection: close\r\n\r\n".encode() + body)
    found = taken(await reader.read())
    writer.close()
    await writer.wait_closed()
    return found


SQL = [
    (b'{"sql":"SELECT 1","rows_max":5}', 200, "rows"),
    (b'{"sql":"FROM nowhere"}', 400, "there is no table nowhere"),
    (b'{"sql":"FROM nobody"}', 503, "no projector answers"),
    (b'{"sql":1}', 400, "not understood"),
    (b'{"sql":"SELECT 1","x":1}', 400, "not understood"),
    (b"{}", 400, 'it has no "sql"'),
    (b"SELECT 1", 400, "not understood"),
    (b'{"sql":"' + b"x" * BODY_BYTES_MAX + b'"}', 413, "more than"),
]


@pytest.mark.parametrize(("body", "status", "said"), SQL, ids=[said for _, _, said in SQL])
async def test_sql(server: HttpServer, body: bytes, status: int, said: str) -> None:
    found = await post(server, body)
    assert found.status == status
    if status == 200:
        assert (found.content["rows"], found.content["through_sequence"]) == ([[5]], 7)
    else:
        assert said in found.content["error"]


async def test_sql_that_a_page_of_another_site_could_send(server: HttpServer) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert (await post(server, b'{"sql":"SELECT 1"}', kind)).status == 415
    assert (await ask(server, "/api/sql")).status == 405


async def ask(server: HttpServer, path: str) -> Answer:
    host, _, port = server.address.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    found = taken(await reader.read())
    writer.close()
    await writer.wait_closed()
    return found


def taken(answer: bytes) -> Answer:
    head, _, body = answer.partition(b"\r\n\r\n")
    return Answer(int(head.split()[1]), json.loads(body) if body.startswith(b"{") else body)


async def test_health(server: HttpServer) -> None:
    answer = await ask(server, "/healthz")
    assert answer.status == 200
    assert answer.content == {
        "status": "ok",
        "coordinator_id": "c1",
        "broker_reachable": True,
        "role": "leader",
        "term": 3,
        "sequence": 120,
        "lag": 2,
        "projector_alive": True,
    }


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"broker_reachable": False}, 503),
        ({"projector_alive": False}, 503),
        ({"role": "standby", "term": 0}, 200),
        ({"lag": 100_000}, 200),
    ],
)
async def test_what_counts_as_healthy(
    server: HttpServer, reporting: Reporting, change: dict[str, Any], status: int
) -> None:
    reporting.report = msgspec.structs.replace(HEALTHY, **change)
    answer = await ask(server, "/healthz")
    assert answer.status == status
    assert answer.content["status"] == ("ok" if status == 200 else "failing")


async def test_the_index_and_the_rest(server: HttpServer) -> None:
    assert (await ask(server, "/")).content["paths"] == ["/healthz", "/api/health", "/api/sql"]
    assert (await ask(server, "/nothing")).status == 404


async def test_a_taken_port_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageFault) as caught:
            listen("127.0.0.1", port)
    assert f"HTTP cannot listen on 127.0.0.1:{port} (Address already in use)" in str(caught.value)
    assert "give another --port (0 takes any free one)" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
async def test_an_address_of_somebody_else(host: str) -> None:
    with pytest.raises(UsageFault, match=host):
        listen(host, 0)


async def test_the_port_is_free_again_after_stop() -> None:
    server = HttpServer(lambda: HEALTHY, unknown, listen("127.0.0.1", 0))
    running = asyncio.create_task(server.run_until_stopped())
    port = int(server.address.rpartition(":")[2])
    await ask(server, "/healthz")
    server.stop()
    await running
    listen("127.0.0.1", port).close()


async def test_a_server_that_never_ran_gives_its_port_back() -> None:
    server = HttpServer(lambda: HEALTHY, unknown, listen("127.0.0.1", 0))
    port = int(server.address.rpartition(":")[2])
    server.close()
    listen("127.0.0.1", port).close()
