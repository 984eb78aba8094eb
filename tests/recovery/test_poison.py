"""Tasks under which workers die: who is suspected, what acquits, what is proof."""

from typing import Any

import pytest

from events.clock import utc
from events.policy import Policy
from events.system import SystemRecoveryStarted
from events.task import (
    TaskAssigned,
    TaskAttemptFinished,
    TaskCancelRequested,
    TaskCompleted,
    TaskIsolated,
    TaskRequeued,
    TaskSubmitted,
)
from events.work import CommandWork
from events.worker import Begun, Evidence, WorkerDraining, WorkerExited, WorkerFailed, WorkerSuspected, WorkerVanished
from recovery import poison
from recovery.frozen import freeze, thaw
from tests.recovery.story import Story, policy_changed, registered, submitted

FARM = tuple(f"w{number}" for number in range(1, 7))


def farm(policy: Policy | None = None, *, workers: int = 6, slots: int = 1) -> Story:
    story = Story(policy or Policy())
    story.join(*FARM[:workers], slots=slots)
    return story


def die(story: Story, worker_id: str, *begun: str, told: bool = True, **fields: Any) -> None:
    """Killed, and brought back at once; the supervisor says what it had begun, if it is `told`."""
    incarnation = story.worker(worker_id).incarnation
    found = tuple(Begun(task_id, story.task(task_id).attempt) for task_id in begun) if told else None
    story.tell(WorkerExited(worker_id=worker_id, incarnation=incarnation, signal=9, begun=found, **fields))


def kill_again(story: Story, task_id: str, *, times: int = 1) -> list[str]:
    """Whoever has the task dies before anybody has heard that it began; it comes back."""
    victims = []
    for _ in range(times):
        victim = story.task(task_id).worker_id or ""
        die(story, victim, task_id)
        story.come_back(victim)
        victims.append(victim)
    return victims


def set_apart(story: Story) -> list[tuple[str, str]]:
    return [(event.task_id, event.worker_id) for event in story.told(TaskIsolated)]


def test_a_poison_task_costs_two_deaths_and_one_run_alone() -> None:
    story = farm()
    poison = "t0"
    story.tell(TaskSubmitted(task_id=poison, run_id="r1", work=CommandWork(argv=("kill", "-9"), cwd="/")))
    story.tell(*(submitted(f"t{number}") for number in range(1, 20)))
    victims = kill_again(story, poison, times=2)
    (isolated,) = story.told(TaskIsolated)
    assert isolated.worker_id not in victims[-1:]
    assert [death.worker_id for death in isolated.deaths] == victims
    assert story.task(poison).status == "isolated"
    # It finishes what it has, and gets nothing else.
    before = len(story.told(TaskAssigned, worker_id=isolated.worker_id))
    for task_id in list(story.worker(isolated.worker_id).held):
        story.start(task_id)
        story.finish(task_id)
    (alone,) = story.told(TaskAssigned, isolated=True)
    assert (alone.task_id, alone.worker_id) == (poison, isolated.worker_id)
    assert len(story.told(TaskAssigned, worker_id=isolated.worker_id)) == before + 1
    (third,) = kill_again(story, poison)
    (completed,) = story.told(TaskCompleted, verdict="quarantined")
    assert [death.worker_id for death in completed.deaths] == [*victims, third]
    for death in completed.deaths:
        said = story.records[death.sequence - 1].event
        assert isinstance(said, WorkerExited)
        assert said.worker_id == death.worker_id
        assert "signal 9" in death.reason
    assert f"resurgam quarantine release {story.task(poison).fingerprint}" in completed.message
    assert story.worker(third).set_apart_for == ""
    while story.state.runs:
        for task_id, task in list(story.state.tasks.items()):
            if task.status == "assigned":
                story.start(task_id)
                story.finish(task_id)
    assert {event.verdict for event in story.told(TaskCompleted)} == {"passed", "quarantined"}


def test_an_innocent_beside_it_is_cleared_by_its_run_alone() -> None:
    story = farm(slots=2)
    story.tell(submitted("guilty"), submitted("innocent"))
    for task_id in ("guilty", "innocent"):
        assert story.task(task_id).status == "assigned"
    for _ in range(2):
        for task_id in ("guilty", "innocent"):
            victim = story.task(task_id).worker_id or ""
            die(story, victim, task_id)
            story.come_back(victim)
    assert len(story.told(TaskIsolated)) == 1, "a tenth of the farm at one time, and one at least"
    (first, _), second = set_apart(story)[0], {"guilty": "innocent", "innocent": "guilty"}
    story.start(first)
    story.finish(first)
    other = second[first]
    assert story.task(first).verdict == "passed"
    assert set_apart(story)[1][0] == other
    kill_again(story, other)
    assert story.task(other).verdict == "quarantined"


