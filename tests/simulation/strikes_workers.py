"""What befalls workers."""

from collections.abc import Callable

from tests.simulation.arena import AgentOf, Arena, Both, Strike, SupervisorOf, gone, last_started, start_worker
from tests.simulation.faults import Fault, FaultKind

OF_ONE_ID_MAX = 3
ON_SAME_MACHINE = 0.25


async def agent_crash(arena: Arena, fault: Fault) -> bool:
    worker = arena.worker(fault)
    worker.kill_agent()
    return worker.alive


async def agent_hang(arena: Arena, fault: Fault) -> bool:
    return await arena.pause(AgentOf(arena.worker(fault)), fault.duration_s)


async def agent_slow(arena: Arena, fault: Fault) -> bool:
    return await arena.throttle(AgentOf(arena.worker(fault)), fault)


async def agent_stop(arena: Arena, fault: Fault) -> bool:
    worker = arena.worker(fault)
    worker.terminate_agent()
    return worker.alive


async def supervisor_crash(arena: Arena, fault: Fault) -> bool:
    return await end_worker(arena, fault, arena.worker(fault).kill_supervisor)


async def supervisor_hang(arena: Arena, fault: Fault) -> bool:
    return await arena.pause(SupervisorOf(arena.worker(fault)), fault.duration_s)


async def supervisor_slow(arena: Arena, fault: Fault) -> bool:
    return await arena.throttle(SupervisorOf(arena.worker(fault)), fault)


async def worker_crash(arena: Arena, fault: Fault) -> bool:
    return await end_worker(arena, fault, arena.worker(fault).kill_both)


async def worker_hang(arena: Arena, fault: Fault) -> bool:
    return await arena.pause(Both(arena.worker(fault)), fault.duration_s)


async def worker_slow(arena: Arena, fault: Fault) -> bool:
    return await arena.throttle(Both(arena.worker(fault)), fault)


async def worker_restart(arena: Arena, fault: Fault) -> bool:
    return await end_worker(arena, fault, arena.worker(fault).terminate)


async def operator_restart(arena: Arena, fault: Fault) -> bool:
    return await worker_restart(arena, fault)


async def end_worker(arena: Arena, fault: Fault, end: Callable[[], None]) -> bool:
    worker = arena.worker(fault)
    if not worker.alive:
        return False
    end()
    await gone(worker.supervisor)
    await arena.start_after(fault, lambda: start_worker(worker))
    return True


async def second_process(arena: Arena, fault: Fault) -> bool:
    """A copied configuration, a pod that was moved, a machine restored from its image: the id is taken to a host where
    it was before and is not now, or to a new one."""
    worker_id = arena.worker_id(fault)
    all_of_it = arena.world.of_one_id(worker_id)
    present = last_started(all_of_it)
    idle = [worker for worker in all_of_it if worker is not present and arena.can_start(worker)]
    if idle:
        idle[0].start()
    elif len(all_of_it) < OF_ONE_ID_MAX:
        arena.world.double(worker_id, same_machine=fault.choice < ON_SAME_MACHINE).start()
    else:
        return False
    return True


STRIKES: dict[FaultKind, Strike] = {
    FaultKind.AGENT_CRASH: agent_crash,
    FaultKind.AGENT_HANG: agent_hang,
    FaultKind.AGENT_SLOW: agent_slow,
    FaultKind.AGENT_STOP: agent_stop,
    FaultKind.SUPERVISOR_CRASH: supervisor_crash,
    FaultKind.SUPERVISOR_HANG: supervisor_hang,
    FaultKind.SUPERVISOR_SLOW: supervisor_slow,
    FaultKind.WORKER_CRASH: worker_crash,
    FaultKind.WORKER_HANG: worker_hang,
    FaultKind.WORKER_SLOW: worker_slow,
    FaultKind.WORKER_RESTART: worker_restart,
    FaultKind.OPERATOR_RESTART: operator_restart,
    FaultKind.SECOND_PROCESS: second_process,
}
