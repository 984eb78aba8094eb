"""Workers whose connections the broker has closed: what becomes of them, found out at once instead of after a silence.

The broker's advisory is no more than a reason to look. Somebody on the worker's machine is asked whether anything is
left of it (`worker.witness`): that nothing is left is proof, and is recorded as `WorkerVanished`. Otherwise the worker
is called, for `reconnect_grace`. If neither it nor its supervisor has answered by then, nor a heartbeat come,
`WorkerDisconnected` is recorded, for which the worker is suspected: it may live on behind a cut network, and its tasks
with it. The witness is asked on for as long as the worker is counted as live.

A worker that is suspected for its silence is looked for in the same way: its advisory may not have come, for nobody
listened, or because the broker gives none. So are those of whom the broker has no connection when it, or a leader, has
been there again for `reconnect_grace`: who dies together with the broker is told of by nobody.

Every coordinator watches, so that a new leader knows what happened before it led; the leader alone asks and records.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, NamedTuple

import msgspec
import structlog
from msgspec import Meta

from coordinator.connections import connections
from events.bus import Bus, Message, Subscription
from events.clock import seconds
from events.envelope import Recorded
from events.errors import LogError
from events.host import host
from events.identity import is_id, new_id
from events.streams import Streams
from events.system import LeaderElected
from events.worker import WorkerDisconnected, WorkerSuspected, WorkerVanished
from recovery.consumer import RecoveryConsumer
from recovery.entities import Worker
from recovery.lifecycle import LIVE
from worker.lifeline import Lifeline
from worker.witness import ask_presence, ask_witness

log = structlog.get_logger(__name__)

SUBJECT = "$SYS.ACCOUNT.*.DISCONNECT"
"""The account's own, whatever it is called: a broker gives an account none but what it may import."""
ROLES = ("agent", "supervisor")

ANSWER_S_MAX = 0.25
PAUSE_S = 0.02
PAUSE_S_MAX = 1.0
QUESTIONS_MAX = 32
"""Workers asked about at one time: whole farms lose their connections in one moment."""
STORED_LATE_S_MAX = 0.25
"""Whoever has come back within so short a time answers when it is called."""
REASON_MAX = 200
CANARY_S_MAX = 5.0


class Client(msgspec.Struct, frozen=True):
    name: str = ""
    stop: Annotated[datetime, Meta(tz=True)] | None = None


class Advisory(msgspec.Struct, frozen=True):
    """The broker's `io.nats.server.advisory.v1.client_disconnect`, as far as it matters."""

    client: Client
    reason: str = ""

    @property
    def worker_id(self) -> str | None:
        return worker_of(self.client.name)


def worker_of(name: str) -> str | None:
    """Whose supervisor or agent a connection of that name belongs to."""
    role, _, worker_id = name.partition("/")
    return worker_id if role in ROLES and is_id(worker_id) else None


_decoder = msgspec.json.Decoder(Advisory)


class Loss(NamedTuple):
    """Why a worker is looked for."""

    since: float
    """What was heard of it later refutes; cluster time."""
    reason: str
    closed_at: datetime | None


