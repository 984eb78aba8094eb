"""Views that the search for patterns counts in: whoever wants to see the rows behind a finding sees the same ones."""

from projections.view import View

SLOT_S = 10
"""Things in one slot are at the same time."""
APART_S = 60
"""A worker that fails again so soon is still failing."""
SIGN_S = 60
"""How long before a failure a sign of it may be."""
SIGNS_BACK_MAX = 240
"""So many times as far back a life is compared."""

ORDINARY = (
    *("task.submitted", "task.assigned", "task.started", "task.completed", "task.returned", "task.requeued"),
    *("task.revoked", "task.isolated", "task.stranded", "task.cancel_requested"),
    *("worker.registered", "worker.failed", "worker.exited", "worker.vanished", "worker.disconnected"),
    *(
        "worker.suspected",
        "worker.stalled",
        "worker.recovery_scheduled",
        "worker.recovery_started",
        "worker.recovery_acted",
    ),
    *("worker.recovery_probed", "worker.probe_answered", "worker.recovery_succeeded", "worker.recovery_failed"),
    *("worker.recovery_superseded", "worker.permanently_failed", "worker.retired", "worker.prediction_judged"),
    *("system.status_changed", "system.recovery_started", "system.recovery_completed", "system.run_submitted"),
    *("system.breaker_opened", "system.breaker_half_opened", "system.breaker_closed"),
    *("system.predictor_trust_changed", "system.quarantine_released"),
    *("system.recovery_staged", "system.recovery_measured"),
    *("system.watch_continued", "system.pace_changed", "system.projection_rebuilt", "system.event_parked"),
)
"""No signs: the usual flow of work, how a failure is found, and what follows from one."""

_KINDS = ", ".join(f"'{kind}'" for kind in ORDINARY)

PATTERN_VIEWS: dict[str, View] = {
    "failure_onsets": View(
        f"Failures of workers, without those within {APART_S} seconds of another one of the same worker; no drills.",
        {
            "id": "As in `failures`.",
            "failed_at": "When it was recorded.",
            "worker_id": "Who failed.",
            "host": "Its machine.",
            "reason": "Why.",
            "resolution": "What became of it.",
            "recovery_s": "Until the worker was back; NULL: it is not.",
            "slot": f"The {SLOT_S} seconds in which it was, counted since 1970.",
            "alone": f"No other worker had failed in the {APART_S} seconds before.",
        },
        f"""
        WITH real AS (
            SELECT *, lag(failed_at) OVER (PARTITION BY worker_id ORDER BY id) AS own,
                lag(failed_at) OVER (ORDER BY id) AS latest
            FROM failures WHERE scope = 'worker' AND synthetic IS NULL)
        SELECT id, failed_at, worker_id, host, reason, resolution, recovery_s,
            epoch_us(failed_at) // {SLOT_S * 1_000_000} AS slot,
            coalesce(failed_at - latest > INTERVAL {APART_S} SECOND, true) AS alone
        FROM real WHERE coalesce(failed_at - own > INTERVAL {APART_S} SECOND, true)
    """,  # noqa: S608
    ),
    "deaths_under_tests": View(
        "Attempts that their worker's failure cut off; without drills, and without losses of many workers at once.",
        {
            "id": "Of the failure, as in `failures`.",
            "failed_at": "When it was recorded.",
            "worker_id": "Who failed.",
            "reason": "Why.",
            "command": "What was run: the command line, or the test's node id.",
            "task_id": "The task.",
            "attempt": "Which attempt of it.",
        },
        f"""
        SELECT failures.id, failures.failed_at, failures.worker_id, failures.reason, tasks.command, attempts.task_id,
            attempts.attempt
        FROM failures JOIN task_attempts AS attempts USING (worker_id, incarnation)
            JOIN tasks ON tasks.task_id = attempts.task_id
            LEFT JOIN events AS evidence ON evidence.sequence = failures.evidence_sequence
        WHERE failures.scope = 'worker' AND failures.synthetic IS NULL AND attempts.synthetic IS NULL
            AND tasks.command IS NOT NULL AND attempts.outcome IS NULL AND attempts.assigned_at <= failures.failed_at
            AND coalesce(attempts.ended_at >= failures.failed_at, true)
            AND (attempts.started_at IS NOT NULL
                OR list_contains(json_extract_string(evidence.payload, '$.begun[*][0]'), attempts.task_id))
            AND NOT EXISTS (FROM incidents WHERE kind = 'mass_worker_loss' AND incidents.synthetic IS NULL
                AND failures.failed_at BETWEEN began_at - INTERVAL {APART_S} SECOND
                    AND coalesce(ended_at, TIMESTAMP 'infinity'))
    """,  # noqa: S608
    ),
    "lives_to_failures": View(
        "The lives of workers that ended in a failure which came alone, up to when they were gone.",
        {
            "id": "Of the failure, as in `failures`.",
            "failed_at": "When it was recorded.",
            "worker_id": "Who failed.",
            "began_at": "When it had registered.",
            "ended_at": "`down_at` in `failures`, where that is known: what comes later is how it was found.",
            "minutes": f"How many whole minutes that are; {SIGNS_BACK_MAX} at most.",
        },
        f"""
        SELECT onsets.id, onsets.failed_at, onsets.worker_id, registered.recorded_at AS began_at,
            coalesce(failures.down_at, failures.failed_at) AS ended_at,
            least({SIGNS_BACK_MAX}, (epoch_us(ended_at) - epoch_us(began_at)) // {SIGN_S * 1_000_000}) AS minutes
        FROM failure_onsets AS onsets JOIN failures USING (id)
            JOIN events AS registered ON registered.sequence = failures.incarnation
        WHERE onsets.alone
    """,  # noqa: S608
    ),
    "signs_before_failures": View(
        "What happened in these lives, to the worker or to the system as a whole, that is out of the ordinary.",
        {
            "id": "Of the failure, as in `failures`.",
            "failed_at": "When it was recorded.",
            "worker_id": "Who failed.",
            "minute": "How many whole minutes before the end of that life: 0 is the last one.",
            "sequence": "Of the event, in `events`.",
            "recorded_at": "When the broker stored it.",
            "symbol": "The kind of the event, and its outcome or resource where it has one.",
        },
        f"""
        SELECT lives.id, lives.failed_at, lives.worker_id,
            (epoch_us(lives.ended_at) - epoch_us(marks.recorded_at) - 1) // {SIGN_S * 1_000_000} AS minute,
            marks.sequence, marks.recorded_at,
            marks.kind || coalesce(':' || (payload->>'$.outcome'), ':' || (payload->>'$.resource'), '') AS symbol
        FROM lives_to_failures AS lives JOIN events AS marks
            ON marks.recorded_at < lives.ended_at AND marks.recorded_at >= lives.began_at
        WHERE marks.synthetic IS NULL AND marks.kind NOT IN ({_KINDS}) AND minute < lives.minutes
            AND (starts_with(marks.kind, 'system.') OR (payload->>'$.worker_id') = lives.worker_id)
            AND (marks.kind <> 'task.attempt_finished' OR (payload->>'$.outcome') IN ('crashed', 'timed_out', 'error'))
    """,  # noqa: S608
    ),
}
