"""Views over the tables: the stories that are asked for most. Synthetic events stay out of the metrics."""

VIEWS: dict[str, str] = {
    "failures": """
        SELECT sequence, recorded_at, entity AS worker_id, payload->>'$.reason' AS reason,
            (payload->>'$.incarnation')::BIGINT AS incarnation, (payload->>'$.evidence.silence_s')::DOUBLE AS silence_s,
            payload->>'$.message' AS message, synthetic
        FROM events WHERE kind = 'worker.failed'
    """,
    "task_attempts": """
        SELECT sequence, recorded_at, entity AS task_id, (payload->>'$.attempt')::BIGINT AS attempt,
            payload->>'$.worker_id' AS worker_id, (payload->>'$.incarnation')::BIGINT AS incarnation,
            payload->>'$.outcome' AS outcome, coalesce((payload->>'$.duration_s')::DOUBLE, 0) AS duration_s,
            (payload->>'$.exit_code')::VARCHAR AS exit_code, (payload->>'$.signal')::VARCHAR AS signal,
            payload->>'$.message' AS message, synthetic
        FROM events WHERE kind = 'task.attempt_finished'
    """,
    "incidents": """
        SELECT id, recovery_time AS began_at, details->>'$.kind' AS kind, details->>'$.incident_id' AS incident_id,
            system_status, success, (details->>'$.duration_s')::DOUBLE AS duration_s, affected_workers, affected_tasks,
            details->>'$.message' AS message, details->>'$.synthetic' AS synthetic
        FROM system_recovery_history
    """,
    "runs": """
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
    "worker_recovery_metrics": """
        SELECT recovery_type, count(*) AS attempts, count(*) FILTER (success) AS succeeded,
            count(*) FILTER (NOT success) AS failed, count(*) FILTER (success IS NULL) AS open,
            avg(success::INTEGER) AS success_rate,
            avg((details->>'$.duration_s')::DOUBLE) FILTER (success) AS duration_s_mean,
            max((details->>'$.duration_s')::DOUBLE) FILTER (success) AS duration_s_max
        FROM worker_recovery_history WHERE (details->>'$.synthetic') IS NULL GROUP BY recovery_type
    """,
    "task_recovery_metrics": """
        SELECT recovery_type, count(*) AS requeued, count(*) FILTER (success) AS succeeded,
            count(*) FILTER (NOT success) AS failed, count(*) FILTER (success IS NULL) AS open,
            avg(success::INTEGER) AS success_rate,
            avg((details->>'$.duration_s')::DOUBLE) FILTER (success) AS duration_s_mean
        FROM task_recovery_history WHERE (details->>'$.synthetic') IS NULL GROUP BY recovery_type
    """,
}
