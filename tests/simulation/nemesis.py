"""Does what the schedule says goes wrong, and afterwards undoes it."""

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING

from tests.simulation import (
    strikes_leaks,
    strikes_machines,
    strikes_people,
    strikes_services,
    strikes_snapshots,
    strikes_useless,
    strikes_workers,
)
from tests.simulation.arena import Arena, Strike, last_started, start_worker
from tests.simulation.faults import Fault, FaultKind
from tests.simulation.schedule import schedule_of

if TYPE_CHECKING:
    from tests.simulation.world import World

BACK_S = (0.5, 5.0)
"""Until an operator looks after what has ended."""

STRIKES: dict[FaultKind, Strike] = {
    **strikes_workers.STRIKES,
    **strikes_services.STRIKES,
    **strikes_machines.STRIKES,
    **strikes_people.STRIKES,
    **strikes_useless.STRIKES,
    **strikes_snapshots.STRIKES,
    **strikes_leaks.STRIKES,
}


class Nemesis:
    """Runs in the world, outside of all processes."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.loop = world.loop
        self.done: Counter[str] = Counter()
        """Faults that found something to strike, by kind."""
        self._arena = Arena(world)
        self._tasks: set[asyncio.Task[None]] = set()
        self._rng = random.Random(f"{world.scenario.seed}/nemesis")

    async def rage(self) -> None:
        """Every fault at its time, until the faulty phase is over or an invariant is broken."""
        world = self.world
        for fault in schedule_of(world.scenario):
            if not await self._rest(fault.at - self.loop.time()):
                return
            self._strike(fault)
        await self._rest(world.scenario.faulty_s - self.loop.time())

    async def _rest(self, seconds: float) -> bool:
        """False: an invariant was broken meanwhile."""
        broken = self.world.watch.broken
        if seconds > 0 and not broken.is_set():
            try:
                async with asyncio.timeout(seconds):
                    await broken.wait()
            except TimeoutError:
                pass
        return not broken.is_set()

    def _strike(self, fault: Fault) -> None:
        fault = self._arena.aimed(fault)
        task = self.loop.create_task(self._count(fault), name=fault.kind.value)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _count(self, fault: Fault) -> None:
        self.done[fault.kind.value] += 1
        if not await STRIKES[fault.kind](self._arena, fault):
            self.done[fault.kind.value] -= 1

    # The end of all faults

    async def heal(self) -> None:
        self._arena.healed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        world = self.world
        for name in world.hosts:
            world.network.power_on(name)
            world.network.heal(name)
            world.network.slow(name, 0.0)
        self._mend_broker()
        for coordinator in world.coordinators.values():
            coordinator.resume()
            coordinator.start()
        if world.projector is not None:
            world.projector.live_on()
            world.projector.resume()
            world.projector.start()
        for worker in world.workers.values():
            worker.resume_both()
        self.done += Counter()  # drops the kinds that never struck
        await self._arena.set_policy(auto_recovery=True)
        await self._arena.in_client(self.world.client.resume_recovery(patience_s=None))
        await self.look_after()

    def _mend_broker(self) -> None:
        broker = self.world.broker
        broker.resume()
        broker.start()
        broker.accept_again()
        broker.fill(self.world.streams.events, full=False)

    async def look_after(self) -> None:
        """What an operator does every now and then: starts what has ended, re-admits what was given up, lifts
        cordons."""
        watch = self.world.watch
        for worker_id in self.world.scenario.worker_names:
            all_of_it = self.world.of_one_id(worker_id)
            living = [worker for worker in all_of_it if worker.alive]
            if not living:
                await asyncio.sleep(self._rng.uniform(*BACK_S))
                start_worker(last_started(all_of_it))
            elif watch.status_of(worker_id) == "draining":
                watch.settle(worker_id)
                for worker in living:
                    worker.terminate()
            if worker_id in watch.cordoned:
                await self._arena.in_client(self.world.client.uncordon(worker_id))
            if watch.status_of(worker_id) == "permanent":
                await self._arena.in_client(self.world.client.readmit(worker_id))
