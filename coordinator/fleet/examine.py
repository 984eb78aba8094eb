"""From a folded state to what is said of its health. Pure: the time comes in."""

from collections import Counter
from heapq import nsmallest
from typing import NamedTuple

from coordinator.fleet.document import (
    WELL,
    Cordoned,
    Failure,
    FleetHealth,
    Forecast,
    LastDoubt,
    LastHeartbeat,
    Leader,
    Mistrust,
    OpenBreaker,
    OpenIncident,
    Recovery,
    RecoveryPause,
    Silence,
    Stalling,
    Stranded,
    StrategyRecord,
    Suspicion,
    WorkerHealth,
)
from coordinator.fleet.notes import Noted, Notes, Vitals, WorkerNotes
from events.base import WorkerEvent
from events.clock import utc
from events.forecast import WorkerFailurePredicted
from events.worker import (
    CordonCause,
    Evidence,
    WorkerCordoned,
    WorkerExited,
    WorkerFailed,
    WorkerStalled,
    WorkerSuspected,
)
from recovery.entities import Cordon, Worker
from recovery.indexes import silent_until
from recovery.lifecycle import LIVE
from recovery.predictions import Prediction
from recovery.state import State
from recovery.timers import AT_ONCE, NEVER

WORST_FIRST = ("permanent", "failed", "exited", "stalled", "suspect", "draining", "alive", "stopped")
DOUBTFUL = WORST_FIRST.index("draining")
"""Where those stand that live and have yet to prove it, or have been quiet for unusually long."""
UNHEARD_OF = WORST_FIRST.index("suspect")
ENDED = frozenset({"failed", "permanent", "exited"})


class View(NamedTuple):
    """All that is known at one time."""

    state: State
    notes: Notes
    vitals: Vitals
    now: float
    """Cluster time."""
    holds_lease: bool
    """Somebody has the lease."""


def fleet_health(view: View, *, limit: int | None = None) -> FleetHealth:
    """`limit`: how many workers are listed, the worst first; None: all. Costs as much as there are workers."""
    state = view.state
    by_status = Counter[str](worker.status for worker in state.workers.values())
    count = len(state.workers) if limit is None else limit
    worst = nsmallest(count, state.workers.values(), key=lambda worker: _rank(view, worker))
    status = state.measured_status()
    return FleetHealth(
        at=utc(view.now),
        healthy=status in WELL and view.holds_lease,
        status=status,
        workers_live=state.workers_live,
        workers_expected=state.workers_expected,
        by_status={name: by_status[name] for name in sorted(by_status, key=_severity)},
        leader=_leader(view),
        incidents=[
            OpenIncident(
                incident_id=one.incident_id,
                kind=one.kind,
                age_s=_age(view, one.started_at),
                affected_workers=one.affected_workers,
                affected_tasks=one.affected_tasks,
            )
            for one in state.incidents.values()
        ],
        breaker=_breaker(view),
        repairing=len(state.repairing),
        repairs_waiting=len(state.repairs),
        doubt=_doubt(view),
        mistrusted=[
            Mistrust(resource=resource, right=record.right, wrong=record.wrong)
            for resource, record in state.track_records.items()
            if not record.acts
        ],
        auto_recovery=state.policy.auto_recovery,
        detectors_missing=state.rules.missing,
        pause=_pause(view),
        strategy_order=state.policy.strategy_order,
        strategies=[
            StrategyRecord(
                reason=reason,
                strategy=strategy,
                succeeded=record.succeeded,
                failed=record.failed,
                estimate=round(record.estimate, 6),
            )
            for (reason, strategy), record in sorted(state.records.items())
        ],
        errors=dict(sorted(state.errors.items())),
        heartbeat_interval_s=state.rules.heartbeat_interval,
        stretch=state.rules.stretch,
        stranded=[
            Stranded(requires=dict(requires), tasks=len(need.tasks))
            for requires, need in state.needs.items()
            if need.unmet_since is not None
        ],
        events_sequence=state.events_sequence,
        heartbeats_sequence=state.heartbeats_sequence,
        workers=[_worker_health(view, worker) for worker in worst],
        omitted=dict(by_status - Counter[str](worker.status for worker in worst)),
    )


