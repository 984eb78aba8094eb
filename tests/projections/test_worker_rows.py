"""Given these events about workers, their tables hold these rows."""

import msgspec
import pytest

from events.base import Event
from events.clock import utc
from events.failures import Rung
from events.worker import (
    Evidence,
    WorkerDraining,
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerProbeAnswered,
    WorkerReadmitted,
    WorkerRecoveryActed,
    WorkerRecoveryFailed,
    WorkerRecoveryProbed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRecoverySuperseded,
    WorkerRegistered,
    WorkerStopped,
    WorkerSuspected,
    WorkerSuspicionRefuted,
)
from projections import mapping
from projections.rows import WorkerRecovery, WorkerRow
from projections.working_set import WorkingSet
from tests.projections.histories import EPOCH, at, changes, record

MOMENT = utc(EPOCH)


def worker_history(*events: Event, synthetic: str | None = None) -> list[WorkerRecovery]:
    return list(changes(*events, synthetic=synthetic).worker_recoveries.values())


REGISTERED = WorkerRegistered(worker_id="w1", host="h", pid=7, slots=2, labels={"os": "linux"})
FAILED = WorkerFailed(worker_id="w1", reason="silence", incarnation=1)


def scheduled(attempt: int = 1) -> WorkerRecoveryScheduled:
    return WorkerRecoveryScheduled(
        worker_id="w1", incarnation=1, attempt=attempt, strategy="restart", not_before=MOMENT
    )


def started(attempt: int = 1) -> WorkerRecoveryStarted:
    return WorkerRecoveryStarted(worker_id="w1", incarnation=1, attempt=attempt, strategy="restart", deadline=MOMENT)


def succeeded(attempt: int = 1) -> WorkerRecoverySucceeded:
    return WorkerRecoverySucceeded(worker_id="w1", incarnation=5, attempt=attempt, strategy="restart", duration_s=2.5)


def attempt_failed(attempt: int = 1) -> WorkerRecoveryFailed:
    return WorkerRecoveryFailed(
        worker_id="w1", incarnation=1, attempt=attempt, strategy="restart", error="no registration"
    )


def test_an_attempt_is_open_from_its_scheduling_on() -> None:
    (row,) = worker_history(REGISTERED, FAILED, scheduled())
    assert (row.id, row.worker_id, row.attempt_number, row.recovery_type) == (1, "w1", 1, "restart")
    assert (row.success, row.error_message, row.recovery_time) == (None, None, at(3))
    assert row.details["sequences"] == [2, 3]
    assert (row.details["failure_reason"], row.details["category"]) == ("silence", "connection")
    assert "synthetic" not in row.details


def test_an_attempt_answers_what_was_known_of_the_failure_by_then() -> None:
    exited = WorkerExited(worker_id="w1", incarnation=1, signal=9)
    second = msgspec.structs.replace(scheduled(2), reason="worker_exit")
    first, row = worker_history(REGISTERED, FAILED, scheduled(), started(), exited, attempt_failed(), second)
    assert (first.details["failure_reason"], first.details["category"]) == ("silence", "connection")
    assert first.details["sequences"] == [2, 3, 4, 5, 6]
    assert (row.details["failure_reason"], row.details["category"]) == ("worker_exit", "worker_exit")


def test_an_attempt_begins_at_its_start_and_ends_well() -> None:
    probed = WorkerRecoveryProbed(worker_id="w1", incarnation=5, attempt=1)
    answered = WorkerProbeAnswered(worker_id="w1", incarnation=5, attempt=1)
    story = [REGISTERED, FAILED, scheduled(), started(), REGISTERED, probed, answered, succeeded()]
    (row,) = worker_history(*story)
    assert (row.success, row.error_message, row.recovery_time) == (True, None, at(4))
    assert row.details["sequences"] == [2, 3, 4, 5, 6, 7, 8]
    assert (row.details["duration_s"], row.details["incarnation"], row.details["new_incarnation"]) == (2.5, 1, 5)


def test_an_attempt_says_what_was_considered_and_what_its_leader_did() -> None:
    considered = (Rung(strategy="restart", failed=2, rejected="it has failed lately"), Rung(strategy="replace"))
    fields = {"worker_id": "w1", "incarnation": 1, "attempt": 1, "strategy": "replace"}
    planned = WorkerRecoveryScheduled(**fields, not_before=MOMENT, considered=considered)  # type: ignore[arg-type]
    begun = WorkerRecoveryStarted(**fields, deadline=MOMENT)  # type: ignore[arg-type]
    act = WorkerRecoveryActed(**fields, outcome="done", detail="process 12")  # type: ignore[arg-type]
    other = WorkerRecoveryActed(**fields | {"attempt": 2}, outcome="failed")  # type: ignore[arg-type]
    (row,) = worker_history(REGISTERED, FAILED, planned, begun, act, other)
    assert row.details["sequences"] == [2, 3, 4, 5]
    assert (row.details["acted"], row.details["act"]) == ("done", "process 12")
    assert row.details["considered"] == [
        {"strategy": "restart", "failed": 2, "rejected": "it has failed lately"},
        {"strategy": "replace"},
    ]


