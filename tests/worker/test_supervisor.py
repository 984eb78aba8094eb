"""The supervisor against real agents: it says the truth about their end, at once, and leaves nothing of them."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from events.base import Event
from events.clock import utc
from events.task import TaskStarted
from events.worker import (
    WorkerExited,
    WorkerFailed,
    WorkerPermanentlyFailed,
    WorkerProbeAnswered,
    WorkerReadmitted,
    WorkerRecoveryFailed,
    WorkerRecoveryProbed,
    WorkerRecoveryStarted,
    WorkerRecoverySucceeded,
    WorkerRecoverySuperseded,
    WorkerStopped,
)
from tests.waiting import is_kind, until
from tests.worker.farm import CLINGS, SHORT, Farm, Worker, command
from worker.orders import Orders
from worker.watchdog import PINGS, Watchdog


async def busy_worker(farm: Farm, *options: str) -> Worker:
    """A worker that runs a task which is hard to get rid of."""
    worker = await farm.start("w1", *options)
    await farm.assign(worker, command(*CLINGS))
    await farm.seen(is_kind(TaskStarted, task_id="t1"))
    await worker.beneath(3)  # the keeper and two of the task
    return worker


async def test_a_killed_agent_is_reported_once_nothing_of_it_runs(farm: Farm) -> None:
    worker = await busy_worker(farm)
    os.kill(worker.agent_pid, signal.SIGKILL)
    report = await farm.exit_of(worker)
    assert worker.alive() == [worker.process.pid]
    assert (report.incarnation, report.signal, report.exit_code, report.hung) == (worker.incarnation, 9, None, False)


async def test_a_stopped_agent_is_hung_and_killed(farm: Farm) -> None:
    worker = await busy_worker(farm)
    os.kill(worker.agent_pid, signal.SIGSTOP)
    report = await farm.exit_of(worker, within_s=SHORT.watchdog_after + 0.5)
    assert (report.hung, report.signal) == (True, 9)
    assert report.unanswered_s is not None
    assert report.unanswered_s >= SHORT.watchdog_after
    assert worker.alive() == [worker.process.pid]


async def test_the_watchdog_follows_the_policy(farm: Farm) -> None:
    worker = await farm.start()
    await farm.rule(msgspec.structs.replace(SHORT, watchdog_after=0.2))
    os.kill(worker.agent_pid, signal.SIGSTOP)
    report = await farm.exit_of(worker, within_s=0.9)
    assert report.hung


async def test_a_stopped_supervisor_does_not_blame_its_agent(farm: Farm) -> None:
    worker = await busy_worker(farm)
    os.kill(worker.process.pid, signal.SIGSTOP)
    heard = await farm.beat(worker, lambda beat: beat.heartbeat is not None)
    assert heard.heartbeat is not None
    last = heard.heartbeat.beat
    # Longer than the watchdog's patience: at 0.2 s each, so many heartbeats.
    await farm.beat(worker, lambda beat: beat.heartbeat is not None and beat.heartbeat.beat >= last + 8)
    os.kill(worker.process.pid, signal.SIGCONT)
    await farm.beat(worker, lambda beat: beat.heartbeat is not None and beat.heartbeat.beat >= last + 14)
    assert not await farm.events(WorkerExited)


async def test_nothing_outlives_a_worker_killed_whole(farm: Farm) -> None:
    worker = await busy_worker(farm)
    os.kill(worker.process.pid, signal.SIGKILL)
    await until(lambda: worker.process.poll() is not None)
    await until(lambda: not worker.alive(), within_s=2, what="everything of the worker to be gone")


async def test_a_dead_agent_is_replaced_by_order_and_answers_the_probe(farm: Farm) -> None:
    worker = await busy_worker(farm)
    first, pid = worker.incarnation, worker.agent_pid
    os.kill(worker.agent_pid, signal.SIGKILL)
    await farm.exit_of(worker)
    await farm.say(WorkerFailed(worker_id="w1", reason="worker_exit", incarnation=first))
    await farm.order_restart(worker)
    await farm.registered(worker)
    assert worker.incarnation > first
    assert worker.agent_pid != pid
    await farm.say(WorkerRecoveryProbed(worker_id="w1", incarnation=worker.incarnation, attempt=1))
    await farm.seen(is_kind(WorkerProbeAnswered, incarnation=worker.incarnation, attempt=1))
    await farm.assign(worker, command("true"), attempt=2)
    assert (await farm.ending("t1", attempt=2)).outcome == "passed"


async def test_an_order_replaces_an_agent_that_lives(farm: Farm) -> None:
    worker = await busy_worker(farm)
    first = worker.incarnation
    await farm.order_restart(worker)
    report = await farm.exit_of(worker, incarnation=first)
    assert "recovery attempt 1" in report.detail
    await farm.registered(worker)
    assert len(worker.alive()) == 2


async def test_an_order_is_fulfilled_by_an_agent_that_renews_itself(farm: Farm) -> None:
    """Condemned while it lives, it registers again by itself; the order that follows must not kill that."""
    worker = await busy_worker(farm)
    pid = worker.agent_pid
    await farm.say(WorkerFailed(worker_id="w1", reason="synthetic"))
    await farm.order_restart(worker)
    await farm.registered(worker)
    assert worker.agent_pid == pid
    await farm.say(WorkerRecoveryProbed(worker_id="w1", incarnation=worker.incarnation, attempt=1))
    await farm.seen(is_kind(WorkerProbeAnswered, incarnation=worker.incarnation))
    assert not await farm.events(WorkerExited)


async def test_an_order_stands_by_whatever_clock(farm: Farm) -> None:
    """The broker's has been set back since the leader looked at it, or forth: the attempt is open, the order stands."""
    worker = await farm.start()
    await farm.order_restart(worker, within_s=-3_600.0)
    report = await farm.exit_of(worker)
    assert "attempt 1" in report.detail
    await farm.registered(worker)


