"""Reads a report out of the history."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any

import msgspec

from projections.asking import History
from projections.errors import QueryError
from projections.figures import figures
from projections.patterns.finding import quoted
from projections.patterns.search import find
from projections.report.cases import at, outage_cases, task_cases
from projections.report.content import Entry, Outage, Reason, Report, Scope, Summary
from projections.report.lanes import STATES, Step, lanes
from projections.report.words import ENDINGS, fields_of
from projections.window import Window, timestamp

AROUND = timedelta(seconds=30)
"""What a report on an incident or a run shows before and after."""
STEPS_MAX = 50_000
OUTAGES_MAX = 20_000
TIMELINE_MAX = 200

NOTABLE = (
    *("worker.failed", "worker.permanently_failed", "worker.recovery_succeeded", "worker.readmitted"),
    *("worker.cordoned", "worker.uncordoned", "worker.failure_predicted", "worker.drain_requested"),
    *("task.hung", "task.isolated", "task.stranded"),
    *("system.leader", "system.policy_changed", "system.status_changed", "system.recovery_started"),
    *("system.recovery_completed", "system.recovery_paused", "system.recovery_resumed", "system.breaker_opened"),
    *("system.breaker_closed", "system.run_submitted", "system.run_cancel_requested", "system.log_damaged"),
    *("system.projection_rebuilt", "system.invariant_violated", "system.detector_degraded"),
    *("system.quarantine_released", "system.event_parked", "system.coordinator_stopped"),
    *("system.recovery_staged", "system.broker_returned", "system.fault_reported"),
)


class Unknown(QueryError):
    """There is no run, or no incident, of that name."""


class Nothing(QueryError):
    """The history holds nothing there."""


def of_window(window: Window) -> Scope:
    return Scope(title="Recovery report", since=window.since, until=window.until)


def of_run(history: History, run_id: str, end: datetime) -> Scope:
    """From its submission to its last verdict.

    Raises:
        Unknown: there is none.
    """
    found = history.rows(
        f"SELECT title, submitted_at, last_completed_at, tasks_completed >= tasks_announced FROM runs "
        f"WHERE run_id = {quoted(run_id)}"
    )
    if not found:
        raise _unknown("run", run_id, history.rows("SELECT run_id FROM runs ORDER BY submitted_at DESC LIMIT 1000"))
    [[title, submitted_at, completed_at, done]] = found
    return Scope(
        title=f"Run {run_id}: {title}" if title else f"Run {run_id}",
        since=at(submitted_at),
        until=at(completed_at) + AROUND if done and completed_at else end,
        run_id=run_id,
    )


def of_incident(history: History, incident_id: str, end: datetime) -> Scope:
    """From a little before its beginning to a little after its end.

    Raises:
        Unknown: there is none.
    """
    found = history.rows(
        f"SELECT kind, began_at, ended_at FROM incidents WHERE incident_id = {quoted(incident_id)} ORDER BY id"
    )
    if not found:
        named = history.rows("SELECT incident_id FROM incidents ORDER BY began_at DESC LIMIT 1000")
        raise _unknown("incident", incident_id, named)
    kind, began_at, ended_at = found[-1]
    return Scope(
        title=f"Incident {incident_id}: {kind.replace('_', ' ')}",
        since=at(began_at) - AROUND,
        until=end if ended_at is None else at(ended_at) + AROUND,
        incident_id=incident_id,
    )


def _unknown(what: str, name: str, named: Sequence[Sequence[str]]) -> Unknown:
    names = [row[0] for row in named]
    near = get_close_matches(name, names, 1, 0.5)
    if near:
        return Unknown(f"there is no {what} {name!r}; did you mean {near[0]}?")
    newest = f"the newest is {names[0]}" if names else "there is none at all"
    return Unknown(f"there is no {what} {name!r}; {newest}")


def gather(history: History, scope: Scope, made_at: datetime) -> Report:
    """Raises:
    Nothing: no event lies in the scope.
    QueryError: the history cannot be asked, or there is too much in that scope.
    """
    window = Window(scope.since, scope.until)
    # Pictures begin where there is something to see.
    [[events, first, last]] = history.rows(
        f"SELECT count(*), min(recorded_at), max(recorded_at) FROM events WHERE {window.holds('recorded_at')}"
    )
    if not events:
        raise Nothing(f"nothing happened from {scope.since:%Y-%m-%d %H:%M:%S} to {scope.until:%Y-%m-%d %H:%M:%S} UTC")
    steps, since = _steps(history, window, scope, at(first))
    drawn, left_out = lanes(steps, since, at(last))
    outages = _outages(history, window, scope)
    timeline, older = _timeline(history, window, scope)
    tasks = window.holds("completed_at")
    if scope.run_id is not None:
        tasks = f"run_id = {quoted(scope.run_id)}"
    return Report(
        scope=scope,
        made_at=made_at,
        through_sequence=history.through_sequence,
        summary=_summary(history, window, scope, events),
        figures=figures(history, window),
        incident=_incident(history, scope),
        lanes=drawn,
        lanes_left_out=left_out,
        outages=outages,
        reasons=_reasons(history, window, scope),
        cases=[*outage_cases(history, outages, scope.until), *task_cases(history, tasks)],
        timeline=timeline,
        timeline_left_out=older,
        patterns=find(history, window),
    )


def _of_its_workers(scope: Scope, column: str = "worker_id") -> str:
    """In a report on a run, the workers that had a part in it."""
    if scope.run_id is None:
        return "true"
    return f"{column} IN (SELECT worker_id FROM task_attempts WHERE run_id = {quoted(scope.run_id)})"


def _summary(history: History, window: Window, scope: Scope, events: int) -> Summary:
    its = "true" if scope.run_id is None else f"run_id = {quoted(scope.run_id)}"
    [row] = history.rows(
        f"""
        SELECT (SELECT count(*) FROM workers WHERE {_of_its_workers(scope)}),
            (SELECT count(*) FROM failures WHERE scope = 'worker' AND synthetic IS NULL AND {_of_its_workers(scope)}
                AND {window.holds("failed_at")}),
            (SELECT count(*) FROM failures WHERE scope = 'worker' AND synthetic IS NOT NULL
                AND {window.holds("failed_at")}),
            (SELECT count(*) FROM task_recovery_history JOIN tasks USING (task_id)
                WHERE {its} AND (details->>'$.synthetic') IS NULL AND {window.holds("recovery_time")}),
            (SELECT count(*) FROM incidents WHERE {window.holds("began_at")})"""
    )
    verdicts = history.rows(
        f"SELECT verdict, count(*) AS number FROM tasks "
        f"WHERE verdict IS NOT NULL AND synthetic IS NULL AND {its} AND {window.holds('completed_at')} "
        f"GROUP BY verdict ORDER BY number DESC, verdict"
    )
    workers, failures, drills, requeued, incidents = row
    return Summary(
        events=events,
        workers=workers,
        failures=failures,
        drills=drills,
        tasks={row[0]: row[1] for row in verdicts},
        requeued=requeued,
        incidents=incidents,
    )


def _incident(history: History, scope: Scope) -> dict[str, Any] | None:
    if scope.incident_id is None:
        return None
    row = history.records(
        f"SELECT * FROM incidents WHERE incident_id = {quoted(scope.incident_id)} ORDER BY id DESC LIMIT 1"
    )[0]
    return row | {"report": msgspec.json.decode(row["report"])}


def _steps(history: History, window: Window, scope: Scope, first: datetime) -> tuple[list[Step], datetime]:
    """What changed a worker's state in the window, and the last that did before; and from when on that is all of it."""
    kinds = ", ".join(map(quoted, STATES))
    own = f"kind IN ({kinds}) AND {_of_its_workers(scope, 'entity')}"
    rows = history.rows(
        f"""
        SELECT entity, recorded_at, kind, payload FROM (
            SELECT sequence, entity, recorded_at, kind, payload FROM events
            WHERE {own} AND recorded_at < {timestamp(window.since)}
            QUALIFY row_number() OVER (PARTITION BY entity ORDER BY sequence DESC) = 1
            UNION ALL (
                SELECT sequence, entity, recorded_at, kind, payload FROM events
                WHERE {own} AND {window.holds("recorded_at")} ORDER BY sequence DESC LIMIT {STEPS_MAX}))
        ORDER BY sequence"""
    )
    steps = [Step(entity, at(time), kind, fields_of(msgspec.json.decode(body))) for entity, time, kind, body in rows]
    within = [step for step in steps if step.at >= window.since]
    return steps, within[0].at if len(within) == STEPS_MAX else first


