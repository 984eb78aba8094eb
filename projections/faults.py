"""What a projector says of itself when it cannot write its history."""

import contextlib
import shutil
from pathlib import Path

from events.clock import utc
from events.failures import ErrorCode
from events.host import host
from events.streams import MIB
from events.system import FaultReported

ROOM_MIN = MIB
"""With less on the disk, that is what a write fails of."""


def fault(path: Path, error: ErrorCode, detail: str) -> FaultReported:
    """`error`: by what has failed. DuckDB has no error numbers: whether it lacks room, the disk tells."""
    with contextlib.suppress(OSError):
        if shutil.disk_usage(path.parent).free < ROOM_MIN:
            error = "system_resource"
    return FaultReported(
        component="projector",
        error=error,
        detail=detail,
        since=utc(host().wall()),
        reported_by=f"projections of {path.name}",
    )
