"""Judging what was decided about tasks."""

from events.task import (
    Outcome,
    TaskAssigned,
    TaskAttemptFinished,
    TaskCompleted,
    TaskRequeued,
    TaskRevoked,
    TaskStranded,
    Verdict,
)
from replay.invariants.case import Case
from replay.invariants.outages import is_spared, is_spared_fenced, judge_spared
from replay.invariants.poison import judge_alone, judge_quarantined
from replay.invariants.silence import ROUNDING_S, common_silence_min
from replay.invariants.usefulness import FAILED, PASSED, judge_taken_back
from replay.invariants.world import EXPECTED, Task

VERDICTS: dict[Outcome, Verdict] = {
    "passed": "passed",
    "xfailed": "passed",
    "xpassed": "passed",
    "skipped": "skipped",
    "failed": "failed",
    "error": "failed",
    "crashed": "crashed",
    "timed_out": "timed_out",
    "cancelled": "cancelled",
    "fenced": "crashed",
}
"""The verdict that each outcome may lead to."""

NEVER_RETRIED = frozenset({"security", "system_resource"})
PAID_BY_NOBODY = frozenset({"worker_draining"})
PAID_BY_INFRASTRUCTURE = frozenset({"worker_failed", "fenced", "lost", "worker_unfit"})
OUTCOMES_OF = {
    "fenced": frozenset({"fenced"}),
    "worker_draining": frozenset({"cancelled"}),
    "verdict_retry": frozenset({"failed", "error", "timed_out"}),
    "crash_retry": frozenset({"crashed"}),
    "worker_unfit": FAILED,
}
"""What an attempt must have reported to be put back for each reason."""


def _task(case: Case, task_id: str, invariant: str) -> Task | None:
    one = case.world.tasks.get(task_id)
    if one is None:
        case.blame(invariant, "nobody has submitted this task")
        return None
    if one.batch == case.batch:
        case.blame("decided-once", "one batch decides twice about this task")
    one.batch = case.batch
    return one


def judge_assigned(case: Case, event: TaskAssigned) -> None:
    one = _task(case, event.task_id, "placement")
    if one is None:
        return
    if one.status == "final":
        case.blame("one-verdict", "it has its verdict and is handed out again")
    elif one.status != ("isolated" if event.isolated else "queued"):
        case.blame("one-live-attempt", f"attempt {one.attempt} is {one.status} at {one.worker_id} still")
    if event.attempt != one.attempt + 1:
        case.blame("one-live-attempt", f"attempt {event.attempt} follows attempt {one.attempt}")
    if case.world.is_cancelled(one):
        case.blame("cancel-honoured", "it was cancelled and is handed out")
    _judge_recipient(case, event, one)


def _judge_recipient(case: Case, event: TaskAssigned, one: Task) -> None:
    to = case.world.workers.get(event.worker_id)
    if to is None:
        case.blame("assigned-to-alive", f"{event.worker_id} has never registered")
        return
    policy = case.world.policy
    if to.status != "alive":
        case.blame("assigned-to-alive", f"{to.worker_id} is {to.status}")
    elif to.attempt is not None:
        case.blame("assigned-to-alive", f"{to.worker_id} is not recovered yet: attempt {to.attempt.number} is open")
    if to.cordons:
        case.blame("assigned-to-alive", f"{to.worker_id} is cordoned: {', '.join(sorted(to.cordons))}")
    if event.incarnation != to.incarnation:
        case.blame("assigned-to-alive", f"{to.worker_id} is incarnation {to.incarnation}, not {event.incarnation}")
    heard = case.heard(to)
    if heard.known:
        last = to.registered_at if heard.beat is None else heard.beat.time
        if last < case.now - common_silence_min(case.world):
            case.blame("assigned-to-alive", f"{to.worker_id} has been silent for {case.now - last:.1f} s")
    submitted = one.submitted
    for name, value in submitted.requires.items():
        if to.labels.get(name) != value:
            case.blame("placement", f"it requires {name}={value}, and {to.worker_id} has not that label")
    if event.work != submitted.work or event.priority != submitted.priority or event.timeout_s != submitted.timeout_s:
        case.blame("placement", "the order is not what was submitted")
    if to.batch != case.batch:
        to.batch, to.given = case.batch, 0
    to.given += 1
    judge_alone(case, event, to)
    room = to.slots * (1 + policy.tasks_ahead_max)
    if to.held + to.given > room:
        case.blame("placement", f"{to.worker_id} would hold {to.held + to.given} tasks: {room} are its most")


def judge_stranded(case: Case, event: TaskStranded) -> None:
    one = _task(case, event.task_id, "placement")
    if one is None:
        return
    if one.status not in ("queued", "isolated") or one.stranded or not event.requires:
        case.blame("decided-once", f"it is called stranded, and it is {one.status}, or was called so before")
    able = [
        worker.worker_id
        for worker in case.world.workers.values()
        if worker.status in EXPECTED and all(worker.labels.get(name) == value for name, value in event.requires.items())
    ]
    if able or event.requires != one.submitted.requires:
        case.blame(
            "placement", f"it is called stranded, and {', '.join(able) or 'that is not what it'} has what it requires"
        )


