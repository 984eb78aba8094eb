"""A worker in virtual time: the production supervisor and agent, each in a simulated process, and simulated tasks."""

import asyncio
import functools
import itertools
import signal
from collections import deque
from collections.abc import Awaitable, Callable

from events.bus import Bus
from events.errors import LogError
from tests.simulation.executions import Ailment, Executions
from tests.simulation.gauges import DISK, MEMORY, Store, shown
from tests.simulation.keeper import Keeper, start_command
from tests.simulation.lifelines import Lifelines
from tests.simulation.line import SimLink, pair
from tests.simulation.loop import VirtualLoop
from tests.simulation.process import SimHost, SimProcess
from tests.simulation.session import start_pytest
from worker import agent_process
from worker import supervisor as supervisor_process
from worker.agent import FAILED, UNREACHABLE, Agent
from worker.endings import Ending
from worker.kept import Runners
from worker.lifeline import Lifeline
from worker.link import answer
from worker.marks import KEPT, Begun, numbered
from worker.options import Options
from worker.ports import Surroundings
from worker.slots import Slot
from worker.supervision import Supervisor
from worker.tenure import Tenure

BOOT_S = (0.2, 0.6)
"""From the start of a worker to its first request: an interpreter and its imports."""
FORK_S = (0.002, 0.02)
SUPERVISOR_PID = 999
NEVER = float("-inf")

Connect = Callable[[SimProcess, str], Awaitable[Bus]]
"""A connection of this process, under this name; raises Unreachable."""


class SimAgent:
    """Keeps `worker.ports.AgentProcess`: one agent, its link to its supervisor, and the keepers of its tasks."""

    def __init__(self, worker: "SimWorker", on_message: Callable[[], None], on_exit: Callable[[int], None]) -> None:
        assert worker.supervisor is not None
        self.pid = next(worker.pids)
        self.worker_id = worker.options.worker_id
        self.executions = worker.executions
        self.keepers: dict[Keeper, None] = {}
        self.marks: deque[str] = deque(maxlen=KEPT * worker.options.slots)
        self.process = SimProcess(worker.supervisor.loop, worker.host, f"agent/{self.worker_id}/{self.pid}")
        self.memory = Store(worker.supervisor.loop.time, MEMORY)
        self._worker = worker
        self._supervisor = worker.supervisor
        self._on_exit = on_exit
        self._agent: Agent | None = None
        self.link, theirs = pair(self._supervisor, self.process)
        self.link.listen(on_message)
        self.process.on_death(self._died)
        self.process.start(self._main(theirs))

    @property
    def slowness(self) -> float:
        return self._worker.slowness

    @property
    def ailment(self) -> Ailment:
        return self._worker.ailment

    @property
    def tenure(self) -> Tenure | None:
        """What its present incarnation works by."""
        return None if self._agent is None else self._agent._tenure

    @property
    def supervisor(self) -> SimProcess:
        return self._supervisor

    # What happens to it

    def kill(self) -> None:
        self.process.kill()

    def terminate(self) -> None:
        self.process.call(self._take_sigterm)

    def begun(self) -> list[Begun]:
        return numbered(reversed(self.marks))

    def forget(self) -> None: ...

    def stop(self) -> None:
        self.process.pause()

    def kill_supervisor(self) -> None:
        self._supervisor.kill()

    def _take_sigterm(self) -> None:
        if self._agent is None:
            self.process.exit(-signal.SIGTERM)
        else:
            self._agent.terminate()

    def _died(self) -> None:
        for keeper in list(self.keepers):
            keeper.lose_agent()
        code = self.process.code
        assert code is not None
        self._supervisor.call(self._on_exit, code)

    # Its own life

    async def _main(self, link: SimLink) -> int:
        host = self.process.host
        await asyncio.sleep(host.uniform(*FORK_S) * self.slowness)
        link.listen(lambda: answer(link, lambda: self.process.exit(FAILED)))
        try:
            bus = await self._worker.connected(self.process, "agent", agent_process.CONNECT_S_MAX)
        except LogError as error:
            link.send("failed", str(error))
            return UNREACHABLE
        runners = Runners(functools.partial(start_command, self), functools.partial(start_pytest, self))
        surroundings = Surroundings(
            hostname=host.name,
            pid=self.pid,
            gauges=lambda _: shown(self.memory, self._worker.memory, self._worker.disk),
            slot=functools.partial(Slot, env={}, runners=runners),
            lifeline=self._worker.lifeline,
        )
        self._agent = agent = Agent(self._worker.options, link, bus, surroundings)
        code = await agent.run()
        await bus.close()
        return code


