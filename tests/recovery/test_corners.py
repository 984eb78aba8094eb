"""What the scenarios never come to by themselves: corners of the core that only an unusual order of events reaches."""

from events.system import SystemRecoveryStarted
from events.worker import WorkerExited, WorkerSuspected
from recovery.core import decide
from tests.recovery.story import Story, submitted


def test_an_incident_that_is_open_is_not_begun_again() -> None:
    story = Story()
    story.join("w1", "w2", "w3")
    story.tell(*(WorkerExited(worker_id=name, incarnation=story.worker(name).incarnation) for name in ("w1", "w2")))
    (opened,) = story.told(SystemRecoveryStarted)
    before = story.state.incidents["mass_worker_loss"]
    story.tell(
        SystemRecoveryStarted(
            incident_id="another", incident_kind=opened.incident_kind, status="critical", affected_workers=9
        )
    )
    assert story.state.incidents["mass_worker_loss"] is before
    assert story.state.ignored["system.recovery_started"] == 1


def handed_back() -> tuple[Story, str | None, str | None]:
    """Its former worker stands first in the line, then comes the one that has just finished, and t1 is to be given
    away; nobody leads. And the names of the two."""
    story = Story()
    story.join("w1", "w2")
    story.tell(submitted("t1"), submitted("t2"))
    former, other = story.task("t1").worker_id, story.task("t2").worker_id
    story.start("t2")
    story.leading = False
    story.give_back("t1")
    story.finish("t2")
    return story, former, other


def test_a_worker_passed_over_for_its_former_task_is_first_in_turn_for_the_next() -> None:
    story, former, other = handed_back()
    story.tell(submitted("t3"))
    story.leading = True
    story.settle()
    assert story.task("t1").worker_id == other
    assert story.task("t3").worker_id == former


def test_whoever_is_looked_up_before_its_patience_is_used_up_owes_nothing_and_holds_nobody_up() -> None:
    """The index holds the time of its least patience, and names it from then on to anybody who does not ask how much
    it really has."""
    story = Story(checks=False)
    story.join("w1", "w2", "w3")
    for gap in [1.0, 5.0] * 6:
        story.wait(gap, "w2", "w3")
        story.beat("w1")
    story.beat("w2", "w3")
    story.leading = False
    story.now += 6.5
    story.beat("w3")
    assert story.state.timers.due(story.now) == ["w1", "w2"]
    assert suspects(story) == ["w2"], "w1 is irregular"
    story.wait(8.5, "w3")
    assert suspects(story) == ["w1", "w2"]


def test_and_so_it_is_where_its_former_task_and_the_next_one_wait_together() -> None:
    story, former, other = handed_back()
    assert story.lead()
    assert story.task("t1").status == "queued"
    story.tell(submitted("t3"))
    story.lead()
    assert (story.task("t1").worker_id, story.task("t3").worker_id) == (other, former)


def suspects(story: Story) -> list[str]:
    events = [decision.event for decision in decide(story.state, story.now)]
    return [event.worker_id for event in events if isinstance(event, WorkerSuspected)]
