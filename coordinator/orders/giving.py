"""Giving an order: its events go into the log, and their effect is waited for."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from coordinator.orders.order import Effect, Order, Report
from coordinator.orders.plan import Answer, Plan, Step, plan_of
from events.log import BATCH_MAX, EventLog
from events.writer import Writer
from recovery.state import State

PATIENCE_S = 10.0
"""For the log to take an order."""
FOLD_S_MAX = 2.0
"""For its own fold to come as far as the order, however little somebody wants to wait."""
LOOK_S = 0.05


class Desk(NamedTuple):
    """Where orders are given: a log, and a fold of it that goes on by itself."""

    log: EventLog
    source: str
    state: Callable[[], State]


class Given(NamedTuple):
    step: Step
    sequence: int
    """Of its event."""


async def give(desk: Desk, order: Order) -> Report:
    """Records what the order comes to, and waits for the effect for as long as it says.

    Raises:
        UsageFault: the order means nobody; nothing was recorded.
        LogError: the log did not take it.
    """
    plan = plan_of(order, desk.state())
    given = await _recorded(desk, [step for step in plan if isinstance(step, Step)])
    last = max((one.sequence for one in given), default=0)
    await until(lambda: desk.state().events_sequence >= last, FOLD_S_MAX)
    await until(lambda: all(_done(desk, one) for one in given), order.wait_s)
    return Report(order=order.order, actor=order.actor, reason=order.reason, effects=_effects(desk, plan, given))


async def _recorded(desk: Desk, steps: list[Step]) -> list[Given]:
    writer = Writer(desk.log, desk.source[:128])
    given: list[Given] = []
    for start in range(0, len(steps), BATCH_MAX):
        some = steps[start : start + BATCH_MAX]
        appended = await writer.write([step.event for step in some], patience_s=PATIENCE_S)
        first = appended.last - len(some) + 1 if appended.last else 0  # of a batch that was sent twice nobody knows
        given += [Given(step, first + index if first else 0) for index, step in enumerate(some)]
    return given


async def until(condition: Callable[[], bool], within_s: float) -> bool:
    """Looks again and again at something that changes by itself."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not condition():
        if loop.time() >= deadline:
            return False
        await asyncio.sleep(LOOK_S)
    return True


def _done(desk: Desk, given: Given) -> str:
    state = desk.state()
    # Where the log was folded anew it may not be there yet.
    return given.step.done(state) if state.events_sequence >= given.sequence else ""


def _effects(desk: Desk, plan: Plan, given: list[Given]) -> tuple[Effect, ...]:
    by_target = {one.step.target: one for one in given}
    effects = []
    for one in plan:
        if isinstance(one, Answer):
            effects.append(Effect(target=one.target, outcome=one.outcome, sequence=0, sentence=one.sentence))
            continue
        sequence = by_target[one.target].sequence
        done = _done(desk, by_target[one.target])
        sentence = done or one.pending(desk.state())
        effects.append(
            Effect(target=one.target, outcome="done" if done else "pending", sequence=sequence, sentence=sentence)
        )
    return tuple(effects)
