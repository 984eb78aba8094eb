"""The launcher of simulated farms: it starts another process for a worker, where it was before or on a new host."""

import random
from typing import TYPE_CHECKING

from coordinator.strategies import LaunchOrder, StrategyFailed, Unavailable
from events.policy import Policy
from tests.simulation.scenario import Scenario

if TYPE_CHECKING:
    from tests.simulation.world import World

NAME = "simulated"
SHARE = 0.5
"""Of the farms that have one."""
OF_ONE_ID_MAX = 3
DELAY_S = 0.05
FAILURES = 0.1
"""Of the launches, in every farm that has one."""


def policy_of(scenario: Scenario) -> Policy:
    """Under which the farm begins."""
    chance = random.Random(f"{scenario.seed}/policy")
    launcher = NAME if chance.random() < SHARE else ""
    return Policy(launcher=launcher, strategy_order="history" if chance.random() < SHARE else "ladder")


class SimLauncher:
    """Keeps `coordinator.strategies.Launcher`."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._rng = random.Random(f"{world.scenario.seed}/launcher")

    async def launch(self, order: LaunchOrder) -> str:
        world = self._world
        if self._rng.random() < FAILURES:
            raise (StrategyFailed if self._rng.random() < 0.5 else Unavailable)("no machine is free")
        all_of_it = world.of_one_id(order.worker_id)
        idle = [one for one in all_of_it if not one.alive and world.network.site(one.host.name).powered]
        if not idle and len(all_of_it) >= OF_ONE_ID_MAX:
            raise StrategyFailed("no machine is left")
        host = idle[0].host.name if idle else ""
        # It is nobody's child, least of all the coordinator's.
        world.loop.call_later(DELAY_S, self._start, order.worker_id, host, context=world.loop.world)
        return f"on {host or 'another host'}"

    def _start(self, worker_id: str, host: str) -> None:
        world = self._world
        worker = world.workers[host] if host else None
        if worker is None and len(world.of_one_id(worker_id)) < OF_ONE_ID_MAX:
            worker = world.double(worker_id, same_machine=False)
        if worker is not None and not worker.alive and world.network.site(worker.host.name).powered:
            worker.start()
