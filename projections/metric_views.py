"""The metrics in SQL: one view with a row for each thing that counts, or might, and macros that sum it up."""

from projections.metrics import METRICS, Metric
from projections.view import Macro, View

LOSSES = ("worker_failed", "fenced", "lost", "worker_unfit")
"""Why a task was queued again, by no fault of its own and because something had failed."""

_lost = ", ".join(f"'{reason}'" for reason in LOSSES)

_OUTAGES = """
    SELECT 'recovery_success' AS metric, failed_at AS observed_at, worker_id, reason, id::VARCHAR AS subject,
        CASE WHEN ending IS NULL THEN 'open' WHEN ending IN ('recovered', 'permanent') THEN 'counted'
            ELSE 'excluded' END AS standing,
        CASE ending WHEN 'returned' THEN 'it came back by itself' WHEN 'retired' THEN 'it was to end' END AS why,
        ending = 'recovered' AS hit, NULL::DOUBLE AS amount, operator, synthetic
    FROM outages
    UNION ALL
    SELECT 'recovery_time', failed_at, worker_id, reason, id::VARCHAR,
        CASE WHEN ending IS NULL THEN 'open' WHEN recovery_s IS NOT NULL THEN 'counted' ELSE 'excluded' END,
        CASE ending WHEN 'permanent' THEN 'it was given up' WHEN 'retired' THEN 'it was to end' END,
        NULL, recovery_s, operator, synthetic
    FROM outages
    UNION ALL
    SELECT 'worker_reconnection', failed_at, worker_id, reason, id::VARCHAR,
        CASE WHEN ending IS NULL THEN 'open' WHEN ending = 'retired' THEN 'excluded' ELSE 'counted' END,
        CASE ending WHEN 'retired' THEN 'it was to end' END,
        ending IN ('recovered', 'returned'), NULL, operator, synthetic
    FROM outages WHERE category = 'connection'
"""

_FAILURES = """
    SELECT 'detection_time', failed_at, worker_id, reason, id::VARCHAR,
        CASE WHEN detection_s IS NULL THEN 'excluded' ELSE 'counted' END,
        CASE WHEN detection_s IS NULL THEN 'nothing tells since when it was gone' END,
        NULL, detection_s, NULL, synthetic
    FROM failures WHERE scope = 'worker'
    UNION ALL
    SELECT 'false_failures', failed_at, worker_id, reason, id::VARCHAR,
        CASE WHEN resolution IS NULL THEN 'open' WHEN resolution = 'retired' THEN 'excluded' ELSE 'counted' END,
        CASE resolution WHEN 'retired' THEN 'it was to end' END,
        coalesce(survived, false), NULL, NULL, synthetic
    FROM failures WHERE scope = 'worker'
"""

_TASKS = f"""
    SELECT 'task_preservation', affected.lost_at, affected.worker_id, affected.reason, task_id,
        CASE WHEN verdict IS NULL THEN 'open' WHEN verdict IN ('cancelled', 'quarantined') THEN 'excluded'
            ELSE 'counted' END,
        CASE verdict WHEN 'cancelled' THEN 'it was cancelled' WHEN 'quarantined' THEN 'workers die under it' END,
        NOT (verdict = 'crashed' AND (outcome IS NULL OR outcome = 'fenced')), NULL, NULL,
        coalesce(affected.synthetic, tasks.synthetic)
    FROM (
        SELECT task_id, min(lost_at) AS lost_at, arg_min(worker_id, lost_at) AS worker_id,
            arg_min(reason, lost_at) AS reason, min(synthetic) AS synthetic
        FROM (
            SELECT task_id, recovery_time AS lost_at, worker_id, details->>'$.failure_reason' AS reason,
                details->>'$.synthetic' AS synthetic
            FROM task_recovery_history WHERE recovery_type IN ({_lost})
            UNION ALL
            SELECT ended.task_id, ended.completed_at, ended.worker_id,
                if(ended.outcome = 'fenced', 'fenced', coalesce(failures.reason, 'unknown')), failures.synthetic
            FROM (FROM tasks WHERE verdict = 'crashed' AND (outcome IS NULL OR outcome = 'fenced')) AS ended
                ASOF LEFT JOIN (FROM failures WHERE scope = 'worker') AS failures
                ON ended.worker_id = failures.worker_id AND ended.completed_at >= failures.failed_at
        ) AS losses GROUP BY task_id
    ) AS affected JOIN tasks USING (task_id)
"""  # noqa: S608

