"""Reports on a log whose truth is known, since the test made it: as data, as Markdown, as JSON."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from events.system import RunSubmitted, SystemRecoveryCompleted, SystemRecoveryStarted
from events.task import TaskAssigned, TaskCompleted, TaskSubmitted
from events.work import CommandWork
from projections.asking import History
from projections.report.content import Report
from projections.report.gather import Nothing, Unknown, gather, of_incident, of_run, of_window
from projections.report.markdown import markdown
from projections.report.page import page
from projections.window import Window
from tests.projections.histories import EPOCH
from tests.projections.seasons import history_of
from tests.projections.telling import Telling

BEGAN = datetime.fromtimestamp(EPOCH, UTC)
WHOLE = Window(BEGAN - timedelta(hours=1), BEGAN + timedelta(hours=1))
NASTY = "<script>alert('x')</script>|`*_[x](http://example.invalid)"


def caused(story: Telling, cause: int) -> None:
    """The last event, by that one."""
    last = story.log[-1]
    assert last.envelope is not None
    story.log[-1] = msgspec.structs.replace(
        last, envelope=msgspec.structs.replace(last.envelope, causation_id=f"event-id-{cause}")
    )


def told() -> Telling:
    """w1 dies and is brought back within two seconds; w2 falls silent, and is given up after two attempts in vain."""
    story = Telling()
    story.say(0, RunSubmitted(run_id="r1", title=NASTY, tasks=2))
    story.register(0, "w1")
    story.register(0, "w2")
    story.say(1, TaskSubmitted(task_id="t1", run_id="r1", work=CommandWork(argv=(NASTY,), cwd="/srv")))
    story.submit(1, "t2")
    story.assign(1, "t1", "w1")
    story.assign(1, "t2", "w2")
    exited = story.exit(10, "w1")
    story.fail(10.1, "w1", proof=exited)
    failed = len(story.log)
    caused(story, exited)
    story.requeue(10.1, task_id="t1", worker_id="w1")
    story.schedule(10.2, "w1")
    caused(story, failed)
    story.start(10.3, "w1")
    caused(story, failed + 2)
    story.register(12, "w1")
    story.succeed(12, "w1")
    caused(story, failed + 3)
    ids: dict[str, Any] = {"task_id": "t1", "worker_id": "w1", "attempt": 2}
    ids["incarnation"] = story.incarnations["w1"]
    story.say(13, TaskAssigned(**ids, work=CommandWork(argv=(NASTY,), cwd="/srv")))
    story.say(14, TaskCompleted(task_id="t1", run_id="r1", verdict="crashed", attempt=2, worker_id="w1"))
    story.conclude(15, "passed", "passed", "t2", "w2")
    story.say(30, SystemRecoveryStarted(incident_id="i1", incident_kind="mass_worker_loss", status="critical"))
    story.fail(40, "w2", "silence", seen=25)
    story.start(40.1, "w2", 1)
    story.miss(50, "w2", 1)
    story.start(51, "w2", 2)
    story.miss(60, "w2", 2)
    story.give_up(61, "w2")
    done = SystemRecoveryCompleted(
        incident_id="i1",
        incident_kind="mass_worker_loss",
        status="degraded",
        success=False,
        duration_s=32.0,
        affected_workers=1,
        message="one worker is lost",
    )
    story.say(62, done)
    story.fail(100, "w1", "worker_exit", synthetic="drill-7")
    return story


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return told().write(tmp_path_factory.mktemp("report") / "history.duckdb")


@pytest.fixture(scope="module")
def history(path: Path) -> Iterator[History]:
    with duckdb.connect(str(path), read_only=True) as connection:
        yield history_of(connection)


@pytest.fixture(scope="module")
def whole(history: History) -> Report:
    return gather(history, of_window(WHOLE), BEGAN)


def test_what_happened(whole: Report) -> None:
    summary = whole.summary
    assert (summary.failures, summary.drills, summary.workers, summary.incidents) == (2, 1, 2, 1)
    assert summary.tasks == {"crashed": 1, "passed": 1}
    assert whole.through_sequence == len(told().log)
    figures = {figure.metric: (figure.value, figure.met) for figure in whole.figures}
    assert figures["recovery_success"] == (0.5, False)
    assert figures["recovery_time"] == (2.0, True)


def test_pictures_show_it(whole: Report) -> None:
    states = {lane.worker_id: [span.state for span in lane.spans] for lane in whole.lanes}
    assert states == {
        "w1": ["alive", "failed", "recovering", "alive"],
        "w2": ["alive", "failed", "recovering", "failed", "recovering", "failed", "given up"],
    }
    assert [[mark.success for mark in lane.marks] for lane in whole.lanes] == [[True], [False, False, False]]
    assert [(one.worker_id, one.ending, one.recovery_s) for one in whole.outages] == [
        ("w1", "recovered", 2.0),
        ("w2", "permanent", None),
    ]
    assert [(one.reason, one.endings) for one in whole.reasons] == [
        ("silence", {"permanent": 1}),
        ("worker_exit", {"recovered": 1}),
    ]


def test_the_worst_comes_first_with_its_causes(whole: Report) -> None:
    given_up, back, lost = whole.cases
    assert given_up.title.startswith("w2 failed at 2026-")
    assert given_up.title.endswith("(silence): given up")
    assert [link.kind for link in given_up.chain][-1] == "worker.permanently_failed"
    assert back.title.endswith("(worker_exit): brought back after 2.0 s")
    assert back.note == "1 task went elsewhere"
    # From the proof, before the failure, to the success; each says what led to it.
    kinds = {link.kind: link for link in back.chain}
    assert list(kinds) == [
        *("worker.exited", "worker.failed", "worker.recovery_scheduled", "worker.recovery_started"),
        *("worker.registered", "worker.recovery_succeeded"),
    ]
    assert kinds["worker.failed"].cause == kinds["worker.exited"].sequence
    assert kinds["worker.recovery_succeeded"].cause == kinds["worker.recovery_started"].sequence
    assert lost.title == f"{NASTY}: crashed after 2 attempts, at {BEGAN + timedelta(seconds=14):%Y-%m-%d %H:%M:%S}"
    assert [link.kind for link in lost.chain][:3] == ["task.submitted", "task.assigned", "task.started"]


def test_the_timeline_tells_drills_apart(whole: Report) -> None:
    assert [entry.kind for entry in whole.timeline if entry.synthetic] == ["worker.failed"]
    assert [entry.at for entry in whole.timeline] == sorted(entry.at for entry in whole.timeline)
    assert whole.timeline_left_out == 0


def test_of_a_run(history: History) -> None:
    scope = of_run(history, "r1", WHOLE.until)
    assert scope.title == f"Run r1: {NASTY}"
    assert (scope.since, scope.until) == (BEGAN, BEGAN + timedelta(seconds=45))
    report = gather(history, scope, BEGAN)
    assert report.summary.tasks == {"crashed": 1, "passed": 1}
    assert [lane.worker_id for lane in report.lanes] == ["w1", "w2"]


def test_of_an_incident(history: History) -> None:
    scope = of_incident(history, "i1", WHOLE.until)
    assert (scope.since, scope.until) == (BEGAN, BEGAN + timedelta(seconds=92))
    report = gather(history, scope, BEGAN)
    assert report.incident is not None
    assert report.incident["message"] == "one worker is lost"
    assert "- message: one worker is lost" in markdown(report)
    assert "one worker is lost" in page(report)


def test_who_is_not_there(history: History) -> None:
    with pytest.raises(Unknown, match="there is no run 'r2'; did you mean r1"):
        of_run(history, "r2", WHOLE.until)
    with pytest.raises(Unknown, match="there is no incident 'nonsense'; the newest is i1"):
        of_incident(history, "nonsense", WHOLE.until)
    before = Window(BEGAN - timedelta(days=9), BEGAN - timedelta(days=8))
    with pytest.raises(Nothing, match="nothing happened from 2026-"):
        gather(history, of_window(before), BEGAN)


def test_as_markdown(whole: Report) -> None:
    text = markdown(whole)
    assert "- 2 failures of 2 workers (and 1 drill)" in text
    assert "| recovery success rate | 50 % | > 95 % | missed | 1 of 2 |" in text
    assert "missed: recovery success rate" in text
    assert "(drill: drill-7)" in text
    # What a test is called is no markup, and breaks no table.
    assert "<script" not in text.replace("\\<script", "")
    rows = [line for line in text.splitlines() if line.startswith("| 2026-")]
    assert rows
    assert {line.replace("\\|", "").count("|") for line in rows} == {5}


def test_as_json(whole: Report) -> None:
    read = msgspec.json.decode(msgspec.json.encode(whole), type=Report)
    assert read == whole
