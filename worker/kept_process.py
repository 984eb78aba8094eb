"""A child process under its keeper, as asyncio sees it."""

import asyncio
import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from worker.excerpt import Excerpt
from worker.shortages import memory_kills, more_kills

KEEPER = str(Path(__file__).with_name("keeper.py"))
MARK = "RESURGAM_KEPT_BY"  # in the environment of everything beneath one keeper
READ_BYTES = 256 * 1024
READS_PER_TURN_MAX = 8  # a process that writes without end must not hold the loop
SWEEPS_MAX = 200

Cause = Literal["exited", "signalled", "killed", "fenced", "lost", "not_started"]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a kept process ended; by then nothing is left of it and of what it started."""

    cause: Cause
    exit_code: int | None = None
    signal: int | None = None
    text: str = ""
    errno: int | None = None
    """Of what could not be started."""
    out_of_memory: bool = False
    """Ended by SIGKILL while its machine was out of memory."""

    def story(self) -> str:
        match self.cause:
            case "exited":
                return f"exited with code {self.exit_code}"
            case "signalled":
                return f"was ended by signal {self.signal} ({signal_name(self.signal or 0)})"
            case "killed":
                return "was killed on request"
            case "fenced":
                return "was killed by its keeper, which had not heard from the agent in time"
            case "lost":
                return "lost its keeper: somebody killed it"
            case "not_started":
                return f"could not be started: {self.text}"


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "not a signal of this system"


class Limits(TypedDict):
    """What a keeper holds its process to; see the keeper's own options."""

    fence_after_s: float
    grace_s: float
    memory_limit_bytes: int | None


class KeptProcess:
    """Runs a command beneath a keeper of its own.

    ``on_end`` is called once, from the loop, when the whole tree is gone. Standard output and error come as one
    stream, of which ``output`` keeps an excerpt. The command is given ``pass_fds``; the keeper alone has ``hold_fds``,
    until the tree is gone. Raises OSError when not even the keeper can be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        limits: Limits,
        pass_fds: Sequence[int] = (),
        hold_fds: Sequence[int] = (),
        on_end: Callable[[Ended], None],
    ) -> None:
        self.output = Excerpt()
        self._before = Excerpt()
        self.ended = asyncio.Event()
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._mark = uuid.uuid4().hex
        self._status = b""
        self._memory_kills = memory_kills()
        command = [sys.executable, "-I", "-S", KEEPER]
        command += ["--fence-after", str(limits["fence_after_s"]), "--grace", str(limits["grace_s"])]
        if limits["memory_limit_bytes"] is not None:
            command += ["--memory-limit", str(limits["memory_limit_bytes"])]
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            control_read, self._control = pipe(theirs, ours)
            self._output, output_write = pipe(ours, theirs)
            self._status_read, status_write = pipe(ours, theirs)
            command += ["--control-fd", str(control_read), "--status-fd", str(status_write), "--cwd", cwd]
            for fd in pass_fds:
                command += ["--pass-fd", str(fd)]
            for fd in hold_fds:
                command += ["--hold-fd", str(fd)]
            self._keeper = subprocess.Popen(
                [*command, "--", *argv],
                stdin=subprocess.DEVNULL,
                stdout=output_write,
                stderr=output_write,
                pass_fds=(control_read, status_write, *pass_fds, *hold_fds),
                env={**env, MARK: self._mark},
                cwd="/",
                start_new_session=True,
            )
            ours.pop_all()
        for fd in (self._control, self._output, self._status_read):
            os.set_blocking(fd, False)
        self._loop.add_reader(self._output, self.read_output)
        self._loop.add_reader(self._status_read, self._read_status)

    @property
    def keeper_pid(self) -> int:
        return self._keeper.pid

    def keep_alive(self) -> None:
        self._order(b".")

    def fence_after(self, seconds: float) -> None:
        self._order(f"f{seconds:.6f};".encode())

    def kill(self) -> None:
        self._order(b"k")

    def terminate(self) -> None:
        """SIGTERM to the command; the tree is killed after the grace."""
        self._order(b"t")

    def abort(self) -> None:
        """SIGABRT to the command, by which faulthandler writes down where it was; then as ``terminate``."""
        self._order(b"a")

    def _order(self, order: bytes) -> None:
        if not self.ended.is_set():
            # A task can stop its keeper, but not for long.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._keeper.pid, signal.SIGCONT)
            # A full pipe means that the keeper is stopped: it will find bytes enough when it goes on. A broken
            # one means that it has gone, which the status pipe tells.
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                os.write(self._control, order)

    def turn_page(self) -> None:
        """Begin a new excerpt, and keep only the last one before it."""
        self._before, self.output = self.output, Excerpt()

    def recent_output(self) -> str:
        """What was written lately: on this page and the one before.

        A report and the output that follows it come by different pipes. Who is late in reading the report may have
        read the output already, so the page before can hold what matters.
        """
        recent = Excerpt()
        for page in (self._before, self.output):
            recent.add(page.text().encode())
        return recent.text()

    def read_output(self) -> None:
        """Take in what has been written so far (as much of it as one turn of the loop may take)."""
        for _ in range(READS_PER_TURN_MAX):
            try:
                data = os.read(self._output, READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                self._loop.remove_reader(self._output)
                return
            self.output.add(data)
            if len(data) < READ_BYTES // 8:
                return

    def _read_status(self) -> None:
        try:
            data = os.read(self._status_read, 8192)
        except BlockingIOError:
            return
        if data:
            self._status += data
            return
        # The keeper is the only holder of the other end, so it is on its last instruction; what it kept has gone.
        self._loop.remove_reader(self._status_read)
        self._keeper.wait()  # knows what to do when somebody else has reaped it
        ended = parse_status(self._status.decode(errors="replace"))
        if ended.signal == signal.SIGKILL:
            short = more_kills(self._memory_kills, memory_kills())
            ended = dataclasses.replace(ended, out_of_memory=short)
        if ended.cause == "lost":
            sweep_marked(self._mark)
        self.read_output()
        try:
            self._on_end(ended)
        finally:
            self._loop.remove_reader(self._output)
            for fd in (self._control, self._output, self._status_read):
                os.close(fd)
            self.ended.set()


def pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[int, int]:
    read, write = os.pipe()
    reader.callback(os.close, read)
    writer.callback(os.close, write)
    return read, write


def parse_status(status: str) -> Ended:
    word, _, rest = status.strip().partition(" ")
    match word:
        case "exit":
            return Ended("exited", exit_code=int(rest))
        case "signal":
            return Ended("signalled", signal=int(rest))
        case "killed":
            return Ended("killed")
        case "fenced":
            return Ended("fenced")
        case "failed":
            number, _, text = rest.partition(" ")
            return Ended("not_started", text=text, errno=int(number) if number.isdigit() else None)
        case _:
            return Ended("lost")


def sweep_marked(mark: str) -> None:
    """Kill what a killed keeper has left behind, by the mark in its environment.

    The keeper's own child died with it (PR_SET_PDEATHSIG); this finds the rest, but for processes that have
    changed their environment. It is the second line: a task has no business killing its keeper.
    """
    wanted = f"{MARK}={mark}".encode()
    for _ in range(SWEEPS_MAX):
        found = False
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                with contextlib.suppress(OSError):
                    if wanted in (process / "environ").read_bytes().split(b"\0"):
                        os.kill(int(process.name), signal.SIGKILL)
                        found = True
        if not found:
            return
