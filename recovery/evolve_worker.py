"""Facts about workers. What is tried to bring them back: `recovery.evolve_attempt`."""

from events.base import Event
from events.envelope import Recorded
from events.failures import CODES, FOR_THE_LIVING, PROVEN
from events.worker import (
    WorkerDisconnected,
    WorkerDraining,
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerReadmitted,
    WorkerRegistered,
    WorkerStalled,
    WorkerStallRefuted,
    WorkerStopped,
    WorkerSuspected,
    WorkerSuspicionRefuted,
    WorkerVanished,
)
from recovery.apart import note_end, release_held
from recovery.entities import CutOff, Stall, Worker
from recovery.exits import DETAIL_MAX, how_it_exited, why_it_exited
from recovery.fitness import clear, note_restart, passed_elsewhere
from recovery.flapping import forgive
from recovery.handlers import Handler
from recovery.indexes import index_availability, index_made_up, index_worker, load_level
from recovery.lifecycle import ATTEMPT, COUNTED_LIVE, EXPECTED, LEAVING, LIVE, WORKER, WorkerStatus
from recovery.needs import count_labels
from recovery.outages import note_change
from recovery.state import State


def _change(state: State, worker: Worker, status: WorkerStatus, recorded: Recorded) -> None:
    """Moves a worker to another status and keeps the counts."""
    if (status in EXPECTED) != (worker.status in EXPECTED):
        count_labels(state, worker.labels, 1 if status in EXPECTED else -1, recorded.time)
    state.workers_live += (status in COUNTED_LIVE) - (worker.status in COUNTED_LIVE)
    state.workers_expected += (status in EXPECTED) - (worker.status in EXPECTED)
    worker.leaving = worker.leaving and status in LEAVING
    before, worker.status = worker.status, status
    note_change(state, worker, before, recorded)


def _finish(state: State, worker: Worker, level: int | None) -> bool:
    index_availability(state, worker, was=level)
    index_worker(state, worker)
    return True


def registered(state: State, recorded: Recorded, event: WorkerRegistered) -> bool:
    worker = state.workers.get(event.worker_id)
    if worker is None:
        worker = Worker(
            worker_id=event.worker_id,
            status="stopped",
            incarnation=0,
            ordinal=0,
            slots=event.slots,
            labels={},
            host="",
            registered_at=0.0,
            event_id="",
            detector=state.rules.detector(event.worker_id, event.labels),
        )
        state.workers[event.worker_id] = worker
    level = load_level(worker)
    if level is not None:
        # Its capacity may change with the registration: out, and in again.
        worker_before = worker.status
        worker.status = "stopped"
        index_availability(state, worker, was=level)
        worker.status = worker_before
    status = WORKER[worker.status, WorkerRegistered]
    if worker.attempt is not None:
        # Another incarnation than the one that was probed: it has to prove itself anew.
        attempt_status = ATTEMPT.get((worker.attempt.status, WorkerRegistered))
        worker.attempt.status = attempt_status or worker.attempt.status
        worker.attempt.answered = False
    worker.incarnation = recorded.sequence
    worker.ordinal += 1
    worker.slots = event.slots
    if worker.status in EXPECTED:
        count_labels(state, worker.labels, -1, recorded.time)
        count_labels(state, event.labels, 1, recorded.time)
    worker.labels = event.labels
    worker.detector = state.rules.detector(event.worker_id, event.labels)
    worker.host = event.host
    worker.machine, worker.lifeline = event.machine, event.lifeline
    worker.cut_off = None
    worker.registered_at = worker.moved_at = recorded.time
    worker.stall = None
    worker.event_id = recorded.id
    _change(state, worker, status, recorded)
    release_held(state, worker, recorded)
    index_made_up(state, worker)
    return _finish(state, worker, None)


