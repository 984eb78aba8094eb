"""The broker is killed in the middle of everything."""

import asyncio

from events.system import RunSubmitted
from tests.chaos.conftest import NewFarm
from tests.chaos.farm import Farm

KILLS = 3


async def test_a_killed_broker_loses_nothing_that_it_acknowledged(new_farm: NewFarm) -> None:
    async with new_farm() as farm:
        await farm.start()
        await farm.submit([*farm.shop.commands(24, 0.05, 0.15), *farm.shop.tests()])
        talking = asyncio.create_task(talk(farm))
        for kill in range(1, KILLS + 1):
            await farm.verdicts(kill * 6)
            await farm.kill_broker()
        verdicts = await farm.verdicts()
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
        assert {verdict.verdict for verdict in verdicts.values()} == {"passed"}
        assert farm.broker.restarts == KILLS
        assert len(farm.ledger) > KILLS


async def talk(farm: Farm) -> None:
    """Appends one fact after another; the farm's ledger keeps what was acknowledged."""
    number = 0
    while True:
        number += 1
        await farm.say(RunSubmitted(run_id=f"talk-{number}", title="a fact", tasks=0))
