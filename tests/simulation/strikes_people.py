"""What users, operators and strangers do at bad moments."""

import asyncio
import random

from events.policy import Override, Policy
from tests.simulation import strangers
from tests.simulation.arena import Arena, Strike
from tests.simulation.executions import Conduct
from tests.simulation.faults import Fault, FaultKind

POISON_S = 0.3
HUNG_S = 1.0

POLICIES = (
    Policy(),
    Policy(
        infrastructure_retries=1,
        max_recovery_attempts=3,
        recovery_attempt_timeout=10.0,
        requeue_rate=1.0,
        requeue_burst=1,
    ),
    Policy(verdict_retries=1, recovery_interval=10.0, recovery_backoff=0.2),
    Policy(ahead=2.0, tasks_ahead_max=4, degraded_below=0.9, critical_below=0.7, priority_ageing=5.0),
    Policy(attempts_reset_after=30.0, recovery_attempts_window=120.0),
    Policy(max_recovery_attempts=2, recovery_attempt_timeout=5.0),
    # Other silences: a worker that is cut off does not learn of them.
    Policy(
        heartbeat_interval=1.0,
        suspect_after=3.0,
        self_fence_after=5.0,
        failed_after=7.0,
        forecast_samples=6,
        forecast_cooldown=60.0,
    ),
    Policy(suspect_after=10.0, self_fence_after=30.0, failed_after=40.0, detector="deadline"),
    Policy(overrides=(Override(worker="*1", failed_after=25.0), Override(worker="*2", suspect_after=8.0))),
    Policy(flap_failures=2, flap_cordon=20.0, flap_cordon_max=60.0),
    Policy(
        repairs_share=0.6, breaker_failures=2, breaker_open=5.0, breaker_open_max=20.0, recovery_attempt_timeout=8.0
    ),
    # And so few heartbeats that the pace follows the number of workers.
    Policy(heartbeat_rate_max=1.0),
)


async def task_poisons_agent(arena: Arena, fault: Fault) -> bool:
    return await submit(arena, POISON_S, Conduct.kills_agent, None)


async def task_poisons_worker(arena: Arena, fault: Fault) -> bool:
    return await submit(arena, POISON_S, Conduct.kills_worker, None)


async def task_hangs(arena: Arena, fault: Fault) -> bool:
    return await submit(arena, HUNG_S, Conduct.hangs, fault.magnitude)


async def task_fails(arena: Arena, fault: Fault) -> bool:
    return await submit(arena, HUNG_S, Conduct.fails, None)


async def submit(arena: Arena, duration_s: float, conduct: Conduct, timeout_s: float | None) -> bool:
    # In the client's own time: a submission is not withdrawn when the faults end.
    client = arena.world.client
    arena.world.user.spawn(client.submit_one(arena.number("x"), duration_s, conduct, timeout_s))
    return True


async def forged_event(arena: Arena, fault: Fault) -> bool:
    forged = strangers.forged(fault.choice, arena.world.watch)
    if forged is None:
        return False
    await arena.in_client(arena.world.client.forge(*forged))
    return True


async def malformed_event(arena: Arena, fault: Fault) -> bool:
    await arena.in_client(arena.world.client.publish(*strangers.malformed(fault.choice, arena.world.watch)))
    return True


async def unknown_event(arena: Arena, fault: Fault) -> bool:
    await arena.in_client(arena.world.client.publish(*strangers.unknown(fault.choice, arena.world.watch)))
    return True


async def duplicate_event(arena: Arena, fault: Fault) -> bool:
    recorded = strangers.repeatable(fault.choice, arena.world.watch)
    if recorded is None:
        return False
    known = random.Random(f"{fault.choice}").random() < 0.5
    await arena.in_client(arena.world.client.repeat(recorded, known=known))
    return True


async def policy_change(arena: Arena, fault: Fault) -> bool:
    arena.policy = POLICIES[int(fault.choice * len(POLICIES))]
    await arena.set_policy(auto_recovery=not arena.recovery_paused)
    return True


