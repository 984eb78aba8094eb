"""What is owed to workers: judgement of the silent, and attempts to bring back the failed."""

from collections.abc import Iterator

from events.clock import utc
from events.worker import (
    Evidence,
    FailureReason,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerRecoveryFailed,
    WorkerRecoveryProbed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRecoverySuperseded,
    WorkerSuspected,
    WorkerSuspicionRefuted,
)
from recovery.decisions import Decision, about
from recovery.entities import Attempt, Worker
from recovery.indexes import silent_until
from recovery.lifecycle import LIVE
from recovery.schedule import backoff_s, strategy_for
from recovery.state import State


def owed_to_workers(state: State, now: float) -> Iterator[Decision]:
    for worker_id in state.timers.in_turn(now):
        decision = owed_to_worker(state, state.workers[worker_id], now)
        if decision is not None:
            yield decision


def owed_to_worker(state: State, worker: Worker, now: float) -> Decision | None:
    """At most one step a cycle; judgement comes first."""
    decision = judgement(state, worker, now)
    if decision is not None:
        return decision
    if state.policy.auto_recovery:
        return next_step(state, worker, now)
    if worker.attempt is not None:
        # Left open it would keep a worker that is back from its work.
        return _superseded(worker, worker.attempt, "automatic recovery was switched off")
    return None


def judgement(state: State, worker: Worker, now: float) -> Decision | None:
    """Whether a worker is suspect, heard again, or failed."""
    if worker.status == "exited":
        evidence = Evidence(event_sequence=worker.exit_sequence)
        return _failed(worker, worker.exit_reason, evidence, worker.exit_message, "exit reported by the supervisor")
    if worker.status not in LIVE or now < silent_until(state, worker):
        return None
    beat = state.last_beat(worker)
    policy = state.policy
    newer = state.newer_beat(worker)
    if newer is not None:
        evidence = _silence(newer.time, max(0.0, now - newer.time), policy.failed_after, newer.sequence)
        message = f"its incarnation {newer.incarnation} beats, and has not registered"
        return _failed(worker, "silence", evidence, message, "registration of a newer incarnation missing")
    last_seen = worker.registered_at if beat is None else beat.time
    silence = max(0.0, now - last_seen)
    if beat is None:
        evidence = _silence(worker.registered_at, silence, policy.first_heartbeat_timeout, 0)
        message = f"no heartbeat within {policy.first_heartbeat_timeout:g} s of its registration"
        return _failed(worker, "no_first_heartbeat", evidence, message, "first heartbeat missing")
    if worker.status == "suspect":
        evidence = _silence(last_seen, silence, policy.failed_after, beat.sequence)
        if beat.sequence > worker.suspected_beat:
            event = WorkerSuspicionRefuted(
                worker_id=worker.worker_id, incarnation=worker.incarnation, evidence=evidence
            )
            return Decision(event, "suspect was heard again", worker.event_id)
        message = f"no heartbeat for {silence:.1f} s"
        return _failed(worker, "silence", evidence, message, "silence beyond failed_after")
    if worker.status == "draining":
        evidence = _silence(last_seen, silence, policy.failed_after, beat.sequence)
        return _failed(worker, "silence", evidence, f"no heartbeat for {silence:.1f} s", "silence while draining")
    evidence = _silence(last_seen, silence, policy.suspect_after, beat.sequence)
    suspected = WorkerSuspected(worker_id=worker.worker_id, incarnation=worker.incarnation, evidence=evidence)
    return Decision(suspected, "silence beyond suspect_after", worker.event_id)


def _silence(last_seen: float, silence: float, threshold: float, sequence: int) -> Evidence:
    return Evidence(
        heartbeat_sequence=sequence, last_seen=utc(last_seen), silence_s=round(silence, 6), threshold_s=threshold
    )


def _failed(worker: Worker, reason: FailureReason, evidence: Evidence, message: str, rule: str) -> Decision:
    event = WorkerFailed(
        worker_id=worker.worker_id,
        incarnation=worker.incarnation,
        reason=reason,
        evidence=evidence,
        message=message,
    )
    return Decision(event, rule, worker.event_id)


