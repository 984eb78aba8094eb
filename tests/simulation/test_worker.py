"""A worker's production code in virtual time: what its supervisor, its fence and its keepers make of each fault."""

import functools
import random
import signal
from collections.abc import Awaitable, Callable

import pytest

from events import codec
from events.policy import Policy
from events.streams import Streams, ensure_streams
from events.task import TaskReturned, TaskStarted
from events.work import CommandWork, PytestWork, Suite
from events.worker import WorkerDraining, WorkerExited, WorkerFailed, WorkerRegistered, WorkerStopped
from tests.simulation.broker import SimBroker
from tests.simulation.executions import Execution, Executions
from tests.simulation.lifelines import Lifelines
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network
from tests.simulation.process import SimHost, SimProcess
from tests.simulation.worker import SimWorker
from tests.waiting import is_kind, until
from tests.worker.farm import Farm, Worker
from worker.agent import FAILED, SUPERSEDED
from worker.options import Options

POLICY = Policy()
SUITE = Suite(python="python", cwd="/")


class Scene:
    """A broker, workers, and the test in the part of the coordinator: all in one virtual loop."""

    def __init__(self, seed: int) -> None:
        self.loop = VirtualLoop()
        self.seed = seed
        self.network = Network(self.loop, random.Random(f"network/{seed}"))
        self.broker = SimBroker(self.network, self.host("broker"))
        self.executions = Executions(self.loop.time)
        self.farm: Farm
        self.workers: list[SimWorker] = []
        self.lifelines = Lifelines()

    def host(self, name: str) -> SimHost:
        return SimHost(self.loop, name, seed=self.seed)

    def play(self, acts: Callable[["Scene"], Awaitable[None]]) -> None:
        process = SimProcess(self.loop, self.host("coordinator"), "coordinator")
        try:
            self.loop.run_until_complete(process.start(self._play(process, acts)))
        finally:
            self.loop.close()
        assert self.loop.unhandled == []
        assert self.executions.overlaps == []

    async def _play(self, process: SimProcess, acts: Callable[["Scene"], Awaitable[None]]) -> None:
        self.broker.start()
        bus = await self.broker.connect(process, "coordinator")
        streams = Streams()
        await ensure_streams(bus, streams)
        self.farm = Farm(bus, streams)
        await self.farm.rule(POLICY)
        await acts(self)

    def worker(self, host: str = "worker-1", worker_id: str = "w1", slowness: float = 1.0) -> SimWorker:
        settings = Options(nats_url="nats://broker:4222", worker_id=worker_id, slots=2, drain_timeout_s=5.0)
        made = SimWorker(
            self.host(host),
            self.broker.connect,
            settings,
            self.executions,
            slowness=slowness,
            lifelines=self.lifelines,
            machine=host,
        )
        self.workers.append(made)
        return made

    async def started(self, worker: SimWorker) -> Worker:
        """Starts it, and waits for its incarnation; in the terms of the farm."""
        seen = Worker(worker.options.worker_id, None, "")  # type: ignore[arg-type]  # there is no such process
        after = await self.farm.log.last_sequence()
        worker.start()
        await self.farm.registered(seen, after)
        return seen

    async def running(self, task_id: str) -> Execution:
        await self.farm.seen(is_kind(TaskStarted, task_id=task_id), what=f"the start of {task_id}")
        return await until(
            lambda: next((one for one in self.executions.live() if one.task_id == task_id), None),  # type: ignore[arg-type,return-value]
            what=f"the execution of {task_id}",
        )

    async def pass_time(self, seconds: float) -> None:
        end = self.loop.time() + seconds
        await until(lambda: self.loop.time() >= end, within_s=seconds + 1, what="the time to pass")


def simulated(acts: Callable[[Scene], Awaitable[None]]) -> Callable[[], None]:
    """A test that is played in a scene of its own. (Its signature hides the scene from pytest.)"""

    @functools.wraps(acts)
    def test() -> None:
        Scene(seed=1).play(acts)

    del test.__wrapped__
    return test


def sim(seconds: float, conduct: str = "pass") -> CommandWork:
    return CommandWork(argv=("sim", str(seconds), conduct), cwd="/")


@simulated
async def test_tasks_run_and_are_reported(scene: Scene) -> None:
    worker = await scene.started(scene.worker())
    began = scene.loop.time()
    await scene.farm.assign(worker, sim(0.5), sim(1.5, "fail"), sim(1.0, "crash"), sim(2.0, "kill-keeper"))
    outcomes = [(await scene.farm.ending(f"t{number}")).outcome for number in range(1, 5)]
    assert outcomes == ["passed", "failed", "crashed", "crashed"]
    assert (await scene.farm.ending("t2")).duration_s == pytest.approx(1.5, abs=0.1)
    assert scene.loop.time() - began == pytest.approx(3.5, abs=0.5)  # in two slots
    assert scene.executions.ends == {"exited": 2, "signalled": 1, "lost": 1}
    beat = await scene.farm.beat(worker, lambda beat: beat.heartbeat is not None and beat.heartbeat.beat == 2)
    assert beat.heartbeat is not None
    assert beat.heartbeat.incarnation == worker.incarnation