def _severity(status: str) -> int:
    return WORST_FIRST.index(status) if status in WORST_FIRST else UNHEARD_OF


def _rank(view: View, worker: Worker) -> tuple[int, str]:
    severity = _severity(worker.status)
    quiet = view.state.timers.get(worker.worker_id) <= view.now
    doubtful = quiet or worker.attempt is not None or worker.foresight.predictions or worker.cordons
    if worker.status == "alive" and doubtful:
        severity = DOUBTFUL
    return severity, worker.worker_id


def _age(view: View, time: float) -> float:
    """Behind a clock that was set back, what is past may bear a time that is still to come."""
    return round(max(0.0, view.now - time), 3)


def _leader(view: View) -> Leader:
    elected = view.notes.elected
    return Leader(
        coordinator_id=view.state.leader_id,
        term=view.state.term,
        elected_at=None if elected is None else utc(elected.time),
        age_s=0.0 if elected is None else _age(view, elected.time),
        holds_lease=view.holds_lease,
    )


def _pause(view: View) -> RecoveryPause | None:
    pause = view.state.pause
    if pause is None:
        return None
    return RecoveryPause(actor=pause.actor, reason=pause.reason, sequence=pause.sequence, age_s=_age(view, pause.since))


def _breaker(view: View) -> OpenBreaker | None:
    breaker = view.state.breaker
    if breaker.status == "closed":
        return None
    return OpenBreaker(
        status=breaker.status,
        times=breaker.times,
        opens_in_s=round(max(0.0, breaker.until - view.now), 3),
        probe=breaker.probe,
    )


def _doubt(view: View) -> LastDoubt | None:
    noted = view.notes.doubt
    if noted is None:
        return None
    event = noted.event
    return LastDoubt(
        reason=event.reason, extent_s=event.extent_s, sequence=noted.sequence, age_s=_age(view, noted.time)
    )


def _worker_health(view: View, worker: Worker) -> WorkerHealth:
    notes = view.notes.workers.get(worker.worker_id, WorkerNotes())
    turn = notes.of_id(worker.event_id)
    return WorkerHealth(
        worker_id=worker.worker_id,
        status=worker.status,
        since=None if turn is None else utc(turn.time),
        status_sequence=0 if turn is None else turn.sequence,
        detail="" if turn is None else _said(turn.event),
        incarnation=worker.incarnation,
        host=worker.host,
        slots=worker.slots,
        labels=worker.labels,
        tasks=len(worker.held),
        heartbeat=_heartbeat(view, worker),
        silence=_silence(view, worker),
        failure=_failure(view, worker, notes),
        suspicion=_suspicion(view, worker, notes.latest(WorkerSuspected)),
        stalling=_stalling(view, worker, notes.latest(WorkerStalled)),
        recovery=_recovery(view, worker),
        forecasts=[_forecast(view, notes, one) for one in worker.foresight.predictions.values()],
        cordons=[_cordoned(view, notes, cause, cordon) for cause, cordon in worker.cordons.items()],
    )


def _said(event: WorkerEvent) -> str:
    for name in ("message", "reason"):
        text = getattr(event, name, "")
        if text:
            return str(text)
    return ""


def _heartbeat(view: View, worker: Worker) -> LastHeartbeat | None:
    beat = view.state.last_beat(worker)
    heard = view.vitals.last(worker.worker_id)
    if heard is not None:
        sequence, time, content = heard
        if content.incarnation == worker.incarnation:
            return LastHeartbeat(sequence=sequence, stored_at=utc(time), age_s=_age(view, time), content=content)
    if beat is None:
        return None
    return LastHeartbeat(sequence=beat.sequence, stored_at=utc(beat.time), age_s=_age(view, beat.time), content=None)


def _silence(view: View, worker: Worker) -> Silence | None:
    if worker.status not in LIVE:
        return None
    heard_at = view.state.heard_at(worker)
    until = silent_until(view.state, worker)
    return Silence(
        seconds=_age(view, heard_at),
        threshold_s=None if until == AT_ONCE else round(max(0.0, until - heard_at), 3),
    )


