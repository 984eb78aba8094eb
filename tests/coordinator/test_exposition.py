"""`/metrics`: what stands on the page, and that dashboard and docs name nothing else."""

import asyncio
import json
import re
from collections.abc import Iterable, Iterator

import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from coordinator.exposition.families import COUNTERS, GAUGES, HISTOGRAMS, PREFIX
from coordinator.exposition.http import PATH, metrics_route
from coordinator.exposition.lag import Lag
from coordinator.exposition.page import Observed, page
from coordinator.exposition.reference import PATH as DOCS
from coordinator.exposition.reference import metrics_page, names
from coordinator.fleet.examine import View
from coordinator.fleet.notes import Notes, Vitals
from coordinator.http import HttpServer, listen
from events.failures import FailureReason
from events.worker import WorkerExited
from tests.coordinator.test_http import HEALTHY, unknown
from tests.recovery.story import Story, registered, submitted

DASHBOARD = DOCS.with_name("grafana.json")
OPEN_METRICS = "application/openmetrics-text;version=1.0.0"


def observed(story: Story | None = None, *, lag: Lag | None = None, whole: bool = True) -> Observed:
    view = None
    if story is not None:
        notes = Notes()
        notes.take(story.records)
        view = View(story.state, notes, Vitals(), story.now, holds_lease=True)
    return Observed(HEALTHY, view, lag, whole)


def read(seen: Observed) -> dict[str, float]:
    """Every sample, by its name and its labels as they are written."""
    content, kind = page(seen, "")
    assert kind.startswith("text/plain; version=0.0.4")
    return dict(samples(prometheus(content.decode())))


def samples(families: Iterable[Metric]) -> Iterator[tuple[str, float]]:
    for family in families:
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            yield sample.name + (f"{{{labels}}}" if labels else ""), sample.value


@pytest.fixture
def story() -> Story:
    """w1 has failed and come back; w2 is out; one task is done, two wait, of which one was queued again."""
    story = Story()
    story.tell(registered("w1"), registered("w2"))
    story.beat("w1")
    story.beat("w2")
    story.tell(submitted("t1"), submitted("t2"))
    story.settle()
    story.finish("t1")
    story.settle()
    return story


def test_what_has_happened_and_how_it_stands(story: Story) -> None:
    found = read(observed(story, lag=Lag(3, 0.25)))
    assert found["resurgam_leader"] == 1
    assert (found["resurgam_term"], found["resurgam_log_sequence"], found["resurgam_log_caught_up"]) == (3, 120, 0)
    assert (found["resurgam_projection_lag_events"], found["resurgam_projection_lag_seconds"]) == (3, 0.25)
    assert found["resurgam_workers{status=alive}"] == found["resurgam_workers_live"] == 2
    assert found["resurgam_tasks{status=final}"] == found["resurgam_tasks_completed_total{verdict=passed}"] == 1
    assert found["resurgam_worker_registrations_total"] == 2
    assert found["resurgam_system_status{status=healthy}"] == 1
    assert found["resurgam_recovery_enabled"] == 1
    assert found["resurgam_task_attempt_seconds_count"] == 1
    assert found["resurgam_task_attempt_seconds_bucket{le=+Inf}"] == 1
    assert found["resurgam_task_attempt_seconds_bucket{le=0.5}"] == 0
    assert found["resurgam_task_attempt_seconds_sum"] == 1.0
    assert found["process_resident_memory_bytes"] > 0


def test_an_outage_from_its_beginning_to_its_end(story: Story) -> None:
    story.tell(WorkerExited(worker_id="w1", incarnation=story.worker("w1").incarnation, signal=9))
    story.settle()
    story.wait(2, "w2")
    found = read(observed(story))
    assert (found["resurgam_outages_open"], found["resurgam_worker_failures_total{reason=worker_exit}"]) == (1, 1)
    assert found["resurgam_outage_oldest_seconds"] == pytest.approx(2, abs=0.1)
    story.come_back("w1")
    story.settle()
    found = read(observed(story))
    assert found["resurgam_outages_open"] == found["resurgam_outage_oldest_seconds"] == 0
    assert found["resurgam_worker_outages_total{ending=recovered}"] == 1
    assert found["resurgam_worker_recoveries_total{outcome=succeeded,strategy=restart}"] == 1
    assert found["resurgam_worker_recovery_seconds_count"] == 1