class DisconnectionWatch:
    """`start`, then `stop`, once each."""

    def __init__(self, bus: Bus, streams: Streams, consumer: RecoveryConsumer) -> None:
        self._bus = bus
        self._streams = streams
        self._consumer = consumer
        self._subscription: Subscription | None = None
        self._searches: dict[str, asyncio.Task[None]] = {}
        self._sweep: asyncio.Task[None] | None = None
        self._asking = asyncio.Semaphore(QUESTIONS_MAX)

    async def start(self) -> None:
        """Listens from now on.

        Raises:
            Unacknowledged: the connection is closed.
        """
        self._subscription = await self._bus.subscribe(SUBJECT, self._hear)
        self._consumer.listen(self._take)
        self._bus.on_reconnect(self._sweep_soon)

    async def stop(self) -> None:
        if self._subscription is not None:
            self._bus.forget_reconnect(self._sweep_soon)
            await self._bus.unsubscribe(self._subscription)
        if self._sweep is not None:
            self._sweep.cancel()
        for search in self._searches.values():
            search.cancel()

    async def _hear(self, message: Message) -> None:
        try:
            advisory = _decoder.decode(message.data)
        except msgspec.DecodeError:
            return  # anybody of the account could have sent it
        worker_id = advisory.worker_id
        if worker_id is not None:
            closed_at = advisory.client.stop
            # A heartbeat may be stored a moment after the connection that brought it has ended.
            since = 0.0 if closed_at is None else seconds(closed_at) + STORED_LATE_S_MAX
            self._look_for(worker_id, Loss(since, advisory.reason, closed_at))

    def _take(self, batch: Sequence[Recorded]) -> None:
        if any(isinstance(recorded.event, LeaderElected) for recorded in batch):
            self._sweep_soon()  # whether it is ours, is not known here before it leads
        if not self._consumer.leading:
            return
        for recorded in batch:
            if isinstance(recorded.event, WorkerSuspected):
                self._look_for_silent(self._consumer.state.workers.get(recorded.event.worker_id))

    def _sweep_soon(self) -> None:
        """The broker, or this leader, has been away, and those who went meanwhile were told of to nobody."""
        if self._sweep is not None:
            self._sweep.cancel()
        self._sweep = asyncio.get_running_loop().create_task(self._look_for_absent(), name="search for the absent")
        self._sweep.add_done_callback(_note_failure)

    async def _look_for_absent(self) -> None:
        """Once, and when those who live have had the time to come back."""
        consumer = self._consumer
        pause = consumer.state.policy.reconnect_grace
        while True:
            await asyncio.sleep(pause)
            if consumer.leading:
                break
            pause = PAUSE_S_MAX  # the lease may be renewed, and the next election ends this
        for worker in consumer.state.workers.values():
            self._look_for_silent(worker)
        listing = await connections(self._bus)
        if listing is None:
            log.info("connections_unknown", consequence="who died while the broker was away is found by its silence")
            return
        connected = {worker_of(client.name) for client in listing.clients}
        loss = Loss(seconds(listing.as_of) + STORED_LATE_S_MAX, "", None)
        for worker in list(consumer.state.workers.values()):
            worker_id = worker.worker_id
            if worker.status in LIVE and worker_id not in connected and worker_id not in self._searches:
                self._look_for(worker_id, loss)

    def _look_for_silent(self, worker: Worker | None) -> None:
        if worker is not None and worker.status == "suspect" and worker.worker_id not in self._searches:
            self._look_for(worker.worker_id, Loss(self._consumer.state.heard_at(worker), "", None))

    def _look_for(self, worker_id: str, loss: Loss) -> None:
        before = self._searches.pop(worker_id, None)
        if before is not None:
            before.cancel()
        search = asyncio.get_running_loop().create_task(self._search(worker_id, loss), name=f"search for {worker_id}")
        self._searches[worker_id] = search
        search.add_done_callback(lambda done: self._note_end(worker_id, done))

    def _note_end(self, worker_id: str, done: asyncio.Task[None]) -> None:
        if self._searches.get(worker_id) is done:
            del self._searches[worker_id]
        _note_failure(done)

    async def _search(self, worker_id: str, loss: Loss) -> None:
        """Until the worker has been reached, or heard, or is over."""
        began = host().monotonic()
        incarnation = 0
        said = False
        pause = PAUSE_S
        while True:
            worker = self._missing(worker_id, incarnation, loss)
            if worker is None:
                return
            incarnation = worker.incarnation
            if self._consumer.leading:
                grace_over = host().monotonic() - began >= self._consumer.state.policy.reconnect_grace
                async with self._asking:
                    held = await self._is_held(worker)
                    why = "" if said or held is False else await self._call(worker_id)
                if not self._still(worker, incarnation):
                    continue
                if held is False:
                    self._record_vanished(worker, loss)
                    return
                if not said and not why:
                    return
                if grace_over and not said:
                    if worker.status == "alive":
                        self._record_disconnected(worker, loss, why)
                    said = True
                if said and held is None:
                    return  # nobody can tell more than its silence
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSE_S_MAX)

    def _missing(self, worker_id: str, incarnation: int, loss: Loss) -> Worker | None:
        """The worker, if it is counted as live and has not been heard since."""
        state = self._consumer.state
        worker = state.workers.get(worker_id)
        if worker is None or worker.status not in LIVE or incarnation not in (0, worker.incarnation):
            return None
        return worker if state.heard_at(worker) <= loss.since else None

    def _still(self, worker: Worker, incarnation: int) -> bool:
        """Whether that is still so after the answers have come, and this coordinator may say so."""
        return worker.incarnation == incarnation and worker.status in LIVE and self._consumer.leading

    async def _is_held(self, worker: Worker) -> bool | None:
        if worker.machine is None or worker.lifeline is None:
            return None
        lifeline = Lifeline(worker.machine, worker.lifeline)
        return await ask_witness(self._bus, self._streams, lifeline, timeout_s=ANSWER_S_MAX)

    async def _call(self, worker_id: str) -> str:
        """Why it could not be reached; empty if it was."""
        return await ask_presence(self._bus, self._streams, worker_id, timeout_s=ANSWER_S_MAX)

    def _record_vanished(self, worker: Worker, loss: Loss) -> None:
        assert worker.machine is not None
        assert worker.lifeline is not None
        log.warning("worker_vanished", worker_id=worker.worker_id, incarnation=worker.incarnation)
        self._consumer.record(
            WorkerVanished(
                worker_id=worker.worker_id,
                incarnation=worker.incarnation,
                machine=worker.machine,
                lifeline=worker.lifeline,
                reason=loss.reason[:REASON_MAX],
                closed_at=loss.closed_at,
            )
        )

    def _record_disconnected(self, worker: Worker, loss: Loss, probe: str) -> None:
        log.warning("worker_disconnected", worker_id=worker.worker_id, incarnation=worker.incarnation)
        beat = self._consumer.state.last_beat(worker)
        self._consumer.record(
            WorkerDisconnected(
                worker_id=worker.worker_id,
                incarnation=worker.incarnation,
                reason=loss.reason[:REASON_MAX],
                closed_at=loss.closed_at,
                probe=probe[:REASON_MAX],
                heartbeat_sequence=0 if beat is None else beat.sequence,
            )
        )


