"""The broker was away from everybody: who pays for that, and when it is over."""

from events.base import Event
from events.clock import utc
from events.system import (
    BrokerReturned,
    DetectorDegraded,
    LeaderElected,
    SystemRecoveryCompleted,
    SystemRecoveryStarted,
)
from events.task import TaskRequeued
from tests.recovery.story import Story
from tests.recovery.test_outages import farm


def returned(story: Story, away_s: float = 20.0) -> BrokerReturned:
    return BrokerReturned(coordinator_id="c1", since=utc(story.now - away_s), away_s=away_s)


def fenced() -> Story:
    """The broker was away; one of three workers has stopped its task, and nobody has decided anything since."""
    story = farm(3, tasks=3)
    story.leading = False
    story.now += 20.0
    story.tell(LeaderElected(coordinator_id="c1", term=2), story.finished("t0", "fenced"))
    return story


def after_the_outage(story: Story, *facts: Event) -> None:
    story.tell(*facts)
    story.leading = True
    story.settle()


def test_17_behind_an_outage_of_the_broker_nobody_pays_for_being_cut_off() -> None:
    story = fenced()
    after_the_outage(story, returned(story))
    assert [(event.reason, event.budget) for event in story.told(TaskRequeued)] == [("fenced", "none")]
    (opened,) = story.told(SystemRecoveryStarted, incident_kind="broker_outage")
    assert (opened.affected_workers, opened.affected_tasks) == (3, 2)
    story.wait(15.5, "w0", "w1", "w2")
    assert "broker_outage" in story.state.incidents, "some may still be found silent"
    story.wait(2.0, "w0", "w1", "w2")
    (closed,) = story.told(SystemRecoveryCompleted, incident_kind="broker_outage")
    assert closed.success
    assert closed.message == "the broker was away for 20.0 s; whoever lives has been heard again"
    assert closed.report is not None
    assert (closed.report.tasks_requeued, closed.report.tasks_uncharged, closed.report.broker_away_s) == (1, 1, 20.0)


def test_who_is_cut_off_alone_pays_for_it() -> None:
    story = fenced()
    after_the_outage(story)
    assert [(event.reason, event.budget) for event in story.told(TaskRequeued)] == [("fenced", "infrastructure")]
    story.beat("w0")
    story.start("t0")
    story.tell(story.finished("t0", "fenced"))
    assert [event.budget for event in story.told(TaskRequeued)] == ["infrastructure"] * 2


def test_what_was_given_behind_the_outage_pays_for_being_cut_off() -> None:
    story = fenced()
    after_the_outage(story, returned(story))
    story.beat("w0")
    story.start("t0")
    story.tell(story.finished("t0", "fenced"))
    assert [event.budget for event in story.told(TaskRequeued)] == ["none", "infrastructure"]


def test_an_outage_that_two_leaders_tell_of_is_one() -> None:
    story = fenced()
    first = returned(story)
    after_the_outage(story, first)
    story.wait(1.0, "w0", "w1", "w2")
    ignored = story.state.ignored.total()
    story.tell(first)
    assert story.state.ignored.total() == ignored + 1
    story.wait(4.0, "w0", "w1", "w2")
    story.tell(returned(story, 3.0))
    assert len(story.told(SystemRecoveryStarted, incident_kind="broker_outage")) == 1
    story.wait(14.0, "w0", "w1", "w2")
    assert "broker_outage" in story.state.incidents, "the patience begins anew"
    story.wait(4.0, "w0", "w1", "w2")
    assert len(story.told(SystemRecoveryCompleted, incident_kind="broker_outage")) == 1
    story.tell(returned(story, 3.0))
    assert len(story.told(SystemRecoveryStarted, incident_kind="broker_outage")) == 2


def test_an_outage_that_workers_do_not_live_through_ends_behind_their_loss() -> None:
    story = fenced()
    after_the_outage(story, returned(story))
    story.wait(40.0)
    assert not story.told(SystemRecoveryCompleted, incident_kind="broker_outage"), "it is critical"
    for name in ("w0", "w1", "w2"):
        story.come_back(name)
    (closed,) = story.told(SystemRecoveryCompleted, incident_kind="broker_outage")
    assert closed.success


def test_an_outage_and_a_clock_that_was_set_back() -> None:
    story = fenced()
    after_the_outage(story, returned(story))
    story.leading = False
    story.now -= 1_000.0
    story.tell(DetectorDegraded(reason="clock_step", extent_s=-1000.0, heartbeats_sequence=len(story.beats)))
    story.leading = True
    story.wait(18.0, "w0", "w1", "w2")
    assert story.told(SystemRecoveryCompleted, incident_kind="broker_outage")
