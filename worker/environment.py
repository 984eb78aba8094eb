"""What the environment of a slot's processes tells them."""

import os
from collections.abc import Mapping

from events.credentials import VARIABLE


def task_environment(base: Mapping[str, str] | None) -> dict[str, str]:
    """Of `base`, or of this process's own, what a test or a command may see: it is no part of the farm."""
    environment = dict(os.environ if base is None else base)
    environment.pop(VARIABLE, None)
    return environment


def slot_environment(base: Mapping[str, str] | None, *, worker_id: str, index: int, slot_count: int) -> dict[str, str]:
    """On top of `base`, or of this process's own: suites keep databases and ports of slots apart by these."""
    environment = {
        **task_environment(base),
        "PYTEST_XDIST_WORKER": f"gw{index}",
        "PYTEST_XDIST_WORKER_COUNT": str(slot_count),
        "RESURGAM_WORKER_ID": worker_id,
    }
    environment.pop("PYTEST_CURRENT_TEST", None)
    return environment
