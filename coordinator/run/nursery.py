"""Local workers: forked from one small process, which also puts a new one where one was killed.

A worker is a supervisor and its agent, and the supervisor starts agents anew. Supervisors themselves need somebody,
too: on a farm that is the init system, here it is the nursery. It is forked before the caller has started threads or
a loop, and dies with it.
"""

import contextlib
import os
import signal
import socket
import time
from typing import NamedTuple

import msgspec

from worker.forking import fork
from worker.options import Options

RESTARTS_MAX = 20
RESTART_PAUSE_S = 0.5


class Order(msgspec.Struct):
    """What the caller sends once it knows the broker."""

    workers: list[Options]


class Nursery(NamedTuple):
    """The caller's end."""

    pid: int
    channel: socket.socket

    def start(self, workers: list[Options]) -> None:
        self.channel.sendall(msgspec.json.encode(Order(workers)) + b"\n")

    def stop(self) -> None:
        """Asks all workers to end in order. Returns at once; `wait` waits."""
        with contextlib.suppress(OSError):
            self.channel.shutdown(socket.SHUT_WR)

    def wait(self, within_s: float) -> None:
        """Until no worker is left; what has not ended within the time is killed."""
        self.channel.settimeout(within_s)
        with contextlib.suppress(OSError):
            while self.channel.recv(1):
                pass
        self.channel.close()
        with contextlib.suppress(ProcessLookupError):
            # Workers die with the nursery, and what they run dies with them.
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def open_nursery() -> Nursery:
    """Forks the nursery. To be called before there are threads or event loops in this process."""
    ours, theirs = socket.socketpair()
    pid = fork(lambda: _main(theirs), keep=[theirs.fileno()])
    theirs.close()
    return Nursery(pid, ours)


def _main(channel: socket.socket) -> int:
    # What every worker needs is loaded once, while the caller starts the broker.
    from worker import supervisor

    with channel.makefile("rb") as lines:
        line = lines.readline()
        if not line:
            return 0
        order = msgspec.json.decode(line, type=Order)
        running: dict[int, Options] = {}
        for options in order.workers:
            running[_start(supervisor, options)] = options
        # The end of the channel's other half is the order to stop.
        restarts = 0
        channel.settimeout(0.1)
        while True:
            try:
                if not channel.recv(1):
                    break
            except TimeoutError:
                pass
            for options in _reap(running):
                if restarts < RESTARTS_MAX:
                    restarts += 1
                    time.sleep(RESTART_PAUSE_S)
                    running[_start(supervisor, options)] = options
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        while running:
            with contextlib.suppress(ChildProcessError):
                pid, _ = os.waitpid(-1, 0)
                running.pop(pid, None)
    return 0


def _start(supervisor: object, options: Options) -> int:
    supervise = supervisor.supervise  # type: ignore[attr-defined]
    return fork(lambda: int(supervise(options).code), keep=[])


def _reap(running: dict[int, Options]) -> list[Options]:
    """The workers whose supervisor was killed. One that ended by itself had its reason, and stays away."""
    killed: list[Options] = []
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            break
        options = running.pop(pid, None)
        if options is not None and os.WIFSIGNALED(status):
            killed.append(options)
    return killed