def judge_revoked(case: Case, event: TaskRevoked) -> None:
    one = _task(case, event.task_id, "cancel-honoured")
    if one is None:
        return
    if not case.world.is_cancelled(one) and one.late is None:
        judge_taken_back(case, one)
    if one.revoked:
        case.blame("decided-once", f"attempt {one.attempt} has been revoked before")
    if one.status not in ("assigned", "running") or _other_attempt(one, event):
        case.blame("one-live-attempt", f"{event.worker_id} is told to stop attempt {event.attempt}, and {_where(one)}")


def judge_requeued(case: Case, event: TaskRequeued) -> None:
    one = _task(case, event.task_id, "requeued-once")
    if one is None:
        return
    if one.status == "final":
        case.blame("one-verdict", "it has its verdict and is put back")
        return
    if one.status in ("queued", "isolated") or event.attempt != one.attempt or event.worker_id != one.worker_id:
        case.blame("requeued-once", f"attempt {event.attempt} at {event.worker_id} is put back, and {_where(one)}")
        return
    if case.world.is_cancelled(one):
        case.blame("cancel-honoured", "it was cancelled and is put back into the queue")
    if one.late is not None:
        case.blame("current-result", "its former attempt has passed, and it is put back into the queue")
    _judge_reason(case, event, one)
    _judge_budget(case, event, one)


def _judge_reason(case: Case, event: TaskRequeued, one: Task) -> None:
    if one.status in ("assigned", "running"):
        if not case.world.is_orphaned(one):
            case.blame(
                "one-live-attempt", f"attempt {one.attempt} is taken away, and {one.worker_id} has it and is not over"
            )
        elif not case.world.may_repair:
            case.blame("operator-obeyed", "recovery is off, and a task is put back")
        _judge_rate(case)
        _judge_label(case, one)
        return
    if event.reason == "worker_failed":
        case.blame("requeued-once", "its worker had spoken: the attempt did not end by the worker's failure")
        return
    said = one.result
    if said is None:
        reason = "lost" if one.unknown else "worker_unfit" if one.revoked else "worker_draining"
        case.require(event.reason == reason, "requeued-once", f"it was handed back ({reason}), not {event.reason}")
    elif one.hung and said.outcome == "cancelled" and event.reason == "verdict_retry":
        return
    elif said.error in NEVER_RETRIED:
        case.blame("budgets", f"it is put back after an error that is never retried: {said.error}")
    elif said.outcome not in OUTCOMES_OF.get(event.reason, frozenset()):
        case.blame("requeued-once", f"it is put back as {event.reason}, and its attempt ended as {said.outcome}")


def _judge_rate(case: Case) -> None:
    """Not more at once than a burst, and not faster than the rate beyond that."""
    policy = case.world.policy
    if case.requeues_batch != case.batch:
        case.requeues_batch, case.requeues_until = case.batch, case.world.requeues_until
    ahead = case.requeues_until - case.now
    most = (policy.requeue_burst - 1) / policy.requeue_rate + ROUNDING_S
    case.require(ahead <= most, "paced", f"{ahead * policy.requeue_rate:.1f} tasks ahead of {policy.requeue_rate:g}/s")
    case.requeues_until = max(case.requeues_until, case.now) + 1.0 / policy.requeue_rate


def _judge_label(case: Case, one: Task) -> None:
    """It has lost its worker, and nobody has cancelled it."""
    holder = case.world.workers.get(one.worker_id or "")
    if holder is not None and one.epoch >= 0:
        case.labelled(holder.ends_made_up.get(one.epoch))


def _judge_budget(case: Case, event: TaskRequeued, one: Task) -> None:
    policy, submitted = case.world.policy, one.submitted
    judge_spared(case, event, one)
    if event.budget == "infrastructure":
        allowed = _own(submitted.infrastructure_retries, policy.infrastructure_retries)
        used = one.infrastructure_used
        unstartable = one.result is not None and one.result.unstartable
        case.require(one.began or unstartable, "budgets", "it pays for the end of a worker before it had started")
        case.require(event.reason in PAID_BY_INFRASTRUCTURE, "budgets", f"infrastructure pays for {event.reason}")
    elif event.budget == "verdict":
        allowed = _own(submitted.verdict_retries, policy.verdict_retries)
        used = one.verdict_used
        case.require(
            event.reason not in PAID_BY_INFRASTRUCTURE | PAID_BY_NOBODY,
            "budgets",
            f"a verdict retry pays for {event.reason}",
        )
    else:
        # Whether these are to be spared is judged already.
        free = event.reason in PAID_BY_NOBODY or not one.began or event.reason in ("worker_failed", "fenced")
        case.require(free, "budgets", f"nobody pays for {event.reason} of an attempt that had started")
        return
    case.require(used < allowed, "budgets", f"{event.budget} retry {used + 1} of {allowed}")


