"""One worker id is one worker's. The newer process stays, and registers when nothing is left of the older one.

A registration lets all that earlier incarnations of the worker held start elsewhere. So it has to be true by then that
nothing of these runs any more, even if another process under the same id is alive and well on another machine: by a
copied configuration, a pod that was moved, a machine that was restored from an image. Therefore a new supervisor asks
the log whether the last incarnation is over, and if not:

1. It says so in an event (`WorkerClaimed`), at which the incarnation that it names stops all that it runs, says
   `WorkerStopped`, and ends with a code of its own, never to return; so does whoever is about to follow it. One that
   has registered since is claimed anew: a claim that was long on its way ends nobody, for its maker may be gone.
2. It waits until the incarnation is over by the log, until nothing holds its lifeline (on this machine), or until it
   has not been heard for so long that it must have fenced itself.

Its agents then register on the condition that nobody else has done so meanwhile. If somebody has, a supervisor whose
agents have never registered begins again with 1: of several that come at once, each may find that another was faster
and has heard its claim, and all of them would leave. An agent of a worker that had its time gives way. So an id goes
from one process to the next, and never back by itself.
"""

import asyncio
import contextlib
from functools import partial

import structlog

from events.bus import Bus
from events.envelope import Draft, Recorded
from events.errors import Fenced, LogError
from events.heartbeats import last_heartbeat
from events.host import host
from events.log import EventLog, Fence
from events.streams import Streams
from events.thresholds import most_patient
from events.worker import WorkerClaimed, WorkerExited, WorkerFailed, WorkerRegistered, WorkerStopped
from events.writer import Writer, append_until_stored
from worker.lifeline import Lifeline
from worker.patience import until_answered
from worker.ports import Processes
from worker.ruling import rulings_since

logger = structlog.get_logger(__name__)

POLL_S = 0.1
ENDS = ("failed", "stopped", "exited")
UNPROVEN = ("synthetic", "unanswered", "unknown")
"""Reasons for which a worker is given up that may live all the same."""
ENDINGS = (WorkerFailed, WorkerStopped, WorkerExited)


class Taken(Exception):
    """Another process lives under this worker's id."""

    def __init__(self, registration: Recorded) -> None:
        event = registration.event
        assert isinstance(event, WorkerRegistered)
        super().__init__(said_of(event.worker_id, event.host, event.pid, registration.sequence))


def said_of(worker_id: str, hostname: str, pid: int, sequence: int) -> str:
    """For whoever has to end because of another one."""
    return (
        f"worker id {worker_id!r} was taken over by process {pid} on {hostname} (event {sequence}): two workers cannot "
        f"share an id, start one of them under another --worker-id"
    )


def lifeline_of(event: WorkerRegistered | WorkerClaimed) -> Lifeline | None:
    return None if event.machine is None or event.lifeline is None else Lifeline(event.machine, event.lifeline)


async def last_registration(log: EventLog, worker_id: str) -> Recorded | None:
    """The last one that can be read: whatever else stands on its subject says nothing of who had registered before.

    Raises:
        LogError: the log does not answer.
    """
    tail = f"worker.{worker_id}.registered"
    last = await log.last_on(tail)
    if last is None or isinstance(last.event, WorkerRegistered):
        return last
    found = None
    async with await log.reader(tails=[tail]) as reader:
        while reader.sequence < last.sequence:
            for recorded in await reader.next():
                if isinstance(recorded.event, WorkerRegistered):
                    found = recorded
    return found


async def last_alive(log: EventLog, worker_id: str) -> Recorded | None:
    """The last registration, if the log holds no end of that incarnation.

    Raises:
        LogError: the log does not answer.
    """
    last = await last_registration(log, worker_id)
    if last is None:
        return None
    for name in ENDS:
        end = await log.last_on(f"worker.{worker_id}.{name}")
        if end is not None and end.sequence > last.sequence and _ends(end, last.sequence):
            return None
    return last


