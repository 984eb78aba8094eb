"""How many workers are under repair at once, and the breaker over all attempts to bring them back."""

from datetime import datetime

import pytest

from events.clock import utc
from events.policy import Policy
from events.system import BreakerClosed, BreakerHalfOpened, BreakerOpened, DetectorDegraded, LeaderElected
from events.worker import (
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerRecoveryFailed,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerStopped,
)
from recovery.repairs import repairs_max
from recovery.state import State
from tests.recovery.story import BEGIN, Story, policy_changed
from tests.recovery.test_ladder import act

NEVER_CRITICAL = Policy(critical_below=0.01, degraded_below=0.02)
"""Whatever is lost here is no incident: those have stages of their own."""


def changed(**fields: object) -> Policy:
    return Policy(critical_below=0.01, degraded_below=0.02, **fields)  # type: ignore[arg-type]


def farm(count: int, policy: Policy = NEVER_CRITICAL) -> Story:
    story = Story(policy, checks=count < 20)
    story.join(*(f"w{number}" for number in range(count)))
    return story


def kill(story: Story, *worker_ids: str) -> None:
    story.tell(
        *(WorkerExited(worker_id=name, incarnation=story.worker(name).incarnation, signal=9) for name in worker_ids)
    )


def stillborn(story: Story, worker_id: str) -> None:
    """Whatever its supervisor starts dies at once."""
    story.tell(WorkerExited(worker_id=worker_id, incarnation=0, exit_code=1))


def under_repair(story: Story) -> set[str]:
    attempts = {name: worker.attempt for name, worker in story.state.workers.items()}
    return {name for name, one in attempts.items() if one is not None and one.status != "scheduled"}


def test_50_dead_workers_have_at_most_a_tenth_under_repair_at_once() -> None:
    story = farm(50, changed(breaker_failures=1000))
    names = list(story.state.workers)
    kill(story, *names)
    most = 0
    while under := under_repair(story):
        most = max(most, len(under))
        assert len(under) <= 5
        story.come_back(min(under))
    assert most == 5
    assert len(story.told(WorkerRecoverySucceeded)) == 50
    assert len(story.told(WorkerRecoveryStarted)) == 50
    assert {worker.status for worker in story.state.workers.values()} == {"alive"}


def test_one_at_least_and_in_the_order_of_their_time() -> None:
    story = farm(4)
    kill(story, "w2")
    kill(story, "w0")
    kill(story, "w1")
    assert under_repair(story) == {"w2"}
    story.come_back("w2")
    assert under_repair(story) == {"w0"}
    story.come_back("w1")
    assert under_repair(story) == {"w0"}, "it came back by itself before its turn"
    story.come_back("w0")
    assert [event.worker_id for event in story.told(WorkerRecoveryStarted)] == ["w2", "w0"]


def test_a_repair_that_fails_lets_the_next_one_begin() -> None:
    story = farm(4)
    kill(story, "w0", "w1")
    story.wait(30.0, "w2", "w3")
    assert [event.worker_id for event in story.told(WorkerRecoveryStarted)][:2] == ["w0", "w1"]
    assert len(under_repair(story)) == 1


def test_who_only_waits_takes_no_place() -> None:
    story = farm(4)
    story.wait(17.0, "w3")
    assert [event.reason for event in story.told(WorkerFailed)] == ["silence"] * 3
    assert len(under_repair(story)) == 3
    kill(story, "w3")
    assert "w3" in under_repair(story)


def test_a_greater_share_makes_room_at_once() -> None:
    story = farm(4)
    kill(story, "w0", "w1", "w2")
    assert len(under_repair(story)) == 1
    story.tell(policy_changed(changed(repairs_share=0.5)))
    assert len(under_repair(story)) == 2


@pytest.mark.parametrize(
    ("share", "expected", "renewing", "most"),
    [
        (0.1, 4, 0, 1),
        (0.1, 30, 0, 3),
        (0.1, 39, 0, 3),
        (0.1, 39, 1, 4),
        # 0.29 * 100 is a little less than 29 for a computer.
        (0.29, 100, 0, 29),
        (0.29, 95, 5, 29),
        (1.0, 0, 0, 1),
    ],
)
def test_a_share_of_those_that_are_to_be_there(share: float, expected: int, renewing: int, most: int) -> None:
    state = State(policy=Policy(repairs_share=share), workers_expected=expected)
    assert repairs_max(state, renewing=renewing) == most