async def test_an_order_that_is_heard_of_too_late_is_not_carried_out(farm: Farm) -> None:
    """The supervisor stood still while attempts were begun and given up."""
    worker = await farm.start()
    os.kill(worker.process.pid, signal.SIGSTOP)
    for attempt in (1, 2):
        await farm.order_restart(worker, attempt)
        given_up = WorkerRecoveryFailed(
            worker_id="w1", incarnation=worker.incarnation, attempt=attempt, strategy="restart", error="no answer"
        )
        await farm.say(given_up)
    os.kill(worker.process.pid, signal.SIGCONT)
    await farm.order_restart(worker, attempt=3)
    report = await farm.exit_of(worker)
    assert "attempt 3" in report.detail
    await farm.registered(worker)
    assert len(await farm.events(WorkerExited)) == 1


async def test_a_permanently_failed_worker_waits_for_readmission_and_an_order(farm: Farm) -> None:
    worker = await farm.start()
    os.kill(worker.agent_pid, signal.SIGKILL)
    await farm.exit_of(worker)
    await farm.say(WorkerPermanentlyFailed(worker_id="w1", attempts=5))
    await farm.say(WorkerReadmitted(worker_id="w1", actor="test"))
    ordered = await farm.order_restart(worker)
    assert (await farm.registered(worker)).sequence > ordered
    assert worker.process.poll() is None


async def test_stopping_a_worker_that_waits_for_its_recovery(farm: Farm) -> None:
    worker = await farm.start()
    os.kill(worker.agent_pid, signal.SIGKILL)
    await farm.exit_of(worker)
    worker.process.send_signal(signal.SIGTERM)
    assert await worker.ended() == 0
    await farm.seen(is_kind(WorkerStopped, incarnation=worker.incarnation))


async def test_an_agent_that_dies_while_it_drains_is_no_orderly_end(farm: Farm) -> None:
    worker = await busy_worker(farm)
    worker.process.send_signal(signal.SIGTERM)
    await farm.seen(lambda recorded: recorded.subject.endswith("draining"))
    os.kill(worker.agent_pid, signal.SIGKILL)
    assert await worker.ended() == 1
    assert "signal 9" in worker.stderr()
    kinds = [type(recorded.event) for recorded in await farm.events(WorkerExited, WorkerStopped)]
    assert kinds == [WorkerExited, WorkerStopped]


