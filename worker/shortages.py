"""What kind of error the operating system reports, and whether it has killed for want of memory."""

import errno
from pathlib import Path

from events.failures import ErrorCode

DENIED = frozenset({errno.EACCES, errno.EPERM})
VMSTAT = Path("/proc/vmstat")


def code_of_errno(number: int | None) -> ErrorCode:
    """Of something that could not be started: it was not allowed, or its worker lacks what it takes: memory, disk,
    descriptors, the program itself."""
    return "security" if number in DENIED else "worker_resource"


def memory_kills() -> int | None:
    """How many processes the kernel has killed for want of memory since it was started, anywhere on its machine; None:
    it does not say."""
    try:
        lines = VMSTAT.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def more_kills(before: int | None, now: int | None) -> bool:
    """Whether a process that was ended by SIGKILL between the two may have been among them. (Another one may have been,
    and somebody else have killed this one: the machine was short of memory all the same.)"""
    return before is not None and now is not None and now > before
