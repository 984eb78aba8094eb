"""Facts about the system as a whole."""

from events.base import Event
from events.clock import seconds
from events.envelope import Recorded
from events.failures import ErrorCode
from events.policy import Policy
from events.system import (
    BrokerReturned,
    CoordinatorStopped,
    DetectorDegraded,
    EventParked,
    FaultReported,
    LeaderElected,
    PaceChanged,
    PolicyChanged,
    QuarantineReleased,
    RecoveryPaused,
    RecoveryResumed,
    SystemRecoveryCompleted,
    SystemRecoveryStaged,
    SystemRecoveryStarted,
    SystemStatusChanged,
    WatchContinued,
)
from recovery import evolve_forecast, needs
from recovery.entities import Incident, Loss, Pause, Predecessor, Worker
from recovery.handlers import Handler
from recovery.incident_reports import obstacles
from recovery.indexes import index_breaker, index_worker
from recovery.outages import BROKER, FAILOVER, KIND, QUEUE, index_broker, note_opened, note_stage, open_stage
from recovery.pacing import dated
from recovery.poison import MASS, pardon, refile
from recovery.repair_entities import Returned
from recovery.state import State
from recovery.timers import AT_ONCE, NEVER


def leader_elected(state: State, recorded: Recorded, event: LeaderElected) -> bool:
    state.failover_unreported = state.term > 0 and state.leader_id is not None
    state.predecessor = None
    if state.leader_id is not None:
        undecided_s = max(0.0, round(recorded.time - state.decided_at, 6)) if state.decided_at else 0.0
        state.predecessor = Predecessor(state.leader_id, undecided_s)
    state.term = event.term
    state.leader_id = event.coordinator_id
    state.fencing_token = recorded.sequence
    # Nobody watched for a while: silence counts from here on, unless the heartbeats prove that they came all along.
    state.watched_since = state.taken_over = state.interrupted_at = recorded.time
    # Sequences mean little for long: a power loss may cost the heartbeats, and they are numbered from the start again.
    state.watched_beat = 0
    _index_all_workers(state)
    return True


def coordinator_stopped(state: State, recorded: Recorded, event: CoordinatorStopped) -> bool:
    del recorded
    if state.leader_id != event.coordinator_id:
        return False
    state.leader_id = None
    return True


def policy_changed(state: State, recorded: Recorded, event: PolicyChanged) -> bool:
    state.policy = event.policy
    state.policy_hash = event.policy_hash
    state.policy_recorded = True
    state.policy_actor = event.actor
    state.requeues_until = dated(state.policy, state.requeues_until, recorded.time)
    needs.date(state, recorded.time)
    for worker in state.workers.values():
        worker.unavailable = {}
    evolve_forecast.look_at_all(state)
    _change_rules(state, recorded.sequence, state.rules.stretch)
    refile(state, recorded.time)
    return True


def paused(state: State, recorded: Recorded, event: RecoveryPaused) -> bool:
    if state.pause is not None:
        return False
    state.pause = Pause(event.actor, event.reason, recorded.time, recorded.sequence)
    _index_all_workers(state)
    return True


def resumed(state: State, recorded: Recorded, event: RecoveryResumed) -> bool:
    del recorded, event
    if state.pause is None:
        return False
    state.pause = None
    _index_all_workers(state)
    return True


def pace_changed(state: State, recorded: Recorded, event: PaceChanged) -> bool:
    _change_rules(state, recorded.sequence, event.stretch)
    return True


def _change_rules(state: State, sequence: int, stretch: float) -> None:
    rules = state.rules
    rules.change(sequence, state.policy, stretch, unheard=not state.workers)
    for worker in state.workers.values():
        worker.detector = rules.detector(worker.worker_id, worker.labels)
        worker.hung_from = AT_ONCE if worker.running else NEVER
    index_broker(state)
    _index_all_workers(state)


def watch_continued(state: State, recorded: Recorded, event: WatchContinued) -> bool:
    del recorded
    if state.taken_over is None:
        return False
    state.watched_since = min(state.taken_over, max(seconds(event.since), state.distrusted_until))
    state.taken_over = None
    _index_all_workers(state)
    return True


