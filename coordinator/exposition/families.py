"""What `/metrics` tells: each family with its name, its help, and its labels. docs/metrics.md lists them from this.

Labels have few values, known beforehand or bounded: never a worker, a task or a run.
"""

from typing import Any, NamedTuple, get_args

from coordinator.fleet.tally import STRATEGIES_MAX
from events.failures import ErrorCode, FailureReason
from events.system import Doubt, IncidentKind, SystemStatus
from events.task import Outcome, RequeueReason, Verdict
from events.worker import StallCause
from recovery.lifecycle import TaskStatus, WorkerStatus

PREFIX = "resurgam_"

ENDINGS = ("recovered", "returned", "permanent", "retired")
ATTEMPT_OUTCOMES = ("succeeded", "failed", "superseded")
INCIDENT_OUTCOMES = ("succeeded", "failed")


class Family(NamedTuple):
    """`values` holds those of each label that are known beforehand; empty: they turn up as they are needed."""

    text: str
    labels: tuple[str, ...] = ()
    values: tuple[tuple[str, ...], ...] = ()


def _of(text: str, label: str, closed: Any) -> Family:
    return Family(text, (label,), (get_args(closed),))


COUNTERS: dict[str, Family] = {
    "worker_registrations": Family("Times that a worker became ready for work"),
    "worker_suspicions": Family("Times that a worker came under suspicion"),
    "worker_suspicions_refuted": Family("Suspicions after which the worker was heard again"),
    "worker_stalls": _of("Times that a worker beat and was of no use", "cause", StallCause),
    "worker_failures": _of("Failures of workers", "reason", FailureReason),
    "worker_outages": Family("Outages of workers that have ended", ("ending",), (ENDINGS,)),
    "worker_recoveries": Family(
        f"Attempts to bring a worker back that have ended; beyond {STRATEGIES_MAX} strategies, strategy is other",
        ("strategy", "outcome"),
    ),
    "tasks_submitted": Family("Tasks that were submitted"),
    "task_assignments": Family("Times that a task was given to a worker"),
    "task_requeues": _of("Times that a task was queued again", "reason", RequeueReason),
    "task_results": _of("Attempts whose worker has reported how they ended, in time or late", "outcome", Outcome),
    "tasks_completed": _of("Tasks that have their final verdict", "verdict", Verdict),
    "incidents": Family(
        "Incidents of the system as a whole that are closed",
        ("kind", "outcome"),
        (get_args(IncidentKind), INCIDENT_OUTCOMES),
    ),
    "leader_elections": Family("Times that a coordinator was elected leader"),
    "detector_doubts": _of("Times that a leader did not trust its own eyes", "reason", Doubt),
    "breaker_openings": Family("Times that attempts were held back because too many had failed"),
    "events_parked": Family("Messages of the log that could not be understood"),
    "log_damages": Family("Gaps found in the log"),
    "faults": _of("Times that a part of the system itself could not do its work", "error", ErrorCode),
    "invariant_violations": Family("Promises of its own that the system has found broken"),
    "projection_rebuilds": Family("Times that a history was made anew"),
}
"""Without prefix and `_total`. The names are those of the tally."""

HISTOGRAMS: dict[str, Family] = {
    "worker_recovery": Family("From when a worker was gone or of no use until it was well again"),
    "worker_detection": Family("From when a worker was gone or of no use until it was declared failed"),
    "task_attempt": Family("How long attempts at tasks took, as their workers reported"),
    "incident": Family("How long incidents of the system as a whole took"),
}
"""Without prefix and `_seconds`. The names are those of the tally."""

GAUGES: dict[str, Family] = {
    "build_info": Family("Always 1", ("version",)),
    "leader": Family("Whether this coordinator leads"),
    "term": Family("Number of the last term that this coordinator knows of"),
    "log_sequence": Family("The last event that this coordinator has folded: what it counts is as of there"),
    "log_caught_up": Family("Whether that is all that is known to be there"),
    "broker_reachable": Family("Whether this coordinator is connected to the broker"),
    "projector_alive": Family("Whether this coordinator's projector runs"),
    "projection_lag_events": Family("Events that this coordinator has folded and the history does not hold"),
    "projection_lag_seconds": Family("For how long the first of them has been in the log"),
    "system_status": _of("1 for the status that the farm has, 0 for the others", "status", SystemStatus),
    "workers": _of("Workers by status", "status", WorkerStatus),
    "workers_live": Family("Workers that live, busy ones included"),
    "workers_expected": Family("Workers that are expected: all but those that were to leave or were given up"),
    "workers_cordoned": Family("Workers that get no new work"),
    "tasks": _of("Tasks by status", "status", TaskStatus),
    "backlog_tasks": Family("Tasks that wait for a worker"),
    "backlog_oldest_seconds": Family("For how long the task has waited that has waited longest; 0: none waits"),
    "outages_open": Family("Workers that are out and not given up, made-up failures included"),
    "outage_oldest_seconds": Family("For how long the one has been out that has been out longest; 0: none is"),
    "recovery_enabled": Family("Whether anything is done about failures: the policy says so, and nobody has paused it"),
    "repairs_running": Family("Workers under repair"),
    "repairs_waiting": Family("Attempts that have not begun yet"),
    "breaker_open": Family("Whether attempts are held back because too many have failed"),
    "incidents_open": _of("Open incidents of the system as a whole", "kind", IncidentKind),
}
