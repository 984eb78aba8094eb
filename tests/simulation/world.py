"""The whole system in one process and in virtual time: builds it, lets it run into its faults, and judges what came.

Safety first: every event is judged as it is stored. Then liveness: all faults end, and within a bounded time every
task has its verdict, every attempt and incident is closed, and every worker is at work. (Will Wilson, "Testing
Distributed Systems w/ Deterministic Simulation", 2014, on FoundationDB; TigerBeetle's VOPR.)
"""

import asyncio
import contextlib
import random
import tempfile
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import structlog

from coordinator.strategies.toolbox import Toolbox
from events.bus import Bus
from events.streams import Streams
from tests.simulation.broker import SimBroker
from tests.simulation.client import Client
from tests.simulation.executions import Executions
from tests.simulation.launching import NAME, SimLauncher, policy_of
from tests.simulation.lifelines import Lifelines
from tests.simulation.loop import Livelocked, VirtualLoop
from tests.simulation.nemesis import Nemesis
from tests.simulation.network import Network
from tests.simulation.process import SimHost, SimProcess
from tests.simulation.scenario import Outcome, PlannedTask, Scenario, tasks_of
from tests.simulation.services import SimCoordinator, SimProjector
from tests.simulation.watch import Watch, judge_history
from tests.simulation.worker import SimWorker
from worker.options import Options

T = TypeVar("T")

MEMORY = Path("/dev/shm")
SKEW_S = 2.0
DRIFT = 50e-6
"""How far clocks are apart to begin with, and how fast they part: an ordinary farm."""
MACHINES = ("machine-1", "machine-2")
"""Of which workers have a host each; those of one machine can testify for each other."""
CONNECT_S_MAX = 5.0
CLIENT_CONNECT_S_MAX = 3600.0
LOOK_EVERY_S = 2.0
STILL_S = 100.0
"""Nothing happens any more when nothing was stored for so long: longer than `recovery_interval` and the timeout of an
attempt."""


