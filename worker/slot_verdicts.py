"""What the end of a process, or a report of it, means for the job it ran."""

from dataclasses import dataclass

from events.failures import ErrorCode
from worker.jobs import CommandJob, Job, Outcome, SlotFinished
from worker.kept_process import Ended
from worker.runners import verdict_of
from worker.shortages import code_of_errno
from worker.slot_pytest import Finished, Ready


@dataclass(slots=True)
class Running:
    job: Job
    started_at: float  # unix time
    since: float  # the loop's time
    announced: bool = True


@dataclass(frozen=True, slots=True)
class Sentence:
    """The present process is to be killed: for which job (empty: for its own start), and as what that job ends."""

    key: str
    outcome: Outcome
    message: str = ""


def finished_test(report: Finished, output: str) -> SlotFinished:
    """``output`` is what the process wrote meanwhile, where pytest does not capture what tests write (-s)."""
    return SlotFinished(
        report.key,
        report.outcome,
        report.duration_s,
        message=report.message,
        output=report.output or output,
        reason=report.reason,
        error=report.error or None,
    )


def crashed_test(running: Running, now: float, ended: Ended, sentence: Sentence | None, evidence: str) -> SlotFinished:
    """The process ended under its test: by sentence, or by itself. A code of 0 is no success: os._exit(0)."""
    if sentence is not None:
        outcome, what = sentence.outcome, sentence.message
    else:
        outcome, what = Outcome.crashed, f"the process {ended.story()} while it ran this test"
    return SlotFinished(
        running.job.key,
        outcome,
        now - running.since,
        exit_code=ended.exit_code,
        signal=ended.signal,
        message="\n".join(filter(None, (what, evidence))),
        error="task_resource" if sentence is None and ended.out_of_memory else None,
    )


def finished_command(
    running: Running, now: float, ended: Ended, sentence: Sentence | None, output: str
) -> SlotFinished:
    if sentence is not None:
        outcome, what = sentence.outcome, sentence.message
    elif ended.cause == "exited" and isinstance(running.job, CommandJob) and running.job.kind is not None:
        outcome, what = verdict_of(running.job.kind, ended.exit_code or 0, output)
    elif ended.cause == "exited" and ended.exit_code == 0:
        outcome, what = Outcome.passed, ""
    else:
        what = f"the command {ended.story()}"
        outcome = {"exited": Outcome.failed, "not_started": Outcome.error}.get(ended.cause, Outcome.crashed)
    return SlotFinished(
        running.job.key,
        outcome,
        now - running.since,
        exit_code=ended.exit_code,
        signal=ended.signal,
        message=what,
        output=output,
        error=_error_of(ended) if sentence is None else None,
        unstartable=sentence is None and ended.cause == "not_started",
    )


def _error_of(ended: Ended) -> ErrorCode | None:
    if ended.cause == "not_started":
        return code_of_errno(ended.errno)
    return "task_resource" if ended.out_of_memory else None


def unbegun(job: Job, message: str, cause: Exception | Ended) -> SlotFinished:
    """Neither the command nor a pytest for the test: this says nothing of the job itself."""
    error = code_of_errno(getattr(cause, "errno", None))
    return SlotFinished(job.key, Outcome.error, message=message, error=error, unstartable=True)


def unknown_test(ready: Ready | None) -> str:
    if ready is None:
        return "there is no such test"
    text = f"there is no such test among the {ready.count} that pytest {ready.pytest} collected in {ready.rootdir}"
    return f"{text}\n{ready.errors}" if ready.errors else text
