"""The recovery consumer: follows both streams, folds them, and, while it leads, appends what is owed.

One cycle of a leader: take in what has come, decide, append the decisions as one atomic batch behind the fencing
token, wait until the batch has been read back, again. The longer an append takes, the more the next one holds.

A consumer that does not lead folds just the same, so that it can take over at once.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import structlog

from events.base import Event
from events.clock import STEP_S, ClusterClock, utc
from events.ending import ended
from events.envelope import Draft, Envelope, Provenance, Recorded
from events.errors import BrokerRefused, Fenced, LogFull, Unacknowledged
from events.log import START, EventLog, Fence, Position, Reader
from events.system import DetectorDegraded, LogDamaged
from events.worker import RecordedHeartbeat
from recovery.core import (
    DECISIONS_MAX,
    RULES_VERSION,
    Decision,
    State,
    awaits_witness,
    decide,
    evolve,
    forget_beats,
    heard_ahead,
    next_due,
    observe,
)
from recovery.observer import Observer

log = structlog.get_logger(__name__)

LEADER_TAIL = "system.leader"
IDLE_WAIT_S_MAX = 5.0
RETRY_PAUSE_S = 0.05
RETRY_PAUSE_S_MAX = 1.0


class HeartbeatSource(Protocol):
    """What the consumer needs of `events.heartbeats.HeartbeatReader`."""

    async def next(self, wait_s: float | None = None) -> list[RecordedHeartbeat]: ...

    def lost(self) -> int | None: ...


class Term(NamedTuple):
    """One leadership: the fencing token, and what makes its event ids unguessable."""

    token: int
    nonce: str
    sent_at: float
    """When the election was first sent, by the clock's `monotonic`."""
    heartbeats_end: int
    """The last sequence of HEARTBEATS, asked for behind the election."""
    holds: Callable[[], bool]
    """Whether the lease still holds by the local clock: without it nothing is appended, whatever the broker says."""


