"""What faults strike: the world, and how to get at what is in it."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from tests.simulation.client import PATIENCE_S
from tests.simulation.faults import LEADER, Fault
from tests.simulation.process import SimProcess
from tests.simulation.services import SimCoordinator
from tests.simulation.worker import SimWorker

if TYPE_CHECKING:
    from tests.simulation.world import World

SLICE_S = 0.2
"""A slow process runs for a share of each."""


class Pausable(Protocol):
    """A process, or all those of a worker."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Both:
    def __init__(self, worker: SimWorker) -> None:
        self.pause, self.resume = worker.pause_both, worker.resume_both


class AgentOf:
    def __init__(self, worker: SimWorker) -> None:
        self.pause, self.resume = worker.pause_agent, worker.resume_agent


class SupervisorOf:
    def __init__(self, worker: SimWorker) -> None:
        self.pause, self.resume = worker.pause_supervisor, worker.resume_supervisor


class Arena:
    def __init__(self, world: "World") -> None:
        self.world = world
        self.loop = world.loop
        self.healed = False
        self.policy = world.policy
        """What an operator wants, apart from whether recovery is paused."""
        self.recovery_paused = False
        self._numbers: Counter[str] = Counter()
        self._rng = random.Random(f"{world.scenario.seed}/arena")

    async def set_policy(self, *, auto_recovery: bool) -> None:
        policy = msgspec.structs.replace(self.policy, auto_recovery=auto_recovery)
        patience_s = None if self.healed else PATIENCE_S
        await self.in_client(self.world.client.change_policy(policy, patience_s=patience_s))

    async def in_client(self, work: Coroutine[Any, Any, None]) -> None:
        await self.world.user.spawn(work)

    def aimed(self, fault: Fault) -> Fault:
        """At the host of whoever leads now, or of whoever is the worker: of those that are, any; else the last one."""
        world = self.world
        if fault.target == LEADER:
            return msgspec.structs.replace(fault, target=self.leader())
        if fault.target not in world.workers:
            return fault
        all_of_it = world.of_one_id(fault.target)
        if len(all_of_it) == 1:
            return fault
        living = [worker for worker in all_of_it if worker.alive] or [last_started(all_of_it)]
        return msgspec.structs.replace(fault, target=self._rng.choice(living).host.name)

    def worker(self, fault: Fault) -> SimWorker:
        return self.world.workers[fault.target]

    def worker_id(self, fault: Fault) -> str:
        return self.worker(fault).options.worker_id

    def can_start(self, worker: SimWorker) -> bool:
        return not worker.alive and self.world.network.site(worker.host.name).powered

    def coordinator(self, fault: Fault) -> SimCoordinator:
        return self.world.coordinators[fault.target]

    def leader(self) -> str:
        coordinators = self.world.coordinators
        return next((name for name, one in coordinators.items() if one.leading), next(iter(coordinators)))

    def number(self, word: str) -> str:
        self._numbers[word] += 1
        return f"{word}{self._numbers[word]}"

    def pick(self, fault: Fault, among: list[str]) -> str:
        return among[int(fault.choice * len(among))]

    async def pause(self, victim: Pausable, seconds: float) -> bool:
        victim.pause()
        await asyncio.sleep(seconds)
        victim.resume()
        return True

    async def throttle(self, victim: Pausable, fault: Fault) -> bool:
        end = self.loop.time() + fault.duration_s
        while self.loop.time() < end:
            await self.pause(victim, SLICE_S * (1 - fault.magnitude))
            await asyncio.sleep(SLICE_S * fault.magnitude)
        return True

    async def start_after(self, fault: Fault, start: Callable[[], None]) -> None:
        await asyncio.sleep(fault.duration_s)
        start()


Strike = Callable[[Arena, Fault], Awaitable[bool]]
"""Does one fault, from its beginning to its end. False: there was nothing to strike."""


async def gone(process: SimProcess | None) -> None:
    if process is not None:
        await process.wait()


def start_worker(worker: SimWorker) -> None:
    if not worker.alive:
        worker.start()


def last_started(workers: Sequence[SimWorker]) -> SimWorker:
    return max(workers, key=lambda worker: worker.started_at)
