"""What must hold of a batch of decisions in the light of the state that it was made on."""

from collections.abc import Mapping, Sequence

from events.base import WorkerEvent
from events.clock import seconds
from events.system import WatchContinued
from events.task import TaskAssigned, TaskRevoked
from events.worker import (
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerRecoveryProbed,
    WorkerRecoverySucceeded,
    WorkerStalled,
    WorkerSuspected,
)
from recovery.core import Decision, State
from tests.simulation.exhaustive.entries import Standing, Violation


def judge(
    decisions: Sequence[Decision], state: State, standings: Mapping[str, tuple[Standing, int]], now: float
) -> None:
    """`standings`: what the ledger said of the workers at the point of the log that `state` has come to.

    Raises:
        Violation: a decision contradicts it.
    """
    subjects: set[str] = set()
    for decision in decisions:
        event = decision.event
        if isinstance(event, TaskAssigned):
            subject = event.task_id
            if standings[event.worker_id] != ("alive", event.incarnation):
                raise Violation(
                    f"{event.task_id} is assigned to {event.worker_id}, which is {standings[event.worker_id]}"
                )
            if state.tasks[event.task_id].unwanted:
                raise Violation(f"{event.task_id} is assigned, and nobody wants it any more")
        elif isinstance(event, TaskRevoked):
            subject = event.task_id
            task = state.tasks[event.task_id]
            if not task.unwanted and task.status != "assigned":
                raise Violation(f"{event.task_id} is revoked while it runs, and nobody cancelled it")
        elif isinstance(event, WorkerEvent):
            subject = event.worker_id
            if isinstance(event, (WorkerSuspected, WorkerFailed)):
                _judge_silence(event, state, now)
            elif isinstance(event, WorkerStalled):
                _judge_stall(event, state)
            elif isinstance(event, WorkerPermanentlyFailed):
                _judge_giving_up(event, state)
            elif isinstance(event, (WorkerRecoveryProbed, WorkerRecoverySucceeded)):
                if standings[event.worker_id][1] != event.incarnation:
                    raise Violation(f"{event} speaks of another incarnation than {standings[event.worker_id]}")
                _judge_return(event, state)
        else:
            subject = getattr(event, "task_id", "")
            if isinstance(event, WatchContinued):
                _judge_watch(event, state)
        if subject and subject in subjects:
            raise Violation(f"one batch says two things about {subject}: {[one.event for one in decisions]}")
        subjects.add(subject)


def _judge_stall(event: WorkerStalled, state: State) -> None:
    """Nobody is of no use who has not been heard, has reports to make, or was not given the time to act."""
    if event.cause == "not_started":
        # It has said so itself, by handing back what it had a free slot for.
        if not set(event.tasks) <= set(state.workers[event.worker_id].idled):
            raise Violation(f"{event}, and it has handed back nothing unstarted")
        return
    beat = state.beats.get(event.worker_id)
    if beat is None or beat.incarnation != event.incarnation or beat.sequence <= state.loss.through:
        raise Violation(f"{event}, and no heartbeat proves that it lives")
    told = min(state.workers[event.worker_id].revoked.values())
    if beat.time - max(told, state.watched_since) < state.policy.revocation_grace:
        raise Violation(f"{event}, and it was told only {beat.time - told:g} s before it was last heard")


def _judge_watch(event: WatchContinued, state: State) -> None:
    since = seconds(event.since)
    if state.taken_over is None or not state.distrusted_until <= since < state.taken_over:
        raise Violation(f"{event}, and nobody took over behind that, or somebody has doubted since")


def _judge_return(event: WorkerRecoveryProbed | WorkerRecoverySucceeded, state: State) -> None:
    """Only a heartbeat that everybody can read proves that a worker is back."""
    beat = state.beats.get(event.worker_id)
    if beat is None or beat.incarnation < event.incarnation or beat.sequence <= state.loss.through:
        raise Violation(f"{event}, and no heartbeat proves that it is back")


def _judge_giving_up(event: WorkerPermanentlyFailed, state: State) -> None:
    if event.attempts < state.policy.max_recovery_attempts:
        raise Violation(f"{event.worker_id} is given up after {event.attempts} attempts")


def _judge_silence(event: WorkerSuspected | WorkerFailed, state: State, now: float) -> None:
    """Nobody is condemned who was heard lately, or whom nobody has watched for long enough."""
    policy = state.policy
    if event.evidence is not None and event.evidence.event_sequence:
        return  # not for its silence: a fact of the log speaks against it
    if isinstance(event, WorkerSuspected):
        allowed = policy.suspect_after
    elif event.reason == "silence":
        allowed = policy.failed_after
    elif event.reason == "no_first_heartbeat":
        allowed = policy.first_heartbeat_timeout
    else:
        return
    beat = state.beats.get(event.worker_id)
    heard = beat is not None and beat.incarnation >= (event.incarnation or 0)
    last = beat.time if beat is not None and heard else state.workers[event.worker_id].registered_at
    if last > now:
        last = 0.0  # by a clock that has been set back since: when that was, nobody knows
    if now - max(last, state.watched_since) < allowed:
        raise Violation(f"{event}, and the silence has not lasted {allowed:g} s")
