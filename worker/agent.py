"""The agent: takes orders from the log, runs them in slots, beats, and says what became of them.

It is one process with one event loop, started and watched by a supervisor. A worker that is given up (`WorkerFailed`)
while its agent lives begins a new incarnation in the same process: a new registration, and a `Tenure` of its own.
"""

import asyncio
import functools
from collections.abc import Coroutine
from typing import Any

import structlog

from events.bus import Bus
from events.ending import ended
from events.envelope import Recorded
from events.errors import PositionLost
from events.jetstream import JetStreamLog
from events.log import START, verify_position
from events.streams import Streams
from events.system import PaceChanged, PolicyChanged
from events.task import TaskAssigned, TaskRevoked
from events.work import CommandWork
from events.worker import (
    WorkerClaimed,
    WorkerDraining,
    WorkerDrainRequested,
    WorkerFailed,
    WorkerProbeAnswered,
    WorkerRecoveryProbed,
    WorkerRegistered,
    WorkerStopped,
)
from events.writer import Writer
from worker.beats import Heart
from worker.catalogue import Catalogue
from worker.jobs import SlotEvent
from worker.lanes import Lanes
from worker.options import Options
from worker.outbox import Outbox
from worker.patience import until_answered
from worker.ports import Link, Surroundings
from worker.ruling import TAILS as RULES
from worker.ruling import Rules, Ruling, ruling_in_force
from worker.succession import Registration, Taken, is_condemned, said_of
from worker.tenure import Tenure
from worker.witness import serve_presence

logger = structlog.get_logger(__name__)

STOPPED = 0
FAILED = 1
MISUSED = 2
UNREACHABLE = 3
SUPERSEDED = 4
FLUSH_S_MAX = 30.0
BEGIN_S_MAX = 5.0
HURRIED_FLUSH_S_MAX = 2.0
REASON_MAX = 1000
"""Characters of somebody's order that are repeated."""


