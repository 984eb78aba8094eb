"""What is owed to workers: judgement of the silent, and attempts to bring back the failed."""

from collections.abc import Iterator

from events.base import Event
from events.clock import utc
from events.failures import CODES, FailureReason
from events.system import DetectorDegraded
from events.worker import (
    Evidence,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerRecoveryFailed,
    WorkerRecoveryProbed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRecoverySuperseded,
    WorkerRetired,
    WorkerSuspected,
    WorkerSuspicionRefuted,
)
from recovery.decisions import Decision, about
from recovery.entities import Attempt, Beat, CutOff, Worker
from recovery.flapping import expiry
from recovery.indexes import failed_after, owes_at, silent_until, suspect_after
from recovery.ladder import choose
from recovery.lifecycle import LIVE
from recovery.outages import failures as failures_in_outage
from recovery.repairs import acts
from recovery.schedule import backoff_s
from recovery.state import State

WITNESSES_MIN = 2
"""Live workers whose common silence speaks against the observer. The silence of a single one says as much of itself as
of whoever listens."""


def owed_to_workers(state: State, now: float) -> Iterator[Decision]:
    """What is owed to each; but when all have fallen silent at once, then to the observer first, who doubts itself."""
    doubting: bool | None = None
    for worker_id in state.timers.in_turn(now, lambda worker_id: owes_at(state, state.workers[worker_id])):
        decision = owed_to_worker(state, state.workers[worker_id], now)
        if decision is None:
            continue
        if decision.overdue:
            if doubting is None:
                silence = common_silence(state, now)
                doubting = silence > 0.0
                if doubting:
                    yield _doubt(state, silence)
            if doubting:
                continue
        yield decision


def common_silence(state: State, now: float) -> float:
    """For how many seconds no live worker has been heard, if that is suspicious and the leader has not said so yet
    (then silence counts from its doubt on, and it has none until somebody is heard again); else 0.0.

    Looks at as many workers as it takes to find one that is not silent.
    """
    recently = now - state.rules.suspect_after_min
    hint = state.workers.get(state.heard_last)
    if hint is not None and hint.status in LIVE and state.heard_at(hint) > recently:
        return 0.0
    live, heard = 0, 0.0
    for worker in state.workers.values():
        if worker.status in LIVE:
            if state.heard_at(worker) > recently:
                return 0.0
            live += 1
            beat = state.newest_beat(worker)
            if beat is not None and beat.sequence > state.watched_beat:
                heard = max(heard, beat.time)
    return now - heard if live >= WITNESSES_MIN and heard > state.watched_since else 0.0


def _doubt(state: State, silence: float) -> Decision:
    event = DetectorDegraded(
        reason="mass_silence",
        extent_s=round(silence, 6),
        heartbeats_sequence=state.heartbeats_sequence,
        coordinator_id=state.leader_id,
    )
    # Whoever knows of a better reason for the silence says that instead.
    return Decision(event, "all live workers are silent", overdue=True)


def owed_to_worker(state: State, worker: Worker, now: float) -> Decision | None:
    """At most one step a cycle; judgement comes first."""
    return judgement(state, worker, now) or _retirement(worker) or _repair(state, worker, now) or expiry(worker, now)


def _repair(state: State, worker: Worker, now: float) -> Decision | None:
    if state.may_repair:
        return next_step(state, worker, now)
    if worker.attempt is not None:
        # Left open it would keep a worker that is back from its work.
        by = "automatic recovery was switched off" if state.pause is None else "recovery was paused"
        return _superseded(worker, worker.attempt, by)
    return None


def _retirement(worker: Worker) -> Decision | None:
    """Whoever was told to end has ended, if not in order."""
    if worker.status != "failed" or not worker.leaving:
        return None
    event = WorkerRetired(
        worker_id=worker.worker_id, incarnation=worker.incarnation, reason="it was told to end, and failed before that"
    )
    return about(worker, event, "a worker that was to end is not brought back")


def judgement(state: State, worker: Worker, now: float) -> Decision | None:
    """Whether a worker is suspect, heard again, or failed."""
    if worker.status == "exited":
        evidence = Evidence(event_sequence=worker.exit_sequence)
        rule = "nothing is left of it" if worker.exit_reason == "disconnected" else "exit reported by the supervisor"
        return _failed(worker, worker.exit_reason, evidence, worker.exit_message, rule)
    if worker.status not in LIVE or now < silent_until(state, worker):
        return None
    beat = state.last_beat(worker) or state.presumed_beat(worker)
    newer = state.newer_beat(worker)
    if newer is not None:
        silence = _length(now, newer.time, state.silent_since(newer))
        evidence = _silence(newer.time, silence, failed_after(state, worker, newer), newer.sequence)
        message = f"its incarnation {newer.incarnation} beats, and has not registered"
        return _missed(worker, "silence", evidence, message, "registration of a newer incarnation missing")
    found = state.cut_off(worker)
    if worker.status == "alive" and found is not None:
        return _suspected_as_cut_off(state, worker, found, beat, now)
    if beat is None:
        silence = max(0.0, now - worker.registered_at)
        allowed = state.detector(worker, None).thresholds.first_heartbeat_timeout
        evidence = _silence(worker.registered_at, silence, allowed, 0)
        message = f"no heartbeat within {allowed:g} s of its registration"
        return _missed(worker, "no_first_heartbeat", evidence, message, "first heartbeat missing")
    last_seen = beat.time
    silence = _length(now, last_seen, state.silent_since(beat))
    if worker.status == "suspect":
        evidence = _silence(last_seen, silence, failed_after(state, worker, beat), beat.sequence)
        if beat.sequence > worker.suspected_beat:
            event = WorkerSuspicionRefuted(
                worker_id=worker.worker_id, incarnation=worker.incarnation, evidence=evidence
            )
            return _said_of(worker, event, "suspect was heard again")
        message = f"no heartbeat for {silence:.1f} s"
        return _missed(worker, "silence", evidence, message, "silence beyond failed_after")
    if worker.status in ("draining", "stalled"):
        evidence = _silence(last_seen, silence, failed_after(state, worker, beat), beat.sequence)
        message, rule = f"no heartbeat for {silence:.1f} s", f"silence while {worker.status}"
        return _missed(worker, "silence", evidence, message, rule)
    evidence = _silence(last_seen, silence, suspect_after(state, worker, beat), beat.sequence)
    suspected = WorkerSuspected(worker_id=worker.worker_id, incarnation=worker.incarnation, evidence=evidence)
    return _said_of(worker, suspected, "silence beyond suspect_after")._replace(overdue=True)


