"""The agent through its own eyes and ears, the log: what it is told there, and what it says."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from events.connection import Connection
from events.envelope import Recorded
from events.policy import Policy
from events.streams import MIB, Streams, ensure_streams
from events.task import TaskAssigned, TaskAttemptFinished, TaskReturned, TaskRevoked, TaskStarted
from events.worker import (
    WorkerDraining,
    WorkerExited,
    WorkerFailed,
    WorkerProbeAnswered,
    WorkerRecoveryProbed,
    WorkerRegistered,
    WorkerStopped,
)
from tests.conftest import nats_server_binary
from tests.waiting import is_kind, until
from tests.worker.farm import (
    CLINGS,
    RUN,
    SHORT,
    SLEEPS,
    Farm,
    MortalBroker,
    command,
    gated,
    holds,
    script,
    suite_in,
    waits_for,
    work_of,
)


async def started(farm: Farm, task_id: str, **fields: object) -> Recorded:
    return await farm.seen(is_kind(TaskStarted, task_id=task_id, **fields), what=f"the start of {task_id}")


# Tasks


async def test_how_tasks_end(farm: Farm, tmp_path: Path) -> None:
    suite = suite_in(tmp_path / "suite", "def test_good(): pass\ndef test_bad(): assert 1 == 2\n")
    worker = await farm.start(slots=2)
    works = [command("true"), command("sh", "-c", "echo so; exit 3"), script("import os; os.kill(os.getpid(), 11)")]
    await farm.assign(worker, *works, *work_of(suite, "test_good", "test_bad"))
    outcomes = [(await farm.ending(f"t{number}")).outcome for number in range(1, 6)]
    assert outcomes == ["passed", "failed", "crashed", "passed", "failed"]
    failed = await farm.ending("t2")
    assert (failed.exit_code, failed.output) == (3, "so\n")
    assert "assert 1 == 2" in (await farm.ending("t5")).message
    for number in range(1, 6):
        assert await farm.story(f"t{number}") == ["assigned", "started", outcomes[number - 1]]


async def test_reports_name_what_they_answer_to(farm: Farm) -> None:
    worker = await farm.start()
    assigned = await farm.log.read_one(await farm.assign(worker, command("true"), attempt=2))
    assert assigned is not None
    await farm.ending()
    for recorded in await farm.events(TaskStarted, TaskAttemptFinished):
        envelope, event = recorded.envelope, recorded.event
        assert envelope is not None
        assert isinstance(event, TaskStarted | TaskAttemptFinished)
        assert (envelope.correlation_id, envelope.causation_id) == (RUN, assigned.id)
        assert (event.worker_id, event.incarnation, event.attempt) == ("w1", worker.incarnation, 2)


async def test_the_end_of_a_task_and_the_start_of_the_next_are_stored_together(farm: Farm, tmp_path: Path) -> None:
    suite = suite_in(tmp_path / "suite", "import time\ndef test_a(): time.sleep(0.1)\ndef test_b(): time.sleep(0.1)\n")
    worker = await farm.start()
    await farm.assign(worker, *work_of(suite, "test_a", "test_b"))
    await farm.ending("t2")
    end = await farm.seen(is_kind(TaskAttemptFinished, task_id="t1"))
    start = await started(farm, "t2")
    assert start.sequence == end.sequence + 1


async def test_text_that_does_not_fit_is_cut(farm: Farm) -> None:
    worker = await farm.start()
    await farm.assign(worker, script("import sys; sys.stdout.write('begin' + chr(7) * 300_000 + 'end')"))
    end = await farm.ending()
    assert end.outcome == "passed"
    assert end.output.startswith("begin")
    assert end.output.endswith("end")
    assert "left out" in end.output


async def test_again_attempted_tasks_start_first_then_by_priority(farm: Farm, tmp_path: Path) -> None:
    worker = await farm.start()
    gate = tmp_path / "gate"
    await farm.assign(worker, script(waits_for(gate)))
    await started(farm, "t1")
    await farm.assign(worker, command("true"), command("true"), first=2)
    await farm.assign(worker, command("true"), first=4, priority=5)
    last = await farm.assign(worker, command("true"), first=5, attempt=2)
    await farm.beat(worker, lambda beat: beat.heartbeat is not None and holds(beat.heartbeat, "t1", 4))
    gate.touch()
    await farm.seen(is_kind(TaskAttemptFinished, task_id="t3"))
    order = [recorded.event for recorded in await farm.events(TaskStarted) if recorded.sequence > last]
    assert [event.task_id for event in order if isinstance(event, TaskStarted)] == ["t5", "t4", "t2", "t3"]


async def test_an_urgent_task_overtakes_what_a_warm_process_was_fed(farm: Farm, tmp_path: Path) -> None:
    gate, suite = gated(tmp_path)
    worker = await farm.start()
    await farm.assign(worker, *work_of(suite, "test_waits", "test_quick", "test_quick", "test_quick"))
    await started(farm, "t1")
    await farm.assign(worker, command("true"), first=5, attempt=2)
    await farm.beat(worker, lambda beat: beat.heartbeat is not None and holds(beat.heartbeat, "t1", 4))
    gate.touch()
    await farm.ending("t4")
    order = [recorded.event for recorded in await farm.events(TaskStarted)]
    assert [event.task_id for event in order if isinstance(event, TaskStarted)] == ["t1", "t5", "t2", "t3", "t4"]


async def test_an_idle_slot_takes_over_what_stands_behind_a_long_test(farm: Farm, tmp_path: Path) -> None:
    gate, suite = gated(tmp_path)
    worker = await farm.start(slots=2)
    await farm.assign(worker, *work_of(suite, "test_waits", "test_quick", "test_quick", "test_quick", "test_quick"))
    for number in range(2, 6):
        assert (await farm.ending(f"t{number}")).outcome == "passed"
    gate.touch()
    assert (await farm.ending("t1")).outcome == "passed"


async def test_a_warm_suite_is_ready_before_its_first_test(farm: Farm, tmp_path: Path) -> None:
    suite = suite_in(tmp_path / "suite", "from pathlib import Path\nPath('collected').touch()\ndef test_it(): pass\n")
    worker = await farm.start("w1", "--warm-suite", msgspec.json.encode(suite).decode())
    await until((tmp_path / "suite" / "collected").exists, what="the collection of the suite")
    await farm.assign(worker, *work_of(suite, "test_it"))
    assert (await farm.ending()).outcome == "passed"


# Orders to stop


async def test_what_is_revoked_before_it_began_is_handed_back(farm: Farm, tmp_path: Path) -> None:
    gate, suite = gated(tmp_path)
    worker = await farm.start()
    await farm.assign(worker, *work_of(suite, "test_waits", "test_quick"), command("true"))
    await started(farm, "t1")
    for task_id in ("t2", "t3"):  # one with the warm process, one with the agent
        await farm.say(TaskRevoked(task_id=task_id, worker_id="w1", incarnation=worker.incarnation, attempt=1))
        await farm.seen(is_kind(TaskReturned, task_id=task_id, attempt=1))
    gate.touch()
    await farm.ending("t1")
    assert await farm.story("t2") == ["assigned", "revoked", "returned"]
    assert await farm.story("t3") == ["assigned", "revoked", "returned"]


async def test_what_is_revoked_while_it_runs_is_gone_when_it_is_reported(farm: Farm) -> None:
    worker = await farm.start()
    await farm.assign(worker, command(*CLINGS), command("true"))
    await started(farm, "t1")
    pids = await worker.beneath(3)
    await farm.say(TaskRevoked(task_id="t1", worker_id="w1", incarnation=worker.incarnation, attempt=1))
    assert (await farm.ending("t1")).outcome == "cancelled"
    assert not set(pids) & set(worker.alive())
    assert (await farm.ending("t2")).outcome == "passed"


async def test_orders_for_another_incarnation_are_not_heard(farm: Farm) -> None:
    worker = await farm.start()
    await farm.assign(worker, command(*SLEEPS))
    await started(farm, "t1")
    for incarnation in (0, worker.incarnation - 1, worker.incarnation + 1000):
        await farm.say(
            TaskAssigned(task_id="t9", worker_id="w1", incarnation=incarnation, attempt=1, work=command("true")),
            TaskRevoked(task_id="t1", worker_id="w1", incarnation=incarnation, attempt=1),
            WorkerFailed(worker_id="w1", reason="silence", incarnation=incarnation),
        )
    # The same id on another attempt is not the one that runs either, and that is said.
    await farm.say(TaskRevoked(task_id="t1", worker_id="w1", incarnation=worker.incarnation, attempt=2))
    await farm.say(WorkerRecoveryProbed(worker_id="w1", incarnation=worker.incarnation, attempt=3))
    await farm.seen(is_kind(WorkerProbeAnswered, incarnation=worker.incarnation, attempt=3))
    assert "started" not in await farm.story("t9")
    assert await farm.story("t1") == ["assigned", "started", *["revoked"] * 4, "returned"]
    await farm.seen(is_kind(TaskReturned, task_id="t1", attempt=2, unknown=True))


async def test_an_assignment_read_twice_runs_once(farm: Farm) -> None:
    worker = await farm.start()
    await farm.assign(worker, command("sh", "-c", "sleep 0.2"))
    await farm.assign(worker, command("sh", "-c", "sleep 0.2"))
    await farm.assign(worker, command("true"), first=2)
    await farm.ending("t2")
    assert (await farm.story("t1")).count("started") == 1


# Heartbeats, fence, condemnation


async def test_heartbeats_tell_how_it_goes(farm: Farm) -> None:
    worker = await farm.start(slots=1)
    await farm.assign(worker, command(*SLEEPS), command("true"), command("true"))
    recorded = await farm.beat(worker, lambda beat: beat.heartbeat is not None and beat.heartbeat.running == ("t1",))
    beat = recorded.heartbeat
    assert beat is not None
    assert beat.incarnation == worker.incarnation
    assert beat.queued == 2
    assert beat.memory_bytes > 10 * MIB
    assert 0 <= beat.loop_lag_s < 1
    first = await farm.beat(worker, lambda beat: beat.heartbeat is not None and beat.heartbeat.beat == 1)
    registered = await farm.log.read_one(worker.incarnation)
    assert registered is not None
    assert first.time - registered.time < 0.5


async def test_a_worker_stopped_whole_loses_its_tasks_by_their_own_fence(farm: Farm) -> None:
    """Nobody of the worker can act, but for the tasks' keepers; later it finds itself given up and begins anew."""
    worker = await farm.start()
    await farm.assign(worker, command(*CLINGS), command("true"))
    await started(farm, "t1")
    await worker.beneath(3)
    own = {worker.process.pid, worker.agent_pid}
    for pid in own:
        os.kill(pid, signal.SIGSTOP)
    await until(
        lambda: set(worker.alive()) == own, within_s=SHORT.failed_after, what="the tasks to be gone by the fence"
    )
    first, pid = worker.incarnation, worker.agent_pid
    await farm.assign(worker, command("true"), first=4)
    await farm.say(WorkerFailed(worker_id="w1", reason="silence", incarnation=first))
    for stopped in own:
        os.kill(stopped, signal.SIGCONT)
    await farm.registered(worker)
    assert worker.agent_pid == pid
    await farm.assign(worker, command("true"), first=3)
    assert (await farm.ending("t3")).incarnation == worker.incarnation
    assert "started" not in await farm.story("t2") + await farm.story("t4")
    assert not await farm.events(WorkerExited)


