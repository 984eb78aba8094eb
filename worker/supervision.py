"""What a supervisor does: it starts the agent, watches it, and tells the log when and how it ended.

It is the nearest thing to certainty about a worker's death. It sweeps up whatever a dead agent leaves, and reports an
end only when nothing of the worker runs any more: the report lets the tasks start elsewhere, and they must not run
twice. It is small, runs nothing of anybody else's, and starts a new agent only when the log orders it
(`WorkerRecoveryStarted` with strategy `restart`).
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import structlog

from events.base import Event
from events.bus import Bus
from events.envelope import Recorded
from events.errors import LogError, PositionLost
from events.host import host
from events.jetstream import JetStreamLog
from events.streams import Streams
from events.worker import (
    WorkerClaimed,
    WorkerDrainRequested,
    WorkerExited,
    WorkerFailed,
    WorkerRecoveryStarted,
    WorkerRegistered,
    WorkerStalled,
    WorkerStopped,
)
from events.writer import Writer
from worker.agent import FAILED, STOPPED, SUPERSEDED, UNREACHABLE
from worker.endings import Ending, told
from worker.options import Options
from worker.orders import Orders
from worker.outbox import Outbox
from worker.patience import until_answered
from worker.ports import Processes
from worker.setup import await_setup
from worker.stalls import Stalls
from worker.succession import Succession, said_of
from worker.switches import SWITCHES, Switches, switches_in_force
from worker.watchdog import PINGS, Watchdog
from worker.watched import Watched
from worker.witness import serve_presence, serve_witness

logger = structlog.get_logger(__name__)

RENEWAL_S_MAX = 1.0
"""For a living agent that was given up to register again by itself, before an order to restart replaces it."""
FLUSH_S_MAX = 2.0
LEAVE_S_MAX = 5.0
"""For an agent to end by itself once it must."""


class Supervisor:
    """`prepare` first, then `run`; `terminate` is to be called at each SIGTERM from then on."""

    def __init__(self, options: Options, bus: Bus, processes: Processes) -> None:
        self.options = options
        self._bus = bus
        self._processes = processes
        self._now = host().monotonic
        self._streams = Streams(namespace=options.namespace)
        self._log = JetStreamLog(bus, self._streams)
        self._writer = Writer(self._log, f"supervisor/{options.worker_id}")
        self._outbox = Outbox(self._log, bus)
        self._switches = Switches()
        self._after = 0
        self._agent: Watched | None = None
        self._registrations: set[str] = set()
        self._incarnation = 0
        """The last one that this worker had."""
        self._superseded = ""
        """By whom; empty while the worker's id is its own."""
        self._stillborn = 0
        """Agents that ended before this worker had ever registered."""
        self._condemned = 0
        """The incarnation that the log has given up last."""
        self._terminations = 0
        self._leaving = 0
        """Sequence of the order to end; 0: there is none."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._agent_told = asyncio.Event()
        self._agent_gone = asyncio.Event()
        self._succession = Succession(bus, self._streams, self._log, self._writer, options.worker_id, processes)
        self.ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()

    async def prepare(self) -> None:
        """Waits for the log and the end of others of its name, reads what is in force, and answers others from then on.

        Raises:
            LogError: the broker does not answer, or refuses.
        """
        self._after = await await_setup(self._log, f"{self._bus.url}, namespace {self.options.namespace}")
        self._switches = await switches_in_force(self._log)
        await self._succession.settle()
        streams, lifeline = self._streams, self._processes.lifeline
        await serve_presence(self._bus, streams, self.options.worker_id, "supervisor")
        if lifeline is not None:
            await serve_witness(self._bus, streams, lifeline.machine, self._processes.is_held)

    async def run(self) -> Ending:
        self._start_agent()
        for work in (self._outbox.run(), self._follow(self._after), self._watch()):
            self._start(work)
        ending = await self.ending
        if not await self._outbox.flushed(FLUSH_S_MAX) and not ending.code:
            return Ending(UNREACHABLE, f"{self._bus.url} does not answer: not everything was reported")
        return ending

    # The agent

    def _start_agent(self) -> None:
        self._agent_gone.clear()
        agent = Watched(Watchdog(self._switches.policy.watchdog_after, self._now()), self._processes.memory_kills())
        agent.process = self._processes.start_agent(
            on_message=lambda: self._hear(agent), on_exit=lambda code: self._take_leave(agent, code)
        )
        self._agent = agent

    def _start_agent_if_none(self) -> None:
        if self._agent is None and not (self._told_to_end or self.ending.done() or self._succession.settling):
            self._start_agent()

    @property
    def _told_to_end(self) -> bool:
        return bool(self._terminations or self._leaving)

    def _hear(self, agent: Watched) -> None:
        for word, argument in agent.process.link.receive():
            if word == "pong":
                agent.watchdog.pong(int(argument))
            elif word == "registering":
                agent.registering = argument
                self._registrations.add(argument)
            elif word == "registered":
                self._note_incarnation(agent, int(argument))
            else:
                agent.last_word = (word, argument)

    def _note_incarnation(self, agent: Watched, incarnation: int) -> None:
        # The last one named, which is not the highest number where the log has lost its tail.
        agent.incarnation = self._incarnation = incarnation
        self._succession.note_incarnation(incarnation)
        self._agent_told.set()
        if 0 < self._leaving < incarnation:
            agent.process.terminate()  # it reads the log from its registration on

    async def _watch(self) -> None:
        while True:
            interval = self._switches.policy.watchdog_after / PINGS
            if (agent := self._agent) is not None:
                now = self._now()
                agent.watchdog.watchdog_after = self._switches.policy.watchdog_after
                if agent.hung_s is None and agent.watchdog.hung(now):
                    agent.hung_s = agent.watchdog.unanswered_s(now)
                    logger.warning("agent_hung", pid=agent.process.pid, unanswered_s=round(agent.hung_s, 3))
                    agent.process.kill()
                agent.process.link.send("ping", agent.watchdog.ping(now))
                interval = agent.watchdog.interval
            await asyncio.sleep(interval)

    def _take_leave(self, agent: Watched, code: int) -> None:
        """The agent has ended. The order is what matters: first nothing of it lives, then others hear of it."""
        self._agent = None
        self._hear(agent)
        began = self._now()
        left = self._processes.sweep()
        agent.close()
        logger.info("agent_ended", pid=agent.process.pid, code=code, sweep_s=round(self._now() - began, 6))
        self._agent_gone.set()
        word, why = agent.last_word
        if word == "superseded" and not self._incarnation and not self._superseded:
            self._start(self._claim_again())
        elif self._superseded or word == "superseded":
            if self._incarnation:  # of which the other one waits to hear the end
                self._say(self._stopped(self._superseded or why))
            self._end(SUPERSEDED, self._superseded or why)
        elif word == "stopped" and code == STOPPED:
            self._end(code)
        elif word == "drained" and code == STOPPED:
            self._begin_anew(why)
        elif word == "failed" and not self._incarnation:
            self._end(code or FAILED, why)
        elif agent.incarnation or not agent.registering:
            self._report(agent, code, left)
        else:
            self._start(self._find_incarnation(agent, code, left))

    async def _find_incarnation(self, agent: Watched, code: int, left: list[int]) -> None:
        """It died before it could tell what its registration came to: the log knows."""
        try:
            last = await self._log.last_on(f"worker.{self.options.worker_id}.registered")
        except LogError:
            last = None  # unreachable: the registration most likely did not get through either
        if last is not None and last.id == agent.registering:
            self._note_incarnation(agent, last.sequence)
        self._report(agent, code, left)

    def _report(self, agent: Watched, code: int, left: list[int]) -> None:
        detail = agent.killed_for or (f"{agent.last_word[1]}" if agent.last_word[0] == "failed" else "")
        if left:
            detail = f"{detail} processes that cannot be killed are left: {left[:20]}".strip()
        exited = WorkerExited(
            worker_id=self.options.worker_id,
            incarnation=agent.incarnation,
            exit_code=code if code >= 0 else None,
            signal=-code if code < 0 else None,
            hung=agent.hung_s is not None,
            stalled=agent.stalled,
            unanswered_s=agent.hung_s,
            error=agent.error(code, self._processes.memory_kills()),
            detail=detail,
            begun=agent.begun,
        )
        logger.warning("agent_ended", code=code, hung=exited.hung, incarnation=agent.incarnation)
        if self._told_to_end:  # nobody would carry out an order to restart it
            self._say(exited, self._stopped("its agent ended while the worker was being stopped"))
            self._end(FAILED, f"the agent ended by {told(code)} before it had stopped in order")
            return
        self._say(exited)
        if not self._incarnation:
            self._start(self._try_again(code))

    def _begin_anew(self, why: str) -> None:
        """The agent has ended in order to be started again, unless the worker is to end by now."""
        if self._told_to_end:
            self._say(self._stopped(why))
            self._end(STOPPED)
        else:
            self._start_agent()

    async def _try_again(self, code: int) -> None:
        """Nobody knows of a worker that has never registered, so nobody orders its restart."""
        policy = self._switches.policy
        self._stillborn += 1
        if self._stillborn >= policy.max_recovery_attempts:
            self._end(FAILED, f"{self._stillborn} agents in a row ended before they had registered, by {told(code)}")
            return
        await asyncio.sleep(min(policy.recovery_backoff * 2 ** (self._stillborn - 1), policy.recovery_interval))
        self._start_agent_if_none()

    async def _claim_again(self) -> None:
        """Another newcomer was faster, and may be about to go because of our own claim."""
        if self._told_to_end:
            self._end(STOPPED)  # there is no agent any more that would
            return
        await self._succession.settle()
        self._start_agent_if_none()

    def _stopped(self, reason: str) -> WorkerStopped:
        return WorkerStopped(worker_id=self.options.worker_id, incarnation=self._incarnation, reason=reason)

    def _say(self, *events: Event) -> None:
        self._outbox.put([self._writer.draft(event) for event in events])

    # The log

    async def _follow(self, after: int) -> None:
        while True:
            try:
                await self._follow_from(after)
            except PositionLost as lost:
                logger.warning("log_tail_lost", error=str(lost))
                after = await until_answered(self._log.last_sequence)
                self._switches = await switches_in_force(self._log)
                self._condemned = 0
                self._succession.note_lost_tail()
                # So may the ends of its predecessors, of which its next agent would not know then.
                await self._succession.settle()
                # The order to start one may be lost, and with it all that the log knew of this worker.
                self._start_agent_if_none()

    async def _follow_from(self, after: int) -> None:
        tails = [f"worker.{self.options.worker_id}.*", *SWITCHES]
        orders, stalls = Orders(), Stalls()
        async with await until_answered(lambda: self._log.reader(after, tails)) as reader:
            while True:
                for recorded in await reader.next():
                    await self._succession.told()
                    orders.note(recorded.event)
                    stalls.note(recorded.event)
                    self._note(recorded)
                if reader.caught_up:  # else what comes next may say that it is over
                    self._put_down(stalls.standing)
                    if (order := orders.take()) is not None:
                        self._start(self._restart(order))

    def _note(self, recorded: Recorded) -> None:
        event = recorded.event
        agent = self._agent
        self._switches = self._switches.after(recorded)
        if isinstance(event, WorkerDrainRequested):
            self._note_order(recorded, event)
        elif isinstance(event, WorkerRegistered):
            if agent is not None:
                self._hear(agent)  # it announces a registration before it makes it
            foreign = recorded.id not in self._registrations and self._succession.comes_after_us(recorded)
            if foreign and self._incarnation:  # else the agent finds out whether it comes too late
                self._give_way(recorded, event)
        elif isinstance(event, WorkerClaimed):
            if self._succession.comes_after_us(recorded):
                self._give_way(recorded, event)
        elif isinstance(event, WorkerFailed) and (
            event.incarnation == self._incarnation
            or (event.incarnation is None and recorded.sequence > self._incarnation)
        ):
            self._condemned = self._incarnation

    def _note_order(self, recorded: Recorded, order: WorkerDrainRequested) -> None:
        """The agent hears the order as well and obeys; what follows when it has ended, or where there is none, is to be
        known here. One to begin anew is its own matter."""
        if order.restart or self._leaving or order.incarnation not in (None, self._incarnation):
            return
        self._leaving = recorded.sequence
        agent = self._agent
        if agent is None:
            if self._incarnation:
                self._say(self._stopped("told to end while it waited for its recovery"))
            self._end(STOPPED)
        elif agent.incarnation == 0 or recorded.sequence < agent.incarnation:
            agent.process.terminate()  # it reads the log from its registration on

    def _give_way(self, recorded: Recorded, other: WorkerRegistered | WorkerClaimed) -> None:
        """Another process has registered under this id, or is about to. The newer one is the worker."""
        self._superseded = said_of(self.options.worker_id, other.host, other.pid, recorded.sequence)
        agent = self._agent
        if agent is None:
            self._end(SUPERSEDED, self._superseded)
        else:
            # It hears the same and ends by itself.
            self._kill_later(agent)

    def _put_down(self, stalled: WorkerStalled | None) -> None:
        """The leader has found the agent to be of no use, and gives its tasks away when nothing is left of it."""
        agent = self._agent
        if stalled is None or agent is None or agent.incarnation != stalled.incarnation or agent.stalled:
            return
        if self._switches.may_repair and not self._terminations:
            logger.warning("agent_stalled", pid=agent.process.pid, cause=stalled.cause)
            agent.stalled, agent.killed_for = True, stalled.cause
            agent.process.kill()

    async def _restart(self, order: WorkerRecoveryStarted) -> None:
        agent = self._agent
        if agent is not None and (not agent.incarnation or agent.incarnation <= self._condemned):
            # It is on its way to a new incarnation, which is all that is asked for.
            await self._await_incarnation_after(order.incarnation)
        if self._incarnation > order.incarnation:
            return
        if agent is not None and self._agent is agent:
            agent.killed_for = f"replaced by order of recovery attempt {order.attempt}"
            agent.process.kill()
            await self._agent_gone.wait()
        self._start_agent_if_none()

    async def _await_incarnation_after(self, incarnation: int) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RENEWAL_S_MAX):
                while self._incarnation <= incarnation and self._agent is not None:
                    self._agent_told.clear()
                    await self._agent_told.wait()

    # The end

    def terminate(self) -> None:
        self._terminations += 1
        if (agent := self._agent) is not None:
            agent.process.terminate()
            if self._terminations > 1:
                self._kill_later(agent)
            return
        if self._incarnation:
            self._say(self._stopped("stopped while it waited for its recovery"))
        self._end(0)

    def _kill_later(self, agent: Watched) -> None:
        def kill() -> None:
            if self._agent is agent:  # else its pid may be a stranger's by now
                agent.process.kill()

        asyncio.get_running_loop().call_later(LEAVE_S_MAX, kill)

    def _end(self, code: int, sentence: str = "") -> None:
        if not self.ending.done():
            self.ending.set_result(Ending(code, sentence))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("supervisor_failed", error=repr(error), exc_info=error)
            self._end(FAILED, f"the supervisor failed: {error}")
