"""The witness that a worker leaves behind, where nobody else could testify that nothing is left of it."""

import os
import signal
from collections.abc import AsyncIterator

import psutil
import pytest

from events.bus import Bus
from events.streams import Streams
from events.task import TaskStarted
from events.worker import WorkerRegistered
from tests.waiting import is_kind, until
from tests.worker.farm import CLINGS, Farm, Worker, command
from tests.worker.processes import bystanders
from worker.lifeline import Lifeline
from worker.witness import ask_witness

OWN_BYTES_MAX = 16 * 1024 * 1024
"""What a waiting witness may cost the machine beside what it shares: generous; 4 MiB were measured."""


@pytest.fixture
async def farm(bus: Bus, streams: Streams) -> AsyncIterator[Farm]:
    made = Farm(bus, streams)
    await made.rule()
    yield made
    made.stop()


async def lifeline_of(farm: Farm, worker: Worker) -> Lifeline:
    event = (await farm.seen(is_kind(WorkerRegistered, worker_id=worker.worker_id))).event
    assert isinstance(event, WorkerRegistered)
    assert event.machine is not None
    assert event.lifeline is not None
    return Lifeline(event.machine, event.lifeline)


async def asked(farm: Farm, lifeline: Lifeline) -> bool | None:
    return await ask_witness(farm.bus, farm.streams, lifeline, timeout_s=0.25)


def kill_whole(worker: Worker) -> None:
    """Supervisor and agent, in one moment: neither can report the other."""
    os.kill(worker.process.pid, signal.SIGSTOP)
    os.kill(worker.agent_pid, signal.SIGKILL)
    worker.process.kill()
    worker.process.wait()


async def test_it_testifies_for_a_worker_that_was_alone(farm: Farm) -> None:
    worker = await farm.start()
    await farm.assign(worker, command(*CLINGS))
    await farm.seen(is_kind(TaskStarted, task_id="t1"))
    lifeline = await lifeline_of(farm, worker)
    [pid] = bystanders(worker.mark)
    assert await asked(farm, lifeline) is True, "the supervisor says so"
    kill_whole(worker)

    async def told() -> list[bool]:
        held = await asked(farm, lifeline)
        return [] if held is None else [held]

    testimony: list[bool] = await until(told, what="the testimony")
    assert testimony == [False], "it speaks when nothing is left"
    assert worker.alive() == []
    await until(lambda: not psutil.pid_exists(pid), what="the end of the witness")


async def test_the_kill_of_a_whole_process_group_does_not_take_it_along(farm: Farm) -> None:
    worker = await farm.start()
    [pid] = bystanders(worker.mark)
    assert os.getsid(pid) == os.getpgid(pid) != os.getpgid(worker.process.pid)
    family = psutil.Process(worker.process.pid).children(recursive=True)
    assert pid not in [process.pid for process in family], "nor does a supervisor that sweeps up"


async def test_it_costs_little_while_it_waits(farm: Farm) -> None:
    worker = await farm.start()
    [pid] = bystanders(worker.mark)
    assert psutil.Process(pid).memory_full_info().uss < OWN_BYTES_MAX
    assert psutil.Process(pid).num_threads() == 1


async def test_an_agent_that_is_replaced_is_no_matter_of_its(farm: Farm) -> None:
    worker = await farm.start()
    before = bystanders(worker.mark)
    os.kill(worker.agent_pid, signal.SIGKILL)
    await farm.exit_of(worker)
    await farm.order_restart(worker)
    await farm.registered(worker)
    assert bystanders(worker.mark) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_leaves_with_a_worker_that_ends_in_order(farm: Farm, number: signal.Signals) -> None:
    worker = await farm.start()
    assert len(bystanders(worker.mark)) == 1
    worker.process.send_signal(number)
    assert await worker.ended() == 0
    assert bystanders(worker.mark) == []


async def test_it_leaves_with_a_worker_that_could_not_begin(farm: Farm) -> None:
    farm.bus.url = "nats://127.0.0.1:1"
    worker = farm.launch()
    assert await worker.ended() == 3
    assert bystanders(worker.mark) == []


async def test_a_worker_whose_witness_was_killed_does_not_mind(farm: Farm) -> None:
    worker = await farm.start()
    [pid] = bystanders(worker.mark)
    os.kill(pid, signal.SIGKILL)
    await farm.assign(worker, command("true"))
    assert (await farm.ending("t1")).outcome == "passed"
    worker.process.send_signal(signal.SIGTERM)
    assert await worker.ended() == 0


async def test_what_the_worker_writes_ends_with_it(farm: Farm) -> None:
    """Whoever reads its output waits for nobody else."""
    worker = await farm.start()
    [pid] = bystanders(worker.mark)
    kill_whole(worker)
    worker.stderr()
    assert psutil.pid_exists(pid)
