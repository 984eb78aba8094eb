"""What is owed to the attempts that do something: a beginning, as far as the share of repairs and the breaker allow it.

The breaker (Michael Nygard, "Release It!", 2007) opens when too many workers could not be brought back lately: then
nothing begins. When its time is over a single attempt does. If that succeeds, all goes on; if it fails, the breaker
stays open for twice as long. An attempt that lost its object shows nothing, and the next one takes its place; and when
nobody is left who waits for an attempt, there is nothing to hold back.
"""

from collections.abc import Iterator
from itertools import islice

from events.base import Event
from events.clock import utc
from events.system import BreakerClosed, BreakerHalfOpened, BreakerOpened, SystemRecoveryStaged
from recovery.decide_workers import attempt_started
from recovery.decisions import Decision
from recovery.outages import KIND, in_force, next_size, open_stage
from recovery.repairs import repairs_max, trips
from recovery.state import State

DOUBLINGS_MAX = 60
STAGE_MAX = 500


def owed_to_repairs(state: State, now: float) -> Iterator[Decision]:
    due = state.repairs.in_turn(now)
    state.alarms.in_turn(now)
    status = state.breaker.status
    if not state.may_repair:
        return
    if status == "closed" and not trips(state) and in_force(state) is not None:
        yield from _staged(state, due, now)
        return
    if status == "closed" and not trips(state):
        room = repairs_max(state) - len(state.repairing)
        yield from (_begun(state, worker_id, now) for worker_id in islice(due, max(0, room)))
        return
    decision = _opened(state, now) if status == "closed" else _after_opening(state, next(due, None), now)
    if decision is not None:
        yield decision


def _staged(state: State, due: Iterator[str], now: float) -> Iterator[Decision]:
    """Behind a mass loss: nothing begins before the tasks of those that were lost have been put back, and then a few
    at first, and more when these are back."""
    incident, outage = state.incidents.get(KIND), state.outage
    if incident is None or outage is None or state.orphaned:
        return
    stage = open_stage(outage)
    if stage is not None:
        yield from (_begun(state, worker_id, now) for worker_id in stage.open if state.repairs.get(worker_id) <= now)
        return
    if state.measured_status() != "critical":
        return  # the incident is about to be closed
    size = min(next_size(outage), repairs_max(state) - len(state.repairing), STAGE_MAX)
    workers = tuple(islice(due, max(0, size)))
    if workers:
        event = SystemRecoveryStaged(incident_id=incident.incident_id, stage=outage.stage + 1, workers=workers)
        yield Decision(event, "repairs begin again in stages", incident.event_id, incident.event_id, incident.synthetic)


def _begun(state: State, worker_id: str, now: float) -> Decision:
    worker = state.workers[worker_id]
    assert worker.attempt is not None
    return attempt_started(state, worker, worker.attempt, now)


def _after_opening(state: State, first: str | None, now: float) -> Decision | None:
    """`first`: the worker whose attempt has been due for longest."""
    breaker = state.breaker
    if breaker.status == "half_open" and breaker.probe:
        if breaker.probe_failed is None:
            return _begun(state, breaker.probe, now) if state.repairs.get(breaker.probe) <= now else None
        if breaker.probe_failed:
            return _opened(state, now)
        return _said(state, BreakerClosed(reason=f"{breaker.probe} is back"), "probe succeeded")
    if breaker.status == "open" and now < breaker.until:
        return None
    if first is not None:
        attempt = state.workers[first].attempt
        assert attempt is not None
        return _said(state, BreakerHalfOpened(worker_id=first, attempt=attempt.number), "its time is over: one probe")
    if not state.repairs and not state.repairing:
        return _said(state, BreakerClosed(reason="nobody waits for an attempt"), "nothing to hold back")
    return None


def _opened(state: State, now: float) -> Decision:
    policy, breaker = state.policy, state.breaker
    again = breaker.status == "half_open"
    times = breaker.times + 1 if again else 1
    seconds = min(policy.breaker_open_max, policy.breaker_open * 2.0 ** min(times - 1, DOUBLINGS_MAX))
    event = BreakerOpened(
        workers_failed=1 if again else breaker.failed,
        workers_tried=1 if again else len(breaker.ends),
        until=utc(now + seconds),
        times=times,
    )
    return _said(state, event, "probe failed" if again else "too many could not be brought back")


def _said(state: State, event: Event, rule: str) -> Decision:
    return Decision(event, rule, state.breaker.event_id or None)
