"""The demo: every step is announced and checked, and one that cannot happen ends it with a sentence."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coordinator.demo.farm import MARK
from coordinator.demo.findings import Unfinished, requeue_of, stale_decisions, start_after, unfinished, verdicts
from coordinator.demo.script import STEPS
from events.base import Event
from events.clock import utc
from events.envelope import Envelope, Provenance, Recorded
from events.system import LeaderElected
from events.task import TaskAssigned, TaskAttemptFinished, TaskCompleted, TaskRequeued, TaskStarted, TaskSubmitted
from events.work import CommandWork
from projections.client import query_file
from tests.test_cli import ROOT, run

DEMO_S_MAX = 60.0
WORK = CommandWork(argv=("true",), cwd="/")


@contextmanager
def demo(folder: Path, *arguments: str, **variables: str) -> "Iterator[subprocess.Popen[str]]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RESURGAM_")}
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "resurgam.py"), "demo", "--state-dir", "kept", *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT)} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_every_step_happens_and_what_it_prints_is_so(tmp_path: Path) -> None:
    with demo(tmp_path, "--num-workers", "3", "--run-time", "40") as process:
        out, err = process.communicate(timeout=DEMO_S_MAX)
    assert (process.returncode, err) == (0, ""), out + err
    lines = out.splitlines()
    begins = [lines.index(f"{number}/{len(STEPS)}  {step.title}") for number, step in enumerate(STEPS, start=1)]
    assert begins == sorted(begins)
    for begin, end in zip(begins, [*begins[1:], lines.index("In figures")], strict=True):
        assert any(line.startswith("  ✓  ") for line in lines[begin:end]), lines[begin:end]
    assert "no process is left" in out

    history = tmp_path / "kept" / "history.duckdb"
    recovered = query_file(history, "SELECT worker_id FROM worker_recovery_history WHERE success").rows
    assert len(recovered) == 1
    tasks = query_file(history, "SELECT count(*), count(*) FILTER (success) FROM task_recovery_history").rows[0]
    assert tasks[0] == tasks[1] >= 2
    incidents = query_file(history, "SELECT kind, success FROM incidents").rows
    assert [tuple(row) for row in incidents] == [("coordinator_failover", True)]
    told = run(tmp_path, "replay", "story", str(recovered[0][0]), "--state-dir", "kept")
    assert told.out.count("worker.recovery_succeeded") == 1, told.err


def test_a_step_that_does_not_happen_ends_it(tmp_path: Path) -> None:
    with demo(tmp_path, "--num-workers", "2", RESURGAM_POLICY_AUTO_RECOVERY="false") as process:
        out, err = process.communicate(timeout=DEMO_S_MAX)
    assert process.returncode == 1, out + err
    assert err.startswith(
        "resurgam: step 3 of 7, 'an agent is killed under a test' did not happen: the recovery of worker-"
    )
    assert "was not seen within 8 s; seen instead: worker.registered of worker-" in err
    assert "worker.failed of worker-" in err
    assert "all processes have been stopped, what was recorded is in kept" in out


def test_ctrl_c_stops_everything(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        assert process.stdout is not None
        assert any("coordinator-1 leads" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEMO_S_MAX)
    assert (process.returncode, err) == (130, ""), out + err
    assert "interrupted; all processes have been stopped" in out
    assert not left_in(tmp_path)


def left_in(folder: Path) -> list[str]:
    """Processes of a demo whose folder lies beneath `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            marked = MARK.encode() in (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if marked and str(folder) in command:
            found.append(command)
    return found


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--num-workers", "1"), "resurgam: --num-workers 1: the demo takes 2 to 32"),
        (("--run-time", "3"), "resurgam: --run-time 3: the demo needs 25 seconds at least"),
        (("--state-dir", "taken"), "resurgam: --state-dir taken is not empty"),
    ],
)
def test_mistakes(tmp_path: Path, arguments: tuple[str, ...], sentence: str) -> None:
    (tmp_path / "taken" / "already").mkdir(parents=True)
    with demo(tmp_path, *arguments) as process:
        _, err = process.communicate(timeout=DEMO_S_MAX)
    assert process.returncode == 2
    assert err.startswith(sentence)


# What is read from the log, given by hand


def log_of(*events: Event, source: str = "test", decided: bool = False) -> list[Recorded]:
    decision = Provenance(as_of_events=0, as_of_heartbeats=0, decided_at=utc(0), rules_version=1, rule="for the test")
    return [
        Recorded(
            sequence=number,
            time=float(number),
            subject=event.tail(),
            envelope=Envelope(
                id=f"event-{number:04}",
                time=utc(number),
                source=source,
                event=event,  # type: ignore[arg-type]
                decision=decision if decided else None,
            ),
        )
        for number, event in enumerate(events, start=1)
    ]


def assigned(task_id: str, attempt: int = 1, incarnation: int = 7) -> TaskAssigned:
    return TaskAssigned(task_id=task_id, worker_id="w1", incarnation=incarnation, attempt=attempt, work=WORK)


def began(task_id: str, attempt: int = 1, incarnation: int = 7) -> TaskStarted:
    return TaskStarted(task_id=task_id, worker_id="w1", incarnation=incarnation, attempt=attempt)


def completed(task_id: str, verdict: str = "passed") -> TaskCompleted:
    return TaskCompleted(task_id=task_id, run_id="r", verdict=verdict, attempt=1)  # type: ignore[arg-type]


def test_what_an_incarnation_left_unfinished() -> None:
    events = log_of(
        *(assigned(task_id) for task_id in ("a", "b", "c")),
        began("a"),
        TaskAttemptFinished(task_id="a", worker_id="w1", incarnation=7, attempt=1, outcome="passed"),
        began("b"),
        assigned("d", incarnation=8),
    )
    assert unfinished(events, "w1", 7) == [Unfinished("b", 1, started=True), Unfinished("c", 1, started=False)]


def test_only_a_higher_attempt_is_a_new_start() -> None:
    taken = TaskRequeued(task_id="b", worker_id="w1", attempt=1, reason="worker_failed", budget="infrastructure")
    task = Unfinished("b", 1, started=True)
    assert requeue_of(log_of(began("b")), task) is None
    assert requeue_of(log_of(taken), Unfinished("b", 2, started=True)) is None
    assert requeue_of(log_of(taken), task) is not None
    assert start_after(log_of(began("b", attempt=1)), task) is None
    assert start_after(log_of(began("b", attempt=2)), task) is not None


def test_a_deposed_leaders_decision_is_noticed() -> None:
    first = log_of(LeaderElected(coordinator_id="c1", term=1))
    second = log_of(LeaderElected(coordinator_id="c2", term=2))
    decision = log_of(assigned("a"), source="coordinator/c1", decided=True)
    assert stale_decisions(first + decision + second) == []
    assert stale_decisions(first + second + decision) == decision


def test_verdicts_that_are_missing_doubled_or_not_the_tests_own() -> None:
    submitted = [TaskSubmitted(task_id=task_id, run_id="r", work=WORK) for task_id in ("a", "b", "c")]
    told = verdicts(log_of(*submitted, completed("a"), completed("a"), completed("b", "crashed")))
    assert (told.missing, told.doubled, told.lost) == (["c"], ["a"], 1)
