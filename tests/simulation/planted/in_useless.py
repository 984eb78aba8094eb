"""Mistakes about workers that beat and are of no use: what is noticed, on what evidence, and what follows."""

from tests.simulation.planted.bug import Bug, bug

USELESS: tuple[Bug, ...] = (
    bug(
        "swallowed-order-waits",
        "A worker that has nothing to report is taken at its word, however long it does not begin what it was given.",
        (
            "recovery.overdue:unstarted_at",
            "return _borne_out(beat, since + state.policy.assignment_start_deadline)",
            "return NEVER",
        ),
    ),
    bug(
        "unanswered-order-waits",
        "An order to hand back a task waits for its answer without a limit.",
        (
            "recovery.overdue:unheeded_at",
            "return _borne_out(beat, since + state.policy.revocation_grace)",
            "return NEVER",
        ),
    ),
    bug(
        "stalled-gets-work",
        "A stalled worker counts as available, since it lives and beats.",
        (
            "recovery.indexes:takes_work",
            'return worker.status == "alive" and worker.attempt is None and not worker.cordons',
            'return worker.status in ("alive", "stalled") and worker.attempt is None and not worker.cordons',
        ),
    ),
    bug(
        "stalled-taken-for-dead",
        "The tasks of a stalled worker are given away at once, as if its supervisor had killed it already.",
        (
            "recovery.indexes:orphaned",
            "return worker is None or worker.status not in LIVE or worker.incarnation != task.incarnation",
            """
            live = worker is not None and worker.status in LIVE and worker.status != "stalled"
            return worker is None or not live or worker.incarnation != task.incarnation
            """,
        ),
    ),
    bug(
        "row-without-comparison",
        "A worker on which several tasks have failed at once is restarted, whatever becomes of such tasks elsewhere.",
        (
            "recovery.decide_useless:_about_accused",
            'event = _stalled(state, worker, "failing_fast", row.tasks, policy.fail_fast_within, restart=False)',
            'event = _stalled(state, worker, "failing_fast", row.tasks, policy.fail_fast_within)',
        ),
    ),
    bug(
        "hung-without-grace",
        "A task counts as hung at its own time limit, at which its worker is about to stop it.",
        (
            "recovery.overdue:limit_s",
            "return policy.task_hang_cap if task.timeout_s is None else task.timeout_s + policy.task_hang_grace",
            "return policy.task_hang_cap if task.timeout_s is None else task.timeout_s",
        ),
        (
            "recovery.overdue:run_hung_at",
            "return _borne_out(beat, max(due, beat.quiet_since + state.policy.revocation_grace))",
            "return _borne_out(beat, due)",
        ),
    ),
    bug(
        "stall-order-unheard",
        "A supervisor leaves it to its watchdog to find out whether its agent is of any use.",
        (
            "worker.supervision:Supervisor._put_down",
            "agent.process.kill()",
            "",
        ),
    ),
)
