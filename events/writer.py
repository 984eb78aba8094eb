"""Writing facts into the log, from anywhere that is not the leader."""

import asyncio
from collections.abc import Iterable, Sequence

from events.base import Event
from events.clock import utc
from events.envelope import Draft, Envelope
from events.errors import LogFull, Unacknowledged
from events.host import host
from events.identity import new_id
from events.log import Appended, EventLog, Fence

RETRY_PAUSE_S = 0.1
RETRY_PAUSE_S_MAX = 2.0


class Writer:
    """Stamps events with a source and appends them until they are stored.

    `source` says who writes: `worker/w1`, `supervisor/w1`, `cli/alice@host`.
    """

    def __init__(self, log: EventLog, source: str, *, synthetic: str | None = None) -> None:
        self._log = log
        self._source = source
        self._synthetic = synthetic

    def draft(self, event: Event, *, causation_id: str | None = None, correlation_id: str | None = None) -> Draft:
        envelope = Envelope(
            id=new_id(),
            time=utc(host().wall()),
            source=self._source,
            event=event,  # type: ignore[arg-type]
            causation_id=causation_id,
            correlation_id=correlation_id,
        )
        return Draft(envelope, self._synthetic)

    async def write(
        self,
        events: Event | Iterable[Event],
        *,
        causation_id: str | None = None,
        correlation_id: str | None = None,
        patience_s: float | None = None,
    ) -> Appended:
        """One fact, or several as one atomic batch.

        Raises:
            Unacknowledged: not stored for certain within `patience_s` (None: never give up).
            LogFull: the stream was full for all of `patience_s`.
            BrokerRefused: the log does not take it.
        """
        several = [events] if isinstance(events, Event) else list(events)
        drafts = [self.draft(event, causation_id=causation_id, correlation_id=correlation_id) for event in several]
        return await append_until_stored(self._log, drafts, patience_s=patience_s)


async def append_until_stored(
    log: EventLog, drafts: Sequence[Draft], *, fence: Fence | None = None, patience_s: float | None = None
) -> Appended:
    """Appends under the same ids again and again, with a growing pause, until the log has acknowledged.

    Raises:
        Unacknowledged, LogFull: `patience_s` is over.
        Fenced: the fence was not what it should be; one of the tries before may have gone through.
        BrokerRefused: the log does not take it.
    """
    loop = asyncio.get_running_loop()
    deadline = None if patience_s is None else loop.time() + patience_s
    pause = RETRY_PAUSE_S
    while True:
        try:
            return await log.append(drafts, fence=fence)
        except (Unacknowledged, LogFull):
            if deadline is not None and loop.time() + pause >= deadline:
                raise
        await asyncio.sleep(pause)
        pause = min(pause * 2, RETRY_PAUSE_S_MAX)
