"""What befalls coordinators, the broker and the projector."""

import asyncio
from collections.abc import Callable

from tests.simulation.arena import Arena, Strike, gone
from tests.simulation.faults import Fault, FaultKind


async def coordinator_crash(arena: Arena, fault: Fault) -> bool:
    coordinator = arena.coordinator(fault)
    coordinator.kill()
    await arena.start_after(fault, coordinator.start)
    return True


async def coordinator_restart(arena: Arena, fault: Fault) -> bool:
    coordinator = arena.coordinator(fault)
    coordinator.terminate()
    await gone(coordinator.process)
    await arena.start_after(fault, coordinator.start)
    return True


async def coordinator_hang(arena: Arena, fault: Fault) -> bool:
    return await arena.pause(arena.coordinator(fault), fault.duration_s)


async def coordinator_slow(arena: Arena, fault: Fault) -> bool:
    return await arena.throttle(arena.coordinator(fault), fault)


async def leader_pause(arena: Arena, fault: Fault) -> bool:
    return await arena.pause(arena.coordinator(fault), fault.duration_s)


async def two_leaders(arena: Arena, fault: Fault) -> bool:
    """The old one wakes up in the moment in which another is elected, and believes what it believed before."""
    coordinator = arena.coordinator(fault)
    coordinator.pause()
    try:
        async with asyncio.timeout(fault.duration_s):
            await arena.world.watch.next_election()
    except TimeoutError:
        pass  # there is nobody else who could be elected
    coordinator.resume()
    return True


async def broker_crash(arena: Arena, fault: Fault) -> bool:
    return await broker_ends(arena, fault, arena.world.broker.crash)


async def broker_restart(arena: Arena, fault: Fault) -> bool:
    return await broker_ends(arena, fault, arena.world.broker.stop)


async def broker_power_loss(arena: Arena, fault: Fault) -> bool:
    return await broker_ends(arena, fault, arena.world.broker.power_loss)


async def broker_ends(arena: Arena, fault: Fault, end: Callable[[], None]) -> bool:
    if not arena.world.broker.listening:
        return False
    end()
    await asyncio.sleep(fault.duration_s)
    arena.world.broker.start()
    return True


async def broker_hang(arena: Arena, fault: Fault) -> bool:
    return await arena.pause(arena.world.broker, fault.duration_s)


async def broker_read_only(arena: Arena, fault: Fault) -> bool:
    arena.world.broker.stop_accepting()
    await asyncio.sleep(fault.duration_s)
    arena.world.broker.accept_again()
    return True


async def log_full(arena: Arena, fault: Fault) -> bool:
    arena.world.broker.fill(arena.world.streams.events)
    await asyncio.sleep(fault.duration_s)
    arena.world.broker.fill(arena.world.streams.events, full=False)
    return True


async def projector_crash(arena: Arena, fault: Fault) -> bool:
    projector = arena.world.projector
    if projector is None or not projector.alive:
        return False
    projector.die_after(int(fault.magnitude))
    await gone(projector.process)
    await arena.start_after(fault, projector.start)
    return True


async def projector_hang(arena: Arena, fault: Fault) -> bool:
    projector = arena.world.projector
    return projector is not None and await arena.pause(projector, fault.duration_s)


async def projector_restart(arena: Arena, fault: Fault) -> bool:
    projector = arena.world.projector
    if projector is None or not projector.alive:
        return False
    projector.terminate()
    await gone(projector.process)
    await arena.start_after(fault, projector.start)
    return True


STRIKES: dict[FaultKind, Strike] = {
    FaultKind.COORDINATOR_CRASH: coordinator_crash,
    FaultKind.COORDINATOR_RESTART: coordinator_restart,
    FaultKind.COORDINATOR_HANG: coordinator_hang,
    FaultKind.COORDINATOR_SLOW: coordinator_slow,
    FaultKind.LEADER_PAUSE: leader_pause,
    FaultKind.TWO_LEADERS: two_leaders,
    FaultKind.BROKER_CRASH: broker_crash,
    FaultKind.BROKER_RESTART: broker_restart,
    FaultKind.BROKER_POWER_LOSS: broker_power_loss,
    FaultKind.BROKER_HANG: broker_hang,
    FaultKind.BROKER_READ_ONLY: broker_read_only,
    FaultKind.LOG_FULL: log_full,
    FaultKind.PROJECTOR_CRASH: projector_crash,
    FaultKind.PROJECTOR_HANG: projector_hang,
    FaultKind.PROJECTOR_RESTART: projector_restart,
}
