"""Rules that change while somebody cannot hear it: a worker is judged by those that it may still live by."""

from pathlib import Path

import msgspec
import pytest

from events.policy import Policy, policy_hash
from events.system import PolicyChanged
from events.worker import WorkerFailed, WorkerSuspected
from tests.chaos.checks import check_everything
from tests.chaos.farm import HASTY
from tests.chaos.proxy import Direction
from tests.chaos.told import check_apart, fact, never
from tests.chaos.wired import SILENT, WiredFarm

SHORTER = msgspec.structs.replace(HASTY, watchdog_after=SILENT.watchdog_after)
LONGER = msgspec.structs.replace(SILENT, suspect_after=2.0, self_fence_after=6.0, failed_after=8.0)


@pytest.mark.parametrize(
    ("direction", "policy"),
    [
        pytest.param("to_worker", SHORTER, id="it does not hear of shorter ones"),
        pytest.param("to_broker", LONGER, id="it cannot confirm longer ones"),
    ],
)
async def test_a_worker_that_is_cut_off_in_the_midst_of_a_change_has_fenced_itself(
    tmp_path: Path, direction: Direction, policy: Policy
) -> None:
    async with WiredFarm(tmp_path, SILENT, alone=True) as farm:
        await farm.start(workers=1)
        victim = await farm.victim("victim")
        await farm.start_workers("w2")
        farm.cables[victim.worker_id].cut(direction)
        await farm.say(PolicyChanged(policy=policy, policy_hash=policy_hash(policy), actor="test"))
        farm.cables[victim.worker_id].cut()
        await farm.seen(WorkerFailed, 30, worker_id=victim.worker_id, reason="silence")
        await farm.passes(victim, runs=2)
        farm.cables[victim.worker_id].mend()
        await farm.registered(victim.worker_id, after=victim.since)

        records = await check_everything(farm)
        check_apart(farm.shop.folder, victim.word, runs=2)
        # The other one has heard of it, and is not suspected for any beat that it sends by the new rules.
        never(records, fact(WorkerFailed, worker_id="w2"), fact(WorkerSuspected, worker_id="w2"))
