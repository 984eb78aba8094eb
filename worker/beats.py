"""Heartbeats, and the fence that falls when they are not acknowledged.

One clock rules what this worker may do: the moment at which the last acknowledged heartbeat was *sent*. The broker has
stored it later than that, so whoever counts from the broker's time gives this worker up later than it fences itself.
`worker.lease` has the argument in full.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from events.bus import Bus
from events.clock import utc
from events.ending import ended
from events.errors import LogError, Unacknowledged
from events.heartbeats import send_heartbeat
from events.host import host
from events.streams import Streams
from events.worker import Heartbeat
from worker.lease import Lease
from worker.ports import Gauges, Vitals
from worker.ruling import Rules

logger = structlog.get_logger(__name__)

JITTER = 0.1
PATIENCE_GROWTH = 2.0
"""How much longer than the last one the next answer may take."""


class Heart:
    """Beats for one incarnation, which has just registered."""

    def __init__(
        self,
        bus: Bus,
        streams: Streams,
        worker_id: str,
        incarnation: int,
        rules: Rules,
        *,
        gauges: Callable[[], Gauges],
    ) -> None:
        self.fenced = False
        self._bus = bus
        self._streams = streams
        self._worker_id = worker_id
        self._incarnation = incarnation
        self._gauges = gauges
        # Time that goes on while the machine sleeps: others may have taken the tasks over meanwhile.
        self._now = host().boottime
        self._rules = rules
        self._named = rules
        """What the last acknowledged heartbeat named."""
        self._lease = Lease(self._now(), rules.thresholds)
        self._beat = 0
        self._lag_s = 0.0
        self._answer_s = 0.0
        """What the last answer took, or was waited for in vain."""
        self._doubtful = False
        self._due = self._now()
        self._hurry = asyncio.Event()
        """`_due` has changed."""
        self._reconnected = asyncio.Event()
        self._lowered = asyncio.Event()

    @property
    def may_start(self) -> bool:
        return not self.fenced and not self._doubtful and self._now() <= self._lease.until.begin

    @property
    def keep_s(self) -> float:
        """For how many seconds from now on tasks may be kept, whatever becomes of this process. Negative: no more."""
        return self._lease.until.keep - self._now()

    def obey(self, rules: Rules) -> None:
        """The next heartbeat names the new rules, and is sent within one interval by these: all workers hear of them at
        once, and must not answer at once."""
        self._rules = rules
        self._due = min(self._due, self._now() + host().uniform(0, rules.thresholds.heartbeat_interval))
        self._hurry.set()

    async def run(
        self,
        *,
        vitals: Callable[[], Vitals],
        condemned: Callable[[], Awaitable[bool]],
        on_shortened: Callable[[], None],
        on_acknowledged: Callable[[], None],
        on_fence: Callable[[], None],
    ) -> None:
        """Beats until it is cancelled.

        `on_acknowledged` is called after each beat that was stored; `on_shortened` before one is sent that promises to
        keep tasks for less long; `on_fence` when the lease has run out, once until a beat is stored again. `condemned`
        asks the log whether this incarnation was given up.
        """
        self._bus.on_reconnect(self._begin_anew)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(
                    self._beat_for_ever(vitals, condemned, on_shortened, on_acknowledged), name="heartbeats"
                )
                group.create_task(self._watch_for_ever(on_fence), name="fence")
        finally:
            self._bus.forget_reconnect(self._begin_anew)

    def _begin_anew(self) -> None:
        """The broker is there again: it has not heard of this worker for a while."""
        self._due = self._now()
        self._reconnected.set()
        self._hurry.set()

    async def _beat_for_ever(
        self,
        vitals: Callable[[], Vitals],
        condemned: Callable[[], Awaitable[bool]],
        on_shortened: Callable[[], None],
        on_acknowledged: Callable[[], None],
    ) -> None:
        while True:
            # Until it is known that others know of longer rules, they wait by the shorter ones.
            interval = min(one.thresholds.heartbeat_interval for one in (self._rules, self._named))
            began = self._now()
            self._due = began + interval * host().uniform(1 - JITTER, 1 + JITTER)
            if self._bus.connected and await self._send(vitals, interval, on_shortened):
                if self._doubtful:
                    self._doubtful = await condemned()
                on_acknowledged()
            await self._pause()

    async def _send(self, vitals: Callable[[], Vitals], interval: float, on_shortened: Callable[[], None]) -> bool:
        """Sends a heartbeat and waits for the answer: the next one is not sent before."""
        self._beat += 1
        rules, sent_at = self._rules, self._now()
        if sent_at > self._lease.until.sure:
            # Long enough to be given up, with an order still unread that was somebody else's since.
            self._doubtful = True
        if self._lease.offer(sent_at, rules.thresholds):
            self._lowered.set()
            on_shortened()
        try:
            await self._answer(self._heartbeat(vitals(), rules), self._patience_s(interval))
        except LogError as error:
            self._answer_s = self._now() - sent_at
            logger.info("heartbeat_unacknowledged", beat=self._beat, error=str(error))
            return False
        self._answer_s = self._now() - sent_at
        self._lease.take()
        self._named = rules
        if self._now() < self._lease.until.fence:
            self.fenced = False
        return True

    def _patience_s(self, interval: float) -> float:
        """A lost heartbeat must not delay the one behind it, and a broker that lags must not be sent more of them than
        it can take: it is given twice the time that it took last, as long as the next one is still in time for those
        who wait for it."""
        longest = self._rules.thresholds.suspect_after - interval
        return max(interval, min(PATIENCE_GROWTH * self._answer_s, longest))

    async def _answer(self, heartbeat: Heartbeat, timeout_s: float) -> None:
        """A reconnection ends the wait: what was asked on the old connection is not answered on the new one."""
        self._reconnected.clear()
        answer = asyncio.ensure_future(send_heartbeat(self._bus, self._streams, heartbeat, timeout_s=timeout_s))
        reconnection = asyncio.ensure_future(self._reconnected.wait())
        try:
            await asyncio.wait((answer, reconnection), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise Unacknowledged("the connection ended before the answer came")
            answer.result()
        finally:
            await ended(answer, reconnection)

    async def _pause(self) -> None:
        """Until the next beat is due; what it took longer than that is the loop's lag."""
        while (left_s := self._due - self._now()) > 0:
            self._hurry.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._hurry.wait()
            except TimeoutError:
                self._lag_s = max(self._now() - self._due, 0.0)
                return

    async def _watch_for_ever(self, on_fence: Callable[[], None]) -> None:
        while True:
            left_s = self._lease.until.fence - self._now()
            if left_s <= 0 and not self.fenced:
                self.fenced = True
                logger.warning("worker_fenced_itself", late_s=round(-left_s, 3))
                on_fence()
            # Looked at now and then: the clock goes on while the machine sleeps, and with it nobody is woken.
            interval = self._rules.thresholds.heartbeat_interval
            self._lowered.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval if self.fenced else min(left_s, interval)):
                    await self._lowered.wait()

    def _heartbeat(self, vitals: Vitals, rules: Rules) -> Heartbeat:
        gauges = self._gauges()
        return Heartbeat(
            worker_id=self._worker_id,
            incarnation=self._incarnation,
            beat=self._beat,
            sent_at=utc(host().wall()),
            loop_lag_s=round(self._lag_s, 6),
            rules=rules.sequence,
            **vitals._asdict(),
            **gauges._asdict(),
        )
