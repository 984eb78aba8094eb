"""The broker loses what it had acknowledged: the last heartbeats in a crash, and with its default rhythm of syncing the
last events in a power loss. Sequences that were read come again, and mean something else."""

import asyncio
import random
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from events import codec
from events.envelope import Recorded
from events.heartbeats import decode_heartbeat
from events.jetstream import JetStreamLog
from events.system import DetectorDegraded
from events.task import TaskCompleted, TaskSubmitted
from events.worker import WorkerFailed, WorkerRegistered, WorkerSuspected
from projections.verify import first_difference
from replay.invariants import Checker, Violation
from tests.simulation.faults import LEADER, Fault, FaultKind
from tests.simulation.loop import VirtualLoop
from tests.simulation.protocol import Message
from tests.simulation.scenario import Outcome, Scenario, Workload
from tests.simulation.storage import Stored
from tests.simulation.world import MEMORY, World, quiet_logs, simulate

BROKER, W1, W2, C1 = "broker", "worker-1", "worker-2", "coordinator-1"
SEEDS = (1, 2, 3, 4)


def power_loss(at: float, duration_s: float = 2.0) -> Fault:
    return Fault(at=at, kind=FaultKind.BROKER_POWER_LOSS, target=BROKER, duration_s=duration_s)


def crash(at: float, duration_s: float = 1.0) -> Fault:
    return Fault(at=at, kind=FaultKind.BROKER_CRASH, target=BROKER, duration_s=duration_s)


SCHEDULES: dict[str, tuple[Fault, ...]] = {
    "crashes": tuple(crash(at) for at in range(20, 80, 3)),
    "a power loss": (power_loss(60.0),),
    "power losses, the second of which reaches further back": (power_loss(60.0), power_loss(63.0, 0.5)),
    "a worker dies while nobody can know whether it had been heard": (
        power_loss(60.0),
        Fault(at=60.5, kind=FaultKind.WORKER_CRASH, target=W1, duration_s=40.0),
        Fault(at=62.3, kind=FaultKind.WORKER_HANG, target=W2, duration_s=25.0),
    ),
    "a suspect is heard again behind the loss": (
        Fault(at=50.0, kind=FaultKind.WORKER_HANG, target=W1, duration_s=12.0),
        power_loss(59.0),
    ),
    "the leader dies before it can say what it has lost": (
        power_loss(60.0),
        Fault(at=62.05, kind=FaultKind.COORDINATOR_CRASH, target=LEADER, duration_s=20.0),
    ),
    "the leader sleeps through the loss": (
        Fault(at=58.0, kind=FaultKind.LEADER_PAUSE, target=LEADER, duration_s=12.0),
        power_loss(60.0),
    ),
    "standbys lead in turn, each with a loss of its own": (
        power_loss(60.0),
        Fault(at=66.0, kind=FaultKind.COORDINATOR_HANG, target=LEADER, duration_s=6.0),
        Fault(at=74.0, kind=FaultKind.COORDINATOR_HANG, target=LEADER, duration_s=6.0),
        crash(78.0),
        Fault(at=82.0, kind=FaultKind.COORDINATOR_HANG, target=LEADER, duration_s=6.0),
    ),
    "the host of the broker": (
        Fault(at=40.0, kind=FaultKind.HOST_POWER_LOSS, target=BROKER, duration_s=20.0),
        Fault(at=70.0, kind=FaultKind.HOST_POWER_LOSS, target=BROKER, duration_s=1.0),
    ),
}


def lived(seed: int, schedule: tuple[Fault, ...]) -> Outcome:
    scenario = Scenario(
        seed=seed,
        workers=3,
        coordinators=2,
        faulty_s=120.0,
        workload=Workload(at_start=5, per_minute=30.0, duration_s=(0.5, 8.0)),
        schedule=schedule,
    )
    return simulate(scenario, keep_records=True)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_lost_heartbeats(name: str, seed: int) -> None:
    outcome = lived(seed, SCHEDULES[name])
    assert outcome.violation is None, str(outcome.violation)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["crashes", "a power loss", "power losses, the second of which reaches further back"])
def test_nobody_looks_silent_who_beats(name: str, seed: int) -> None:
    """Readers used to wait for the sequences behind the last one that they had read before the loss."""
    records = lived(seed, SCHEDULES[name]).records
    assert [recorded for recorded in records if isinstance(recorded.event, WorkerSuspected | WorkerFailed)] == []
    told = [recorded.event for recorded in records if isinstance(recorded.event, DetectorDegraded)]
    assert {event.reason for event in told} == {"heartbeats_lost"}


# The log itself


class Rest(NamedTuple):
    """A system behind a power loss that has cost it the end of its log."""

    lost: int
    """Events."""
    records: list[Recorded]
    violations: list[Violation]
    unhandled: list[str]
    agents: list[bool]
    difference: str | None
    """Between the projector's tables and a rebuild."""


