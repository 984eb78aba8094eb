"""Each promise about cordons, broken by one decision, is named at that decision; true stories break none."""

from collections.abc import Callable

import pytest

from events.base import Event
from events.clock import utc
from events.policy import Policy
from events.worker import WorkerCordoned, WorkerExited, WorkerStopped, WorkerUncordoned
from tests.recovery.story import Story, policy_changed
from tests.recovery.test_flapping import drop, flapping
from tests.replay.wrong import agreed, assigned, checked, decided, farm, names

Given = Callable[[Story], None]
Wrong = Callable[[Story], Event]


def unseen(story: Story) -> None:
    """w1 flaps under a leader that does not look, and then w3 joins."""
    story.join("w3")
    story.tell(policy_changed(Policy(flap_failures=1000)))
    story.leading = True
    for _ in range(3):
        drop(story)
    story.leading = False
    story.tell(policy_changed(Policy()))


def alone(story: Story) -> None:
    unseen(story)
    for name in ("w2", "w3"):
        story.tell(WorkerStopped(worker_id=name, incarnation=story.worker(name).incarnation))


def pausing(story: Story) -> None:
    """w1 is cordoned for five minutes."""
    unseen(story)
    decided(story, flap()(story))


def ordered(story: Story) -> None:
    story.tell(WorkerCordoned(worker_id="w1", cause="operator", actor="alice"))
    story.finish("t1")


def off(story: Story) -> None:
    unseen(story)
    story.tell(policy_changed(Policy(auto_recovery=False)))


def flap(seconds: float = 300.0, *, failures: int = 3, times: int = 1) -> Wrong:
    return lambda story: WorkerCordoned(
        worker_id="w1", cause="flapping", until=utc(story.now + seconds), failures=failures, times=times
    )


def release(cause: str = "flapping") -> Wrong:
    return lambda _: WorkerUncordoned(worker_id="w1", cause=cause)  # type: ignore[arg-type]


def operator(_: Story) -> Event:
    return WorkerCordoned(worker_id="w1", cause="operator", actor="alice")


def nobody(_: Story) -> Event:
    return WorkerCordoned(worker_id="w9", cause="flapping")


TABLE: list[tuple[str, Given, Wrong, str]] = [
    ("it has not flapped", lambda story: story.join("w3"), flap(failures=3), "cordons"),
    ("another number of failures", unseen, flap(failures=4), "cordons"),
    ("too long", unseen, flap(301.0), "cordons"),
    ("for ever", unseen, lambda _: WorkerCordoned(worker_id="w1", cause="flapping", failures=3, times=1), "cordons"),
    ("the second time at once", unseen, flap(600.0, times=2), "cordons"),
    ("twice", pausing, flap(failures=0, times=2, seconds=600.0), "cordons"),
    ("nobody is left", alone, flap(), "cordons"),
    ("who is it", unseen, nobody, "cordons"),
    ("a leader is no operator", unseen, operator, "cordons"),
    ("recovery is off", off, flap(), "operator-obeyed"),
    ("released too early", pausing, release(), "cordons"),
    ("released from nothing", unseen, release(), "cordons"),
    ("released from another", pausing, release("operator"), "cordons"),
    ("work for a cordoned one", ordered, lambda story: assigned("t3", story), "assigned-to-alive"),
]


@pytest.mark.parametrize(("given", "wrong", "invariant"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_what_no_leader_may_decide(given: Given, wrong: Wrong, invariant: str) -> None:
    story = farm()
    given(story)
    sequence = decided(story, wrong(story))
    assert (invariant, sequence) in names(checked(story))


def test_a_leader_that_cordons_and_releases_breaks_nothing() -> None:
    story = flapping()
    story.wait(300.0, "w1", "w2", "w3")
    for _ in range(3):
        drop(story)
    story.tell(WorkerUncordoned(worker_id="w1", actor="alice"), WorkerUncordoned(worker_id="w9"))
    story.tell(WorkerExited(worker_id="w2", incarnation=story.worker("w2").incarnation, signal=9))
    story.come_back("w2")
    assert len(story.told(WorkerCordoned)) == 2
    agreed(story)


def test_the_right_pause_is_right() -> None:
    story = farm()
    pausing(story)
    assert not checked(story)
