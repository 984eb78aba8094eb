"""Heartbeats, and the fence that falls when they are not acknowledged.

One clock rules what this worker may do: the moment at which the last acknowledged heartbeat was *sent*. The broker has
stored it later than that, so whoever counts from the broker's time gives this worker up later than it fences itself.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from events.bus import Bus
from events.clock import utc
from events.errors import LogError
from events.heartbeats import send_heartbeat
from events.host import host
from events.policy import Policy
from events.streams import Streams
from events.worker import Heartbeat
from worker.ports import Gauges

logger = structlog.get_logger(__name__)

Vitals = Callable[[], tuple[tuple[str, ...], int]]

JITTER = 0.1
START_WITHIN_BEATS = 1.5
"""Nothing is started once the last acknowledged heartbeat is older than this many intervals."""


def keeper_fence_s(policy: Policy) -> float:
    """How long a task's keeper may hear nothing from the agent before it kills the task.

    A keeper counts from its start, which is at most `START_WITHIN_BEATS` intervals behind a heartbeat, or from a
    keep-alive, sent when a heartbeat was acknowledged. So even under an agent that was stopped, a task is gone before
    `failed_after` lets it start elsewhere.
    """
    return min(policy.self_fence_after, policy.failed_after - START_WITHIN_BEATS * policy.heartbeat_interval)


class Heart:
    """Beats for one incarnation."""

    def __init__(
        self,
        bus: Bus,
        streams: Streams,
        worker_id: str,
        incarnation: int,
        policy: Policy,
        *,
        gauges: Callable[[], Gauges],
    ) -> None:
        self.policy = policy
        self.fenced = False
        self._bus = bus
        self._streams = streams
        self._worker_id = worker_id
        self._incarnation = incarnation
        self._gauges = gauges
        # Time that goes on while the machine sleeps: others may have taken the tasks over meanwhile.
        self._now = host().boottime
        self._beat = 0
        self._lag_s = 0.0
        self._doubtful = False
        self._acknowledged_at = self._now()
        self._hurry = asyncio.Event()
        self._ruled = asyncio.Event()

    @property
    def silence_s(self) -> float:
        """Seconds since the last acknowledged heartbeat was sent. Goes on while the machine sleeps."""
        return self._now() - self._acknowledged_at

    @property
    def may_start(self) -> bool:
        return (
            not self.fenced
            and not self._doubtful
            and self.silence_s <= START_WITHIN_BEATS * self.policy.heartbeat_interval
        )

    def obey(self, policy: Policy) -> None:
        """Beats at once, and from then on as the new policy says: it may allow much less silence than the old one."""
        self.policy = policy
        self._hurry.set()
        self._ruled.set()

    async def run(
        self,
        *,
        vitals: Vitals,
        condemned: Callable[[], Awaitable[bool]],
        on_acknowledged: Callable[[], None],
        on_fence: Callable[[], None],
    ) -> None:
        """Beats until it is cancelled.

        `vitals` gives the ids of the running tasks and the number of queued ones; `on_acknowledged` is called after
        each beat that was stored; `on_fence` when none was for `policy.self_fence_after`, once until one is again.
        `condemned` asks the log whether this incarnation was given up.
        """
        self._bus.on_reconnect(self._hurry.set)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._beat_for_ever(vitals, condemned, on_acknowledged), name="heartbeats")
                group.create_task(self._watch_for_ever(on_fence), name="fence")
        finally:
            self._bus.forget_reconnect(self._hurry.set)

    async def _beat_for_ever(
        self, vitals: Vitals, condemned: Callable[[], Awaitable[bool]], on_acknowledged: Callable[[], None]
    ) -> None:
        while True:
            self._hurry.clear()
            interval = self.policy.heartbeat_interval * host().uniform(1 - JITTER, 1 + JITTER)
            began = self._now()
            if self._bus.connected and await self._send(vitals, interval):
                if self._doubtful:
                    self._doubtful = await condemned()
                on_acknowledged()
            await self._pause(interval - (self._now() - began))

    async def _send(self, vitals: Vitals, interval: float) -> bool:
        self._beat += 1
        sent_at = self._now()
        try:
            # Not longer than until the next: a lost beat must not delay the one behind it.
            await send_heartbeat(self._bus, self._streams, self._heartbeat(vitals), timeout_s=interval)
        except LogError as error:
            logger.info("heartbeat_unacknowledged", beat=self._beat, error=str(error))
            return False
        if sent_at - self._acknowledged_at > self.policy.suspect_after:
            # Long enough to be given up, with an order still unread that was somebody else's since.
            self._doubtful = True
        self._acknowledged_at = sent_at
        if self.silence_s < self.policy.self_fence_after:
            self.fenced = False
        return True

    async def _pause(self, pause_s: float) -> None:
        """Until the next beat is due, the broker is there again, or a new policy; what it took too long is the loop's
        lag."""
        due = self._now() + max(pause_s, 0.0)
        try:
            async with asyncio.timeout(max(pause_s, 0.0)):
                await self._hurry.wait()
        except TimeoutError:
            self._lag_s = max(self._now() - due, 0.0)

    async def _watch_for_ever(self, on_fence: Callable[[], None]) -> None:
        while True:
            left_s = self.policy.self_fence_after - self.silence_s
            if left_s <= 0 and not self.fenced:
                self.fenced = True
                logger.warning("worker_fenced_itself", silence_s=round(self.silence_s, 3))
                on_fence()
            interval = self.policy.heartbeat_interval
            try:
                async with asyncio.timeout(min(max(left_s, 0.0), interval) if not self.fenced else interval):
                    await self._ruled.wait()
            except TimeoutError:
                continue
            self._ruled.clear()
            # The beat that a new policy calls for is on its way: the silence before it was allowed by the old one.
            await asyncio.sleep(self.policy.heartbeat_interval)

    def _heartbeat(self, vitals: Vitals) -> Heartbeat:
        running, queued = vitals()
        gauges = self._gauges()
        return Heartbeat(
            worker_id=self._worker_id,
            incarnation=self._incarnation,
            beat=self._beat,
            sent_at=utc(host().wall()),
            running=running,
            queued=queued,
            cpu_percent=gauges.cpu_percent,
            memory_bytes=gauges.memory_bytes,
            load_1m=gauges.load_1m,
            loop_lag_s=round(self._lag_s, 6),
        )