def detector_degraded(state: State, recorded: Recorded, event: DetectorDegraded) -> bool:
    state.watched_since = state.distrusted_until = state.interrupted_at = recorded.time
    state.taken_over = None
    state.watched_beat = max(state.watched_beat, event.heartbeats_sequence)
    state.beats_known = max(state.beats_known, event.heartbeats_sequence)
    if event.reason == "heartbeats_lost":
        _forget_beats(state, recorded, event.heartbeats_sequence)
    state.requeues_until = dated(state.policy, state.requeues_until, recorded.time)
    needs.date(state, recorded.time)
    for worker in state.workers.values():
        _date(worker, recorded.time, state.policy)
    _date_breaker(state, recorded.time)
    _index_all_workers(state)
    return True


def _forget_beats(state: State, recorded: Recorded, through: int) -> None:
    """Sequences have begun again: those that stand for heartbeats are set to where the stream goes on."""
    state.watched_beat = state.beats_known = through
    state.loss = Loss(through, recorded.sequence, recorded.time)
    evolve_forecast.look_at_all(state)
    for worker in state.workers.values():
        # The heartbeat that refuted it, if there was one, is among the forgotten.
        worker.cut_off = None
        if worker.status == "suspect":
            worker.suspected_beat = through


def _date(worker: Worker, now: float, policy: Policy) -> None:
    """Brings the times of a worker into order after a look at a clock that may have leapt, either way, or while nobody
    looked: what is over is not in the future, and whoever has to come back by some time has time left."""
    worker.registered_at = min(worker.registered_at, now)
    worker.moved_at = min(worker.moved_at, now)
    worker.running = {name: run._replace(since=min(run.since, now)) for name, run in worker.running.items()}
    worker.revoked = {name: min(at, now) for name, at in worker.revoked.items()}
    worker.hung_from = AT_ONCE if worker.running else NEVER
    if worker.stall is not None:
        worker.stall = worker.stall._replace(since=min(worker.stall.since, now))
    worker.failed_at = min(worker.failed_at, now)
    worker.recovered_at = min(worker.recovered_at, now)
    evolve_forecast.date(worker, now, policy)
    worker.attempts_failed = tuple(min(at, now) for at in worker.attempts_failed)
    worker.attempts_ended = tuple(min(at, now) for at in worker.attempts_ended)
    worker.flaps = tuple(min(at, now) for at in worker.flaps)
    latest = now + policy.flap_cordon_max
    worker.flap_cordoned_until = min(worker.flap_cordoned_until, latest)
    if "forecast" in worker.cordons:
        cordon = worker.cordons["forecast"]
        worker.cordons["forecast"] = cordon._replace(until=min(cordon.until, now + policy.forecast_cooldown))
    if "flapping" in worker.cordons:
        cordon = worker.cordons["flapping"]
        worker.cordons["flapping"] = cordon._replace(until=min(cordon.until, latest))
    worker.rungs_failed = tuple(rung._replace(at=min(rung.at, now)) for rung in worker.rungs_failed)
    attempt = worker.attempt
    if attempt is None:
        return
    if attempt.status == "scheduled":
        attempt.not_before = min(attempt.not_before, now + policy.recovery_interval)
    else:
        longest = max(policy.recovery_attempt_timeout, policy.failed_after)
        attempt.deadline = min(max(attempt.deadline, now + policy.failed_after), now + longest)


def _date_breaker(state: State, now: float) -> None:
    for worker_id, lost in state.lost_lately.items():
        state.lost_lately[worker_id] = lost._replace(at=min(lost.at, now))
    for task_id, charge in state.charged_lately.items():
        state.charged_lately[task_id] = charge._replace(at=min(charge.at, now))
    if state.outage is not None:
        state.outage.since = min(state.outage.since, now)
    state.moved_at = min(state.moved_at, now)
    if state.returned is not None:
        state.returned = state.returned._replace(at=min(state.returned.at, now))
    index_broker(state)
    breaker = state.breaker
    breaker.until = min(breaker.until, now + state.policy.breaker_open_max)
    for worker_id, end in breaker.ends.items():
        breaker.ends[worker_id] = end._replace(at=min(end.at, now))
    index_breaker(state)


