"""One event of every kind, with every field given: for the codec's tests and the golden files."""

from typing import Any

from events.base import Event
from events.clock import utc
from events.envelope import Draft, Envelope, Provenance
from events.failures import Rung
from events.forecast import PredictorTrustChanged, WorkerFailurePredicted, WorkerPredictionJudged
from events.identity import new_id
from events.policy import Policy, policy_hash
from events.system import (
    BreakerClosed,
    BreakerHalfOpened,
    BreakerOpened,
    BrokerReturned,
    CoordinatorStarted,
    CoordinatorStopped,
    Course,
    DetectorDegraded,
    EventParked,
    FaultReported,
    IncidentReport,
    InvariantViolated,
    LeaderElected,
    LogDamaged,
    PaceChanged,
    PolicyChanged,
    ProjectionRebuilt,
    QuarantineReleased,
    RecoveryMeasured,
    RecoveryPaused,
    RecoveryResumed,
    RunCancelRequested,
    RunSubmitted,
    StageReport,
    SystemRecoveryCompleted,
    SystemRecoveryStaged,
    SystemRecoveryStarted,
    SystemStatusChanged,
    Use,
    WatchContinued,
)
from events.task import (
    TaskAssigned,
    TaskAttemptFinished,
    TaskCancelRequested,
    TaskCompleted,
    TaskHung,
    TaskIsolated,
    TaskRequeued,
    TaskReturned,
    TaskRevoked,
    TaskStarted,
    TaskStranded,
    TaskSubmitted,
)
from events.work import CommandWork, PytestWork, Suite
from events.worker import (
    Begun,
    Death,
    Evidence,
    WorkerClaimed,
    WorkerCordoned,
    WorkerDisconnected,
    WorkerDraining,
    WorkerDrainRequested,
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerProbeAnswered,
    WorkerReadmitted,
    WorkerRecoveryActed,
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

MOMENT = utc(1_760_000_000.123456)
EVIDENCE = Evidence(heartbeat_sequence=7, last_seen=MOMENT, silence_s=6.5, threshold_s=6.0, event_sequence=9)
COMMAND = CommandWork(argv=("sh", "-c", "exit 3"), cwd="/srv", environment={"LANG": "C"})
PYTEST = PytestWork(
    suite=Suite(python="/usr/bin/python3", cwd="/srv/shop", args=("-q",)), node_id="tests/test_a.py::t[ü]", occurrence=1
)
TASK: dict[str, Any] = {"task_id": "t1", "worker_id": "w1", "incarnation": 4, "attempt": 2}
WORKER: dict[str, Any] = {"worker_id": "w1", "incarnation": 4}

USE = Use(cpu_percent=12.5, memory_bytes=200_000_000, memory_available_bytes=8_000_000_000)

EXAMPLES: tuple[Event, ...] = (
    WorkerRegistered(
        worker_id="w1",
        host="farm-1",
        pid=17,
        slots=4,
        labels={"gpu": "yes"},
        supervised=False,
        machine="m1",
        lifeline="l1",
    ),
    WorkerClaimed(**WORKER, host="farm-2", pid=18, machine="m2", lifeline="l2"),
    WorkerDrainRequested(**WORKER, actor="alice", reason="new kernel", restart=True),
    WorkerDraining(**WORKER, reason="SIGTERM"),
    WorkerStopped(**WORKER, reason="drained"),
    WorkerExited(
        **WORKER,
        exit_code=1,
        signal=9,
        hung=True,
        stalled=True,
        unanswered_s=2.5,
        error="worker_resource",
        detail="out of memory",
        begun=(Begun("t1", 2, 1),),
    ),
    WorkerDisconnected(
        **WORKER, reason="Client Closed", closed_at=MOMENT, probe="nobody answers", heartbeat_sequence=9
    ),
    WorkerVanished(**WORKER, machine="m1", lifeline="l1", reason="Client Closed", closed_at=MOMENT),
    WorkerSuspected(**WORKER, evidence=EVIDENCE),
    WorkerSuspicionRefuted(**WORKER, evidence=EVIDENCE),
    WorkerStalled(
        **WORKER,
        cause="failing_fast",
        restart=False,
        tasks=("t1", "t2"),
        waited_s=5.5,
        threshold_s=1.0,
        heartbeat_sequence=9,
        passed_elsewhere=5,
    ),
    WorkerStallRefuted(**WORKER, reason="it has begun a task"),
    WorkerFailed(**WORKER, reason="silence", evidence=EVIDENCE, error="connection", message="no heartbeat for 15.0 s"),
    WorkerRetired(**WORKER, reason="it was to end"),
    WorkerPermanentlyFailed(worker_id="w1", attempts=5, message="5 attempts failed"),
    WorkerReadmitted(worker_id="w1", actor="alice", reason="new disk"),
    WorkerCordoned(
        worker_id="w1", cause="flapping", until=MOMENT, actor="alice", reason="3 failures", failures=3, times=2
    ),
    WorkerUncordoned(worker_id="w1", cause="operator", actor="alice", reason="new disk"),
    WorkerRecoveryScheduled(
        **WORKER,
        attempt=2,
        strategy="reconnect",
        not_before=MOMENT,
        reason="silence",
        order="history",
        considered=(
            Rung(strategy="await", succeeded=9, failed=1, estimate=0.833333, rejected="it has failed lately"),
            Rung(strategy="reconnect", estimate=0.5),
        ),
    ),
    WorkerRecoveryStarted(**WORKER, attempt=1, strategy="restart", deadline=MOMENT),
    WorkerRecoveryActed(
        **WORKER, attempt=1, strategy="replace", outcome="failed", detail="process 12 ended with code 2"
    ),
    WorkerRecoveryProbed(**WORKER, attempt=1),
    WorkerProbeAnswered(**WORKER, attempt=1),
    WorkerRecoverySucceeded(**WORKER, attempt=1, strategy="restart", duration_s=3.25),
    WorkerRecoveryFailed(**WORKER, attempt=1, strategy="replace", error="it did not register again"),
    WorkerRecoverySuperseded(**WORKER, attempt=1, strategy="escalate", reason="it came back by itself"),
    TaskSubmitted(
        task_id="t1",
        run_id="r1",
        work=PYTEST,
        priority=-3,
        timeout_s=1.5,
        infrastructure_retries=0,
        verdict_retries=2,
        requires={"gpu": "yes"},
    ),
    TaskAssigned(**TASK, work=COMMAND, priority=7, timeout_s=60.0, isolated=True),
    TaskIsolated(
        task_id="t1", **WORKER, deaths=(Death(sequence=9, worker_id="w2", reason="it was killed by signal 9"),)
    ),
    TaskStranded(task_id="t1", requires={"gpu": "yes"}, workers_expected=3),
    TaskRevoked(**TASK, reason="cancelled"),
    TaskHung(**TASK, started_sequence=8, ran_s=65.5, limit_s=65.0, heartbeat_sequence=9),
    TaskStarted(**TASK),
    TaskAttemptFinished(
        **TASK,
        outcome="crashed",
        duration_s=0.125,
        exit_code=139,
        signal=11,
        message="Segmentation fault",
        output="caf\u00e9 \u001b[31m\u0000",
        reason="signal",
        error="security",
        unstartable=True,
    ),
    TaskReturned(**TASK, unknown=True),
    TaskRequeued(task_id="t1", attempt=2, worker_id="w1", reason="worker_failed", budget="infrastructure"),
    TaskCompleted(
        task_id="t1",
        run_id="r1",
        verdict="quarantined",
        attempt=2,
        worker_id="w1",
        outcome="crashed",
        duration_s=0.125,
        message="two workers died under it",
        result_sequence=11,
        deaths=(Death(sequence=11, worker_id="w1", reason="its process died"),),
    ),
    TaskCancelRequested(task_id="t1", actor="alice", reason="wrong branch"),
    CoordinatorStarted(coordinator_id="c1", host="farm-0", pid=1, version="0.1.0"),
    CoordinatorStopped(coordinator_id="c1", reason="SIGTERM"),
    LeaderElected(coordinator_id="c1", term=3),
    PolicyChanged(policy=Policy(), policy_hash=policy_hash(Policy()), actor="alice", reason="nightly"),
    RecoveryPaused(actor="alice", reason="the switch is being replaced"),
    RecoveryResumed(actor="alice", reason="the switch is back"),
    RunSubmitted(run_id="r1", title="nightly", tasks=500, actor="alice"),
    RunCancelRequested(run_id="r1", actor="alice", reason="wrong branch"),
    SystemStatusChanged(status="critical", previous="degraded", workers_live=1, workers_expected=3),
    SystemRecoveryStarted(
        incident_id="loss-9",
        incident_kind="mass_worker_loss",
        status="critical",
        affected_workers=2,
        affected_tasks=5,
        error="broker",
    ),
    SystemRecoveryStaged(incident_id="loss-9", stage=2, workers=("w1", "w2")),
    SystemRecoveryCompleted(
        incident_id="loss-9",
        incident_kind="coordinator_failover",
        status="healthy",
        success=True,
        duration_s=12.5,
        affected_workers=2,
        affected_tasks=5,
        message="verified",
        report=IncidentReport(
            workers=("w1", "w2"),
            workers_lost_together=2,
            tasks_preserved=1,
            tasks_requeued=5,
            tasks_uncharged=3,
            tasks_lost=1,
            attempts_succeeded=1,
            attempts_failed=2,
            attempts_superseded=1,
            stages=(
                StageReport(
                    stage=1,
                    began_at=MOMENT,
                    ended_at=MOMENT,
                    workers=("w1",),
                    size=1,
                    succeeded=1,
                    failed=2,
                    superseded=3,
                ),
            ),
            requeued_after_s=0.25,
            repairing_after_s=0.5,
            broker_away_s=12.5,
            leader="c2",
            leader_before="c1",
            term=2,
            undecided_s=1.5,
            tasks_waiting=3,
            obstacles={"cordoned": 1},
            stood_still_s=61.0,
        ),
    ),
    BreakerOpened(workers_failed=3, workers_tried=5, until=MOMENT, times=2),
    BreakerHalfOpened(worker_id="w1", attempt=2),
    BreakerClosed(reason="w1 is back"),
    EventParked(sequence=8, subject="resurgam.event.worker.w1.odd", reason="unknown kind", excerpt="{}"),
    FaultReported(
        component="projector", error="system_resource", detail="no room", since=MOMENT, reported_by="projections/h"
    ),
    LogDamaged(first=3, last=4, noticed_by="projector"),
    ProjectionRebuilt(path="history.duckdb", reason="it was gone", through=99, started_at=MOMENT),
    RecoveryMeasured(
        began_at=MOMENT,
        ended_at=MOMENT,
        outages=2,
        before_s=60.0,
        after_s=30.0,
        coordinator=Course(before=USE, during=USE, after=USE),
        hosts=3,
        workers=Course(before=USE, during=USE, after=USE),
        coordinator_id="c1",
    ),
    InvariantViolated(invariant="conservation", sequence=98, detail="5 tasks were submitted, 4 are somewhere"),
    DetectorDegraded(reason="clock_step", extent_s=-15.75, heartbeats_sequence=7, coordinator_id="c1"),
    WatchContinued(since=MOMENT, witness="w1", heartbeat_sequence=7),
    BrokerReturned(coordinator_id="c1", since=MOMENT, away_s=12.5),
    PaceChanged(stretch=1.25, heartbeat_interval_s=2.5, workers_live=4000),
    QuarantineReleased(key="0123456789abcdef", actor="alice", reason="fixed"),
    WorkerFailurePredicted(
        **WORKER,
        resource="memory",
        value=3e8,
        limit=0.0,
        slope_per_s=-2e6,
        expected_at=MOMENT,
        since=MOMENT,
        samples=12,
        heartbeat_first=7,
        heartbeat_last=62,
        own_share=0.9,
        own_bytes=8e8,
        usual=0.25,
        remedy="restart",
    ),
    WorkerPredictionJudged(
        **WORKER,
        resource="memory",
        prediction_sequence=8,
        right=True,
        acted=True,
        why="300 MiB were given back",
    ),
    PredictorTrustChanged(resource="memory", acts=False, right=2.0, wrong=3.0, precision_needed=0.5),
)

PROVENANCE = Provenance(
    as_of_events=10, as_of_heartbeats=20, decided_at=MOMENT, rules_version=1, rule="a rule", index=1, count=2
)


def enveloped(event: Event, *, event_id: str = "00000000-0000-7000-8000-000000000001", version: int = 1) -> Envelope:
    """With every field given, and nothing that differs from one run to the next."""
    return Envelope(
        id=event_id,
        time=MOMENT,
        source="worker/w1",
        event=event,  # type: ignore[arg-type]
        version=version,
        causation_id="00000000-0000-7000-8000-000000000002",
        correlation_id="r1",
        decision=PROVENANCE,
    )


def drafted(event: Event, *, event_id: str | None = None, synthetic: str | None = None) -> Draft:
    return Draft(enveloped(event, event_id=event_id or new_id()), synthetic)


def cancelled(task_id: str = "t1", *, event_id: str | None = None, actor: str = "alice") -> Draft:
    """The smallest of events, for tests to which its meaning is nothing."""
    return drafted(TaskCancelRequested(task_id=task_id, actor=actor), event_id=event_id)