_ATTEMPTS = """
    SELECT 'attempt_success', recovery_time, worker_id, details->>'$.failure_reason', id::VARCHAR,
        CASE WHEN success IS NULL THEN 'open' WHEN (details->>'$.superseded') IS NOT NULL THEN 'excluded'
            ELSE 'counted' END,
        CASE WHEN (details->>'$.superseded') IS NOT NULL THEN 'it was superseded' END,
        success, NULL, NULL, details->>'$.synthetic'
    FROM worker_recovery_history WHERE recovery_type NOT IN ('escalate', 'proactive')
    UNION ALL
    SELECT 'incident_success', began_at, NULL, kind, incident_id,
        CASE WHEN success IS NULL THEN 'open' ELSE 'counted' END, NULL, success, NULL, NULL, synthetic
    FROM incidents WHERE kind <> 'projection_rebuilt'
"""

_IMPACT = """
    SELECT 'resource_impact', began_at, NULL, NULL, id::VARCHAR, 'counted', NULL, NULL, impact, NULL, synthetic
    FROM recovery_impact
"""

_WAITING = """
    SELECT 'backlog', queued_at, NULL, NULL, task_id, 'counted', NULL, status = 'queued', NULL, NULL, synthetic
    FROM tasks WHERE verdict IS NULL
    UNION ALL
    SELECT 'backlog_age', queued_at, NULL, NULL, task_id, 'counted', NULL, NULL,
        greatest(0, date_diff('microsecond', queued_at, known_until)) / 1e6, NULL, synthetic
    FROM tasks, history_clock WHERE verdict IS NULL AND status = 'queued'
"""

IMPACT = View(
    "What recovering has cost: one row for each in `recovery_use`, as shares of what there is, beyond the mean of "
    "before and after. What was used less is no cost, and counts as 0.",
    {
        "id": "As in `recovery_use`.",
        "began_at": "As there.",
        "ended_at": "As there.",
        "coordinator_cpu": "Of the processors, by the leader's own processes.",
        "coordinator_memory": "Of the memory that was available there, what they took more; NULL: unknown.",
        "workers_cpu": "Of the processors of the workers' machines, by whatever runs there; NULL: none was heard.",
        "workers_memory": "Of the memory that was available there, what was not any more; NULL: unknown.",
        "impact": "The largest of these.",
        "synthetic": "As in `recovery_use`.",
    },
    """
        SELECT id, began_at, ended_at, coordinator_cpu, coordinator_memory, workers_cpu, workers_memory,
            greatest(coordinator_cpu, coordinator_memory, workers_cpu, workers_memory) AS impact, synthetic
        FROM (SELECT id, began_at, ended_at, synthetic,
            greatest(0, coordinator_cpu_percent_during
                - (coordinator_cpu_percent_before + coordinator_cpu_percent_after) / 2) / 100 AS coordinator_cpu,
            greatest(0, coordinator_memory_bytes_during
                - (coordinator_memory_bytes_before + coordinator_memory_bytes_after) / 2)
                / nullif((coordinator_available_bytes_before + coordinator_available_bytes_after) / 2, 0)
                AS coordinator_memory,
            if(workers_cpu_percent_during IS NULL, NULL, greatest(0, workers_cpu_percent_during
                - (workers_cpu_percent_before + workers_cpu_percent_after) / 2) / 100) AS workers_cpu,
            if(workers_available_bytes_during IS NULL, NULL, greatest(0, 1 - workers_available_bytes_during
                / nullif((workers_available_bytes_before + workers_available_bytes_after) / 2, 0))) AS workers_memory
            FROM recovery_use)
    """,
)

