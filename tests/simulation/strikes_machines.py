"""What befalls machines, the network between them, and their clocks."""

import asyncio
import random
from typing import Any

from events.task import TaskAssigned
from tests.simulation import strikes_services
from tests.simulation.arena import Arena, Strike, start_worker
from tests.simulation.faults import Fault, FaultKind


async def host_power_loss(arena: Arena, fault: Fault) -> bool:
    name = fault.target
    world = arena.world
    if name == "broker":
        return await strikes_services.broker_power_loss(arena, fault)
    world.network.power_off(name)
    if name in world.workers:
        world.workers[name].power_off()
    elif name in world.coordinators:
        world.coordinators[name].kill()
    elif name == "projector" and world.projector is not None:
        world.projector.kill()
    await asyncio.sleep(fault.duration_s)
    boot(arena, name)
    return True


def boot(arena: Arena, name: str) -> None:
    world = arena.world
    world.network.power_on(name)
    if name in world.workers:
        start_worker(world.workers[name])
    elif name in world.coordinators:
        world.coordinators[name].start()
    elif name == "projector" and world.projector is not None:
        world.projector.start()


async def mass_loss(arena: Arena, fault: Fault) -> bool:
    names = list(arena.world.workers)
    chosen = random.Random(f"{fault.choice}").sample(names, max(1, round(fault.magnitude * len(names))))
    for name in chosen:
        arena.world.network.power_off(name)
        arena.world.workers[name].power_off()
    await asyncio.sleep(fault.duration_s)
    for name in chosen:
        boot(arena, name)
    return True


async def partition(arena: Arena, fault: Fault) -> bool:
    return await cut(arena, fault, "both")


async def partition_in(arena: Arena, fault: Fault) -> bool:
    return await cut(arena, fault, "in")


async def partition_out(arena: Arena, fault: Fault) -> bool:
    return await cut(arena, fault, "out")


async def cut(arena: Arena, fault: Fault, direction: Any) -> bool:
    arena.world.network.cut(fault.target, direction)
    await asyncio.sleep(fault.duration_s)
    arena.world.network.heal(fault.target)
    return True


async def flapping(arena: Arena, fault: Fault) -> bool:
    end = arena.loop.time() + fault.duration_s
    while arena.loop.time() < end:
        arena.world.network.cut(fault.target)
        await asyncio.sleep(fault.magnitude)
        arena.world.network.heal(fault.target)
        await asyncio.sleep(fault.magnitude)
    return True


async def delay_spike(arena: Arena, fault: Fault) -> bool:
    arena.world.network.slow(fault.target, fault.magnitude)
    await asyncio.sleep(fault.duration_s)
    arena.world.network.slow(fault.target, 0.0)
    return True


async def connection_reset(arena: Arena, fault: Fault) -> bool:
    arena.world.network.reset(fault.target)
    return True


async def lost_assignment(arena: Arena, fault: Fault) -> bool:
    """The cut comes between the broker's storing the next assignment and the worker's reading it."""
    worker_id = arena.worker_id(fault)
    stored: asyncio.Future[None] = arena.loop.create_future()

    def look(recorded: Any) -> None:
        event = recorded.event
        if isinstance(event, TaskAssigned) and event.worker_id == worker_id and not stored.done():
            arena.world.network.cut(fault.target)
            stored.set_result(None)

    arena.world.watch.listeners.append(look)
    try:
        await stored
    finally:
        arena.world.watch.listeners.remove(look)
    await asyncio.sleep(fault.duration_s)
    arena.world.network.heal(fault.target)
    return True


async def clock_skew(arena: Arena, fault: Fault) -> bool:
    host = arena.world.hosts[fault.target]
    host.step_clock(fault.magnitude)
    try:
        await asyncio.sleep(fault.duration_s)
    finally:
        host.step_clock(-fault.magnitude)
    return True


async def clock_step(arena: Arena, fault: Fault) -> bool:
    arena.world.hosts[fault.target].step_clock(fault.magnitude)
    return True


STRIKES: dict[FaultKind, Strike] = {
    FaultKind.HOST_POWER_LOSS: host_power_loss,
    FaultKind.MASS_LOSS: mass_loss,
    FaultKind.PARTITION: partition,
    FaultKind.PARTITION_IN: partition_in,
    FaultKind.PARTITION_OUT: partition_out,
    FaultKind.FLAPPING: flapping,
    FaultKind.DELAY_SPIKE: delay_spike,
    FaultKind.CONNECTION_RESET: connection_reset,
    FaultKind.LOST_ASSIGNMENT: lost_assignment,
    FaultKind.CLOCK_SKEW: clock_skew,
    FaultKind.CLOCK_STEP: clock_step,
}
