"""`endpoint.json`: where a running system tells the command line tools of its folder that it is there."""

import os
from pathlib import Path

import msgspec

NAME = "endpoint.json"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    nats_url: str
    namespace: str
    db_path: str
    pid: int
    """Of the coordinator; 0: it has ended in order."""
    http: str | None = None


def write_endpoint(state_dir: Path, endpoint: Endpoint) -> None:
    """Readers see the old file or the new one, never half of one."""
    path = state_dir / NAME
    fresh = path.with_name(f"{NAME}.{os.getpid()}")
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(endpoint)) + b"\n")
    fresh.replace(path)


def read_endpoint(state_dir: Path) -> Endpoint | None:
    """None when there is none, or none that makes sense: then nothing is running as far as anybody can tell."""
    try:
        return msgspec.json.decode((state_dir / NAME).read_bytes(), type=Endpoint)
    except (OSError, msgspec.DecodeError):
        return None


def is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