async def test_a_condemned_worker_drops_all_and_begins_anew(farm: Farm) -> None:
    worker = await farm.start()
    await farm.assign(worker, command(*CLINGS), command("true"))
    await started(farm, "t1")
    pids = await worker.beneath(3)
    failed = (await farm.say(WorkerFailed(worker_id="w1", reason="synthetic"))).last
    assert (await farm.registered(worker)).sequence > failed
    assert not set(pids) & set(worker.alive())
    await farm.assign(worker, command("true"), first=3)
    assert (await farm.ending("t3")).incarnation == worker.incarnation
    assert await farm.story("t1") == ["assigned", "started"]
    assert await farm.story("t2") == ["assigned"]


# The broker


@pytest.fixture
async def mortal(tmp_path: Path) -> AsyncIterator[tuple[Farm, MortalBroker]]:
    broker = MortalBroker(tmp_path, nats_server_binary())
    await broker.start()
    bus = await Connection.connect(broker.url, name="test")
    streams = Streams(events_bytes_max=64 * MIB, heartbeats_bytes_max=64 * MIB, snapshots_bytes_max=64 * MIB)
    await ensure_streams(bus, streams)
    farm = Farm(bus, streams)
    await farm.rule()
    yield farm, broker
    farm.stop()
    await bus.close()
    broker.kill()