CLOCK = View(
    "One row: up to when anything is known. The broker's clock, and not that of whoever asks.",
    {"known_until": "When the last event or heartbeat that the history has seen was stored; NULL: there is none."},
    """
        SELECT nullif(greatest((SELECT coalesce(max(recorded_at), make_timestamp(0)) FROM events
                WHERE sequence = (SELECT sequence FROM position)),
            make_timestamp((heartbeat_time * 1e6)::BIGINT)), make_timestamp(0)) AS known_until
        FROM position
    """,
)

OBSERVATIONS = View(
    "One row for each thing that counts for a metric, or would if it had ended, or does not and why. The macros below "
    "sum it up; what they leave out unless asked for has `synthetic` or `operator`.",
    {
        "metric": "Its name in `metric_definitions`.",
        "observed_at": "When it belongs into a window.",
        "worker_id": "The worker that it is about, or that a task was taken from; NULL: none.",
        "reason": "Of the failure, of the first one where there were several, or the kind of the incident; NULL: none.",
        "subject": "What it is: `id` in outages, failures or worker_recovery_history, a task's or an incident's id.",
        "standing": "counted, open (it has not ended), or excluded.",
        "why": "Why it is excluded.",
        "hit": "Of a share: whether it counts for the numerator as well.",
        "amount": "Of a mean or an age: how much it adds.",
        "operator": "What an operator had to do with it; NULL: nothing.",
        "synthetic": "The label of what was made up about it; NULL: it is real.",
    },
    f"{_OUTAGES} UNION ALL {_FAILURES} UNION ALL {_TASKS} UNION ALL {_ATTEMPTS} UNION ALL {_IMPACT} "
    f"UNION ALL {_WAITING}",
)


def _literal(value: object) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return "NULL" if value is None else str(value)


def _definition(number: int, metric: Metric) -> str:
    values = (
        number,
        metric.name,
        metric.title,
        metric.kind,
        metric.unit,
        metric.target,
        metric.above,
        metric.numerator,
        metric.denominator,
        metric.excluded,
        metric.at,
    )
    return f"({', '.join(map(_literal, values))})"


DEFINITIONS = View(
    "The metrics and their targets, in the words of docs/metrics.md.",
    {
        "number": "Their order.",
        "metric": "Its name.",
        "title": "For people.",
        "kind": "share, mean, or level (how it stands at the end of the history).",
        "unit": "share (0 to 1), s, or tasks.",
        "target": "NULL: it has none.",
        "above": "Whether the target is to be exceeded; otherwise it is to be kept below.",
        "numerator_is": "What is divided.",
        "denominator_is": "By what.",
        "excluded_are": "What counts for neither.",
        "window_by": "What time decides whether something falls into a window.",
    },
    f"""
        SELECT number, metric, title, kind, unit, target::DOUBLE AS target, above, numerator_is, denominator_is,
            excluded_are, window_by
        FROM (VALUES {", ".join(_definition(number, metric) for number, metric in enumerate(METRICS, start=1))})
            AS definitions(number, metric, title, kind, unit, target, above, numerator_is, denominator_is,
                excluded_are, window_by)
    """,  # noqa: S608
)

_PARAMETERS = ("since := NULL", "until := NULL", "synthetic_too := false", "operator_too := false")

PARAMETERS = {
    "since": "The beginning of the window, a TIMESTAMP in UTC; left out: the history's beginning.",
    "until": "Its end, which does not belong to it; left out: the history's end.",
    "synthetic_too": "Whether what was made up counts as well.",
    "operator_too": "Whether what an operator had to do with counts as well.",
}