def test_how_long_tasks_wait() -> None:
    story = Story()
    story.tell(submitted("t1"))
    story.wait(5)
    found = read(observed(story))
    assert found["resurgam_backlog_tasks"] == 1
    assert found["resurgam_backlog_oldest_seconds"] == pytest.approx(5, abs=0.01)


def test_what_has_not_happened_yet_is_nought_and_not_absent() -> None:
    found = read(observed(Story()))
    for reason in FailureReason.__args__:  # type: ignore[attr-defined]
        assert found[f"resurgam_worker_failures_total{{reason={reason}}}"] == 0
    for name, family in COUNTERS.items():
        if not family.labels:
            assert found[f"{PREFIX}{name}_total"] == 0 or name == "leader_elections"
    assert found["resurgam_worker_recovery_seconds_count"] == 0


def test_counts_are_not_shown_before_they_are_whole(story: Story) -> None:
    found = read(observed(story, whole=False))
    assert not [name for name in found if name.startswith(PREFIX) and name.endswith(("_total", "_count"))]
    assert found["resurgam_workers_live"] == 2


def test_before_the_log_is_read() -> None:
    found = read(observed())
    assert found["resurgam_leader"] == 1
    assert "resurgam_workers_live" not in found
    assert "resurgam_projection_lag_seconds" not in found


def test_every_family_is_on_the_page_and_no_label_names_anybody(story: Story) -> None:
    content, kind = page(observed(story, lag=Lag(0, 0.0)), OPEN_METRICS)
    assert kind.startswith("application/openmetrics-text")
    parsed: Iterable[Metric] = open_metrics(content.decode())  # type: ignore[no-untyped-call]
    families = {family.name: family for family in parsed if family.name.startswith(PREFIX)}
    assert set(families) == {
        PREFIX + name for name in (*COUNTERS, *(f"{name}_seconds" for name in HISTOGRAMS), *GAUGES)
    }
    for name, family in families.items():
        definition = {**COUNTERS, **GAUGES}.get(name.removeprefix(PREFIX))
        expected = {"le"} if definition is None else set(definition.labels)
        assert all(set(sample.labels) <= expected for sample in family.samples), name
    assert b"w1" not in content
    assert b"t1" not in content


def test_the_docs_list_every_family() -> None:
    present = DOCS.read_text(encoding="utf-8")
    assert present == metrics_page(present), "run 'python -m coordinator.exposition.reference'"


def test_the_dashboard_asks_for_nothing_that_is_not_there() -> None:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    known = {name for name, _ in samples(prometheus(page(observed(Story(), lag=Lag(0, 0.0)), "")[0].decode()))}
    known = {name.partition("{")[0] for name in known} | set(names())
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    expressions += [annotation["expr"] for annotation in board["annotations"]["list"]]
    assert len(expressions) > 20
    asked = set()
    for expression in expressions:
        found = re.findall(r"\b(?:resurgam|process)_[a-z_]+", expression)
        assert found, expression
        assert expression.count("(") == expression.count(")")
        assert all(labels_of(expression) <= allowed(name) for name in found), expression
        asked |= set(found)
    assert asked <= known
    places = [tuple(panel["gridPos"][side] for side in "xy") for panel in board["panels"]]
    assert len(places) == len(set(places)), "no panel hides another"


def labels_of(expression: str) -> set[str]:
    return {name for braces in re.findall(r"\{([^}]*)\}", expression) for name in re.findall(r"(\w+)=", braces)} | {
        name for by in re.findall(r"by\(([^)]*)\)", expression) for name in by.split(",")
    }


def allowed(name: str) -> set[str]:
    family = names().get(name)
    return {"job", "instance", "le"} | (set() if family is None else set(family.labels))


async def test_over_http(story: Story) -> None:
    async def observe() -> Observed:
        return observed(story)

    server = HttpServer(lambda: HEALTHY, unknown, listen("127.0.0.1", 0), [metrics_route(observe)])
    running = asyncio.create_task(server.run_until_stopped())
    host, _, port = server.address.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {PATH} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    server.stop()
    await running
    assert head.startswith("HTTP/1.1 200")
    assert "content-type: text/plain; version=0.0.4" in head.lower()
    assert "resurgam_workers_live 2.0" in body