def test_27_what_had_not_begun_is_not_accused() -> None:
    story = farm()
    story.tell(submitted("t1"))
    for _ in range(4):
        victim = story.task("t1").worker_id or ""
        die(story, victim)
        story.come_back(victim)
    assert {event.budget for event in story.told(TaskRequeued)} == {"none"}
    assert story.task("t1").deaths == ()
    assert set_apart(story) == []


def test_its_supervisor_knows_what_it_had_begun() -> None:
    """The report of its start was on its way: it pays, and what the log took to run had ended."""
    story = farm(workers=1, slots=2)
    story.tell(submitted("t1"), submitted("t2"))
    story.start("t1")
    die(story, "w1", "t2")
    assert [(event.task_id, event.budget) for event in story.told(TaskRequeued)] == [
        ("t1", "infrastructure"),
        ("t2", "infrastructure"),
    ]
    assert (len(story.task("t1").deaths), len(story.task("t2").deaths)) == (0, 1)


def test_a_report_of_another_attempt_is_not_about_this_one() -> None:
    story = farm()
    story.tell(submitted("t1"))
    worker_id = story.task("t1").worker_id or ""
    incarnation = story.worker(worker_id).incarnation
    begun = (Begun("t1", 9), Begun("t9", 1))
    story.tell(WorkerExited(worker_id=worker_id, incarnation=incarnation, signal=9, begun=begun))
    assert story.task("t1").deaths == ()
    assert [event.budget for event in story.told(TaskRequeued)] == ["none"]