@simulated
async def test_a_warm_session_runs_what_it_was_fed(scene: Scene) -> None:
    worker = await scene.started(scene.worker())
    works = [PytestWork(suite=SUITE, node_id=f"sim::0.2::{conduct}") for conduct in ("pass", "fail", "crash", "pass")]
    await scene.farm.assign(worker, *works * 3)
    outcomes = [(await scene.farm.ending(f"t{number}")).outcome for number in range(1, 13)]
    assert outcomes == ["passed", "failed", "crashed", "passed"] * 3
    assert scene.executions.live() == []


@simulated
async def test_a_slow_worker_takes_longer(scene: Scene) -> None:
    worker = await scene.started(scene.worker(slowness=4.0))
    await scene.farm.assign(worker, sim(0.5))
    assert (await scene.farm.ending("t1")).duration_s == pytest.approx(2.0, abs=0.2)


@simulated
async def test_a_killed_agent_is_reported_and_replaced_by_order(scene: Scene) -> None:
    made = scene.worker()
    worker = await scene.started(made)
    await scene.farm.assign(worker, sim(60), sim(60))
    for task_id in ("t1", "t2"):
        await scene.running(task_id)
    first, pid = worker.incarnation, worker.agent_pid
    killed = scene.loop.time()
    made.kill_agent()
    report = await scene.farm.exit_of(worker)
    assert scene.loop.time() - killed < 0.1
    assert (report.incarnation, report.signal, report.hung) == (first, signal.SIGKILL, False)
    assert scene.executions.ends == {"lost": 2}
    await scene.farm.say(WorkerFailed(worker_id="w1", reason="worker_exit", incarnation=first))
    await scene.farm.order_restart(worker)
    await scene.farm.registered(worker)
    assert worker.agent_pid != pid
    await scene.farm.assign(worker, sim(0.1), attempt=2)
    assert (await scene.farm.ending("t1", attempt=2)).outcome == "passed"


@simulated
async def test_a_stopped_agent_is_killed_by_the_watchdog(scene: Scene) -> None:
    made = scene.worker()
    worker = await scene.started(made)
    await scene.farm.assign(worker, sim(60))
    await scene.running("t1")
    stopped = scene.loop.time()
    made.pause_agent()
    report = await scene.farm.exit_of(worker)
    assert (report.hung, report.signal) == (True, signal.SIGKILL)
    assert scene.loop.time() - stopped < POLICY.watchdog_after * 1.25
    assert scene.executions.live() == []


@simulated
async def test_an_agent_that_waits_for_the_broker_is_not_hung(scene: Scene) -> None:
    made = scene.worker()
    made.start()
    await until(lambda: made.agent, what="the agent")
    scene.network.cut("worker-1")
    await scene.pass_time(POLICY.watchdog_after * 4)
    scene.network.heal("worker-1")
    await scene.farm.seen(is_kind(WorkerRegistered, worker_id="w1"), what="the registration")
    assert not await scene.farm.events(WorkerExited)


@simulated
async def test_a_first_agent_that_dies_before_it_registers_is_followed_by_another(scene: Scene) -> None:
    made = scene.worker()
    made.start()
    await until(lambda: made.agent, what="the agent")
    made.kill_agent()
    await scene.farm.seen(is_kind(WorkerRegistered, worker_id="w1"), what="the registration of the second")
    (exited,) = await scene.farm.events(WorkerExited)
    assert isinstance(exited.event, WorkerExited)
    assert exited.event.incarnation == 0


@simulated
async def test_a_worker_whose_agents_never_register_ends_and_says_so(scene: Scene) -> None:
    made = scene.worker()
    made.start()
    seen: set[int] = set()
    while len(seen) < POLICY.max_recovery_attempts:
        agent = await until(lambda: made.agent if made.agent and made.agent.pid not in seen else None, within_s=120)
        assert agent is not None
        seen.add(agent.pid)
        agent.kill()
    await until(lambda: not made.alive)
    assert made.ending is not None
    assert made.ending.code == FAILED
    assert "5 agents in a row" in made.ending.sentence


@simulated
async def test_a_worker_stopped_whole_loses_its_tasks_by_the_keepers_fence(scene: Scene) -> None:
    made = scene.worker()
    worker = await scene.started(made)
    await scene.farm.assign(worker, sim(60), sim(3.0))
    execution = await scene.running("t1")
    stopped = scene.loop.time()
    made.pause_both()
    await until(lambda: execution.ended, within_s=POLICY.failed_after, what="the fence")
    assert execution.ended is not None
    assert execution.ended - stopped < POLICY.self_fence_after + 0.1
    assert scene.executions.ends == {"exited": 1, "fenced": 1}
    await scene.farm.say(WorkerFailed(worker_id="w1", reason="silence", incarnation=worker.incarnation))
    made.resume_both()
    await scene.farm.registered(worker)
    await scene.farm.assign(worker, sim(0.1), first=3)
    assert (await scene.farm.ending("t3")).incarnation == worker.incarnation
    assert not await scene.farm.events(WorkerExited)


