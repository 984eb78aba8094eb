"""A row type for each table. The fields are its columns, in order, each with what it means.

Rows carry times as microseconds since the epoch and JSON as the object itself; `statements` converts.
"""

from typing import Annotated, Any

import msgspec

from events.base import Event
from projections.columns import Column, bigint, boolean, double, integer, json, timestamp, varchar

Details = dict[str, Any]


class Row(msgspec.Struct, gc=False):
    """Leads to values and never back to a row, so the collection of garbage passes over it."""


class WorkerRecovery(Row, kw_only=True):
    id: Annotated[int, integer("Counts from 1 without a gap, in the order of the log.")]
    worker_id: Annotated[str, varchar("Whom the attempt was to bring back.")]
    recovery_time: Annotated[int, timestamp("When the attempt started; before that, when it was scheduled.")]
    attempt_number: Annotated[int, integer("Counts a worker's attempts; begins anew after a stable time.")]
    success: Annotated[bool | None, boolean("NULL while the attempt is open.")] = None
    recovery_type: Annotated[str, varchar("The strategy; escalate: it was given up; proactive: before it failed.")]
    error_message: Annotated[str | None, varchar("Why it failed, or by what it was superseded.")] = None
    details: Annotated[
        Details,
        json(
            "`sequences` of the events behind the row, `failure_reason`, `category`, `considered` (the strategies that "
            "there were, with their records and why they were not taken), `acted` and `act` (what came of what the "
            "leader did itself), `duration_s`, `ended_at`, "
            "`superseded` (it had lost its object), …"
        ),
    ]


class TaskRecovery(Row, kw_only=True):
    id: Annotated[int, integer("Counts from 1 without a gap, in the order of the log.")]
    task_id: Annotated[str, varchar("The task that was queued again.")]
    worker_id: Annotated[str, varchar("The worker that it was taken from.")]
    recovery_time: Annotated[int, timestamp("When it was queued again.")]
    attempt_number: Annotated[int, integer("The attempt that had ended.")]
    success: Annotated[
        bool | None, boolean("Whether the task's next ending is a result of the test's own; NULL until then.")
    ] = None
    recovery_type: Annotated[str, varchar("Why it was queued again: worker_failed, fenced, verdict_retry, …")]
    error_message: Annotated[str | None, varchar("How it ended instead.")] = None
    details: Annotated[
        Details, json("`sequences` of the events behind the row, `budget`, `category`, `duration_s`, `verdict`, …")
    ]


class SystemRecovery(Row, kw_only=True):
    id: Annotated[int, integer("Counts from 1 without a gap, in the order of the log.")]
    recovery_time: Annotated[int, timestamp("When it began.")]
    system_status: Annotated[str | None, varchar("The status of the system at the latest event of the incident.")]
    success: Annotated[bool | None, boolean("NULL while the incident is open.")] = None
    affected_workers: Annotated[int, integer("The most that any of its events names.")] = 0
    affected_tasks: Annotated[int, integer("The most that any of its events names.")] = 0
    details: Annotated[
        Details, json("`sequences` of the events behind the row, `kind`, `incident_id`, `duration_s`, `message`, …")
    ]


class IncidentRow(Row, kw_only=True):
    id: Annotated[int, integer("As in `system_recovery_history`.")]
    incident_id: Annotated[str, varchar("Its name in the events.")]
    kind: Annotated[str, varchar("mass_worker_loss, broker_outage, coordinator_failover, stalled_queue, …")]
    began_at: Annotated[int, timestamp("When it was opened.")]
    ended_at: Annotated[int | None, timestamp("When it was closed; NULL while it is open.")] = None
    duration_s: Annotated[float | None, double("As the closing event says.")] = None
    system_status: Annotated[str | None, varchar("The status of the system at its latest event.")] = None
    success: Annotated[bool | None, boolean("Whether its end state was found good; NULL while it is open.")] = None
    affected_workers: Annotated[int, integer("The most that any of its events names.")] = 0
    affected_tasks: Annotated[int, integer("The most that any of its events names.")] = 0
    message: Annotated[str | None, varchar("What the closing event says, or why a history was made anew.")] = None
    report: Annotated[Details, json("All that is known of it: `details` in `system_recovery_history`.")]
    synthetic: Annotated[str | None, varchar("The label of a drill; NULL: it was real.")] = None


