"""Keeps the meter supplied: with the log, with heartbeats, and once a second with what this coordinator uses."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from coordinator.fleet.notes import Overheard
from coordinator.fleet.tally import Tally
from coordinator.impact.meter import Meter
from events.envelope import Recorded
from recovery.consumer import RecoveryConsumer

EVERY_S = 1.0


class Measuring:
    """`pids`: the processes of this coordinator, asked for again and again; None: nothing is measured."""

    def __init__(self, pids: Callable[[], Iterable[int]] | None) -> None:
        self._pids = pids

    async def run(
        self,
        coordinator_id: str,
        consumer: RecoveryConsumer,
        heartbeats: Overheard,
        tally: Callable[[], Tally | None],
    ) -> None:
        """For ever, over one fold. `tally` gives None as long as that has not come to the end of the log: what is long
        past is not measured."""
        if self._pids is None:
            await asyncio.Event().wait()
            return
        meter = Meter(coordinator_id, consumer.record)

        def take(batch: Sequence[Recorded]) -> None:
            found = tally()
            if found is not None:
                meter.take(batch, found)

        consumer.listen(take)
        heartbeats.listen(lambda batch: meter.heartbeats(batch, consumer.state))
        # Loaded when all that somebody waits for has begun.
        await asyncio.sleep(EVERY_S)
        from coordinator.impact.own import OwnUse

        own = OwnUse(self._pids)
        while True:
            now = consumer.clock.now()
            sample = own.sample(now)
            if sample is not None:
                meter.sample(sample)
            meter.look(now, leading=consumer.leading)
            await asyncio.sleep(EVERY_S)