class World:
    """Everything there is. Hosts are made in a fixed order, and each draws from a generator of its own."""

    def __init__(self, scenario: Scenario, loop: VirtualLoop, folder: Path) -> None:
        self.scenario = scenario
        self.loop = loop
        self.policy = policy_of(scenario)
        self.streams = Streams()
        self.network = Network(loop, random.Random(f"{scenario.seed}/network"))
        self.hosts: dict[str, SimHost] = {}
        self.broker = SimBroker(self.network, self._host("broker"))
        self.executions = Executions(loop.time)
        toolbox = Toolbox(launchers={NAME: SimLauncher(self)})
        self.coordinators = {
            name: SimCoordinator(self._host(name), self.connect, self.streams, self.policy, toolbox)
            for name in scenario.coordinator_names
        }
        self.projector = (
            SimProjector(self._host("projector"), self.connect, self.streams, folder / "history.duckdb")
            if scenario.projector
            else None
        )
        self.watch = Watch(self)
        self._lifelines = Lifelines()
        self.workers = {
            name: self._worker(name, self._options(name, number), MACHINES[number % 2])
            for number, name in enumerate(scenario.worker_names, start=1)
        }
        """By their hosts. The host of the first one of an id bears its name."""
        self.user = SimProcess(loop, self._host("client"), "client")
        self.client: Client
        events, heartbeats, *_ = (self.broker.add_stream(stream) for stream in self.streams.configurations())
        self.watch.attach(events, heartbeats)
        self.nemesis = Nemesis(self)

    def _host(self, name: str) -> SimHost:
        rng = random.Random(f"{self.scenario.seed}/clock/{name}")
        skew_s, drift = rng.uniform(-SKEW_S, SKEW_S), rng.uniform(-DRIFT, DRIFT)
        self.hosts[name] = host = SimHost(self.loop, name, seed=self.scenario.seed, skew_s=skew_s, drift=drift)
        return host

    def _options(self, name: str, number: int) -> Options:
        return Options(
            nats_url="nats://broker:4222",
            worker_id=name,
            slots=self.scenario.slots,
            labels={"zone": str(1 + number % 2)},
        )

    def _worker(self, host: str, options: Options, machine: str) -> SimWorker:
        return SimWorker(
            self._host(host),
            self.connect,
            options,
            self.executions,
            on_end=self.watch.judge_end,
            lifelines=self._lifelines,
            machine=machine,
        )

    def of_one_id(self, worker_id: str) -> list[SimWorker]:
        """All that were ever to be this worker, whether or not they live; the first one is its own."""
        return [worker for worker in self.workers.values() if worker.options.worker_id == worker_id]

    def double(self, worker_id: str, *, same_machine: bool) -> SimWorker:
        """One more with all that the first one was started with, on a host of its own."""
        first, number = self.workers[worker_id], len(self.of_one_id(worker_id)) + 1
        name = f"{worker_id}.{number}"
        machine = next(one for one in MACHINES if (one == first.machine) == same_machine)
        self.workers[name] = worker = self._worker(name, first.options, machine)
        return worker

    async def connect(self, process: SimProcess, name: str) -> Bus:
        return await self.broker.connect(process, name, wait_s=CONNECT_S_MAX)

    async def run(self) -> None:
        """To the end of the faults, and on until all is over. What goes wrong is in `watch.violation`."""
        self.broker.start()
        for coordinator in self.coordinators.values():
            coordinator.start()
        if self.projector is not None:
            self.projector.start()
        for worker in self.workers.values():
            worker.start()
        await self._in_client(self._submit())
        await self.nemesis.rage()
        if self.watch.violation is None:
            await self.nemesis.heal()
            await self._settle()
        if self.watch.violation is None:
            self.watch.judge_rest()
        if self.watch.violation is None and self.projector is not None:
            difference = await self._in_client(judge_history(self))
            if difference is not None:
                self.watch.blame("history", self.watch.last, "", difference)

    async def _submit(self) -> None:
        bus = await self.broker.connect(self.user, "client", wait_s=CLIENT_CONNECT_S_MAX)
        self.client = Client(bus, self.streams)
        first = [task for task in tasks_of(self.scenario) if task.at == 0.0]
        self.user.spawn(self._submit_rest(first), name="submissions")

    async def _submit_rest(self, first: list[PlannedTask]) -> None:
        await self.watch.coordinated.wait()
        if first:
            await self.client.submit("r0", first)
        for task in tasks_of(self.scenario):
            if task.at > 0:
                await asyncio.sleep(max(task.at - self.loop.time(), 0.0))
                await self.client.submit(f"r{task.number}", [task])
        self.watch.submitted_all = True

    async def _settle(self) -> None:
        """Waits until nothing happens any more, and all work is done."""
        until = self.loop.time() + self.scenario.quiet_s + self._poisoned_s()
        while self.watch.violation is None:
            still = self.loop.time() - self.watch.stored_at >= STILL_S
            if still and self.watch.submitted_all and not self.watch.open_tasks:
                return
            if self.loop.time() >= until:
                self.watch.judge_unfinished()
                return
            await asyncio.sleep(LOOK_EVERY_S)
            await self.nemesis.look_after()

    def _poisoned_s(self) -> float:
        """Each task that kills whoever runs it may take a worker down with every try, and that may be the only one."""
        poisoned = self.nemesis.done["task_poisons_agent"] + self.nemesis.done["task_poisons_worker"]
        policy = self.policy
        return poisoned * (policy.infrastructure_retries + 1) * policy.recovery_interval

    async def _in_client(self, work: Coroutine[Any, Any, T]) -> T:
        return await self.user.spawn(work)


@contextlib.contextmanager
def quiet_logs() -> Iterator[None]:
    """What services log would drown whatever a simulation has to say."""
    before = structlog.get_config()
    structlog.configure(processors=[_drop], wrapper_class=structlog.BoundLogger, cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)


def _drop(_logger: object, _method: str, _event: structlog.typing.EventDict) -> structlog.typing.ProcessorReturnValue:
    raise structlog.DropEvent


def simulate(scenario: Scenario, *, keep_records: bool = False) -> Outcome:
    """Runs a scenario to its end, or to the first invariant that breaks."""
    began = time.process_time()
    folder = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="resurgam-simulation-", dir=folder) as path, quiet_logs():
        loop = VirtualLoop()
        world = World(scenario, loop, Path(path))
        try:
            loop.run_until_complete(world.run())
        except Livelocked as error:
            world.watch.blame("livelock", world.watch.last, "", str(error))
        finally:
            world.watch.judge_unhandled()
            loop.close()
    return _outcome(world, began, keep_records=keep_records)


def _outcome(world: World, began: float, *, keep_records: bool) -> Outcome:
    watch = world.watch
    return Outcome(
        scenario=world.scenario,
        violation=watch.violation,
        digest=watch.digest(),
        virtual_s=round(world.loop.time(), 6),
        wall_s=time.process_time() - began,
        events=watch.events,
        heartbeats=watch.heartbeats,
        faults=dict(sorted(world.nemesis.done.items())),
        tasks=len(watch.submitted),
        verdicts=dict(sorted(watch.verdicts.items())),
        records=tuple(watch.records) if keep_records or watch.violation is not None else (),
    )