def _outages(history: History, window: Window, scope: Scope) -> list[Outage]:
    rows = history.records(
        f"""
        SELECT id, worker_id, reason, down_at, failed_at, ended_at, ending, recovery_s, attempts, strategy FROM outages
        WHERE synthetic IS NULL AND operator IS NULL AND {_of_its_workers(scope)} AND {window.holds("failed_at")}
        ORDER BY id DESC LIMIT {OUTAGES_MAX}"""
    )
    times = ("down_at", "failed_at", "ended_at")
    timed = [row | {name: row[name] and at(row[name]) for name in times} for row in reversed(rows)]
    return [msgspec.convert(row, Outage) for row in timed]


def _reasons(history: History, window: Window, scope: Scope) -> list[Reason]:
    rows = history.rows(
        f"""
        SELECT reason, coalesce(resolution, 'open') AS ending, count(*) FROM failures
        WHERE scope = 'worker' AND synthetic IS NULL AND {_of_its_workers(scope)} AND {window.holds("failed_at")}
        GROUP BY ALL ORDER BY ALL"""
    )
    found: dict[str, dict[str, int]] = {}
    for reason, ending, number in rows:
        found.setdefault(reason, {})[ending] = number
    order = {name: place for place, name in enumerate(ENDINGS)}
    reasons = [
        Reason(reason=reason, endings=dict(sorted(endings.items(), key=lambda one: order.get(one[0], len(order)))))
        for reason, endings in found.items()
    ]
    return sorted(reasons, key=lambda one: (-one.failures, one.reason))


def _timeline(history: History, window: Window, scope: Scope) -> tuple[list[Entry], int]:
    kinds = ", ".join(map(quoted, NOTABLE))
    own = f"(entity IS NULL OR NOT starts_with(kind, 'worker.') OR {_of_its_workers(scope, 'entity')})"
    rows = history.rows(
        f"""
        SELECT sequence, recorded_at, kind, coalesce(entity, payload->>'$.run_id', payload->>'$.incident_id',
            payload->>'$.coordinator_id', '') AS entity, payload, synthetic, count(*) OVER () AS total FROM events
        WHERE kind IN ({kinds}) AND {own} AND {window.holds("recorded_at")}
        ORDER BY sequence DESC LIMIT {TIMELINE_MAX}"""
    )
    made = [
        Entry(
            sequence=sequence,
            at=at(recorded_at),
            kind=kind,
            text=f"{entity} {fields_of(msgspec.json.decode(payload))}".strip(),
            synthetic=synthetic,
        )
        for sequence, recorded_at, kind, entity, payload, synthetic, _ in reversed(rows)
    ]
    return made, rows[0][-1] - len(rows) if rows else 0