def _index_all_workers(state: State) -> None:
    for worker in state.workers.values():
        index_worker(state, worker)


def status_changed(state: State, recorded: Recorded, event: SystemStatusChanged) -> bool:
    del recorded
    state.status = event.status
    return True


def recovery_started(state: State, recorded: Recorded, event: SystemRecoveryStarted) -> bool:
    if event.incident_kind in state.incidents:
        return False
    if event.incident_kind == FAILOVER:
        state.failover_unreported = False
    if event.incident_kind == KIND:
        note_opened(state, recorded)
    if event.incident_kind == BROKER:
        state.outage_unreported = False
        index_broker(state)
    state.incidents[event.incident_kind] = Incident(
        incident_id=event.incident_id,
        kind=event.incident_kind,
        status=event.status,
        started_at=recorded.time,
        affected_workers=event.affected_workers,
        affected_tasks=event.affected_tasks,
        event_id=recorded.id,
        synthetic=recorded.synthetic,
    )
    if event.incident_kind == QUEUE:
        incident = state.incidents[QUEUE]
        incident.stood_still_from, incident.obstacles = max(state.moved_at, state.interrupted_at), obstacles(state)
    if event.incident_kind in MASS and event.affected_workers > 1 and recorded.synthetic is None:
        pardon(state, recorded.time)
    _count_error(state, recorded, event.error)
    return True


def fault_reported(state: State, recorded: Recorded, event: FaultReported) -> bool:
    _count_error(state, recorded, event.error)
    return True


def _count_error(state: State, recorded: Recorded, error: ErrorCode | None) -> None:
    if error is not None and recorded.synthetic is None:
        state.errors[error] += 1


def quarantine_released(state: State, recorded: Recorded, event: QuarantineReleased) -> bool:
    del recorded
    return state.quarantine.pop(event.key, None) is not None


def recovery_completed(state: State, recorded: Recorded, event: SystemRecoveryCompleted) -> bool:
    del recorded
    incident = state.incidents.get(event.incident_kind)
    if incident is None or incident.incident_id != event.incident_id:
        return False
    del state.incidents[event.incident_kind]
    if event.incident_kind == KIND:
        state.outage = None
    return True


def broker_returned(state: State, recorded: Recorded, event: BrokerReturned) -> bool:
    before = state.returned
    if before is not None and seconds(event.since) <= before.at:
        return False  # another leader has said it, and this one was kept for long
    state.returned = Returned(recorded.time, recorded.sequence, event.away_s, recorded.id, recorded.synthetic)
    state.outage_unreported = BROKER not in state.incidents
    index_broker(state)
    return True


def recovery_staged(state: State, recorded: Recorded, event: SystemRecoveryStaged) -> bool:
    incident, outage = state.incidents.get(KIND), state.outage
    if incident is None or outage is None or incident.incident_id != event.incident_id:
        return False
    workers = tuple(name for name in event.workers if name in state.attempts)
    if event.stage != outage.stage + 1 or open_stage(outage) is not None or not workers:
        return False
    note_stage(state, workers, recorded.time)
    return True


def event_parked(state: State, recorded: Recorded, event: EventParked) -> bool:
    del recorded
    return state.parked.pop(event.sequence, None) is not None


HANDLERS: dict[type[Event], Handler] = {
    LeaderElected: leader_elected,
    CoordinatorStopped: coordinator_stopped,
    PolicyChanged: policy_changed,
    RecoveryPaused: paused,
    RecoveryResumed: resumed,
    BrokerReturned: broker_returned,
    PaceChanged: pace_changed,
    WatchContinued: watch_continued,
    DetectorDegraded: detector_degraded,
    SystemStatusChanged: status_changed,
    SystemRecoveryStarted: recovery_started,
    SystemRecoveryStaged: recovery_staged,
    SystemRecoveryCompleted: recovery_completed,
    EventParked: event_parked,
    FaultReported: fault_reported,
    QuarantineReleased: quarantine_released,
}
