"""Two processes under one worker id, in virtual time: the newer one stays, and nothing of both runs at one time."""

import asyncio
from collections.abc import Sequence
from typing import cast

import msgspec
import pytest

from events.envelope import Draft
from events.jetstream import JetStreamLog
from events.log import Appended, EventLog, Fence
from events.task import TaskStarted
from events.worker import WorkerClaimed, WorkerExited, WorkerFailed, WorkerRegistered, WorkerStopped
from events.writer import Writer, append_until_stored
from tests.simulation.test_worker import POLICY, Scene, sim, simulated
from tests.simulation.worker import SimWorker
from tests.waiting import is_kind, until
from tests.worker.farm import Worker
from worker import succession
from worker.agent import STOPPED, SUPERSEDED
from worker.lifeline import Lifeline
from worker.ports import Processes
from worker.succession import Succession

LONG_S = POLICY.failed_after * 3


async def busy(scene: Scene) -> tuple[SimWorker, Worker]:
    """An older worker, with a task that runs in each slot."""
    older = scene.worker()
    seen = await scene.started(older)
    await scene.farm.assign(seen, sim(600, "hang"), sim(600))
    for task_id in ("t1", "t2"):
        await scene.running(task_id)
    return older, seen


async def registered(scene: Scene, seen: Worker) -> Worker:
    """The next incarnation of the worker, whoever it is."""
    within_s = LONG_S + POLICY.failed_after
    kind = is_kind(WorkerRegistered, worker_id="w1")
    recorded = await scene.farm.seen(kind, within_s, after=seen.incarnation, what="the registration of the newer one")
    return incarnation(recorded.sequence)


def incarnation(sequence: int) -> Worker:
    """One of the worker, whoever it is: as the farm addresses it."""
    worker = Worker("w1", None, "")  # type: ignore[arg-type]  # there is no such process
    worker.incarnation = sequence
    return worker


async def has_given_way(older: SimWorker, within_s: float = 10.0) -> None:
    await until(lambda: older.ending, within_s, "the end of the older one")
    assert older.ending is not None
    assert older.ending.code == SUPERSEDED
    assert "two workers cannot share an id" in older.ending.sentence


async def works_on(scene: Scene, newer: Worker) -> None:
    """It has the tasks of the older one, and keeps its id."""
    await scene.farm.assign(newer, sim(0.1), sim(0.1), attempt=2)
    for task_id in ("t1", "t2"):
        assert (await scene.farm.ending(task_id, attempt=2)).outcome == "passed"
    await scene.pass_time(LONG_S)
    last = await scene.farm.log.last_on("worker.w1.registered")
    assert last is not None
    assert last.sequence == newer.incarnation
    assert sum(worker.alive for worker in scene.workers) == 1


@simulated
async def test_the_older_one_stops_what_it_runs_before_the_newer_one_registers(scene: Scene) -> None:
    older, seen = await busy(scene)
    began = scene.loop.time()
    scene.worker(host="worker-2").start()
    newer = await registered(scene, seen)
    assert scene.executions.live() == []
    assert scene.loop.time() - began < POLICY.suspect_after
    await has_given_way(older)
    events = await scene.farm.events(WorkerClaimed, WorkerStopped, WorkerRegistered)
    assert [type(one.event) for one in events] == [WorkerRegistered, WorkerClaimed, WorkerStopped, WorkerRegistered]
    for one in events[1:3]:
        assert isinstance(one.event, WorkerClaimed | WorkerStopped)
        assert one.event.incarnation == seen.incarnation
    await works_on(scene, newer)
    assert not await scene.farm.events(WorkerExited)


@simulated
async def test_an_older_one_that_is_stopped_is_waited_for_until_its_keepers_have_given_up(scene: Scene) -> None:
    older, seen = await busy(scene)
    older.pause_both()
    scene.worker(host="worker-2").start()
    newer = await registered(scene, seen)
    assert scene.executions.ends == {"fenced": 2}
    older.resume_both()
    await has_given_way(older)
    await works_on(scene, newer)


