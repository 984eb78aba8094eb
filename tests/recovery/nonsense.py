"""Streams of events that may or may not make sense, drawn by hypothesis and played into a story.

A step is a verb and three small numbers. What the numbers mean depends on the state: most steps are plausible, so that
they reach deep into the lifecycles; some speak of things that do not exist, or that only a leader may say.
"""

from collections.abc import Callable

from hypothesis import strategies as st

from events.clock import quantised, utc
from events.policy import Policy
from events.system import (
    CoordinatorStopped,
    DetectorDegraded,
    EventParked,
    LeaderElected,
    RunCancelRequested,
    SystemRecoveryCompleted,
    SystemRecoveryStarted,
    SystemStatusChanged,
)
from events.task import (
    Outcome,
    TaskAssigned,
    TaskAttemptFinished,
    TaskCancelRequested,
    TaskCompleted,
    TaskHung,
    TaskRequeued,
    TaskReturned,
    TaskRevoked,
    TaskStarted,
)
from events.worker import (
    Evidence,
    RecordedHeartbeat,
    StallCause,
    WorkerDisconnected,
    WorkerDraining,
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
    WorkerStalled,
    WorkerStallRefuted,
    WorkerStopped,
    WorkerSuspected,
    WorkerSuspicionRefuted,
    WorkerVanished,
)
from recovery.core import observe
from recovery.frozen import freeze, thaw
from tests.recovery.nonsense_orders import ORDERS, PAUSES
from tests.recovery.story import WORK, Story, policy_changed, registered, submitted

Step = tuple[str, int, int, int]

OUTCOMES: tuple[Outcome, ...] = ("passed", "failed", "crashed", "cancelled", "fenced", "timed_out")
POLICIES = (
    Policy(),
    Policy(auto_recovery=False),
    Policy(verdict_retries=2, infrastructure_retries=0, max_recovery_attempts=2, recovery_attempt_timeout=5.0),
    Policy(heartbeat_interval=0.5, suspect_after=2.0, self_fence_after=3.0, failed_after=4.0, ahead=100.0),
    Policy(flap_failures=2, flap_cordon=20.0, flap_cordon_max=50.0, recovery_attempt_timeout=5.0),
    Policy(attempts_reset_after=10.0, recovery_attempts_window=60.0, forecast_samples=6, forecast_cooldown=30.0),
    Policy(fail_fast_tasks=2, fail_fast_within=5.0, task_hang_cap=12.0, max_recovery_attempts=2),
)
DURATIONS = (0.0, 1.0, 0.1, 1e-3, 1e300, 5e-324)
LABELS: tuple[dict[str, str], ...] = ({}, {}, {"gpu": "yes"}, {"gpu": "yes", "os": "linux"}, {"os": "plan9"}, {})


