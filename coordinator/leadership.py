"""Who leads: campaigns for the lease, has itself elected in the log, leads until either is gone.

The lease says who should lead; the fencing token, which is the sequence of the own `LeaderElected`, is what makes a
leader that does not know that it is over harmless.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

import structlog

from coordinator.conservation import ConservationWatch
from coordinator.disconnections import DisconnectionWatch
from coordinator.fleet.document import FleetHealth
from coordinator.fleet.examine import View, fleet_health
from coordinator.fleet.notes import Notes, Overheard, Vitals
from coordinator.fleet.questions import somebody_leads
from coordinator.fleet.tally import Tally
from coordinator.impact.measuring import Measuring
from coordinator.snapshots import Custom, SnapshotKeeper, beginning_of, notes_of
from coordinator.strategies.runner import StrategyRunner
from coordinator.strategies.toolbox import Toolbox
from coordinator.vacancy import VacancyWatch
from events.bus import Bus
from events.clock import utc
from events.ending import ended
from events.envelope import Draft, Envelope, Recorded
from events.errors import BrokerRefused, LogError, PositionLost, Unacknowledged
from events.heartbeats import HeartbeatReader
from events.host import host
from events.identity import new_id
from events.jetstream import JetStreamLog
from events.lease import Held, Lease, LeaseHolder
from events.log import START, Fence, Reader
from events.objects import MemoryObjects
from events.policy import Policy, policy_hash
from events.stored import stream_extent
from events.streams import STREAM_NOT_FOUND, Streams
from events.system import BrokerReturned, LeaderElected, PolicyChanged
from recovery.consumer import LEADER_TAIL, RecoveryConsumer, Term
from recovery.core import State
from recovery.snapshots import Beginning, Search

log = structlog.get_logger(__name__)

T = TypeVar("T")

LEASE_TTL_S = 2
BROKER_AWAY_S = 5.0
"""An absence of the broker that is worth a word: a restart is none."""
RECENTLY_S = 3.0 * LEASE_TTL_S
"""It takes so long at most to be elected when the broker is there again: the lease has to run out."""
PAUSE_S = 0.5
COORDINATOR = "coordinator/"
GONE = ("stopped", "permanent")


class LeadershipStatus(NamedTuple):
    leading: bool
    term: int
    """The last one known, whoever leads it."""
    sequence: int
    """Of the last event folded."""
    lag: int
    """0: folded to the end of what is known to be there; 1: something is still to come."""


class Leadership:
    """Runs the recovery consumer of one coordinator, as leader or standby. `run` ends by cancellation, or when the log
    cannot be read any more."""

    def __init__(
        self,
        event_log: JetStreamLog,
        bus: Bus,
        streams: Streams,
        coordinator_id: str,
        policy: Policy,
        toolbox: Toolbox | None = None,
        *,
        snapshots: Custom | None = None,
        measuring: Measuring | None = None,
    ) -> None:
        self._log = event_log
        self._bus = bus
        self._streams = streams
        self._coordinator_id = coordinator_id
        self._policy = policy
        self._toolbox = toolbox or Toolbox()
        self._snapshots = snapshots or Custom(MemoryObjects(), every=0)
        self._measuring = measuring or Measuring(None)
        self._source = f"{COORDINATOR}{coordinator_id}"
        self._consumer: RecoveryConsumer | None = None
        self._notes = Notes()
        self._vitals = Vitals()
        self._listened = False
        self.whole = False
        """The present fold has come to the end of the log once."""

    def status(self) -> LeadershipStatus:
        consumer = self._consumer
        if consumer is None:
            return LeadershipStatus(leading=False, term=0, sequence=0, lag=1)
        state = consumer.state
        return LeadershipStatus(consumer.leading, state.term, state.events_sequence, 0 if consumer.caught_up else 1)

    def folded(self) -> State | None:
        """All that the log says; None: it is not folded to its end yet."""
        consumer = self._consumer
        return consumer.state if consumer is not None and consumer.caught_up else None

    async def fleet(self, limit: int | None) -> FleetHealth | None:
        """How the farm is, as far as it is folded; None: folding has not begun."""
        view = self.view()
        if view is None:
            return None
        try:
            held = await somebody_leads(self._bus, self._streams)
        except LogError:
            held = False  # without a broker nobody leads
        return fleet_health(view._replace(holds_lease=held), limit=limit)

    def view(self) -> View | None:
        """All that is folded at this moment, of which nobody is asked who leads; None: folding has not begun."""
        consumer = self._consumer
        if consumer is None:
            return None
        return View(consumer.state, self._notes, self._vitals, consumer.clock.now(), holds_lease=False)

    def listen(self, listener: Callable[[Sequence[Recorded]], None]) -> None:
        """Hands on what the recovery consumer folds from now on: whoever shares its process need not read again."""
        assert self._consumer is not None, "it does not run yet"
        self._listened = True
        self._consumer.listen(listener)

    def open_runs(self) -> list[str]:
        return [] if self._consumer is None else list(self._consumer.state.runs)

    def workers_present(self) -> list[tuple[str, int]]:
        """Ids and incarnations of the workers that have neither stopped nor been given up."""
        workers = () if self._consumer is None else self._consumer.state.workers.values()
        return [(worker.worker_id, worker.incarnation) for worker in workers if worker.status not in GONE]

    async def run(self) -> None:
        """Follows, campaigns and leads.

        Raises:
            PositionLost: the log has lost what was folded, and somebody listens who has drawn conclusions from it.
            LogError: the log cannot be read any more. A broker that is away is no reason, however long it is.
        """
        heartbeats_after = 0
        while True:
            found = await beginning_of(self._snapshots, self._log, self._bus, self._streams)
            try:
                async with self._readers(found.beginning, heartbeats_after) as (events, heartbeats):
                    await self._run(found, events, heartbeats, heartbeats_after)
            except PositionLost as lost:
                if self._listened:
                    raise
                log.warning("log_tail_lost", error=str(lost), consequence="the log is folded anew")
                heartbeats_after = await self._heartbeats_end()

    async def _heartbeats_end(self) -> int:
        """Where heartbeats begin that may be believed: incarnations are sequences of the log, and where its tail was
        lost, older ones may name incarnations that are yet to come."""
        extent = await self._until_answered(lambda: stream_extent(self._bus, self._streams.heartbeats))
        return extent.last_seq

    @contextlib.asynccontextmanager
    async def _readers(
        self, beginning: Beginning | None, heartbeats_after: int
    ) -> AsyncIterator[tuple[Reader, HeartbeatReader]]:
        after, after_ns, events_after = heartbeats_after, None, 0
        if beginning is not None:
            events_after = beginning.position.sequence
            if not heartbeats_after:
                after, after_ns = beginning.heartbeats_after, beginning.heartbeats_after_ns
        async with await self._until_answered(lambda: self._log.reader(after=events_after)) as events:
            heartbeats = await self._until_answered(
                lambda: HeartbeatReader.start(self._bus, self._streams, after=after, after_ns=after_ns)
            )
            try:
                yield events, heartbeats
            finally:
                await heartbeats.close()

    async def _until_answered(self, question: Callable[[], Awaitable[T]]) -> T:
        """Asks again for as long as the broker is away or not ready, and says so once."""
        said = False
        while True:
            try:
                return await question()
            except (Unacknowledged, BrokerRefused) as error:
                gone = isinstance(error, BrokerRefused) and error.code == STREAM_NOT_FOUND
                if gone or self._bus.closed.is_set():
                    raise
                if not said:
                    log.warning("waiting_for_log", url=self._bus.url, error=str(error))
                said = True
            await asyncio.sleep(PAUSE_S)

    async def _run(self, found: Search, events: Reader, heartbeats: HeartbeatReader, heartbeats_after: int) -> None:
        """With one fold, from its beginning to its end."""
        beginning = found.beginning
        self._notes, self._vitals = notes_of(beginning), Vitals()
        overheard = Overheard(heartbeats, self._vitals)
        consumer = RecoveryConsumer(
            self._log,
            events,
            overheard,
            source=self._source,
            state=None if beginning is None else beginning.state,
            position=START if beginning is None else beginning.position,
        )
        consumer.listen(self._notes.take)
        self.whole = False
        consumer.listen(lambda _: self._note_end(consumer))
        if heartbeats_after:
            consumer.forget_beats(heartbeats_after)
        ConservationWatch(consumer)
        disconnections = DisconnectionWatch(self._bus, self._streams, consumer)
        self._consumer = consumer
        lease = Lease(self._bus, self._streams, LeaseHolder(self._coordinator_id, new_id()), ttl_s=LEASE_TTL_S)
        folding = asyncio.create_task(consumer.run(), name="recovery consumer")
        vacancy = VacancyWatch(self._bus, self._streams, self._coordinator_id)
        campaign: asyncio.Task[None] | None = None
        keeper = SnapshotKeeper(
            consumer,
            self._notes,
            self._snapshots,
            namespace=self._streams.namespace,
            source=self._source,
            useless=[name for name, _ in found.passed_over],
        )
        keeping = asyncio.create_task(keeper.run(), name="snapshots")
        runner = StrategyRunner(self._bus, self._streams, consumer, self._toolbox)
        acting = asyncio.create_task(runner.run(), name="strategies")
        measuring = asyncio.create_task(
            self._measuring.run(self._coordinator_id, consumer, overheard, self._whole_tally), name="measuring"
        )
        led = False
        try:
            await disconnections.start()
            await vacancy.start()
            campaign = asyncio.create_task(self._campaign(consumer, lease, vacancy), name="campaign")
            parts = {folding, campaign, keeping, acting, measuring}
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except asyncio.CancelledError:
            led = consumer.leading
            raise
        finally:
            await vacancy.stop()
            await disconnections.stop()
            consumer.stop_leading()
            await ended(folding, campaign, keeping, acting, measuring)
            with contextlib.suppress(Unacknowledged):
                await lease.release()
            if led:
                await keeper.farewell()

    def _note_end(self, consumer: RecoveryConsumer) -> None:
        self.whole = self.whole or consumer.caught_up

    def _whole_tally(self) -> Tally | None:
        return self._notes.tally if self.whole else None

    async def _campaign(self, consumer: RecoveryConsumer, lease: Lease, vacancy: VacancyWatch) -> None:
        """For ever: get the lease, be elected, renew until it is lost."""
        held: Held | None = None
        while True:
            if await self._holds(lease, held):
                term = await self._be_elected(consumer, lease)
                if term is not None:
                    await self._lead(consumer, lease, term)
                    held = None
                    continue
            # Standbys do not all try at the same moment.
            held = await vacancy.within(LEASE_TTL_S * host().uniform(0.1, 0.2))

    async def _holds(self, lease: Lease, abandoned: Held | None = None) -> bool:
        """One try to get or to renew it, or to replace one that its holder has left. A broker that refuses may think
        better of it."""
        try:
            return await (lease.acquire_or_renew() if abandoned is None else lease.take_from(abandoned))
        except BrokerRefused as error:
            log.error("lease_refused", error=str(error))
            return False

    async def _be_elected(self, consumer: RecoveryConsumer, lease: Lease) -> Term | None:
        """Appends the own election by compare-and-set; None: somebody else was quicker, or the broker does not take it
        at present."""
        try:
            last = await self._log.last_on(LEADER_TAIL)
            number, sequence = 1, 0
            if last is not None:
                if not isinstance(last.event, LeaderElected) and consumer.state.events_sequence < last.sequence:
                    return None  # nobody understands what stands there: how many terms there were, the fold must tell
                sequence = last.sequence
                number = (last.event.term if isinstance(last.event, LeaderElected) else consumer.state.term) + 1
            sent_at = consumer.clock.monotonic()
            event = LeaderElected(coordinator_id=self._coordinator_id, term=number)
            envelope = Envelope(id=new_id(), time=utc(host().wall()), source=self._source, event=event)
            appended = await self._log.append([Draft(envelope)], fence=Fence(LEADER_TAIL, sequence))
            extent = await stream_extent(self._bus, self._streams.heartbeats)
        except (BrokerRefused, Unacknowledged) as error:
            log.info("not_elected", error=str(error))
            return None
        log.info("elected", term=number, token=appended.last)
        if last is not None:
            self._tell_of_absence(consumer, lease, last)
        nonce = host().token(8).hex()
        return Term(appended.last, nonce, sent_at, extent.last_seq, holds=lambda: lease.held)

    def _tell_of_absence(self, consumer: RecoveryConsumer, lease: Lease, last: Recorded) -> None:
        """The first word of the term: the broker was away just now, and from everybody, since nobody was elected.

        Before anything is decided: it depends on that who pays for what was cut off.
        """
        absence = lease.absence
        monotonic = host().monotonic()
        if absence is None or absence.until - absence.since < BROKER_AWAY_S or monotonic - absence.until > RECENTLY_S:
            return
        since = consumer.clock.now() - (monotonic - absence.since)
        if last.time > since:
            log.info("cut_off_alone", since_s=round(monotonic - absence.since, 1), elected_at=last.sequence)
            return
        away_s = round(absence.until - absence.since, 3)
        log.warning("broker_returned", away_s=away_s)
        consumer.record(BrokerReturned(coordinator_id=self._coordinator_id, since=utc(since), away_s=away_s))

    async def _lead(self, consumer: RecoveryConsumer, lease: Lease, term: Term) -> None:
        consumer.lead(term)
        policy_due = True
        while True:
            if policy_due and consumer.state.fencing_token == term.token:
                policy_due = False
                self._hand_over_policy(consumer)
            try:
                async with asyncio.timeout(LEASE_TTL_S * 0.3 if not policy_due else 0.02):
                    await consumer.deposed.wait()
            except TimeoutError:
                if await self._holds(lease) or lease.held:
                    continue
                log.warning("lease_lost", token=term.token)
            consumer.stop_leading()
            return

    def _hand_over_policy(self, consumer: RecoveryConsumer) -> None:
        """The configured policy comes into force, by an event, if another coordinator's is in force.

        What an operator has ordered at run time stands: a failover must not switch recovery on again.
        """
        state = consumer.state
        for name in state.rules.missing:
            consequence = "silence is judged with the most patience that any detector may have"
            log.warning("detector_not_installed", detector=name, consequence=consequence)
        if state.policy_recorded:
            if state.policy_hash == policy_hash(self._policy):
                return
            if not state.policy_actor.startswith(COORDINATOR):
                log.warning("configured_policy_not_applied", in_force_by=state.policy_actor)
                return
        consumer.record(PolicyChanged(policy=self._policy, policy_hash=policy_hash(self._policy), actor=self._source))