def _ends(recorded: Recorded, incarnation: int) -> bool:
    """Whether nothing of that incarnation runs any more. A drill says nothing about that, nor does a probe without an
    answer."""
    event = recorded.event
    if not isinstance(event, ENDINGS) or event.incarnation not in (None, incarnation):
        return False
    drill = recorded.synthetic is not None
    return not drill and not (isinstance(event, WorkerFailed) and event.reason in UNPROVEN)


async def is_condemned(log: EventLog, worker_id: str, incarnation: int) -> bool:
    """Whether the worker was given up; True also where that is not known. Asked of the log directly: whoever follows it
    may be behind by all that has come while he was cut off."""
    try:
        last = await log.last_on(f"worker.{worker_id}.failed")
    except LogError:
        return True  # asked again with the next heartbeat
    failure = None if last is None else last.event
    return (
        last is not None
        and isinstance(failure, WorkerFailed)
        and last.sequence > incarnation
        and failure.incarnation in (None, incarnation)
    )


class Succession:
    """What a supervisor does about its predecessors."""

    def __init__(
        self, bus: Bus, streams: Streams, log: EventLog, writer: Writer, worker_id: str, processes: Processes
    ) -> None:
        self._settled = 0
        """Our last claim or registration, or where the log ended when nobody was there. Whoever had claimed before it
        finds us, and claims again."""
        self._claimed = 0
        """The last incarnation that has heard from us that it is to go."""
        self._incarnation = 0
        """Our own."""
        self.settling = 0
        """As long as this is not 0, another worker may live: no agent may be started, whoever orders it."""
        self._claims: set[str] = set()
        """Their ids, known before they are stored."""
        self._told = asyncio.Event()
        """No claim of ours is on its way: where the last one stands is known."""
        self._told.set()
        self._bus = bus
        self._streams = streams
        self._log = log
        self._writer = writer
        self._worker_id = worker_id
        self._processes = processes
        self._now = host().boottime
        self._heard: tuple[int, float] = (0, 0.0)
        """The last heartbeat under this id, and since when there has been none behind it."""

    async def settle(self) -> None:
        """Returns when nothing is left of any other worker under this id. Waits for as long as the log is away."""
        self.settling += 1
        try:
            await self._settle()
        finally:
            self.settling -= 1

    async def _settle(self) -> None:
        while True:
            end = await until_answered(self._log.last_sequence)
            present = await until_answered(lambda: last_alive(self._log, self._worker_id))
            if present is None:
                self._settled = max(self._settled, end)
                return
            event = present.event
            assert isinstance(event, WorkerRegistered)
            if self._is_ours(event):
                return
            if present.sequence > self._claimed:
                await self._claim(present)
                continue  # somebody else may have registered until then
            if self._gone(event) or await until_answered(partial(self._fenced, present, event)):
                return
            await asyncio.sleep(POLL_S)

    async def _claim(self, present: Recorded) -> None:
        lifeline = self._processes.lifeline
        hostname, pid = self._processes.origin
        claim = WorkerClaimed(
            worker_id=self._worker_id,
            incarnation=present.sequence,
            host=hostname[:255],
            pid=pid,
            machine=None if lifeline is None else lifeline.machine,
            lifeline=None if lifeline is None else lifeline.name,
        )
        logger.warning("worker_id_claimed", worker_id=self._worker_id, incarnation=present.sequence)
        self._heard = (0, self._now())
        draft = self._writer.draft(claim)
        self._claims.add(draft.envelope.id)
        self._told.clear()
        try:
            self._settled = (await append_until_stored(self._log, [draft])).last
            self._claimed = present.sequence
        finally:
            self._told.set()

    async def told(self) -> None:
        """Returns when it is known where our claim stands, if one is on its way. Before that nobody can tell whether
        another one's comes after it: of two that are made at once, each process would hear of the other's first, and
        give way."""
        await self._told.wait()

    def note_incarnation(self, incarnation: int) -> None:
        """Of our own."""
        self._incarnation = incarnation
        self._settled = max(self._settled, incarnation)

    def note_lost_tail(self) -> None:
        """The log hands out the same sequences again."""
        self._settled = self._claimed = self._incarnation = 0

    def comes_after_us(self, recorded: Recorded) -> bool:
        """A registration or claim that is not by one of our agents: whether it is a later process's. `told` first."""
        event = recorded.event
        if isinstance(event, WorkerClaimed) and event.incarnation < self._incarnation:
            return False
        return recorded.sequence > self._settled and recorded.id not in self._claims

    def _is_ours(self, event: WorkerRegistered) -> bool:
        lifeline = self._processes.lifeline
        return lifeline is not None and lifeline_of(event) == lifeline

    def _gone(self, event: WorkerRegistered) -> bool:
        lifeline, ours = lifeline_of(event), self._processes.lifeline
        if lifeline is None or ours is None or lifeline.machine != ours.machine:
            return False
        return not self._processes.is_held(lifeline)

    async def _fenced(self, present: Recorded, event: WorkerRegistered) -> bool:
        """Whether it has not been heard for so long that nothing of it runs, by whatever rules it may still live."""
        last = await last_heartbeat(self._bus, self._streams, self._worker_id)
        sequence = 0 if last is None else last.sequence
        if sequence != self._heard[0]:
            self._heard = (sequence, self._now())
            return False
        beat = None if last is None else last.heartbeat
        since = beat.rules if beat is not None and beat.incarnation == present.sequence else 0
        rulings = await rulings_since(self._log, since)
        longest = most_patient(ruling.rules_for(event.worker_id, event.labels).thresholds for ruling in rulings)
        return self._now() - self._heard[1] >= longest.failed_after


