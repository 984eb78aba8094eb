"""Whoever uses the system: submits tasks, gives orders, and writes into the log what nobody should."""

from collections.abc import Awaitable, Sequence
from typing import NamedTuple

from events import codec
from events.base import Event
from events.bus import Bus
from events.clock import utc
from events.envelope import Draft, Envelope, Recorded
from events.errors import LogError
from events.host import host
from events.identity import new_id
from events.jetstream import JetStreamLog
from events.policy import Policy, policy_hash
from events.streams import Streams
from events.synthetic import SyntheticEvents
from events.system import PolicyChanged, RecoveryPaused, RecoveryResumed, RunCancelRequested, RunSubmitted
from events.task import TaskCancelRequested, TaskSubmitted
from events.work import CommandWork
from events.worker import WorkerCordoned, WorkerDrainRequested, WorkerReadmitted, WorkerUncordoned
from events.writer import Writer, append_until_stored
from tests.simulation.executions import Conduct
from tests.simulation.scenario import PlannedTask

ACTOR = "operator"
LABEL = "drill"
PATIENCE_S = 30.0


class Promise(NamedTuple):
    """A task that the log has acknowledged, and what there is to expect of it."""

    task_id: str
    run_id: str
    conduct: Conduct
    limited: bool
    """It has a time limit."""


class Client:
    """Everything goes over one connection. Orders that the log refuses for long are given up, tasks never."""

    def __init__(self, bus: Bus, streams: Streams) -> None:
        self._bus = bus
        self._streams = streams
        self._log = JetStreamLog(bus, streams)
        self._writer = Writer(self._log, f"cli/{ACTOR}")
        self._synthetic = SyntheticEvents(self._log, LABEL, patience_s=PATIENCE_S)
        self.promises: dict[str, Promise] = {}
        self.cancelled: set[str] = set()
        """Tasks whose cancellation was asked for, whether or not the log has it."""
        self.acknowledged: list[str] = []
        """Ids of events that the log has acknowledged."""

    async def submit(self, run_id: str, tasks: Sequence[PlannedTask]) -> None:
        """One run. It is tried until the log has it, as a patient user would."""
        submitted = []
        for task in tasks:
            conduct = Conduct.passes if task.outcome == "passed" else Conduct.fails
            event = TaskSubmitted(
                task_id=f"t{task.number}",
                run_id=run_id,
                work=_work(task.duration_s, conduct),
                priority=task.priority,
                timeout_s=task.timeout_s,
                infrastructure_retries=task.infrastructure_retries,
                verdict_retries=task.verdict_retries,
                requires=task.requires,
            )
            submitted.append((event, conduct))
        await self._submit(run_id, submitted)

    async def submit_one(self, run_id: str, duration_s: float, conduct: Conduct, timeout_s: float | None) -> None:
        """A task that is not as others are."""
        work = _work(duration_s, conduct)
        event = TaskSubmitted(task_id=f"t-{run_id}", run_id=run_id, work=work, timeout_s=timeout_s)
        await self._submit(run_id, [(event, conduct)])

    async def _submit(self, run_id: str, tasks: Sequence[tuple[TaskSubmitted, Conduct]]) -> None:
        events: list[Event] = [RunSubmitted(run_id=run_id, title=run_id, tasks=len(tasks), actor=ACTOR)]
        events += [event for event, _ in tasks]
        await self._store(events, patience_s=None)
        for event, conduct in tasks:
            promise = Promise(event.task_id, run_id, conduct, event.timeout_s is not None)
            self.promises[event.task_id] = promise

    async def cancel_task(self, task_id: str) -> None:
        self.cancelled.add(task_id)
        await self._order(TaskCancelRequested(task_id=task_id, actor=ACTOR))

    async def cancel_run(self, run_id: str) -> None:
        self.cancelled.update(promise.task_id for promise in self.promises.values() if promise.run_id == run_id)
        await self._order(RunCancelRequested(run_id=run_id, actor=ACTOR))

    async def change_policy(self, policy: Policy, *, patience_s: float | None = PATIENCE_S) -> None:
        await self._order(PolicyChanged(policy=policy, policy_hash=policy_hash(policy), actor=ACTOR), patience_s)

    async def readmit(self, worker_id: str) -> None:
        await self._order(WorkerReadmitted(worker_id=worker_id, actor=ACTOR))

    async def order_end(self, worker_id: str) -> None:
        await self._order(WorkerDrainRequested(worker_id=worker_id, actor=ACTOR))

    async def order_restart(self, worker_id: str) -> None:
        await self._order(WorkerDrainRequested(worker_id=worker_id, actor=ACTOR, restart=True))

    async def halt_recovery(self) -> None:
        await self._order(RecoveryPaused(actor=ACTOR))

    async def resume_recovery(self, *, patience_s: float | None = PATIENCE_S) -> None:
        await self._order(RecoveryResumed(actor=ACTOR), patience_s)

    async def cordon(self, worker_id: str) -> None:
        await self._order(WorkerCordoned(worker_id=worker_id, cause="operator", actor=ACTOR))

    async def uncordon(self, worker_id: str) -> None:
        await self._order(WorkerUncordoned(worker_id=worker_id, actor=ACTOR))

    async def drain(self, worker_id: str, incarnation: int) -> None:
        await _tried(self._synthetic.worker_draining(worker_id, incarnation=incarnation))

    async def fail(self, worker_id: str, incarnation: int) -> None:
        await _tried(self._synthetic.worker_failed(worker_id, incarnation=incarnation))

    async def forge(self, event: Event, source: str) -> None:
        """A well-formed event in somebody else's name."""
        envelope = Envelope(id=new_id(), time=utc(host().wall()), source=source, event=event)  # type: ignore[arg-type]
        await _tried(append_until_stored(self._log, [Draft(envelope)], patience_s=PATIENCE_S))

    async def repeat(self, recorded: Recorded, *, known: bool) -> None:
        """An event that is there already; `known` says whether the broker still knows its id, or has forgotten it."""
        assert recorded.envelope is not None
        payload = codec.encode(recorded.envelope)
        await self.publish(recorded.envelope.event.tail(), payload, recorded.id if known else None)

    async def publish(self, tail: str, payload: bytes, message_id: str | None = None) -> None:
        """Any bytes on any subject of the log."""
        headers = None if message_id is None else {"Nats-Msg-Id": message_id}
        await _tried(self._bus.request(self._streams.event_subject(tail), payload, headers))

    async def _order(self, event: Event, patience_s: float | None = PATIENCE_S) -> None:
        await _tried(self._store([event], patience_s))

    async def _store(self, events: Sequence[Event], patience_s: float | None) -> None:
        drafts = [self._writer.draft(event) for event in events]
        await append_until_stored(self._log, drafts, patience_s=patience_s)
        self.acknowledged += [draft.envelope.id for draft in drafts]


def _work(duration_s: float, conduct: Conduct) -> CommandWork:
    return CommandWork(argv=("sim", f"{duration_s:g}", conduct.value), cwd="/")


async def _tried(doing: Awaitable[object]) -> None:
    """An order that may fail: whoever gave it sees the error, and lets it be."""
    try:
        await doing
    except LogError:
        return