def _note_failure(done: "asyncio.Task[None]") -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        # The silence will tell.
        log.error("search_failed", search=done.get_name(), error=repr(error), exc_info=error)


async def advisories_come(bus: Bus, connect: Callable[[str], Awaitable[Bus]]) -> bool:
    """Whether the broker tells this account of closed connections: makes one, under a name of its own, and closes it.

    Raises:
        LogError: the broker does not answer.
    """
    name = f"canary/{new_id()}"
    told = asyncio.Event()

    async def hear(message: Message) -> None:
        if name.encode() in message.data:
            told.set()

    subscription = await bus.subscribe(SUBJECT, hear)
    try:
        await bus.flush()
        canary = await connect(name)
        await canary.close()
        try:
            async with asyncio.timeout(CANARY_S_MAX):
                await told.wait()
        except TimeoutError:
            return False
        return True
    finally:
        await bus.unsubscribe(subscription)


async def say_if_blind(bus: Bus, connect: Callable[[str], Awaitable[Bus]]) -> None:
    """Says once, in this coordinator's own log, that deaths will be found by other evidence alone."""
    try:
        if await advisories_come(bus, connect):
            return
    except LogError as error:
        log.info("disconnect_advisories_unknown", error=str(error))
        return
    log.warning(
        "disconnect_advisories_missing",
        url=bus.url,
        consequence="a worker that dies together with its supervisor is found by its silence, after failed_after",
        remedy="let the account import the stream $SYS.ACCOUNT.<account>.DISCONNECT from the system account",
    )