class FailureRow(Row, kw_only=True):
    id: Annotated[int, bigint("Sequence of the event that says so.")]
    failed_at: Annotated[int, timestamp("When it was recorded.")]
    scope: Annotated[str, varchar("worker, or task: an attempt of one.")]
    worker_id: Annotated[str, varchar("The worker that failed, or that the attempt ran on.")]
    host: Annotated[str | None, varchar("The worker's machine, as it registered.")] = None
    incarnation: Annotated[int | None, bigint("Of the worker.")] = None
    task_id: Annotated[str | None, varchar("The task, where the scope is task.")] = None
    run_id: Annotated[str | None, varchar("Its run.")] = None
    attempt: Annotated[int | None, integer("Which attempt of it.")] = None
    reason: Annotated[str, varchar("worker_exit, silence, …; of a task its outcome: failed, crashed, timed_out, …")]
    category: Annotated[str, varchar("Of the error taxonomy.")]
    message: Annotated[str | None, varchar("In the words of whoever reported it.")] = None
    outage_id: Annotated[int | None, bigint("Scope worker: the outage that it began or made longer.")] = None
    evidence_sequence: Annotated[int | None, bigint("Scope worker: the event that proves it; NULL: none.")] = None
    last_seen_at: Annotated[int | None, timestamp("Scope worker: the last sign of life that the verdict names.")] = None
    down_at: Annotated[
        int | None,
        timestamp(
            "Scope worker: since when it was gone or of no use, as the evidence shows: its last sign of life, the end "
            "of its connections or of its process, the deadline that it missed; NULL: nothing tells."
        ),
    ] = None
    detection_s: Annotated[float | None, double("From `down_at` to `failed_at`.")] = None
    survived: Annotated[
        bool | None,
        boolean(
            "Scope worker: whether it was the very process that was given up which registered next: it had been alive; "
            "NULL: nobody has registered."
        ),
    ] = None
    resolution: Annotated[
        str | None,
        varchar(
            "Scope worker: recovered, returned (by itself), failed_again, permanent, retired (it was to end, or has "
            "ended in order); NULL while it is open."
        ),
    ] = None
    resolved_at: Annotated[int | None, timestamp("When that was recorded.")] = None
    recovery_s: Annotated[float | None, double("From `failed_at` to a resolution that is recovered or returned.")] = (
        None
    )
    recovery_attempts: Annotated[int, integer("Attempts that were started.")] = 0
    synthetic: Annotated[str | None, varchar("The label of a made-up failure; NULL: it was real.")] = None


class OutageRow(Row, kw_only=True):
    id: Annotated[int, bigint("Sequence of the failure that began it: `id` in `failures`.")]
    worker_id: Annotated[str, varchar("Who was out.")]
    reason: Annotated[str, varchar("Of that failure.")]
    category: Annotated[str, varchar("Of that failure.")]
    down_at: Annotated[int, timestamp("As in `failures`; `failed_at` where nothing tells.")]
    failed_at: Annotated[int, timestamp("When that failure was recorded.")]
    ended_at: Annotated[int | None, timestamp("When its end was recorded; NULL while it is open.")] = None
    ending: Annotated[
        str | None,
        varchar(
            "recovered (by an attempt, and verified), returned (it registered before an attempt began), permanent "
            "(given up), retired (it was to end, or has ended in order); NULL while it is open."
        ),
    ] = None
    recovery_s: Annotated[
        float | None, double("From `down_at` to `ended_at`, where it ended as recovered or returned.")
    ] = None
    failures: Annotated[int, integer("More than 1: it failed again before it was well.")] = 1
    attempts: Annotated[int, integer("Attempts that were started.")] = 0
    strategy: Annotated[str | None, varchar("Of the attempt that brought it back.")] = None
    operator: Annotated[
        str | None,
        varchar("What an operator had to do with it: recovery was paused, or switched off, meanwhile; NULL: nothing."),
    ] = None
    synthetic: Annotated[
        str | None, varchar("The label of a made-up event that began, prolonged or ended it; NULL: it was real.")
    ] = None