_FIGURES = """
    count(*) FILTER (standing = 'counted' AND asked) AS counted,
    count(*) FILTER (standing = 'counted' AND asked AND hit) AS hits,
    sum(amount) FILTER (standing = 'counted' AND asked) AS total,
    quantile_cont(amount, 0.5) FILTER (standing = 'counted' AND asked) AS median,
    quantile_cont(amount, 0.95) FILTER (standing = 'counted' AND asked) AS p95,
    max(amount) FILTER (standing = 'counted' AND asked) AS maximum,
    count(*) FILTER (standing = 'open' AND asked) AS open,
    count(*) FILTER (standing = 'excluded' OR NOT asked) AS excluded
"""

_ASKED = """
    SELECT *, (synthetic IS NULL OR synthetic_too) AND (operator IS NULL OR operator_too) AS asked
    FROM metric_observations
    WHERE metric IN ('backlog', 'backlog_age')
        OR ((since IS NULL OR observed_at >= since) AND (until IS NULL OR observed_at < until))
"""

_SHOWN = """
    CASE WHEN kind = 'share' THEN hits / nullif(counted, 0) WHEN kind = 'mean' THEN total / nullif(counted, 0)
        WHEN unit = 's' THEN maximum ELSE hits END::DOUBLE AS value,
    unit, target,
    CASE WHEN above THEN value > target ELSE value < target END AS met,
    CASE WHEN kind = 'mean' THEN coalesce(total, 0) WHEN kind = 'level' AND unit = 's' THEN maximum
        ELSE hits END::DOUBLE AS numerator,
    counted AS denominator, open, excluded, median, p95, maximum
"""

_COLUMNS = {
    "metric": "Its name in `metric_definitions`.",
    "title": "For people.",
    "value": "The figure itself; NULL: there is nothing to divide.",
    "unit": "share (0 to 1), s, or tasks.",
    "target": "NULL: it has none.",
    "met": "Whether the target is met; NULL: it has none, or there is nothing to divide.",
    "numerator": "See `metric_definitions`.",
    "denominator": "See `metric_definitions`: how many observations the figure rests on.",
    "open": "What may count once it has ended.",
    "excluded": "What does not count, made-up things and an operator's included.",
    "median": "Of the parts of a mean.",
    "p95": "Of the parts of a mean: 95 % are no larger.",
    "maximum": "Of the parts of a mean.",
}


def _grouped(column: str, text: str) -> Macro:
    return Macro(
        text,
        PARAMETERS,
        {column: "What the figures are of.", **_COLUMNS},
        f"""
            SELECT found.{column}, definitions.metric, definitions.title, {_SHOWN}
            FROM (SELECT {column}, metric, {_FIGURES} FROM ({_ASKED}) AS asked_for
                WHERE {column} IS NOT NULL GROUP BY {column}, metric) AS found
                JOIN metric_definitions AS definitions USING (metric)
            ORDER BY found.{column}, definitions.number
        """,  # noqa: S608
        _PARAMETERS,
    )


METRIC_VIEWS: dict[str, View] = {
    "history_clock": CLOCK,
    "recovery_impact": IMPACT,
    "metric_observations": OBSERVATIONS,
    "metric_definitions": DEFINITIONS,
}

MACROS: dict[str, Macro] = {
    "metrics": Macro(
        "Every metric in one row, over all of the history or a window of it: `SELECT * FROM metrics()`, or `FROM "
        "metrics(since := (SELECT known_until FROM history_clock) - INTERVAL 24 HOUR)`.",
        PARAMETERS,
        _COLUMNS,
        f"""
            SELECT definitions.metric, definitions.title, {_SHOWN}
            FROM metric_definitions AS definitions JOIN (
                    SELECT metric, {_FIGURES}
                    FROM (SELECT metric FROM metric_definitions) LEFT JOIN ({_ASKED}) AS asked_for USING (metric)
                    GROUP BY metric
                ) AS found USING (metric)
            ORDER BY definitions.number
        """,  # noqa: S608
        _PARAMETERS,
    ),
    "metrics_by_reason": _grouped("reason", "The same for each reason of a failure, or kind of an incident."),
    "metrics_by_worker": _grouped("worker_id", "The same for each worker."),
}
