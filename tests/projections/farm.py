"""A test farm that never was: seeded stories of runs, of workers that die and come back, of incidents."""

import random
from collections.abc import Iterator
from itertools import count

from events.base import Event
from events.clock import utc
from events.envelope import Draft, Envelope, Provenance
from events.system import (
    LeaderElected,
    RunSubmitted,
    SystemRecoveryCompleted,
    SystemRecoveryStarted,
    SystemStatusChanged,
)
from events.task import (
    Outcome,
    TaskAssigned,
    TaskAttemptFinished,
    TaskCompleted,
    TaskRequeued,
    TaskStarted,
    TaskSubmitted,
    Verdict,
)
from events.work import AnyWork, CommandWork, PytestWork, Suite
from events.worker import (
    Evidence,
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerProbeAnswered,
    WorkerRecoveryFailed,
    WorkerRecoveryProbed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRecoverySuperseded,
    WorkerRegistered,
    WorkerSuspected,
    WorkerSuspicionRefuted,
)

EPOCH = 1_790_000_000.0
SUITE = Suite(python="/srv/suite/.venv/bin/python", cwd="/srv/suite", args=("-p", "no:cacheprovider"))
LADDER: tuple[str, ...] = ("await", "reconnect", "restart", "replace")


class Farm:
    """`drafts` goes on for ever; the same seed gives the same story."""

    def __init__(self, seed: int, *, workers: int = 8, run_tasks: int = 40, failure_share: float = 0.03) -> None:
        self._random = random.Random(seed)
        self._ids = count(1)
        self._sequence = 0
        self._seed = seed
        self._worker_ids = [f"worker-{number}" for number in range(1, workers + 1)]
        self._incarnations: dict[str, int] = {}
        self._run_tasks = run_tasks
        self._failure_share = failure_share

    def drafts(self) -> Iterator[Draft]:
        for event in self._story():
            self._sequence += 1
            decision = None
            if self._random.random() < 0.5:
                decision = Provenance(
                    as_of_events=self._sequence,
                    as_of_heartbeats=7,
                    decided_at=utc(EPOCH),
                    rules_version=1,
                    rule="assign",
                )
            synthetic = "drill" if self._random.random() < 0.01 else None
            envelope = Envelope(
                id=f"0199{self._seed:04x}-{next(self._ids):028x}",
                time=utc(EPOCH + self._sequence * 0.001),
                source="leader/c1",
                event=event,  # type: ignore[arg-type]
                causation_id=f"0199-{self._sequence:030x}",
                correlation_id="run-1",
                decision=decision,
            )
            yield Draft(envelope, synthetic)

    def _story(self) -> Iterator[Event]:
        yield LeaderElected(coordinator_id="c1", term=1)
        yield SystemStatusChanged(status="healthy", previous="idle", workers_live=8, workers_expected=8)
        for worker_id in self._worker_ids:
            yield from self._register(worker_id)
        for run in count(1):
            yield from self._run(f"run-{self._seed}-{run}")

    def _register(self, worker_id: str) -> Iterator[Event]:
        self._incarnations[worker_id] = self._sequence + 1
        yield WorkerRegistered(worker_id=worker_id, host="farm-1", pid=4711, slots=2, labels={"os": "linux"})

    def _run(self, run_id: str) -> Iterator[Event]:
        yield RunSubmitted(run_id=run_id, title="suite", tasks=self._run_tasks)
        tasks = {f"{run_id}-t{number}": self._work(number) for number in range(self._run_tasks)}
        for task_id, work in tasks.items():
            yield TaskSubmitted(task_id=task_id, run_id=run_id, work=work, priority=self._random.randrange(3))
        running: list[Iterator[Event]] = [self._task(run_id, task_id, work) for task_id, work in tasks.items()]
        while running:
            chosen = self._random.randrange(min(len(running), 16))
            event = next(running[chosen], None)
            if event is None:
                del running[chosen]
            else:
                yield event
        if self._random.random() < 0.5:
            yield from self._incident(run_id)

    def _work(self, number: int) -> AnyWork:
        if number % 10 == 0:
            return CommandWork(argv=("make", "check", f"PART={number}"), cwd="/srv/suite")
        return PytestWork(suite=SUITE, node_id=f"tests/test_orders.py::TestOrders::test_total[case-{number}]")

    def _task(self, run_id: str, task_id: str, work: AnyWork) -> Iterator[Event]:
        for attempt in range(1, 5):
            worker_id = self._random.choice(self._worker_ids)
            incarnation = self._incarnations[worker_id]
            yield TaskAssigned(
                task_id=task_id, worker_id=worker_id, incarnation=incarnation, attempt=attempt, work=work
            )
            yield TaskStarted(task_id=task_id, worker_id=worker_id, incarnation=incarnation, attempt=attempt)
            dice = self._random.random()
            if dice < self._failure_share:
                yield from self._failure(worker_id)
                yield TaskRequeued(
                    task_id=task_id,
                    attempt=attempt,
                    worker_id=worker_id,
                    reason="worker_failed",
                    budget="infrastructure",
                )
                continue
            outcome, verdict = self._outcome(dice)
            yield TaskAttemptFinished(
                task_id=task_id,
                worker_id=worker_id,
                incarnation=incarnation,
                attempt=attempt,
                outcome=outcome,
                duration_s=round(dice * 3, 6),
                message="" if outcome == "passed" else "AssertionError: 1 != 2",
                output="" if outcome == "passed" else "E   assert 1 == 2\n" * 20,
            )
            if outcome == "crashed" and attempt < 3:
                yield TaskRequeued(
                    task_id=task_id, attempt=attempt, worker_id=worker_id, reason="crash_retry", budget="infrastructure"
                )
                continue
            yield TaskCompleted(
                task_id=task_id,
                run_id=run_id,
                verdict=verdict,
                attempt=attempt,
                worker_id=worker_id,
                outcome=outcome,
                duration_s=round(dice * 3, 6),
            )
            return
        yield TaskCompleted(
            task_id=task_id, run_id=run_id, verdict="quarantined", attempt=4, message="the budget is exhausted"
        )

    def _outcome(self, dice: float) -> tuple[Outcome, Verdict]:
        if dice > 0.97:
            return "crashed", "crashed"
        if dice > 0.9:
            return "failed", "failed"
        return ("skipped", "skipped") if dice > 0.85 else ("passed", "passed")

    def _failure(self, worker_id: str) -> Iterator[Event]:
        incarnation = self._incarnations[worker_id]
        if self._random.random() < 0.5:
            evidence = Evidence(heartbeat_sequence=5, silence_s=6.125, threshold_s=6.0)
            yield WorkerSuspected(worker_id=worker_id, incarnation=incarnation, evidence=evidence)
            if self._random.random() < 0.3:
                yield WorkerSuspicionRefuted(worker_id=worker_id, incarnation=incarnation, evidence=evidence)
        yield WorkerExited(worker_id=worker_id, incarnation=incarnation, signal=9)
        yield WorkerFailed(worker_id=worker_id, reason="worker_exit", incarnation=incarnation, message="killed")
        for attempt in range(1, 5):
            strategy = self._random.choice(LADDER)
            moment = utc(EPOCH + self._sequence)
            yield WorkerRecoveryScheduled(
                worker_id=worker_id, incarnation=incarnation, attempt=attempt, strategy=strategy, not_before=moment
            )
            if self._random.random() < 0.1:
                yield WorkerRecoverySuperseded(
                    worker_id=worker_id, incarnation=incarnation, attempt=attempt, strategy=strategy, reason="operator"
                )
                continue
            yield WorkerRecoveryStarted(
                worker_id=worker_id, incarnation=incarnation, attempt=attempt, strategy=strategy, deadline=moment
            )
            if self._random.random() < 0.3:
                yield WorkerRecoveryFailed(
                    worker_id=worker_id,
                    incarnation=incarnation,
                    attempt=attempt,
                    strategy=strategy,
                    error="no registration before the deadline",
                )
                continue
            yield from self._register(worker_id)
            fresh = self._incarnations[worker_id]
            yield WorkerRecoveryProbed(worker_id=worker_id, incarnation=fresh, attempt=attempt)
            yield WorkerProbeAnswered(worker_id=worker_id, incarnation=fresh, attempt=attempt)
            yield WorkerRecoverySucceeded(
                worker_id=worker_id, incarnation=fresh, attempt=attempt, strategy=strategy, duration_s=0.1 * attempt
            )
            return
        yield WorkerPermanentlyFailed(worker_id=worker_id, attempts=4, message="4 of 4 attempts failed")

    def _incident(self, run_id: str) -> Iterator[Event]:
        incident_id = f"incident-{run_id}"
        yield SystemStatusChanged(status="critical", previous="healthy", workers_live=2, workers_expected=8)
        yield SystemRecoveryStarted(
            incident_id=incident_id, incident_kind="mass_worker_loss", status="critical", affected_workers=6
        )
        if self._random.random() < 0.8:
            yield SystemRecoveryCompleted(
                incident_id=incident_id,
                incident_kind="mass_worker_loss",
                status="healthy",
                success=self._random.random() < 0.7,
                duration_s=1e-05,
                affected_workers=6,
                affected_tasks=3,
                message="verified",
            )