def transition(
    state: State, recorded: Recorded, worker_id: str, incarnation: int | None, kind: type[Event]
) -> Worker | None:
    """The part that all changes of status share; None: this one fits no row, or speaks of an old incarnation."""
    worker = state.workers.get(worker_id)
    if worker is None or (incarnation is not None and incarnation != worker.incarnation):
        return None
    status = WORKER.get((worker.status, kind))
    if status is None:
        return None
    level = load_level(worker)
    before = worker.status
    _change(state, worker, status, recorded)
    worker.event_id = recorded.id
    if before in LIVE and status not in LIVE:
        note_end(state, worker, recorded, draining=before == "draining")
        release_held(state, worker, recorded)
    index_made_up(state, worker)
    index_availability(state, worker, was=level)
    return worker


def exited(state: State, recorded: Recorded, event: WorkerExited) -> bool:
    if event.incarnation == 0:
        return _exited_unregistered(state, event)
    known = state.workers.get(event.worker_id)
    if known is not None and known.status == "failed" and not _proves_more(known, recorded):
        return False
    worker = transition(state, recorded, event.worker_id, event.incarnation, WorkerExited)
    if worker is None:
        return False
    worker.exit_reason = why_it_exited(event)
    worker.exit_error = event.error or CODES[worker.exit_reason]
    worker.exit_sequence = recorded.sequence
    worker.exit_message = how_it_exited(event)
    _note_end(worker)
    if worker.status in ("failed", "permanent"):
        worker.failure_reason = worker.exit_reason
        _wait_no_longer(worker, recorded)
    index_worker(state, worker)
    return True


def vanished(state: State, recorded: Recorded, event: WorkerVanished) -> bool:
    worker = transition(state, recorded, event.worker_id, event.incarnation, WorkerVanished)
    if worker is None:
        return False
    worker.exit_reason = "disconnected"
    worker.exit_error = CODES["disconnected"]
    worker.exit_sequence = recorded.sequence
    how = f"its connections were closed ({event.reason[:DETAIL_MAX]})" if event.reason else "it is not heard"
    worker.exit_message = f"{how}, and nothing is left of it on its machine"
    index_worker(state, worker)
    return True


def disconnected(state: State, recorded: Recorded, event: WorkerDisconnected) -> bool:
    worker = state.workers.get(event.worker_id)
    if worker is None or event.incarnation != worker.incarnation or worker.status != "alive":
        return False
    worker.cut_off = CutOff(event.heartbeat_sequence, recorded.sequence)
    index_worker(state, worker)
    return True


def _note_end(worker: Worker) -> None:
    """One that is excluded stays so, however it ends. Re-admitted, it has to be brought back."""
    if worker.status == "permanent":
        worker.failed_incarnation = worker.incarnation


def _exited_unregistered(state: State, event: WorkerExited) -> bool:
    """An agent that an attempt had started ended before it could register: the attempt need not wait any longer."""
    worker = state.workers.get(event.worker_id)
    if worker is None or worker.attempt is None or worker.attempt.status != "started" or worker.status in LIVE:
        return False
    worker.attempt.error = f"a new agent was started, but {how_it_exited(event)} before it registered"
    index_worker(state, worker)
    return True


def _proves_more(failed: Worker, recorded: Recorded) -> bool:
    """It was given up for less than a proof, and this is one. A drill says nothing about a failure that was real."""
    drill = recorded.synthetic is not None and failed.synthetic is None
    return failed.failure_reason not in PROVEN and not drill


def _wait_no_longer(worker: Worker, recorded: Recorded) -> None:
    """There is nobody left to wait for. Its end has just been noted."""
    attempt = worker.attempt
    if attempt is not None and attempt.strategy in FOR_THE_LIVING and not attempt.error:
        attempt.error = f"there is nobody to wait for: {worker.exit_message}"
        attempt.event_id = recorded.id