def test_with_recovery_off_nothing_begins() -> None:
    story = farm(4)
    kill(story, "w0", "w1")
    story.tell(policy_changed(changed(auto_recovery=False)))
    assert not under_repair(story)
    story.wait(100.0, "w2", "w3")
    story.tell(policy_changed(NEVER_CRITICAL))
    assert len(under_repair(story)) == 1


def tripped(count: int = 6, *, share: float = 1.0, dead: int = 4, **fields: object) -> Story:
    """So many are dead, and three of them could not be brought back."""
    story = farm(count, changed(repairs_share=share, **fields))
    names = [f"w{number}" for number in range(dead)]
    kill(story, *names)
    for name in names[:3]:
        stillborn(story, name)
    return story


def test_what_could_not_be_carried_out_at_all_says_nothing_about_the_farm() -> None:
    """Their agents died while their supervisors were away: no connection could be closed, and a restart helps."""
    story = farm(6, changed(repairs_share=1.0, ladders={"worker_exit": ("reconnect", "restart")}))
    names = ("w0", "w1", "w2")
    kill(story, *names)
    for name in names:
        act(story, "unavailable", "its agent has no connection that could be closed", name)
    assert len(story.told(WorkerRecoveryFailed)) == 3
    story.wait(1.0, *alive(story))
    assert not story.told(BreakerOpened)
    for name in names:
        story.come_back(name)
    assert [event.strategy for event in story.told(WorkerRecoverySucceeded)] == ["restart"] * 3


def alive(story: Story) -> list[str]:
    return [name for name, worker in story.state.workers.items() if worker.status == "alive"]


def until(story: Story) -> float:
    return story.state.breaker.until - BEGIN


def test_23_the_breaker_opens_at_its_threshold_and_blocks() -> None:
    story = tripped(dead=3)
    (opened,) = story.told(BreakerOpened)
    assert (opened.workers_failed, opened.workers_tried, opened.times) == (3, 3, 1)
    assert until(story) == 30.0
    begun = len(story.told(WorkerRecoveryStarted))
    story.wait(29.0, *alive(story))
    assert len(story.told(WorkerRecoveryStarted)) == begun
    assert story.state.breaker.status == "open"


def test_23_one_probe_and_success_closes() -> None:
    story = tripped(dead=3)
    story.wait(30.0, *alive(story))
    (probe,) = story.told(BreakerHalfOpened)
    assert under_repair(story) == {probe.worker_id}
    story.wait(10.0, *alive(story))
    assert under_repair(story) == {probe.worker_id}, "and nobody else"
    story.come_back(probe.worker_id)
    (closed,) = story.told(BreakerClosed)
    assert closed.reason == f"{probe.worker_id} is back"
    story.wait(2.0, *alive(story))
    assert len(under_repair(story)) == 2, "all others go on"


def test_23_a_failed_probe_waits_twice_as_long_up_to_the_cap() -> None:
    story = tripped(dead=3, breaker_open_max=100.0, max_recovery_attempts=50, recovery_interval=1.0)
    waits = []
    for _ in range(4):
        before = story.now - BEGIN
        waits.append(until(story) - before)
        story.wait(waits[-1] + 1.0, *alive(story))
        (probe,) = under_repair(story)
        stillborn(story, probe)
    assert [round(wait) for wait in waits] == [30, 60, 100, 100]
    assert [event.times for event in story.told(BreakerOpened)] == [1, 2, 3, 4, 5]
    assert all((event.workers_failed, event.workers_tried) == (1, 1) for event in story.told(BreakerOpened)[1:])


def test_23_what_began_before_may_end_and_changes_nothing() -> None:
    story = tripped(dead=4)
    assert under_repair(story) == {"w3"}
    story.come_back("w3")
    assert story.state.breaker.status == "open"


def test_one_worker_alone_never_opens_the_breaker() -> None:
    story = farm(6)
    kill(story, "w0")
    for _ in range(5):
        stillborn(story, "w0")
        story.wait(60.0, *alive(story))
    assert len(story.told(WorkerRecoveryFailed)) == 5
    assert len(story.told(WorkerPermanentlyFailed)) == 1
    assert not story.told(BreakerOpened)


