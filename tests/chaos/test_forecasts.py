"""A worker whose tests leave memory behind, in a control group that has little of it: it begins anew before it is
killed, and nothing is lost by that."""

import msgspec
import pytest

from events.forecast import WorkerFailurePredicted, WorkerPredictionJudged
from events.task import TaskRequeued
from events.worker import WorkerDrainRequested, WorkerExited, WorkerFailed, WorkerRegistered
from tests.chaos.conftest import NewFarm
from tests.chaos.farm import CALM
from tests.chaos.wired import memory_limit
from tests.waiting import until

ATTENTIVE = msgspec.structs.replace(CALM, heartbeat_interval=0.2)
"""A sample a second."""
MIB = 1 << 20
ROOM_MIB = 340
TESTS = 220
LEAKY = """
import os, time
import pytest

HELD = []

@pytest.mark.parametrize("number", range(1000))
def test_leaks(number):
    HELD.append(b"x" * (2 << 20))
    time.sleep(0.2)
"""


@pytest.mark.timeout(180)
async def test_a_worker_that_leaks_begins_anew_before_it_is_killed(new_farm: NewFarm) -> None:
    async with new_farm(ATTENTIVE) as farm:
        (farm.shop.folder / "test_leaky.py").write_text(LEAKY)
        await farm.start(workers=2)
        supervisor = farm.supervisor("w1")
        async with memory_limit(supervisor, ROOM_MIB * MIB) as limited:
            if not limited:
                pytest.skip("this kernel, or this user, limits nobody's memory")
            # Who is born within the limit knows of it.
            before = await farm.log.last_sequence()
            (await farm.agent("w1")).kill()
            incarnation = await farm.registered("w1", before)
            began = await farm.log.last_sequence()
            works = farm.shop.tests([f"test_leaks[{number}]" for number in range(TESTS)], file="test_leaky.py")
            await farm.submit(works)
            said = (await farm.seen(WorkerFailurePredicted, 60.0, worker_id="w1")).event
            assert isinstance(said, WorkerFailurePredicted)
            assert (said.resource, said.incarnation, said.remedy) == ("memory", incarnation, "restart")
            assert said.own_share is not None
            assert said.own_share > 0.5
            order = await farm.seen(WorkerDrainRequested, worker_id="w1", incarnation=incarnation, restart=True)
            renewed = await farm.seen(WorkerRegistered, 30.0, after=order.sequence, worker_id="w1")
            judged = (await farm.seen(WorkerPredictionJudged, 30.0, worker_id="w1", resource="memory")).event
            assert isinstance(judged, WorkerPredictionJudged)
            assert (judged.right, judged.acted) == (True, True), judged.why
            verdicts = await farm.verdicts(within_s=120.0)
            assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
            records = [recorded for recorded in await farm.records() if recorded.sequence > began]
            ended = [recorded for recorded in records if recorded.sequence <= renewed.sequence]
            assert not [one.event for one in ended if isinstance(one.event, WorkerExited | WorkerFailed)]
            requeued = [one.event for one in ended if isinstance(one.event, TaskRequeued)]
            assert all(event.budget == "none" for event in requeued)
            farm.members["w1"].process.terminate()
            await until(lambda: not farm.members["w1"].running, 30.0, "the end of w1")
