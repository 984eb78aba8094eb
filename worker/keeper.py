"""Keeps one command and everything it starts, and leaves nothing of it behind.

Run as ``python -I -S keeper.py --control-fd N --status-fd N --fence-after SECONDS -- COMMAND ARG...``, with
``--pass-fd N`` for each fd that the command shall have, ``--hold-fd N`` for each that the keeper alone shall have
for as long as anything is left, ``--cwd DIR``, ``--grace SECONDS`` and ``--memory-limit BYTES`` where wanted.
Standard library only and little of that, so that it starts in milliseconds. The keeper is a child subreaper in a
session of its own: however often a task forks, detaches or calls setsid, what it started stays beneath the keeper
and is found there.

Orders come as bytes on the control fd, and signals from a terminal are ignored:

=========  =======================================================================================
``.``      keep-alive (as is every byte that is not an order)
``k``      kill the tree now
``t``      SIGTERM to the command, then kill the tree once it is gone or ``--grace`` has passed
``a``      the same with SIGABRT, on which faulthandler writes down every thread's stack
``fN;``    from now on the fence falls after N seconds without a byte; by itself it is no keep-alive
=========  =======================================================================================

End of file on the control fd, or no byte for ``--fence-after`` seconds, means that the agent cannot be relied
on any more, and the tree is killed. The keeper shares nothing with the agent but these fds, so stopping or
killing the agent cannot keep a task alive.

Once nothing is left, one line goes to the status fd: ``exit CODE`` or ``signal NUMBER`` (how the command ended
by itself), ``killed`` (by order), ``fenced``, or ``failed TEXT`` (the command could not be started). End of
file without a line means that the keeper itself was killed. The keeper's exit code is the command's, 128 +
NUMBER, 125 or 127.

What it cannot do: kill a process that changed to another user without the right to signal it. It then goes on
trying and does not report, for the tree is not gone.
"""

# pathlib and contextlib would cost more than the rest of the start.
# ruff: noqa: PTH109, PTH110, PTH208, SIM105
from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys
import time

TYPE_CHECKING = False  # as in typing, whose import would be the longest of all
if TYPE_CHECKING:
    from typing import NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
OOM_SCORE = b"500"  # the kernel, short of memory, takes a task before it takes the agent or the keeper
KEEPER_FAILED = 125
COMMAND_NOT_STARTED = 127
PROCESSES_STOPPED_MAX = 10_000
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGPIPE)


class Options:
    def __init__(self, arguments: list[str]) -> None:
        self.control_fd = -1
        self.status_fd = -1
        self.fence_after_s = 0.0
        self.grace_s = 1.0
        self.pass_fds: list[int] = []
        self.hold_fds: list[int] = []
        self.memory_limit_bytes: int | None = None
        self.cwd: str | None = None
        split = arguments.index("--") if "--" in arguments else len(arguments)
        self.command = arguments[split + 1 :]
        for flag, value in zip(arguments[:split:2], arguments[1:split:2], strict=True):
            if flag == "--control-fd":
                self.control_fd = int(value)
            elif flag == "--status-fd":
                self.status_fd = int(value)
            elif flag == "--fence-after":
                self.fence_after_s = float(value)
            elif flag == "--grace":
                self.grace_s = float(value)
            elif flag == "--pass-fd":
                self.pass_fds.append(int(value))
            elif flag == "--hold-fd":
                self.hold_fds.append(int(value))
            elif flag == "--memory-limit":
                self.memory_limit_bytes = int(value)
            elif flag == "--cwd":
                self.cwd = value
            else:
                raise ValueError(f"unknown option {flag!r}")
        if self.control_fd < 0 or self.status_fd < 0 or not self.fence_after_s > 0 or not self.command:
            raise ValueError("needed: --control-fd N --status-fd N --fence-after SECONDS -- COMMAND ARG...")


