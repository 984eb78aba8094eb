"""The demo from its first step to its last, and the end of everything whatever happens."""

import asyncio
from contextlib import AsyncExitStack

from coordinator.demo.closing import finish, stop
from coordinator.demo.failover import kill_the_leader
from coordinator.demo.farm import Farm
from coordinator.demo.killing import kill_one
from coordinator.demo.manual import recover_by_hand
from coordinator.demo.opening import hand_in, start_farm
from coordinator.demo.plan import RESERVE_S, Plan
from coordinator.demo.show import Show
from coordinator.demo.stage import Stage, Step

STEPS = (
    Step(
        "a farm",
        "A broker, a coordinator, workers of one slot each: every one a process of its own.",
        start_farm,
    ),
    Step(
        "work for it",
        "The example shop's pytest suite; each test is a task.",
        hand_in,
    ),
    Step(
        "an agent is killed under a test",
        "The agent talks to the broker and runs the tests; its supervisor watches it, and restarts it when ordered to.",
        kill_one,
    ),
    Step(
        "the leading coordinator is killed",
        "All that it knew stands in the log: whoever leads next folds it, and goes on.",
        kill_the_leader,
    ),
    Step(
        "an agent is killed while automatic recovery is off",
        "The agent alone, so that its supervisor reports it at once: of a whole machine only silence would tell, in "
        "15 s. Failures are still detected; what to do is left to a person.",
        recover_by_hand,
    ),
    Step(
        "every test has its verdict",
        "In spite of it all: exactly one for each test.",
        finish,
    ),
    Step(
        "the end of it, in order",
        "Workers finish what they have, then the coordinator, then the broker.",
        stop,
    ),
)


async def perform(plan: Plan, show: Show) -> Stage:
    """Plays all the steps. When it returns or raises, nothing that it started runs any more.

    Raises:
        StepFailed: a step did not happen, or not in time.
        UsageFault, BrokerFault: something on this machine does not allow it.
    """
    farm = Farm(plan)
    stage = Stage(plan, farm, show, AsyncExitStack())
    async with show:
        try:
            async with asyncio.timeout(plan.run_time_s - RESERVE_S) as limit:
                for number, step in enumerate(STEPS, start=1):
                    await stage.play(number, len(STEPS), step)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise stage.out_of_time() from error
        finally:
            await farm.stop_everything()
            await stage.stack.aclose()
            await farm.clear_up()
    return stage
