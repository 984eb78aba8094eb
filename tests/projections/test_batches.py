"""However the log is cut into batches, and wherever the projector dies, the tables are the same."""

import contextlib
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.base import Event, SystemEvent
from events.clock import utc
from events.envelope import Recorded
from events.policy import Policy
from events.system import (
    Course,
    PolicyChanged,
    ProjectionRebuilt,
    RecoveryMeasured,
    RecoveryPaused,
    RecoveryResumed,
    SystemRecoveryCompleted,
    SystemRecoveryStarted,
    SystemStatusChanged,
    Use,
)
from events.task import TaskAssigned, TaskAttemptFinished, TaskCompleted, TaskRequeued, TaskStarted, TaskSubmitted
from events.work import CommandWork
from events.worker import (
    Evidence,
    WorkerDraining,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerReadmitted,
    WorkerRecoveryActed,
    WorkerRecoveryFailed,
    WorkerRecoveryProbed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRecoverySuperseded,
    WorkerRegistered,
    WorkerSuspected,
)
from projections import arrow, mapping, working_set
from projections.database import Database
from projections.verify import compare
from tests.projections.farm import Farm
from tests.projections.histories import EPOCH, dump, garbage, record, recorded_from

WORK = CommandWork(argv=("true",), cwd="/srv")

workers = st.sampled_from(["w1", "w2"])
tasks = st.sampled_from(["t1", "t2", "t3"])
small = st.integers(1, 4)
strategies = st.sampled_from(["await", "restart", "escalate"])
texts = st.sampled_from(["", "why", "a\x00b", "\N{SNOWMAN} 'quoted\""])
durations = st.sampled_from([0.0, 1e-05, 2.5, 1e22])

ATTEMPT = {"worker_id": workers, "incarnation": small, "attempt": small, "strategy": strategies}
TASK_ATTEMPT = {"task_id": tasks, "worker_id": workers, "incarnation": small, "attempt": small}
USE = Use(cpu_percent=12.5, memory_bytes=9, memory_available_bytes=99)
COURSE = Course(before=USE, during=USE, after=USE)
INCIDENT = {
    "incident_id": st.sampled_from(["i1", "i2"]),
    "incident_kind": st.just("mass_worker_loss"),
    "status": st.sampled_from(["healthy", "critical"]),
    "affected_workers": small,
}

SHAPES: dict[type[Event], dict[str, st.SearchStrategy[Any]]] = {
    WorkerRegistered: {"worker_id": workers, "host": texts, "pid": small, "slots": small},
    WorkerDraining: {"worker_id": workers, "incarnation": small},
    WorkerSuspected: {"worker_id": workers, "incarnation": small, "evidence": st.just(Evidence(silence_s=1e-05))},
    WorkerFailed: {
        "worker_id": workers,
        "reason": st.sampled_from(["silence", "worker_exit"]),
        "incarnation": st.none() | small,
    },
    WorkerPermanentlyFailed: {"worker_id": workers, "attempts": small, "message": texts},
    WorkerReadmitted: {"worker_id": workers, "actor": texts},
    WorkerRecoveryScheduled: ATTEMPT | {"not_before": st.just(utc(EPOCH))},
    WorkerRecoveryStarted: ATTEMPT | {"deadline": st.just(utc(EPOCH))},
    WorkerRecoveryActed: ATTEMPT | {"outcome": st.sampled_from(["done", "failed"]), "detail": texts},
    WorkerRecoveryProbed: {"worker_id": workers, "incarnation": small, "attempt": small},
    WorkerRecoverySucceeded: ATTEMPT | {"duration_s": durations},
    WorkerRecoveryFailed: ATTEMPT | {"error": texts},
    WorkerRecoverySuperseded: ATTEMPT | {"reason": texts},
    TaskSubmitted: {"task_id": tasks, "run_id": st.sampled_from(["r1", "r2"]), "work": st.just(WORK)},
    TaskAssigned: TASK_ATTEMPT | {"work": st.just(WORK)},
    TaskStarted: TASK_ATTEMPT,
    TaskRequeued: {
        "task_id": tasks,
        "worker_id": workers,
        "attempt": small,
        "reason": st.sampled_from(["worker_failed", "verdict_retry", "lost"]),
        "budget": st.just("infrastructure"),
    },
    TaskCompleted: {
        "task_id": tasks,
        "run_id": st.just("r1"),
        "verdict": st.sampled_from(["passed", "crashed"]),
        "outcome": st.sampled_from(["passed", "crashed", None]),
        "attempt": small,
        "duration_s": durations,
        "message": texts,
        "result_sequence": st.integers(0, 9),
    },
    TaskAttemptFinished: TASK_ATTEMPT
    | {
        "outcome": st.sampled_from(["passed", "failed", "crashed", "fenced"]),
        "duration_s": durations,
        "message": texts,
    },
    PolicyChanged: {
        "policy": st.sampled_from(
            [Policy(), Policy(auto_recovery=False), Policy(recovery_interval=30.0), Policy(verdict_retries=2)]
        ),
        "policy_hash": st.just("abc"),
        "actor": texts,
    },
    SystemStatusChanged: {
        "status": st.sampled_from(["healthy", "critical"]),
        "previous": st.just("idle"),
        "workers_live": small,
        "workers_expected": small,
    },
    SystemRecoveryStarted: INCIDENT,
    SystemRecoveryCompleted: INCIDENT | {"success": st.booleans(), "duration_s": durations, "message": texts},
    RecoveryPaused: {"actor": texts},
    RecoveryResumed: {"actor": texts},
    RecoveryMeasured: {
        "began_at": st.just(utc(EPOCH)),
        "ended_at": st.just(utc(EPOCH)),
        "outages": st.just(1),
        "before_s": durations,
        "after_s": durations,
        "coordinator": st.just(COURSE),
        "hosts": small,
        "workers": st.sampled_from([None, COURSE]),
    },
    ProjectionRebuilt: {"path": texts, "reason": texts, "through": small, "started_at": st.just(utc(EPOCH))},
}

