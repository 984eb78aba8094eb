"""A service of ours that is loaded before its time.

It is forked early, imports what it needs while its parent is busy with other things, and waits for its arguments. A
fork also shares what the parent has loaded by then: much of what a service costs before it does anything.
"""

import asyncio
import contextlib
import gc
import importlib
import os
import signal
import socket
from collections.abc import Sequence

import msgspec

from worker.forking import fork
from worker.keeper import PR_SET_PDEATHSIG, prctl

FAILED = 1


class Standby:
    """The parent's end of one waiting process. It leaves by itself when the parent ends without having called it."""

    def __init__(self, module: str, pid: int, channel: socket.socket, output_fd: int) -> None:
        self.pid = pid
        self._module = module
        self._channel = channel
        self._output_fd = output_fd

    async def begin(self, command: Sequence[str], *, line_bytes_max: int) -> "Begun":
        """Hands over the arguments. `command` is what an interpreter would be given: `-m MODULE ARG...`.

        What it writes is read in lines of at most `line_bytes_max` bytes.
        """
        assert tuple(command[:2]) == ("-m", self._module), "another service than the one that waits"
        with self._channel as channel, contextlib.suppress(OSError):  # it may have died: its end tells
            channel.sendall(msgspec.json.encode(command[2:]) + b"\n")
        output = asyncio.StreamReader(limit=line_bytes_max)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output), os.fdopen(self._output_fd, "rb", buffering=0)
        )
        return Begun(self.pid, output)


class Begun:
    """The process after its call, as `asyncio.subprocess.Process` shows one that was started by a command."""

    def __init__(self, pid: int, stdout: asyncio.StreamReader) -> None:
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._pidfd = os.pidfd_open(pid)
        self._loop.add_reader(self._pidfd, self._reap)

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        _, status = os.waitpid(self.pid, 0)
        self.returncode = os.waitstatus_to_exitcode(status)
        self._ended.set()

    async def wait(self) -> int:
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:  # until it is reaped, its pid is nobody else's
            os.kill(self.pid, number)


def open_standby(module: str) -> Standby:
    """Forks it. To be called before there are threads or event loops in this process.

    `module.__main__` holds the command line `app`, and `load`, which imports what it needs to run.
    """
    ours, theirs = socket.socketpair()
    output, output_write = os.pipe()
    pid = fork(lambda: _wait_and_run(module, theirs, output_write), keep=[theirs.fileno(), output_write])
    theirs.close()
    os.close(output_write)
    return Standby(module, pid, ours, output)


def _wait_and_run(module: str, channel: socket.socket, output_fd: int) -> int:
    # As `tether.py` ties the services that are started by a command: they end their work in order.
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    for standard_fd in (1, 2):
        os.dup2(output_fd, standard_fd)
    gc.disable()
    program = importlib.import_module(f"{module}.__main__")
    program.load()
    gc.freeze()
    gc.enable()
    with channel, channel.makefile("rb") as lines:
        line = lines.readline()
    if not line:
        return 0
    try:
        program.app(msgspec.json.decode(line, type=list[str]), prog_name=f"python -m {module}")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED
    return 0
