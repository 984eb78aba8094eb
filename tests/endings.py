"""Whether anything is left of processes that were to end."""

from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

PF_EXITING = 0x4
"""From linux/sched.h: the process is being shut down."""
FLAGS = 5
"""The place of a process's flags after its state in /proc/PID/stat (field 9 of proc(5), where the state is field 3)."""


def gone(processes: Iterable[psutil.Process]) -> Callable[[], bool]:
    """A condition: none of them runs any more, not one instruction of its own."""
    listed = list(processes)
    return lambda: not [one for one in listed if alive(one)]


def alive(process: psutil.Process) -> bool:
    """Whether it may still run something.

    A process that is being ended closes its files first and becomes a zombie after that. In between the kernel calls it
    running (proc(5): state R), with PF_EXITING among its flags, from which nothing leads back to its program.
    """
    try:
        if not process.is_running():
            return False
        state, *others = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z" and not int(others[FLAGS]) & PF_EXITING