def judge_completed(case: Case, event: TaskCompleted) -> None:
    one = _task(case, event.task_id, "one-verdict")
    if one is None:
        return
    if one.status == "final":
        case.blame("one-verdict", "it has its verdict, and this is another")
        return
    if event.run_id != one.submitted.run_id:
        case.blame("one-verdict", f"it belongs to run {one.submitted.run_id}, not {event.run_id}")
    if one.late is None and event.attempt != one.attempt:
        case.blame("current-result", f"attempt {event.attempt} decides it, and {_where(one)}")
    if event.verdict == "cancelled" and not case.world.is_cancelled(one):
        case.blame("cancel-honoured", "its verdict is cancelled, and nobody has cancelled it")
    if one.status in ("assigned", "running") and not case.world.is_orphaned(one):
        case.blame("one-live-attempt", f"it gets a verdict while {one.worker_id} has it")
    if event.verdict == "quarantined":
        judge_quarantined(case, event, one)
    if one.late is not None:
        _judge_late(case, event, one.late, one.late_sequence)
    elif one.result is None:
        _judge_without_result(case, event, one)
    else:
        _judge_result(case, event, one)


def _judge_late(case: Case, event: TaskCompleted, said: TaskAttemptFinished, sequence: int) -> None:
    rests_on = event.attempt, event.outcome, event.result_sequence
    if rests_on != (said.attempt, said.outcome, sequence) or event.verdict != VERDICTS[said.outcome]:
        case.blame(
            "current-result",
            f"its attempt {said.attempt} has passed at {sequence}, before the next had started, and its verdict is "
            f"{event.verdict} of attempt {event.attempt}",
        )


def _judge_result(case: Case, event: TaskCompleted, one: Task) -> None:
    said = one.result
    assert said is not None
    if event.result_sequence != one.result_sequence or event.outcome != said.outcome:
        case.blame(
            "current-result",
            f"it rests on {event.outcome or 'nothing'} at {event.result_sequence}, and the present attempt reported "
            f"{said.outcome} at {one.result_sequence}",
        )
        return
    if event.verdict == "quarantined":
        return
    stopped = (event.verdict == "cancelled" and said.outcome == "fenced") or (
        event.verdict == "timed_out" and said.outcome == "cancelled" and one.hung
    )
    if event.verdict != VERDICTS[said.outcome] and not stopped:
        case.blame("current-result", f"its verdict is {event.verdict}, and its attempt ended as {said.outcome}")
    if case.world.is_cancelled(one) or said.outcome in PASSED or said.outcome == "cancelled":
        return
    if said.outcome == "fenced":
        _judge_exhausted(case, one)
        spared = one.began and is_spared_fenced(case.world, one)
        case.require(not spared, "budgets", "it is given up, and the broker was away from everybody")
        return
    if said.error in NEVER_RETRIED:
        return
    allowed = _own(one.submitted.verdict_retries, case.world.policy.verdict_retries)
    case.require(
        one.verdict_used >= allowed, "budgets", f"it is final after {one.verdict_used} of {allowed} verdict retries"
    )


def _judge_without_result(case: Case, event: TaskCompleted, one: Task) -> None:
    if event.result_sequence or event.outcome is not None:
        case.blame(
            "current-result",
            f"it rests on a result at {event.result_sequence}, and the present attempt has reported none",
        )
    elif event.verdict == "crashed":
        if not one.began:
            case.blame("budgets", "it is blamed for the end of its worker, and had not started")
        elif not case.world.may_repair:
            case.blame("operator-obeyed", "recovery is off, and a task is given up with its worker")
        _judge_label(case, one)
        _judge_exhausted(case, one)
        case.require(not is_spared(case.world, one), "budgets", "it is given up, and its worker was lost with others")
    elif event.verdict not in ("cancelled", "quarantined"):
        case.blame("current-result", f"its verdict is {event.verdict}, and no attempt has reported that")


def _judge_exhausted(case: Case, one: Task) -> None:
    allowed = _own(one.submitted.infrastructure_retries, case.world.policy.infrastructure_retries)
    used = one.infrastructure_used
    case.require(used >= allowed, "budgets", f"it is given up after {used} of {allowed} infrastructure retries")


def _own(own: int | None, policy: int) -> int:
    return policy if own is None else own


def _other_attempt(one: Task, event: TaskRevoked) -> bool:
    return (event.worker_id, event.incarnation, event.attempt) != (one.worker_id, one.incarnation, one.attempt)


def _where(one: Task) -> str:
    if one.attempt == 0:
        return "it has had none yet"
    return f"attempt {one.attempt} of {one.worker_id} is {one.status}"
