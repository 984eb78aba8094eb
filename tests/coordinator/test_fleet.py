"""What is said of a farm's health, from folded stories; and how it looks."""

import re
from io import StringIO

import pytest
from rich.console import Console

from coordinator.fleet.board import board, explanations, span
from coordinator.fleet.document import FleetHealth, WorkerHealth
from coordinator.fleet.examine import View, fleet_health
from coordinator.fleet.notes import Notes, Vitals
from events.clock import utc
from events.policy import Policy
from events.system import CoordinatorStopped, DetectorDegraded
from events.worker import (
    Heartbeat,
    RecordedHeartbeat,
    WorkerDisconnected,
    WorkerDraining,
    WorkerExited,
    WorkerFailed,
    WorkerStalled,
    WorkerStopped,
)
from tests.recovery.story import Story, policy_changed, registered, submitted
from tests.recovery.test_repairs import alive, tripped

ROUNDS_MAX = 20


def healthy_story(*worker_ids: str, policy: Policy | None = None) -> Story:
    story = Story(policy or Policy(detector="deadline"))
    story.join(*worker_ids, slots=2)
    return story


def view_of(story: Story, *, leads: bool = True) -> View:
    notes, vitals = Notes(), Vitals()
    notes.take(story.records)
    vitals.take(story.beats)
    return View(story.state, notes, vitals, story.now, leads)


def examined(story: Story, *, leads: bool = True, limit: int | None = None) -> FleetHealth:
    return fleet_health(view_of(story, leads=leads), limit=limit)


def one(story: Story, worker_id: str) -> WorkerHealth:
    found = {worker.worker_id: worker for worker in examined(story).workers}
    return found[worker_id]


def exit_of(story: Story, worker_id: str, *, signal: int | None = None, exit_code: int | None = None) -> None:
    incarnation = story.worker(worker_id).incarnation
    story.tell(WorkerExited(worker_id=worker_id, incarnation=incarnation, signal=signal, exit_code=exit_code))


def test_nobody_at_all() -> None:
    found = examined(Story())
    assert (found.status, found.healthy, found.workers, found.omitted) == ("idle", True, [], {})


def test_all_is_well() -> None:
    story = healthy_story("w1", "w2")
    story.wait(3.0, "w1", "w2")
    found = examined(story)
    assert (found.healthy, found.status, found.by_status) == (True, "healthy", {"alive": 2})
    assert (found.leader.coordinator_id, found.leader.term, found.leader.age_s) == ("c1", 1, 3.0)
    first = found.workers[0]
    assert first.heartbeat is not None
    assert first.silence is not None
    assert (first.heartbeat.age_s, first.silence.seconds, first.silence.threshold_s) == (1.0, 1.0, 6.0)
    assert first.heartbeat.content is not None
    assert first.heartbeat.content.worker_id == "w1"
    assert explanations(first, found) == []


def test_the_breaker_is_shown_while_it_holds_attempts_back() -> None:
    story = tripped(dead=3)
    found = examined(story)
    assert found.breaker is not None
    assert (found.breaker.status, found.breaker.opens_in_s, found.repairs_waiting) == ("open", 30.0, 3)
    assert "could not be brought back: 3 attempts wait; one is let through in 30 s" in drawn(found)
    story.wait(30.0, *alive(story))
    found = examined(story)
    assert found.breaker is not None
    assert f"2 attempts wait for what becomes of {found.breaker.probe}" in drawn(found)
    assert (found.repairing, found.repairs_waiting) == (1, 2)


def test_a_suspect_has_its_evidence() -> None:
    story = healthy_story("w1", "w2")
    story.wait(8.0, "w2")
    found = examined(story)
    suspect = found.workers[0]
    assert (suspect.worker_id, suspect.status) == ("w1", "suspect")
    assert suspect.suspicion is not None
    assert suspect.silence is not None
    assert (suspect.suspicion.silence_s, suspect.suspicion.threshold_s, suspect.suspicion.age_s) == (6.0, 6.0, 2.0)
    assert (suspect.silence.seconds, suspect.silence.threshold_s) == (8.0, 15.0)
    assert explanations(suspect, found) == [
        f"suspected 2.0 s ago (event {suspect.suspicion.sequence}): it was silent for 6.0 s (6.0 s were allowed)"
    ]


