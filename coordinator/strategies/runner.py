"""Carries out what the recovery of workers asks of the leader, and says in the log what came of it.

Beside the leader's consumer, which never waits for any of it: an attempt that has started is owed an act
(`State.effects`), the act is done here, and its outcome comes back as a fact (`WorkerRecoveryActed`). It is level
triggered as the core is: a leader that takes over finds the attempts that nobody has said anything of, and acts. Its
predecessor may have acted already, so that strategies have to be harmless when they are repeated.
"""

import asyncio
from typing import NamedTuple

import structlog

from coordinator.strategies.interface import Context, StrategyFailed, Unavailable
from coordinator.strategies.toolbox import Toolbox
from events.bus import Bus
from events.failures import Effect
from events.streams import Streams
from events.worker import WorkerRecoveryActed
from recovery.consumer import RecoveryConsumer
from recovery.entities import Worker
from recovery.lifecycle import LIVE

log = structlog.get_logger(__name__)

POLL_S = 0.2
"""For somebody who does not lead yet, or not at present: nobody tells him when he does."""
ACTS_MAX = 32
"""At one time."""
SECONDS_MIN = 0.1
DETAIL_MAX = 1000


class Key(NamedTuple):
    """One attempt."""

    worker_id: str
    incarnation: int
    number: int


class Outcome(NamedTuple):
    effect: Effect
    detail: str


class StrategyRunner:
    """`run` until cancelled. Acts under way are cancelled with it, when this coordinator leads no longer, and when
    their attempt has failed."""

    def __init__(self, bus: Bus, streams: Streams, consumer: RecoveryConsumer, toolbox: Toolbox) -> None:
        self._bus = bus
        self._streams = streams
        self._consumer = consumer
        self._toolbox = toolbox
        self._acts: dict[Key, asyncio.Task[None]] = {}
        self._woken = asyncio.Event()
        self._room = asyncio.Semaphore(ACTS_MAX)

    async def run(self) -> None:
        self._consumer.listen(lambda _: self._woken.set())
        try:
            while True:
                self._look()
                waiting = self._acts or self._consumer.state.effects
                try:
                    async with asyncio.timeout(POLL_S if waiting else None):
                        await self._woken.wait()
                except TimeoutError:
                    pass
                self._woken.clear()
        finally:
            for act in self._acts.values():
                act.cancel()
            await asyncio.gather(*self._acts.values(), return_exceptions=True)

    def _look(self) -> None:
        leading, workers = self._consumer.leading, self._consumer.state.workers
        for key, act in list(self._acts.items()):
            worker = workers[key.worker_id]
            if leading and (_under_way(key, worker) or (worker.status in LIVE and not act.done())):
                continue  # what has brought it back already may come to its end, and be told
            act.cancel()
            del self._acts[key]
        if not leading:
            return
        for worker_id in self._consumer.state.effects:
            worker = workers[worker_id]
            attempt = worker.attempt
            assert attempt is not None
            key = Key(worker_id, attempt.incarnation, attempt.number)
            if key not in self._acts:
                task = asyncio.get_running_loop().create_task(
                    self._act(key, worker, attempt.strategy, attempt.deadline), name=f"{attempt.strategy} {worker_id}"
                )
                self._acts[key] = task

    async def _act(self, key: Key, worker: Worker, strategy: str, deadline: float) -> None:
        async with self._room:
            context = self._context(key, worker, deadline)
            log.info("recovery_acts", worker_id=key.worker_id, attempt=key.number, strategy=strategy)
            effect, detail = await self._carry_out(strategy, context)
        log.info("recovery_acted", worker_id=key.worker_id, attempt=key.number, outcome=effect, detail=detail)
        if self._consumer.leading:
            self._consumer.record(
                WorkerRecoveryActed(
                    worker_id=key.worker_id,
                    incarnation=key.incarnation,
                    attempt=key.number,
                    strategy=strategy,
                    outcome=effect,
                    detail=detail[:DETAIL_MAX],
                )
            )

    def _context(self, key: Key, worker: Worker, deadline: float) -> Context:
        state = self._consumer.state
        return Context(
            worker_id=key.worker_id,
            incarnation=key.incarnation,
            attempt=key.number,
            reason=worker.failure_reason,
            host=worker.host,
            machine=worker.machine,
            slots=worker.slots,
            labels=dict(worker.labels),
            seconds_left=max(SECONDS_MIN, deadline - self._consumer.clock.now()),
            launcher=state.policy.launcher,
            bus=self._bus,
            streams=self._streams,
        )

    async def _carry_out(self, strategy: str, context: Context) -> Outcome:
        try:
            async with asyncio.timeout(context.seconds_left) as limit:
                return Outcome("done", str(await self._toolbox.strategy(strategy).act(context)))
        except Unavailable as error:
            return Outcome("unavailable", str(error))
        except StrategyFailed as error:
            return Outcome("failed", str(error))
        except Exception as error:
            if isinstance(error, TimeoutError) and limit.expired():
                return Outcome("failed", f"it was not done within {context.seconds_left:.1f} s")
            # A plugin's mistake is no reason to stop leading.
            log.error("strategy_failed", strategy=strategy, error=repr(error), exc_info=error)
            return Outcome("failed", f"{type(error).__name__}: {error}")


def _under_way(key: Key, worker: Worker) -> bool:
    """Whether that attempt still runs, and nobody has said yet what came of its act."""
    attempt = worker.attempt
    if attempt is None or attempt.status == "scheduled" or attempt.acted:
        return False
    return (attempt.incarnation, attempt.number) == (key.incarnation, key.number)