def now() -> float:
    """Time that goes on while the machine sleeps: others may have taken the task over meanwhile."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def read_all(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        content = b""
        while part := os.read(fd, 1 << 20):
            content += part
        return content
    finally:
        os.close(fd)


def children_of(pid: int) -> list[int]:
    """The children of all threads of a process, straight from the kernel; empty when it is gone."""
    listed = b""
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            listed += b" " + read_all(f"/proc/{pid}/task/{thread}/children")
    except OSError:
        return []
    return [int(child) for child in listed.split()]


def parents_by_scan() -> dict[int, list[int]]:
    """Children by parent for all processes: for kernels without ``/proc/PID/task/TID/children``."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = read_all(f"/proc/{name}/stat")
            except OSError:
                continue
            # The command's name stands in parentheses and may hold anything.
            children.setdefault(int(stat.rpartition(b")")[2].split()[1]), []).append(int(name))
    return children


def descendants() -> list[int]:
    kernel_lists = os.path.exists(f"/proc/self/task/{os.getpid()}/children")
    scanned = None if kernel_lists else parents_by_scan()
    found: list[int] = []
    pending = [os.getpid()]
    seen = set(pending)
    while pending:
        pid = pending.pop()
        for child in children_of(pid) if scanned is None else scanned.get(pid, []):
            if child not in seen:
                seen.add(child)
                found.append(child)
                pending.append(child)
    return found


def send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def kill_groups(pids: list[int]) -> None:
    """SIGKILL to the process groups of `pids`, the dead among them included, but not to our own.

    The kernel does this in one step against forking: a fork under way in the group fails. So it also ends a chain in
    which every process forks the next one and is gone before anybody could have signalled it.
    """
    groups = set()
    for pid in pids:
        try:
            groups.add(os.getpgid(pid))
        except (ProcessLookupError, PermissionError):
            pass
    groups.discard(os.getpgid(0))
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