def test_a_suspect_that_lost_its_connection() -> None:
    story = healthy_story("w1", "w2")
    story.tell(WorkerDisconnected(worker_id="w1", incarnation=story.worker("w1").incarnation, heartbeat_sequence=1))
    found = one(story, "w1")
    assert found.suspicion is not None
    assert found.suspicion.disconnected


def test_one_that_beats_and_is_of_no_use() -> None:
    story = healthy_story("w1", "w2")
    story.leading = False
    stalled = WorkerStalled(
        worker_id="w1",
        incarnation=story.worker("w1").incarnation,
        cause="not_started",
        tasks=("t1", "t2", "t3", "t4"),
        waited_s=10.5,
        threshold_s=10.0,
    )
    story.tell(stalled)
    found = examined(story)
    assert (found.workers[0].worker_id, found.workers[0].status) == ("w1", "stalled")
    [why] = explanations(found.workers[0], found)
    assert why == (
        f"stalled 0.0 s ago (event {story.last}): it has not begun its tasks for 10.5 s (10.0 s were allowed): "
        "t1, t2, t3 and 1 more; its supervisor is to restart it"
    )


def test_a_failure_by_silence_and_what_is_done_about_it() -> None:
    story = healthy_story("w1", "w2")
    story.wait(16.0, "w2")
    found = examined(story)
    assert not found.healthy
    failed = found.workers[0]
    assert failed.failure is not None
    assert failed.recovery is not None
    assert (failed.failure.reason, failed.failure.evidence_sequence, failed.failure.age_s) == ("silence", 0, 1.0)
    assert failed.silence is None
    assert (failed.recovery.attempt, failed.recovery.attempts_max, failed.recovery.strategy) == (1, 5, "await")
    why, what = explanations(failed, found)
    assert why == (
        f"silence 1.0 s ago (event {failed.failure.sequence}): no heartbeat for 15.0 s (15.0 s were allowed)"
    )
    assert what == "recovery: attempt 1 of 5, await, waits for it to register within 29 s"


def test_what_has_helped_against_which_failure_and_what_nobody_understands() -> None:
    story = healthy_story("w1", "w2")
    exit_of(story, "w1", signal=9)
    story.come_back("w1")
    story.wait(16.0, "w2")
    story.wait(30.0, "w2")
    found = examined(story)
    told = [(one.reason, one.strategy, one.succeeded, one.failed) for one in found.strategies]
    assert told == [("silence", "await", 0, 1), ("worker_exit", "restart", 1, 0)]
    assert found.errors == {"connection": 1, "worker_exit": 1}
    assert "helped against worker_exit: restart 1 of 1 (67% expected)" in drawn(found)
    assert "nobody knows" not in drawn(found)
    story.state.errors["unknown"] = 3
    assert "3 failures were of a kind that nobody knows (error 'unknown')" in drawn(examined(story))
    story.tell(policy_changed(Policy(strategy_order="history")))
    assert "what has helped most often against a failure is tried first" in drawn(examined(story))


@pytest.mark.parametrize(("signal", "exit_code"), [(9, None), (None, 3)])
def test_a_failure_by_exit(signal: int | None, exit_code: int | None) -> None:
    story = healthy_story("w1", "w2")
    exit_of(story, "w1", signal=signal, exit_code=exit_code)
    failure = one(story, "w1").failure
    assert failure is not None
    assert (failure.reason, failure.signal, failure.exit_code) == ("worker_exit", signal, exit_code)
    assert 0 < failure.evidence_sequence < failure.sequence
    assert str(exit_code if signal is None else signal) in failure.message


def test_an_exit_that_nobody_has_judged_yet() -> None:
    story = healthy_story("w1")
    story.leading = False
    exit_of(story, "w1", exit_code=1)
    found = one(story, "w1")
    assert found.status == "exited"
    assert found.failure is not None
    assert (found.failure.exit_code, found.failure.sequence) == (1, story.last)