def _failure(view: View, worker: Worker, notes: WorkerNotes) -> Failure | None:
    if worker.status not in ENDED:
        return None
    failed = notes.latest(WorkerFailed)
    exited = notes.latest(WorkerExited)
    if failed is None or failed.event.incarnation not in (None, worker.incarnation):
        return _exit(view, worker, notes)
    evidence = failed.event.evidence or Evidence()
    proven = exited is not None and exited.sequence == evidence.event_sequence
    return Failure(
        reason=failed.event.reason,
        sequence=failed.sequence,
        at=utc(failed.time),
        age_s=_age(view, failed.time),
        message=failed.event.message,
        evidence_sequence=evidence.event_sequence,
        exit_code=exited.event.exit_code if exited is not None and proven else None,
        signal=exited.event.signal if exited is not None and proven else None,
        silence_s=evidence.silence_s,
        threshold_s=evidence.threshold_s,
        synthetic=failed.synthetic,
    )


def _exit(view: View, worker: Worker, notes: WorkerNotes) -> Failure | None:
    """Of one whose end is proven, and that the leader has not declared failed yet."""
    turn = notes.of_id(worker.event_id)
    if turn is None:
        return None
    exited = turn.event if isinstance(turn.event, WorkerExited) else None
    return Failure(
        reason=worker.exit_reason,
        sequence=turn.sequence,
        at=utc(turn.time),
        age_s=_age(view, turn.time),
        message=worker.exit_message,
        evidence_sequence=worker.exit_sequence,
        exit_code=None if exited is None else exited.exit_code,
        signal=None if exited is None else exited.signal,
        synthetic=turn.synthetic,
    )


def _suspicion(view: View, worker: Worker, suspected: Noted[WorkerSuspected] | None) -> Suspicion | None:
    if worker.status != "suspect" or suspected is None:
        return None
    evidence = suspected.event.evidence
    return Suspicion(
        sequence=suspected.sequence,
        age_s=_age(view, suspected.time),
        silence_s=evidence.silence_s,
        threshold_s=evidence.threshold_s,
        disconnected=evidence.event_sequence > 0,
    )


def _stalling(view: View, worker: Worker, stalled: Noted[WorkerStalled] | None) -> Stalling | None:
    if worker.status != "stalled" or stalled is None:
        return None
    event = stalled.event
    return Stalling(
        cause=event.cause,
        sequence=stalled.sequence,
        age_s=_age(view, stalled.time),
        tasks=list(event.tasks),
        waited_s=event.waited_s,
        threshold_s=event.threshold_s,
        restart=event.restart,
    )


def _recovery(view: View, worker: Worker) -> Recovery | None:
    attempt = worker.attempt
    if attempt is None:
        return None
    due = attempt.not_before if attempt.status == "scheduled" else attempt.deadline
    return Recovery(
        attempt=attempt.number,
        attempts_max=view.state.policy.max_recovery_attempts,
        strategy=attempt.strategy,
        status=attempt.status,
        due_in_s=round(due - view.now, 3),
    )


def _cordoned(view: View, notes: WorkerNotes, cause: CordonCause, cordon: Cordon) -> Cordoned:
    """Of several at once, only of the last one it is known who said it, and why."""
    noted = notes.latest(WorkerCordoned)
    said = noted if noted is not None and noted.id == cordon.event_id else None
    return Cordoned(
        cause=cause,
        ends_in_s=None if cordon.until == NEVER else round(max(0.0, cordon.until - view.now), 3),
        sequence=0 if said is None else said.sequence,
        actor="" if said is None else said.event.actor,
        reason="" if said is None else said.event.reason,
    )


def _forecast(view: View, notes: WorkerNotes, one: Prediction) -> Forecast:
    """Of several at once, only of the last one it is known what it rests on."""
    noted = notes.latest(WorkerFailurePredicted)
    said = noted.event if noted is not None and noted.sequence == one.sequence else None
    return Forecast(
        resource=one.resource,
        sequence=one.sequence,
        value=one.value,
        limit=one.limit,
        slope_per_s=0.0 if said is None else said.slope_per_s,
        expected_in_s=round(one.expected_at - view.now, 3),
        heartbeats=(said.heartbeat_first, said.heartbeat_last) if said is not None and said.heartbeat_last else None,
        remedy=one.remedy,
        acted=one.acted,
    )
