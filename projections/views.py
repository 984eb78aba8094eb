"""Views over the tables: the stories that are asked for most. Synthetic events stay out of the metrics."""

from projections.metric_views import MACROS, METRIC_VIEWS
from projections.pattern_views import PATTERN_VIEWS
from projections.view import View

VIEWS: dict[str, View] = {
    "runs": View(
        "One row for each run that was submitted.",
        {
            "run_id": "Its id.",
            "title": "What whoever submitted it called it.",
            "submitted_at": "When it was submitted.",
            "tasks_announced": "How many tasks were to follow.",
            "tasks_submitted": "How many did.",
            "tasks_completed": "How many have their verdict.",
            "passed": "Verdict passed.",
            "failed": "Verdict failed.",
            "lost": "Any verdict but passed, failed and skipped.",
            "last_completed_at": "When the last verdict was recorded.",
            "synthetic": "The label of a made-up run.",
        },
        """
        SELECT submitted.payload->>'$.run_id' AS run_id, submitted.payload->>'$.title' AS title,
            submitted.recorded_at AS submitted_at, (submitted.payload->>'$.tasks')::BIGINT AS tasks_announced,
            count(tasks.task_id) AS tasks_submitted, count(tasks.verdict) AS tasks_completed,
            count(*) FILTER (tasks.verdict = 'passed') AS passed, count(*) FILTER (tasks.verdict = 'failed') AS failed,
            count(*) FILTER (tasks.verdict NOT IN ('passed', 'failed', 'skipped')) AS lost,
            max(tasks.completed_at) AS last_completed_at, submitted.synthetic
        FROM events AS submitted LEFT JOIN tasks ON tasks.run_id = (submitted.payload->>'$.run_id')
        WHERE submitted.kind = 'system.run_submitted'
        GROUP BY ALL
    """,
    ),
    "worker_recovery_metrics": View(
        "Attempts to bring workers back by strategy, without drills.",
        {
            "recovery_type": "The strategy.",
            "attempts": "All of them.",
            "succeeded": "That brought the worker back.",
            "failed": "That did not, superseded ones included.",
            "open": "Under way.",
            "success_rate": "`succeeded` of those that have ended; NULL: none has.",
            "duration_s_mean": "From the failure to the success, on average.",
            "duration_s_max": "The longest.",
        },
        """
        SELECT recovery_type, count(*) AS attempts, count(*) FILTER (success) AS succeeded,
            count(*) FILTER (NOT success) AS failed, count(*) FILTER (success IS NULL) AS open,
            avg(success::INTEGER) AS success_rate,
            avg((details->>'$.duration_s')::DOUBLE) FILTER (success) AS duration_s_mean,
            max((details->>'$.duration_s')::DOUBLE) FILTER (success) AS duration_s_max
        FROM worker_recovery_history WHERE (details->>'$.synthetic') IS NULL GROUP BY recovery_type
    """,
    ),
    "task_recovery_metrics": View(
        "Tasks that were queued again by reason, without drills.",
        {
            "recovery_type": "The reason.",
            "requeued": "All of them.",
            "succeeded": "That then had a result of the test's own.",
            "failed": "That had none.",
            "open": "Whose next ending is still to come.",
            "success_rate": "`succeeded` of those that have ended; NULL: none has.",
            "duration_s_mean": "From the requeue to that result, on average.",
        },
        """
        SELECT recovery_type, count(*) AS requeued, count(*) FILTER (success) AS succeeded,
            count(*) FILTER (NOT success) AS failed, count(*) FILTER (success IS NULL) AS open,
            avg(success::INTEGER) AS success_rate,
            avg((details->>'$.duration_s')::DOUBLE) FILTER (success) AS duration_s_mean
        FROM task_recovery_history WHERE (details->>'$.synthetic') IS NULL GROUP BY recovery_type
    """,
    ),
    **METRIC_VIEWS,
    **PATTERN_VIEWS,
}
"""In the order in which they build on each other."""


def view_statements() -> list[str]:
    """Makes all views and macros, in a file that has the tables."""
    return [
        *(f"CREATE VIEW {name} AS {view.sql}" for name, view in VIEWS.items()),
        *(f"CREATE MACRO {name}({', '.join(macro.signature)}) AS TABLE {macro.sql}" for name, macro in MACROS.items()),
    ]