def test_the_failure_of_an_earlier_incarnation_is_not_that_of_this_one() -> None:
    story = healthy_story("w1", "w2")
    exit_of(story, "w1", signal=9)
    story.come_back("w1")
    back = one(story, "w1")
    assert (back.status, back.failure) == ("alive", None)
    story.leading = False
    exit_of(story, "w1", exit_code=7)
    again = one(story, "w1").failure
    assert again is not None
    assert (again.exit_code, again.signal) == (7, None)


def test_a_made_up_failure_says_so() -> None:
    story = healthy_story("w1", "w2")
    story.tell(WorkerFailed(worker_id="w1", reason="synthetic"), synthetic="chaos")
    found = examined(story)
    assert explanations(found.workers[0], found)[0].endswith("; made up (chaos)")


def test_one_that_was_given_up() -> None:
    story = healthy_story("w1", "w2")
    exit_of(story, "w1", signal=9)
    for _ in range(ROUNDS_MAX):
        if story.worker("w1").status == "permanent":
            break
        story.wait(60.0, "w2")
    found = examined(story)
    given_up = found.workers[0]
    assert (given_up.worker_id, given_up.status, given_up.recovery) == ("w1", "permanent", None)
    assert explanations(given_up, found)[-1] == (
        f"given up (event {given_up.status_sequence}): 5 attempts to bring it back failed within 600 s"
    )


def test_without_recovery_nobody_is_brought_back() -> None:
    story = healthy_story("w1", "w2", policy=Policy(auto_recovery=False))
    exit_of(story, "w1", signal=9)
    found = examined(story)
    assert explanations(found.workers[0], found)[-1] == "recovery: switched off"
    assert "automatic recovery is switched off" in drawn(found)


def test_one_that_is_back_has_to_prove_it() -> None:
    story = healthy_story("w1", "w2", "w3")
    exit_of(story, "w3", signal=9)
    story.join("w3", slots=2)
    found = examined(story)
    assert [worker.worker_id for worker in found.workers] == ["w3", "w1", "w2"], "it stands before the others"
    assert explanations(found.workers[0], found) == [
        "recovery: attempt 1 of 5, restart, it was probed, and has to answer within 30 s"
    ]


def test_the_worst_come_first_and_the_others_are_counted() -> None:
    story = healthy_story("w1", "w2", "w3", "w4", "w5")
    story.tell(WorkerStopped(worker_id="w1", incarnation=story.worker("w1").incarnation, reason="told to"))
    story.tell(WorkerDraining(worker_id="w3", incarnation=story.worker("w3").incarnation, reason="SIGTERM"))
    exit_of(story, "w5", signal=9)
    found = examined(story, limit=3)
    assert [worker.worker_id for worker in found.workers] == ["w5", "w3", "w2"]
    assert found.by_status == {"failed": 1, "draining": 1, "alive": 2, "stopped": 1}
    assert found.omitted == {"alive": 1, "stopped": 1}
    assert explanations(found.workers[1], found) == ["SIGTERM"]


def test_those_that_nobody_judges_stand_before_the_others() -> None:
    """Without a leader, silence has no consequences, and is to be seen all the same."""
    story = healthy_story("w1", "w2")
    story.leading = False
    story.now += 7.0
    story.beat("w1")
    assert [worker.worker_id for worker in examined(story, leads=False).workers] == ["w2", "w1"]


def test_tasks_are_counted_by_the_log() -> None:
    story = healthy_story("w1")
    story.tell(submitted("t1"))
    assert one(story, "w1").tasks == 1


def test_without_a_leader_nothing_is_healthy() -> None:
    story = healthy_story("w1")
    found = examined(story, leads=False)
    assert (found.status, found.healthy) == ("healthy", False)
    assert "nobody leads: silence is not judged and nothing is repaired; the last was c1 (term 1)" in drawn(found)
    story.tell(CoordinatorStopped(coordinator_id="c1"))
    assert "; the last was" not in drawn(examined(story, leads=False))


