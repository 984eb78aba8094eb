"""What must hold of a batch of decisions in the light of the state that it was made on."""

from collections.abc import Mapping, Sequence

from events.base import WorkerEvent
from events.task import TaskAssigned
from events.worker import WorkerFailed, WorkerRecoverySucceeded, WorkerSuspected
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
            if state.tasks[event.task_id].cancel_requested:
                raise Violation(f"{event.task_id} is assigned, and somebody has cancelled it")
        elif isinstance(event, WorkerEvent):
            subject = event.worker_id
            if isinstance(event, (WorkerSuspected, WorkerFailed)):
                _judge_silence(event, state, now)
            elif isinstance(event, WorkerRecoverySucceeded) and standings[event.worker_id][1] != event.incarnation:
                raise Violation(f"{event} speaks of another incarnation than {standings[event.worker_id]}")
        else:
            subject = getattr(event, "task_id", "")
        if subject and subject in subjects:
            raise Violation(f"one batch says two things about {subject}: {[one.event for one in decisions]}")
        subjects.add(subject)


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
    if now - max(last, state.watched_since) < allowed:
        raise Violation(f"{event}, and the silence has not lasted {allowed:g} s")
