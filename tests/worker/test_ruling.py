"""Policy and pace in force, from a log that others write to at the same time."""

import pytest

from events.base import Event
from events.envelope import Recorded
from events.memory import MemoryLog
from events.policy import Override, Policy, policy_hash
from events.system import PaceChanged, PolicyChanged
from events.writer import Writer
from worker.ruling import PACE, Ruling, policy_in_force, ruling_in_force, rulings_since

FIRST = Policy(suspect_after=7.0)
SECOND = Policy(suspect_after=8.0, overrides=(Override(labels={"disk": "slow"}, failed_after=60.0),))


def ruled(policy: Policy) -> PolicyChanged:
    return PolicyChanged(policy=policy, policy_hash=policy_hash(policy), actor="test")


def paced(stretch: float) -> PaceChanged:
    return PaceChanged(stretch=stretch, heartbeat_interval_s=2.0 * stretch, workers_live=9)


async def log_of(*events: Event) -> MemoryLog:
    log = MemoryLog()
    for event in events:
        await Writer(log, "test").write(event)
    return log


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ((), Ruling(0, Policy(), 1.0)),
        ((ruled(FIRST),), Ruling(1, FIRST, 1.0)),
        ((paced(3.0),), Ruling(1, Policy(), 3.0)),
        ((ruled(FIRST), paced(3.0)), Ruling(2, FIRST, 3.0)),
        ((paced(3.0), ruled(FIRST)), Ruling(2, FIRST, 3.0)),
        ((ruled(FIRST), paced(3.0), paced(1.5), ruled(SECOND)), Ruling(4, SECOND, 1.5)),
    ],
)
async def test_what_was_said_last_is_in_force(events: tuple[Event, ...], expected: Ruling) -> None:
    log = await log_of(*events)
    assert await ruling_in_force(log) == expected
    assert await policy_in_force(log) == expected.policy


async def test_a_policy_that_changes_between_two_questions_is_not_passed_over() -> None:
    """Else a worker would name a pace behind the policy that it does not know."""

    class Busy(MemoryLog):
        async def last_on(self, tail: str) -> Recorded | None:
            if tail == PACE and self.last == 1:
                await Writer(self, "test").write([ruled(SECOND), paced(3.0)])
            return await super().last_on(tail)

    log = Busy()
    await Writer(log, "test").write(ruled(FIRST))
    assert await ruling_in_force(log) == Ruling(3, SECOND, 3.0)


async def test_what_is_known_already_changes_nothing() -> None:
    log = await log_of(ruled(FIRST), ruled(SECOND))
    ruling = await ruling_in_force(log)
    assert ruling.after(log.stored(1)) is ruling
    assert Ruling().after(log.stored(1)) == Ruling(1, FIRST, 1.0)


async def test_whoever_has_named_old_rules_may_live_by_them_or_any_since() -> None:
    log = await log_of(ruled(FIRST), paced(3.0), ruled(SECOND))
    history = [Ruling(), Ruling(1, FIRST), Ruling(2, FIRST, 3.0), Ruling(3, SECOND, 3.0)]
    for named in range(4):
        assert await rulings_since(log, named) == history[named:]
    assert await rulings_since(log, 99) == history[-1:]


async def test_rules_are_those_of_one_worker_at_the_pace_of_all() -> None:
    slow = Ruling(7, SECOND, 2.0).rules_for("w1", {"disk": "slow"})
    assert slow.sequence == 7
    assert (slow.thresholds.failed_after, slow.thresholds.heartbeat_interval) == (120.0, 4.0)
    assert Ruling(7, SECOND, 2.0).rules_for("w1", {}).thresholds.failed_after == 30.0