@simulated
async def test_an_older_one_that_is_cut_off_is_waited_for_until_it_has_fenced_itself(scene: Scene) -> None:
    older, seen = await busy(scene)
    scene.network.cut("worker-1")
    scene.worker(host="worker-2").start()
    newer = await registered(scene, seen)
    assert scene.executions.live() == []
    scene.network.heal("worker-1")
    await has_given_way(older, within_s=60)
    await works_on(scene, newer)


@simulated
async def test_an_older_one_that_is_given_up_does_not_fight_back(scene: Scene) -> None:
    """It would register anew when it wakes up, if there were nobody else."""
    older, seen = await busy(scene)
    older.pause_both()
    await until(lambda: not scene.executions.live(), within_s=POLICY.failed_after, what="the fence")
    await scene.farm.say(WorkerFailed(worker_id="w1", reason="silence", incarnation=seen.incarnation))
    scene.worker(host="worker-2").start()
    newer = await registered(scene, seen)
    assert not await scene.farm.events(WorkerClaimed), "there is nobody to be told"
    older.resume_both()
    await has_given_way(older)
    await works_on(scene, newer)


@simulated
async def test_an_agent_that_is_started_again_does_not_fight_back(scene: Scene) -> None:
    """Its supervisor was stopped while another worker took over, and has an order to restart it."""
    older, seen = await busy(scene)
    older.kill_agent()
    await scene.farm.exit_of(seen)
    older.pause_supervisor()
    await scene.farm.say(WorkerFailed(worker_id="w1", reason="worker_exit", incarnation=seen.incarnation))
    await scene.farm.order_restart(seen, within_s=600)
    scene.worker(host="worker-2").start()
    newer = await registered(scene, seen)
    older.resume_supervisor()
    await has_given_way(older)
    await works_on(scene, newer)


@pytest.mark.parametrize("seed", range(8))
def test_of_many_that_come_at_once_one_stays(seed: int) -> None:
    async def acts(scene: Scene) -> None:
        older, _ = await busy(scene)
        rivals = [scene.worker(host=f"worker-{number}") for number in range(2, 6)]
        for rival in rivals:
            rival.start()
        await has_given_way(older, within_s=LONG_S)
        await until(lambda: sum(rival.alive for rival in rivals) == 1, LONG_S, "the last one")
        assert {rival.ending.code for rival in rivals if rival.ending is not None} == {SUPERSEDED}
        await scene.pass_time(LONG_S)
        last = await scene.farm.log.last_on("worker.w1.registered")
        assert last is not None
        await works_on(scene, incarnation(last.sequence))
        started = [one.event for one in await scene.farm.events(TaskStarted)]
        assert {one.attempt for one in started if isinstance(one, TaskStarted)} == {1, 2}

    Scene(seed).play(acts)


@pytest.mark.parametrize("seed", range(24))
def test_of_two_that_come_at_once_not_both_leave(seed: int) -> None:
    """One that has registered may have heard the other's claim only then, which by then has found it registered."""

    async def acts(scene: Scene) -> None:
        older, _ = await busy(scene)
        rivals = [scene.worker(host=f"worker-{number}") for number in (2, 3)]
        for rival in rivals:
            rival.start()
        await has_given_way(older, within_s=LONG_S)
        await scene.pass_time(LONG_S)
        assert sum(rival.alive for rival in rivals) == 1

    Scene(seed).play(acts)


