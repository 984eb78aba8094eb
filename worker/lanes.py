"""The slots of one agent: made and warmed at its start, and kept in step with its lease."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from events.thresholds import Thresholds
from events.work import Suite as WorkSuite
from worker.catalogue import Catalogue
from worker.jobs import SlotEvent, Suite
from worker.lease import keep_s
from worker.options import Options
from worker.ports import Surroundings
from worker.slots import Slot

GRACE_S_MAX = 1.0
KEEP_S_MIN = 0.001


class Lanes:
    """`thresholds` gives those that are in force when it is asked."""

    def __init__(self, options: Options, surroundings: Surroundings, thresholds: Callable[[], Thresholds]) -> None:
        self.slots: list[Slot] = []
        self._options = options
        self._surroundings = surroundings
        self._thresholds = thresholds

    def open(self, on_events: Callable[[list[SlotEvent]], None]) -> None:
        self.slots = [
            self._surroundings.slot(
                index,
                on_events,
                fence_after_s=keep_s(self._thresholds()),
                worker_id=self._options.worker_id,
                slot_count=self._options.slots,
                grace_s=self._grace_s(),
            )
            for index in range(self._options.slots)
        ]

    def warm(self, suite: WorkSuite, catalogue: Catalogue) -> list[Coroutine[Any, Any, None]]:
        """What is to be run to have a pytest process ready in each slot. The first also tells the worker's askers what
        it collects."""
        return [self._warm(slot, suite, catalogue) for slot in self.slots]

    def keep(self, seconds: float) -> None:
        """A heartbeat was stored: from now on tasks may be kept for so long."""
        self.limit(seconds)
        for slot in self.slots:
            slot.keep_alive()

    def limit(self, seconds: float) -> None:
        """Tasks are kept for no longer than that from now on, unless their keepers hear otherwise in time."""
        for slot in self.slots:
            slot.fence_after(max(seconds, KEEP_S_MIN))

    def limit_to_grace(self) -> None:
        """They are about to be stopped: what does not end when it is asked to is gone in time as well."""
        self.limit(self._grace_s())

    async def close(self) -> None:
        await asyncio.gather(*(slot.close() for slot in self.slots))

    @staticmethod
    async def _warm(slot: Slot, suite: WorkSuite, catalogue: Catalogue) -> None:
        warming = slot.warm(Suite(suite.python, suite.cwd, suite.args), listing=slot.index == 0)
        if slot.index == 0:
            collection = asyncio.ensure_future(warming)
            catalogue.offer(suite, collection)
            await catalogue.serve()
            await collection
        else:
            await warming

    def _grace_s(self) -> float:
        """For a task that is asked to end, before it is killed."""
        thresholds = self._thresholds()
        return min(GRACE_S_MAX, (thresholds.failed_after - thresholds.self_fence_after) / 2)
