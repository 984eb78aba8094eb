"""What is known of poisonous work, beyond the run in which it was found out."""

import pytest

from events.policy import Policy
from events.system import QuarantineReleased
from events.task import TaskAssigned, TaskCancelRequested, TaskCompleted, TaskSubmitted
from events.work import AnyWork, CommandWork, PytestWork, Suite, fingerprint, name_of
from recovery import poison
from tests.recovery.story import Story, policy_changed, submitted
from tests.recovery.test_poison import farm, kill_again

DAY = 86_400.0
OTHER = CommandWork(argv=("false",), cwd="/")


def quarantined(policy: Policy | None = None) -> tuple[Story, str]:
    """A farm that has found one out, and its key."""
    story = farm(policy)
    story.tell(submitted("t1"))
    kill_again(story, "t1", times=3)
    (key,) = story.state.quarantine
    assert story.state.quarantine[key].name == "true"
    return story, key


def test_it_is_not_run_again() -> None:
    story, key = quarantined()
    story.tell(submitted("t2", run_id="r2"), TaskSubmitted(task_id="t3", run_id="r2", work=OTHER))
    completed = story.told(TaskCompleted, task_id="t2")[0]
    assert (completed.verdict, completed.attempt, completed.deaths) == ("quarantined", 0, ())
    assert key in completed.message
    assert "as task t1" in completed.message
    assert not story.told(TaskAssigned, task_id="t2")
    assert story.told(TaskAssigned, task_id="t3")
    # Its own verdict adds nothing to what is known.
    assert story.state.quarantine[key].task_id == "t1"


def test_with_no_infrastructure_retries_it_never_gets_so_far() -> None:
    story = farm(Policy(infrastructure_retries=1))
    story.tell(submitted("t1"))
    kill_again(story, "t1", times=2)
    assert story.task("t1").verdict == "crashed"
    assert story.state.quarantine == {}


def test_it_is_said_at_once_even_without_workers() -> None:
    story, _ = quarantined()
    for worker_id in list(story.state.workers):
        story.worker(worker_id).attempt = None
    story.checks = False
    story.state.available.clear()
    story.tell(submitted("t2"))
    assert story.task("t2").verdict == "quarantined"


def test_what_waits_of_the_same_kind_is_not_run_either() -> None:
    story = farm(workers=1)
    story.tell(submitted("t1", priority=9), *(submitted(f"u{number}") for number in range(5)))
    kill_again(story, "t1", times=2)
    (first,) = story.worker("w1").held
    story.finish(first)
    kill_again(story, "t1")
    assert story.task("t1").verdict == "quarantined"
    others = {story.task(f"u{number}").verdict for number in range(5) if f"u{number}" != first}
    assert others == {"quarantined"}


def test_until_somebody_releases_it() -> None:
    story, key = quarantined()
    story.leading = False
    story.tell(submitted("t2"), QuarantineReleased(key=key, actor="alice", reason="fixed"))
    story.leading = True
    story.settle()
    assert story.task("t2").status == "assigned"
    ignored = story.state.ignored.total()
    story.tell(QuarantineReleased(key=key, actor="alice"))
    assert story.state.ignored.total() == ignored + 1
    # It begins with a clean slate.
    kill_again(story, "t2", times=2)
    assert story.task("t2").verdict is None


def test_or_until_it_is_too_long_ago() -> None:
    story, key = quarantined(Policy(quarantine_ttl=7 * DAY))
    story.leading = False
    story.now += 6.9 * DAY
    story.tell(submitted("t2"))
    assert "t2" in story.state.barred
    story.now += 0.2 * DAY
    story.tell(submitted("t3"))
    assert "t3" not in story.state.barred
    story.leading = True
    for worker_id in story.state.workers:
        story.beat(worker_id)
    story.settle()
    assert key in story.state.quarantine
    assert story.task("t3").verdict is None


def test_a_longer_memory_brings_it_back() -> None:
    story, _ = quarantined(Policy(quarantine_ttl=DAY))
    story.leading = False
    story.now += 2 * DAY
    story.tell(policy_changed(Policy(quarantine_ttl=9 * DAY)), submitted("t2"))
    story.leading = True
    story.settle()
    assert story.task("t2").verdict == "quarantined"


def test_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poison, "QUARANTINED_MAX", 1)
    story, first = quarantined()
    story.tell(TaskSubmitted(task_id="t2", run_id="r1", work=OTHER))
    kill_again(story, "t2", times=3)
    assert list(story.state.quarantine) == [fingerprint(OTHER)]
    assert first != fingerprint(OTHER)


def test_the_expired_are_forgotten_when_another_comes() -> None:
    story, first = quarantined(Policy(quarantine_ttl=1.0))
    story.wait(2.0, *story.state.workers)
    story.tell(TaskSubmitted(task_id="t2", run_id="r1", work=OTHER))
    kill_again(story, "t2", times=3)
    assert first not in story.state.quarantine


def test_a_cancellation_comes_first() -> None:
    story, _ = quarantined()
    story.tell(submitted("t2"), TaskCancelRequested(task_id="t2", actor="alice"))
    assert story.task("t2").verdict == "cancelled"


def test_the_same_work_has_the_same_fingerprint_in_every_run() -> None:
    suite = Suite(python="/usr/bin/python3", cwd="/src", args=("-k", "fast"))
    test = PytestWork(suite=suite, node_id="tests/test_a.py::test_a")
    again = PytestWork(suite=Suite(python="/opt/python", cwd="/src"), node_id="tests/test_a.py::test_a")
    assert fingerprint(test) == fingerprint(again)
    assert name_of(test) == "tests/test_a.py::test_a"
    others: list[AnyWork] = [
        PytestWork(suite=suite, node_id="tests/test_a.py::test_a", occurrence=1),
        PytestWork(suite=Suite(python="/usr/bin/python3", cwd="/other"), node_id="tests/test_a.py::test_a"),
        CommandWork(argv=("a", "b"), cwd="/"),
        CommandWork(argv=("a b",), cwd="/"),
        CommandWork(argv=("a", "b"), cwd="/tmp"),
    ]
    assert len({fingerprint(one) for one in [test, *others]}) == len(others) + 1
    assert name_of(others[2]) == "a b"
    assert fingerprint(CommandWork(argv=("a", "b"), cwd="/", environment={"X": "1"})) == fingerprint(others[2])