class Keeper:
    def __init__(self, options: Options) -> None:
        self.options = options
        self.status: int | None = None  # the command's own wait status
        self.child = 0
        self.wake_read, wake_write = os.pipe()
        os.set_blocking(self.wake_read, False)
        os.set_blocking(wake_write, False)
        os.set_blocking(options.control_fd, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def start(self) -> str:
        """Start the command; returns what was wrong, or nothing."""
        failed_read, failed_write = os.pipe()  # both close on exec: end of file means that it runs
        keeper = os.getpid()
        self.child = os.fork()
        if self.child == 0:
            become_command(self.options, keeper, failed_write)
        os.close(failed_write)
        for fd in self.options.pass_fds:
            os.close(fd)
        text = b""
        while part := os.read(failed_read, 4096):
            text += part
        os.close(failed_read)
        return text.decode(errors="replace")

    def reap(self) -> bool:
        """Take the dead away. True while there is anything alive beneath."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.child:
                self.status = status

    def watch(self) -> str:
        """Wait until the command ends by itself (empty) or something else ends it (the cause)."""
        control_fd = self.options.control_fd
        poll = select.poll()
        poll.register(control_fd, select.POLLIN)
        poll.register(self.wake_read, select.POLLIN)
        deadline = now() + self.options.fence_after_s
        ordered = ""
        while True:
            ready = dict(poll.poll(max(0.0, deadline - now()) * 1000 + 1))
            if self.wake_read in ready:
                drain(self.wake_read)
            self.reap()
            if self.status is not None:
                return ordered
            # The clock is asked before the bytes are looked at: a byte sent after a pause (a frozen container
            # that was thawed) must not revive what somebody else may have started again.
            if now() >= deadline:
                return ordered or "fenced"
            if control_fd not in ready:
                continue
            orders = drain(control_fd)
            if orders is None:
                return "fenced"
            if b"k" in orders:
                return "killed"
            if ordered:
                continue
            orders, fence_after_s = without_fence(orders)
            if fence_after_s is not None:
                self.options.fence_after_s = fence_after_s
                deadline = min(deadline, now() + fence_after_s)
            if not orders:
                continue
            deadline = now() + self.options.fence_after_s
            if b"t" in orders or b"a" in orders:
                send(self.child, signal.SIGTERM if b"t" in orders else signal.SIGABRT)
                ordered = "killed"
                deadline = now() + min(self.options.grace_s, self.options.fence_after_s)

    def sweep(self) -> None:
        """Kill everything beneath; returns when there is nothing left.

        Everything is stopped before anything is killed: what is stopped does not fork, and its children's ids
        are not given to strangers. The list is read until it holds nothing new, and again after the killing.
        """
        pause_ms = 1
        while True:
            # Before the dead are taken away: they still know their group.
            kill_groups(descendants())
            if not self.reap():
                return
            stopped: set[int] = set()
            while fresh := [pid for pid in descendants() if pid not in stopped]:
                for pid in fresh:
                    send(pid, signal.SIGSTOP)
                stopped.update(fresh)
                if len(stopped) > PROCESSES_STOPPED_MAX:  # a chain that lives by dying: kill as we go
                    break
            for pid in descendants():
                send(pid, signal.SIGKILL)
            select.select([self.wake_read], [], [], pause_ms / 1000)
            drain(self.wake_read)
            pause_ms = min(pause_ms * 2, 200)


def become_command(options: Options, keeper: int, failed_write: int) -> NoReturn:
    """In the forked child: never returns."""
    try:
        os.setsid()  # so that a task that signals its own process group does not reach the keeper
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(KEEPER_FAILED)
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
        raise_oom_score()
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        if options.memory_limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_AS, (options.memory_limit_bytes, options.memory_limit_bytes))
        for fd in (options.control_fd, options.status_fd, *options.hold_fds):
            os.set_inheritable(fd, False)
        for fd in options.pass_fds:
            os.set_inheritable(fd, True)
        if options.cwd is not None:
            os.chdir(options.cwd)
            os.environ["PWD"] = options.cwd
        os.execvp(options.command[0], options.command)  # noqa: S606 - this is where the task starts
    except Exception as error:  # noqa: BLE001 - whatever it was, the agent is told
        text = f"0 {type(error).__name__}: {error}"
        if isinstance(error, OSError) and error.errno is not None:
            where = error.filename or options.command[0]
            text = f"{error.errno} {os.strerror(error.errno)}: {where!r} (in {options.cwd or os.getcwd()!r})"
        os.write(failed_write, text.encode(errors="backslashreplace")[:4000])
    finally:
        os._exit(COMMAND_NOT_STARTED)


def raise_oom_score() -> None:
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    except OSError:
        return
    try:
        os.write(fd, OOM_SCORE)
    except OSError:
        pass
    finally:
        os.close(fd)


def without_fence(orders: bytes) -> tuple[bytes, float | None]:
    """The other orders, and the seconds of the last order about the fence. An order is written whole or not at all."""
    rest, fence_after_s = b"", None
    while orders:
        before, _, behind = orders.partition(b"f")
        number, _, orders = behind.partition(b";")
        rest += before
        if number:
            fence_after_s = float(number)
    return rest, fence_after_s


def drain(fd: int) -> bytes | None:
    """What there is to read; None at the end of file."""
    try:
        return os.read(fd, 65536) or None
    except BlockingIOError:
        return b""
    except OSError:  # a socket whose other end was reset
        return None


def main() -> int:
    options = Options(sys.argv[1:])
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    if os.getsid(0) != os.getpid():
        try:
            os.setsid()
        except PermissionError:  # the leader of a process group cannot, and does not need to
            pass
    keeper = Keeper(options)
    failure = keeper.start()
    cause = keeper.watch()
    keeper.sweep()
    if failure:
        line, code = f"failed {failure}", COMMAND_NOT_STARTED
    elif cause or keeper.status is None:
        line, code = cause, KEEPER_FAILED
    else:
        code = os.waitstatus_to_exitcode(keeper.status)
        line, code = (f"exit {code}", code) if code >= 0 else (f"signal {-code}", 128 - code)
    try:
        os.write(options.status_fd, line.encode(errors="backslashreplace") + b"\n")
    except OSError:  # the agent is gone
        pass
    return code


if __name__ == "__main__":
    os._exit(main())