any_event = st.one_of([st.builds(kind, **shape) for kind, shape in SHAPES.items()])
labels = st.sampled_from([None, None, "drill"])


@st.composite
def logs(draw: st.DrawFn) -> list[Recorded]:
    """Any events in any order: most of these stories could not happen, and all of them must be told the same."""
    found = []
    for sequence, item in enumerate(draw(st.lists(st.none() | st.tuples(any_event, labels), min_size=1)), start=1):
        found.append(garbage(sequence) if item is None else record(sequence, *item))
    return found


def cut(log: list[Recorded], sizes: Iterator[int]) -> Iterator[list[Recorded]]:
    begin = 0
    while begin < len(log):
        end = begin + next(sizes)
        yield log[begin:end]
        begin = end


def whole(path: Path, log: list[Recorded]) -> Path:
    database = Database.open(path)
    database.apply(log)
    database.close()
    return path


fast = settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])


@fast
@given(log=logs(), sizes=st.lists(st.integers(1, 20), min_size=1), reopen=st.booleans())
def test_batches_do_not_show(log: list[Recorded], sizes: list[int], reopen: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        expected = whole(Path(folder) / "whole.duckdb", log)
        path = Path(folder) / "cut.duckdb"
        database = Database.open(path)
        for batch in cut(log, itertools.cycle(sizes)):
            database.apply(batch)
            if reopen:
                database.close()
                database = Database.open(path)
        database.close()
        assert compare(path, expected) is None


class Dying:
    """A connection whose process dies at one of its statements."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, statements_left: int) -> None:
        self._connection = connection
        self._statements_left = statements_left

    def execute(self, *arguments: Any) -> Any:
        self._count()
        return self._connection.execute(*arguments)

    def register(self, *arguments: Any) -> Any:
        self._count()
        return self._connection.register(*arguments)

    def unregister(self, *arguments: Any) -> Any:
        self._count()
        return self._connection.unregister(*arguments)

    def _count(self) -> None:
        self._statements_left -= 1
        if self._statements_left < 0:
            raise KeyboardInterrupt

    def close(self) -> None:
        self._connection.close()


@fast
@given(log=logs(), size=st.integers(1, 30), deaths=st.lists(st.integers(0, 60), max_size=6))
def test_a_death_between_any_two_statements_does_not_show(log: list[Recorded], size: int, deaths: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        expected = whole(Path(folder) / "whole.duckdb", log)
        path = Path(folder) / "killed.duckdb"
        for death in deaths:
            database = Database.open(path)
            database._connection = Dying(database._connection, death)  # type: ignore[assignment]
            with contextlib.suppress(KeyboardInterrupt):
                go_on(database, log, size)
            database.close()
        database = Database.open(path)
        go_on(database, log, size)
        database.close()
        assert compare(path, expected) is None


def go_on(database: Database, log: list[Recorded], size: int) -> None:
    rest = [recorded for recorded in log if recorded.sequence > database.position.sequence]
    for batch in cut(rest, itertools.repeat(size)):
        database.apply(batch)


@pytest.mark.parametrize("size", [1, 7, 500])
def test_a_farm_is_told_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """A likely story, with next to nothing kept between the batches, and few rows in one array."""
    log = recorded_from(Farm(7, run_tasks=12, failure_share=0.2).drafts(), 350)
    expected = dump(whole(tmp_path / "whole.duckdb", log))
    monkeypatch.setattr(working_set, "ROWS_KEPT_MAX", 2)
    monkeypatch.setattr(arrow, "ROWS_MAX", 3)
    path = tmp_path / "cut.duckdb"
    database = Database.open(path)
    for batch in cut(log, itertools.repeat(size)):
        database.apply(batch)
    database.close()
    assert dump(path) == expected
    assert {row[4] for row in expected["worker_recovery_history"]} >= {True, False}
    assert {row[5] for row in expected["task_recovery_history"]} >= {True, False}
    assert expected["system_recovery_history"]


def test_ids_are_dense(tmp_path: Path) -> None:
    log = recorded_from(Farm(8, failure_share=0.1).drafts(), 1500)
    found = dump(whole(tmp_path / "history.duckdb", log))
    for table in ("worker_recovery_history", "task_recovery_history", "system_recovery_history"):
        rows = found[table]
        assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    assert len(found["events"]) == 1500


def test_every_kind_that_is_about_a_worker_or_a_task_is_known_to_the_mapping() -> None:
    """It changes at least `last_event_sequence`. Many a kind about the system has its row in `events` and no other."""
    unknown = {
        kind.__name__ for kind, turns in mapping.TURNS.items() if not turns and not issubclass(kind, SystemEvent)
    }
    assert not unknown, "name them in a list of handlers"