class Registration:
    """What the agents of one supervisor do: they register, unless somebody else has taken over."""

    def __init__(self, log: EventLog, worker_id: str, lifeline: Lifeline | None) -> None:
        self.ids: set[str] = set()
        """Of the events that this agent has made, stored or not."""
        self._log = log
        self._worker_id = worker_id
        self._lifeline = lifeline
        self._settled: set[str] = set()
        """Of registrations that were over, or our own, when that was asked. The log may lose what it knew of them."""

    async def store(self, draft: Draft) -> int:
        """Appends it until it is stored; the new incarnation.

        Raises:
            Taken: another process lives under this id.
            BrokerRefused: the log does not take it.
        """
        tail = draft.envelope.event.tail()
        while True:
            last = await until_answered(lambda: self._log.last_on(tail))
            known = last
            if last is not None and not isinstance(last.event, WorkerRegistered):
                known = await until_answered(lambda: last_registration(self._log, self._worker_id))
            if known is not None and known.id == draft.envelope.id:
                return known.sequence
            if known is not None and not await until_answered(partial(self._is_settled, known)):
                raise Taken(known)
            # Whoever registers in this very moment is not overlooked.
            fence = Fence(tail, 0 if last is None else last.sequence)
            with contextlib.suppress(Fenced):
                return (await append_until_stored(self._log, [draft], fence=fence)).last

    async def _is_settled(self, last: Recorded) -> bool:
        event = last.event
        assert isinstance(event, WorkerRegistered)
        if last.id in self.ids or last.id in self._settled:
            return True
        # Without a lifeline nobody can tell whose it is.
        ours = self._lifeline is None or lifeline_of(event) == self._lifeline
        if ours or await self._was_claimed(last) or await last_alive(self._log, self._worker_id) is None:
            self._settled.add(last.id)
            return True
        return False

    async def _was_claimed(self, last: Recorded) -> bool:
        """Our supervisor has made this agent when it had seen to the end whoever it had claimed."""
        claim = await self._log.last_on(f"worker.{self._worker_id}.claimed")
        return (
            claim is not None
            and isinstance(claim.event, WorkerClaimed)
            and claim.sequence > last.sequence
            and claim.event.incarnation >= last.sequence
            and lifeline_of(claim.event) == self._lifeline
        )
