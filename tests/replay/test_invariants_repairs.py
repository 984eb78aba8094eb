"""Each promise about the share of repairs and the breaker, broken by one decision; true stories break none."""

from collections.abc import Callable

import pytest

from events.base import Event
from events.clock import utc
from events.policy import Policy
from events.system import BreakerClosed, BreakerHalfOpened, BreakerOpened, DetectorDegraded
from events.worker import WorkerRecoveryStarted
from tests.recovery.story import Story, policy_changed
from tests.recovery.test_repairs import alive, changed, farm, kill, stillborn, tripped
from tests.replay.wrong import agreed, checked, decided, names

Given = Callable[[], Story]
Wrong = Callable[[Story], Event]


def unled(story: Story) -> Story:
    story.leading = False
    return story


def two_wait() -> Story:
    """w0 is under repair, w1 has to wait for that."""
    story = farm(4)
    kill(story, "w0", "w1")
    return unled(story)


def about_to_open() -> Story:
    """Three could not be brought back, and nobody has drawn the conclusion."""
    story = unled(tripped(dead=3, breaker_failures=1000))
    story.tell(policy_changed(changed(repairs_share=1.0)))
    return story


def opened() -> Story:
    return unled(tripped(dead=3))


def over() -> Story:
    """The breaker's time is over."""
    story = opened()
    story.wait(30.0, *alive(story))
    return story


def probing() -> Story:
    story = tripped(dead=3)
    story.wait(30.0, *alive(story))
    return unled(story)


def others(story: Story) -> str:
    """One that waits and is not the probe."""
    return "w1" if story.state.breaker.probe == "w0" else "w0"


def begins(worker_id: str = "") -> Wrong:
    def make(story: Story) -> Event:
        name = worker_id or others(story)
        worker = story.worker(name)
        return WorkerRecoveryStarted(
            worker_id=name,
            incarnation=worker.failed_incarnation,
            attempt=1 if worker.attempt is None else worker.attempt.number,
            strategy="restart",
            deadline=utc(story.now + 30.0),
        )

    return make


def opens(seconds: float = 30.0, *, failed: int = 3, tried: int = 3, times: int = 1) -> Wrong:
    return lambda story: BreakerOpened(
        workers_failed=failed, workers_tried=tried, until=utc(story.now + seconds), times=times
    )


def probes(worker_id: str = "") -> Wrong:
    return lambda story: BreakerHalfOpened(worker_id=worker_id or others(story), attempt=2)


def closes(_: Story) -> Event:
    return BreakerClosed(reason="none")


TABLE: list[tuple[str, Given, Wrong, str]] = [
    ("one too many at once", two_wait, begins("w1"), "repairs-share"),
    ("it opens without failures", two_wait, opens(), "breaker"),
    ("it opens for too long", about_to_open, opens(31.0), "breaker"),
    ("it opens for others", about_to_open, opens(failed=4), "breaker"),
    ("it opens as for the second time", about_to_open, opens(60.0, times=2), "breaker"),
    ("it is open already", opened, opens(), "breaker"),
    ("an attempt begins while it is open", opened, begins(), "breaker"),
    ("a probe before its time", opened, probes(), "breaker"),
    ("a probe that is not due", over, probes("w4"), "breaker"),
    ("a probe of nobody", over, probes("w9"), "breaker"),
    ("a second probe", probing, probes(), "breaker"),
    ("another than the probe", probing, begins(), "breaker"),
    ("closed without a word", probing, closes, "breaker"),
    ("closed while it is closed", two_wait, closes, "breaker"),
    ("opened before the probe has ended", probing, opens(60.0, failed=1, tried=1, times=2), "breaker"),
]


@pytest.mark.parametrize(("given", "wrong", "invariant"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_what_no_leader_may_decide(given: Given, wrong: Wrong, invariant: str) -> None:
    story = given()
    sequence = decided(story, wrong(story))
    assert (invariant, sequence) in names(checked(story))


def test_a_leader_that_keeps_to_it_breaks_nothing() -> None:
    story = tripped(dead=4)
    story.come_back("w3")
    story.wait(30.0, *alive(story))
    stillborn(story, story.state.breaker.probe)
    story.tell(DetectorDegraded(reason="own_pause", extent_s=9.0, heartbeats_sequence=len(story.beats)))
    story.wait(60.0, *alive(story))
    story.come_back(story.state.breaker.probe)
    story.wait(5.0, *alive(story))
    for name in ("w0", "w1", "w2"):
        story.come_back(name)
    kill(story, "w3")
    story.tell(policy_changed(Policy(auto_recovery=False)))
    assert [event.times for event in story.told(BreakerOpened)] == [1, 2]
    assert len(story.told(BreakerClosed)) == 1
    agreed(story)


def test_what_is_due_is_right() -> None:
    for given, right in ((about_to_open, opens()), (over, probes())):
        story = given()
        decided(story, right(story))
        assert not checked(story)
