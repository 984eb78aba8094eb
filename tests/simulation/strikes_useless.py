"""What makes a worker useless while it beats: faults of the worker's own program, and of what it runs work with."""

import asyncio

from tests.simulation.arena import Arena, Strike
from tests.simulation.executions import Ailment
from tests.simulation.faults import Fault, FaultKind
from tests.simulation.worker import SimAgent
from worker.tenure import Tenure


def _nothing(*_: object) -> None:
    """What a broken part of a worker does."""


def _present(arena: Arena, fault: Fault) -> tuple[SimAgent, Tenure] | None:
    agent = arena.worker(fault).agent
    if agent is None or not agent.process.alive or agent.tenure is None:
        return None
    return agent, agent.tenure


async def assignment_swallowed(arena: Arena, fault: Fault) -> bool:
    """Once: whoever registers anew has a new tenure, without the fault."""
    found = _present(arena, fault)
    if found is None:
        return False
    _, tenure = found

    def swallow(*_: object) -> None:
        del tenure.assign  # the class's own again

    tenure.assign = swallow  # type: ignore[method-assign,assignment]  # until it has swallowed one
    return True


async def slots_stuck(arena: Arena, fault: Fault) -> bool:
    return await _without(arena, fault, "refill")


async def orders_unheard(arena: Arena, fault: Fault) -> bool:
    return await _without(arena, fault, "assign", "revoke")


async def _without(arena: Arena, fault: Fault, *methods: str) -> bool:
    found = _present(arena, fault)
    if found is None:
        return False
    agent, tenure = found
    for name in methods:
        setattr(tenure, name, _nothing)
    try:
        await asyncio.sleep(fault.duration_s)
    finally:
        for name in methods:
            vars(tenure).pop(name, None)
        if agent.process.alive:
            agent.process.call(tenure.refill)
    return True


async def everything_fails(arena: Arena, fault: Fault) -> bool:
    worker = arena.worker(fault)
    worker.ailment = Ailment.cannot_begin if fault.choice < 0.5 else Ailment.fails
    try:
        await asyncio.sleep(fault.duration_s)
    finally:
        worker.ailment = Ailment.none
    return True


STRIKES: dict[FaultKind, Strike] = {
    FaultKind.ASSIGNMENT_SWALLOWED: assignment_swallowed,
    FaultKind.SLOTS_STUCK: slots_stuck,
    FaultKind.ORDERS_UNHEARD: orders_unheard,
    FaultKind.EVERYTHING_FAILS: everything_fails,
}