async def operator_pause_recovery(arena: Arena, fault: Fault) -> bool:
    arena.recovery_paused = True
    await arena.set_policy(auto_recovery=False)
    await asyncio.sleep(fault.duration_s)
    arena.recovery_paused = False
    await arena.set_policy(auto_recovery=True)
    return True


async def operator_drain(arena: Arena, fault: Fault) -> bool:
    worker_id = arena.worker_id(fault)
    incarnation = arena.world.watch.incarnations.get(worker_id)
    if incarnation is None:
        return False
    await arena.in_client(arena.world.client.drain(worker_id, incarnation))
    return True


async def operator_orders_end(arena: Arena, fault: Fault) -> bool:
    """Somebody wants it back after a while."""
    worker = arena.worker(fault)
    await arena.in_client(arena.world.client.order_end(arena.worker_id(fault)))
    await asyncio.sleep(fault.duration_s)
    if arena.can_start(worker):
        worker.start()
    return True


async def operator_orders_restart(arena: Arena, fault: Fault) -> bool:
    await arena.in_client(arena.world.client.order_restart(arena.worker_id(fault)))
    return True


async def operator_halts_recovery(arena: Arena, fault: Fault) -> bool:
    await arena.in_client(arena.world.client.halt_recovery())
    await asyncio.sleep(fault.duration_s)
    await arena.in_client(arena.world.client.resume_recovery())
    return True


async def operator_cordon(arena: Arena, fault: Fault) -> bool:
    worker_id, client = arena.worker_id(fault), arena.world.client
    await arena.in_client(client.cordon(worker_id))
    await asyncio.sleep(fault.duration_s)
    await arena.in_client(client.uncordon(worker_id))
    return True


async def operator_synthetic_failure(arena: Arena, fault: Fault) -> bool:
    worker_id = arena.worker_id(fault)
    incarnation = arena.world.watch.incarnations.get(worker_id)
    if incarnation is None:
        return False
    await arena.in_client(arena.world.client.fail(worker_id, incarnation))
    return True


async def operator_readmit(arena: Arena, fault: Fault) -> bool:
    await arena.in_client(arena.world.client.readmit(arena.worker_id(fault)))
    return True


async def operator_cancel_task(arena: Arena, fault: Fault) -> bool:
    open_tasks = list(arena.world.watch.open_tasks)
    if not open_tasks:
        return False
    await arena.in_client(arena.world.client.cancel_task(arena.pick(fault, open_tasks)))
    return True


async def operator_cancel_run(arena: Arena, fault: Fault) -> bool:
    runs = sorted({promise.run_id for promise in arena.world.client.promises.values()})
    if not runs:
        return False
    await arena.in_client(arena.world.client.cancel_run(arena.pick(fault, runs)))
    return True


STRIKES: dict[FaultKind, Strike] = {
    FaultKind.TASK_POISONS_AGENT: task_poisons_agent,
    FaultKind.TASK_POISONS_WORKER: task_poisons_worker,
    FaultKind.TASK_HANGS: task_hangs,
    FaultKind.TASK_FAILS: task_fails,
    FaultKind.FORGED_EVENT: forged_event,
    FaultKind.MALFORMED_EVENT: malformed_event,
    FaultKind.UNKNOWN_EVENT: unknown_event,
    FaultKind.DUPLICATE_EVENT: duplicate_event,
    FaultKind.POLICY_CHANGE: policy_change,
    FaultKind.OPERATOR_PAUSE_RECOVERY: operator_pause_recovery,
    FaultKind.OPERATOR_DRAIN: operator_drain,
    FaultKind.OPERATOR_CORDON: operator_cordon,
    FaultKind.OPERATOR_SYNTHETIC_FAILURE: operator_synthetic_failure,
    FaultKind.OPERATOR_READMIT: operator_readmit,
    FaultKind.OPERATOR_ORDERS_END: operator_orders_end,
    FaultKind.OPERATOR_ORDERS_RESTART: operator_orders_restart,
    FaultKind.OPERATOR_HALTS_RECOVERY: operator_halts_recovery,
    FaultKind.OPERATOR_CANCEL_TASK: operator_cancel_task,
    FaultKind.OPERATOR_CANCEL_RUN: operator_cancel_run,
}