ENDS: list[tuple[list[Event], list[tuple[int, bool | None, str, str | None]]]] = [
    ([scheduled(), started(), attempt_failed()], [(1, False, "restart", "no registration")]),
    ([scheduled(), attempt_failed()], [(1, False, "restart", "no registration")]),
    (
        [
            scheduled(),
            WorkerRecoverySuperseded(
                worker_id="w1", incarnation=1, attempt=1, strategy="restart", reason="a newer failure"
            ),
        ],
        [(1, False, "restart", "superseded: a newer failure")],
    ),
    # One row an attempt, however many there are.
    (
        [scheduled(), started(), attempt_failed(), scheduled(2), started(2), succeeded(2)],
        [(1, False, "restart", "no registration"), (2, True, "restart", None)],
    ),
    # Another one begins before the end of the first.
    (
        [scheduled(), scheduled(2)],
        [(1, False, "restart", "superseded: attempt 2 began"), (2, None, "restart", None)],
    ),
    # An order without a plan, and an end without a beginning.
    ([started(), succeeded()], [(1, True, "restart", None)]),
    ([succeeded()], [(1, True, "restart", None)]),
    # The end of an attempt that is not the open one.
    ([scheduled(2), attempt_failed(1)], [(2, None, "restart", None), (1, False, "restart", "no registration")]),
    # Given up.
    (
        [scheduled(), attempt_failed(), WorkerPermanentlyFailed(worker_id="w1", attempts=1, message="1 of 1")],
        [(1, False, "restart", "no registration"), (1, False, "escalate", "permanently failed: 1 of 1")],
    ),
    (
        [scheduled(), WorkerPermanentlyFailed(worker_id="w1", attempts=1)],
        [
            (1, False, "restart", "superseded: the worker failed permanently"),
            (1, False, "escalate", "permanently failed"),
        ],
    ),
]


@pytest.mark.parametrize(("story", "expected"), ENDS)
def test_ends_of_worker_attempts(story: list[Event], expected: list[tuple[int, bool | None, str, str | None]]) -> None:
    rows = worker_history(REGISTERED, FAILED, *story)
    assert [(row.attempt_number, row.success, row.recovery_type, row.error_message) for row in rows] == expected
    assert [row.id for row in rows] == list(range(1, len(rows) + 1))


def test_what_follows_from_a_synthetic_failure_says_so() -> None:
    rows = WorkingSet()
    mapping.apply(rows, [record(1, REGISTERED), record(2, FAILED, "drill"), record(3, scheduled())])
    mapping.apply(rows, [record(4, started()), record(5, succeeded())])
    found = rows.take_changes()
    assert found.worker_recoveries[1].details["synthetic"] == "drill"
    assert (found.workers["w1"].failures, found.workers["w1"].recoveries) == (0, 0)


def test_a_failure_of_another_incarnation_changes_nothing() -> None:
    stale = WorkerFailed(worker_id="w1", reason="silence", incarnation=99)
    row = changes(REGISTERED, stale).workers["w1"]
    assert (row.status, row.failures, row.last_event_sequence) == ("alive", 0, 2)


EVIDENCE = Evidence(silence_s=6.0)
STATUSES: list[tuple[list[Event], str]] = [
    ([], "alive"),
    ([WorkerSuspected(worker_id="w1", incarnation=1, evidence=EVIDENCE)], "suspect"),
    ([WorkerSuspected(worker_id="w1", incarnation=9, evidence=EVIDENCE)], "alive"),
    (
        [
            WorkerSuspected(worker_id="w1", incarnation=1, evidence=EVIDENCE),
            WorkerSuspicionRefuted(worker_id="w1", incarnation=1, evidence=EVIDENCE),
        ],
        "alive",
    ),
    ([WorkerDraining(worker_id="w1", incarnation=1)], "draining"),
    ([WorkerDraining(worker_id="w1", incarnation=1), WorkerStopped(worker_id="w1", incarnation=1)], "stopped"),
    ([FAILED], "failed"),
    ([WorkerFailed(worker_id="w1", reason="synthetic")], "failed"),
    ([FAILED, scheduled()], "failed"),
    ([FAILED, started()], "recovering"),
    ([FAILED, started(), attempt_failed()], "failed"),
    ([FAILED, started(), REGISTERED, succeeded()], "alive"),
    ([FAILED, WorkerPermanentlyFailed(worker_id="w1", attempts=5)], "permanently_failed"),
    ([FAILED, WorkerPermanentlyFailed(worker_id="w1", attempts=5), REGISTERED], "permanently_failed"),
    (
        [
            FAILED,
            WorkerPermanentlyFailed(worker_id="w1", attempts=5),
            REGISTERED,
            WorkerReadmitted(worker_id="w1", actor="me"),
        ],
        "alive",
    ),
    (
        [FAILED, WorkerPermanentlyFailed(worker_id="w1", attempts=5), WorkerReadmitted(worker_id="w1", actor="me")],
        "failed",
    ),
]


@pytest.mark.parametrize(("story", "expected"), STATUSES)
def test_status_of_a_worker(story: list[Event], expected: str) -> None:
    assert changes(REGISTERED, *story).workers["w1"].status == expected


def test_row_of_a_worker() -> None:
    row = changes(REGISTERED, FAILED, FAILED, scheduled(), started(), REGISTERED, succeeded()).workers["w1"]
    assert row == WorkerRow(
        worker_id="w1",
        status="alive",
        incarnation=6,
        host="h",
        pid=7,
        slots=2,
        labels={"os": "linux"},
        registered_at=at(6),
        failures=1,
        recoveries=1,
        failed_at=at(2),
        failed_sequence=2,
        failed_incarnation=1,
        failure_reason="silence",
        failure_category="connection",
        last_event_sequence=7,
    )
