"""Agents as processes of this machine: forked, watched for their end, and swept up after."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable

from worker import agent_process
from worker.forking import fork
from worker.keeper import PR_SET_CHILD_SUBREAPER, prctl, send
from worker.lifeline import Lifeline, hold, is_held
from worker.link import SocketLink, pair
from worker.marks import Begun, Marks
from worker.options import Options
from worker.shortages import memory_kills
from worker.sweep import reap, sweep


class ForkedAgent:
    """Keeps `worker.ports.AgentProcess`."""

    def __init__(self, pid: int, link: SocketLink, marks: Marks | None) -> None:
        self.pid = pid
        self.link = link
        self._marks = marks

    def terminate(self) -> None:
        send(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        send(self.pid, signal.SIGKILL)

    def begun(self) -> list[Begun] | None:
        return None if self._marks is None else self._marks.read()

    def forget(self) -> None:
        if self._marks is not None:
            self._marks.close()
            self._marks = None


class ForkedProcesses:
    """Keeps `worker.ports.Processes`. It makes this process a child subreaper and takes its SIGCHLD over."""

    def __init__(self, options: Options) -> None:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._options = options
        self._held = hold()
        self._loop = asyncio.get_running_loop()
        self._exits: dict[int, Callable[[int], None]] = {}
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)

    @property
    def lifeline(self) -> Lifeline | None:
        return None if self._held is None else self._held.lifeline

    @property
    def origin(self) -> tuple[str, int]:
        return socket.gethostname(), os.getpid()

    def is_held(self, lifeline: Lifeline) -> bool:
        return is_held(lifeline)

    def start_agent(self, on_message: Callable[[], None], on_exit: Callable[[int], None]) -> ForkedAgent:
        ours, theirs = pair()
        held = self._held
        marks = _marks()
        marks_fd = None if marks is None else marks.fd
        keep = [fd for fd in (theirs.fileno(), None if held is None else held.fd, marks_fd) if fd is not None]
        pid = fork(lambda: agent_process.main(self._options, theirs, held, marks_fd), keep)
        theirs.close()
        fd = ours.fileno()

        def hear() -> None:
            on_message()
            if ours.closed:
                self._loop.remove_reader(fd)

        def end(code: int) -> None:
            self._loop.remove_reader(fd)
            on_exit(code)

        self._loop.add_reader(fd, hear)
        self._exits[pid] = end
        return ForkedAgent(pid, ours, marks)

    def memory_kills(self) -> int | None:
        return memory_kills()

    def sweep(self) -> list[int]:
        return sweep()

    def _reap(self) -> None:
        ended: list[tuple[int, int]] = []
        reap(lambda pid, status: ended.append((pid, status)))
        for pid, status in ended:
            end = self._exits.pop(pid, None)
            if end is not None:
                end(os.waitstatus_to_exitcode(status))


def _marks() -> Marks | None:
    try:
        return Marks()
    except OSError:
        return None