async def test_results_made_without_a_broker_arrive_once_and_in_order(
    mortal: tuple[Farm, MortalBroker], tmp_path: Path
) -> None:
    farm, broker = mortal
    await farm.rule(Policy())  # under the short one, it would soon begin nothing without an acknowledged heartbeat
    # The file of each task says that it was run, whether or not anybody could be told.
    worker = await farm.start()
    works = [script(f"import time; time.sleep(0.02); open({str(tmp_path / f'ran{n}')!r}, 'x')") for n in range(1, 31)]
    await farm.assign(worker, *works)
    await farm.ending("t3")
    broker.kill()
    await until((tmp_path / "ran6").exists, what="a task that ends while the broker is away")
    await broker.start()
    await farm.ending("t30")
    ids = [recorded.id for recorded in await farm.events()]
    assert len(ids) == len(set(ids))
    told = [recorded.event for recorded in await farm.events(TaskStarted, TaskAttemptFinished)]
    expected = [
        (kind, f"t{number}", "passed" if kind is TaskAttemptFinished else None)
        for number in range(1, 31)
        for kind in (TaskStarted, TaskAttemptFinished)
    ]
    assert [(type(event), getattr(event, "task_id", ""), getattr(event, "outcome", None)) for event in told] == expected


async def test_a_worker_cut_off_for_long_fences_itself_and_says_so(mortal: tuple[Farm, MortalBroker]) -> None:
    farm, broker = mortal
    worker = await farm.start()
    await farm.assign(worker, command(*CLINGS), command("true"))
    await started(farm, "t1")
    pids = await worker.beneath(3)
    broker.kill()
    await until(
        lambda: not set(pids) & set(worker.alive()),
        within_s=SHORT.failed_after,
        what="the task to be gone by the fence",
    )
    await broker.start()
    assert [(await farm.ending(task_id)).outcome for task_id in ("t1", "t2")] == ["fenced", "fenced"]
    assert await farm.story("t2") == ["assigned", "fenced"]
    await farm.assign(worker, command("true"), first=3)
    assert (await farm.ending("t3")).incarnation == worker.incarnation


