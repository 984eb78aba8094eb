"""Incidents as the log tells them, for people."""

from events.clock import utc
from events.system import ProjectionRebuilt, SystemRecoveryCompleted
from events.worker import WorkerExited
from replay.incidents import TAILS, Incidents, told
from tests.recovery.story import BEGIN, Story


def lost(*, found: bool) -> Story:
    """The only worker is lost, and comes back or does not."""
    story = Story()
    story.join("w1")
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, signal=9))
    if found:
        story.wait(2.5)
        story.come_back("w1")
    return story


def read(story: Story) -> Incidents:
    incidents = Incidents()
    incidents.take(story.records)
    return incidents


def test_a_mass_loss_from_its_beginning_to_its_end() -> None:
    (one,) = read(lost(found=True)).found.values()
    assert (one.kind, one.success, one.duration_s) == ("mass_worker_loss", True, 2.5)
    text = dict(told(one))
    assert text["incident"] == f"{one.incident_id} (mass_worker_loss), event {one.sequence}"
    assert text["outcome"] == "success after 2.5 s; the system is healthy"
    assert text["affected"] == "1 workers, 0 tasks"


def test_one_that_is_open() -> None:
    (one,) = read(lost(found=False)).found.values()
    assert one.success is None
    assert dict(told(one))["outcome"] == "open"


def test_other_kinds_and_ends_without_a_beginning() -> None:
    story = Story()
    story.tell(
        ProjectionRebuilt(path="h.duckdb", reason="it was gone", through=1, started_at=utc(BEGIN - 2.0)),
        SystemRecoveryCompleted(
            incident_id="failover-9",
            incident_kind="coordinator_failover",
            status="idle",
            success=True,
            duration_s=0.5,
            message="c2 leads",
        ),
    )
    first, second = read(story).found.values()
    assert (first.kind, first.duration_s) == ("projection_rebuilt", 2.0)
    assert dict(told(second))["message"] == "c2 leads"


def test_what_is_read_of_the_log_is_all_that_tells_of_incidents() -> None:
    story = lost(found=True)
    some = Incidents()
    some.take(record for record in story.records if record.event is not None and record.event.tail() in TAILS)
    assert some.found == read(story).found