def first_lost(world: World, dead: str | None) -> Stored:
    """Any event, or the registration of the worker that is `dead`. It is chosen from what there is: a moment that is
    drawn may fall behind the last event, or not reach as far back as it has to."""
    stored = list(world.broker.streams[world.streams.events].existing())
    if dead is None:
        return random.Random(f"{world.scenario.seed}/{world.broker.now()}").choice(stored)
    return next(one for one in stored if one.subject == f"{world.streams.namespace}.event.worker.{dead}.registered")


async def rest_of(world: World, *, at: float, down_s: float, dead: str | None) -> tuple[int, list[bool], str | None]:
    broker, events = world.broker, world.streams.events
    broker.start()
    for coordinator in world.coordinators.values():
        coordinator.start()
    for worker in world.workers.values():
        worker.start()
    assert world.projector is not None
    world.projector.start()
    await world._in_client(world._submit())
    await asyncio.sleep(at)
    if dead is not None:
        world.workers[dead].kill_agent()
        await asyncio.sleep(0.003)
    before = broker.streams[events].last_sequence
    broker.power_loss(sync_always=False, written_until=first_lost(world, dead).stored_at)
    lost = before - broker.streams[events].last_sequence
    await asyncio.sleep(down_s)
    broker.start()
    await asyncio.sleep(300.0)
    agents = [worker.alive for worker in world.workers.values()]
    path = world.projector.path
    world.projector.terminate()
    assert world.projector.process is not None
    await world.projector.process.wait()
    bus = await broker.connect(world.user, "auditor", wait_s=10.0)
    return lost, agents, await first_difference(path, JetStreamLog(bus, world.streams))


def after_power_loss(seed: int, *, at: float, down_s: float = 5.0, dead: str | None = None) -> Rest:
    """`dead`: a worker whose agent has just died when it happens."""
    scenario = Scenario(
        seed=seed,
        workers=3,
        coordinators=1 + seed % 2,
        projector=True,
        workload=Workload(at_start=30, duration_s=(1.0, 20.0)),
    )
    folder = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="resurgam-simulation-", dir=folder) as path, quiet_logs():
        loop = VirtualLoop()
        world = World(scenario, loop, Path(path))
        try:
            lost, agents, difference = loop.run_until_complete(rest_of(world, at=at, down_s=down_s, dead=dead))
        finally:
            loop.close()
    streams = world.broker.streams
    records = [
        codec.decode(one.sequence, one.time_ns / 1e9, one.subject, one.data, one.headers)
        for one in streams[world.streams.events].existing()
    ]
    violations = judged(records, streams[world.streams.heartbeats].existing())
    return Rest(lost, records, violations, [str(one) for one in loop.unhandled], agents, difference)


def judged(records: list[Recorded], heartbeats: Iterable[Stored]) -> list[Violation]:
    """By what is left: the log may not contradict itself."""
    checker = Checker(reproduce=True)
    for one in heartbeats:
        message = Message(one.subject, "", one.data, one.headers)
        checker.observe(decode_heartbeat(one.sequence, one.time_ns / 1e9, message))
    for recorded in records:
        checker.feed(recorded)
    checker.at_rest()
    return checker.violations


@pytest.mark.parametrize("at", [9.0, 25.0, 40.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_log_that_has_lost_its_end_is_a_whole_log(seed: int, at: float) -> None:
    """Whoever has folded what is gone folds anew, workers whose registration is gone register again, and the tasks that
    are left get their verdicts, those again whose verdict is gone."""
    rest = after_power_loss(seed, at=at)
    assert rest.violations == []
    assert rest.unhandled == []
    assert rest.difference is None
    assert rest.agents == [True] * 3
    assert rest.lost > 0
    left = {recorded.event.task_id for recorded in rest.records if isinstance(recorded.event, TaskSubmitted)}
    done = {recorded.event.task_id for recorded in rest.records if isinstance(recorded.event, TaskCompleted)}
    assert done == left
    registered = {recorded.event.worker_id for recorded in rest.records if isinstance(recorded.event, WorkerRegistered)}
    assert registered == {"worker-1", "worker-2", "worker-3"}


@pytest.mark.parametrize("seed", [11, 20, 34])
def test_a_worker_of_which_nobody_knows_any_more_comes_back(seed: int) -> None:
    """Its registration is lost, and its supervisor waits for the order to start a new agent: nobody will give it."""
    rest = after_power_loss(seed, at=6.0, dead=W1)
    assert rest.violations == []
    registered = [recorded.event for recorded in rest.records if isinstance(recorded.event, WorkerRegistered)]
    assert {event.worker_id for event in registered} == {"worker-1", "worker-2", "worker-3"}