def test_incidents_and_doubts_are_shown() -> None:
    story = healthy_story("w1", "w2", "w3")
    story.tell(DetectorDegraded(reason="own_pause", extent_s=1.4, heartbeats_sequence=3))
    for worker_id in ("w1", "w2"):
        exit_of(story, worker_id, signal=9)
    story.wait(5.0, "w3")
    text = drawn(examined(story))
    assert "critical: 1 of 3 expected workers live (2 failed, 1 alive)" in text
    assert re.search(r"incident mass_worker_loss open for 5\.0 s: \d workers, 0 tasks affected", text)
    assert re.search(r"the leader last doubted its own eyes 5\.0 s ago: own_pause \(1\.4 s\), event \d+", text)


def test_a_worker_without_a_heartbeat() -> None:
    story = healthy_story("w1")
    story.tell(registered("w9"))
    found = one(story, "w9")
    assert found.heartbeat is None
    assert found.silence is not None
    assert found.silence.threshold_s == 30.0
    assert re.search(r"w9 +alive +never +30\.0 s", drawn(examined(story)))


# How it looks


def drawn(found: FleetHealth, *, width: int = 100, height: int | None = None) -> str:
    out = StringIO()
    Console(file=out, width=width, highlight=False).print(board(found, width=width, height=height))
    return out.getvalue()


def troubled(count: int) -> Story:
    story = Story(Policy(detector="deadline"), checks=False)
    names = [f"worker-{number:05}" for number in range(count)]
    story.leading = False
    story.tell(*(registered(name, slots=4) for name in names))
    story.leading = True
    beat(story, names)
    for name in names[3:6]:
        exit_of(story, name, signal=9)
    return story


def beat(story: Story, names: list[str]) -> None:
    """Heartbeats with something in them, and with the widest figures there are."""
    from recovery.core import observe

    for name in names:
        content = Heartbeat(
            worker_id=name,
            incarnation=story.worker(name).incarnation,
            beat=1,
            sent_at=utc(story.now),
            running=("t1", "t2"),
            queued=12,
            cpu_percent=100.0,
            memory_bytes=9_999 << 20,
            load_1m=123.4,
            loop_lag_s=0.25,
        )
        story.beats.append(RecordedHeartbeat(len(story.beats) + 1, story.now, content))
        observe(story.state, story.beats[-1])


@pytest.mark.parametrize("width", [40, 60, 80, 160])
def test_no_line_is_too_long(width: int) -> None:
    for line in drawn(examined(troubled(20)), width=width).splitlines():
        assert len(line) <= width, line


def test_a_wide_terminal_shows_more() -> None:
    found = examined(troubled(10))
    narrow, wide = drawn(found, width=80), drawn(found, width=160)
    assert "HOST" not in narrow
    assert "9999 MiB" in wide
    assert "250 ms" in wide
    assert "HOST" in wide


def test_a_large_farm_fits_any_terminal() -> None:
    found = examined(troubled(10_000), limit=50)
    lines = drawn(found, width=80, height=24).splitlines()
    assert len(lines) == 24
    assert [line.split()[:2] for line in lines if line.startswith("worker-")][:4] == [
        ["worker-00003", "failed"],
        ["worker-00004", "failed"],
        ["worker-00005", "failed"],
        ["worker-00000", "alive"],
    ]
    shown = sum(line.startswith("worker-") and " alive " in line for line in lines)
    assert lines[-1] == f"and {9_997 - shown:,} more alive"


def test_long_names_are_cut_and_rows_stay_in_line() -> None:
    story = healthy_story("w" * 64, "w1")
    lines = drawn(examined(story), width=80).splitlines()
    rows = [line for line in lines if line.startswith("w")]
    assert len(rows) == 2
    assert {line.index(" alive ") for line in rows} == {lines[3].index(" STATUS ")}
    assert any("w…" in line for line in rows)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 m"),
        (200.0, "3 m 20 s"),
        (3600.0, "1 h"),
        (7500.0, "2 h 5 m"),
        (273_600.0, "3 d 4 h"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text
