"""How the ledger reads what is recorded about workers, and what may not be recorded about them."""

from events.base import Event
from events.worker import (
    WorkerCordoned,
    WorkerDisconnected,
    WorkerDraining,
    WorkerDrainRequested,
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerProbeAnswered,
    WorkerReadmitted,
    WorkerRecoveryFailed,
    WorkerRecoveryProbed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRecoverySuperseded,
    WorkerRegistered,
    WorkerRetired,
    WorkerStalled,
    WorkerStallRefuted,
    WorkerStopped,
    WorkerSuspected,
    WorkerSuspicionRefuted,
    WorkerUncordoned,
    WorkerVanished,
)
from tests.simulation.exhaustive.entries import LIVE, Ledger, Repair, RepairStage, Standing, Violation, WorkerEntry
from tests.simulation.exhaustive.readings_tasks import Reading


def _registered(ledger: Ledger, event: WorkerRegistered, sequence: int) -> bool:
    worker = ledger.workers[event.worker_id]
    if worker.standing != "permanent":
        worker.standing = "alive"
    worker.former, worker.incarnation = worker.incarnation, sequence
    worker.leaving = False
    if worker.repair is not None and worker.repair.stage == "probed":
        worker.repair = Repair(worker.repair.number, "started")
    return True


MOVES: dict[type[Event], tuple[frozenset[Standing], Standing]] = {
    WorkerSuspected: (frozenset({"alive"}), "suspect"),
    WorkerSuspicionRefuted: (frozenset({"suspect"}), "alive"),
    WorkerStalled: (frozenset({"alive", "stalled"}), "stalled"),
    WorkerStallRefuted: (frozenset({"stalled"}), "alive"),
    WorkerDraining: (LIVE, "draining"),
    WorkerRetired: (frozenset({"failed"}), "stopped"),
    WorkerStopped: (LIVE | {"exited", "failed"}, "stopped"),
    WorkerExited: (LIVE, "exited"),
    WorkerVanished: (LIVE, "exited"),
    WorkerFailed: (LIVE | {"exited"}, "failed"),
}


Move = (
    WorkerSuspected
    | WorkerSuspicionRefuted
    | WorkerStalled
    | WorkerStallRefuted
    | WorkerDraining
    | WorkerRetired
    | WorkerStopped
    | WorkerExited
    | WorkerVanished
    | WorkerFailed
)


def _moved(ledger: Ledger, event: Move, _: int) -> bool:
    worker = ledger.workers[event.worker_id]
    if worker.standing == "absent" or event.incarnation not in (None, worker.incarnation):
        return False
    if worker.standing == "permanent" and isinstance(event, (WorkerStopped, WorkerExited)):
        worker.failed_incarnation = worker.incarnation
        worker.end_proven |= isinstance(event, WorkerExited)
        return True
    before, after = MOVES[type(event)]
    if worker.standing not in before:
        return False
    if isinstance(event, WorkerRetired) and not worker.leaving:
        raise Violation(f"{event.worker_id} is retired, and nobody has told it to end")
    worker.standing = after
    worker.leaving &= after != "stopped"
    if isinstance(event, WorkerFailed):
        worker.failed_incarnation = worker.incarnation
        worker.end_proven = event.reason in ("worker_exit", "worker_hung", "stalled", "disconnected")
    return True


def _drain_requested(ledger: Ledger, event: WorkerDrainRequested, _: int) -> bool:
    worker = ledger.workers[event.worker_id]
    heard = LIVE if event.restart else LIVE | {"exited", "failed"}
    if worker.standing not in heard or event.incarnation not in (None, worker.incarnation):
        return False
    worker.leaving |= not event.restart
    if worker.standing in LIVE:
        worker.standing = "draining"
    return True


def _exited(ledger: Ledger, event: WorkerExited, sequence: int) -> bool:
    worker = ledger.workers[event.worker_id]
    if event.incarnation and worker.standing == "failed":
        news = event.incarnation == worker.incarnation and not worker.end_proven
        worker.end_proven |= news
        return news
    if event.incarnation:
        return _moved(ledger, event, sequence)
    return worker.repair is not None and worker.repair.stage == "started" and worker.standing not in LIVE


def _disconnected(ledger: Ledger, event: WorkerDisconnected, _: int) -> bool:
    worker = ledger.workers[event.worker_id]
    return worker.standing == "alive" and worker.incarnation == event.incarnation


def _permanently_failed(ledger: Ledger, event: WorkerPermanentlyFailed, _: int) -> bool:
    worker = ledger.workers[event.worker_id]
    if worker.repair is not None:
        raise Violation(f"{event.worker_id} is given up during {worker.repair}")
    if worker.standing != "failed":
        return False
    if worker.leaving:
        raise Violation(f"{event.worker_id} is given up, and it was told to end")
    worker.standing = "permanent"
    return True