def failed(state: State, recorded: Recorded, event: WorkerFailed) -> bool:
    worker = transition(state, recorded, event.worker_id, event.incarnation, WorkerFailed)
    if worker is None:
        return False
    if worker.recovered_at and recorded.time - worker.recovered_at >= state.policy.attempts_reset_after:
        _forget_attempts(worker)
    worker.recovered_at = 0.0
    if event.reason == "stalled" and worker.stall is not None and worker.stall.cause == "failing_fast":
        note_restart(worker, recorded.time)
    if worker.attempt is not None and worker.attempt.status != "scheduled":
        worker.attempt.error = f"it came back and failed again: {(event.message or event.reason)[:DETAIL_MAX]}"
    worker.failed_incarnation = worker.incarnation
    worker.failed_at = recorded.time
    worker.failure_reason = event.reason
    if recorded.synthetic is None:
        state.errors[event.error or CODES[event.reason]] += 1
    worker.failure_id = recorded.id
    worker.synthetic = recorded.synthetic
    index_made_up(state, worker)
    index_worker(state, worker)
    return True


def stalled(state: State, recorded: Recorded, event: WorkerStalled) -> bool:
    worker = transition(state, recorded, event.worker_id, event.incarnation, WorkerStalled)
    if worker is None:
        return False
    passed = 0 if worker.row is None else passed_elsewhere(worker.row)
    worker.stall = Stall(event.cause, event.restart, recorded.time, recorded.sequence, passed)
    worker.idled = ()
    index_worker(state, worker)
    return True


def stall_refuted(state: State, recorded: Recorded, event: WorkerStallRefuted) -> bool:
    worker = transition(state, recorded, event.worker_id, event.incarnation, WorkerStallRefuted)
    if worker is None:
        return False
    worker.stall = None
    worker.moved_at = recorded.time
    clear(state, worker)
    index_worker(state, worker)
    return True


def suspected(state: State, recorded: Recorded, event: WorkerSuspected) -> bool:
    worker = transition(state, recorded, event.worker_id, event.incarnation, WorkerSuspected)
    if worker is None:
        return False
    worker.suspected_beat = event.evidence.heartbeat_sequence
    worker.cut_off = None
    index_worker(state, worker)
    return True


def _simple(state: State, recorded: Recorded, event: WorkerSuspicionRefuted | WorkerDraining | WorkerStopped) -> bool:
    worker = transition(state, recorded, event.worker_id, event.incarnation, type(event))
    if worker is None:
        return False
    worker.cut_off = None
    if isinstance(event, WorkerStopped):
        _note_end(worker)
    elif isinstance(event, WorkerSuspicionRefuted):
        worker.moved_at = recorded.time  # while it was not heard it may have begun nothing
    index_worker(state, worker)
    return True


def permanently_failed(state: State, recorded: Recorded, event: WorkerPermanentlyFailed) -> bool:
    worker = transition(state, recorded, event.worker_id, None, WorkerPermanentlyFailed)
    if worker is None:
        return False
    index_worker(state, worker)
    return True


def readmitted(state: State, recorded: Recorded, event: WorkerReadmitted) -> bool:
    worker = transition(state, recorded, event.worker_id, None, WorkerReadmitted)
    if worker is None:
        return False
    _forget_attempts(worker)
    worker.unavailable = {}
    worker.on_trial = False
    forgive(worker)
    if worker.incarnation > worker.failed_incarnation:
        # It came back by itself while it was excluded.
        _change(state, worker, "alive", recorded)
        index_made_up(state, worker)
    return _finish(state, worker, None)


def _forget_attempts(worker: Worker) -> None:
    worker.attempts_failed = ()
    worker.attempts_ended = ()
    worker.rungs_failed = ()
    worker.fast_stalls = 0


HANDLERS: dict[type[Event], Handler] = {
    WorkerRegistered: registered,
    WorkerExited: exited,
    WorkerVanished: vanished,
    WorkerDisconnected: disconnected,
    WorkerFailed: failed,
    WorkerStalled: stalled,
    WorkerStallRefuted: stall_refuted,
    WorkerSuspected: suspected,
    WorkerSuspicionRefuted: _simple,
    WorkerDraining: _simple,
    WorkerStopped: _simple,
    WorkerPermanentlyFailed: permanently_failed,
    WorkerReadmitted: readmitted,
}