def test_most_that_come_back_keep_it_closed() -> None:
    story = farm(10, changed(repairs_share=1.0))
    names = [f"w{number}" for number in range(8)]
    kill(story, *names)
    for name in names[:5]:
        story.come_back(name)
    for name in names[5:]:
        stillborn(story, name)
    assert not story.told(BreakerOpened), "3 of 8 are less than 40 %"
    kill(story, "w0")
    story.wait(1.0, *alive(story))
    stillborn(story, "w0")
    (opened,) = story.told(BreakerOpened)
    assert (opened.workers_failed, opened.workers_tried) == (4, 8)


def test_failures_that_lie_apart_do_not_open_it() -> None:
    story = farm(6, changed(max_recovery_attempts=1))
    for name in ("w0", "w1", "w2"):
        kill(story, name)
        stillborn(story, name)
        story.wait(61.0, *alive(story))
    assert len(story.told(WorkerRecoveryFailed)) == 3
    assert not story.told(BreakerOpened)


def test_drills_show_nothing() -> None:
    story = farm(6, changed(repairs_share=1.0))
    for name in ("w0", "w1", "w2"):
        incarnation = story.worker(name).incarnation
        story.tell(WorkerExited(worker_id=name, incarnation=incarnation, signal=9), synthetic="drill")
        stillborn(story, name)
    assert len(story.told(WorkerRecoveryFailed)) == 3
    assert not story.told(BreakerOpened)


def test_a_probe_that_loses_its_object_is_followed_by_the_next() -> None:
    story = tripped(dead=3)
    story.wait(30.0, *alive(story))
    (first,) = under_repair(story)
    story.tell(WorkerStopped(worker_id=first, incarnation=story.worker(first).incarnation))
    (second,) = under_repair(story)
    assert first != second
    assert [event.worker_id for event in story.told(BreakerHalfOpened)] == [first, second]
    story.tell(WorkerStopped(worker_id=second, incarnation=story.worker(second).incarnation))
    (third,) = under_repair(story)
    story.tell(WorkerStopped(worker_id=third, incarnation=story.worker(third).incarnation))
    assert story.told(BreakerClosed)[0].reason == "nobody waits for an attempt"
    assert story.state.breaker.status == "closed"


def test_when_all_have_come_back_by_themselves_it_closes() -> None:
    story = tripped(dead=3)
    for name in ("w0", "w1", "w2"):
        story.come_back(name)
    assert story.state.breaker.status == "open"
    story.wait(30.0, *alive(story))
    assert len(story.told(BreakerClosed)) == 1


def test_a_new_leader_goes_on_with_it() -> None:
    story = tripped(dead=3)
    story.leading = False
    story.wait(29.0, *alive(story))
    story.leading = True
    story.tell(LeaderElected(coordinator_id="c2", term=2))
    assert not under_repair(story)
    story.wait(1.0, *alive(story))
    assert len(under_repair(story)) == 1


def test_a_probe_survives_a_pause_of_recovery() -> None:
    story = tripped(dead=3)
    story.wait(30.0, *alive(story))
    story.tell(policy_changed(changed(auto_recovery=False, repairs_share=1.0)))
    assert not under_repair(story)
    story.wait(200.0, *alive(story))
    story.tell(policy_changed(changed(repairs_share=1.0)))
    story.wait(61.0, *alive(story))
    assert len(under_repair(story)) == 1
    assert story.state.breaker.status == "half_open"


@pytest.mark.parametrize("leap_s", [-100_000.0, 100_000.0])
def test_no_clock_makes_it_stick(leap_s: float) -> None:
    story = tripped(dead=3)
    story.leading = False
    story.now += leap_s
    story.tell(DetectorDegraded(reason="clock_step", extent_s=leap_s, heartbeats_sequence=len(story.beats)))
    story.leading = True
    story.wait(661.0, *alive(story))
    assert story.told(BreakerHalfOpened)


def test_what_a_stranger_says_of_it_is_ignored_or_mended() -> None:
    story = farm(3)
    ignored = story.state.ignored.total()
    story.tell(BreakerHalfOpened(worker_id="w0", attempt=1), BreakerClosed(reason="forged"))
    assert story.state.ignored.total() == ignored + 2
    story.tell(BreakerOpened(workers_failed=1, workers_tried=1, until=_soon(story), times=9))
    story.tell(BreakerOpened(workers_failed=1, workers_tried=1, until=_soon(story), times=1))
    assert story.state.ignored.total() == ignored + 3
    story.wait(10.0, "w0", "w1", "w2")
    assert story.state.breaker.status == "closed"


def _soon(story: Story) -> datetime:
    return utc(story.now + 5.0)
