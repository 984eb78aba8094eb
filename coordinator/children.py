"""A service of ours in a child process: started, brought back when it dies, stopped in order."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Protocol

import structlog

from coordinator.faults import FILE, USAGE, Fault, FileFault, UsageFault
from coordinator.standby import Standby

log = structlog.get_logger(__name__)

TETHER = Path(__file__).with_name("tether.py")
PAUSE_S = 0.2
PAUSE_S_MAX = 10.0
STEADY_AFTER_S = 30.0
"""A child that lived this long starts with a fresh backoff when it dies."""

STOP_S_MAX = 10.0
DRAIN_S_MAX = 1.0
LAST_LINES = 20
LINE_BYTES_MAX = 1024 * 1024
FATAL: dict[int, type[Fault]] = {USAGE: UsageFault, FILE: FileFault}
"""What it refuses once it will refuse again: its own sentence becomes ours."""


class Process(Protocol):
    """The part of `asyncio.subprocess.Process` that is needed here."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    @property
    def stdout(self) -> asyncio.StreamReader | None: ...

    async def wait(self) -> int: ...

    def send_signal(self, signal: int, /) -> None: ...


class ChildService:
    """`command` is what follows the interpreter (`-m projections ...`). What it writes goes to `output`, or to our own
    stderr. The child gets SIGTERM when we die: a service of ours needs no more, and ends its work in order.

    With `standby`, the first process is the one that waits there; every later one is started by the command.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, output: Path | None = None, standby: Standby | None = None
    ) -> None:
        self.name = name
        self.restarts = 0
        self.spawned = asyncio.Event()
        """Set once there is, or was, a first process."""
        self._command = list(command)
        self._output = output
        self._standby = standby
        self._process: Process | None = None
        self._drain: asyncio.Task[None] | None = None
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self.alive else None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def run(self) -> None:
        """Keeps it alive until `stop`.

        Raises:
            UsageFault, FileFault: it refused its arguments, or its file; the message is its own last line.
        """
        loop = asyncio.get_running_loop()
        failures = 0
        try:
            while not self._stopping.is_set():
                began = loop.time()
                code = await self._run_once()
                if self._stopping.is_set():
                    return
                if code in FATAL:
                    raise FATAL[code](self._sentence(code))
                failures = 0 if loop.time() - began > STEADY_AFTER_S else failures + 1
                pause = min(PAUSE_S * 2 ** min(failures - 1, 10), PAUSE_S_MAX) if failures else 0.0
                log.warning("child_ended", child=self.name, code=code, restart_in_s=pause, said=self._sentence(code))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._stopping.wait()
                self.restarts += 1
        finally:
            await self._end()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when that is not enough. `run` returns."""
        self._stopping.set()
        await self._end()

    async def _run_once(self) -> int:
        self._last_lines.clear()
        standby, self._standby = self._standby, None
        if standby is None:
            self._process = await self._spawn()
        else:
            self._process = await standby.begin(self._command, line_bytes_max=LINE_BYTES_MAX)
        self.spawned.set()
        self._drain = asyncio.create_task(self._pass_on(self._process), name=f"output of {self.name}")
        log.info("child_started", child=self.name, pid=self._process.pid)
        code = await self._process.wait()
        # Its last lines are on their way, unless somebody it left behind keeps the pipe open.
        await asyncio.wait({self._drain}, timeout=DRAIN_S_MAX)
        self._drain.cancel()
        return code

    async def _spawn(self) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-S", str(TETHER), str(int(signal.SIGTERM)), str(os.getpid()), sys.executable),
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            limit=LINE_BYTES_MAX,
        )

    async def _pass_on(self, process: Process) -> None:
        assert process.stdout is not None
        with contextlib.ExitStack() as stack:
            sink: IO[str] = sys.stderr
            if self._output is not None:
                sink = stack.enter_context(self._output.open("a", encoding="utf-8"))
            while True:
                try:
                    line = await process.stdout.readline()
                except ValueError:
                    continue  # longer than the limit: dropped
                if not line:
                    return
                text = line.decode("utf-8", "replace")
                if text.strip():
                    self._last_lines.append(text.rstrip())
                sink.write(text)
                sink.flush()

    async def _end(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            try:
                async with asyncio.timeout(STOP_S_MAX):
                    await process.wait()
            except TimeoutError:
                log.warning("child_does_not_end", child=self.name, pid=process.pid, signal=number.name)
                continue
            break
        if self._drain is not None:
            await asyncio.wait({self._drain}, timeout=DRAIN_S_MAX)
            self._drain.cancel()
            await asyncio.gather(self._drain, return_exceptions=True)

    def _sentence(self, code: int) -> str:
        if not self._last_lines:
            return f"{self.name} ended with code {code} and said nothing"
        return self._last_lines[-1].removeprefix("resurgam: ").removeprefix("error: ")
