"""Judging what was decided about workers."""

from events.clock import seconds
from events.worker import (
    RecordedHeartbeat,
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
from replay.invariants.attempts import judge_rung
from replay.invariants.case import Case
from replay.invariants.repair_world import Attempt
from replay.invariants.repairs import judge_beginning
from replay.invariants.silence import ROUNDING_S, patience
from replay.invariants.world import LIVE, Worker


def _worker(case: Case, worker_id: str) -> Worker | None:
    one = case.world.workers.get(worker_id)
    if one is None:
        case.blame("failed-on-evidence", "it has never registered")
        return None
    if one.decided == case.batch:
        case.blame("decided-once", "one batch decides twice about this worker")
    one.decided = case.batch
    return one


def judge_suspected(case: Case, event: WorkerSuspected) -> None:
    one = _worker(case, event.worker_id)
    if one is None:
        return
    if one.status != "alive" or event.incarnation != one.incarnation:
        case.blame("failed-on-evidence", f"incarnation {event.incarnation} is suspected, and {_standing(one)}")
        return
    case.labelled(one.made_up)
    evidence = event.evidence
    if evidence.event_sequence:
        _judge_cut_off(case, one, evidence.event_sequence)
        return
    heard = case.heard(one)
    threshold = patience(case, one, heard).suspect_after
    case.require(
        evidence.silence_s is not None and evidence.silence_s >= threshold,
        "failed-on-evidence",
        f"it is suspected after {evidence.silence_s} s: {threshold:g} are needed",
    )
    if heard.known:
        last = heard.last
        if last is None or last.sequence != evidence.heartbeat_sequence:
            case.blame("failed-on-evidence", _other_beat(evidence.heartbeat_sequence, last and last.sequence))
        else:
            _judge_silence(case, _heard_at(case, last), threshold)


def _judge_cut_off(case: Case, one: Worker, sequence: int) -> None:
    """Suspected at once: it has lost its connection, and has not been heard since."""
    case.require(
        sequence == one.disconnected_sequence,
        "failed-on-evidence",
        f"it is suspected for a disconnection at {sequence}; the log has {one.disconnected_sequence or 'none'}",
    )
    heard = case.heard(one)
    if heard.known and heard.beat is not None and heard.beat.sequence > one.disconnected_beat:
        case.blame("failed-on-evidence", "it is suspected for a disconnection, and was heard since")


def judge_refuted(case: Case, event: WorkerSuspicionRefuted) -> None:
    one = _worker(case, event.worker_id)
    if one is None:
        return
    if one.status != "suspect" or event.incarnation != one.incarnation:
        case.blame("failed-on-evidence", f"a suspicion is refuted, and {_standing(one)}")
    elif event.evidence.heartbeat_sequence <= one.suspected_beat:
        case.blame("failed-on-evidence", "a suspicion is refuted, and no heartbeat has come since")


def judge_failed(case: Case, event: WorkerFailed) -> None:
    one = _worker(case, event.worker_id)
    if one is None:
        return
    case.labelled(one.made_up)
    if event.incarnation != one.incarnation or (one.status not in LIVE and one.status != "exited"):
        case.blame("failed-on-evidence", f"incarnation {event.incarnation} is failed, and {_standing(one)}")
    elif event.reason in ("worker_exit", "worker_hung", "stalled", "disconnected"):
        reported = one.exit_sequence if one.status == "exited" else 0
        given = 0 if event.evidence is None else event.evidence.event_sequence
        case.require(
            reported != 0 and given == reported,
            "failed-on-evidence",
            f"it is failed for an end reported at {given}; the log has {reported or 'none'}",
        )
    elif event.reason == "no_first_heartbeat":
        _judge_first_heartbeat(case, one)
    elif event.reason == "silence":
        _judge_failed_silence(case, event, one)
    elif event.reason == "unanswered":
        _judge_unanswered(case, one)
    else:
        case.blame("failed-on-evidence", f"no leader fails a worker for {event.reason}")


def _judge_first_heartbeat(case: Case, one: Worker) -> None:
    heard = case.heard(one)
    if heard.last is not None or heard.newer is not None:
        case.blame("failed-on-evidence", "it is failed for want of a first heartbeat, and it was heard")
    _judge_silence(case, one.registered_at, patience(case, one, heard).first_heartbeat_timeout)


def _judge_failed_silence(case: Case, event: WorkerFailed, one: Worker) -> None:
    evidence = event.evidence
    heard = case.heard(one)
    threshold = patience(case, one, heard).failed_after
    if evidence is None or evidence.silence_s is None or evidence.silence_s < threshold:
        silence = None if evidence is None else evidence.silence_s
        case.blame("failed-on-evidence", f"it is failed after {silence} s of silence: {threshold:g} are needed")
        return
    if not heard.known:
        return
    last = heard.newer or heard.last
    if last is None or last.sequence != evidence.heartbeat_sequence:
        case.blame("failed-on-evidence", _other_beat(evidence.heartbeat_sequence, last and last.sequence))
        return
    _judge_silence(case, _heard_at(case, last), threshold)
    if heard.newer is not None:
        return
    if one.status == "alive":
        case.blame("failed-on-evidence", "it is failed for silence before it was suspected")
    elif one.status == "suspect" and last.sequence > one.suspected_beat:
        case.blame("failed-on-evidence", "it is failed for silence, and was heard since it was suspected")


def _heard_at(case: Case, beat: RecordedHeartbeat) -> float:
    """What was heard before the leader last doubted its own eyes counts from that doubt on."""
    return case.world.watched_since if beat.sequence <= case.world.watched_beat else beat.time


def _judge_silence(case: Case, heard_at: float, threshold: float) -> None:
    """Silence counts from the last sound, and from no further back than somebody watched."""
    silence = case.now - max(heard_at, case.world.watched_since)
    case.require(
        silence >= threshold - ROUNDING_S,
        "failed-on-evidence",
        f"it has been watched in silence for {silence:.3f} s: {threshold:g} are needed",
    )


def _judge_unanswered(case: Case, one: Worker) -> None:
    attempt = one.attempt
    if attempt is None or attempt.status != "probed" or attempt.answered or one.status == "exited":
        case.blame("failed-on-evidence", f"it is failed for a probe without an answer, and {_attempt(attempt)}")
    elif case.now < attempt.deadline:
        case.blame("failed-on-evidence", f"its probe has {attempt.deadline - case.now:.3f} s left to be answered")
    _judge_switch(case)


def judge_permanent(case: Case, event: WorkerPermanentlyFailed) -> None:
    one = _repaired(case, event.worker_id)
    if one is None:
        return
    if one.status != "failed" or one.attempt is not None:
        case.blame("attempts-end", f"it is given up, and {_standing(one)}; {_attempt(one.attempt)}")
    failures, _ = _recent(case, one)
    allowed = case.world.policy.max_recovery_attempts
    case.require(
        failures >= allowed and event.attempts == failures,
        "budgets",
        f"it is given up after {event.attempts} failed attempts; within the window there were {failures} of {allowed}",
    )


def judge_scheduled(case: Case, event: WorkerRecoveryScheduled) -> None:
    one = _repaired(case, event.worker_id)
    if one is None:
        return
    if one.status == "permanent":
        case.blame("operator-obeyed", "it was given up and nobody has re-admitted it")
    elif one.status != "failed":
        case.blame("attempts-end", f"an attempt to bring it back is scheduled, and it is {one.status}")
    if one.attempt is not None:
        case.blame("attempts-end", f"attempt {event.attempt} is scheduled, and {_attempt(one.attempt)}")
    if event.incarnation != one.failed_incarnation:
        case.blame(
            "attempts-end", f"it brings back incarnation {event.incarnation}; {one.failed_incarnation} has failed"
        )
    policy = case.world.policy
    failures, ends = _recent(case, one)
    allowed = policy.max_recovery_attempts
    case.require(failures < allowed, "budgets", f"{failures} of {allowed} attempts have failed within the window")
    case.require(event.attempt == failures + 1, "budgets", f"attempt {event.attempt} follows {failures} failed ones")
    judge_rung(case, one, event, failures)
    wait = seconds(event.not_before) - case.now
    most = min(policy.recovery_interval, policy.recovery_backoff * 2.0 ** min(ends - 1, 60)) if ends else 0.0
    case.require(
        -ROUNDING_S <= wait <= most + ROUNDING_S,
        "backoff",
        f"it waits {wait:.3f} s after {ends} attempts within the window: {most:g} s are the most",
    )


def judge_started(case: Case, event: WorkerRecoveryStarted) -> None:
    one = _repaired(case, event.worker_id)
    if one is None:
        return
    attempt = _stage(case, one, event.attempt, "scheduled")
    if one.status == "permanent":
        case.blame("operator-obeyed", "it was given up and nobody has re-admitted it")
    elif one.status != "failed":
        case.blame("attempts-end", f"an attempt to bring it back is started, and it is {one.status}")
    if attempt is not None:
        case.require(not attempt.hopeless, "attempts-end", "its attempt begins, and nobody is left to bring back so")
        judge_beginning(case, one, attempt)
    if attempt is not None and case.now < attempt.not_before - ROUNDING_S:
        case.blame("backoff", f"it begins {attempt.not_before - case.now:.3f} s before its time")
    case.require(seconds(event.deadline) > case.now, "attempts-end", "its deadline is over before it begins")


def judge_probed(case: Case, event: WorkerRecoveryProbed) -> None:
    one = _repaired(case, event.worker_id)
    if one is None:
        return
    _stage(case, one, event.attempt, "started")
    _judge_returned(case, one, event.incarnation)
    heard = case.heard(one)
    if heard.known and heard.beat is None:
        case.blame("success-proven", "it is asked for proof before it has been heard")


def judge_succeeded(case: Case, event: WorkerRecoverySucceeded) -> None:
    one = _repaired(case, event.worker_id)
    if one is None:
        return
    attempt = _stage(case, one, event.attempt, "probed")
    _judge_returned(case, one, event.incarnation)
    if attempt is None:
        return
    if not attempt.answered:
        case.blame("success-proven", "it has not answered its probe")
    heard = case.heard(one)
    if heard.known and heard.beat is None:
        case.blame("success-proven", "its new incarnation has not been heard")


def _judge_returned(case: Case, one: Worker, incarnation: int) -> None:
    if one.status not in LIVE or incarnation != one.incarnation:
        case.blame("success-proven", f"incarnation {incarnation} is not back: {_standing(one)}")


def judge_attempt_failed(case: Case, event: WorkerRecoveryFailed) -> None:
    one = _repaired(case, event.worker_id)
    if one is None:
        return
    attempt = _stage(case, one, event.attempt, "started", "probed")
    if attempt is None:
        return
    if one.status != "failed":
        case.blame("attempts-end", f"its attempt is called failed, and it is {one.status}")
    lost = attempt.spoiled or attempt.status == "probed" or attempt.incarnation != one.failed_incarnation
    if not lost and case.now < attempt.deadline:
        case.blame(
            "attempts-end", f"its attempt is called failed {attempt.deadline - case.now:.3f} s before its deadline"
        )


def judge_superseded(case: Case, event: WorkerRecoverySuperseded) -> None:
    one = _worker(case, event.worker_id)
    if one is None:
        return
    case.labelled(one.synthetic)
    attempt = _stage(case, one, event.attempt, "scheduled", "started", "probed")
    if attempt is None or not case.world.may_repair or one.status in ("stopped", "permanent"):
        return
    if not (attempt.hopeless or (attempt.status == "scheduled" and one.status in LIVE)):
        case.blame("attempts-end", f"attempt {attempt.number} has lost nothing: {_standing(one)}")


def _repaired(case: Case, worker_id: str) -> Worker | None:
    """The worker that is being brought back, by a leader that may do so."""
    one = _worker(case, worker_id)
    if one is not None:
        _judge_switch(case)
        case.labelled(one.synthetic)
        told_to_end = one.leaving and one.status == "failed"
        case.require(not told_to_end, "operator-obeyed", "it was told to end, and is being brought back")
    return one


def _judge_switch(case: Case) -> None:
    case.require(case.world.may_repair, "operator-obeyed", "recovery is off")


def _stage(case: Case, one: Worker, number: int, *stages: str) -> Attempt | None:
    attempt = one.attempt
    if attempt is None or attempt.number != number or attempt.status not in stages:
        case.blame("attempts-end", f"attempt {number} should be {' or '.join(stages)}, and {_attempt(attempt)}")
        return None
    return attempt


def _recent(case: Case, one: Worker) -> tuple[int, int]:
    """How many attempts have failed within the window, or in the present outage; how many have ended, in any way."""
    horizon = case.now - case.world.policy.recovery_attempts_window
    outage = case.world.outage
    failures = sum(at > horizon for at in one.failures)
    if outage is not None and case.world.lost_together(one.worker_id):
        failures = outage.failures.get(one.worker_id, 0)
    return failures, sum(at > horizon for at in one.ends)


def _standing(one: Worker) -> str:
    return f"incarnation {one.incarnation} is {one.status}"


def _attempt(attempt: Attempt | None) -> str:
    return "no attempt is open" if attempt is None else f"attempt {attempt.number} is {attempt.status}"


def _other_beat(given: int, last: int | None) -> str:
    return f"its evidence is heartbeat {given}, and its last one was {last or 'none'}"