async def test_the_newer_of_two_workers_with_one_id_wins(farm: Farm) -> None:
    older = await busy_worker(farm)
    newer = await farm.start("w1")
    assert newer.incarnation > older.incarnation
    assert await older.ended() == 4
    assert "taken over" in older.stderr()
    assert older.alive() == []
    await farm.assign(newer, command("true"), first=2)
    assert (await farm.ending("t2")).incarnation == newer.incarnation
    assert not await farm.events(WorkerExited)


async def test_the_older_worker_gives_way_without_an_agent_too(farm: Farm) -> None:
    older = await farm.start()
    os.kill(older.agent_pid, signal.SIGKILL)
    await farm.exit_of(older)
    await farm.start("w1")
    assert await older.ended() == 4


# Orders alone


def restart(attempt: int, strategy: str = "restart") -> WorkerRecoveryStarted:
    return WorkerRecoveryStarted(
        worker_id="w1", incarnation=1, attempt=attempt, strategy=strategy, deadline=utc(1_000_000.0)
    )


def over(attempt: int) -> dict[str, Any]:
    return {"worker_id": "w1", "incarnation": 1, "attempt": attempt, "strategy": "restart"}


@pytest.mark.parametrize(
    ("told", "standing"),
    [
        ([], None),
        ([restart(1)], 1),
        ([restart(1), restart(2)], 2),
        ([restart(1), restart(2, "await")], None),
        ([restart(1, "await")], None),
        ([restart(1), WorkerRecoveryFailed(**over(1), error="no")], None),
        ([restart(1), WorkerRecoverySuperseded(**over(1), reason="stopped")], None),
        ([restart(1), WorkerRecoverySucceeded(**over(1), duration_s=1.0)], None),
        ([restart(1), WorkerPermanentlyFailed(worker_id="w1", attempts=5)], None),
        ([restart(2), WorkerRecoveryFailed(**over(1), error="no")], 2),
        ([restart(1), WorkerFailed(worker_id="w1", reason="silence"), None], 1),
    ],
)
def test_which_order_stands(told: list[Event | None], standing: int | None) -> None:
    orders = Orders()
    for event in told:
        orders.note(event)
    order = orders.take()
    assert (None if order is None else order.attempt) == standing
    assert orders.take() is None, "each is carried out once"


# How it is called


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--slots", "many"), "--slots"),
        (("--slots", "-1"), "out of range"),
        (("--worker-id", "a.b"), "'a.b' is no valid name"),
        (("--label", "gpu"), "'gpu' is not of the form key=value"),
        (("--drain-timeout", "-1"), "--drain-timeout -1"),
        (("--warm-suite", "{}"), "--warm-suite"),
        (("--log-level", "loud"), "'loud' is none of"),
        (("--no-such-option",), "--no-such-option"),
    ],
)
def test_a_wrong_option_gets_one_sentence(options: tuple[str, ...], words: str) -> None:
    done = run_worker("--nats-url", "nats://127.0.0.1:1", *options)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_no_broker_gets_one_sentence() -> None:
    done = run_worker("--nats-url", "nats://127.0.0.1:1")
    assert done.returncode == 3
    assert "no NATS server answers at nats://127.0.0.1:1" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def run_worker(*options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "worker", *options],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


# The watchdog alone


def pings(watchdog: Watchdog, start: float, count: int) -> float:
    """Sends so many pings in time; the moment at which the next is due."""
    for number in range(count):
        watchdog.ping(start + number * watchdog.interval)
    return start + count * watchdog.interval


def test_silence_is_judged_by_the_oldest_unanswered_ping() -> None:
    watchdog = Watchdog(2.0, 0.0)
    due = pings(watchdog, 0.0, PINGS - 1)
    assert not watchdog.hung(due)
    due = pings(watchdog, due, 1)
    assert watchdog.hung(due)
    watchdog.pong(1)
    assert not watchdog.hung(due)
    assert watchdog.unanswered_s(due) == pytest.approx(2.0 - watchdog.interval)


def test_a_late_watcher_judges_nobody() -> None:
    watchdog = Watchdog(2.0, 0.0)
    due = pings(watchdog, 0.0, 4)
    assert not watchdog.hung(due + 60)
    watchdog.ping(due + 60)
    assert watchdog.unanswered_s(due + 60) == 0.0
