"""Ways to die that somebody can tell of at once: the supervisor that is left, or the kernel when nobody is.

A row a way; each takes the life of a worker that runs a task, one after the other in one farm. SIGSTOP for three
seconds does to an agent what it does for ever: its supervisor's patience is shorter. "Out of memory" is a control
group's limit where one can be made, and else the signal that the kernel would send.
"""

import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from events.envelope import Recorded
from events.failures import FailureReason
from events.task import TaskAssigned, TaskAttemptFinished, TaskCompleted, TaskHung, TaskRequeued, TaskStarted
from events.worker import (
    WorkerExited,
    WorkerFailed,
    WorkerRecoveryScheduled,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRegistered,
    WorkerVanished,
)
from tests.chaos.checks import check_everything
from tests.chaos.puppet import EXIT_0, EXIT_1
from tests.chaos.told import Fact, check_apart, fact, in_order, never
from tests.chaos.wired import GREED_MB, REPORTED, Victim, WiredFarm, memory_limit

PAGE = 4096
MB = 1 << 20
LIMIT_S = 2.0


class Way(NamedTuple):
    title: str
    take: Callable[[WiredFarm, Victim], Awaitable[None]]
    exit_code: int | None = None
    signal: int | None = None
    hung: bool = False

    @property
    def word(self) -> str:
        return self.title.replace(" ", "-")

    @property
    def reason(self) -> FailureReason:
        return "worker_hung" if self.hung else "worker_exit"


def to_agent(number: int) -> Callable[[WiredFarm, Victim], Awaitable[None]]:
    async def take(farm: WiredFarm, victim: Victim) -> None:
        victim.agent.send_signal(number)

    return take


def to_supervisor(number: int) -> Callable[[WiredFarm, Victim], Awaitable[None]]:
    async def take(farm: WiredFarm, victim: Victim) -> None:
        victim.supervisor.send_signal(number)

    return take


async def starve(farm: WiredFarm, victim: Victim) -> None:
    """The kernel's own choice to kill it, where it can be had; else the signal that comes of it."""
    async with memory_limit(victim.agent, PAGE) as limited:
        if not limited:
            victim.agent.kill()
        await farm.seen(WorkerExited, after=victim.since, worker_id=victim.worker_id)


async def kill_both(farm: WiredFarm, victim: Victim) -> None:
    victim.kill()


AGENTS = (
    Way("exit 0 of the agent", to_agent(EXIT_0), exit_code=0),
    Way("exit 1 of the agent", to_agent(EXIT_1), exit_code=1),
    Way("SIGKILL of the agent", to_agent(signal.SIGKILL), signal=signal.SIGKILL),
    Way("SIGSEGV of the agent", to_agent(signal.SIGSEGV), signal=signal.SIGSEGV),
    Way("the agent out of memory", starve, signal=signal.SIGKILL),
    Way("SIGSTOP of the agent", to_agent(signal.SIGSTOP), signal=signal.SIGKILL, hung=True),
)
SUPERVISORS = (
    Way("exit 0 of the supervisor", to_supervisor(EXIT_0)),
    Way("exit 1 of the supervisor", to_supervisor(EXIT_1)),
    Way("SIGKILL of the supervisor", to_supervisor(signal.SIGKILL)),
    Way("SIGSEGV of the supervisor", to_supervisor(signal.SIGSEGV)),
    Way("SIGKILL of both", kill_both),
)


class Death(NamedTuple):
    way: Way
    victim: Victim
    struck_at: float
    """By the clock that the broker goes by as well."""


async def die(farm: WiredFarm, way: Way) -> Death:
    """Returns when somebody else has passed the victim's task."""
    victim = await farm.victim(way.word)
    struck_at = time.time()
    await way.take(farm, victim)
    await farm.passes(victim, runs=2)
    return Death(way, victim, struck_at)


def check_death(farm: WiredFarm, records: Sequence[Recorded], death: Death, *story: Fact) -> list[Recorded]:
    """`story`: what is told of the worker, its evidence and its failure first."""
    victim = death.victim
    task_id = victim.task_id
    told = in_order(records, *story, after=victim.since)
    evidence, failed = told[:2]
    assert isinstance(failed.event, WorkerFailed)
    assert failed.event.evidence is not None
    assert failed.event.evidence.event_sequence == evidence.sequence
    assert failed.time < death.struck_at + farm.policy.failed_after, "its silence would have told as soon"
    *_, started, _ = in_order(
        records,
        fact(TaskRequeued, task_id=task_id, attempt=1, reason="worker_failed", budget="infrastructure"),
        fact(TaskAssigned, task_id=task_id, attempt=2),
        fact(TaskStarted, task_id=task_id, attempt=2),
        fact(TaskCompleted, task_id=task_id, attempt=2, verdict="passed"),
        after=failed.sequence,
    )
    assert isinstance(started.event, TaskStarted)
    assert started.event.worker_id != victim.worker_id
    check_apart(farm.shop.folder, victim.word, runs=2)
    return told


