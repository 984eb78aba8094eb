"""Incidents as the log tells them, and their reports for people."""

from events.clock import utc
from events.system import IncidentReport, ProjectionRebuilt, StageReport, SystemRecoveryCompleted
from replay.incidents import TAILS, Incident, Incidents, stage_row, told
from tests.recovery.story import BEGIN, Story
from tests.recovery.test_outages import bring_back, farm, names
from tests.recovery.test_repairs import kill


def lost_and_found() -> Story:
    story = farm(6, tasks=6)
    kill(story, *names(0, 1, 2, 3))
    story.wait(2.5, "w4", "w5")
    bring_back(story)
    return story


def read(story: Story) -> Incidents:
    incidents = Incidents()
    incidents.take(story.records)
    return incidents


def test_a_mass_loss_from_its_beginning_to_its_report() -> None:
    (one,) = read(lost_and_found()).found.values()
    assert (one.kind, one.success, one.duration_s, one.stages) == ("mass_worker_loss", True, 2.5, 1)
    text = dict(told(one))
    assert text["outcome"] == "success after 2.5 s; the system is degraded"
    assert text["affected"] == "4 workers, 4 tasks"
    assert text["workers"] == "w0, w1, w2, w3; 4 of them lost in one go"
    assert text["tasks"] == ("4 put back (4 of them uncharged although they ran), 2 stayed with live workers, 0 lost")
    assert text["attempts"] == "1 succeeded, 0 failed, 0 superseded"
    assert text["times"] == "tasks put back after 0.0 s, repairs begun after 0.0 s"
    assert one.report is not None
    (stage,) = map(stage_row, one.report.stages)
    assert stage == ("1", "13:46:40", "2.5", "1", "0", "0", "w0")


def test_one_that_is_open() -> None:
    story = farm(6)
    kill(story, *names(0, 1, 2, 3))
    (one,) = read(story).found.values()
    assert (one.success, one.report, one.stages) == (None, None, 1)
    assert dict(told(one))["outcome"] == "open"


def test_a_stage_that_is_open_and_one_of_more_workers_than_are_named() -> None:
    stage = StageReport(stage=2, began_at=utc(BEGIN), workers=("w1", "w2"), size=5)
    assert stage_row(stage) == ("2", "13:46:40", "open", "0", "0", "0", "w1, w2 and 3 more")


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
    story = lost_and_found()
    some = Incidents()
    some.take(record for record in story.records if record.event is not None and record.event.tail() in TAILS)
    assert some.found == read(story).found


def test_a_change_of_leaders_and_a_standstill_in_words() -> None:
    changed = Incident(incident_id="i1", kind="coordinator_failover", began_at=utc(0.0), sequence=1)
    changed.report = IncidentReport(
        leader="c2", leader_before="c1", term=2, undecided_s=1.25, tasks_preserved=3, tasks_waiting=4
    )
    assert told(changed)[-2:] == [
        ("leader", "c2 follows c1 in term 2, 1.2 s after the last decision before"),
        ("tasks", "3 stayed with their workers, 4 wait"),
    ]
    changed.report = IncidentReport(leader="c2", term=2)
    assert told(changed)[-2] == ("leader", "c2 follows nobody in term 2")
    stood = Incident(incident_id="i2", kind="stalled_queue", began_at=utc(0.0), sequence=1)
    stood.report = IncidentReport(
        stood_still_s=61.0, obstacles={"cordoned": 2, "under_repair": 1}, workers=("w3",), tasks_waiting=4
    )
    assert told(stood)[-3:] == [
        ("still", "nothing had moved for 61.0 s"),
        ("workers", "when it was found: 2 cordoned, 1 under repair; missing at the end: w3"),
        ("tasks", "4 wait"),
    ]