class SimWorker:
    """One worker on one host. Operations on what is dead already, or not stopped, do nothing."""

    def __init__(
        self,
        host: SimHost,
        connect: Connect,
        options: Options,
        executions: Executions,
        *,
        slowness: float = 1.0,
        on_end: Callable[["SimWorker"], None] = lambda _: None,
        lifelines: Lifelines | None = None,
        machine: str = "",
    ) -> None:
        """Those of one `machine` can testify for each other. `slowness` stretches what tasks and starts of processes
        take, and may change at any time. `on_end` is called when the worker has ended, killed or by itself."""
        self.host = host
        self.connect = connect
        self.options = options
        self.executions = executions
        self.slowness = slowness
        self.ailment = Ailment.none
        self.memory, self.disk = Store(host.loop.time, MEMORY), Store(host.loop.time, DISK)
        """What others on its machine take."""
        self.pids = itertools.count(1000)
        self.supervisor: SimProcess | None = None
        self.agent: SimAgent | None = None
        self.machine = machine
        self.started_at = self.ended_at = NEVER
        """Of its last life, by the loop's clock; one that lives has no `ended_at` yet."""
        self.ending: Ending | None = None
        """How it ended by itself; None while it lives, and if it was killed."""
        self._agents: dict[SimAgent, None] = {}
        """The present one, and dead ones of which something may be left."""
        self._logic: Supervisor | None = None
        self._on_end = on_end
        self._lifelines = lifelines
        self._lifeline: Lifeline | None = None

    @property
    def alive(self) -> bool:
        return self.supervisor is not None and self.supervisor.alive

    # Operations

    def start(self) -> None:
        """A supervisor, which starts an agent; also after the end of a former one, under the same worker id."""
        if self.alive:
            raise RuntimeError(f"worker {self.options.worker_id} runs already")
        self.ending = None
        self._logic = None
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.started_at, self.ended_at = loop.time(), float("inf")
        self.supervisor = process = SimProcess(loop, self.host, f"supervisor/{self.options.worker_id}")
        process.on_death(self._died)
        self._hold_lifeline(process)
        process.start(self._main(process))

    def _hold_lifeline(self, supervisor: SimProcess) -> None:
        if self._lifelines is None:
            return
        self._lifeline = self._lifelines.hold(
            self.machine,
            self.options.worker_id,
            lambda: (
                supervisor.alive
                or any(
                    agent.supervisor is supervisor and (agent.process.alive or agent.keepers) for agent in self._agents
                )
            ),
        )

    def kill_agent(self) -> None:
        if self.agent is not None:
            self.agent.kill()

    def kill_supervisor(self) -> None:
        """The kernel kills the agent with it."""
        if self.supervisor is not None:
            self.supervisor.kill()

    def kill_both(self) -> None:
        """The agent first; its end is told to nobody."""
        supervisor = self.supervisor
        if supervisor is not None and supervisor.alive:
            supervisor.pause()
            self.kill_agent()
            supervisor.kill()

    def pause_agent(self) -> None:
        if self.agent is not None:
            self.agent.process.pause()

    def resume_agent(self) -> None:
        if self.agent is not None:
            self.agent.process.resume()

    def pause_supervisor(self) -> None:
        if self.supervisor is not None:
            self.supervisor.pause()

    def resume_supervisor(self) -> None:
        if self.supervisor is not None:
            self.supervisor.resume()

    def pause_both(self) -> None:
        self.pause_supervisor()  # first, or it would take its agent for hung
        self.pause_agent()

    def resume_both(self) -> None:
        self.resume_agent()
        self.resume_supervisor()

    def terminate_agent(self) -> None:
        """SIGTERM to the agent alone."""
        if self.agent is not None:
            self.agent.terminate()

    def terminate(self) -> None:
        """SIGTERM to the supervisor: the worker drains; asked again, it ends at once."""
        if self.supervisor is not None:
            self.supervisor.call(self._take_sigterm)

    def power_off(self) -> None:
        """Everything on the host ends at once. To be told to the network first, or the broker hears of it."""
        if self.supervisor is not None:
            self.supervisor.kill()
        self._sweep()

    # The supervisor's process

    async def _main(self, process: SimProcess) -> int:
        await asyncio.sleep(self.host.uniform(*BOOT_S) * self.slowness)
        self.ending = await self._serve(process)
        self._sweep()
        return self.ending.code

    async def _serve(self, process: SimProcess) -> Ending:
        try:
            bus = await self.connected(process, "supervisor", supervisor_process.CONNECT_S_MAX)
            supervisor = Supervisor(self.options, bus, self)
            await supervisor.prepare()
            self._logic = supervisor
            return await supervisor.run()
        except LogError as error:
            return Ending(UNREACHABLE, str(error))

    async def connected(self, process: SimProcess, role: str, within_s: float) -> Bus:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while True:
            try:
                return await self.connect(process, f"{role}/{self.options.worker_id}")
            except LogError:
                if loop.time() >= deadline:
                    raise

    @property
    def lifeline(self) -> Lifeline | None:
        """Of `worker.ports.Processes`."""
        return self._lifeline

    @property
    def origin(self) -> tuple[str, int]:
        """Of `worker.ports.Processes`."""
        return self.host.name, SUPERVISOR_PID

    def is_held(self, lifeline: Lifeline) -> bool:
        """Of `worker.ports.Processes`."""
        assert self._lifelines is not None
        return self._lifelines.is_held(lifeline, self.machine)

    def start_agent(self, on_message: Callable[[], None], on_exit: Callable[[int], None]) -> SimAgent:
        """Of `worker.ports.Processes`, which this keeps."""
        self._agents = {agent: None for agent in self._agents if agent.keepers}
        self.agent = agent = SimAgent(self, on_message, on_exit)
        self._agents[agent] = None
        return agent

    def memory_kills(self) -> int | None:
        """Of `worker.ports.Processes`."""
        return None

    def sweep(self) -> list[int]:
        """Of `worker.ports.Processes`."""
        self._sweep()
        return []

    def _sweep(self) -> None:
        for agent in list(self._agents):
            agent.kill()
            for keeper in list(agent.keepers):
                keeper.process.kill()
        self._agents.clear()

    def _take_sigterm(self) -> None:
        if self._logic is not None:
            self._logic.terminate()
        elif self.supervisor is not None:
            self.supervisor.exit(-signal.SIGTERM)

    def _died(self) -> None:
        self.ended_at = self.host.loop.time()
        self.kill_agent()
        self._on_end(self)
