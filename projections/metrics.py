"""The metrics, as data: what each means, what counts for it and what does not, and its target.

The view `metric_definitions` and docs/metrics.md are made from this; what the words mean in SQL is in `metric_views`.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["share", "mean", "level"]
"""`share`: the numerator is how many of the denominator. `mean`: it is a sum over as many observations as the
denominator says. `level`: how it stands at the end of the history, whatever the window."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    name: str
    title: str
    kind: Kind
    unit: Literal["share", "s", "tasks"]
    target: float | None = None
    """To be exceeded by a share that is good, and kept below by anything else; None: there is none."""
    above: bool = True
    numerator: str
    denominator: str
    excluded: str
    at: str
    """What time decides whether it falls into a window."""


METRICS = (
    Metric(
        name="recovery_success",
        title="recovery success rate",
        kind="share",
        unit="share",
        target=0.95,
        numerator="Outages that ended with the worker brought back by an attempt: registered anew, beating, and its "
        "answer to a probe in the log.",
        denominator="Those, and outages that ended because the worker was given up for good.",
        excluded="Outages that are open; that ended by the worker's return before an attempt had begun, since nothing "
        "was tried then; of workers that were to end anyway. An outage counts once, however many attempts it took: one "
        "that failed or was superseded on the way is no failure of the recovery, but costs time.",
        at="When the failure was recorded.",
    ),
    Metric(
        name="recovery_time",
        title="average recovery time",
        kind="mean",
        unit="s",
        target=30.0,
        above=False,
        numerator="The seconds of each outage from `down_at`, when the worker was gone or of no use as the evidence "
        "shows, to the record that it was well again; detection is part of that.",
        denominator="Outages that ended with the worker there again, whether it was brought back or came by itself.",
        excluded="Outages that are open, or ended without the worker: they have no such time.",
        at="When the failure was recorded.",
    ),
    Metric(
        name="task_preservation",
        title="task preservation",
        kind="share",
        unit="share",
        target=0.99,
        numerator="Affected tasks whose final verdict rests on a result of the test's own, whatever that was.",
        denominator="Affected tasks that have their final verdict. Affected is a task of which an attempt at least was "
        "lost by no fault of the test: its worker failed, whether it had started or not; was cut off and stopped it; "
        "never had it or forgot it; could not begin it.",
        excluded="Tasks without a verdict yet; cancelled ones; quarantined ones, whose verdict is that workers die "
        "under them. Requeues that no failure has caused (a worker that drains, a verdict retry) affect nobody.",
        at="When the first of its attempts was lost.",
    ),
    Metric(
        name="resource_impact",
        title="resource impact",
        kind="mean",
        unit="share",
        target=0.30,
        above=False,
        numerator="For each time that workers were out, one or several at once, the largest of four shares, each of "
        "what was used beyond the mean of before and after: of the processors and of the available memory, on the "
        "leader's machine by its own processes, and on the workers' machines as a whole.",
        denominator="Times that workers were out and that were measured.",
        excluded="Times that were not measured; docs/metrics.md says which, and what cannot be seen at all.",
        at="When the first of these outages began.",
    ),
    Metric(
        name="worker_reconnection",
        title="worker reconnection",
        kind="share",
        unit="share",
        target=0.90,
        numerator="Outages of the denominator that ended with the worker there again, by whatever means.",
        denominator="Outages that began with a loss of contact (category connection: silence, a closed connection, no "
        "first heartbeat, no answer) and ended with the worker there again, or given up for good.",
        excluded="Outages that are open, and of workers that were to end anyway. A suspicion that was refuted is no "
        "outage.",
        at="When the failure was recorded.",
    ),
    Metric(
        name="detection_time",
        title="detection time",
        kind="mean",
        unit="s",
        numerator="The seconds of each failure from `down_at` to its record.",
        denominator="Failures of workers whose evidence names such a moment.",
        excluded="Failures without one.",
        at="When the failure was recorded.",
    ),
    Metric(
        name="false_failures",
        title="false failures",
        kind="share",
        unit="share",
        above=False,
        numerator="Failures after which the very process that had been given up registered again (same machine, "
        "process number and lifeline): it had been stopped, cut off or slow, and not dead.",
        denominator="Failures of workers that are resolved.",
        excluded="Failures that are open, and of workers that were to end anyway. A process that lives and never gets "
        "through again cannot be told from a dead one.",
        at="When the failure was recorded.",
    ),
    Metric(
        name="attempt_success",
        title="success of single attempts",
        kind="share",
        unit="share",
        numerator="Attempts that brought the worker back.",
        denominator="Those, and attempts that failed.",
        excluded="Attempts that are open or were superseded, which had lost their object; giving up is no attempt. A "
        "ladder whose first rung often fails has a low share here and may do well all the same.",
        at="When the attempt began.",
    ),
    Metric(
        name="incident_success",
        title="system recovery success",
        kind="share",
        unit="share",
        numerator="Incidents of the system as a whole whose end state was found good.",
        denominator="Incidents that are closed.",
        excluded="Open ones; histories that were made anew.",
        at="When the incident began.",
    ),
    Metric(
        name="backlog",
        title="tasks waiting",
        kind="level",
        unit="tasks",
        above=False,
        numerator="Tasks that wait for a worker now.",
        denominator="Tasks that have no verdict now.",
        excluded="Tasks that a worker has, begun or not.",
        at="The end of the history: a window changes nothing.",
    ),
    Metric(
        name="backlog_age",
        title="longest wait",
        kind="level",
        unit="s",
        above=False,
        numerator="The seconds since the task was submitted, or queued again, that waits longest now.",
        denominator="Tasks that wait for a worker now.",
        excluded="Tasks that a worker has, begun or not.",
        at="The end of the history: a window changes nothing.",
    ),
)

BY_NAME = {metric.name: metric for metric in METRICS}

GROUPS = ("reason", "worker")
"""By what all but levels can be told apart."""
