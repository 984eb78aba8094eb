"""A farm whose workers hang on cables that can be cut and end as they are told to, and victims for all of that."""

import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import msgspec
import psutil

from events.policy import Policy
from events.task import TaskCompleted
from events.work import CommandWork
from tests.chaos.farm import CALM, Farm, Member
from tests.chaos.proxy import Proxy
from tests.chaos.puppet import THIS_MACHINE
from tests.chaos.told import lives
from tests.waiting import until

REPORTED = msgspec.structs.replace(CALM, watchdog_after=1.0)
"""For ends that somebody tells of: silence would tell much later."""

SILENT = msgspec.structs.replace(
    CALM,
    heartbeat_interval=0.3,
    suspect_after=1.0,
    self_fence_after=3.0,
    failed_after=4.5,
    watchdog_after=20.0,
    recovery_interval=0.5,
    detector="deadline",
)
"""For ends that only silence tells of. A suspect has long enough to be heard again before it fences itself, however
irregularly a busy machine has let it beat before."""

STEADY = """
import os, sys, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import task

name = sys.argv[1]
lock, run = task.begin(name)
stamps = open(os.path.join(task.HERE, name + ".stamps"), "a", buffering=1)
hoard = []


def told(word):
    return os.path.exists(os.path.join(task.HERE, name + "." + word))


while not told("go"):
    stamps.write("%d %d\\n" % (run, time.clock_gettime_ns(time.CLOCK_MONOTONIC)))
    if run == 1 and told("eat"):
        assert len(hoard) < GREED_MB, "nothing keeps it from eating"
        hoard.append(b"x" * (1 << 20))
    else:
        time.sleep(0.01)
stamps.write("%d %d\\n" % (run, time.clock_gettime_ns(time.CLOCK_MONOTONIC)))
"""
"""A task that stamps the time for as long as it lives, which is until it is told to go."""
GREED_MB = 256

CGROUPS = ((Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"), (Path("/sys/fs/cgroup"), "memory.max"))
"""Where the kernel limits the memory of some processes: the first version of its control groups, and the second."""


class Victim(NamedTuple):
    """A worker with a task in hand."""

    worker_id: str
    incarnation: int
    task_id: str
    word: str
    """The task's name in the workshop."""
    agent: psutil.Process
    supervisor: psutil.Process
    since: int
    """The log's last sequence before its task was submitted."""

    def stop(self) -> None:
        """Both processes. The supervisor first, or it would take its agent for hung."""
        self.supervisor.suspend()
        self.agent.suspend()

    def resume(self) -> None:
        self.agent.resume()
        self.supervisor.resume()

    def kill(self) -> None:
        """Both, and nobody is left to report it."""
        self.supervisor.suspend()
        self.agent.kill()
        self.supervisor.kill()


class WiredFarm(Farm):
    """Its members are puppets, and each worker has a cable of its own to the broker.

    `alone`: each worker believes to be alone on its machine, so that nobody can testify of its end.
    """

    def __init__(self, folder: Path, policy: Policy, *, alone: bool) -> None:
        super().__init__(folder, policy)
        self.alone = alone
        self.cables: dict[str, Proxy] = {}
        (self.shop.folder / "steady.py").write_text(STEADY.replace("GREED_MB", str(GREED_MB)))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await super().__aexit__(kind, error, trace)
        finally:
            for cable in self.cables.values():
                await cable.close()

    def launch(self, name: str, *command: str, url: str = "") -> Member:
        machine = name if self.alone and name in self.cables else THIS_MACHINE
        return super().launch(name, "tests.chaos.puppet", machine, *command, url=url)

    def launch_worker(self, name: str, *options: str, slots: int = 1, url: str = "") -> Member:
        return super().launch_worker(name, *options, slots=slots, url=url or self.cables[name].url)

    async def start_workers(self, *names: str, slots: int = 1) -> None:
        for name in names:
            if name not in self.cables:
                self.cables[name] = Proxy(self.broker.url)
                await self.cables[name].open()
        await super().start_workers(*names, slots=slots)

    async def victim(self, word: str, **settings: Any) -> Victim:
        """Whoever takes the task of that name, once it runs. `settings` are those of its order."""
        since = await self.log.last_sequence()
        argv = (sys.executable, "-I", "-S", str(self.shop.folder / "steady.py"), word)
        (task_id,) = await self.submit([CommandWork(argv=argv, cwd=str(self.shop.folder))], **settings)
        first = await self.running(task_id, since)
        await until(lambda: lives(self.shop.folder, word), what=f"the run of {word}")
        name = first.worker_id
        agent, supervisor = await self.agent(name), self.supervisor(name)
        return Victim(name, first.incarnation, task_id, word, agent, supervisor, since)

    async def passes(self, victim: Victim, *, runs: int, within_s: float = 30.0) -> None:
        """Waits until the victim's task has begun so many times, lets it go, and waits for its verdict."""
        what = f"run {runs} of {victim.word}"
        await until(lambda: len(lives(self.shop.folder, victim.word)) >= runs, within_s, what)
        self.shop.say_go(victim.word)
        await self.seen(TaskCompleted, after=victim.since, task_id=victim.task_id, verdict="passed")


@contextlib.asynccontextmanager
async def memory_limit(process: psutil.Process, limit_bytes: int) -> AsyncIterator[bool]:
    """The kernel kills the process when it wants more from now on; False: this kernel, or this user, has no way to ask
    for that. The process must come to its end inside."""
    for root, setting in CGROUPS:
        group = root / f"resurgam-test-{process.pid}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if limited := _enter(group, setting, limit_bytes, process.pid):
                yield True
        finally:
            await until(lambda group=group: _removed(group), what="an empty control group")  # type: ignore[misc]
        if limited:
            return
    yield False


def _enter(group: Path, setting: str, limit_bytes: int, pid: int) -> bool:
    try:
        (group / setting).write_text(str(limit_bytes))
        (group / "cgroup.procs").write_text(str(pid))
    except OSError:
        return False
    return True


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:
        return False
    return True