async def test_ends_that_a_supervisor_reports(tmp_path: Path) -> None:
    async with WiredFarm(tmp_path, REPORTED, alone=False) as farm:
        await farm.start()
        deaths: list[Death] = []
        for way in AGENTS:
            death = await die(farm, way)
            name = death.victim.worker_id
            await farm.seen(WorkerRecoverySucceeded, after=death.victim.since, worker_id=name)
            deaths.append(death)
        records = await check_everything(farm)
        for death in deaths:
            way, victim = death.way, death.victim
            who = {"worker_id": victim.worker_id}
            how = {"exit_code": way.exit_code, "signal": way.signal, "hung": way.hung}
            exited, *_ = check_death(
                farm,
                records,
                death,
                fact(WorkerExited, **who, incarnation=victim.incarnation, **how),
                fact(WorkerFailed, **who, incarnation=victim.incarnation, reason=way.reason),
                fact(WorkerRecoveryScheduled, **who, attempt=1, strategy="restart"),
                fact(WorkerRecoveryStarted, **who, attempt=1),
                fact(WorkerRegistered, **who),
                fact(WorkerRecoverySucceeded, **who, attempt=1),
            )
            assert isinstance(exited.event, WorkerExited)
            assert not way.hung or (exited.event.unanswered_s or 0.0) >= farm.policy.watchdog_after
        never(records, fact(WorkerVanished))


async def test_ends_that_nobody_of_the_worker_is_left_to_report(tmp_path: Path) -> None:
    async with WiredFarm(tmp_path, REPORTED, alone=False) as farm:
        await farm.start()
        deaths: list[Death] = []
        for way in SUPERVISORS:
            death = await die(farm, way)
            name, since = death.victim.worker_id, death.victim.since
            await farm.seen(WorkerRecoveryStarted, after=since, worker_id=name)
            await farm.start_workers(name)
            await farm.seen(WorkerRecoverySucceeded, after=since, worker_id=name)
            deaths.append(death)
        records = await check_everything(farm)
        for death in deaths:
            victim = death.victim
            who = {"worker_id": victim.worker_id}
            check_death(
                farm,
                records,
                death,
                fact(WorkerVanished, **who, incarnation=victim.incarnation),
                fact(WorkerFailed, **who, incarnation=victim.incarnation, reason="disconnected"),
                fact(WorkerRecoveryScheduled, **who, attempt=1, strategy="await"),
                fact(WorkerRecoveryStarted, **who, attempt=1),
                fact(WorkerRegistered, **who),
                fact(WorkerRecoverySucceeded, **who, attempt=1),
            )
        never(records, fact(WorkerExited))


async def test_tasks_that_die_alone(tmp_path: Path) -> None:
    """Their worker goes on, and can say what became of them."""
    async with WiredFarm(tmp_path, REPORTED, alone=False) as farm:
        await farm.start(workers=1, slots=3)
        greedy = await farm.victim("greedy")
        unmoved = await farm.victim("unmoved", timeout_s=LIMIT_S)
        unkept = await farm.victim("unkept", timeout_s=LIMIT_S)
        eater, stopped, unguarded = [
            psutil.Process(farm.shop.runs(victim.word)[0]) for victim in (greedy, unmoved, unkept)
        ]
        stopped.suspend()
        keeper = unguarded.parent()
        assert keeper is not None
        assert keeper.ppid() == unkept.agent.pid
        keeper.suspend()  # and its agent wakes it when it has an order for it
        async with memory_limit(eater, GREED_MB * MB // 2) as limited:
            if limited:
                (farm.shop.folder / "greedy.eat").touch()
            else:
                eater.kill()
            await farm.seen(TaskCompleted, task_id=greedy.task_id)
        await farm.verdicts()

        records = await check_everything(farm)
        for victim, outcome, signal_number in (
            (greedy, "crashed", signal.SIGKILL),
            (unmoved, "timed_out", None),
            (unkept, "timed_out", None),
        ):
            who = {"task_id": victim.task_id, "attempt": 1}
            _, finished, _ = in_order(
                records,
                fact(TaskStarted, **who),
                fact(TaskAttemptFinished, **who, outcome=outcome, signal=signal_number),
                fact(TaskCompleted, **who, verdict=outcome),
            )
            # By the worker's clock: when its start was stored says less.
            assert isinstance(finished.event, TaskAttemptFinished)
            assert outcome == "crashed" or finished.event.duration_s >= LIMIT_S
            check_apart(farm.shop.folder, victim.word, runs=1)
        never(records, fact(TaskHung), fact(WorkerExited), fact(WorkerFailed))