def _suspected_as_cut_off(state: State, worker: Worker, found: CutOff, beat: Beat | None, now: float) -> Decision:
    """No silence is held against it: the fact is enough to give it no new work, and not enough for more."""
    since = worker.registered_at if beat is None else beat.time
    evidence = Evidence(
        heartbeat_sequence=0 if beat is None else beat.sequence,
        last_seen=utc(since),
        silence_s=round(max(0.0, now - since), 6),
        threshold_s=state.policy.reconnect_grace,
        event_sequence=found.event_sequence,
    )
    event = WorkerSuspected(worker_id=worker.worker_id, incarnation=worker.incarnation, evidence=evidence)
    return _said_of(worker, event, "disconnected beyond reconnect_grace")


def _said_of(worker: Worker, event: Event, rule: str) -> Decision:
    """A judgement of its present incarnation."""
    return Decision(event, rule, worker.event_id, synthetic=worker.made_up)


def _length(now: float, last_seen: float, counts_from: float) -> float:
    """Of a silence: behind a clock that was set back, the last heartbeat may bear a time that is still to come."""
    return max(0.0, now - min(last_seen, counts_from))


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
        error=worker.exit_error if worker.status == "exited" else CODES[reason],
        message=message,
    )
    return _said_of(worker, event, rule)


def _missed(worker: Worker, reason: FailureReason, evidence: Evidence, message: str, rule: str) -> Decision:
    return _failed(worker, reason, evidence, message, rule)._replace(overdue=True)


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
        if attempt.error:
            return _superseded(worker, attempt, attempt.error)
        # One that does something waits for its turn (`recovery.decide_repairs`).
        waits = acts(attempt) or now < attempt.not_before
        return None if waits else attempt_started(state, worker, attempt, now)
    if worker.status == "failed":
        if attempt.error:
            return _attempt_failed(worker, attempt, attempt.error)
        if attempt.status == "probed" or worker.failed_incarnation != attempt.incarnation:
            return _attempt_failed(worker, attempt, f"it came back and failed again: {worker.failure_reason}")
        if now >= attempt.deadline:
            error = f"it did not register again ({attempt.strategy})"
            return _attempt_failed(worker, attempt, error)._replace(overdue=True)
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
    if attempt.status == "probed" and attempt.answered and state.last_beat(worker) is not None:
        succeeded = WorkerRecoverySucceeded(
            worker_id=worker.worker_id,
            incarnation=worker.incarnation,
            attempt=attempt.number,
            strategy=attempt.strategy,
            duration_s=max(0.0, round(now - worker.failed_at, 6)),
        )
        return about(worker, succeeded, "new incarnation registered, beats and answered")
    if attempt.status == "probed" and now >= attempt.deadline:
        beat = state.newest_beat(worker) or state.presumed_beat(worker)
        evidence = Evidence(heartbeat_sequence=0 if beat is None else beat.sequence)
        message = "it registered again and beats, but did not answer the probe"
        return _missed(worker, "unanswered", evidence, message, "new incarnation does not answer")
    return None


def _new_attempt(state: State, worker: Worker, now: float) -> Decision:
    policy = state.policy
    horizon = now - policy.recovery_attempts_window
    failures = sum(at > horizon for at in worker.attempts_failed)
    recent = sum(at > horizon for at in worker.attempts_ended)
    in_outage = failures_in_outage(state, worker)
    failures = failures if in_outage is None else in_outage
    if failures >= policy.max_recovery_attempts:
        event = WorkerPermanentlyFailed(
            worker_id=worker.worker_id,
            attempts=failures,
            message=f"{failures} attempts to bring it back failed within {policy.recovery_attempts_window:g} s",
        )
        return about(worker, event, "max_recovery_attempts used up")
    number = failures + 1
    wait = backoff_s(policy, recent, f"{worker.worker_id} {worker.failed_incarnation} {number} {recent}")
    attempts_left = policy.max_recovery_attempts - failures
    strategy, rule, considered = choose(state, worker, attempts_left=attempts_left, horizon=horizon)
    scheduled = WorkerRecoveryScheduled(
        worker_id=worker.worker_id,
        incarnation=worker.failed_incarnation,
        attempt=number,
        strategy=strategy,
        not_before=utc(now + wait),
        reason=worker.failure_reason,
        order=policy.strategy_order,
        considered=considered,
    )
    return about(worker, scheduled, rule)


def attempt_started(state: State, worker: Worker, attempt: Attempt, now: float) -> Decision:
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
