"""What a slot needs of the processes that run its jobs: a port, which the simulator keeps without processes."""

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.excerpt import Excerpt
from worker.jobs import Collection, CommandJob, PytestJob, Suite
from worker.kept_process import Ended, KeptProcess, Limits
from worker.marks import Row
from worker.runners import command_of
from worker.slot_pytest import AnyReport, Ready, WarmPytest


class Kept(Protocol):
    """A command and all it starts, beneath a keeper; `worker.kept_process` has the real one."""

    output: Excerpt
    ended: asyncio.Event
    """Nothing is left of it."""

    def keep_alive(self) -> None: ...
    def fence_after(self, seconds: float) -> None: ...
    def kill(self) -> None: ...
    def terminate(self) -> None: ...
    def abort(self) -> None: ...
    def turn_page(self) -> None: ...
    def recent_output(self) -> str: ...


class Warm(Protocol):
    """A pytest process that is fed tests; `worker.slot_pytest` has the real one."""

    suite: Suite
    ready: Ready | None
    leaving: str
    finishing: bool
    settled: asyncio.Event

    @property
    def process(self) -> Kept: ...

    def hand(self, job: PytestJob) -> bool: ...
    def take_back(self, key: str) -> bool: ...
    def finish(self) -> None: ...
    def collection(self) -> Collection: ...


class StartCommand(Protocol):
    """Raises OSError or ValueError when nothing can be started."""

    def __call__(
        self, job: CommandJob, *, env: Mapping[str, str], limits: Limits, on_end: Callable[[Ended], None]
    ) -> Kept: ...


class StartPytest(Protocol):
    """Raises OSError or ValueError when nothing can be started."""

    def __call__(
        self,
        suite: Suite,
        *,
        env: Mapping[str, str],
        limits: Limits,
        listing: bool,
        on_reports: Callable[[list[AnyReport]], None],
        on_end: Callable[[Ended], None],
    ) -> Warm: ...


@dataclass(frozen=True, slots=True)
class Runners:
    command: StartCommand
    pytest: StartPytest


def processes(hold_fds: Sequence[int] = (), marks: Row | None = None) -> Runners:
    """Those of this machine, whose keepers hold these file descriptors. What begins leaves a mark in that row first."""

    def start_command(
        job: CommandJob, *, env: Mapping[str, str], limits: Limits, on_end: Callable[[Ended], None]
    ) -> KeptProcess:
        command = command_of(job)
        environment = {**env, **dict(job.env), **command.environment}
        if marks is not None:
            marks.set(job.key)
        return KeptProcess(command.argv, cwd=job.cwd, env=environment, limits=limits, hold_fds=hold_fds, on_end=on_end)

    return Runners(start_command, functools.partial(WarmPytest, hold_fds=hold_fds, marks=marks))


PROCESSES = processes()
