"""Made-up events, for tests of what a system decides: the same as `resurgam inject`, from Python.

They travel the ordinary way and are decided on like any other; their label marks them, and metrics leave them out.
"""

from events.base import Event
from events.failures import FailureReason
from events.identity import as_id
from events.log import Appended, EventLog
from events.task import Outcome, TaskAttemptFinished, TaskStarted
from events.worker import (
    WorkerDraining,
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerReadmitted,
    WorkerRegistered,
    WorkerStopped,
)
from events.writer import Writer

LABEL_LENGTH_MAX = 64
PATIENCE_S = 5.0


class SyntheticEvents:
    """Writes synthetic events under one label.

    Heartbeats are not events, and silence cannot be written: stop a real worker to test it (`kill -STOP`).

    Raises (each method):
        Unacknowledged, LogFull, BrokerRefused: the log did not take it.
    """

    def __init__(self, log: EventLog, label: str, *, source: str = "synthetic", patience_s: float = PATIENCE_S) -> None:
        if not label or len(label) > LABEL_LENGTH_MAX or not label.isprintable():
            raise ValueError(f"the label {label!r} must be 1 to {LABEL_LENGTH_MAX} printable characters")
        self.label = label
        self._writer = Writer(log, f"{source}/{as_id(label)}", synthetic=label)
        self._patience_s = patience_s

    async def write(self, event: Event) -> Appended:
        return await self._writer.write(event, patience_s=self._patience_s)

    async def worker_registered(
        self,
        worker_id: str,
        *,
        slots: int = 1,
        host: str = "synthetic",
        pid: int = 1,
        labels: dict[str, str] | None = None,
    ) -> Appended:
        """Its sequence (`.last`) is the new incarnation. Nobody beats for it: it fails after a while, as it should."""
        return await self.write(
            WorkerRegistered(worker_id=worker_id, host=host, pid=pid, slots=slots, labels=labels or {})
        )

    async def worker_failed(
        self,
        worker_id: str,
        *,
        incarnation: int | None = None,
        reason: FailureReason = "synthetic",
        message: str = "",
    ) -> Appended:
        """`incarnation` None: the one that is current when the event is read."""
        return await self.write(
            WorkerFailed(worker_id=worker_id, incarnation=incarnation, reason=reason, message=message)
        )

    async def worker_exited(
        self,
        worker_id: str,
        *,
        incarnation: int,
        exit_code: int | None = None,
        signal: int | None = None,
        hung: bool = False,
    ) -> Appended:
        return await self.write(
            WorkerExited(worker_id=worker_id, incarnation=incarnation, exit_code=exit_code, signal=signal, hung=hung)
        )

    async def worker_draining(self, worker_id: str, *, incarnation: int) -> Appended:
        return await self.write(WorkerDraining(worker_id=worker_id, incarnation=incarnation, reason=self.label))

    async def worker_stopped(self, worker_id: str, *, incarnation: int) -> Appended:
        return await self.write(WorkerStopped(worker_id=worker_id, incarnation=incarnation, reason=self.label))

    async def worker_permanently_failed(self, worker_id: str, *, attempts: int = 0, message: str = "") -> Appended:
        return await self.write(WorkerPermanentlyFailed(worker_id=worker_id, attempts=attempts, message=message))

    async def worker_readmitted(self, worker_id: str, *, actor: str = "synthetic") -> Appended:
        return await self.write(WorkerReadmitted(worker_id=worker_id, actor=actor, reason=self.label))

    async def task_started(self, task_id: str, worker_id: str, *, incarnation: int, attempt: int) -> Appended:
        return await self.write(
            TaskStarted(task_id=task_id, worker_id=worker_id, incarnation=incarnation, attempt=attempt)
        )

    async def task_attempt_finished(
        self,
        task_id: str,
        worker_id: str,
        *,
        incarnation: int,
        attempt: int,
        outcome: Outcome,
        message: str = "",
    ) -> Appended:
        return await self.write(
            TaskAttemptFinished(
                task_id=task_id,
                worker_id=worker_id,
                incarnation=incarnation,
                attempt=attempt,
                outcome=outcome,
                message=message,
            )
        )