@simulated
async def test_who_hears_of_another_claim_before_his_own_is_answered_stays(scene: Scene) -> None:
    """The other one hears of his, which stands behind it, and gives way: so both would. Seed 10 with 200 faults."""
    stored = append_until_stored
    first, faster, overtaking = (scene.worker(host=f"worker-{number}") for number in (1, 2, 3))
    claimed = False

    async def slowly(log: EventLog, drafts: Sequence[Draft], fence: Fence | None = None) -> Appended:
        nonlocal claimed
        event = drafts[0].envelope.event
        if isinstance(event, WorkerRegistered) and event.host == "worker-1" and not faster.alive:
            faster.start()
            await scene.farm.seen(is_kind(WorkerRegistered, host="worker-2"))
        elif isinstance(event, WorkerClaimed) and event.host == "worker-1" and not claimed:
            claimed = True  # for its agent was too late; since that one was made it follows the log
            overtaking.start()
            appended = await asyncio.shield(asyncio.create_task(send_late(log, drafts)))
            await asyncio.sleep(1.0)
            return appended
        return await stored(log, drafts, fence=fence)

    async def send_late(log: EventLog, drafts: Sequence[Draft]) -> Appended:
        await scene.farm.seen(is_kind(WorkerClaimed, host="worker-3"))
        return await stored(log, drafts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(succession, "append_until_stored", slowly)
        first.start()
        await has_given_way(faster)
        await has_given_way(overtaking)
    await scene.pass_time(LONG_S)
    assert first.alive


@simulated
async def test_no_order_starts_an_agent_while_another_worker_lives(scene: Scene) -> None:
    """Its own agent came too late, it has claimed the id, and is ordered to restart. Seed 1550 with 200 faults."""
    stored = append_until_stored
    first, faster = (scene.worker(host=f"worker-{number}") for number in (1, 2))

    async def slowly(log: EventLog, drafts: Sequence[Draft], fence: Fence | None = None) -> Appended:
        event = drafts[0].envelope.event
        if isinstance(event, WorkerRegistered) and event.host == "worker-1" and not faster.alive:
            faster.start()
            await scene.farm.seen(is_kind(WorkerRegistered, host="worker-2"))
            faster.pause_both()
        return await stored(log, drafts, fence=fence)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(succession, "append_until_stored", slowly)
        first.start()
        claimed = await scene.farm.seen(is_kind(WorkerClaimed, host="worker-1"))
    assert isinstance(claimed.event, WorkerClaimed)
    seen = incarnation(claimed.event.incarnation)
    await scene.farm.order_restart(seen)
    await scene.pass_time(POLICY.suspect_after / 2)
    assert len(await scene.farm.events(WorkerRegistered)) == 1
    faster.resume_both()
    await has_given_way(faster)
    await registered(scene, seen)
    assert first.alive


@simulated
async def test_one_that_comes_too_late_and_is_told_to_end_does_so(scene: Scene) -> None:
    """Its agent has found another one registered, and there will be none after it. Seed 3689 with 200 faults."""
    stored = append_until_stored
    late, faster = (scene.worker(host=f"worker-{number}") for number in (1, 2))

    async def slowly(log: EventLog, drafts: Sequence[Draft], fence: Fence | None = None) -> Appended:
        event = drafts[0].envelope.event
        if isinstance(event, WorkerRegistered) and event.host == "worker-1":
            faster.start()
            await scene.farm.seen(is_kind(WorkerRegistered, host="worker-2"))
            late.terminate()
        return await stored(log, drafts, fence=fence)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(succession, "append_until_stored", slowly)
        late.start()
        await until(lambda: late.ending, what="the end of the one that came too late")
    assert late.ending is not None
    assert late.ending.code == STOPPED
    assert faster.alive
    assert not await scene.farm.events(WorkerClaimed)


def registration(name: str) -> WorkerRegistered:
    return WorkerRegistered(worker_id="w1", host=name, pid=1, slots=1, machine="machine", lifeline=name)


class OvertakenLog(JetStreamLog):
    """The second worker registers in the moment in which the third one claims the id of the first."""

    second = 0

    async def append(self, drafts: Sequence[Draft], *, fence: Fence | None = None, timeout_s: float = 2.0) -> Appended:
        if not self.second:
            writer = Writer(JetStreamLog(self._bus, self._streams), "worker/w1")
            self.second = (await writer.write(registration("second"))).last
        return await super().append(drafts, fence=fence, timeout_s=timeout_s)


class MachineOfThree:
    """Keeps of `worker.ports.Processes` what the third one asks. Nothing is left of the first."""

    lifeline = Lifeline("machine", "third")
    origin = ("third", 1)

    def is_held(self, lifeline: Lifeline) -> bool:
        return lifeline.name != "first"


@simulated
async def test_whoever_registers_while_a_claim_is_made_is_claimed_as_well(scene: Scene) -> None:
    bus, streams = scene.farm.bus, scene.farm.streams
    first = (await scene.farm.say(registration("first"))).last
    log = OvertakenLog(bus, streams)
    processes = cast("Processes", MachineOfThree())
    succession = Succession(bus, streams, log, Writer(log, "supervisor/w1"), "w1", processes)
    settling = asyncio.ensure_future(succession.settle())
    await scene.pass_time(POLICY.suspect_after)
    assert not settling.done(), "the second one has not heard of it yet"
    await scene.farm.say(WorkerStopped(worker_id="w1", incarnation=log.second))
    await settling
    claims = [one.event for one in await scene.farm.events(WorkerClaimed)]
    assert [claim.incarnation for claim in claims if isinstance(claim, WorkerClaimed)] == [first, log.second]


@simulated
async def test_nobody_gives_way_to_a_claim_of_an_incarnation_before_him(scene: Scene) -> None:
    """It was long on its way, and its maker is gone. Seed 2684 with 200 faults."""
    worker = scene.worker()
    seen = await scene.started(worker)
    first = seen.incarnation
    worker.kill_agent()
    await scene.farm.exit_of(seen)
    await scene.farm.order_restart(seen)
    seen = await registered(scene, seen)
    await scene.farm.assign(seen, sim(600))
    await scene.running("t1")
    claim = WorkerClaimed(worker_id="w1", incarnation=first, host="ghost", pid=1)
    await scene.farm.say(claim)
    await scene.pass_time(LONG_S)
    assert worker.alive
    assert len(scene.executions.live()) == 1
    await scene.farm.say(msgspec.structs.replace(claim, incarnation=seen.incarnation))
    await has_given_way(worker)
    assert scene.executions.live() == []


@simulated
async def test_nobody_gives_way_to_a_claim_by_somebody_who_was_over_before_he_looked(scene: Scene) -> None:
    """He had begun to follow the log before that claim, and was cut off meanwhile. Seed 1016 with 200 faults."""
    bus, streams, say = scene.farm.bus, scene.farm.streams, scene.farm.say
    first = (await say(registration("first"))).last
    await say(WorkerClaimed(worker_id="w1", incarnation=first, host="second", pid=1))
    claim = await scene.farm.seen(is_kind(WorkerClaimed))
    await say(WorkerStopped(worker_id="w1", incarnation=first))
    second = (await say(registration("second"))).last
    await say(WorkerExited(worker_id="w1", incarnation=second, signal=9))
    log = JetStreamLog(bus, streams)
    late = Succession(bus, streams, log, Writer(log, "supervisor/w1"), "w1", cast("Processes", MachineOfThree()))
    assert late.comes_after_us(claim)
    await late.settle()
    assert not late.comes_after_us(claim)
    third = (await say(registration("fourth"))).last
    found = await log.read_one(third)
    assert found is not None
    assert late.comes_after_us(found)


@simulated
async def test_what_cannot_be_read_does_not_hide_who_is_there(scene: Scene) -> None:
    older, seen = await busy(scene)
    await scene.farm.bus.request(scene.farm.streams.event_subject("worker.w1.registered"), b"{")
    scene.worker(host="worker-2").start()
    newer = await registered(scene, seen)
    assert scene.executions.live() == []
    await has_given_way(older)
    await works_on(scene, newer)


async def said_to_have_failed(scene: Scene, failure: WorkerFailed, synthetic: str | None = None) -> None:
    """The older one does not hear of it, as it is stopped."""
    older, seen = await busy(scene)
    older.pause_both()
    await Writer(scene.farm.log, "test", synthetic=synthetic).write(failure)
    scene.worker(host="worker-2").start()
    newer = await registered(scene, seen)
    assert scene.executions.live() == []
    assert await scene.farm.events(WorkerClaimed)
    older.resume_both()
    await has_given_way(older)
    await works_on(scene, newer)


@simulated
async def test_a_drill_does_not_let_anybody_in(scene: Scene) -> None:
    await said_to_have_failed(scene, WorkerFailed(worker_id="w1", reason="synthetic"), "drill")


@simulated
async def test_nor_does_a_probe_that_was_not_answered(scene: Scene) -> None:
    await said_to_have_failed(scene, WorkerFailed(worker_id="w1", reason="unknown"))


@simulated
async def test_a_worker_that_begins_again_on_its_machine_need_not_wait(scene: Scene) -> None:
    """The kernel knows that nothing is left of the one before it."""
    older, seen = await busy(scene)
    older.kill_both()
    began = scene.loop.time()
    older.start()
    newer = await registered(scene, seen)
    assert scene.loop.time() - began < POLICY.suspect_after
    await works_on(scene, newer)
