"""Given these events about workers, `failures` holds these rows."""

import pytest

from events.base import Event
from events.clock import utc
from events.worker import (
    Evidence,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerRecoverySucceeded,
    WorkerRecoverySuperseded,
    WorkerRegistered,
)
from projections.rows import FailureRow
from tests.projections.histories import EPOCH, at, changes
from tests.projections.test_worker_rows import REGISTERED, scheduled, started, succeeded

SILENT = WorkerFailed(
    worker_id="w1",
    reason="silence",
    incarnation=1,
    message="no heartbeat for 15 s",
    evidence=Evidence(heartbeat_sequence=9, last_seen=utc(EPOCH - 13), silence_s=15.0, threshold_s=15.0),
)
EXITED = WorkerFailed(worker_id="w1", reason="worker_exit", incarnation=1, evidence=Evidence(event_sequence=2))
SUPERSEDED = WorkerRecoverySuperseded(
    worker_id="w1", incarnation=1, attempt=1, strategy="await", reason="it came back by itself"
)
GIVEN_UP = WorkerPermanentlyFailed(worker_id="w1", attempts=5)


def failures(*events: Event, synthetic: str | None = None) -> list[FailureRow]:
    return list(changes(*events, synthetic=synthetic).failures.values())


def test_a_failure_and_its_recovery() -> None:
    (row,) = failures(REGISTERED, SILENT, scheduled(), started(), REGISTERED, succeeded())
    assert row == FailureRow(
        id=2,
        failed_at=at(2),
        scope="worker",
        worker_id="w1",
        host="h",
        incarnation=1,
        reason="silence",
        category="connection",
        message="no heartbeat for 15 s",
        outage_id=2,
        last_seen_at=at(-13),
        down_at=at(-13),
        detection_s=15.0,
        survived=True,
        resolution="recovered",
        resolved_at=at(6),
        recovery_s=4.0,
        recovery_attempts=1,
    )


def test_a_failure_that_a_report_proves() -> None:
    (row,) = failures(REGISTERED, EXITED, synthetic="drill")
    assert (row.evidence_sequence, row.last_seen_at, row.detection_s) == (2, None, None)
    assert (row.resolution, row.synthetic) == (None, "drill")


@pytest.mark.parametrize(
    ("story", "resolution", "recovery_s"),
    [
        ([], None, None),
        ([REGISTERED], "returned", 1.0),
        ([scheduled(), REGISTERED], None, None),
        ([scheduled(), REGISTERED, SUPERSEDED], "returned", 3.0),
        ([scheduled(), SUPERSEDED], None, None),
        ([GIVEN_UP], "permanent", None),
        ([GIVEN_UP, REGISTERED], "permanent", None),
        ([EXITED], None, None),
        ([scheduled(), started(), REGISTERED, succeeded(), succeeded()], "recovered", 4.0),
    ],
)
def test_resolution(story: list[Event], resolution: str | None, recovery_s: float | None) -> None:
    (row,) = failures(REGISTERED, EXITED, *story)
    assert (row.resolution, row.recovery_s) == (resolution, recovery_s)


def test_an_incarnation_that_fails_before_the_last_was_recovered() -> None:
    again = WorkerFailed(worker_id="w1", reason="worker_exit", incarnation=4)
    first, second = failures(REGISTERED, EXITED, scheduled(), REGISTERED, again)
    assert (first.resolution, first.recovery_s, second.resolution) == ("failed_again", None, None)


def test_a_worker_that_nobody_failed() -> None:
    other = WorkerRegistered(worker_id="w2", host="h", pid=8, slots=1)
    success = WorkerRecoverySucceeded(worker_id="w2", incarnation=1, attempt=1, strategy="await", duration_s=1.0)
    assert failures(other, success) == []