def next_step(state: State, worker: Worker, now: float) -> Decision | None:
    """The next step of the attempt to bring a worker back; the first step is to schedule one."""
    attempt = worker.attempt
    if attempt is None:
        return _new_attempt(state, worker, now) if worker.status == "failed" else None
    if worker.status in ("stopped", "permanent"):
        return _superseded(worker, attempt, f"the worker is {worker.status} now")
    if attempt.status == "scheduled":
        if worker.status in LIVE:
            return _superseded(worker, attempt, "it came back by itself before the attempt began")
        return _started(state, worker, attempt, now) if now >= attempt.not_before else None
    if worker.status == "failed":
        if attempt.error:
            return _attempt_failed(worker, attempt, attempt.error)
        if attempt.status == "probed" or worker.failed_incarnation != attempt.incarnation:
            return _attempt_failed(worker, attempt, f"it came back and failed again: {worker.failure_reason}")
        if now >= attempt.deadline:
            return _attempt_failed(worker, attempt, f"it did not register again ({attempt.strategy})")
        return None
    return _verification(state, worker, attempt, now)


def _verification(state: State, worker: Worker, attempt: Attempt, now: float) -> Decision | None:
    """The worker has registered as a new incarnation: does it beat, and does it answer?

    One that never beats is failed by judgement. One that beats and does not answer cannot hear its orders either: it
    is failed here, and the attempt with it.
    """
    if attempt.status == "started" and state.last_beat(worker) is not None:
        event = WorkerRecoveryProbed(worker_id=worker.worker_id, incarnation=worker.incarnation, attempt=attempt.number)
        return about(worker, event, "new incarnation beats: verify")
    if attempt.status == "probed" and attempt.answered:
        succeeded = WorkerRecoverySucceeded(
            worker_id=worker.worker_id,
            incarnation=worker.incarnation,
            attempt=attempt.number,
            strategy=attempt.strategy,
            duration_s=max(0.0, round(now - worker.failed_at, 6)),
        )
        return about(worker, succeeded, "new incarnation registered, beats and answered")
    if attempt.status == "probed" and now >= attempt.deadline:
        evidence = Evidence(heartbeat_sequence=state.beats[worker.worker_id].sequence)
        message = "it registered again and beats, but did not answer the probe"
        return _failed(worker, "unknown", evidence, message, "new incarnation does not answer")
    return None


def _new_attempt(state: State, worker: Worker, now: float) -> Decision:
    policy = state.policy
    horizon = now - policy.recovery_attempts_window
    failures = sum(at > horizon for at in worker.attempts_failed)
    recent = sum(at > horizon for at in worker.attempts_ended)
    if failures >= policy.max_recovery_attempts:
        event = WorkerPermanentlyFailed(
            worker_id=worker.worker_id,
            attempts=failures,
            message=f"{failures} attempts to bring it back failed within {policy.recovery_attempts_window:g} s",
        )
        return about(worker, event, "max_recovery_attempts used up")
    number = failures + 1
    wait = backoff_s(policy, recent, f"{worker.worker_id} {worker.failed_incarnation} {number} {recent}")
    scheduled = WorkerRecoveryScheduled(
        worker_id=worker.worker_id,
        incarnation=worker.failed_incarnation,
        attempt=number,
        strategy=strategy_for(worker.failure_reason, number),
        not_before=utc(now + wait),
    )
    return about(worker, scheduled, "failed worker without an attempt")


def _started(state: State, worker: Worker, attempt: Attempt, now: float) -> Decision:
    event = WorkerRecoveryStarted(
        worker_id=worker.worker_id,
        incarnation=worker.failed_incarnation,
        attempt=attempt.number,
        strategy=attempt.strategy,
        deadline=utc(now + state.policy.recovery_attempt_timeout),
    )
    return about(worker, event, "attempt is due")


def _attempt_failed(worker: Worker, attempt: Attempt, error: str) -> Decision:
    event = WorkerRecoveryFailed(
        worker_id=worker.worker_id,
        incarnation=attempt.incarnation,
        attempt=attempt.number,
        strategy=attempt.strategy,
        error=error,
    )
    return about(worker, event, "attempt without success")


def _superseded(worker: Worker, attempt: Attempt, reason: str) -> Decision:
    event = WorkerRecoverySuperseded(
        worker_id=worker.worker_id,
        incarnation=attempt.incarnation,
        attempt=attempt.number,
        strategy=attempt.strategy,
        reason=reason,
    )
    return about(worker, event, "the attempt has lost its object")
