"""The projector is killed while it writes."""

from tests.chaos.conftest import NewFarm
from tests.waiting import until

KILLS = 3


async def test_a_killed_projector_goes_on_where_it_was(new_farm: NewFarm) -> None:
    async with new_farm() as farm:
        await farm.start()
        killed: set[int] = set()
        for _ in range(KILLS):
            projector = await until(farm.projector, 10, "a projector")
            assert projector is not None
            await farm.submit(farm.shop.commands(12, 0.02))
            await farm.verdicts(len(farm.tasks) - 6)
            assert projector.pid not in killed
            killed.add(projector.pid)
            projector.kill()
            await until(lambda: farm.projector() not in (None, projector), 10, "a new projector")  # noqa: B023
        verdicts = await farm.verdicts()
        assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
        assert await farm.ask("SELECT count(*) FROM tasks WHERE verdict = 'passed'") == [[len(farm.tasks)]]
