"""A recovery consumer over a log in memory, with everything around it in a test's hand."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from events.clock import ClusterClock, utc
from events.envelope import Draft
from events.log import Appended, Fence
from events.memory import MemoryLog, MemoryReader
from events.system import LeaderElected
from events.worker import Heartbeat, RecordedHeartbeat
from events.writer import Writer
from recovery.consumer import LEADER_TAIL, RecoveryConsumer, Term
from replay.beats import ListedBeats
from replay.verify import verify
from tests.waiting import until

Answer = Callable[[Sequence[Draft], Callable[[], Awaitable[Appended]]], Awaitable[Appended]]


class Pulse:
    """Heartbeats as a test sends them."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self.sent: list[RecordedHeartbeat] = []
        self._wall = wall
        self._waiting: asyncio.Queue[RecordedHeartbeat | None] = asyncio.Queue()
        self._lost: int | None = None

    def beat(self, worker_id: str, incarnation: int) -> None:
        heartbeat = Heartbeat(worker_id=worker_id, incarnation=incarnation, beat=1, sent_at=utc(self._wall()))
        self.sent.append(RecordedHeartbeat(len(self.sent) + 1, self._wall(), heartbeat))
        self._waiting.put_nowait(self.sent[-1])

    async def next(self, wait_s: float | None = None) -> list[RecordedHeartbeat]:
        del wait_s
        recorded = await self._waiting.get()
        return [] if recorded is None else [recorded]

    def lose(self, count: int) -> None:
        """The broker loses the last ones; all that are left have been delivered."""
        del self.sent[-count:]
        self._lost = len(self.sent)
        self._waiting.put_nowait(None)

    def lost(self) -> int | None:
        lost, self._lost = self._lost, None
        return lost


class TroubledLog(MemoryLog):
    """Its answers to fenced appends go through `answer`, if a test has set one."""

    def __init__(self, wall: Callable[[], float]) -> None:
        super().__init__(wall=wall)
        self.answer: Answer | None = None
        self.tried: list[list[Draft]] = []

    async def append(self, drafts: Sequence[Draft], *, fence: Fence | None = None, timeout_s: float = 2.0) -> Appended:
        if fence is None:
            return await super().append(drafts, timeout_s=timeout_s)
        assert fence.tail == LEADER_TAIL
        self.tried.append(list(drafts))
        answer, original = self.answer, super().append
        if answer is None:
            return await original(drafts, fence=fence)
        return await answer(drafts, lambda: original(drafts, fence=fence))


class Farm:
    """One consumer, its log, its clock, and the hand that moves the clock."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        """Of the machine that the consumer runs on."""
        self.stepped = 0.0
        """By how much the broker's clock has been set since."""
        self.log = TroubledLog(self.wall)
        self.pulse = Pulse(self.wall)
        self.writer = Writer(self.log, "test")
        self.held = True
        self.consumer = self.another()

    def wall(self) -> float:
        return self.now + self.stepped

    def monotonic(self) -> float:
        return self.now

    def another(self) -> RecoveryConsumer:
        return self.reading(MemoryReader(self.log, 0, ()))

    def reading(self, reader: MemoryReader) -> RecoveryConsumer:
        clock = ClusterClock(monotonic=self.monotonic, wall=self.wall)
        return RecoveryConsumer(self.log, reader, self.pulse, source="coordinator/c1", clock=clock)

    async def elect(self, consumer: RecoveryConsumer | None = None, nonce: str = "nonce-01") -> Term:
        last = await self.log.last_on(LEADER_TAIL)
        sent_at = self.monotonic()
        appended = await self.writer.write(LeaderElected(coordinator_id=nonce, term=1 if last is None else 2))
        end = self.pulse.sent[-1].sequence if self.pulse.sent else 0
        term = Term(appended.last, nonce, sent_at, end, holds=lambda: self.held)
        (consumer or self.consumer).lead(term)
        return term

    async def quiet(self) -> None:
        """Until the consumer has folded all there is, and has nothing to say."""

        def folded() -> bool:
            state = self.consumer.state
            return state.events_sequence == self.log.last and not state.timers.ripe and not state.unsettled

        await until(folded, 5.0, "the consumer to have folded everything")

    def events(self, kind: type) -> list[Any]:
        found = (self.log.stored(sequence).event for sequence in range(1, self.log.last + 1))
        return [event for event in found if isinstance(event, kind)]

    async def verified(self) -> None:
        outcome = await verify(self.log, ListedBeats(self.pulse.sent))
        assert outcome.difference is None, outcome.sentence()
        assert outcome.obstacle is None, outcome.obstacle
        assert outcome.decisions > 0
