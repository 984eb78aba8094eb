"""Rows of the history for workers that are told to begin anew before they fail."""

import pytest

from events.base import Event
from events.forecast import PROACTIVE
from events.worker import (
    WorkerDraining,
    WorkerDrainRequested,
    WorkerFailed,
    WorkerRecoveryScheduled,
    WorkerRegistered,
    WorkerStopped,
)
from tests.projections.histories import at, changes
from tests.projections.test_worker_rows import MOMENT, REGISTERED, worker_history

ORDER = WorkerDrainRequested(worker_id="w1", incarnation=1, actor=PROACTIVE, reason="memory ends", restart=True)
DRAINING = WorkerDraining(worker_id="w1", incarnation=1)
STOPPED = WorkerStopped(worker_id="w1", incarnation=1, reason="drained")
AGAIN = WorkerRegistered(worker_id="w1", host="h", pid=8, slots=2)
FAILED = WorkerFailed(worker_id="w1", reason="silence", incarnation=1)


def operator(**fields: object) -> WorkerDrainRequested:
    return WorkerDrainRequested(worker_id="w1", actor="alice", **fields)  # type: ignore[arg-type]


def test_it_is_open_until_it_has_begun_anew() -> None:
    (row,) = worker_history(REGISTERED, ORDER, DRAINING)
    assert (row.id, row.recovery_type, row.attempt_number, row.success) == (1, "proactive", 1, None)
    assert (row.recovery_time, row.details["reason"], row.details["incarnation"]) == (at(2), "memory ends", 1)
    (row,) = worker_history(REGISTERED, ORDER, DRAINING, STOPPED, AGAIN)
    assert (row.success, row.error_message) == (True, None)
    assert (row.details["duration_s"], row.details["new_incarnation"]) == (3.0, 5)
    assert row.details["sequences"] == [2, 5]


def test_one_that_fails_before_that_has_its_attempt_as_well() -> None:
    scheduled = WorkerRecoveryScheduled(worker_id="w1", incarnation=1, attempt=1, strategy="await", not_before=MOMENT)
    early, attempt = worker_history(REGISTERED, ORDER, FAILED, scheduled)
    assert (early.success, early.error_message) == (False, "it failed before it could begin anew: silence")
    assert (attempt.recovery_type, attempt.success) == ("await", None)


def test_a_failure_of_another_incarnation_ends_nothing() -> None:
    (row,) = worker_history(REGISTERED, ORDER, WorkerFailed(worker_id="w1", reason="silence", incarnation=7))
    assert row.success is None


def test_one_that_is_told_to_end_for_good_has_lost_its_object() -> None:
    (row,) = worker_history(REGISTERED, ORDER, operator(), STOPPED)
    assert (row.success, row.error_message) == (False, "superseded: alice told it to end")
    assert row.details["superseded"] is True


@pytest.mark.parametrize(
    "events",
    [
        (REGISTERED, operator(restart=True), AGAIN),
        (REGISTERED, operator(), STOPPED),
        (REGISTERED, FAILED, ORDER),
        (REGISTERED, AGAIN, ORDER),
    ],
    ids=["an operator's", "an end", "it has failed", "another incarnation"],
)
def test_other_orders_have_no_row(events: tuple[Event, ...]) -> None:
    assert not worker_history(*events)


def test_it_is_told_once_and_a_drill_is_labelled() -> None:
    (row,) = worker_history(REGISTERED, ORDER, ORDER, synthetic="drill")
    assert row.details["synthetic"] == "drill"
    assert len(changes(REGISTERED, ORDER, AGAIN).worker_recoveries) == 1