@pytest.mark.parametrize("when", ["known", "unknown"])
def test_without_its_supervisor_the_log_and_the_line_tell(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """Gone with its supervisor: whatever ran, and what was next in line in each slot. A worker that died together with
    the broker may have been dead before it was given what stands in line."""
    monkeypatch.setattr(poison, "LINE_MAX", 1)
    story = farm(Policy(ahead=10.0), workers=1, slots=2)
    story.tell(*(submitted(f"t{number}") for number in range(12)))
    story.start("t0", "t1")
    story.finish("t0", duration_s=0.1)
    held = list(story.worker("w1").held)
    assert len(held) > 3
    incarnation = story.worker("w1").incarnation
    closed_at = utc(story.now) if when == "known" else None
    story.tell(
        WorkerVanished(worker_id="w1", incarnation=incarnation, machine="m1", lifeline="l1", closed_at=closed_at)
    )
    suspects = held[:3] if when == "known" else ["t1"]
    assert [task_id for task_id in held if story.task(task_id).deaths] == suspects
    assert {event.budget for event in story.told(TaskRequeued) if event.task_id != "t1"} == {"none"}


def test_what_a_worker_was_given_when_it_was_dead_is_not_held_against_the_task() -> None:
    """It died, and before anybody knew, it was given another task: that one it has never seen."""
    story = farm(workers=1, slots=2)
    story.tell(submitted("t1"))
    closed_at = utc(story.now)
    story.wait(0.5, "w1")
    story.tell(submitted("t2"))
    assert list(story.worker("w1").held) == ["t1", "t2"]
    incarnation = story.worker("w1").incarnation
    story.tell(
        WorkerVanished(worker_id="w1", incarnation=incarnation, machine="m1", lifeline="l1", closed_at=closed_at)
    )
    assert {event.task_id for event in story.told(TaskRequeued)} == {"t1", "t2"}
    assert (len(story.task("t1").deaths), len(story.task("t2").deaths)) == (1, 0)


@pytest.mark.parametrize(
    "how", ["silence", "synthetic", "exit of a drill", "stalled", "draining", "made up", "registered anew"]
)
def test_what_is_no_death_of_its_own_accuses_nobody(how: str) -> None:
    story = farm(workers=3)
    story.tell(submitted("t1"))
    story.start("t1")
    worker_id = story.task("t1").worker_id or ""
    incarnation = story.worker(worker_id).incarnation
    exited = WorkerExited(worker_id=worker_id, incarnation=incarnation, signal=9)
    if how == "silence":
        story.wait(30.0, *(one for one in FARM[:3] if one != worker_id))
    elif how == "synthetic":
        story.tell(WorkerFailed(worker_id=worker_id, reason="synthetic"), synthetic="drill")
    elif how == "exit of a drill":
        story.tell(exited, synthetic="drill")
    elif how == "stalled":
        story.tell(WorkerExited(worker_id=worker_id, incarnation=incarnation, signal=9, stalled=True))
    elif how == "draining":
        story.tell(WorkerDraining(worker_id=worker_id, incarnation=incarnation), exited)
    elif how == "made up":
        story.worker(worker_id).made_up = "drill"
        story.tell(exited)
    else:
        story.tell(registered(worker_id))
    assert story.told(TaskRequeued)
    assert story.task("t1").deaths == ()


def test_a_mass_loss_accuses_nobody() -> None:
    story = farm(Policy(auto_recovery=False))
    story.tell(*(submitted(f"t{number}") for number in range(6)))
    story.start(*(f"t{number}" for number in range(6)))
    for worker_id in FARM[:5]:
        incarnation = story.worker(worker_id).incarnation
        story.tell(WorkerExited(worker_id=worker_id, incarnation=incarnation, signal=9))
    assert story.told(SystemRecoveryStarted)
    assert all(not task.deaths for task in story.state.tasks.values())


def test_a_mass_loss_does_not_hide_who_kills_one_after_the_other() -> None:
    """Two of three are dead, of one task: that is an incident, and no pardon for it."""
    story = farm(workers=3)
    story.tell(submitted("t1"), submitted("t2"))
    for _ in range(2):
        victim = story.task("t1").worker_id or ""
        die(story, victim, "t1")
    assert story.told(SystemRecoveryStarted, incident_kind="mass_worker_loss")
    assert len(story.task("t1").deaths) == 2
    assert set_apart(story) == [], "nobody is sent out to kill another one meanwhile"
    for worker_id in FARM[:3]:
        if story.worker(worker_id).status != "alive":
            story.come_back(worker_id)
    assert not story.state.incidents
    assert [task_id for task_id, _ in set_apart(story)] == ["t1"]


def test_an_old_death_is_not_part_of_a_later_loss() -> None:
    story = farm(workers=4)
    story.tell(submitted("t1"))
    kill_again(story, "t1")
    story.wait(20.0, *FARM[:4])
    incident = SystemRecoveryStarted(
        incident_id="i1", incident_kind="mass_worker_loss", status="critical", affected_workers=3
    )
    story.leading = False
    story.tell(incident)
    assert len(story.task("t1").deaths) == 1


def test_a_pardon_puts_a_suspect_back_in_line() -> None:
    story = farm(Policy(poison_deaths=1), workers=4)
    story.tell(submitted("t1"))
    story.leading = False
    die(story, story.task("t1").worker_id or "", "t1")
    story.tell(TaskRequeued(task_id="t1", attempt=1, worker_id="w1", reason="worker_failed", budget="infrastructure"))
    assert list(story.state.suspects) == ["t1"]
    story.tell(
        SystemRecoveryStarted(incident_id="i1", incident_kind="mass_worker_loss", status="critical", affected_workers=3)
    )
    assert not story.state.suspects
    assert len(story.state.waiting) == 1


def test_who_is_pardoned_waits_where_it_would_have_waited() -> None:
    """Also for a leader that folds on from a snapshot. Seed 75 with 200 faults."""
    story = farm(Policy(poison_deaths=1), workers=4)
    story.tell(submitted("t1"), submitted("t2"))
    story.leading = False
    for task_id, begun in (("t1", ["t1"]), ("t2", [])):
        worker_id = story.task(task_id).worker_id or ""
        die(story, worker_id, *begun)
        story.tell(
            TaskRequeued(
                task_id=task_id, attempt=1, worker_id=worker_id, reason="worker_failed", budget="infrastructure"
            )
        )
    assert (list(story.state.suspects), story.state.waiting.ids()) == (["t1"], ["t2"])
    story.tell(
        SystemRecoveryStarted(incident_id="i1", incident_kind="mass_worker_loss", status="critical", affected_workers=3)
    )
    assert story.state.waiting.ids() == ["t1", "t2"]
    assert thaw(freeze(story.state)).waiting.ids() == ["t1", "t2"]


def test_another_policy_makes_and_unmakes_suspects() -> None:
    story = farm(Policy(poison_deaths=1))
    story.tell(submitted("t1"), submitted("t2"))
    kill_again(story, "t1")
    assert story.task("t1").status == "assigned"
    assert story.task("t1").isolated
    story.leading = False
    die(story, story.task("t1").worker_id or "", told=False)
    story.tell(TaskRequeued(task_id="t1", attempt=2, worker_id="w1", reason="worker_failed", budget="infrastructure"))
    assert list(story.state.suspects) == ["t1"]
    story.tell(policy_changed(Policy(poison_deaths=5)))
    assert not story.state.suspects
    story.tell(policy_changed(Policy(poison_deaths=1)))
    assert list(story.state.suspects) == ["t1"]


def test_whatever_becomes_of_a_worker_that_is_set_apart_another_one_is() -> None:
    story = farm(workers=4)
    story.tell(*(submitted(f"t{number}") for number in range(8)))
    kill_again(story, "t0", times=2)
    ((_, first),) = set_apart(story)
    incarnation = story.worker(first).incarnation
    evidence = Evidence(heartbeat_sequence=len(story.beats))
    story.tell(WorkerSuspected(worker_id=first, incarnation=incarnation, evidence=evidence))
    assert len(set_apart(story)) == 2
    (_, second) = set_apart(story)[1]
    assert (story.worker(first).set_apart_for, story.worker(second).set_apart_for) == ("", "t0")
    die(story, second)
    assert len(set_apart(story)) == 3
    assert len(story.task("t0").deaths) == 2


def test_a_suspect_may_be_cancelled_while_it_waits_to_run_alone() -> None:
    story = farm(workers=4)
    story.tell(*(submitted(f"t{number}") for number in range(8)))
    kill_again(story, "t0", times=2)
    ((_, apart),) = set_apart(story)
    story.tell(TaskCancelRequested(task_id="t0", actor="alice"))
    assert story.task("t0").verdict == "cancelled"
    assert story.worker(apart).set_apart_for == ""


def test_a_late_success_clears_a_suspect() -> None:
    story = farm(workers=4)
    story.tell(*(submitted(f"t{number}") for number in range(8)))
    kill_again(story, "t0")
    late = story.finished("t0")
    victim = story.task("t0").worker_id or ""
    die(story, victim, "t0")
    assert story.task("t0").status == "isolated"
    story.tell(late)
    assert story.task("t0").verdict == "passed"
    assert not story.state.set_apart


@pytest.mark.parametrize("verdict_retries", [0, 3])
def test_a_runner_that_crashes_counts_as_well(verdict_retries: int) -> None:
    story = farm(Policy(verdict_retries=verdict_retries))
    story.tell(submitted("t1"))
    for _ in range(3):
        if story.task("t1").status == "assigned":
            story.start("t1")
            story.finish("t1", "crashed", duration_s=5.0)
    (completed,) = story.told(TaskCompleted)
    if verdict_retries == 0:
        assert (completed.verdict, completed.attempt) == ("crashed", 1)
        return
    assert (completed.verdict, completed.attempt) == ("quarantined", 3)
    assert len(set_apart(story)) == 1
    for death in completed.deaths:
        assert isinstance(story.records[death.sequence - 1].event, TaskAttemptFinished)


def test_a_crash_in_a_drill_or_on_a_worker_that_fails_everything_accuses_nobody() -> None:
    story = farm(Policy(verdict_retries=1))
    story.tell(submitted("t1"))
    story.start("t1")
    story.tell(story.finished("t1", "crashed", duration_s=5.0), synthetic="drill")
    assert story.task("t1").deaths == ()


def test_it_runs_alone_where_its_labels_are_and_keeps_nobody_waiting_meanwhile() -> None:
    story = Story()
    story.join("w1", "w2", labels={"gpu": "yes"})
    story.join("w3", "w4", "w5", "w6")
    story.tell(submitted("t1", requires={"gpu": "yes"}), submitted("t2"))
    for _ in range(2):
        kill_again(story, "t1")
        kill_again(story, "t2")
    by_task = dict(set_apart(story))
    assert by_task["t1"] in ("w1", "w2")
    # Nobody has such a label any more.
    story.tell(submitted("t3", requires={"gpu": "no"}, priority=5))
    story.finish("t1")
    assert "t2" in dict(set_apart(story))


def test_a_single_worker_is_set_apart_as_well() -> None:
    story = farm(workers=1)
    story.tell(submitted("t1"), submitted("t2"))
    while story.task("t1").verdict is None:
        if "t1" in story.worker("w1").held:
            kill_again(story, "t1")
        else:
            for task_id in list(story.worker("w1").held):
                story.finish(task_id)
    assert story.task("t1").verdict == "quarantined"
    assert len(story.task("t1").deaths) == 3