@simulated
async def test_a_worker_cut_off_fences_itself_and_delivers_later(scene: Scene) -> None:
    worker = await scene.started(scene.worker())
    await scene.farm.assign(worker, sim(60), sim(5.0))
    execution = await scene.running("t1")
    await scene.running("t2")
    cut = scene.loop.time()
    scene.network.cut("worker-1")
    await until(lambda: execution.ended, within_s=POLICY.failed_after, what="the fence")
    assert execution.ended is not None
    assert execution.ended - cut < POLICY.failed_after - POLICY.heartbeat_interval
    assert await scene.farm.story("t2") == ["assigned", "started"]
    scene.network.heal("worker-1")
    assert (await scene.farm.ending("t2")).outcome == "passed"
    assert (await scene.farm.ending("t1")).outcome == "fenced"
    await scene.farm.assign(worker, sim(0.1), first=3)
    assert (await scene.farm.ending("t3")).incarnation == worker.incarnation


@simulated
async def test_everything_of_a_worker_dies_with_its_supervisor(scene: Scene) -> None:
    made = scene.worker()
    worker = await scene.started(made)
    for kill in (made.kill_supervisor, made.kill_both, made.power_off):
        await scene.farm.assign(worker, sim(60), first=worker.incarnation)
        execution = await scene.running(f"t{worker.incarnation}")
        kill()
        assert made.agent is not None
        assert not made.agent.process.alive
        await until(lambda execution=execution: execution.ended, within_s=0.1)  # type: ignore[misc]
        assert (made.alive, made.ending) == (False, None)
        former = worker.incarnation
        worker = await scene.started(made)
        assert worker.incarnation > former
    assert not await scene.farm.events(WorkerExited)


@simulated
async def test_a_worker_drains(scene: Scene) -> None:
    made = scene.worker()
    worker = await scene.started(made)
    await scene.farm.assign(worker, sim(1.0), sim(60, "hang"), sim(1.0))
    await scene.running("t1")
    await scene.running("t2")
    made.terminate()
    await scene.farm.seen(is_kind(WorkerStopped, incarnation=worker.incarnation))
    await until(lambda: not made.alive)
    assert made.ending is not None
    assert made.ending.code == 0
    assert await scene.farm.events(WorkerDraining)
    assert await scene.farm.story("t1") == ["assigned", "started", "passed"]
    assert await scene.farm.story("t2") == ["assigned", "started", "returned"]
    assert await scene.farm.story("t3") == ["assigned", "returned"]
    assert len(await scene.farm.events(TaskReturned)) == 2


@simulated
async def test_the_newer_of_two_workers_with_one_id_wins(scene: Scene) -> None:
    older = scene.worker()
    await scene.started(older)
    newer = await scene.started(scene.worker(host="worker-2"))
    await until(lambda: not older.alive)
    assert older.ending is not None
    assert older.ending.code == SUPERSEDED
    await scene.farm.assign(newer, sim(0.1))
    assert (await scene.farm.ending()).incarnation == newer.incarnation
    assert not await scene.farm.events(WorkerExited)


@simulated
async def test_poison_takes_its_worker_down(scene: Scene) -> None:
    made = scene.worker()
    worker = await scene.started(made)
    for attempt, (conduct, hung) in enumerate((("kill-agent", False), ("stop-agent", True)), start=1):
        await scene.farm.assign(worker, sim(0.5, conduct), attempt=attempt)
        assert (await scene.farm.exit_of(worker, incarnation=worker.incarnation)).hung is hung
        await scene.farm.order_restart(worker, attempt)
        await scene.farm.registered(worker)
    await scene.farm.assign(worker, sim(0.5, "kill-worker"), attempt=3)
    await until(lambda: not made.alive)
    await until(lambda: not scene.executions.live(), within_s=0.1)


def test_one_seed_gives_one_log() -> None:
    def log_of(seed: int) -> list[bytes]:
        scene = Scene(seed)
        log: list[bytes] = []

        async def acts(scene: Scene) -> None:
            worker = await scene.started(made := scene.worker())
            await scene.farm.assign(worker, *[sim(0.3, conduct) for conduct in ("pass", "fail", "crash", "pass")])
            await scene.farm.ending("t3")
            made.kill_agent()
            await scene.farm.exit_of(worker)
            for recorded in await scene.farm.events():
                assert recorded.envelope is not None
                log.append(codec.encode(recorded.envelope))

        scene.play(acts)
        return log

    assert log_of(3) == log_of(3)
    assert log_of(3) != log_of(4)
