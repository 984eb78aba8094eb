"""The life of a task, from submission to its one final verdict."""

from typing import Annotated, Literal

from msgspec import Meta

from events.base import AddressedTaskEvent, Integer, Number, Sequence, TaskEvent, Text
from events.failures import ErrorCode
from events.identity import Id
from events.work import AnyWork
from events.worker import Death

Priority = Annotated[int, Meta(ge=-1000, le=1000)]

Outcome = Literal[
    "passed",
    "failed",
    "error",
    "skipped",
    "xfailed",
    "xpassed",
    "crashed",
    "timed_out",
    "cancelled",
    "fenced",
]
"""How one attempt ended. The first six are pytest's words (a command passes or fails); `crashed`: the process died
under the test; `fenced`: the worker stopped it because it was cut off from the coordinator."""

Verdict = Literal["passed", "failed", "crashed", "timed_out", "skipped", "cancelled", "quarantined"]

RequeueReason = Literal[
    "worker_failed", "worker_draining", "fenced", "verdict_retry", "crash_retry", "lost", "worker_unfit"
]
"""Why a task waits again: its worker failed; handed it back; was cut off; the test failed or crashed and may be tried
again; the worker never had the order, or has forgotten it; the worker could not begin it at all, or has failed so much
at once that its word does not count."""

Budget = Literal["none", "infrastructure", "verdict"]


OUTCOME_CODES: dict[Outcome, ErrorCode] = {
    "failed": "task_error",
    "error": "task_error",
    "crashed": "task_crash",
    "timed_out": "task_timeout",
    "fenced": "connection",
}
"""Of an attempt that ended so, where its worker does not know more."""


class TaskSubmitted(TaskEvent, tag="task.submitted", frozen=True, kw_only=True):
    run_id: Id
    work: AnyWork
    priority: Priority = 0
    """Higher goes first."""
    timeout_s: Annotated[float, Meta(gt=0)] | None = None
    infrastructure_retries: Annotated[int, Meta(ge=0, le=1000)] | None = None
    """None: the policy's."""
    verdict_retries: Annotated[int, Meta(ge=0, le=1000)] | None = None
    requires: dict[str, str] = {}
    """Labels that a worker must have, each with this value."""


class TaskAssigned(AddressedTaskEvent, tag="task.assigned", frozen=True, kw_only=True):
    """Order to one incarnation of one worker. It holds the work itself, so the worker reads nothing else."""

    incarnation: Sequence
    attempt: Number
    work: AnyWork
    priority: Priority = 0
    timeout_s: Annotated[float, Meta(gt=0)] | None = None
    isolated: bool = False
    """Nothing else is given to that worker meanwhile."""


class TaskIsolated(TaskEvent, tag="task.isolated", frozen=True, kw_only=True):
    """Workers have died under it, so it is to run alone, once: this worker is set apart for it, gets nothing else, and
    finishes what it has first."""

    worker_id: Id
    incarnation: Sequence
    deaths: tuple[Death, ...] = ()


class TaskStranded(TaskEvent, tag="task.stranded", frozen=True, kw_only=True):
    """Nobody who is there, or is expected back, has the labels that it requires. It waits for somebody who has."""

    requires: dict[str, str]
    workers_expected: Sequence = 0


class TaskRevoked(AddressedTaskEvent, tag="task.revoked", frozen=True, kw_only=True):
    """The worker must stop this attempt and report it as cancelled; if it has not begun, hand it back."""

    incarnation: Sequence
    attempt: Number
    reason: Text = ""


class TaskHung(TaskEvent, tag="task.hung", frozen=True, kw_only=True):
    """The attempt runs on far beyond its time limit, which its worker has not enforced, or beyond `task_hang_cap`. It
    is to be stopped, and counts as timed out."""

    worker_id: Id
    incarnation: Sequence
    attempt: Number
    started_sequence: Sequence
    """Of its `TaskStarted`."""
    ran_s: Annotated[float, Meta(ge=0)]
    limit_s: Annotated[float, Meta(gt=0)]
    """The task's own, or the policy's where it has none."""
    heartbeat_sequence: Sequence = 0
    """Of the heartbeat by which its worker was alive, and had no end of it to report."""


class TaskStarted(TaskEvent, tag="task.started", frozen=True, kw_only=True):
    worker_id: Id
    incarnation: Sequence
    attempt: Number


class TaskAttemptFinished(TaskEvent, tag="task.attempt_finished", frozen=True, kw_only=True):
    """What the worker saw. Whether it counts is the leader's decision: an old attempt's result changes nothing."""

    worker_id: Id
    incarnation: Sequence
    attempt: Number
    outcome: Outcome
    duration_s: Annotated[float, Meta(ge=0)] = 0.0
    exit_code: Integer | None = None
    signal: Integer | None = None
    message: Text = ""
    output: Text = ""
    reason: Text = ""
    error: ErrorCode | None = None
    """None: it went well, or was stopped by order; or the outcome says all there is to say."""
    unstartable: bool = False
    """Its command, or a pytest for it, could not be started at all: this says nothing about the test."""


class TaskReturned(TaskEvent, tag="task.returned", frozen=True, kw_only=True):
    """A worker hands back what it had not begun: it drains, or was told to."""

    worker_id: Id
    incarnation: Sequence
    attempt: Number
    unknown: bool = False
    """It was told to stop what it does not have: the order never reached it, or it has forgotten it."""


class TaskRequeued(TaskEvent, tag="task.requeued", frozen=True, kw_only=True):
    """The attempt is over without a verdict and the task waits again, ahead of new work of its priority."""

    attempt: Number
    """The attempt that ended."""
    worker_id: Id
    reason: RequeueReason
    budget: Budget
    """Which of the task's budgets paid for it; a task that had not started pays nothing."""


class TaskCompleted(TaskEvent, tag="task.completed", frozen=True, kw_only=True):
    """The one final verdict."""

    run_id: Id
    verdict: Verdict
    attempt: Sequence
    """The attempt that decided it; 0: none was needed (cancelled before the first)."""
    worker_id: Id | None = None
    outcome: Outcome | None = None
    duration_s: Annotated[float, Meta(ge=0)] = 0.0
    message: Text = ""
    """Why, where no attempt says so itself: budget exhausted, cancelled."""
    result_sequence: Sequence = 0
    """The `TaskAttemptFinished` in the stream that holds output and traceback; 0: none."""
    deaths: tuple[Death, ...] = ()
    """For what it is quarantined; empty if it was so already when it was submitted."""


class TaskCancelRequested(TaskEvent, tag="task.cancel_requested", frozen=True, kw_only=True):
    actor: Text
    reason: Text = ""
