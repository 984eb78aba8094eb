"""The books of a running coordinator: looked at after every batch, and a violation is recorded once, by the leader."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from coordinator.conservation import ConservationWatch
from events.memory import MemoryReader
from events.system import InvariantViolated
from events.task import TaskCompleted
from recovery.consumer import RecoveryConsumer
from recovery.state import State
from tests.recovery.leader import Farm
from tests.recovery.story import submitted
from tests.waiting import until


@pytest.fixture
async def farm() -> AsyncIterator[Farm]:
    farm = Farm()
    ConservationWatch(farm.consumer)
    running = asyncio.create_task(farm.consumer.run())
    yield farm
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_books_that_balance(farm: Farm) -> None:
    await farm.elect()
    await farm.writer.write([submitted("t1"), submitted("t2"), submitted("t1")])
    forged = TaskCompleted(task_id="t1", run_id="r1", verdict="passed", attempt=0)
    await farm.writer.write([forged, forged, TaskCompleted(task_id="t9", run_id="r1", verdict="passed", attempt=0)])
    await farm.quiet()
    assert farm.consumer.state.ignored.total() > 0
    assert farm.events(InvariantViolated) == []


def miscounted(state: State) -> None:
    state.tasks_by_status["queued"] += 1


def vanished(state: State) -> None:
    del state.tasks["t1"]
    state.tasks_by_status["queued"] -= 1


def unqueued(state: State) -> None:
    state.waiting.remove(state.tasks["t1"])


def final_unsaid(state: State) -> None:
    state.waiting.remove(state.tasks["t1"])
    state.tasks_by_status["queued"] -= 1
    state.tasks_by_status["final"] += 1


def negative(state: State) -> None:
    state.tasks_by_status["running"] -= 1
    state.tasks_by_status["assigned"] += 1


@pytest.mark.parametrize(
    ("damage", "detail"),
    [
        (miscounted, "of 3 tasks the counts say 4 queued; 3 tasks wait, 4 are queued or isolated"),
        (vanished, "3 tasks were submitted, 2 are known; 3 tasks wait, 2 are queued or isolated"),
        (unqueued, "2 tasks wait, 3 are queued or isolated"),
        (final_unsaid, "0 verdicts were taken, 1 tasks are final"),
        (negative, "of 3 tasks the counts say 3 queued, -1 running, 1 assigned"),
    ],
)
async def test_books_that_do_not(farm: Farm, damage: Callable[[State], None], detail: str) -> None:
    await farm.elect()
    await farm.writer.write([submitted("t1"), submitted("t2")])
    await farm.quiet()
    damage(farm.consumer.state)
    await farm.writer.write(submitted("t3"))
    await until(lambda: farm.events(InvariantViolated), 5.0, "the report")
    await farm.writer.write(submitted("t4"))
    await farm.quiet()
    (event,) = farm.events(InvariantViolated)
    assert (event.invariant, event.detail) == ("conservation", detail)
    assert event.sequence == 4


async def test_a_standby_leaves_the_report_to_the_leader(farm: Farm) -> None:
    """And makes it, when it leads and nobody has."""
    await farm.writer.write(submitted("t1"))
    await until(lambda: farm.consumer.state.events_sequence == 1, 5.0, "the first event to be folded")
    miscounted(farm.consumer.state)
    await farm.writer.write(submitted("t2"))
    await until(lambda: farm.consumer.state.events_sequence == 2, 5.0, "the second")
    assert farm.events(InvariantViolated) == []
    await farm.elect()
    await farm.writer.write(submitted("t3"))
    await until(lambda: farm.events(InvariantViolated), 5.0, "the report")


async def test_what_another_has_reported_is_not_said_again() -> None:
    farm = Farm()
    await farm.writer.write(InvariantViolated(invariant="conservation", sequence=1, detail="said"))
    consumer: RecoveryConsumer = farm.reading(MemoryReader(farm.log, 0, ()))
    ConservationWatch(consumer)
    farm.consumer = consumer
    running = asyncio.create_task(consumer.run())
    await farm.elect()
    await farm.writer.write(submitted("t1"))
    await farm.quiet()
    miscounted(consumer.state)
    await farm.writer.write(submitted("t2"))
    await farm.quiet()
    assert len(farm.events(InvariantViolated)) == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