class Nonsense:
    def __init__(self, story: Story) -> None:
        self.story = story

    def play(self, step: Step) -> None:
        verb, one, two, three = step
        VERBS[verb](self, one, two, three)

    # Who and which

    def worker_id(self, one: int) -> str:
        return f"w{one % 4}"

    def incarnation(self, one: int, two: int) -> int:
        worker = self.story.state.workers.get(self.worker_id(one))
        present = 3 if worker is None else worker.incarnation
        return (present, present, present, present, max(0, present - 1), self.story.last + 1)[two]

    def _attempt(self, one: int, two: int) -> int:
        worker = self.story.state.workers.get(self.worker_id(one))
        present = 1 if worker is None or worker.attempt is None else worker.attempt.number
        return present + (two == 5)

    def _word(self, one: int, two: int) -> tuple[str, str, int, int]:
        """Task, worker, incarnation, attempt of somebody who speaks about a task."""
        task_id = f"t{one}"
        task = self.story.state.tasks.get(task_id)
        if task is None or task.worker_id is None:
            return task_id, "w0", 2, 1
        return (
            task_id,
            task.worker_id if two != 3 else "w1",
            task.incarnation + (two == 4),
            max(1, task.attempt - (two == 5)),
        )

    def pretend(self, one: int, _two: int, _three: int) -> None:
        """What comes is made up from here on; or it is not any more."""
        self.story.label = (None, None, None, "drill", "drill", "another")[one]

    # Workers

    def register(self, one: int, two: int, three: int) -> None:
        self.story.tell(registered(self.worker_id(one), slots=1 + two % 3, labels=LABELS[three]))

    def beat(self, one: int, two: int, _: int) -> None:
        if self.worker_id(one) in self.story.state.workers:
            self.story.beat(self.worker_id(one), incarnation=self.incarnation(one, two))

    def all_beat(self, _one: int, two: int, three: int) -> None:
        self.story.beat(*self.story.state.workers, free=two, unreported=three // 4)

    def live_on(self, one: int, two: int, three: int) -> None:
        """Some time in which everybody beats."""
        for _ in range(4 * one):
            self.story.now = quantised(self.story.now + 2.0)
            self.story.beat(*self.story.state.workers, free=two, unreported=three // 4)

    def leak(self, one: int, two: int, _three: int) -> None:
        for n in range(5, 45 + two if self.worker_id(one) in self.story.state.workers else 0):
            self.story.now = quantised(self.story.now + 0.4)
            self.story.beat(self.worker_id(one), beat=n, memory_available_bytes=90 - n, tasks_memory_bytes=n)

    def unreadable_beat(self, _one: int, _two: int, _three: int) -> None:
        story = self.story
        story.beats.append(RecordedHeartbeat(len(story.beats) + 1, story.now, None))
        observe(story.state, story.beats[-1])

    def exit(self, one: int, two: int, three: int) -> None:
        incarnation = 0 if three == 0 else self.incarnation(one, two)
        self.story.tell(WorkerExited(worker_id=self.worker_id(one), incarnation=incarnation, hung=three == 1))

    def vanish(self, one: int, two: int, _: int) -> None:
        incarnation = self.incarnation(one, two)
        self.story.tell(
            WorkerVanished(worker_id=self.worker_id(one), incarnation=incarnation, machine="m", lifeline="l")
        )

    def disconnect(self, one: int, two: int, three: int) -> None:
        worker_id, incarnation = self.worker_id(one), self.incarnation(one, two)
        beat = self.story.state.beats.get(worker_id)
        known = 0 if beat is None or three == 0 else beat.sequence
        self.story.tell(
            WorkerDisconnected(worker_id=worker_id, incarnation=incarnation, heartbeat_sequence=known + (three == 1))
        )

    def drain(self, one: int, two: int, _: int) -> None:
        self.story.tell(WorkerDraining(worker_id=self.worker_id(one), incarnation=self.incarnation(one, two)))

    def stop(self, one: int, two: int, _: int) -> None:
        self.story.tell(WorkerStopped(worker_id=self.worker_id(one), incarnation=self.incarnation(one, two)))

    def fail(self, one: int, two: int, three: int) -> None:
        incarnation = None if three < 3 else self.incarnation(one, two)
        message = "x" * 32_768 if two == 0 else ""
        event = WorkerFailed(
            worker_id=self.worker_id(one), reason="synthetic", incarnation=incarnation, message=message
        )
        self.story.tell(event, synthetic="drill" if three == 0 else None)

    def suspect(self, one: int, two: int, three: int) -> None:
        evidence = Evidence(heartbeat_sequence=three)
        incarnation = self.incarnation(one, two)
        kind = WorkerSuspected if three % 2 else WorkerSuspicionRefuted
        self.story.tell(kind(worker_id=self.worker_id(one), incarnation=incarnation, evidence=evidence))

    def stall(self, one: int, two: int, three: int) -> None:
        worker_id, incarnation = self.worker_id(one), self.incarnation(one, two)
        if three == 0:
            self.story.tell(WorkerStallRefuted(worker_id=worker_id, incarnation=incarnation, reason="forged"))
            return
        cause: StallCause = ("not_started", "not_obeyed", "failing_fast")[three % 3]
        self.story.tell(
            WorkerStalled(worker_id=worker_id, incarnation=incarnation, cause=cause, restart=three % 2 == 0)
        )

    def exclude(self, one: int, _two: int, _three: int) -> None:
        self.story.tell(WorkerPermanentlyFailed(worker_id=self.worker_id(one), attempts=0))

    def readmit(self, one: int, _two: int, _three: int) -> None:
        self.story.tell(WorkerReadmitted(worker_id=self.worker_id(one), actor="alice"))

    def answer(self, one: int, two: int, _: int) -> None:
        attempt, incarnation = self._attempt(one, two), self.incarnation(one, two)
        self.story.tell(WorkerProbeAnswered(worker_id=self.worker_id(one), incarnation=incarnation, attempt=attempt))

    def forge_attempt(self, one: int, two: int, three: int) -> None:
        self.story.budgets_forged = True
        worker_id, number, incarnation = self.worker_id(one), self._attempt(one, two), self.incarnation(one, two)
        moment = utc(self.story.now + three)
        self.story.tell(
            (
                WorkerRecoveryScheduled(
                    worker_id=worker_id, incarnation=incarnation, attempt=number, strategy="await", not_before=moment
                ),
                WorkerRecoveryStarted(
                    worker_id=worker_id, incarnation=incarnation, attempt=number, strategy="await", deadline=moment
                ),
                WorkerRecoveryProbed(worker_id=worker_id, incarnation=incarnation, attempt=number),
                WorkerRecoverySucceeded(
                    worker_id=worker_id, incarnation=incarnation, attempt=number, strategy="await", duration_s=1.0
                ),
                WorkerRecoveryFailed(
                    worker_id=worker_id, incarnation=incarnation, attempt=number, strategy="await", error="forged"
                ),
                WorkerRecoverySuperseded(
                    worker_id=worker_id, incarnation=incarnation, attempt=number, strategy="await", reason="forged"
                ),
            )[three]
        )

    # Tasks

    def submit(self, one: int, two: int, three: int) -> None:
        self.story.tell(
            submitted(
                f"t{one}",
                run_id=f"r{one % 2}",
                priority=two - 2,
                requires=LABELS[three],
                timeout_s=10.0 if three == 1 else None,
                infrastructure_retries=two if two < 2 else None,
            )
        )

    def start(self, one: int, two: int, _: int) -> None:
        task_id, worker_id, incarnation, attempt = self._word(one, two)
        self.story.tell(TaskStarted(task_id=task_id, worker_id=worker_id, incarnation=incarnation, attempt=attempt))

    def finish(self, one: int, two: int, three: int) -> None:
        task_id, worker_id, incarnation, attempt = self._word(one, two)
        self.story.tell(
            TaskAttemptFinished(
                task_id=task_id,
                worker_id=worker_id,
                incarnation=incarnation,
                attempt=attempt,
                outcome=OUTCOMES[three],
                duration_s=DURATIONS[two],
                unstartable=three == 2,
            )
        )

    def fail_at_once(self, _one: int, two: int, _three: int) -> None:
        """Whoever holds tasks fails one."""
        for task in list(self.story.state.tasks.values()):
            if task.status == "assigned" and task.worker_id == self.worker_id(two):
                self.story.finish(task.task_id, "failed", 0.0)
                self.story.tell(submitted(f"t{len(self.story.state.tasks)}", run_id="r0"))
                return

    def hang(self, one: int, two: int, _: int) -> None:
        task_id, worker_id, incarnation, attempt = self._word(one, two)
        event = TaskHung(
            task_id=task_id,
            worker_id=worker_id,
            incarnation=incarnation,
            attempt=attempt,
            started_sequence=1,
            ran_s=1.0,
            limit_s=1.0,
        )
        self.story.tell(event)

    def give_back(self, one: int, two: int, three: int) -> None:
        task_id, worker_id, incarnation, attempt = self._word(one, two)
        event = TaskReturned(
            task_id=task_id, worker_id=worker_id, incarnation=incarnation, attempt=attempt, unknown=three == 0
        )
        self.story.tell(event)

    def cancel(self, one: int, _two: int, _three: int) -> None:
        self.story.tell(TaskCancelRequested(task_id=f"t{one}", actor="alice"))

    def cancel_run(self, one: int, _two: int, _three: int) -> None:
        self.story.tell(RunCancelRequested(run_id=f"r{one % 3}", actor="alice"))

    def forge_task(self, one: int, two: int, three: int) -> None:
        self.story.budgets_forged = True
        task_id, worker_id, incarnation, attempt = self._word(one, two)
        self.story.tell(
            (
                TaskAssigned(
                    task_id=task_id,
                    worker_id=self.worker_id(two),
                    incarnation=self.incarnation(two, two),
                    attempt=attempt + 1,
                    work=WORK,
                ),
                TaskRevoked(task_id=task_id, worker_id=worker_id, incarnation=incarnation, attempt=attempt),
                TaskRequeued(
                    task_id=task_id, worker_id=worker_id, attempt=attempt, reason="lost", budget="infrastructure"
                ),
                TaskRequeued(task_id=task_id, worker_id=worker_id, attempt=attempt, reason="lost", budget="none"),
                TaskCompleted(task_id=task_id, run_id="r0", verdict="quarantined", attempt=attempt),
                TaskCancelRequested(task_id="t99", actor="alice"),
            )[three]
        )

    # The system

    def elect(self, one: int, two: int, _: int) -> None:
        self.story.tell(LeaderElected(coordinator_id=f"c{one}", term=1 + two))

    def step_down(self, one: int, _two: int, _three: int) -> None:
        self.story.tell(CoordinatorStopped(coordinator_id=f"c{one}"))

    def change_policy(self, one: int, _two: int, _three: int) -> None:
        # Budgets that were spent under another policy may be more than this one allows.
        self.story.budgets_forged = True
        self.story.tell(policy_changed(POLICIES[one % len(POLICIES)]))

    def forge_system(self, one: int, two: int, three: int) -> None:
        incident = self.story.state.incidents.get("mass_worker_loss")
        incident_id = "forged" if incident is None or two < 3 else incident.incident_id
        self.story.tell(
            (
                SystemStatusChanged(status="critical", previous="idle", workers_live=one, workers_expected=two),
                SystemStatusChanged(status="healthy", previous="idle", workers_live=one, workers_expected=two),
                SystemRecoveryStarted(incident_id="forged", incident_kind="mass_worker_loss", status="critical"),
                SystemRecoveryStarted(incident_id="forged", incident_kind="coordinator_failover", status="idle"),
                SystemRecoveryCompleted(
                    incident_id=incident_id,
                    incident_kind="mass_worker_loss",
                    status="healthy",
                    success=True,
                    duration_s=0.0,
                ),
                EventParked(sequence=max(0, self.story.last - two), subject="s", reason="forged"),
            )[three]
        )

    def garbage(self, one: int, _two: int, _three: int) -> None:
        self.story.garbage(b"{" * one)

    # Time and the leader

    def wait(self, one: int, _two: int, _three: int) -> None:
        self.story.now = quantised(self.story.now + PAUSES[one])

    def doubt(self, one: int, two: int, _: int) -> None:
        """Its leader distrusts its own eyes; now and then because the clock was set, either way."""
        if two < 2:
            self.story.now = quantised(self.story.now + (PAUSES[one] if two else -PAUSES[one]))
        self.story.tell(
            DetectorDegraded(
                reason="clock_step" if two < 2 else "own_pause",
                extent_s=PAUSES[one],
                heartbeats_sequence=len(self.story.beats),
            )
        )

    def restart(self, _one: int, _two: int, _three: int) -> None:
        """Whoever goes on has not folded what there was, but read a snapshot."""
        self.story.state = thaw(freeze(self.story.state))

    def lead(self, _one: int, _two: int, _three: int) -> None:
        self.story.lead()

    def settle(self, _one: int, _two: int, _three: int) -> None:
        self.story.leading = True
        self.story.settle()
        self.story.leading = False


VERBS: dict[str, Callable[[Nonsense, int, int, int], None]] = ORDERS | {
    name: verb
    for name, verb in vars(Nonsense).items()
    if callable(verb) and not name.startswith("_") and name not in ("play", "worker_id", "incarnation")
}
OFTEN = (
    *("register", "submit", "start", "finish", "live_on", "exit", "answer", "wait", "settle"),
    *("register", "submit", "start", "all_beat", "all_beat", "wait", "wait", "lead", "settle", "settle"),
)

_STEP = st.tuples(st.sampled_from([*VERBS, *OFTEN]), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))

STEPS: st.SearchStrategy[list[Step]] = st.one_of(
    st.lists(_STEP, max_size=20), st.lists(_STEP, min_size=30, max_size=150), st.lists(_STEP, min_size=60, max_size=150)
)
"""Short ones for the shape of a failure, long ones to reach deep."""
