"""Submitting work to a log and following it to its verdicts."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import msgspec

from coordinator.faults import UsageFault
from events.base import Event
from events.envelope import Recorded
from events.identity import new_id
from events.log import BATCH_MAX, EventLog
from events.system import RunSubmitted
from events.task import TaskAttemptFinished, TaskCompleted, TaskSubmitted
from events.work import AnyWork, CommandWork, PytestWork, Suite
from events.writer import Writer

PATIENCE_S = 10.0
GOOD = frozenset({"passed", "skipped"})
PYTEST_FAILED, PYTEST_NOTHING = 1, 5


class Report(Protocol):
    def __call__(self, kind: str, text: str, fields: dict[str, object]) -> None:
        """Tells the user: a line for people, the same as fields for programs."""
        ...


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """A run that somebody wants."""

    title: str
    actor: str
    works: tuple[AnyWork, ...]
    priority: int = 0
    timeout_s: float | None = None
    infrastructure_retries: int | None = None
    verdict_retries: int | None = None
    requires: dict[str, str] = {}


def command_works(
    argv: tuple[str, ...], cwd: str, environment: dict[str, str], repeat: int, kind: str | None = None
) -> tuple[AnyWork, ...]:
    return (CommandWork(argv=argv, cwd=cwd, environment=environment, kind=kind),) * repeat


async def collected_works(python: str, cwd: str, args: tuple[str, ...]) -> tuple[tuple[AnyWork, ...], int, str]:
    """The tests of a suite, pytest's exit code and what it had to complain about."""
    from worker.slots import Suite as SlotSuite
    from worker.slots import collect

    found = await collect(SlotSuite(python=python, cwd=cwd, args=args))
    suite = Suite(python=python, cwd=cwd, args=args)
    works = tuple(PytestWork(suite=suite, node_id=item.node_id, occurrence=item.occurrence) for item in found.items)
    code = found.exit_code
    return works, PYTEST_NOTHING if code == 0 and not works else code, found.errors


def new_run_id() -> str:
    """Short enough to type, random enough to be nobody else's."""
    return f"r{new_id().replace('-', '')[-10:]}"


async def submit(log: EventLog, order: Order, *, run_id: str | None = None) -> tuple[str, list[str]]:
    """Writes the run and its tasks; returns the run's id and the tasks'.

    Raises:
        UsageFault: something in the order does not fit its type.
        LogError: the log did not take it.
    """
    run_id = run_id or new_run_id()
    width = max(4, len(str(len(order.works))))
    task_ids = [f"{run_id}-{number:0{width}}" for number in range(1, len(order.works) + 1)]
    events: list[Event] = [
        RunSubmitted(run_id=run_id, title=order.title[:1000], tasks=len(order.works), actor=order.actor)
    ]
    events += [
        TaskSubmitted(
            task_id=task_id,
            run_id=run_id,
            work=work,
            priority=order.priority,
            timeout_s=order.timeout_s,
            infrastructure_retries=order.infrastructure_retries,
            verdict_retries=order.verdict_retries,
            requires=order.requires,
        )
        for task_id, work in zip(task_ids, order.works, strict=True)
    ]
    _check(events)
    writer = Writer(log, f"cli/{order.actor}"[:128])
    for start in range(0, len(events), BATCH_MAX):
        await writer.write(events[start : start + BATCH_MAX], correlation_id=run_id, patience_s=PATIENCE_S)
    return run_id, task_ids


def _check(events: Sequence[Event]) -> None:
    """Constructors do not validate; a journey through the types does, and what is wrong is found before it is sent."""
    for event in events:
        try:
            msgspec.convert(msgspec.to_builtins(event), type(event))
        except msgspec.ValidationError as error:
            raise UsageFault(f"this cannot be submitted: {error}") from error


async def submit_and_follow(log: EventLog, order: Order, *, wait: bool, report: Report) -> int:
    """Returns the exit code: 0, or with `wait` what pytest would say."""
    before = await log.last_sequence()
    run_id, task_ids = await submit(log, order)
    report(
        "submitted",
        f"run {run_id}: {len(task_ids)} task{'s' if len(task_ids) != 1 else ''} submitted",
        {"run_id": run_id, "task_ids": task_ids},
    )
    if not wait:
        return 0
    try:
        return await follow(log, run_id, len(task_ids), before, report)
    except asyncio.CancelledError:
        report("left", f"run {run_id} goes on; 'resurgam tasks --run {run_id}' shows how far it is", {"run_id": run_id})
        raise


async def follow(log: EventLog, run_id: str, tasks: int, after: int, report: Report) -> int:
    """Reports each verdict of a run as it comes, and the count at the end."""
    verdicts: Counter[str] = Counter()
    async with await log.reader(after, ["task.*.completed"]) as reader:
        while verdicts.total() < tasks:
            for recorded in await reader.next():
                event = recorded.event
                if isinstance(event, TaskCompleted) and event.run_id == run_id:
                    verdicts[event.verdict] += 1
                    await _report_verdict(log, recorded, event, report)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
    report("finished", f"run {run_id}: {counts}", {"run_id": run_id, "verdicts": dict(verdicts)})
    return 0 if set(verdicts) <= GOOD else PYTEST_FAILED


async def _report_verdict(log: EventLog, recorded: Recorded, event: TaskCompleted, report: Report) -> None:
    lines = [f"{event.task_id}  {event.verdict}" + (f"  ({event.duration_s:.2f} s)" if event.duration_s else "")]
    output = message = ""
    if event.verdict not in GOOD:
        result = await log.read_one(event.result_sequence) if event.result_sequence else None
        if result is not None and isinstance(result.event, TaskAttemptFinished):
            message, output = result.event.message, result.event.output
        lines += [text.rstrip() for text in (event.message, message, output) if text.strip()]
    fields: dict[str, object] = {
        "task_id": event.task_id,
        "verdict": event.verdict,
        "attempt": event.attempt,
        "worker_id": event.worker_id,
        "duration_s": event.duration_s,
        "sequence": recorded.sequence,
    }
    if event.verdict not in GOOD:
        fields |= {"message": event.message or message, "output": output}
    report("verdict", "\n".join(lines), fields)