def _readmitted(ledger: Ledger, event: WorkerReadmitted, _: int) -> bool:
    worker = ledger.workers[event.worker_id]
    if worker.standing != "permanent":
        return False
    worker.standing = "alive" if worker.incarnation > worker.failed_incarnation else "failed"
    worker.failures = 0
    return True


def _cordoned(ledger: Ledger, event: WorkerCordoned, _: int) -> bool:
    if event.cause != "operator":
        raise Violation(f"{event.worker_id} is cordoned by a rule that no policy has")
    ledger.workers[event.worker_id].cordoned = True
    return True


def _uncordoned(ledger: Ledger, event: WorkerUncordoned, _: int) -> bool:
    if not event.actor:
        raise Violation(f"{event.worker_id} is released, and nobody said so")
    ledger.workers[event.worker_id].cordoned = False
    return True


def _scheduled(ledger: Ledger, event: WorkerRecoveryScheduled, _: int) -> bool:
    worker = ledger.workers[event.worker_id]
    if event.attempt > ledger.limits.recovery_attempts:
        raise Violation(f"{event.worker_id} gets attempt {event.attempt}")
    if worker.repair is not None:
        raise Violation(f"{event.worker_id} gets another attempt during {worker.repair}")
    if worker.leaving:
        raise Violation(f"{event.worker_id} is to be brought back, and it was told to end")
    if event.incarnation != worker.failed_incarnation:
        return False
    worker.repair = Repair(event.attempt)
    return True


def _repair(worker: WorkerEntry, number: int, *stages: RepairStage) -> Repair | None:
    repair = worker.repair
    return repair if repair is not None and repair.number == number and repair.stage in stages else None


def _repair_started(ledger: Ledger, event: WorkerRecoveryStarted, _: int) -> bool:
    worker = ledger.workers[event.worker_id]
    repair = _repair(worker, event.attempt, "scheduled")
    if repair is None:
        return False
    worker.repair = repair._replace(stage="started")
    return True


def _probed(ledger: Ledger, event: WorkerRecoveryProbed, _: int) -> bool:
    worker = ledger.workers[event.worker_id]
    repair = _repair(worker, event.attempt, "started")
    if repair is None:
        return False
    worker.repair = repair._replace(stage="probed")
    return True


def _answered(ledger: Ledger, event: WorkerProbeAnswered, _: int) -> bool:
    worker = ledger.workers[event.worker_id]
    repair = _repair(worker, event.attempt, "probed")
    if repair is None or event.incarnation != worker.incarnation:
        return False
    worker.repair = repair._replace(answered=True)
    return True


def _succeeded(ledger: Ledger, event: WorkerRecoverySucceeded, _: int) -> bool:
    worker = ledger.workers[event.worker_id]
    repair = _repair(worker, event.attempt, "probed")
    if repair is None:
        return False
    if not repair.answered or event.incarnation != worker.incarnation:
        raise Violation(f"{event} without an answer of the present incarnation: {worker}")
    worker.repair = None
    worker.failures = 0
    return True


def _repair_failed(ledger: Ledger, event: WorkerRecoveryFailed, _: int) -> bool:
    worker = ledger.workers[event.worker_id]
    if _repair(worker, event.attempt, "started", "probed") is None:
        return False
    worker.repair = None
    worker.failures += 1
    # Behind a mass loss attempts are counted apart, up to the same limit.
    if worker.failures > 2 * ledger.limits.recovery_attempts:
        raise Violation(f"{event.worker_id} has had {worker.failures} attempts in a row that failed")
    return True


def _superseded(ledger: Ledger, event: WorkerRecoverySuperseded, _: int) -> bool:
    worker = ledger.workers[event.worker_id]
    if _repair(worker, event.attempt, "scheduled", "started", "probed") is None:
        return False
    worker.repair = None
    return True


WORKER_READINGS: dict[type[Event], Reading] = {
    WorkerRegistered: _registered,
    WorkerSuspected: _moved,
    WorkerSuspicionRefuted: _moved,
    WorkerStalled: _moved,
    WorkerStallRefuted: _moved,
    WorkerDrainRequested: _drain_requested,
    WorkerDraining: _moved,
    WorkerRetired: _moved,
    WorkerStopped: _moved,
    WorkerExited: _exited,
    WorkerVanished: _moved,
    WorkerDisconnected: _disconnected,
    WorkerFailed: _moved,
    WorkerPermanentlyFailed: _permanently_failed,
    WorkerReadmitted: _readmitted,
    WorkerCordoned: _cordoned,
    WorkerUncordoned: _uncordoned,
    WorkerRecoveryScheduled: _scheduled,
    WorkerRecoveryStarted: _repair_started,
    WorkerRecoveryProbed: _probed,
    WorkerProbeAnswered: _answered,
    WorkerRecoverySucceeded: _succeeded,
    WorkerRecoveryFailed: _repair_failed,
    WorkerRecoverySuperseded: _superseded,
}
