"""The page `/metrics`: a view of the farm and of this coordinator, in the words of Prometheus.

Counters and histograms come from the tally, which is a fold of the log; gauges say how it stands.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, product
from typing import NamedTuple

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from coordinator.about import version
from coordinator.exposition.families import COUNTERS, GAUGES, HISTOGRAMS, PREFIX, Family
from coordinator.exposition.lag import Lag
from coordinator.fleet.examine import View
from coordinator.fleet.tally import SECONDS, Labels, Spread, Tally
from coordinator.health import HealthReport

Sample = tuple[Labels, float]


class Observed(NamedTuple):
    health: HealthReport
    view: View | None
    """None: the log is not being read yet."""
    lag: Lag | None
    """None: nobody answers who would know."""
    whole: bool
    """The log has been folded to its end once. Before that its counts are too low, and whoever has seen those of
    another fold would take them for a new beginning."""


def page(observed: Observed, accept: str) -> tuple[bytes, str]:
    """The page, and its content type: that of OpenMetrics for whoever asks for it."""
    encode, content_type = choose_encoder(accept)
    return encode(_Page(observed)), content_type


class _Page(Collector):
    def __init__(self, observed: Observed) -> None:
        self._observed = observed

    def collect(self) -> Iterator[Metric]:
        for name, samples in _gauges(self._observed):
            yield _gauge(name, GAUGES[name], samples)
        if self._observed.view is not None and self._observed.whole:
            tally = self._observed.view.notes.tally
            for name, family in COUNTERS.items():
                yield _counter(name, family, tally)
            for name, family in HISTOGRAMS.items():
                yield _histogram(name, family, tally.spreads.get(name, Spread()))
        yield from ProcessCollector(registry=None).collect()


def _gauge(name: str, family: Family, samples: Iterable[Sample]) -> Metric:
    made = GaugeMetricFamily(PREFIX + name, family.text, labels=family.labels)
    for labels, value in samples:
        made.add_metric(labels, value)
    return made


def _counter(name: str, family: Family, tally: Tally) -> Metric:
    made = CounterMetricFamily(PREFIX + name, family.text, labels=family.labels)
    counts = tally.counts.get(name, {})
    # What has not happened yet is 0, and not absent: a rate needs something to start from.
    known = product(*family.values) if len(family.values) == len(family.labels) else ()
    for labels in sorted({*known, *counts}):
        made.add_metric(labels, counts.get(labels, 0))
    return made


def _histogram(name: str, family: Family, spread: Spread) -> Metric:
    bounds = [*(str(bound) for bound in SECONDS), "+Inf"]
    buckets = [(bound, float(count)) for bound, count in zip(bounds, accumulate(spread.counts), strict=True)]
    made = HistogramMetricFamily(f"{PREFIX}{name}_seconds", family.text)
    made.add_metric([], buckets, spread.total)
    return made


def _gauges(observed: Observed) -> Iterator[tuple[str, Sequence[Sample]]]:
    health = observed.health
    yield "build_info", [((version(),), 1.0)]
    yield "leader", _one(health.role == "leader")
    yield "term", _one(health.term)
    yield "log_sequence", _one(health.sequence)
    yield "log_caught_up", _one(health.lag == 0)
    yield "broker_reachable", _one(health.broker_reachable)
    yield "projector_alive", _one(health.projector_alive)
    if observed.lag is not None:
        yield "projection_lag_events", _one(observed.lag.events)
        yield "projection_lag_seconds", _one(observed.lag.seconds)
    if observed.view is not None:
        yield from _of_the_farm(observed.view)


def _of_the_farm(view: View) -> Iterator[tuple[str, Sequence[Sample]]]:
    state = view.state
    workers = Counter[str](worker.status for worker in state.workers.values())
    cordoned = sum(bool(worker.cordons) for worker in state.workers.values())
    yield "system_status", _each("system_status", {state.measured_status(): 1})
    yield "workers", _each("workers", workers)
    yield "workers_live", _one(state.workers_live)
    yield "workers_expected", _one(state.workers_expected)
    yield "workers_cordoned", _one(cordoned)
    yield "tasks", _each("tasks", state.tasks_by_status)
    yield "backlog_tasks", _one(len(state.waiting))
    yield "backlog_oldest_seconds", _one(_oldest_wait(view))
    down = [outage.down_at for outage in view.notes.tally.outages.values()]
    yield "outages_open", _one(len(down))
    yield "outage_oldest_seconds", _one(_age(view, min(down, default=view.now)))
    yield "recovery_enabled", _one(state.may_repair)
    yield "repairs_running", _one(len(state.repairing))
    yield "repairs_waiting", _one(len(state.repairs))
    yield "breaker_open", _one(state.breaker.status != "closed")
    yield "incidents_open", _each("incidents_open", Counter(one.kind for one in state.incidents.values()))


def _oldest_wait(view: View) -> float:
    requeued = view.notes.tally.requeued
    since = (requeued.get(task.task_id, task.submitted_at) for task in view.state.waiting.first_come())
    return _age(view, min(since, default=view.now))


def _age(view: View, since: float) -> float:
    return max(0.0, view.now - since)


def _one(value: float) -> Sequence[Sample]:
    return [((), float(value))]


def _each(name: str, counts: "dict[str, int] | Counter[str]") -> Sequence[Sample]:
    """Every value that the label may have."""
    [known] = GAUGES[name].values
    return [((value,), float(counts.get(value, 0))) for value in known]