async def test_a_worker_waits_for_the_streams(tmp_path: Path) -> None:
    broker = MortalBroker(tmp_path, nats_server_binary())
    await broker.start()
    bus = await Connection.connect(broker.url, name="test")
    farm = Farm(bus, Streams(events_bytes_max=64 * MIB, heartbeats_bytes_max=64 * MIB, snapshots_bytes_max=64 * MIB))
    worker = farm.launch()
    assert worker.process.stderr is not None
    line = await asyncio.to_thread(worker.process.stderr.readline)
    assert b"waiting_for_coordinator" in line
    await ensure_streams(bus, farm.streams)
    await farm.registered(worker, after=0)
    farm.stop()
    await bus.close()
    broker.kill()


# The end


async def test_a_worker_drains(farm: Farm, tmp_path: Path) -> None:
    gate, suite = gated(tmp_path)
    worker = await farm.start()
    await farm.assign(worker, *work_of(suite, "test_waits", "test_quick"), command("true"))
    await started(farm, "t1")
    worker.process.send_signal(signal.SIGTERM)
    await farm.seen(is_kind(WorkerDraining, incarnation=worker.incarnation))
    await farm.assign(worker, command("true"), first=4)
    await farm.seen(is_kind(TaskReturned, task_id="t4"))
    gate.touch()
    assert await worker.ended() == 0
    assert worker.stderr() == ""
    assert await farm.story("t1") == ["assigned", "started", "passed"]
    assert await farm.story("t2") == ["assigned", "returned"]
    assert await farm.story("t3") == ["assigned", "returned"]
    assert isinstance((await farm.events())[-1].event, WorkerStopped)


async def test_what_does_not_end_while_it_drains_is_killed_and_handed_back(farm: Farm) -> None:
    worker = await farm.start("w1", "--drain-timeout", "0.2")
    await farm.assign(worker, command(*CLINGS))
    await started(farm, "t1")
    worker.process.send_signal(signal.SIGTERM)
    assert await worker.ended() == 0
    assert await farm.story("t1") == ["assigned", "started", "returned"]
    assert worker.alive() == []


async def test_asked_twice_it_stops_at_once(farm: Farm) -> None:
    worker = await farm.start()
    await farm.assign(worker, command(*CLINGS))
    await started(farm, "t1")
    worker.process.send_signal(signal.SIGTERM)
    await farm.seen(is_kind(WorkerDraining))
    worker.process.send_signal(signal.SIGTERM)
    assert await worker.ended(within_s=3) == 0
    assert await farm.story("t1") == ["assigned", "started", "returned"]
    await farm.seen(is_kind(WorkerStopped, incarnation=worker.incarnation))


async def test_a_worker_told_to_stop_before_it_works_stops_in_order(farm: Farm) -> None:
    worker = farm.launch()
    await farm.seen(is_kind(WorkerRegistered))
    worker.process.send_signal(signal.SIGTERM)
    assert await worker.ended() == 0
    await farm.seen(is_kind(WorkerStopped))
