"""Keepers without processes: `worker/keeper.py` in virtual time, with the task beneath it.

A keeper is a process of its own on its worker's host. It goes on while the agent is stopped, kills its task when the
agent is silent for too long or gone, and takes its task along when it is killed itself.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from tests.simulation.executions import AT_ONCE_S, Ailment, Conduct, Execution, Executions, Plan, plan_of
from tests.simulation.process import SimProcess
from worker.excerpt import Excerpt
from worker.jobs import CommandJob
from worker.kept_process import Ended, Limits

SPAWN_S = (0.005, 0.04)
"""From the decision to start a task to its first instruction: an interpreter, a fork, an exec."""
SWEEP_S = (0.0005, 0.01)
"""From the decision to kill a tree to its end."""
OBEY_S = (0.0005, 0.05)
"""What an obedient task takes to end after SIGTERM."""
SIGSEGV = 11


class Owner(Protocol):
    """The agent that a keeper was started by."""

    process: SimProcess
    keepers: "dict[Keeper, None]"
    worker_id: str
    executions: Executions
    marks: deque[str]
    """Keys of what it has begun last."""

    @property
    def slowness(self) -> float: ...

    @property
    def ailment(self) -> Ailment: ...

    def stop(self) -> None:
        """SIGSTOP."""

    def kill(self) -> None:
        """SIGKILL."""

    def kill_supervisor(self) -> None: ...


class Keeper:
    """Keeps `worker.kept.Kept`. What is beneath it is given by whoever derives from it."""

    def __init__(self, owner: Owner, name: str, limits: Limits, on_end: Callable[[Ended], None]) -> None:
        self.output = Excerpt()
        self.ended = asyncio.Event()
        self.host = owner.process.host
        self.owner = owner
        self._loop = owner.process.loop
        self._fence_after_s = limits["fence_after_s"]
        self._grace_s = limits["grace_s"]
        self._on_end = on_end
        self._deadline = float("inf")
        self._ordered = ""
        self._watching = False
        self._ending = False
        self._orders: deque[tuple[str, float] | None] = deque()
        """None is the end of file."""
        self.process = SimProcess(self._loop, self.host, f"{owner.process.name}/{name}")
        self.process.on_death(self._died)
        owner.keepers[self] = None
        self.process.call(self._spawn)

    # What the agent asks for

    def keep_alive(self) -> None:
        self._send((".", 0.0))

    def fence_after(self, seconds: float) -> None:
        self._send(("f", seconds))

    def kill(self) -> None:
        self._send(("k", 0.0))

    def terminate(self) -> None:
        self._send(("t", 0.0))

    def abort(self) -> None:
        self._send(("a", 0.0))

    def turn_page(self) -> None: ...

    def recent_output(self) -> str:
        return ""

    def lose_agent(self) -> None:
        self._send(None)

    # The keeper's own life

    def begin(self) -> None:
        """The task starts."""
        raise NotImplementedError

    def signal(self) -> None:
        """SIGTERM or SIGABRT for the task."""
        raise NotImplementedError

    def gone(self, how: str) -> None:
        """Nothing is left of the task."""
        raise NotImplementedError

    def later(self, bounds: tuple[float, float], do: Callable[[], None]) -> None:
        self._loop.call_later(self.host.uniform(*bounds) * self.owner.slowness, do)

    def finish(self, ended: Ended) -> None:
        """The task has ended by itself, or by the order that it was given."""
        if not self._ending:
            self._ending = True
            self._leave(Ended("killed") if self._ordered else ended)

    def do_harm(self, conduct: Conduct) -> None:
        """What poison does to the worker above it. The task itself stays where it is."""
        if conduct is Conduct.kills_keeper:
            self.process.kill()
        elif conduct is Conduct.stops_agent:
            self.owner.stop()
        elif conduct is Conduct.kills_agent:
            self.owner.kill()
        elif conduct is Conduct.kills_worker:
            self.owner.kill_supervisor()

    def _send(self, order: tuple[str, float] | None) -> None:
        self._orders.append(order)
        if self._watching:
            self.process.call(self._obey)

    def _spawn(self) -> None:
        self.later(SPAWN_S, self._watch)

    def _watch(self) -> None:
        self._watching = True
        self._deadline = self._loop.time() + self._fence_after_s
        self.begin()
        self._wait()
        self._obey()

    def _wait(self) -> None:
        self._loop.call_at(self._deadline, self._look)

    def _look(self) -> None:
        """A deadline that was put off has a later look of its own."""
        if self._ending:
            return
        if self._loop.time() >= self._deadline:
            self._sweep(self._ordered or "fenced")
        else:
            self._wait()

    def _obey(self) -> None:
        while self._orders and not self._ending:
            # As in the keeper: bytes that come after a pause must not revive what may run elsewhere by now.
            if self._loop.time() >= self._deadline:
                self._sweep(self._ordered or "fenced")
                return
            self._take(self._orders.popleft())

    def _take(self, order: tuple[str, float] | None) -> None:
        if order is None:
            self._sweep("fenced")
            return
        word, seconds = order
        now = self._loop.time()
        if word == "k":
            self._sweep("killed")
        elif self._ordered:
            pass
        elif word == "f":
            self._fence_after_s = seconds
            self._bring_forward(now + seconds)
        elif word == ".":
            self._deadline = now + self._fence_after_s
        else:
            self._ordered = "killed"
            self._deadline = now + min(self._grace_s, self._fence_after_s)
            self._wait()
            self.signal()

    def _bring_forward(self, deadline: float) -> None:
        if deadline < self._deadline:
            self._deadline = deadline
            self._wait()

    def _sweep(self, cause: str) -> None:
        self._ending = True
        ended = Ended("killed") if cause == "killed" else Ended("fenced")
        self.later(SWEEP_S, lambda: self._leave(ended))

    def _leave(self, ended: Ended) -> None:
        self._report(ended)
        self.process.kill()

    def _died(self) -> None:
        """Killed, or at the end of its work. Nothing survives its keeper."""
        self._report(Ended("lost"))

    def _report(self, ended: Ended) -> None:
        if self in self.owner.keepers:
            del self.owner.keepers[self]
            self.gone(ended.cause)
            self.owner.process.call(self._hear, ended)

    def _hear(self, ended: Ended) -> None:
        try:
            self._on_end(ended)
        finally:
            self.ended.set()


class CommandKeeper(Keeper):
    """Keeps `worker.kept.Kept` for a simulated command."""

    def __init__(self, owner: Owner, job: CommandJob, limits: Limits, on_end: Callable[[Ended], None]) -> None:
        self._key = job.key
        self._plan = plan_of(job, owner.process.host)
        self._execution: Execution | None = None
        super().__init__(owner, job.key, limits, on_end)

    def begin(self) -> None:
        executions, ailment = self.owner.executions, self.owner.ailment
        if ailment is not Ailment.none:
            executions.spoiled.add(self._key.split(".")[1])
            self._plan = Plan(AT_ONCE_S, Conduct.fails)
        if ailment is Ailment.cannot_begin:
            self.finish(Ended("not_started"))
            return
        self.owner.marks.append(self._key)
        self._execution = executions.begin(self._key, self.owner.worker_id, self.host.name)
        if self._plan.conduct is not Conduct.hangs:
            self._loop.call_later(self._plan.duration_s * self.owner.slowness, self._act)

    def signal(self) -> None:
        if self._plan.conduct is not Conduct.hangs:
            self.later(OBEY_S, lambda: self.finish(Ended("killed")))

    def gone(self, how: str) -> None:
        if self._execution is not None:
            self.owner.executions.end(self._execution, how)

    def _act(self) -> None:
        conduct = self._plan.conduct
        if self._ending:
            return
        if conduct is Conduct.passes:
            self.finish(Ended("exited", exit_code=0))
        elif conduct is Conduct.fails:
            self.finish(Ended("exited", exit_code=1))
        elif conduct is Conduct.crashes:
            self.finish(Ended("signalled", signal=SIGSEGV))
        else:
            self.do_harm(conduct)


def start_command(
    owner: Owner, job: CommandJob, *, env: Mapping[str, str], limits: Limits, on_end: Callable[[Ended], None]
) -> CommandKeeper:
    """With its first argument bound, it keeps `worker.kept.StartCommand`."""
    return CommandKeeper(owner, job, limits, on_end)
