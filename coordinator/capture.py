"""Writing down what a process holds in memory, in a child that has a copy of it: the process itself goes on at once."""

import asyncio
import os
from collections.abc import Callable

from worker.forking import fork

FAILED = 1
NICENESS = 10
"""It has time; the leader has none."""


class NotCaptured(Exception):
    """The child could not be made, or did not come to an end."""


async def in_a_child(make: Callable[[], bytes]) -> bytes:
    """What `make` returns in a fork of this process: of the memory as it is when this is called.

    The fork stops the process for as long as it takes to copy its page tables: about a millisecond for each 40 MB.

    Raises:
        NotCaptured: no process can be made, or the child failed.
    """
    fd = os.memfd_create("snapshot")
    try:
        try:
            pid = fork(lambda: _write(make, fd), keep=[fd])
        except OSError as error:
            raise NotCaptured(f"no child process can be made: {error.strerror}") from error
        code = await _ended(pid)
        with os.fdopen(os.dup(fd), "rb") as file:
            file.seek(0)
            written = file.read()
        if code != 0:
            why = written.decode("utf-8", "replace") if code == FAILED else f"it ended with code {code}"
            raise NotCaptured(f"the child process failed: {why}")
        return written
    finally:
        os.close(fd)


def _write(make: Callable[[], bytes], fd: int) -> int:
    os.nice(NICENESS)
    code = 0
    try:
        data = make()
    except Exception as error:  # noqa: BLE001 - the parent is told
        code, data = FAILED, f"{type(error).__name__}: {error}".encode()
    with os.fdopen(fd, "wb", closefd=False) as file:
        file.write(data)
    return code


async def _ended(pid: int) -> int:
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    pidfd = os.pidfd_open(pid)

    def reap() -> None:
        loop.remove_reader(pidfd)
        ended.set_result(None)

    loop.add_reader(pidfd, reap)
    try:
        await ended
    except asyncio.CancelledError:
        loop.remove_reader(pidfd)
        os.kill(pid, 9)
        raise
    finally:
        os.close(pidfd)
        code = _reaped(pid)
    return code


def _reaped(pid: int) -> int:
    """Of a process that has ended, or has been killed."""
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)