class RecoveryUseRow(Row, kw_only=True):
    id: Annotated[int, bigint("Sequence of the event.")]
    began_at: Annotated[int, timestamp("The beginning of the first outage, as `down_at` in `outages`.")]
    ended_at: Annotated[int, timestamp("The end of the last one.")]
    outages: Annotated[int, bigint("How many there were.")]
    before_s: Annotated[float, double("How long before `began_at` was measured.")]
    after_s: Annotated[float, double("How long after `ended_at` was measured.")]
    coordinator_id: Annotated[str | None, varchar("Who led at the end, and has measured.")] = None
    hosts: Annotated[int, bigint("Machines of workers that were heard before, during and after.")]
    coordinator_cpu_percent_before: Annotated[float, double("Leader: processors, before.")]
    coordinator_cpu_percent_during: Annotated[float, double("Leader: processors, during.")]
    coordinator_cpu_percent_after: Annotated[float, double("Leader: processors, after.")]
    coordinator_memory_bytes_before: Annotated[int, bigint("Leader: memory, before.")]
    coordinator_memory_bytes_during: Annotated[int, bigint("Leader: memory, during.")]
    coordinator_memory_bytes_after: Annotated[int, bigint("Leader: memory, after.")]
    coordinator_available_bytes_before: Annotated[int | None, bigint("Leader: memory left, before.")] = None
    coordinator_available_bytes_during: Annotated[int | None, bigint("Leader: memory left, during.")] = None
    coordinator_available_bytes_after: Annotated[int | None, bigint("Leader: memory left, after.")] = None
    workers_cpu_percent_before: Annotated[float | None, double("Workers: processors, before.")] = None
    workers_cpu_percent_during: Annotated[float | None, double("Workers: processors, during.")] = None
    workers_cpu_percent_after: Annotated[float | None, double("Workers: processors, after.")] = None
    workers_memory_bytes_before: Annotated[int | None, bigint("Workers: memory, before.")] = None
    workers_memory_bytes_during: Annotated[int | None, bigint("Workers: memory, during.")] = None
    workers_memory_bytes_after: Annotated[int | None, bigint("Workers: memory, after.")] = None
    workers_available_bytes_before: Annotated[int | None, bigint("Workers: memory left, before.")] = None
    workers_available_bytes_during: Annotated[int | None, bigint("Workers: memory left, during.")] = None
    workers_available_bytes_after: Annotated[int | None, bigint("Workers: memory left, after.")] = None
    synthetic: Annotated[str | None, varchar("The label of a made-up measurement.")] = None


class WorkerRow(Row, kw_only=True):
    worker_id: Annotated[str, varchar("Its id.")]
    status: Annotated[
        str, varchar("alive, suspect, stalled, draining, stopped, failed, recovering, permanently_failed, …")
    ] = "unregistered"
    incarnation: Annotated[int, bigint("Sequence of its last registration; 0: none.")] = 0
    host: Annotated[str | None, varchar("Its machine, as it registered.")] = None
    pid: Annotated[int | None, bigint("Of its agent.")] = None
    lifeline: Annotated[str | None, varchar("What its machine's kernel keeps while anything of it lives.")] = None
    slots: Annotated[int | None, integer("How many tasks it runs at a time.")] = None
    labels: Annotated[dict[str, str] | None, json("What tasks may require.")] = None
    registered_at: Annotated[int | None, timestamp("When its last incarnation began.")] = None
    down_at: Annotated[
        int | None, timestamp("Since when this incarnation seems to be gone or of no use; NULL: it is well.")
    ] = None
    failures: Annotated[int, integer("Real ones, one for each incarnation.")] = 0
    recoveries: Annotated[int, integer("Attempts that succeeded, without drills.")] = 0
    failed_at: Annotated[int | None, timestamp("When it failed last.")] = None
    failed_sequence: Annotated[int | None, bigint("Sequence of that event.")] = None
    failed_incarnation: Annotated[int | None, bigint("The incarnation that failed then.")] = None
    failure_reason: Annotated[str | None, varchar("Why it failed last.")] = None
    failure_category: Annotated[str | None, varchar("What kind of error that was.")] = None
    failure_synthetic: Annotated[str | None, varchar("The label of that failure, if it was made up.")] = None
    synthetic: Annotated[str | None, varchar("The label of its registration, if it was made up.")] = None
    last_event_sequence: Annotated[int, bigint("The last event that touched the row.")] = 0


class TaskRow(Row, kw_only=True):
    task_id: Annotated[str, varchar("Its id.")]
    run_id: Annotated[str | None, varchar("The run that it belongs to.")] = None
    status: Annotated[str, varchar("queued, assigned, running, completed, …")] = "queued"
    verdict: Annotated[str | None, varchar("The final one; NULL until then.")] = None
    outcome: Annotated[str | None, varchar("Of the attempt that decided.")] = None
    runner: Annotated[str | None, varchar("command, or pytest.")] = None
    command: Annotated[str | None, varchar("The command line, or the test's node id.")] = None
    priority: Annotated[int, integer("Higher goes first.")] = 0
    attempts: Annotated[int, integer("The highest number of an attempt.")] = 0
    worker_id: Annotated[str | None, varchar("Who has it, or had it last.")] = None
    submitted_at: Annotated[int | None, timestamp("When it was submitted.")] = None
    queued_at: Annotated[int | None, timestamp("Since when it waits, or waited last.")] = None
    started_at: Annotated[int | None, timestamp("When its last attempt started.")] = None
    completed_at: Annotated[int | None, timestamp("When its verdict was recorded.")] = None
    duration_s: Annotated[float | None, double("Of the attempt that decided.")] = None
    message: Annotated[str | None, varchar("Why, where the attempt does not say so itself.")] = None
    synthetic: Annotated[str | None, varchar("The label of a made-up task.")] = None
    last_event_sequence: Annotated[int, bigint("The last event that touched the row.")] = 0