class RecoveryConsumer:
    """Runs until cancelled. `lead` and `stop_leading` may be called at any time."""

    def __init__(
        self,
        event_log: EventLog,
        events: Reader,
        heartbeats: HeartbeatSource,
        *,
        source: str,
        clock: ClusterClock | None = None,
        state: State | None = None,
        position: Position = START,
    ) -> None:
        """`state`, if given, is what the log up to `position` comes to: `events` reads on from there, and `heartbeats`
        from where that state has read to."""
        self._log = event_log
        self._events = events
        self._heartbeats = heartbeats
        self._source = source
        self._wake = asyncio.Event()
        self._term: Term | None = None
        self._begun: Term | None = None
        """The last one that began with a look at what its predecessors left."""
        self._facts: list[Event] = []
        """What the leader has to say that is no decision of the core: damage of the log, a change of policy."""
        self._unsettled: tuple[Term, list[Draft]] | None = None
        """What was sent, and may be stored or not. Until that is known the term says nothing else."""
        self._sent_at = 0.0
        """When it was first sent, by the clock's `monotonic`."""
        self._fact_number = 0
        self._forgotten = 0
        """Through which heartbeat all are forgotten, those that have not been read yet too."""
        self._lost: tuple[int, int] | None = None
        """Through which heartbeat all are forgotten here, and how far the log was folded then; None: none is unsaid."""
        self._listeners: list[Callable[[Sequence[Recorded]], None]] = []
        self._observer = Observer(clock or ClusterClock())
        self.clock = self._observer.clock
        self.state = state or State()
        self.position = position
        """Of the last event that was folded."""
        self.deposed = asyncio.Event()
        """Set when an append showed that the term is over."""

    @property
    def leading(self) -> bool:
        """It has the lease, and has folded the log up to its own election: what the state says is what it decides."""
        term = self._term
        return term is not None and term.holds() and self.state.fencing_token == term.token

    @property
    def caught_up(self) -> bool:
        return self._events.caught_up

    @property
    def settled(self) -> bool:
        """The state is what anybody makes of both streams who reads as far, and the position tells how far that is."""
        return self._lost is None and bool(self.position.event_id)

    def listen(self, listener: Callable[[Sequence[Recorded]], None]) -> None:
        """`listener` is handed every batch after it has been folded. It returns at once and does not raise."""
        self._listeners.append(listener)

    def lead(self, term: Term) -> None:
        self.deposed.clear()
        self._term = term
        self._wake.set()

    def stop_leading(self) -> None:
        self._term = None

    def record(self, fact: Event) -> None:
        """Appends a fact behind the fence, if and as soon as this consumer leads."""
        self._facts.append(fact)
        self._wake.set()

    async def run(self) -> None:
        pump = asyncio.create_task(self._pump_heartbeats(), name="heartbeats")
        reading: asyncio.Task[list[Recorded]] | None = None
        try:
            while True:
                if reading is None:
                    reading = asyncio.create_task(self._events.next(), name="events")
                await self._something(reading, pump)
                if reading.done():
                    batch, reading = reading.result(), None
                    self._fold(batch)
                if pump.done():
                    pump.result()
                reading = await self._lead_once(reading)
        finally:
            await ended(pump, reading)

    async def _something(self, reading: "asyncio.Task[list[Recorded]]", pump: "asyncio.Task[None]") -> None:
        """Returns when an event has come, when something falls due, or when somebody woke us."""
        if reading.done() or self._wake.is_set():
            await asyncio.sleep(0)
            self._wake.clear()
            return
        wait = self._patience_s()
        loop = asyncio.get_running_loop()
        began = loop.time()
        waking = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait({reading, waking, pump}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()
        self._wake.clear()
        self._observer.overslept(loop.time() - began - wait)

    def _patience_s(self) -> float:
        """How long nothing need be done if nothing comes. What falls due is the leader's matter alone."""
        if self._term is None:
            return IDLE_WAIT_S_MAX
        if not self.leading or self._unsettled is not None:
            # The election is on its way, the lease has run out and may be renewed, or the log is being looked at again:
            # nobody wakes us for that.
            return RETRY_PAUSE_S
        return min(IDLE_WAIT_S_MAX, max(0.0, next_due(self.state) - self.clock.now()))

    async def _pump_heartbeats(self) -> None:
        while True:
            batch = await self._heartbeats.next()
            lost = self._heartbeats.lost()
            if lost is not None:
                self.forget_beats(lost)
            for recorded in batch:
                if recorded.sequence > self._forgotten:
                    observe(self.state, recorded)
            if batch:
                self._observer.read("heartbeats", batch[-1].time)
            # A worker that is heard again may get what waits: that falls due at no time of its own.
            # And one may prove that nothing was missed at the last take-over.
            state = self.state
            if state.timers.ripe or state.omens.ripe or state.waiting or awaits_witness(state, self.clock.now()):
                self._wake.set()

    def forget_beats(self, through: int) -> None:
        """What this fold knows of heartbeats is not what others can read. So nobody shall know of any up to `through`,
        and nothing is decided before that is in the log."""
        state = self.state
        log.warning("heartbeats_lost", read=state.heartbeats_sequence, forgotten_through=through)
        forget_beats(state, through)
        self._forgotten = through
        self._lost = (through, state.events_sequence)
        self._wake.set()

    def _unsaid_loss(self) -> DetectorDegraded | None:
        """What is to be said of lost heartbeats, unless another leader has said it and had lost as much at least."""
        if self._lost is None:
            return None
        through, folded = self._lost
        said = self.state.loss
        if said.event_sequence > folded and through <= said.through <= self.state.heartbeats_sequence:
            self._lost = None
            return None
        return DetectorDegraded(
            reason="heartbeats_lost",
            extent_s=0.0,
            heartbeats_sequence=through,
            coordinator_id=self.state.leader_id,
        )

    def _fold(self, batch: Sequence[Recorded]) -> None:
        state = self.state
        if batch:
            self._observer.read("events", batch[-1].time)
        if self._term is None or state.fencing_token != self._term.token:
            # On the way to the end of the log, or behind another's back, a clock may show what it likes.
            self._observer.dismiss()
        for recorded in batch:
            evolve(state, recorded)
            self.position = Position(recorded.sequence, recorded.id)
            if self._unsettled is not None and recorded.id == self._unsettled[1][-1].envelope.id:
                self._unsettled = None
                self._observer.read("events", recorded.time, sent_at=self._sent_at)
        if self._term is not None and state.fencing_token > self._term.token:
            # Whoever renews the lease for a term that is over keeps everybody from leading.
            log.warning("deposed", token=self._term.token, by=state.leader_id)
            self._depose(self._term)
        for listener in self._listeners:
            listener(batch)
        for first, last in self._events.damage():
            log.error("log_damaged", first=first, last=last)
            self.record(LogDamaged(first=first, last=last, noticed_by=self._source))

    async def _lead_once(self, reading: "asyncio.Task[list[Recorded]] | None") -> "asyncio.Task[list[Recorded]] | None":
        """Decides, appends and reads back, as often as something is owed."""
        while True:
            term = self._term
            if term is None or self.state.fencing_token != term.token or not term.holds():
                # Not leading, or not yet folded up to the own election, or somebody newer has been seen.
                return reading
            if self._begun is not term:
                self._begun = term
                self._begin(term)
            drafts = self._drafts(term)
            if not drafts:
                return reading
            if self._unsettled is None:
                self._unsettled, self._sent_at = (term, drafts), self.clock.monotonic()
            if not await self._append(term, drafts):
                return reading
            reading = await self._read_back(reading)

    def _begin(self, term: Term) -> None:
        """What nobody else may have noticed, or lived to say: a clock that was set back, and lost heartbeats."""
        state = self.state
        self._observer.stepped(self.clock.observe(state.interrupted_at, sent_at=term.sent_at))
        ahead = heard_ahead(state, self.clock.now())
        if ahead > STEP_S:
            self._observer.stepped(-ahead)
        end = max(term.heartbeats_end, state.heartbeats_sequence)
        if end < state.beats_known:
            self.forget_beats(end)

    def _drafts(self, term: Term) -> list[Draft]:
        if self._unsettled is not None:
            of_term, sent = self._unsettled
            if of_term is term:
                return sent
            # Facts stay true under the next term; one that was stored after all is stored twice, which harms nobody.
            facts: list[Event] = [draft.envelope.event for draft in sent if draft.envelope.decision is None]
            self._facts[:0] = [fact for fact in facts if not _tells_of_loss(fact)]
            self._unsettled = None
        now = self.clock.now()
        loss = self._unsaid_loss()
        if loss is not None:
            return [self._draft_of_fact(term, loss, now)]
        facts, self._facts = self._facts[:DECISIONS_MAX], self._facts[DECISIONS_MAX:]
        drafts = [self._draft_of_fact(term, fact, now) for fact in facts]
        if drafts:
            # Facts go in a batch of their own: a batch of decisions holds decisions only, and can be verified.
            return drafts
        decisions = decide(self.state, now)
        needed = any(decision.overdue for decision in decisions)
        doubt = self._observer.doubt(self.state.rules.failed_after_max, needed=needed)
        if doubt is not None:
            # It must be in force before anybody is judged: the next cycle decides again.
            log.warning("detector_degraded", reason=doubt.reason, extent_s=doubt.extent_s)
            self._observer.dismiss()
            fact = DetectorDegraded(
                reason=doubt.reason,
                extent_s=round(doubt.extent_s, 6),
                heartbeats_sequence=self.state.heartbeats_sequence,
                coordinator_id=self.state.leader_id,
            )
            return [self._draft_of_fact(term, fact, now)]
        return [
            self._draft_of_decision(term, decision, now, index, len(decisions))
            for index, decision in enumerate(decisions)
        ]

    def _draft_of_fact(self, term: Term, fact: Event, now: float) -> Draft:
        self._fact_number += 1
        return Draft(
            Envelope(
                id=f"f-{term.nonce}-{self._fact_number}",
                time=utc(now),
                source=self._source,
                event=fact,  # type: ignore[arg-type]
            )
        )

    def _draft_of_decision(self, term: Term, decision: Decision, now: float, index: int, count: int) -> Draft:
        moment = utc(now)
        state = self.state
        return Draft(
            Envelope(
                id=f"d-{term.nonce}-{state.events_sequence}-{index}",
                time=moment,
                source=self._source,
                event=decision.event,  # type: ignore[arg-type]
                causation_id=decision.causation_id,
                correlation_id=decision.correlation_id,
                decision=Provenance(
                    as_of_events=state.events_sequence,
                    as_of_heartbeats=state.heartbeats_sequence,
                    as_of_heartbeats_at=None if state.heartbeats_at is None else utc(state.heartbeats_at),
                    decided_at=moment,
                    rules_version=RULES_VERSION,
                    rule=decision.rule,
                    index=index,
                    count=count,
                ),
            ),
            decision.synthetic,
        )

    async def _append(self, term: Term, drafts: Sequence[Draft]) -> bool:
        """Until it is known to be stored; False: this term is over, or nothing may be said at present."""
        pause = RETRY_PAUSE_S
        while term is self._term and term.holds():
            if not self._events.steady:
                # What was decided may rest on events that the broker has lost, and the fence may stand on one of them.
                return False
            try:
                await self._log.append(drafts, fence=Fence(LEADER_TAIL, term.token))
            except Fenced:
                log.warning("deposed", token=term.token)
                self._depose(term)
                return False
            except Unacknowledged as error:
                # Whether it was stored is unknown. The same ids again settle it.
                log.info("append_unacknowledged", error=str(error))
            except LogFull as error:
                log.error("log_full", error=str(error))
            except BrokerRefused as error:
                log.error("append_refused", error=str(error), first=drafts[0].envelope.event.tail())
            else:
                return True
            await asyncio.sleep(pause)
            pause = min(pause * 2, RETRY_PAUSE_S_MAX)
        return False

    def _depose(self, term: Term) -> None:
        if self._term is term:
            self._term = None
        self.deposed.set()

    async def _read_back(self, reading: "asyncio.Task[list[Recorded]] | None") -> "asyncio.Task[list[Recorded]] | None":
        """Folds on until the batch itself has come by: only then does the state know what was decided."""
        while self._unsettled is not None:
            self._fold(await (reading if reading is not None else self._events.next()))
            reading = None
        return reading


def _tells_of_loss(fact: Event) -> bool:
    """That is said for as long as it is not in the log, without being kept."""
    return isinstance(fact, DetectorDegraded) and fact.reason == "heartbeats_lost"