class Agent:
    """`terminate` is to be called at each SIGTERM. What comes over `link` is for `worker.link.answer`."""

    def __init__(self, options: Options, link: Link, bus: Bus, surroundings: Surroundings) -> None:
        self.options = options
        self.streams = Streams(namespace=options.namespace)
        self.log = JetStreamLog(bus, self.streams)
        self._writer = Writer(self.log, f"worker/{options.worker_id}")
        self._bus = bus
        self._link = link
        self._surroundings = surroundings
        self._ruling = Ruling()
        self._registration = Registration(self.log, options.worker_id, surroundings.lifeline)
        self._folder = "." if options.warm_suite is None else options.warm_suite.cwd
        """Where the task that came last works."""
        self._lanes = Lanes(options, surroundings, lambda: self._rules().thresholds)
        self._tenure: Tenure | None = None
        self._heart: Heart | None = None
        self._outbox: Outbox | None = None
        self._begun = asyncio.Event()
        self._serving: list[asyncio.Task[None]] = []
        """What belongs to the present incarnation."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._drain: asyncio.Task[None] | None = None
        self._anew = False
        """It drains in order to be started again."""
        self._terminations = 0
        self.exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def run(self) -> int:
        self._start(self._follow())
        code = await self.exit
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return code

    async def _follow(self) -> None:
        """Acts on the log, event by event."""
        worker_id = self.options.worker_id
        await serve_presence(self._bus, self.streams, worker_id, "agent")
        try:
            incarnation = await self._register()
        except Taken as taken:
            self._end(SUPERSEDED, "superseded", str(taken))
            return
        self._ruling = await ruling_in_force(self.log)
        self._open_lanes()
        tenure = self._begin(incarnation)
        while not self.exit.done():
            try:
                await self._follow_guarded(tenure)
            except PositionLost as lost:
                # The orders, the results and the registration itself may be gone, and others act on what is left.
                logger.warning("log_tail_lost", incarnation=tenure.incarnation, error=str(lost))
                self._obey(await ruling_in_force(self.log))
                assert self._tenure is not None
                tenure = await self._renew(self._tenure, "the log lost what it had said while it drained")

    async def _follow_guarded(self, tenure: Tenure) -> None:
        tasks = [asyncio.create_task(work) for work in (self._follow_from(tenure), self._guard())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await ended(*tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def _guard(self) -> None:
        """Whether a broker that was away still has what it had acknowledged.

        Raises:
            PositionLost: it has not.
        """
        back = asyncio.Event()
        self._bus.on_reconnect(back.set)
        try:
            while True:
                await back.wait()
                back.clear()
                delivered = START if self._outbox is None else self._outbox.delivered
                if not await until_answered(functools.partial(verify_position, self.log, delivered)):
                    raise PositionLost(f"what this worker had reported is not in the log at {delivered.sequence}")
        finally:
            self._bus.forget_reconnect(back.set)

    async def _follow_from(self, tenure: Tenure) -> None:
        """To the end of this agent, from its registration on: reading that once more proves that it is in the log.

        Raises:
            PositionLost: it is not, or not any more.
        """
        worker_id, before = self.options.worker_id, tenure.incarnation - 1
        tails = [f"task.*.*.{worker_id}", f"worker.{worker_id}.*", *RULES]
        async with await until_answered(lambda: self.log.reader(after=before, tails=tails)) as reader:
            while not self.exit.done():
                proven = reader.sequence > before
                batch = await reader.next()
                if not proven and batch and batch[0].id not in self._registration.ids:
                    raise PositionLost(f"the registration of {worker_id} is not in the log at {tenure.incarnation}")
                for recorded in batch:
                    tenure = await self._handle(tenure, recorded)
                tenure.refill()

    async def _handle(self, tenure: Tenure, recorded: Recorded) -> Tenure:
        event = recorded.event
        if isinstance(event, PolicyChanged | PaceChanged):
            self._obey(self._ruling.after(recorded))
        elif recorded.sequence <= tenure.incarnation:
            pass  # addressed to an incarnation before this one
        elif isinstance(event, TaskAssigned):
            if event.incarnation == tenure.incarnation:
                work = event.work
                self._folder = work.cwd if isinstance(work, CommandWork) else work.suite.cwd
                tenure.assign(recorded, event)
        elif isinstance(event, TaskRevoked):
            if event.incarnation == tenure.incarnation:
                tenure.revoke(event.task_id, event.attempt, recorded.id)
        elif isinstance(event, WorkerFailed):
            if event.incarnation in (None, tenure.incarnation):
                logger.warning("worker_condemned", incarnation=tenure.incarnation, reason=event.reason)
                return await self._renew(tenure, "it was given up while it drained")
        elif isinstance(event, WorkerDrainRequested):
            if event.incarnation in (None, tenure.incarnation):
                self._obey_order(recorded, event)
        elif isinstance(event, WorkerRecoveryProbed):
            if event.incarnation == tenure.incarnation:
                self._answer_probe(recorded, event)
        elif isinstance(event, WorkerClaimed):
            if event.incarnation >= tenure.incarnation:
                await self._give_way(tenure, recorded, event)
        elif isinstance(event, WorkerRegistered) and recorded.id not in self._registration.ids:
            await self._give_way(tenure, recorded, event)
        return tenure

    def _obey(self, ruling: Ruling) -> None:
        if ruling is not self._ruling:
            self._ruling = ruling
            if self._heart is not None:
                self._heart.obey(self._rules())

    def _rules(self) -> Rules:
        return self._ruling.rules_for(self.options.worker_id, self.options.labels)

    # Incarnations

    async def _register(self) -> int:
        lifeline = self._surroundings.lifeline
        event = WorkerRegistered(
            worker_id=self.options.worker_id,
            host=self._surroundings.hostname[:255],
            pid=self._surroundings.pid,
            slots=self.options.slots,
            labels=self.options.labels,
            machine=None if lifeline is None else lifeline.machine,
            lifeline=None if lifeline is None else lifeline.name,
        )
        draft = self._writer.draft(event)
        self._registration.ids.add(draft.envelope.id)
        self._link.send("registering", draft.envelope.id)
        incarnation = await self._registration.store(draft)
        self._link.send("registered", incarnation)
        return incarnation

    def _begin(self, incarnation: int) -> Tenure:
        outbox = Outbox(self.log, self._bus)
        heart = Heart(
            self._bus,
            self.streams,
            self.options.worker_id,
            incarnation,
            self._rules(),
            gauges=lambda: self._surroundings.gauges(self._folder),
        )
        tenure = Tenure(
            self.options.worker_id,
            incarnation,
            self._lanes.slots,
            outbox,
            self._writer,
            may_start=lambda: heart.may_start,
        )
        beating = heart.run(
            vitals=tenure.vitals,
            condemned=lambda: is_condemned(self.log, self.options.worker_id, incarnation),
            on_shortened=lambda: self._lanes.limit(heart.keep_s),
            on_acknowledged=self._acknowledged,
            on_fence=lambda: self._fence(tenure),
        )
        self._outbox, self._heart, self._tenure = outbox, heart, tenure
        self._begun.set()
        self._serving = [self._start(beating), self._start(outbox.run())]
        return tenure

    async def _renew(self, tenure: Tenure, over: str) -> Tenure:
        """This incarnation is given up and its tasks are somebody else's: all of it stops, and a new one begins. `over`
        is what to say if there is to be no new one."""
        # Whoever asks it to stop from here on waits for the new incarnation, which can still say goodbye.
        self._begun.clear()
        for task in self._serving:
            task.cancel()
        await tenure.discard()
        if self._drain is not None:
            self._end(STOPPED, "drained" if self._anew else "stopped", over)
            return tenure
        try:
            return self._begin(await self._register())
        except Taken as taken:
            self._end(SUPERSEDED, "superseded", str(taken))
            return tenure

    async def _give_way(self, tenure: Tenure, recorded: Recorded, other: WorkerRegistered | WorkerClaimed) -> None:
        await tenure.discard()
        self._end(SUPERSEDED, "superseded", said_of(other.worker_id, other.host, other.pid, recorded.sequence))

    def _answer_probe(self, recorded: Recorded, probe: WorkerRecoveryProbed) -> None:
        answer = WorkerProbeAnswered(
            worker_id=self.options.worker_id, incarnation=probe.incarnation, attempt=probe.attempt
        )
        correlation_id = None if recorded.envelope is None else recorded.envelope.correlation_id
        if self._outbox is not None:
            self._outbox.put([self._writer.draft(answer, causation_id=recorded.id, correlation_id=correlation_id)])

    # Slots

    def _open_lanes(self) -> None:
        self._lanes.open(self._take)
        suite = self.options.warm_suite
        if suite is not None:
            for work in self._lanes.warm(suite, Catalogue(self._bus, self.streams, self.options.worker_id)):
                self._start(work)

    def _take(self, events: list[SlotEvent]) -> None:
        if self._tenure is not None:
            self._tenure.take(events)

    def _acknowledged(self) -> None:
        """A heartbeat was stored: the tasks may live on, and what was held may begin."""
        assert self._tenure is not None
        assert self._heart is not None
        if not self._heart.fenced and (seconds := self._heart.keep_s) > 0:
            self._lanes.keep(seconds)
            self._tenure.refill()

    def _fence(self, tenure: Tenure) -> None:
        self._lanes.limit_to_grace()
        tenure.fence()

    # The end

    def terminate(self) -> None:
        """Drains at the first call, ends at once at the second."""
        self._terminations += 1
        self._anew = False
        if self._terminations == 1:
            self._begin_to_drain("SIGTERM")
        elif self._drain is not None and self._terminations == 2:
            self._drain.cancel()
            self._start(self._stop_now())

    def _obey_order(self, recorded: Recorded, order: WorkerDrainRequested) -> None:
        """Whoever ordered it to start anew may be overruled by who ends it, and not the other way round."""
        self._anew = order.restart if self._drain is None else self._anew and order.restart
        what = "to start anew" if order.restart else "to end"
        why = f": {order.reason}" if order.reason else ""
        self._begin_to_drain(f"{what}, by order of {order.actor}{why}"[:REASON_MAX], recorded.id)

    def _begin_to_drain(self, reason: str, cause: str | None = None) -> None:
        if self._drain is None:
            self._drain = self._start(self._drain_and_stop(reason, cause))

    async def _drain_and_stop(self, reason: str, cause: str | None) -> None:
        try:
            async with asyncio.timeout(BEGIN_S_MAX):
                await self._begun.wait()
        except TimeoutError:
            self._end(STOPPED, "stopped", "it could not even register")
            return
        tenure, outbox = self._tenure, self._outbox
        assert tenure is not None
        assert outbox is not None
        draining = WorkerDraining(worker_id=tenure.worker_id, incarnation=tenure.incarnation, reason=reason)
        outbox.put([self._writer.draft(draining, causation_id=cause)])
        tenure.hand_back()
        try:
            async with asyncio.timeout(self.options.drain_timeout_s):
                await tenure.idle.wait()
        except TimeoutError:
            await tenure.return_running()
        await self._lanes.close()
        await self._say_goodbye(tenure, outbox, "drained", FLUSH_S_MAX)

    async def _stop_now(self) -> None:
        """Asked twice: what runs is killed and handed back, and what the log does not take soon is left unsaid."""
        tenure, outbox = self._tenure, self._outbox
        if tenure is None or outbox is None:
            self._end(STOPPED, "stopped", "it had not begun")
            return
        tenure.hand_back()
        await tenure.return_running()
        await self._say_goodbye(tenure, outbox, "asked twice to stop", HURRIED_FLUSH_S_MAX)

    async def _say_goodbye(self, tenure: Tenure, outbox: Outbox, reason: str, within_s: float) -> None:
        """One that is to start anew does not say that it has stopped: its next registration tells all there is to tell,
        and until then its silence is watched."""
        stopped = WorkerStopped(worker_id=tenure.worker_id, incarnation=tenure.incarnation, reason=reason)
        # The slots' last words come in the loop's next turn, and have to be said before this.
        await asyncio.sleep(0)
        if not self._anew:
            outbox.put([self._writer.draft(stopped)])
        if await outbox.flushed(within_s):
            self._end(STOPPED, "drained" if self._anew else "stopped", reason)
        else:
            self._end(
                UNREACHABLE,
                "failed",
                f"{len(outbox)} reports could not be delivered within {within_s:g} s: {self._bus.url} does not answer",
            )

    def _end(self, code: int, word: str, why: str) -> None:
        if not self.exit.done():
            self._link.send(word, why)
            self.exit.set_result(code)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._note_end)
        return task

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Nothing here ends by itself: half an agent would hold tasks that it can no longer answer for.
            logger.error("agent_failed", error=repr(error), exc_info=error)
            self._end(FAILED, "failed", str(error) or type(error).__name__)