class AttemptRow(Row, kw_only=True):
    id: Annotated[int, bigint("Sequence of its assignment.")]
    task_id: Annotated[str, varchar("The task.")]
    run_id: Annotated[str | None, varchar("Its run.")] = None
    attempt: Annotated[int, integer("Counts from 1 within the task.")]
    worker_id: Annotated[str, varchar("Who was to do it.")]
    incarnation: Annotated[int, bigint("Of that worker.")]
    status: Annotated[str, varchar("assigned, running, reported (it has a result), ended.")] = "assigned"
    assigned_at: Annotated[int, timestamp("When the order was recorded.")]
    started_at: Annotated[int | None, timestamp("When the start was recorded; NULL: it never started.")] = None
    ended_at: Annotated[int | None, timestamp("When its result was recorded, or that there will be none.")] = None
    outcome: Annotated[str | None, varchar("What the worker reported, in time or late; NULL: nothing.")] = None
    duration_s: Annotated[
        float | None, double("As the worker reported; without a report, from its start to its end.")
    ] = None
    exit_code: Annotated[int | None, bigint("Of a command.")] = None
    signal: Annotated[int | None, bigint("That ended it.")] = None
    message: Annotated[str | None, varchar("The failure's first lines.")] = None
    requeue_reason: Annotated[str | None, varchar("Why the task was queued again after it.")] = None
    budget: Annotated[str | None, varchar("What paid for that: none, infrastructure or verdict.")] = None
    decisive: Annotated[bool | None, boolean("Whether the verdict rests on it; NULL until there is one.")] = None
    synthetic: Annotated[str | None, varchar("The label of a made-up assignment or task.")] = None


class PolicyRow(Row, kw_only=True):
    sequence: Annotated[int, bigint("Of the event.")]
    changed_at: Annotated[int, timestamp("When it came into force.")]
    policy_hash: Annotated[str, varchar("Names the policy.")]
    actor: Annotated[str, varchar("Who changed it.")]
    changes: Annotated[
        Details | None, json("Each setting that differs from the policy before, as [before, after]; NULL: the first.")
    ]
    policy: Annotated[Details, json("All settings.")]
    synthetic: Annotated[str | None, varchar("The label of a made-up change.")] = None


class HeartbeatRow(Row, kw_only=True):
    sequence: Annotated[int, bigint("In the stream HEARTBEATS.")]
    recorded_at: Annotated[int, timestamp("When the broker stored it.")]
    worker_id: Annotated[str, varchar("Whose it is.")]
    incarnation: Annotated[int, bigint("Of the worker.")]
    beat: Annotated[int, bigint("Counts from 1 within the incarnation.")]
    running: Annotated[int, integer("Tasks that run.")]
    queued: Annotated[int, bigint("Assignments that wait there.")]
    free: Annotated[int, bigint("Slots with nothing to do.")]
    unreported: Annotated[int, bigint("Reports that the log has not taken yet.")]
    cpu_percent: Annotated[float, double("Of the whole machine, since the heartbeat before.")]
    load_1m: Annotated[float, double("Load of the machine.")]
    memory_bytes: Annotated[int, bigint("Resident, of the agent alone.")]
    memory_available_bytes: Annotated[int | None, bigint("What processes can still get; NULL: unknown.")]
    disk_free_bytes: Annotated[int | None, bigint("Where the last task works; NULL: unknown.")]
    loop_lag_s: Annotated[float, double("How late the agent's loop was.")]


class EventRow(Row, kw_only=True):
    sequence: Annotated[int, bigint("Its place in the log.")]
    recorded_at: Annotated[int, timestamp("When the broker stored it.")]
    kind: Annotated[str, varchar("family.past_tense, as `worker.failed`.")]
    entity: Annotated[str | None, varchar("The worker or task that it is about; NULL for the system.")]
    event_id: Annotated[str, varchar("Unique.")]
    source: Annotated[str, varchar("Who wrote it.")]
    causation_id: Annotated[str | None, varchar("The id of the event that led to it.")]
    correlation_id: Annotated[str | None, varchar("Groups a story: a run, or a worker's recovery.")]
    synthetic: Annotated[str | None, varchar("The label of a made-up event.")]
    payload: Annotated[Event, json("The event with its own fields, without the envelope.")]


class ParkedRow(Row, kw_only=True):
    sequence: Annotated[int, bigint("Its place in the log.")]
    recorded_at: Annotated[int, timestamp("When the broker stored it.")]
    subject: Annotated[str, varchar("Where it was published.")]
    reason: Annotated[str, varchar("Why it was not understood.")]
    payload: Annotated[bytes, Column("BLOB", "The message as it came.")]
