"""Recovery by hand: automatic recovery is switched off, an agent is killed, and nothing happens until somebody acts."""

import asyncio

import msgspec

from coordinator.demo.findings import attempts_on, find, requeue_of
from coordinator.demo.killing import kill_an_agent, tasks_come_back
from coordinator.demo.stage import Killing, Stage
from coordinator.demo.words import at, ms, several
from events.policy import Policy, policy_hash
from events.system import PolicyChanged
from events.worker import WorkerRegistered, WorkerStopped
from events.writer import Writer

HOLD_S = 2.0
"""How long nothing must happen. Automatic recovery takes its first step within milliseconds."""

STOPPED_S_MAX = 5.0
REGISTERED_S_MAX = 15.0
PATIENCE_S = 5.0
SETTLED_S = 0.3
CHANGES_MAX = 3


async def recover_by_hand(stage: Stage) -> None:
    chronicle = stage.chronicle
    policy = chronicle.state.policy
    stage.ensure(policy.auto_recovery, "automatic recovery was off already, by the configured policy")
    sequence = await _change(stage, policy, auto_recovery=False)
    stage.show.passed(f"automatic recovery is off, and the log says who did it (event {sequence})")
    killing = await kill_an_agent(stage, but_not=frozenset(one.worker_id for one in stage.killings))
    await _nothing_happens(stage, killing)
    await _start_again(stage, killing)
    on = await _change(stage, chronicle.state.policy, auto_recovery=True)
    stage.show.passed(f"automatic recovery is on again (event {on}): what was owed is done now")
    await tasks_come_back(stage, killing, after=on)
    attempts = attempts_on(chronicle.after(killing.sequence), killing.worker_id)
    stage.ensure(not attempts, f"an attempt was made on {killing.worker_id}, which was back already {at(*attempts)}")


async def _change(stage: Stage, policy: Policy, *, auto_recovery: bool) -> int:
    """Puts a policy into force by an event, and makes sure that it stays: a leader that has just been elected may put
    its own configured one in its place."""
    chronicle = stage.chronicle
    wanted = msgspec.structs.replace(policy, auto_recovery=auto_recovery)
    why = "the recovery by hand is over" if auto_recovery else "to show a recovery by hand"
    event = PolicyChanged(policy=wanted, policy_hash=policy_hash(wanted), actor=f"{stage.plan.actor}, demo: {why}")
    writer = Writer(chronicle.log, f"demo/{stage.plan.actor}"[:128])
    for _ in range(CHANGES_MAX):
        appended = await writer.write(event, patience_s=PATIENCE_S)
        await asyncio.sleep(0.0 if auto_recovery else SETTLED_S)
        await chronicle.read_to_the_end()
        if chronicle.state.policy.auto_recovery is auto_recovery:
            return appended.last
        stage.show.tell(f"{stage.leader}, just elected, has put its configured policy in its place: once more")
    raise stage.failed(f"the policy of event {appended.last} was replaced {CHANGES_MAX} times")


async def _nothing_happens(stage: Stage, killing: Killing) -> None:
    chronicle = stage.chronicle
    await asyncio.sleep(HOLD_S)
    await chronicle.read_to_the_end()
    since = chronicle.after(killing.sequence)
    attempts = attempts_on(since, killing.worker_id)
    stage.ensure(not attempts, f"an attempt to bring {killing.worker_id} back was made all the same {at(*attempts)}")
    requeued = [found.recorded for task in killing.tasks if (found := requeue_of(since, task)) is not None]
    stage.ensure(not requeued, f"tasks of {killing.worker_id} were requeued all the same {at(*requeued)}")
    status = chronicle.state.workers[killing.worker_id].status
    stage.ensure(status == "failed", f"{killing.worker_id} is {status}")
    stage.show.passed(
        f"for {HOLD_S:g} s {killing.worker_id} stays failed: the log holds no attempt to bring it back, and of its "
        f"{several(len(killing.tasks), 'task')} none is requeued"
    )


async def _start_again(stage: Stage, killing: Killing) -> None:
    """As a person would: end what is left of the worker, its supervisor, and start it anew."""
    chronicle, worker_id = stage.chronicle, killing.worker_id
    stage.show.tell(
        "by hand: its supervisor, which waits for orders, is told to stop (SIGTERM); the worker is started anew"
    )
    code = await stage.farm.stop_worker(worker_id)
    stage.ensure(code == 0, f"the supervisor of {worker_id} ended with code {code}")
    await stage.expect(
        lambda: find(chronicle.after(killing.sequence), WorkerStopped, worker_id=worker_id),
        f"the farewell of {worker_id}",
        STOPPED_S_MAX,
        about=worker_id,
    )
    await stage.farm.start_worker(worker_id)
    registered = await stage.expect(
        lambda: find(chronicle.after(killing.sequence), WorkerRegistered, worker_id=worker_id),
        f"the registration of {worker_id}",
        REGISTERED_S_MAX,
        about=worker_id,
    )
    killing.back_at = registered.recorded.time
    stage.show.passed(
        f"{worker_id} is back as a new incarnation, {ms(killing.back_at - killing.at)} after the kill "
        f"{at(registered.recorded)}"
    )
