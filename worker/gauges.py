"""What a heartbeat tells of the machine, and of what the worker itself takes of it.

What an operator has to see coming is that a machine runs out of something, and that the kernel knows as a whole.
Whether a new start of the worker would help depends on how much of that its own processes take. Of each of them the
kernel tells in some microseconds; who they are it tells from parent to children, so that nobody has to look at all the
processes of a machine.
"""

import contextlib
import os
import threading
from pathlib import Path
from typing import NamedTuple

import psutil

from worker.ports import Gauges

CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


PROCESSES = Path("/proc")
DESCENDANTS_MAX = 1000
"""Of an agent, that are looked at."""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class MemoryGroup(NamedTuple):
    """A control group whose memory the kernel limits."""

    limit: Path
    usage: Path
    statistics: Path
    reclaimable: bytes
    """What the kernel calls the part of the usage that it takes back when memory runs short."""

    def available_bytes(self) -> int | None:
        """None: there is no limit, or the kernel does not tell."""
        try:
            limit_bytes = int(self.limit.read_bytes())
            usage_bytes = int(self.usage.read_bytes())
            lines = self.statistics.read_bytes().splitlines()
        except (OSError, ValueError):  # "max" is no number
            return None
        reclaimable = next((int(line.split()[1]) for line in lines if line.startswith(self.reclaimable)), 0)
        return max(limit_bytes - usage_bytes + reclaimable, 0)


def memory_group(listed: str, root: Path = CONTROL_GROUPS) -> MemoryGroup | None:
    """That of a process, by what its /proc/PID/cgroup says; of version 1 or 2 (cgroups(7))."""
    for line in listed.splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            folder = _seen_from_here(root / "memory", path)
            return MemoryGroup(
                folder / "memory.limit_in_bytes",
                folder / "memory.usage_in_bytes",
                folder / "memory.stat",
                b"total_inactive_file ",
            )
    for line in listed.splitlines():
        if line.startswith("0::"):
            folder = _seen_from_here(root, line.removeprefix("0::"))
            return MemoryGroup(
                folder / "memory.max", folder / "memory.current", folder / "memory.stat", b"inactive_file "
            )
    return None


def _seen_from_here(root: Path, path: str) -> Path:
    """Inside a container the path may be that of the machine outside, where the container's own group is the root."""
    folder = root / path.lstrip("/")
    return folder if folder.is_dir() else root


class MachineGauges:
    """To be called once a heartbeat, with a folder whose disk is meant.

    A disk may be another machine's that does not answer, and processes may be many. So these are asked in a thread, and
    what is told is the last answer: that of the call before. Everything else is there at once.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._group = _own_memory_group()
        self._asking: threading.Thread | None = None
        self._disk_free_bytes: int | None = None
        self._tasks_memory_bytes: int | None = None
        psutil.cpu_percent(None)  # which tells what was since the last call

    def __call__(self, folder: str) -> Gauges:
        available_bytes = psutil.virtual_memory().available
        within_bytes = None if self._group is None else self._group.available_bytes()
        tasks_memory_bytes, disk_free_bytes = self._last_answer(folder)
        return Gauges(
            cpu_percent=psutil.cpu_percent(None),
            memory_bytes=self._process.memory_info().rss,
            load_1m=round(os.getloadavg()[0], 2),
            memory_available_bytes=available_bytes if within_bytes is None else min(available_bytes, within_bytes),
            disk_free_bytes=disk_free_bytes,
            tasks_memory_bytes=tasks_memory_bytes,
        )

    def _last_answer(self, folder: str) -> tuple[int | None, int | None]:
        """Of what its tasks take, and of the disk; and asks again."""
        if self._asking is not None and self._asking.is_alive():
            return None, None
        known = self._tasks_memory_bytes, self._disk_free_bytes
        self._asking = threading.Thread(target=self._ask, args=(folder,), daemon=True)
        try:
            self._asking.start()
        except RuntimeError:  # the machine has no room for one more
            return None, None
        return known

    def _ask(self, folder: str) -> None:
        self._tasks_memory_bytes = resident_bytes_below(self._process.pid)
        self._disk_free_bytes = _free_bytes(folder)


def resident_bytes_below(pid: int, root: Path = PROCESSES) -> int | None:
    """What all descendants of a process have in memory; what they share counts for each. None: the kernel does not tell
    who they are. (proc_pid_task(5), proc_pid_statm(5).) One that ends meanwhile, or that is handed to another parent,
    may be left out."""
    children = _children(root / str(pid))
    if children is None:
        return None
    found, left = 0, children
    for _ in range(DESCENDANTS_MAX):
        if not left:
            break
        folder = root / left.pop()
        try:
            found += int((folder / "statm").read_bytes().split()[1]) * PAGE_BYTES
        except (OSError, IndexError):
            continue
        left += _children(folder) or []
    return found


def _children(process: Path) -> list[str] | None:
    """A child belongs to the thread that started it."""
    found: list[str] | None = None
    try:
        threads = list((process / "task").iterdir())
    except OSError:
        return None
    for thread in threads:
        with contextlib.suppress(OSError):  # this thread has ended, or the kernel tells of none
            found = [*(found or ()), *(thread / "children").read_text().split()]
    return found


def _own_memory_group() -> MemoryGroup | None:
    try:
        return memory_group(OWN_GROUPS.read_text())
    except OSError:
        return None


def _free_bytes(folder: str) -> int | None:
    """For those who are not root."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize
