"""Killing an agent in the middle of a test, and what must be seen afterwards."""

import os
import signal
import time

from coordinator.demo.chronicle import Running
from coordinator.demo.farm import alive
from coordinator.demo.findings import Found, Unfinished, find, requeue_of, start_after, unfinished
from coordinator.demo.opening import keep_busy
from coordinator.demo.stage import Killing, Stage
from coordinator.demo.words import at, ms, several, short
from events.task import TaskRequeued, TaskStarted
from events.worker import WorkerExited, WorkerFailed, WorkerRecoverySucceeded, WorkerRegistered

LASTS_S = 0.3
"""A test that has run this long will most likely run for another moment."""

LASTING_S_MAX = 10.0
POLL_S = 0.02
KILLS_MAX = 4
DETECT_S_MAX = 5.0
RECOVER_S_MAX = 8.0
REQUEUE_S_MAX = 5.0
START_S_MAX = 15.0
TREE_S_MAX = 5.0


async def kill_one(stage: Stage) -> None:
    """The whole of it: a kill, its detection, the worker, the processes, the tasks."""
    killing = await kill_an_agent(stage)
    chronicle, worker_id = stage.chronicle, killing.worker_id
    succeeded = await stage.expect(
        lambda: find(chronicle.after(killing.sequence), WorkerRecoverySucceeded, worker_id=worker_id),
        f"the recovery of {worker_id}",
        RECOVER_S_MAX,
        about=worker_id,
    )
    killing.recovered, killing.back_at = succeeded, succeeded.recorded.time
    stage.ensure(
        succeeded.event.incarnation > killing.incarnation,
        f"{worker_id} was called recovered in its old incarnation {killing.incarnation}",
    )
    stage.show.passed(
        f"{worker_id} is back {ms(killing.back_at - killing.at)} after the kill, by attempt {succeeded.event.attempt}, "
        f"{succeeded.event.strategy}: a new incarnation has registered, beats and answers {at(succeeded.recorded)}"
    )
    await tasks_come_back(stage, killing)


async def kill_an_agent(stage: Stage, *, but_not: frozenset[str] = frozenset()) -> Killing:
    """Kills, and makes sure that a test was under way; in the rare case that it had just ended, kills another."""
    chronicle = stage.chronicle
    for _ in range(KILLS_MAX):
        killing = await _kill(stage, await _lasting(stage, but_not))
        failed = await _detected(stage, killing)
        tasks = unfinished(chronicle.events, killing.worker_id, killing.incarnation)
        if any(task.started for task in tasks):
            killing.tasks = sorted(tasks, key=lambda task: not task.started)
            # The test chosen may have ended, and the next one begun, while the signal was on its way.
            killing.task_id = killing.tasks[0].task_id
            stage.killings.append(killing)
            return killing
        stage.show.tell(f"the test had ended in the moment before {at(failed)}: once more, with another worker")
        but_not |= {killing.worker_id}
        if len(but_not) >= stage.plan.workers:
            but_not = frozenset()
    raise stage.failed(f"{KILLS_MAX} agents were killed, and each had just finished its test")


async def _lasting(stage: Stage, but_not: frozenset[str]) -> Running:
    """A test that has been running for a while on a worker of ours."""
    await keep_busy(stage)
    chronicle = stage.chronicle

    def look() -> Running | None:
        now = time.time()
        lasting = [
            running
            for running in chronicle.running()
            if running.worker_id not in but_not
            and now - running.since >= LASTS_S
            and chronicle.state.workers[running.worker_id].status == "alive"
        ]
        # The youngest: an old one is about to end.
        return max(lasting, key=lambda running: running.since, default=None)

    return await stage.expect(look, f"a test that runs for {LASTS_S:g} s", LASTING_S_MAX, poll_s=POLL_S)


async def _kill(stage: Stage, running: Running) -> Killing:
    chronicle, worker_id = stage.chronicle, running.worker_id
    registered = find(chronicle.after(running.incarnation - 1), WorkerRegistered, worker_id=worker_id)
    assert registered is not None, "it runs a test, so it has registered"
    tree = stage.farm.agent_tree(worker_id, registered.event.pid)
    stage.ensure(
        bool(tree), f"{worker_id} registered as process {registered.event.pid}, which is no agent of its supervisor"
    )
    killing = Killing(worker_id, running.incarnation, running.task_id, time.time(), chronicle.sequence, len(tree))
    os.kill(registered.event.pid, signal.SIGKILL)
    stage.show.tell(
        f"{worker_id} was in {short(chronicle.names[running.task_id])} for {ms(killing.at - running.since)}: "
        f"SIGKILL for its agent, process {registered.event.pid}"
    )
    await stage.expect(
        lambda: not alive(tree) or None, "the end of all processes of the agent", TREE_S_MAX, poll_s=POLL_S
    )
    killing.gone_s = time.time() - killing.at
    return killing


async def _detected(stage: Stage, killing: Killing) -> object:
    chronicle, worker_id = stage.chronicle, killing.worker_id
    exited = await stage.expect(
        lambda: find(
            chronicle.after(killing.sequence), WorkerExited, worker_id=worker_id, incarnation=killing.incarnation
        ),
        f"the report that the agent of {worker_id} has ended",
        DETECT_S_MAX,
        about=worker_id,
    )
    stage.ensure(
        exited.event.signal == signal.SIGKILL,
        f"{worker_id} ended by itself: exit code {exited.event.exit_code}, signal {exited.event.signal}",
    )
    failed = await stage.expect(
        lambda: find(
            chronicle.after(killing.sequence), WorkerFailed, worker_id=worker_id, incarnation=killing.incarnation
        ),
        f"the failure of {worker_id}",
        DETECT_S_MAX,
        about=worker_id,
    )
    stage.show.passed(
        f"seen to have failed {ms(failed.recorded.time - killing.at)} after the kill: {failed.event.message} "
        f"{at(exited.recorded, failed.recorded)}"
    )
    stage.show.passed(
        f"of the {killing.processes} processes of the agent and its tests none was left after {ms(killing.gone_s)}"
    )
    return failed.recorded


async def tasks_come_back(stage: Stage, killing: Killing, *, after: int = 0) -> None:
    """Each task of the killed incarnation is requeued (behind `after`), and begins again under a higher attempt."""
    waited: list[float] = []
    for task in killing.tasks:
        requeued, start = await _comes_back(stage, killing, task, max(after, killing.sequence))
        later = start.recorded.time - requeued.recorded.time
        if not task.started:
            waited.append(later)
            continue
        stage.show.passed(
            f"{short(stage.chronicle.names[task.task_id])} had been running: requeued, and after {ms(later)} started "
            f"again on {start.event.worker_id} as attempt {start.event.attempt} "
            f"{at(requeued.recorded, start.recorded)}"
        )
    if waited:
        stage.show.passed(
            f"{several(len(waited), 'test')} had been handed to {killing.worker_id} and not begun: requeued as well, "
            f"and begun under a higher attempt, the last after {ms(max(waited))}"
        )


async def _comes_back(
    stage: Stage, killing: Killing, task: Unfinished, after: int
) -> tuple[Found[TaskRequeued], Found[TaskStarted]]:
    chronicle = stage.chronicle
    name = short(chronicle.names[task.task_id])
    requeued = await stage.expect(
        lambda: requeue_of(chronicle.after(after), task),
        f"the return of {task.task_id} ({name}) to the queue",
        REQUEUE_S_MAX,
        about=task.task_id,
    )
    stage.ensure(
        (requeued.event.reason, requeued.event.worker_id) == ("worker_failed", killing.worker_id),
        f"{task.task_id} was requeued for another reason: {requeued.event.reason}",
    )
    start = await stage.expect(
        lambda: start_after(chronicle.after(requeued.recorded.sequence), task),
        f"a new start of {task.task_id} ({name})",
        START_S_MAX,
        about=task.task_id,
    )
    stage.ensure(
        start.event.worker_id != killing.worker_id or start.event.incarnation > killing.incarnation,
        f"{task.task_id} was started again in the incarnation that had failed",
    )
    return requeued, start
