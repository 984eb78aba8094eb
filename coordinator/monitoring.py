"""Asking a nats-server how it is, on the port that it has for that."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec

ANSWER_S_MAX = 2.0

WELL = "/healthz"
"""200 when the listeners are open, JetStream answers, and every stream that is kept there is in order."""
UP = "/healthz?js-enabled-only=true"
"""200 when the listeners are open and JetStream runs; streams may still be catching up, or be without a leader."""


class _MetaCluster(msgspec.Struct):
    leader: str = ""


class _JetStream(msgspec.Struct):
    meta_cluster: _MetaCluster = msgspec.field(default_factory=_MetaCluster)


class _Health(msgspec.Struct):
    error: str = ""


def monitor_in(path: Path) -> tuple[str, int] | None:
    """Host and port of the monitor, from the file in which a server tells its ports; None: it has not yet."""
    try:
        ports: dict[str, Any] = json.loads(path.read_text())
        host, _, port = ports["monitoring"][0].removeprefix("http://").rpartition(":")
        return host, int(port)
    except (OSError, ValueError, KeyError, IndexError):
        return None  # not there, or half written


async def trouble_at(host: str, port: int, question: str = WELL) -> str | None:
    """None when the answer to one of the questions above is 200; else what is wrong."""
    try:
        status, body = await _get(host, port, question)
    except (OSError, TimeoutError) as error:
        return f"no answer from /healthz ({str(error) or type(error).__name__})"
    if status == 200:
        return None
    try:
        said = msgspec.json.decode(body, type=_Health).error
    except msgspec.DecodeError:
        said = body.decode("utf-8", "replace")
    return said[:300] or f"/healthz answers {status}"


async def cluster_leader_at(host: str, port: int) -> str:
    """The node that leads JetStream's cluster, as this one knows; empty: none, or it does not say."""
    try:
        _, body = await _get(host, port, "/jsz")
        return msgspec.json.decode(body, type=_JetStream).meta_cluster.leader
    except (OSError, TimeoutError, msgspec.DecodeError):
        return ""


async def _get(host: str, port: int, path: str) -> tuple[int, bytes]:
    writer = None
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            answer = await reader.read()  # HTTP/1.0: the server closes behind its answer
    finally:
        if writer is not None:
            writer.close()
    first, _, rest = answer.partition(b"\r\n")
    status = first.split()[1:2]
    return int(status[0]) if status and status[0].isdigit() else 0, rest.rpartition(b"\r\n\r\n")[2]
