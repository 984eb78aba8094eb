"""What runs out on a worker's machine: memory, by its own doing or by somebody else's, and the disk."""

import asyncio

from tests.simulation.arena import Arena, Strike
from tests.simulation.faults import Fault, FaultKind
from tests.simulation.gauges import Store

SOMEBODY_ELSES = 0.3
"""Of all leaks: those that no new start of the worker ends."""


async def memory_leak(arena: Arena, fault: Fault) -> bool:
    """Ends with the agent whose it is, or when its time is over; or the kernel ends the agent, when nothing is left."""
    worker = arena.worker(fault)
    agent = worker.agent
    if agent is None or not agent.process.alive:
        return False
    store = worker.memory if fault.choice < SOMEBODY_ELSES else agent.memory
    store.take(store.size / fault.magnitude)
    try:
        await asyncio.sleep(min(fault.duration_s, fault.magnitude))
        if store.left == 0:
            worker.kill_agent() if store is worker.memory else agent.kill()
    finally:
        store.give_back()
    return True


async def disk_fills(arena: Arena, fault: Fault) -> bool:
    disk: Store = arena.worker(fault).disk
    disk.take(disk.size / fault.magnitude)
    try:
        await asyncio.sleep(fault.duration_s)
    finally:
        disk.give_back()
    return True


STRIKES: dict[FaultKind, Strike] = {FaultKind.MEMORY_LEAK: memory_leak, FaultKind.DISK_FILLS: disk_fills}
